"""The networks of a walk: a segmenter, and the refiners of the scales after the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from magnet.bounds import Size
from magnet.checks import is_int
from magnet.conventions import can_look, check_logits
from magnet.devices import autocast, resolve_amp
from magnet.walk.settings import Inference

__all__ = ["Networks", "sees_image"]


class Networks(nn.Module):
    """A segmenter and its refiners, run as the walk needs them.

    Args:
        segmenter: maps normalised images (N, channels, h, w) to logits (N, C, h, w).
        refiners: modules (fine, coarse) -> logits: none, one for all scales, or one for each scale after the first.

    Attributes:
        num_classes: what the networks' own ``num_classes`` say; None where none has it, and the outputs alone can tell.
        most_at_once: images of a pass that memory did for where it did not do for more; None: it always did.

    Raises:
        TypeError, ValueError: they are no such modules, or differ in their classes.
    """

    _looked_at: frozenset[str] = frozenset()  # whose numbers were checked
    most_at_once: int | None = None

    def __init__(self, segmenter: nn.Module, refiners: Sequence[nn.Module]) -> None:
        super().__init__()
        self.num_classes = find_num_classes(segmenter, refiners)
        self.segmenter = segmenter
        self.refiners = nn.ModuleList(refiners)

    @property
    def device(self) -> torch.device:
        """Where the networks are; images are moved there."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def refiner_at(self, scale: int) -> nn.Module | None:
        """The refiner of ``scale``; None where there is none."""
        return self.refiners[min(scale, len(self.refiners)) - 1] if len(self.refiners) else None

    def segment(self, images: Tensor, inference: Inference | None = None) -> Tensor:
        """Class probabilities (N, C, h, w), float32, of normalised images (N, channels, h, w), without refinement."""
        inference = inference or Inference()

        def run(images: Tensor) -> Tensor:
            with self._autocast(inference):
                logits = self.segmenter(images.contiguous(memory_format=inference.memory_format))
            self._check_logits("segmenter", logits, (images.shape[0], *images.shape[2:]))
            if self._is_first("segmenter", logits):
                check_logits("segmenter", logits)
            return logits.float().softmax(dim=1)

        # the refiners' answers need no mean of their own: on scenes it gave nothing, for two thirds more time
        total = run(images)
        for axes in inference.flips:
            total = total + run(images.flip(axes)).flip(axes)
        return total / (1 + len(inference.flips)) if inference.flips else total

    def merge(
        self, fine: Tensor, coarse: Tensor, image: Tensor, scale: int, inference: Inference | None = None
    ) -> Tensor:
        """What the refiner of ``scale`` makes of two probability maps (N, C, h, w); ``fine`` where there is none.

        ``image``, normalised (N, channels, h, w), is what the maps show, for refiners that see it.
        """
        refiner = self.refiner_at(scale)
        if refiner is None:
            return fine
        inference = inference or Inference()
        seen = (fine, coarse, image) if sees_image(refiner) else (fine, coarse)
        with self._autocast(inference):
            logits = refiner(*(one.contiguous(memory_format=inference.memory_format) for one in seen))
        self._check_logits("refiner", logits, (fine.shape[0], *fine.shape[2:]), fine.shape[1])
        if self._is_first(f"refiner {min(scale, len(self.refiners))}", logits):
            check_logits("refiner", logits)
        return logits.float().softmax(dim=1)

    def count_classes(self, size: Size, channels: int, inference: Inference | None = None) -> int:
        """``num_classes``; where the networks do not say it, found by a pass over noise of ``size`` (h, w)."""
        if self.num_classes is None:
            noise = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0)).to(self.device)
            looked_at = self._looked_at
            with self.evaluating(), torch.inference_mode():
                self.num_classes = self.segment(noise, inference).shape[1]
            self._looked_at = looked_at  # it is images that tell whether outputs are logits
        return self.num_classes

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for as long as it is entered."""
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _is_first(self, what: str, values: Tensor) -> bool:
        """Whether the numbers of ``what`` can be looked at, and were not before."""
        if not can_look(values) or what in self._looked_at:  # in this order: a compiled graph must not depend on it
            return False
        self._looked_at |= {what}
        return True

    def _autocast(self, inference: Inference) -> contextlib.AbstractContextManager[Any]:
        amp = resolve_amp(self.device, inference.amp)
        if amp == "none":
            return contextlib.nullcontext()  # an autocast around the call stays in force
        return autocast(self.device, amp)

    def _check_logits(self, name: str, logits: Tensor, expected: tuple[int, ...], classes: int | None = None) -> None:
        classes = classes or self.num_classes
        n, *size = expected
        if not isinstance(logits, Tensor) or logits.ndim != 4 or (logits.shape[0], *logits.shape[2:]) != expected:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{name}: expected logits (N, C, H, W) at the size of its input, ({n}, C, {size[0]}, {size[1]}), "
                f"got {got}; interpolate its output to the input size"
            )
        if logits.shape[1] < 2 or (classes is not None and logits.shape[1] != classes):
            raise ValueError(
                f"{name}: expected logits of {classes or 'at least 2'} classes, got {logits.shape[1]}; "
                "build segmenter and refiner with the same num_classes"
            )


def sees_image(refiner: nn.Module) -> bool:
    """Whether a refiner takes the image, too: ``refiner(fine, coarse, image)`` (its attribute ``sees_image``)."""
    return bool(getattr(refiner, "sees_image", False))


def check_refiners(refiner: Any, n_scales: int) -> list[nn.Module]:
    """A module, a list of modules, or None -> a list of none, one, or one for each scale after the first."""
    if refiner is None:
        return []
    refiners = [*refiner] if isinstance(refiner, (Sequence, nn.ModuleList)) else [refiner]
    for one in refiners:
        if not isinstance(one, nn.Module):
            raise TypeError(
                "refiner: expected a module (fine, coarse) -> logits, a list of them, or None, "
                f"got {type(one).__name__}"
            )
    if len(refiners) > 1 and len(refiners) != n_scales - 1:
        raise ValueError(
            f"refiner: expected one module, or one for each scale after the first, {n_scales - 1}, got {len(refiners)}"
        )
    return refiners


def check_seen_channels(segmenter: nn.Module, channels: int) -> None:
    """Raise ValueError where a segmenter says that it sees images of another number of channels (``in_channels``)."""
    own = getattr(segmenter, "in_channels", None)
    if is_int(own) and own != channels:
        raise ValueError(
            f"channels: expected {own}, as many as the segmenter sees (its in_channels), got {channels}; pass "
            f"channels={own}, or build the segmenter with channels={channels}"
        )


def find_num_classes(segmenter: Any, refiners: Sequence[nn.Module]) -> int | None:
    """What the networks' ``num_classes`` say; None where none has it, and the outputs alone can tell."""
    if not isinstance(segmenter, nn.Module):
        raise TypeError(f"segmenter: expected a module that maps images to logits, got {type(segmenter).__name__}")
    known = getattr(segmenter, "num_classes", None)
    if not is_int(known):
        known = None
    for refiner in refiners:
        own = getattr(refiner, "num_classes", None)
        if not is_int(own):
            continue
        if known is not None and own != known:
            raise ValueError(
                f"refiner: expected {known} classes, as the networks before it have, got {own}; "
                "build segmenter and refiner with the same num_classes"
            )
        known = own
    if known is not None and known < 2:
        raise ValueError(f"segmenter: expected at least 2 classes, got {known}; one class leaves nothing to tell apart")
    return known
