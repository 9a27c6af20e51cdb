"""A segmenter made by a named factory of any library, which a folder and a recipe can therefore name."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magnet.checkpoints.errors import listed
from magnet.checkpoints.fit import load_state, match_official
from magnet.errors import MagNetError, printable, shown
from magnet.files.reading import check_path
from magnet.networks.factory import (
    call_factory,
    check_args,
    check_factory,
    find_factory,
    install_missing,
    without_weights,
)
from magnet.networks.limits import check_num_classes
from magnet.networks.transformers_models import build_from_config, classes_of, load_folder, makes_transformers
from magnet.networks.wrap import WrappedSegmenter, check_wrap

__all__ = ["Segmenter", "check_options"]

_LOG = logging.getLogger("magnet")
_OPTIONS = {"output": "auto", "divisor": 1, "binary": False, "activation": "auto", "aux": None}  # mean and std beside
_SPEC = ("factory", "args", "wrap")
_ANOTHER_SEED = 0x5EED  # than the one that anyone built a network with


class Segmenter(WrappedSegmenter):
    """Anyone's segmentation network by the name of what makes it, wrapped as :func:`magnet.wrap` does.

    A :class:`magnet.MagNet` of it is saved and loaded as one of this library's networks: the folder names factory,
    arguments and wrapping. To load it runs that code again, so ``from_pretrained`` asks for ``trust=True``.

    Classes of transformers take the values of their configuration as arguments (``num_labels=5``), and a folder of a
    model as weights, whose configuration, class names and image processor (mean, deviation, size) then count, too.

    Args:
        factory: "package.module:callable", as "segmentation_models_pytorch:Unet"; a class of a network, or a function
            that returns one. It is imported and called.
        args: its keyword arguments, as JSON can hold them: with the number of classes, and of channels if not three.
        weights: of the whole network: a .safetensors file, or a .pth / .pt state dict, read without running code in it;
            for transformers a folder, too. Arguments by which the factory would load or download weights of its own
            are turned off then, and in what a folder keeps. None: as the factory makes them.
        wrap: ``output``, ``divisor``, ``mean``, ``std``, ``binary``, ``activation`` and ``aux`` of :func:`magnet.wrap`;
            ``output`` and ``aux`` as texts or numbers.
        channels: of the images that it sees, 1 to 16.
        num_classes: number of classes, where it is known; found by the first save otherwise.
        strict: False: layers of another shape than in ``weights`` are left as the factory makes them, and named in a
            warning.

    Attributes:
        class_names: of a folder of transformers; None elsewhere.
        seen_size: (H, W) that the image processor of such a folder resizes images to; None elsewhere.

    Raises:
        TypeError, ValueError: an argument is not as above.
        MagNetError: the factory cannot be imported or called, or the weights do not fit.
    """

    def __init__(
        self,
        factory: str,
        args: Mapping[str, Any] | None = None,
        *,
        weights: str | os.PathLike[str] | None = None,
        wrap: Mapping[str, Any] | None = None,
        channels: int = 3,
        num_classes: int | None = None,
        strict: bool = True,
    ) -> None:
        check_factory(factory)
        taken, options = check_args(args), check_options(wrap, channels)
        path = None if weights is None else check_path("weights", weights)
        make = find_factory(factory)
        anew: tuple[str, ...] = ()
        seen_size = None
        if path is not None and path.is_dir():
            if not makes_transformers(make):
                raise MagNetError(
                    f"weights: expected a file, but '{path}' is a folder, which there are of transformers' classes "
                    "alone; name the state dict in it"
                )
            network, taken, anew, of_processor, seen_size = load_folder(factory, make, taken, path, strict=strict)
            taken = check_args(taken)
            options = {**of_processor, **options}
        else:
            if path is not None:
                taken = _quiet(make, taken)
            network = _build(factory, make, taken)
            if path is not None:
                anew = _load(network, path, strict=strict)
        super().__init__(network, channels=channels, **options)
        self.factory, self.args, self.seen_size = factory, taken, seen_size
        self.num_classes = None if num_classes is None else check_num_classes(num_classes)
        self.class_names: list[str] | None = None
        if makes_transformers(make):
            count, names = classes_of(network)
            if num_classes is None:
                self.num_classes = 2 if self.binary and count == 1 else count
            self.class_names = names if names is not None and len(names) == self.num_classes else None
        self._wrap = options
        if anew:
            _tell(str(path), anew)

    def settle(self, size: tuple[int, int]) -> int:
        """What is open until the network was seen at work, by a pass over noise of ``size`` (H, W).

        That is ``num_classes``, and an ``activation`` of "auto".

        Returns:
            The number of classes.

        Raises:
            MagNetError: the network does not take such images, or returns no logits.
        """
        noise = self._noise(size)
        try:
            with _at_rest(self), torch.no_grad():
                logits = self(noise)
        except Exception as error:  # of any kind: it is code of somebody else
            reason = printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 600)
            fix = install_missing(error) or (
                "say in args how many channels they have, and in wrap by what their sides are to be divisible "
                "(divisor), or what to take of the result (output)"
            )
            raise MagNetError(
                f"args: the network of {self.factory} gave no logits of images {tuple(noise.shape)} ({reason}); {fix}"
            ) from error
        self.num_classes = logits.shape[1]
        return self.num_classes

    def spec(self) -> dict[str, Any]:
        """What builds this network again, for JSON: factory, args and wrap; its weights are to be loaded then.

        :meth:`check_rebuilt` says whether it does.
        """
        args = _quiet(find_factory(self.factory), self.args)
        changed = {name: getattr(self, name) for name, plain in _OPTIONS.items() if getattr(self, name) != plain}
        given = {name: self._wrap[name] for name in ("mean", "std") if name in self._wrap}
        return {"factory": self.factory, "args": args, "wrap": {**changed, **given}}

    def check_rebuilt(self, size: tuple[int, int]) -> None:
        """Build the network again as a folder would, and compare the two on noise of ``size`` (H, W).

        Warns of a network that gives other results of the same noise, as one does that keeps dropout on.

        Raises:
            MagNetError: the other one has other weights, or with the same gives other results.
        """
        make = find_factory(self.factory)
        args = _quiet(make, self.args)
        with torch.random.fork_rng():  # the caller's numbers go on as they were
            torch.manual_seed(_ANOTHER_SEED)
            other = _build(self.factory, make, args)
        if _shapes(other) != _shapes(self.model):
            loads = ", ".join(name for name in args if name not in self.args or args[name] != self.args[name])
            if loads:
                raise MagNetError(
                    f"factory: {self.factory} makes another network without what loads its weights ({loads}), so a "
                    "folder could not say how to build it again; say in args what that implies, as the number of "
                    "classes"
                )
            raise MagNetError(
                f"factory: {self.factory} makes a network of other layers than this one, so a folder could not say "
                "how to build it again; let a function of yours make the changes, and name that as the factory"
            )
        load_state(other, self.model.state_dict(), source=self.factory)
        weight = next(self.parameters(), torch.empty(0))
        noise = self._noise(size)
        with _at_rest(self), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            first, again = self(noise), self(noise)
            self.model, own = other.to(weight.device, weight.dtype).eval(), self.model
            try:
                found = self(noise)
            finally:
                self.model = own
        least = (1e-3 if weight.dtype == torch.float32 else 1e-2) * float(first.abs().max())
        if float((first - again).abs().max()) > least:
            _tell_random(self.factory)
        elif float((first - found).abs().max()) > least:
            raise MagNetError(
                f"factory: {self.factory} makes a network that gives other results with the same weights, so a "
                "folder of it would not be this model: something random, or set from outside, is not in its state "
                "dict; register it as a buffer that is saved (persistent), or say it in args"
            )

    def _noise(self, size: tuple[int, int]) -> Tensor:
        weight = next(self.parameters(), torch.empty(0))
        noise = torch.randn(1, self.in_channels, *size, generator=torch.Generator().manual_seed(0))
        return noise.to(weight.device, weight.dtype)

    @classmethod
    def from_spec(cls, spec: Any, *, channels: int, num_classes: int) -> Segmenter:
        """The network of :meth:`spec`, with weights still to be loaded.

        Raises:
            TypeError, ValueError, MagNetError: as the class itself.
        """
        check_spec(spec)
        return cls(spec["factory"], spec["args"], wrap=spec["wrap"], channels=channels, num_classes=num_classes)


def check_spec(spec: Any) -> str:
    """The name of the factory of what :meth:`Segmenter.spec` wrote.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(spec, Mapping) or sorted(spec) != sorted(_SPEC):
        raise ValueError(f"segmenter: expected {', '.join(_SPEC)}, got {shown(spec)}")
    return check_factory(spec["factory"])


def check_options(wrap: Any, channels: int) -> dict[str, Any]:
    """Options of :func:`magnet.wrap` that JSON can hold.

    Raises:
        TypeError, ValueError: there are others, or their values are wrong.
    """
    known = (*_OPTIONS, "mean", "std")
    if wrap is None:
        wrap = {}
    if not isinstance(wrap, Mapping) or any(name not in known for name in wrap):
        raise TypeError(f"wrap: expected some of {', '.join(known)}, got {shown(wrap)}; mend the names")
    for name in ("output", "aux"):
        if callable(wrap.get(name)):
            raise TypeError(
                f"{name}: expected a text or a number, which a folder can hold, got {shown(wrap[name])}; let a "
                "function of yours build the network with it, and name that as the factory"
            )
    options = {**wrap}
    for name in ("mean", "std"):
        if options.get(name) is not None:
            options[name] = [float(value) for value in _numbers(name, options[name])]
    check_wrap(channels=channels, **options)
    return options


@contextlib.contextmanager
def _at_rest(network: nn.Module) -> Iterator[None]:
    """While entered, all of a network is in evaluation mode."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@cache
def _tell(path: str, anew: tuple[str, ...]) -> None:
    """Warn of layers that start anew; once, however often a run builds its network."""
    _LOG.warning("segmenter: layers of another shape than in '%s' start anew: %s", path, listed(anew))


@cache
def _tell_random(factory: str) -> None:
    """Warn of results that differ from run to run; once, as a run looks more than once."""
    _LOG.warning(
        "factory: %s makes a network that gives other results of one image each time, in evaluation mode, too: "
        "something in it stays random, as F.dropout(x) without training=self.training; predictions will differ from "
        "run to run, so mend that first",
        factory,
    )


def _numbers(name: str, values: Any) -> list[Any]:
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name}: expected numbers, one for each channel, or None, got {shown(values)}; give a list"
        ) from error


def _build(name: str, make: Any, args: dict[str, Any]) -> nn.Module:
    return build_from_config(name, make, args) if makes_transformers(make) else call_factory(name, make, args)


def _quiet(make: Any, args: dict[str, Any]) -> dict[str, Any]:
    return without_weights(None if makes_transformers(make) else make, args)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _load(network: nn.Module, path: Path, *, strict: bool) -> tuple[str, ...]:
    """Copy a file of weights into a network; returns the keys of other shapes, which are left out unless ``strict``."""
    state, report = match_official(path, network)
    counters = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    missing = {*report.missing} - {*counters}  # those of old files, which change no result, start from the network's
    anew = () if strict or missing or report.unexpected else tuple(report.mismatched)
    left = {key: value for key, value in network.state_dict().items() if key in anew}
    load_state(network, {**counters, **state, **left}, source=path)
    return anew
