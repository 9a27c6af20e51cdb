"""What the tables of an evaluation have in common: columns, cells, and the lines above them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from magnet.evaluation.run import Evaluation
from magnet.walk.settings import WalkSettings

__all__ = ["COLUMNS", "about", "cell", "none_told"]

COLUMNS = (  # heading, key, digits
    ("mean IoU", "mean_iou", 2),
    ("fw IoU", "frequency_weighted_iou", 2),
    ("boundary IoU", "boundary_iou", 2),
    ("pixel acc.", "pixel_accuracy", 2),
    ("class acc.", "mean_class_accuracy", 2),
    ("s/image", "seconds_median", 3),
    ("MiB", "peak_memory_mib", 0),
)


# what is told of where it is not as usual
_CHOICES = {
    field.name: field.default
    for field in fields(WalkSettings)
    if field.name in ("points_by", "follow_image", "match_colours", "flips", "compat")
}


def cell(value: float | None, digits: int) -> str:
    """A figure as text; "-" for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def about(content: dict[str, Any]) -> tuple[str, list[str]]:
    """A title and lines: what was evaluated, with which settings, on which machine.

    Args:
        content: of :func:`magnet.evaluation.report.content_of`.
    """
    data = content["data"] if isinstance(content["data"], str) else ", ".join(content["data"])
    width = content["boundary_width"]
    boundary = f"{width} pixels" if isinstance(width, int) else f"{100 * width:g}% of the diagonal"
    settings = [f"{key} {content[key]}" for key in ("images", "n_points", "n_patches", "kernel_size", "amp", "threads")]
    settings += [f"{key} {content[key]}" for key, usual in _CHOICES.items() if content.get(key, usual) != usual]
    scales = ", ".join(f"{h}x{w}" for h, w in content["scales"])
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    return f"{content['model']} on {data}, {content['split']}", [
        f"{', '.join(settings)}; scales (HxW) {scales}; boundary width {boundary}",
        f"{content['device']} ({content['device_name']}), {content['processes']} processes; {versions}",
    ]


def none_told(evaluation: Evaluation) -> list[str]:
    """Which of the two no image did, to gain or to lose; nothing where some did each, or none did either."""
    told = {"gained": evaluation.gained, "lost": evaluation.lost}
    if not any(told.values()):
        return []
    return [f"{evaluation.refined} {kind} over coarse on no image" for kind, images in told.items() if not images]
