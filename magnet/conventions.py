"""Whether networks and images are what MagNet takes them for, told from their numbers.

A softmax of a softmax, or images that were never normalised, fit in shape and type, and the result is wrong all the
same. Each is looked at once, on the first batch, as to look costs a wait for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from magnet.errors import MagNetError, shown
from magnet_kernels import _transforms

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "Finite",
    "are_probabilities",
    "can_look",
    "check_logits",
    "check_normalized",
    "check_probabilities",
    "not_finite",
]

_FEW = 16  # numbers: so few may fall into any range
_SUM = 0.01  # how far from 1 probabilities in half precision may sum up
_FAR = 10.0  # normalised images end below 3
_WIDE = 0.75  # how much of [0, 1] images take that were made to lie in it
_SOME = 0.02  # how much of it a sigmoid of a network that is hardly trained takes, around a half


def can_look(values: Tensor) -> bool:
    """Whether ``values`` has numbers, and they may be waited for."""
    if torch.compiler.is_compiling() or _transforms.active() or isinstance(values, FakeTensor) or values.is_meta:
        return False
    return not (values.is_cuda and torch.cuda.is_current_stream_capturing())


class _Seen(NamedTuple):
    """Least and largest value of a map, and of the sums of its pixels over the channels."""

    low: float
    high: float
    least: float
    most: float

    @property
    def in_unit(self) -> bool:
        """Whether all values lie in [0, 1], and differ."""
        return self.low >= -_SUM and self.high <= 1 + _SUM and self.high > self.low

    @property
    def sums_to_one(self) -> bool:
        return abs(self.least - 1) < _SUM and abs(self.most - 1) < _SUM


def _see(maps: Tensor) -> _Seen | None:
    """The extremes of (N, C, H, W); None where there are too few numbers to tell anything."""
    maps = maps.detach()
    if maps.numel() < _FEW * maps.shape[1]:
        return None
    values = maps.float()
    return _Seen(*torch.stack([*values.aminmax(), *values.sum(dim=1).aminmax()]).tolist())


def are_probabilities(maps: Tensor) -> bool | None:
    """Whether the values of each pixel of (N, C, H, W) lie in [0, 1] and sum to 1; None where too few tell nothing."""
    seen = _see(maps)
    return None if seen is None else seen.in_unit and seen.sums_to_one


def check_logits(name: str, logits: Tensor) -> None:
    """Refuse probabilities where logits are meant, and warn of what may come from a sigmoid.

    Args:
        name: "segmenter" or "refiner".
        logits: (N, C, H, W).

    Raises:
        ValueError: the values of each pixel are in [0, 1] and sum to 1.
    """
    seen = _see(logits)
    if seen is None or not seen.in_unit:  # NaN is found where the map is whole
        return
    if seen.sums_to_one:
        raise ValueError(
            f"{name}: expected logits, got probabilities (each pixel's values lie in [0, 1] and sum to 1), whose "
            "softmax is flat; leave the softmax of the network out, or return the logarithm of its output, as "
            "magnet.wrap(network, activation='softmax') does"
        )
    wide = seen.high - seen.low > (_SOME if seen.low < 0.5 < seen.high else _WIDE)
    if seen.low >= 0 and seen.high <= 1 and wide:
        warnings.warn(
            f"{name}: expected logits, got values between {seen.low:.3g} and {seen.high:.3g}, as after a sigmoid; "
            "leave it out, or return its inverse, as magnet.wrap(network, activation='sigmoid') does",
            stacklevel=2,
        )


def check_probabilities(name: str, values: Tensor) -> None:
    """Warn of what may be logits where probabilities are meant.

    Args:
        name: of the argument.
        values: (N, C, H, W).
    """
    if values.numel() == 0:
        return
    low, high = torch.stack(values.detach().float().aminmax()).tolist()
    if low < -_SUM or high > 1 + _SUM:
        warnings.warn(
            f"{name}: expected probabilities, got values between {low:.3g} and {high:.3g}, as of logits; take "
            "softmax(dim=1) first",
            stacklevel=2,
        )


def check_normalized(images: Tensor) -> None:
    """Refuse images of 0 to 255 where normalised ones are meant, and warn of what may be images in [0, 1].

    Args:
        images: (N, 3, H, W) floats.

    Raises:
        ValueError: values are far beyond those of normalised images.
    """
    low, high = torch.stack(images.detach().float().aminmax()).tolist()
    told = f"images: expected normalised images, with values of about -2.1 to 2.6, got {low:.3g} to {high:.3g}"
    if max(-low, high) > _FAR:
        raise ValueError(f"{told}; use magnet.images.normalize on RGB in [0, 1], or predict(), which does so itself")
    if images.numel() >= _FEW * 3 and low >= 0 and high <= 1 and high - low > _WIDE:
        warnings.warn(
            f"{told}, as before the normalisation; use magnet.images.normalize, or predict(), which does so itself",
            stacklevel=2,
        )


def not_finite(state: Mapping[str, Tensor]) -> list[str]:
    """Names of the floating-point tensors that hold NaN or infinity."""
    return [key for key, value in state.items() if value.is_floating_point() and not _is_finite(value)]


def _is_finite(value: Tensor) -> bool:
    value = value.float() if value.element_size() == 1 else value  # torch does little with floats of eight bits
    # a sum is finite unless a value is not, or it overflows: only then each value is looked at
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


class Finite:
    """Finds NaN in the maps of one walk.

    One number is kept for each scale. On a GPU they are looked at together when the walk is done, so that the host does
    not wait in between; on the CPU, where there is nothing to wait for, at once.

    Args:
        model: whose walk it is; the error names a weight that is not finite, if there is one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._sums: list[Tensor] = []
        self._places: list[str] = []

    def look(self, probabilities: Tensor, place: str, size: Sequence[int]) -> None:
        """Remember the probabilities of ``place``, such as "scales[1]", of ``size`` (H, W).

        Raises:
            MagNetError: on the CPU, as :meth:`finish`.
        """
        if not can_look(probabilities):
            return
        self._sums.append(probabilities.sum())  # of a softmax: no infinities, and no sum that overflows
        self._places.append(f"{place}, {tuple(size)}")
        if probabilities.device.type == "cpu":
            self.finish()

    def finish(self) -> None:
        """
        Raises:
            MagNetError: there was NaN, which names the first scale that had it.
        """
        if not self._sums:
            return
        sums = torch.stack(self._sums).isfinite().tolist()
        self._sums.clear()
        places, self._places = self._places, []
        if all(sums):
            return
        bad = not_finite(self._model.state_dict())
        cause = f"the weight {shown(bad[0])} is not finite; load others" if bad else "try amp='none', or other weights"
        raise MagNetError(
            f"networks: expected finite logits, got NaN or infinity at {places[sums.index(False)]}; {cause}"
        )
