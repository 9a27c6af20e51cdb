"""Anyone's segmentation network as a segmenter of MagNet, whatever it returns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.checks import check_channels, check_count
from magnet.conventions import are_probabilities, can_look
from magnet.errors import printable, shown
from magnet.images.tensors import IMAGENET_MEAN, IMAGENET_STD, normalization

__all__ = ["Activation", "WrappedSegmenter", "check_wrap", "renormalization", "wrap"]

Output = str | int | Callable[[Any], Any]
Activation = Literal["auto", "none", "softmax", "sigmoid"]

_LOGITS = ("out", "logits")
_ASPECT = 4  # times: maps of strides of 32 of small images are farther from their aspect than one would think
_QUERIES = ("class_queries_logits", "masks_queries_logits")
_LEAST = 1e-6  # how near to 0 and 1 a sigmoid may come whose inverse is taken


def wrap(
    model: nn.Module,
    *,
    output: Output = "auto",
    divisor: int = 1,
    mean: Sequence[float] | None = IMAGENET_MEAN,
    std: Sequence[float] | None = IMAGENET_STD,
    channels: int = 3,
    binary: bool = False,
    activation: Activation = "auto",
    aux: Output | None = None,
) -> WrappedSegmenter:
    """Turn a segmentation network of any library into a segmenter for :class:`magnet.MagNet`.

    What the network returns is told apart by its form, not by its class: logits (N, C, h, w) as a tensor, in a mapping
    with "out" or "logits", or in an object with ``.logits`` or ``.out``; mask classification, a mapping or object with
    ``class_queries_logits`` (N, Q, C + 1) and ``masks_queries_logits`` (N, Q, h, w); the first of maps that are stacked
    as (N, S, C, h, w), as deep supervision returns them in training; or the first of these in a tuple or list. Maps of
    another size than the network's input are resized to it bilinearly.

    Args:
        model: called with images (N, channels, H, W), in float16 or bfloat16 where its parameters are; they are shared,
            not copied.
        output: "auto", or what to take of the result: a key or attribute name, an index, or a function of the result
            that returns one of the forms above.
        divisor: images are padded on the right and at the bottom to multiples of this, and the logits cropped again.
        mean: what the network expects to be subtracted from images in [0, 1], one number of at most 1 a channel;
            None: nothing. Numbers for RGB of 0 to 255 are to be divided by 255.
        std: what it expects the rest to be divided by, at most 1; None: nothing. Both None: images in [0, 1].
            For images in [0, 255]: ``mean=None, std=[1 / 255] * 3``.
        channels: of the images that it takes, 1 to 16; for other than three give ``mean`` and ``std``, or None.
        binary: the network has one logit a pixel, of class 1; class 0 is the rest.
        activation: what the network ends in: "none" (logits), "softmax" or "sigmoid", whose inverse is then taken;
            "auto": a softmax is noticed on the first batch, and a warning says so.
        aux: of a network with an auxiliary output, what that is, as ``output``; training gives it a loss of its own.

    Returns:
        A module from images (N, channels, H, W), normalised as MagNet does it (``magnet.images.normalize``), to logits
        (N, C, H, W). Of mask classification these are the logarithms of class probabilities: the sum over the queries
        of class probability times mask probability, normalised at each pixel.

    Raises:
        TypeError, ValueError: an argument is not as above; when called, the network's result holds no such logits.
    """
    return WrappedSegmenter(
        model,
        output=output,
        divisor=divisor,
        mean=mean,
        std=std,
        channels=channels,
        binary=binary,
        activation=activation,
        aux=aux,
    )


class WrappedSegmenter(nn.Module):
    """What :func:`magnet.wrap` returns: ``model`` is the network, and its state is all the state there is.

    Attributes:
        has_aux: whether a call with ``heads=True`` gives auxiliary logits, too.
        activation: what the network ends in; "auto" until the first batch was seen.
    """

    scale: Tensor | None
    shift: Tensor | None
    activation: Activation

    def __init__(
        self,
        model: nn.Module,
        *,
        output: Output = "auto",
        divisor: int = 1,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        channels: int = 3,
        binary: bool = False,
        activation: Activation = "auto",
        aux: Output | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected a module that maps images to logits, got {type(model).__name__}")
        means, deviations = check_wrap(
            output=output,
            divisor=divisor,
            mean=mean,
            std=std,
            channels=channels,
            binary=binary,
            activation=activation,
            aux=aux,
        )
        self.model = model
        self.output, self.aux = output, aux
        self.has_aux = aux is not None
        self.divisor, self.in_channels = check_count("divisor", divisor), check_channels(channels)
        self.binary, self.activation = binary, activation
        scale, shift = renormalization(means, deviations)
        same = scale == [1.0] * channels and shift == [0.0] * channels
        for name, values in (("scale", scale), ("shift", shift)):
            self.register_buffer(name, None if same else torch.tensor(values).view(channels, 1, 1), persistent=False)

    def forward(self, images: Tensor, *, heads: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(N, channels, H, W) images, normalised as MagNet does it -> (N, C, H, W) logits.

        With ``heads``, where the network has an auxiliary output, the pair (main, auxiliary) of them.

        Raises:
            ValueError: ``images`` has another shape, or the network's result holds no logits.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels or 0 in images.shape[2:]:
            raise ValueError(
                f"images: expected (N, {self.in_channels}, H, W), H and W at least 1, got {tuple(images.shape)}"
            )
        height, width = images.shape[2:]
        seen = images
        if self.scale is not None and self.shift is not None:
            seen = torch.addcmul(self.shift.to(images.dtype), images, self.scale.to(images.dtype))
        below, right = (-(-side // self.divisor) * self.divisor - side for side in (height, width))
        if below or right:  # the border repeated: images of any size have one, and it adds no new structure
            seen = F.pad(seen, (0, right, 0, below), mode="replicate")
        weight = next((weight for weight in self.model.parameters() if weight.is_floating_point()), None)
        if weight is not None and weight.dtype in (torch.float16, torch.bfloat16):  # a network kept in half precision
            seen = seen.to(weight.dtype)
        result = self.model(seen)
        main = self._logits(self._choose("output", self.output, result), seen, (height, width))
        if not heads or self.aux is None:
            return main
        return main, self._logits(self._choose("aux", self.aux, result), seen, (height, width))

    def _logits(self, result: Any, seen: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (N, C, *size) of what the network returned for padded images ``seen``."""
        found = _find(result, seen.shape[0])
        if found is None:
            raise ValueError(
                f"model: expected logits ({seen.shape[0]}, C, h, w) in a tensor, a mapping with 'out' or 'logits', "
                "an object with .logits, as class_queries_logits and masks_queries_logits, or a tuple of these, "
                f"got {describe(result)}; choose with output= (a key, attribute name, index or function)"
            )
        maps, classes = found
        if not torch.compiler.is_compiling():  # a graph for any size must not depend on it
            _check_place_of_channels(maps, seen)
        if classes is None:
            maps = self._without_activation(maps)
        if maps.shape[2:] != seen.shape[2:]:
            maps = F.interpolate(maps, seen.shape[2:], mode="bilinear", align_corners=False)
        if maps.shape[2:] != size:
            maps = maps[..., : size[0], : size[1]]
        if classes is not None:
            return mask_log_probabilities(classes, maps)
        return torch.cat([torch.zeros_like(maps), maps], dim=1) if self.binary else maps

    def _without_activation(self, maps: Tensor) -> Tensor:
        """Logits of a network that ends in an activation, by its inverse."""
        if self.binary != (maps.shape[1] == 1):
            if self.binary:
                raise ValueError(
                    f"model: expected one logit a pixel, as binary=True says, got {tuple(maps.shape)}; leave binary out"
                )
            raise ValueError(
                f"model: expected two or more logits a pixel, got {tuple(maps.shape)}; give binary=True for a network "
                "of one class and the rest"
            )
        if self.activation == "auto" and can_look(maps) and not self.binary:
            found = are_probabilities(maps)
            if found is not None:
                self.activation = "softmax" if found else "none"
            if found:
                warnings.warn(
                    "model: ends in a softmax (each pixel's values lie in [0, 1] and sum to 1), whose logarithm is "
                    "taken for logits; give activation='softmax' to say that it is meant",
                    stacklevel=2,
                )
        if self.activation == "softmax":
            return maps.float().clamp_min(torch.finfo(torch.float32).tiny).log()
        return torch.logit(maps.float(), eps=_LEAST) if self.activation == "sigmoid" else maps

    def _choose(self, argument: str, key: Output, result: Any) -> Any:
        """The part of the network's result that ``key``, the value of an argument, names."""
        if isinstance(key, str):
            if key == "auto":
                return result
            if isinstance(result, Mapping) and key in result:
                return result[key]
            if not isinstance(result, Tensor) and hasattr(result, key):
                return getattr(result, key)
        elif isinstance(key, int):
            alone = argument == "output" and key == 0 and self.aux is not None
            if alone and isinstance(result, Tensor) and result.ndim == 4:
                return result  # the auxiliary one is there in training only
            if isinstance(result, Tensor) and result.ndim == 5 and -result.shape[1] <= key < result.shape[1]:
                return result[:, key]
            if isinstance(result, (tuple, list)):
                if -len(result) <= key < len(result):
                    return result[key]
            elif hasattr(result, "to_tuple"):  # transformers' outputs are counted without the fields that are None
                values = result.to_tuple()
                if -len(values) <= key < len(values):
                    return values[key]
        else:
            return key(result)
        raise ValueError(
            f"{argument}: expected a result of {type(self.model).__name__} with {shown(key)}, got {describe(result)}; "
            "name a part that is there"
        )

    def extra_repr(self) -> str:
        return f"output={self.output!r}, divisor={self.divisor}"


def check_wrap(
    *,
    output: Output = "auto",
    divisor: int = 1,
    mean: Sequence[float] | None = IMAGENET_MEAN,
    std: Sequence[float] | None = IMAGENET_STD,
    channels: int = 3,
    binary: bool = False,
    activation: str = "auto",
    aux: Output | None = None,
) -> tuple[list[float], list[float]]:
    """Check the arguments of :func:`wrap` before there is a network; returns mean and deviation of each channel.

    Raises:
        TypeError, ValueError: as :func:`wrap`.
    """
    for name, value in (("output", output), *((("aux", aux),) if aux is not None else ())):
        if isinstance(value, bool) or not (isinstance(value, (str, int)) or callable(value)):
            raise TypeError(
                f"{name}: expected 'auto', a key or attribute name, an index, or a function, got {shown(value)}; pass "
                "one of these"
            )
    check_count("divisor", divisor)
    check_channels(channels)
    if not isinstance(binary, bool):
        raise TypeError(f"binary: expected true or false, got {shown(binary)}; true is for one logit a pixel")
    if activation not in get_args(Activation):
        raise ValueError(
            f"activation: expected one of {', '.join(get_args(Activation))}, got {shown(activation)}; name what the "
            "network ends in"
        )
    if binary and activation == "softmax":
        raise ValueError("activation: expected 'none' or 'sigmoid' with binary=True, got 'softmax'; leave binary out")
    means, deviations = _channels("mean", mean, 0.0, channels), _channels("std", std, 1.0, channels)
    _check_range(means, deviations)
    return means, deviations


def mask_log_probabilities(classes: Tensor, masks: Tensor) -> Tensor:
    """Per-pixel class probabilities of mask classification, as logarithms, float32.

    The sum over q of ``softmax(classes)[..., :-1]`` times ``sigmoid(masks)``, divided by its sum over the classes.

    Args:
        classes: logits (N, Q, C + 1); the last class is "no object".
        masks: logits (N, Q, H, W).
    """
    # The quotient is a mean of the queries' class distributions, without "no object", weighted by sigmoid(mask) times
    # the probability of an object. As a softmax over the queries the weights cannot all vanish in rounding.
    with torch.autocast(masks.device.type, enabled=False):
        classes, masks = classes.float(), masks.float()
        objects = classes[..., :-1]
        presence = objects.logsumexp(dim=-1) - classes.logsumexp(dim=-1)
        weights = (F.logsigmoid(masks) + presence[..., None, None]).softmax(dim=1)
        probabilities = torch.einsum("nqc,nqhw->nchw", objects.softmax(dim=-1), weights)
        return probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()


def describe(result: Any, depth: int = 2) -> str:
    """What ``result`` is, for an error: types, keys and shapes."""
    name = type(result).__name__
    if isinstance(result, Tensor):
        return f"{name} {tuple(result.shape)} of {str(result.dtype).removeprefix('torch.')}"
    if depth == 0 or result is None or isinstance(result, (str, int, float)):
        return name
    if isinstance(result, Mapping):
        return f"{name} {{{_join((f'{shown(key)}: {describe(value, depth - 1)}' for key, value in result.items()))}}}"
    if isinstance(result, (tuple, list)):
        return f"{name} ({_join(describe(one, depth - 1) for one in result)})"
    fields = {key: value for key, value in getattr(result, "__dict__", {}).items() if not key.startswith("_")}
    return f"{name} ({_join((f'.{printable(key)}: {describe(value, depth - 1)}' for key, value in fields.items()))})"


def _check_place_of_channels(maps: Tensor, seen: Tensor) -> None:
    """Refuse (N, h, w, C), which as (N, C, h, w) has another aspect than what the network has seen."""
    (height, width), (h, w) = seen.shape[2:], maps.shape[2:]
    as_rows = h * width, w * height  # equal where the aspect is kept
    last = maps.shape[1:3] == seen.shape[2:] and maps.shape[2:] != seen.shape[2:]
    if last or max(as_rows) > _ASPECT * min(as_rows):
        raise ValueError(
            f"model: expected logits (N, C, h, w) of the aspect of the images, {height}x{width}, got "
            f"{tuple(maps.shape)}; if the channels come last, use output=lambda logits: logits.permute(0, 3, 1, 2)"
        )


def _join(parts: Any, most: int = 12) -> str:
    parts = list(parts)
    return ", ".join(parts if len(parts) <= most else [*parts[:most], f"{len(parts) - most} more"])


def _channels(name: str, values: Any, default: float, count: int) -> list[float]:
    """One number for each channel."""
    if values is None:
        return [default] * count
    each = "one for each of R, G and B" if count == 3 else "one for each channel"
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected {count} numbers, {each}, or None, got {shown(values)}") from error
    if len(numbers) != count:
        raise ValueError(f"{name}: expected {count} numbers, {each}, got {len(numbers)}: {shown(values)}")
    if not all(math.isfinite(number) for number in numbers) or (name == "std" and min(numbers) <= 0):
        kind = "positive" if name == "std" else "finite"
        raise ValueError(f"{name}: expected {count} {kind} numbers, got {shown(values)}")
    return numbers


def _check_range(mean: list[float], std: list[float]) -> None:
    """Refuse numbers for RGB of 0 to 255: every pixel would look the same to the network, and none be told apart."""
    wrong = [name for name, values in (("mean", mean), ("std", std)) if max(values) > 1 or min(values) < 0]
    if not wrong:
        return
    mends = [f"mean={_divided(mean)}"] if "mean" in wrong else []
    if "std" in wrong or std == [1.0] * len(std):  # 1, too, is then meant for 0 to 255
        mends.append(f"std={_divided(std)}")
    raise ValueError(
        f"{wrong[0]}: expected numbers for RGB in [0, 1], got {mean if wrong[0] == 'mean' else std}, which are for RGB "
        f"of 0 to 255; divide by 255: {', '.join(mends)}"
    )


def _divided(values: list[float]) -> str:
    return f"[{', '.join(f'{value / 255:.6g}' for value in values)}]"


def renormalization(mean: list[float], std: list[float]) -> tuple[list[float], list[float]]:
    """Scale and shift from the mean and deviation that MagNet normalises with to others."""
    own_mean, own_std = normalization(len(mean))
    scale = [old / new for old, new in zip(own_std, std, strict=True)]
    shift = [(old - new) / deviation for old, new, deviation in zip(own_mean, mean, std, strict=True)]
    return scale, shift


def _get(result: Any, name: str) -> Any:
    """The value of a key or attribute; None where there is none."""
    if isinstance(result, Mapping):
        return result.get(name)
    return getattr(result, name, None)


def _first(value: Any) -> Any:
    """Of maps stacked as (N, S, C, h, w), as by deep supervision in training, those of full detail, the first."""
    return value[:, 0] if isinstance(value, Tensor) and value.ndim == 5 and value.shape[1] else value


def _is_map(value: Any, batch: int) -> bool:
    """Whether ``value`` is (N, C, h, w) floats, C, h and w at least 1."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim == 4
        and value.shape[0] == batch
        and 0 not in value.shape[1:]
    )


def _is_classes(value: Any, masks: Tensor) -> bool:
    """Whether ``value`` is (N, Q, C + 1) floats for the queries of ``masks``, C at least 1."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim == 3
        and value.shape[:2] == masks.shape[:2]
        and value.shape[2] >= 2
    )


def _find(result: Any, batch: int) -> tuple[Tensor, Tensor | None] | None:
    """Logits and None, or the queries' masks and classes; None where ``result`` holds neither."""
    if isinstance(result, Tensor):
        result = _first(result)
        return (result, None) if _is_map(result, batch) else None
    classes, masks = (_get(result, name) for name in _QUERIES)
    if masks is not None:
        return (masks, classes) if _is_map(masks, batch) and _is_classes(classes, masks) else None
    for name in _LOGITS:
        value = _first(_get(result, name))
        if _is_map(value, batch):
            return value, None
    if isinstance(result, (tuple, list)):
        for i, one in enumerate(result):
            found = _find(one, batch)
            if found is None:
                continue
            if any(_is_classes(before, found[0]) for before in result[:i]):
                raise ValueError(
                    "model: expected to tell logits from the masks of queries, but the network returned "
                    f"{describe(result)}, which may be either; choose with output= (an index, or a function)"
                )
            return found
    return None
