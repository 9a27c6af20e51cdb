"""The walks of one trained MagNet that are compared: its own, MagNet-Fast, flips, other points, and no refiners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import magnet

__all__ = ["walk_variants"]

FRACTIONS = (0.1, 0.25, 1.0)


def walk_variants(model: magnet.MagNet, fast: Sequence[int]) -> Iterator[tuple[str, magnet.MagNet]]:
    """Name and model of each variant; networks are shared.

    Args:
        model: with refiners.
        fast: patches of MagNet-Fast at each later scale.
    """
    yield "coarse", _variant(model, n_patches=0)
    yield "MagNet", _variant(model)
    yield "MagNet, flips", _variant(model, flips="horizontal")
    yield "MagNet-Fast", _variant(model, n_patches=list(fast))
    yield "MagNet-Fast, flips", _variant(model, n_patches=list(fast), flips="horizontal")
    for refined in (True, False):
        for by in ("score", "uncertainty"):
            for fraction in FRACTIONS:
                if fraction == 1.0 and (by != "score" or (refined and model.n_points == 1.0)):
                    continue  # all pixels are the same by any choice, and may be MagNet itself
                name = f"{by}, {fraction:g}" if fraction < 1 else "all pixels"
                name = name if refined else f"no refiner, {name}"
                settings = {"n_points": fraction, "points_by": by}
                yield name, _variant(model, refined=refined, **settings)
                if by == "score" and fraction < 1:
                    yield f"{name}, flips", _variant(model, refined=refined, flips="horizontal", **settings)
    yield "no refiner, MagNet-Fast", _variant(model, refined=False, n_patches=list(fast), n_points=0.1)


def _variant(model: magnet.MagNet, refined: bool = True, **settings: Any) -> magnet.MagNet:
    if not refined:
        model = magnet.MagNet(model.segmenter, None, class_names=model.class_names, **asdict(model.settings)).eval()
    return model.with_settings(**settings)
