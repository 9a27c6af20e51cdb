"""Whether networks and images are what MagNet takes them for, told from their numbers.

A softmax of a softmax, or images that were never normalised, fit in shape and type, and the result is wrong all the
same. Each is looked at once, on the first batch, as to look costs a wait for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from magnet.errors import MagNetError, shown
from magnet_kernels import _transforms

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Finite", "can_look", "check_logits", "check_normalized", "check_probabilities", "not_finite"]

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


def check_logits(name: str, logits: Tensor) -> None:
    """Refuse probabilities where logits are meant, and warn of what may come from a sigmoid.

    Args:
        name: "segmenter" or "refiner".
        logits: (N, C, H, W).

    Raises:
        ValueError: the values of each pixel are in [0, 1] and sum to 1.
    """
    logits = logits.detach()
    if logits.numel() < _FEW * logits.shape[1]:
        return
    sums = logits.float().sum(dim=1)
    low, high, least, most = torch.stack([*logits.float().aminmax(), *sums.aminmax()]).tolist()
    if not (low >= -_SUM and high <= 1 + _SUM and high > low):  # NaN is found where the map is whole
        return
    if abs(least - 1) < _SUM and abs(most - 1) < _SUM:
        raise ValueError(
            f"{name}: expected logits, got probabilities (each pixel's values lie in [0, 1] and sum to 1), whose "
            "softmax is flat; leave the softmax of the network out, or return the logarithm of its output, as "
            "magnet.wrap(network, output=lambda p: p.clamp_min(1e-9).log()) does"
        )
    wide = high - low > (_SOME if low < 0.5 < high else _WIDE)
    if low >= 0 and high <= 1 and wide:
        warnings.warn(
            f"{name}: expected logits, got values between {low:.3g} and {high:.3g}, as after a sigmoid; leave it out, "
            "or return its inverse, as magnet.wrap(network, output=torch.logit) does",
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
