"""Which pixels to replace and how many, chosen by labelled images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from magnet.data import Dataset
from magnet.errors import MagNetError
from magnet.evaluation.run import run_evaluation
from magnet.model.magnet import MagNet

__all__ = ["FRACTIONS", "Choice", "best_of", "tune"]

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)
_BY = ("score", "uncertainty")


@dataclass(frozen=True)
class Choice:
    """A way to choose pixels, and what it gave.

    Attributes:
        n_points, points_by: arguments of :class:`magnet.MagNet`; of the coarse prediction, 0 and "".
        mean_iou: in percent.
        seconds: median, an image.
        own: whether it is what the model has.
    """

    n_points: int | float
    points_by: str
    mean_iou: float
    seconds: float
    own: bool = False


def tune(
    model: MagNet,
    dataset: Dataset,
    *,
    fractions: Sequence[float] = FRACTIONS,
    limit: int = 0,
    report: Callable[[Choice], None] | None = None,
) -> list[Choice]:
    """The mean IoU of every choice of ``n_points`` and ``points_by``, and of the coarse prediction, which is the first.

    The other settings are the model's, ``n_patches`` among them. Use images that it was not trained on, and others
    than those which its quality is told by, as a best choice looks better on the images that it was chosen by.

    Args:
        model: a MagNet.
        dataset: labelled images.
        fractions: of the pixels, each in (0, 1]; the model's own choice is tried, too.
        limit: number of images; 0 = all.
        report: called with each choice as soon as it is known.

    Raises:
        MagNetError: as :func:`magnet.evaluation.evaluate`; no pixel of the labels counts.
    """
    own = _plain(model.n_points, model.points_by)
    tried = list(dict.fromkeys(_plain(float(n), by) for n in fractions for by in _BY))
    tried += [] if _is_among(own, tried) else [own]
    found: list[Choice] = []
    for n_points, by in [(0, ""), *tried]:
        mode = "coarse" if not by else "magnet" if model.n_patches is None else "fast"
        figures = run_evaluation(
            model.with_settings(n_points=n_points, points_by=by) if by else model,
            dataset,
            modes=[mode],
            n_patches=4 if model.n_patches is None else model.n_patches,
            limit=limit,
            boundary_width=0,
            per_scale=False,
            tell_names=not found,  # once is enough
        ).results[mode]
        if figures["mean_iou"] is None:
            raise MagNetError("data: expected labels that count, got none in these images; check the split")
        is_own = _is_among(own, [(n_points, by)])
        found.append(Choice(n_points, by, figures["mean_iou"], figures["seconds_median"], is_own))
        if report:
            report(found[-1])
    return found


def _plain(n_points: int | float, by: str) -> tuple[int | float, str]:
    """A choice; all pixels are the same by any, so that there is one of it."""
    return n_points, _BY[0] if isinstance(n_points, float) and n_points == 1 else by


def _is_among(own: tuple[int | float, str], choices: Sequence[tuple[int | float, str]]) -> bool:
    """Whether it is one of them; 1 is one pixel and 1.0 all of them, which Python takes for equal."""
    return any(own == one and isinstance(own[0], int) == isinstance(one[0], int) for one in choices)


def best_of(choices: Sequence[Choice]) -> Choice:
    """The best of those that refine; of equal ones the model's own, then the first."""
    return max((one for one in choices if one.points_by), key=lambda one: (one.mean_iou, one.own))
