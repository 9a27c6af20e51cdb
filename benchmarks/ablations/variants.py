"""What the ablations vary, one setting at a time, around a model's own settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import magnet
from magnet.walk.points_by import CHOICES

__all__ = ["Variant", "build", "variants"]

FRACTIONS = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
KERNELS = (1, 3, 5, 11)


@dataclass(frozen=True)
class Variant:
    """One row of a table: a walk that differs from the model's own.

    group: the table; name: the row; mode: of ``magnet.cli.evaluate.evaluate``; scales: indices into the model's scales,
    None for all; settings: attributes of the model.
    """

    group: str
    name: str
    mode: str = "magnet"
    scales: tuple[int, ...] | None = None
    settings: dict[str, Any] = field(default_factory=dict)


def variants(n_scales: int, fast: Sequence[int]) -> Iterator[Variant]:
    """All variants of a model of ``n_scales``; ``fast`` is its usual number of patches for each later scale."""
    yield Variant("ways", "upsampled coarse", "coarse")
    yield Variant("ways", "sliding window", "sliding")
    yield Variant("ways", "full resolution at once", "full")
    yield Variant("ways", "MagNet")
    yield Variant("ways", "MagNet-Fast", settings={"n_patches": list(fast)})
    for last in range(1, n_scales):
        yield Variant("scales", " > ".join(map(str, range(1, last + 2))), scales=tuple(range(last + 1)))
    for last in range(2, n_scales):
        yield Variant("scales", f"1 > {last + 1}", scales=(0, last))
    for fraction in FRACTIONS:
        yield Variant("points", f"{fraction:g}", settings={"n_points": fraction})
    for fraction in (0.1, 0.5, 0.75):
        for choice in CHOICES:
            name = f"{choice}, {fraction:g}"
            yield Variant("choice", name, settings={"points_by": choice, "n_points": fraction})
    yield Variant("choice", "all pixels", settings={"n_points": 1.0})
    for kernel in KERNELS:
        # with few points, so that it matters which
        yield Variant("median", str(kernel), settings={"n_points": 0.25, "kernel_size": kernel})
    for factor in (0.25, 0.5, 1, 2):
        some = [max(1, round(count * factor)) for count in fast]
        yield Variant("patches", ", ".join(map(str, some)), settings={"n_patches": some})
    yield Variant("patches", "all")


def build(model: magnet.MagNet, variant: Variant) -> magnet.MagNet:
    """The model of a variant, which looks at all patches unless told otherwise; networks are shared with ``model``."""
    settings: dict[str, Any] = {"n_patches": None, **variant.settings}
    if variant.scales is None:
        return model.with_settings(**settings)
    refiners = [refiner for i in variant.scales[1:] if (refiner := model.refiner_at(i)) is not None]
    settings = {**asdict(model.settings), "scales": [model.scales[i] for i in variant.scales], **settings}
    return magnet.MagNet(model.segmenter, refiners or None, class_names=model.class_names, **settings).eval()
