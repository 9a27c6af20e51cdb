"""Checks of MagNet's arguments: one clear error for each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from magnet.bounds import MAX_INPUT_PIXELS, MAX_PATCHES, MAX_SCALES
from magnet.checks import Pair, as_number, check_size, is_int, is_list
from magnet.errors import shown
from magnet.walk.grid import count_grid
from magnet_kernels._checks import check_kernel_size as check_kernel_size


def check_input_size(value: Any) -> Pair:
    """(H, W) that the networks see."""
    return check_size("input_size", value, most=MAX_INPUT_PIXELS)


def check_scales(scales: Any) -> list[Pair]:
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


def check_patch_size(patch_size: Any, scales: Sequence[Pair], *, official: bool) -> Pair:
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


def check_n_patches(value: Any, n_scales: int) -> int | list[int | None] | None:
    """None, an int >= 0, or a list of these with one for each scale after the first."""

    def fits(one: Any) -> bool:
        return one is None or (is_int(one) and one >= 0)

    value = [as_number(one) for one in value] if is_list(value) else as_number(value)
    if fits(value):
        return value
    if is_list(value) and all(fits(one) for one in value):
        if len(value) == n_scales - 1:
            return list(value)
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


def check_class_names(names: Any, num_classes: int | None) -> list[str] | None:
    """One text for each class."""
    if names is None:
        return None
    if not is_list(names) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names: expected a list of texts, got {shown(names)}")
    if num_classes is not None and len(names) != num_classes:
        raise ValueError(f"class_names: expected one for each of {num_classes} classes, got {len(names)}")
    return list(names)


def check_colour_statistics(value: Any) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of R, G and B: twice three numbers in [0, 1]."""
    if value is None:
        return None
    try:
        mean, std = ([float(v) for v in part] for part in value)
    except (TypeError, ValueError, OverflowError):
        mean = std = []
    if len(mean) != 3 or len(std) != 3 or not all(0 <= v <= 1 for v in (*mean, *std)):
        raise ValueError(
            "colour_statistics: expected (mean, deviation), each of R, G and B in [0, 1], "
            f"got {shown(value)}; magnet.images.channel_statistics makes them"
        )
    return mean, std


def check_colours(colours: Any, num_classes: int | None) -> list[tuple[int, int, int]] | None:
    """One RGB triple for each class."""
    if colours is None:
        return None
    try:
        rows = [tuple(int(v) for v in colour) for colour in colours]
    except (TypeError, ValueError, OverflowError) as error:  # infinity is no int
        raise ValueError(f"colours: expected RGB triples of 0 to 255, got {shown(colours)}") from error
    if not all(len(row) == 3 and all(0 <= v <= 255 for v in row) for row in rows):
        raise ValueError(f"colours: expected RGB triples of 0 to 255, got {shown(rows)}")
    if num_classes is not None and len(rows) != num_classes:
        raise ValueError(f"colours: expected one for each of {num_classes} classes, got {len(rows)}")
    return [(r, g, b) for r, g, b in rows]


def check_images(images: Any) -> None:
    """Normalised images (N, 3, H, W)."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"images: expected a floating-point tensor of normalised images (N, 3, H, W), got {got}; "
            "use magnet.images.normalize, or predict() for other kinds of images"
        )
    if images.ndim != 4 or images.shape[1] != 3 or images.numel() == 0:
        raise ValueError(
            f"images: expected (N, 3, H, W), none of them 0, got {tuple(images.shape)}; "
            "use images[None] for a single one"
        )
