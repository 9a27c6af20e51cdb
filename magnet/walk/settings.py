"""The settings of the walk, checked once when they are made: one clear error for each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypedDict

import torch

from magnet.bounds import AMP, MAX_CHANNELS, MAX_INPUT_PIXELS, MAX_PATCHES, MAX_SCALES, Size
from magnet.checks import as_number, check_count, check_size, is_int, is_list
from magnet.errors import shown
from magnet.walk.grid import count_grid
from magnet.walk.points_by import CHOICES
from magnet_kernels._checks import check_kernel_size as check_kernel_size

__all__ = [
    "FIELDS",
    "FLIPS",
    "KEPT",
    "SHOWN",
    "Inference",
    "SettingsGiven",
    "WalkSettings",
    "check_names",
    "check_needed",
]

_PIXELS_PER_PASS = 1 << 18  # 128 channels of so many pixels take 128 MB in float32


class SettingsGiven(TypedDict, total=False):
    """Settings as keyword arguments: the fields of :class:`WalkSettings`, for type checkers and editors."""

    scales: Sequence[Sequence[int]]
    patch_size: Sequence[int]
    input_size: Sequence[int] | None
    n_points: int | float
    n_patches: int | Sequence[int | None] | None
    kernel_size: int
    compat: str
    batch_size: int | None
    follow_image: bool
    points_by: str
    colour_statistics: Sequence[Sequence[float]] | None
    match_colours: bool
    flips: str
    amp: str
    progress: bool | None


class Inference(NamedTuple):
    """How the networks are run.

    amp: "bf16" is under bfloat16 autocast, "auto" where the device computes in it; memory_format: of what they see;
    flips: axes of (N, C, H, W) along which images are mirrored, whose answers are averaged with that of the image as
    it is.
    """

    amp: str = "none"
    memory_format: torch.memory_format = torch.channels_last
    flips: tuple[tuple[int, ...], ...] = ()


FLIPS: dict[str, tuple[tuple[int, ...], ...]] = {"none": (), "horizontal": ((3,),), "both": ((3,), (2,), (2, 3))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class WalkSettings:
    """Everything that decides what a walk does, but for the networks. See :class:`magnet.MagNet` for each.

    Attributes:
        scales: sizes (H, W), coarse to fine.
        patch_size: (H, W) of the patches cut at each later scale.
        input_size: (H, W) that the networks see; ``patch_size`` where None is given.
        n_points: pixels replaced at each scale: a count, or a fraction.
        n_patches: looked at in each later scale: None is all; one number, or one for each later scale.
        kernel_size: of the median filter on the scores.
        follow_image: whether the scales follow each image.
        points_by: "score", "uncertainty" or "random".
        match_colours: whether images are brought to ``colour_statistics``.
        colour_statistics: mean and deviation of each channel, as R, G and B, in [0, 1].
        flips: "none", "horizontal" or "both".
        compat: "paper" or "official".
        batch_size: patches in one pass of the networks; None: as many as keep memory in bounds.
        amp: "none", "bf16" or "auto".
        progress: show a bar; None: on a terminal, once the walk has taken two seconds.

    Raises:
        TypeError, ValueError: a setting is not as it must be; begins with its name.
    """

    scales: Sequence[Size]
    patch_size: Size
    input_size: Size | None = None
    n_points: int | float
    n_patches: int | Sequence[int | None] | None = None
    kernel_size: int = 3
    compat: str = "paper"
    batch_size: int | None = None
    follow_image: bool = False
    points_by: str = "score"
    colour_statistics: Sequence[Sequence[float]] | None = None
    match_colours: bool = False
    flips: str = "none"
    amp: str = "none"
    progress: bool | None = None

    def __post_init__(self) -> None:
        compat = self.compat
        if compat not in ("paper", "official"):
            raise ValueError(f"compat: expected 'paper' or 'official', got {shown(compat)}")
        scales = check_scales(self.scales)
        patch_size = check_patch_size(self.patch_size, scales, official=compat == "official")
        checked = {
            "scales": tuple(scales),
            "patch_size": patch_size,
            "input_size": check_input_size(patch_size if self.input_size is None else self.input_size),
            "n_points": check_n_points(self.n_points),
            "n_patches": check_n_patches(self.n_patches, len(scales)),
            "kernel_size": check_kernel_size(self.kernel_size),
            "batch_size": None if self.batch_size is None else check_count("batch_size", self.batch_size),
            "follow_image": check_paper_only("follow_image", self.follow_image, False, (False, True), compat),
            "points_by": check_paper_only("points_by", self.points_by, "score", CHOICES, compat),
            "colour_statistics": check_colour_statistics(self.colour_statistics),
            "match_colours": check_paper_only("match_colours", self.match_colours, False, (False, True), compat),
            "flips": check_paper_only("flips", self.flips, "none", tuple(FLIPS), compat),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        if self.match_colours and self.colour_statistics is None:
            raise ValueError(
                "match_colours: expected a model that keeps colour_statistics, got one without; train it again, or "
                "pass colour_statistics=(mean, deviation) of each channel in [0, 1] over its training images"
            )
        if self.amp not in AMP:
            raise ValueError(f"amp: expected 'none', 'bf16' or 'auto', got {shown(self.amp)}")
        if self.progress not in (None, False, True):
            raise ValueError(f"progress: expected True, False or None, got {shown(self.progress)}")

    def changed(self, **changes: Any) -> WalkSettings:
        """These settings with others in place of some.

        Raises:
            TypeError: there is no such setting. TypeError, ValueError: it is not as it must be.
        """
        check_names(changes)
        return dataclasses.replace(self, **changes) if changes else self

    def patches_at(self, scale: int) -> int | None:
        """How many patches are looked at in ``scale`` (1 is the first after the coarse one); None: all."""
        return self.n_patches[scale - 1] if isinstance(self.n_patches, tuple) else self.n_patches  # type: ignore[return-value]

    def patches_per_pass(self, device: torch.device) -> int:
        """``batch_size``, or what stands for None on a device."""
        if self.batch_size is not None:
            return self.batch_size
        assert self.input_size is not None
        pixels = _PIXELS_PER_PASS * (8 if device.type == "cuda" else 1)
        return min(max(pixels // (self.input_size[0] * self.input_size[1]), 1), 16)

    @property
    def inference(self) -> Inference:
        """How the networks are run."""
        # channels_last convolutions are faster; the release's numbers were made without them
        memory_format = torch.contiguous_format if self.compat == "official" else torch.channels_last
        return Inference(self.amp, memory_format, FLIPS[self.flips])


FIELDS = tuple(field.name for field in dataclasses.fields(WalkSettings))
KEPT = tuple(name for name in FIELDS if name not in ("amp", "progress"))  # with a model: those are of a machine, a run
SHOWN = tuple(name for name in KEPT if name not in ("batch_size", "colour_statistics"))  # results depend on
_NEEDED = tuple(field.name for field in dataclasses.fields(WalkSettings) if field.default is dataclasses.MISSING)


def check_needed(names: Any) -> None:
    """Raise TypeError where a setting that has no default is not among ``names``."""
    lacking = [name for name in _NEEDED if name not in names]
    if lacking:
        raise TypeError(f"settings: expected {', '.join(_NEEDED)}, got no {', '.join(lacking)}; pass it")


def check_names(names: Any, others: Sequence[str] = ()) -> None:
    """Raise TypeError where one of ``names`` is no setting, and none of ``others``."""
    unknown = sorted(set(names) - {*FIELDS, *others})
    if unknown:
        raise TypeError(
            f"settings: expected some of {', '.join((*FIELDS, *others))}, got {', '.join(unknown)}; mend its name"
        )


def check_input_size(value: Any) -> Size:
    """(H, W) that the networks see."""
    return check_size("input_size", value, most=MAX_INPUT_PIXELS)


def check_scales(scales: Any) -> list[Size]:
    """At least one size, each no smaller than the one before and not equal to it."""
    if not is_list(scales) or not scales:
        raise ValueError(f"scales: expected a list of sizes (H, W), coarse to fine, got {shown(scales)}")
    if len(scales) > MAX_SCALES:
        raise ValueError(f"scales: expected at most {MAX_SCALES} sizes, got {len(scales)}")
    pairs = [check_size(f"scales[{i}]", size) for i, size in enumerate(scales)]
    for before, after in itertools.pairwise(pairs):
        if before == after or before[0] > after[0] or before[1] > after[1]:
            raise ValueError(
                f"scales: expected sizes (H, W) from coarse to fine, but {after} follows {before}; sort them, each once"
            )
    return pairs


def check_patch_size(patch_size: Any, scales: Sequence[Size], *, official: bool) -> Size:
    """A size that fits into every scale that patches are cut from."""
    size = check_size("patch_size", patch_size)
    cut = scales if official else scales[1:]  # the release cuts a patch from the first scale, too
    if cut and (size[0] > cut[0][0] or size[1] > cut[0][1]):
        raise ValueError(
            f"patch_size: expected at most {cut[0]} (H, W), the smallest scale that patches are cut from, got {size}; "
            "use a smaller patch, or drop the scale"
        )
    for height, width in cut:
        count = count_grid((height, width), size)
        if count > MAX_PATCHES:
            raise ValueError(
                f"patch_size: expected at most {MAX_PATCHES} patches in a scale, got {shown(size)}, which makes "
                f"{count} of {shown((height, width))}; use larger patches"
            )
    return size


def check_n_points(value: Any) -> int | float:
    """An int >= 0, or a float in (0, 1]."""
    value = as_number(value)
    if (is_int(value) and value >= 0) or (isinstance(value, float) and 0.0 < value <= 1.0):
        return value
    raise ValueError(
        "n_points: expected an int >= 0 (a count) or a float in (0, 1] (a fraction of the pixels), "
        f"got {shown(value)}; use e.g. 65536 or 0.25"
    )


def check_n_patches(value: Any, n_scales: int) -> int | tuple[int | None, ...] | None:
    """None, an int >= 0, or a list of these with one for each scale after the first, as a tuple."""

    def fits(one: Any) -> bool:
        return one is None or (is_int(one) and one >= 0)

    value = [as_number(one) for one in value] if is_list(value) else as_number(value)
    if fits(value):
        return value
    if is_list(value) and all(fits(one) for one in value):
        if len(value) == n_scales - 1:
            return tuple(value)
        raise ValueError(
            f"n_patches: expected one number for each scale after the first, {n_scales - 1}, "
            f"got {len(value)}: {shown(value)}"
        )
    raise ValueError(f"n_patches: expected None (all patches), an int >= 0, or a list of these, got {shown(value)}")


def check_paper_only(name: str, value: Any, default: Any, allowed: Sequence[Any], compat: str) -> Any:
    """One of ``allowed``; with ``compat="official"``, whose numbers are the release's, only ``default``."""
    if not any(type(value) is type(one) and value == one for one in allowed):
        choices = ", ".join(repr(one) for one in allowed)
        raise ValueError(f"{name}: expected one of {choices}, got {shown(value)}")
    if compat == "official" and value != default:
        raise ValueError(f"{name}: expected {default!r} with compat='official', got {shown(value)}; use compat='paper'")
    return value


def check_colour_statistics(value: Any) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of each channel: twice as many numbers in [0, 1]."""
    if value is None:
        return None
    try:
        mean, std = (tuple(float(v) for v in part) for part in value)
    except (TypeError, ValueError, OverflowError):
        mean = std = ()
    if not 1 <= len(mean) == len(std) <= MAX_CHANNELS or not all(0 <= v <= 1 for v in (*mean, *std)):
        raise ValueError(
            "colour_statistics: expected (mean, deviation), each of R, G and B, or of all channels, in [0, 1], "
            f"got {shown(value)}; magnet.images.channel_statistics makes them"
        )
    return mean, std
