"""Networks of timm as encoders: maps of features at several strides, from random weights, which nothing downloads."""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.checks import check_channels
from magnet.errors import MagNetError, printable, shown
from magnet.extras import needed
from magnet.images.tensors import normalization
from magnet.networks.wrap import renormalization
from magnet.walk.passes import is_out_of_memory

__all__ = ["TimmEncoder", "as_timm_has_it", "check_encoder", "file_names", "resized", "whole_network"]

_NAME = re.compile(r"timm:[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?", re.ASCII)  # no colon or slash: those of a hub have
_SHOWN = 3
# what lets a network that is made for one size of images take others: of vision transformers, of Swin, of all others
_ANY_SIZE: tuple[dict[str, bool], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
    {},
)


def check_encoder(name: Any) -> str:
    """The name of an encoder, by its form alone; nothing is imported.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(name, str):
        raise TypeError(f"encoder: expected a text as 'timm:resnet34', got {shown(name)}; put timm: before its name")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"encoder: expected timm: and the name of one of its networks, as 'timm:resnet34', got {shown(name)}; "
            "timm.list_models() has the names, and weights come from a file"
        )
    return name


class TimmEncoder(nn.Module):
    """A network of timm without its classifier: (N, channels, H, W) images -> maps of features, finest first.

    Args:
        name: "timm:NAME", as "timm:resnet34"; NAME may have a tag ("timm:vit_tiny_patch16_224.augreg_in21k"), by which
            timm tells mean and deviation.
        channels: of the images, 1 to 16.

    Attributes:
        name, in_channels: as given.
        widths: channels of each level.
        strides: of each level, in pixels of the image; as timm says of them.

    Images come normalised as MagNet does it; those of three channels are brought to the mean and deviation that timm
    has for the network. These are kept with the weights.

    Raises:
        TypeError, ValueError: ``name`` is no such text, or ``channels`` is wrong.
        MagNetError: timm is not there, has no such network, or it gives no features.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, channels: int = 3) -> None:
        super().__init__()
        self.name, self.in_channels = check_encoder(name), check_channels(channels)
        timm = _timm(name)
        mean, std = _mean_and_std(timm, name, channels)
        self.model = _create(timm, name, channels)
        info = self.model.feature_info
        self.widths, self.strides = tuple(info.channels()), tuple(info.reduction())
        self._channels_last = getattr(self.model, "output_fmt", None) == "NHWC"  # an enumeration of texts
        for key, values in zip(("scale", "shift"), renormalization(mean, std), strict=True):
            self.register_buffer(key, torch.tensor(values).view(channels, 1, 1))

    @property
    def divisor(self) -> int:
        """What images' sides are padded to multiples of."""
        return max(self.strides)

    def normalization(self) -> tuple[list[float], list[float]]:
        """Mean and deviation of each channel that it expects images in [0, 1] to be normalised with."""
        means, deviations = normalization(self.in_channels)
        scale, shift = (values.flatten().tolist() for values in (self.scale, self.shift))
        std = [old / factor for old, factor in zip(deviations, scale, strict=True)]
        mean = [old - change * new for old, change, new in zip(means, shift, std, strict=True)]
        return [round(value, 6) + 0.0 for value in mean], [round(value, 6) for value in std]  # no -0.0

    def forward(self, images: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Maps (N, widths[i], h, w) of images padded on the right and at the bottom, and (H, W) of these.

        Raises:
            ValueError: the network takes no images of this size.
        """
        seen = torch.addcmul(self.shift.to(images.dtype), images, self.scale.to(images.dtype))
        below, right = (-side % self.divisor for side in images.shape[2:])
        if below or right:  # the border repeated, as magnet.wrap does it
            seen = F.pad(seen, (0, right, 0, below), mode="replicate")
        try:
            maps = self.model(seen)
        except (AssertionError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):  # which is tried again with less
                raise
            raise ValueError(
                f"encoder: {self.name} takes no images of {seen.shape[2]}x{seen.shape[3]} pixels (HxW) "
                f"({_reason(error)}); let it see the size that it is made for, or more (input_size), or choose an "
                "encoder for any size"
            ) from error
        if self._channels_last:
            maps = [one.permute(0, 3, 1, 2) for one in maps]
        return maps, (seen.shape[2], seen.shape[3])

    def extra_repr(self) -> str:
        return f"{self.name!r}, widths={self.widths}, strides={self.strides}"


def resized(logits: Tensor, seen: Sequence[int], size: Sequence[int]) -> Tensor:
    """Logits (N, C, h, w) of images that were padded to ``seen`` (H, W), at the pixels of those of ``size`` (H, W)."""
    logits = F.interpolate(logits, tuple(seen), mode="bilinear", align_corners=False)
    return logits if tuple(seen) == tuple(size) else logits[..., : size[0], : size[1]]


def whole_network(name: str) -> nn.Module:
    """timm's whole network for images of three channels, with its classifier and random weights, as its files have it.

    Raises:
        MagNetError: timm is not there, or has no such network.
    """
    timm = _timm(name)
    with torch.random.fork_rng(devices=[]):  # its weights are no part of anything
        return timm.create_model(name.removeprefix("timm:"), pretrained=False)  # type: ignore[no-any-return]


def as_timm_has_it(network: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A file's tensors, renamed and resampled as timm does it for files of other layouts, sizes and its own past.

    Args:
        network: of :func:`whole_network`.
        state: key -> tensor.
    """
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        found = convert(dict(state), network) if callable(convert) else state
    except Exception:  # of a file that it does not know
        return state
    return found if isinstance(found, Mapping) and all(isinstance(v, Tensor) for v in found.values()) else state


def file_names(key: str) -> tuple[str, ...]:
    """What a key of timm's whole network may be called in one that gives features.

    timm takes the first level of blocks apart ("blocks.0" is "blocks_0" then), or keeps the whole in "model" or "body".
    """
    return key, key.replace(".", "_", 1), f"model.{key}", f"body.{key}"


def _timm(name: str) -> Any:
    """timm, and in it a network of this name.

    Raises:
        MagNetError: there is none.
    """
    try:
        with needed("timm", f"'{name}'", "encoder"):
            import timm
    except MagNetError:
        raise
    except Exception as error:  # torchvision, which timm needs, does not load beside a torch of another build
        raise MagNetError(
            f"encoder: '{name}' needs timm, which does not load ({_reason(error)}); install the torchvision that goes "
            f"with this torch, {torch.__version__}"
        ) from error
    base, _, tag = name.removeprefix("timm:").partition(".")
    if not timm.is_model(base):
        near = difflib.get_close_matches(base, timm.list_models(), n=_SHOWN, cutoff=0.6)
        hint = f"did you mean {' or '.join(f'timm:{one}' for one in near)}?" if near else "see timm.list_models()"
        raise MagNetError(f"encoder: timm {timm.__version__} has no network '{base}'; {hint}")
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{base}.*")] if tag else []
    if tag and tag not in tags:
        raise MagNetError(
            f"encoder: timm {timm.__version__} knows '{base}' with the tags {', '.join(tags) or '(none)'}, got "
            f"'{tag}'; choose one of them, or leave it out"
        )
    return timm


def _create(timm: Any, name: str, channels: int) -> Any:
    """The network, with features at all levels that timm gives by itself."""
    for options in _ANY_SIZE:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what timm deprecates of its own
                return timm.create_model(
                    name.removeprefix("timm:"), pretrained=False, features_only=True, in_chans=channels, **options
                )
        except TypeError as error:
            if options and "unexpected keyword" in str(error):
                continue
            reason: Exception = error
        except Exception as error:  # of any kind: it is code of somebody else
            reason = error
        break
    raise MagNetError(
        f"encoder: timm makes no encoder of '{name}' ({_reason(reason)}); choose a network that it has features_only "
        "for, as timm:resnet34"
    ) from reason


def _mean_and_std(timm: Any, name: str, channels: int) -> tuple[list[float], list[float]]:
    """What images in [0, 1] are normalised with for this network."""
    mean, std = normalization(channels)
    config = timm.get_pretrained_cfg(name.removeprefix("timm:"))
    if channels == 3 and config is not None and len(config.mean or ()) == len(config.std or ()) == 3:
        mean, std = config.mean, config.std
    return [float(value) for value in mean], [float(value) for value in std]


def _reason(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 300)
