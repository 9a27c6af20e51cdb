"""What must be reached, as data: how many times as fast as a competitor an operator must be, on two threads."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "1x19x1024x2048 float32"
N_POINTS = 65536


@dataclass(frozen=True)
class Target:
    """Median time of ``rival`` divided by ours must reach ``ratio`` for ``case`` at the default shape."""

    case: str
    rival: str
    ratio: float


TARGETS = (
    Target("confidence", "reference", 10),
    Target("confidence", "compile", 1),
    Target("median_blur 3x3", "reference", 100),
    Target("median_blur 3x3", "opencv", 1 / 1.5),
    Target("median_blur 5x5", "opencv", 1 / 2),
    Target("median_blur 11x11", "reference", 20),
    Target("select_points", "reference", 5),
    Target("refine_step_", "reference", 14),
    Target("refine_step_", "compile", 1.8),
    Target("refine_step", "reference", 6),
    Target("refine_step", "compile", 1.2),
)
MOST_SCORE_MAPS = 3.0  # memory of refine_step_ beyond its inputs


def target_of(case: str, shape: str, rival: str) -> Target | None:
    """The target of a comparison, if it has one."""
    if shape != DEFAULT:
        return None
    return next((target for target in TARGETS if (target.case, target.rival) == (case, rival)), None)
