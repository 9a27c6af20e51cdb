"""An evaluation as a page of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from magnet.evaluation.extremes import Extreme
from magnet.evaluation.pictures import changed_windows
from magnet.evaluation.run import Evaluation
from magnet.evaluation.tables import COLUMNS, about, cell, none_told
from magnet.images.draw import Colours
from magnet.pages.page import Card, Matrix, Page, Section, Table
from magnet.pages.pictures import WINDOW, views_of

__all__ = ["evaluation_page", "extreme_card"]


def extreme_card(
    name: str,
    extreme: Extreme,
    image: np.ndarray,
    truth: np.ndarray,
    results: tuple[np.ndarray, np.ndarray],
    colours: Colours,
) -> Card:
    """An image, its labels and two predictions of it, with the part where most was gained, or lost.

    Args:
        name: of the image.
        extreme: its gain.
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) uint8 labels.
        results: (H, W) uint8 labels, coarse and refined.
        colours: RGB of each class.
    """
    coarse, refined = results
    side = (min(WINDOW, image.shape[0]), min(WINDOW, image.shape[1]))
    (part,) = changed_windows(coarse, refined, truth, extreme.gain, side, n=1)
    layers = {"coarse": coarse, "refined": refined, "labels": truth}
    return Card(name, f"{100 * extreme.gain:+.2f}", views_of(image, layers, colours, part))


def evaluation_page(
    content: dict[str, Any],
    evaluation: Evaluation,
    shown: Sequence[str],
    cards: dict[str, list[Card]],
    colours: Colours,
) -> Page:
    """The page of an evaluation.

    Args:
        content: of ``content_of``.
        evaluation: what it found.
        shown: the modes whose confusion is shown.
        cards: the images that "gained" and "lost" most.
        colours: RGB of each class.
    """
    results = content["results"]
    title, lines = about(content)
    names = list(next(iter(results.values()))["iou"])
    page = Page(title, [*lines, *none_told(evaluation)], list(zip(names, colours, strict=False)))
    rows = [[mode, *(cell(r[key], digits) for _, key, digits in COLUMNS)] for mode, r in results.items()]
    notes = "; ".join(f"{mode}: {r['note']}" for mode, r in results.items() if "note" in r)
    page.tables.append(Table("Modes", ["mode", *(heading for heading, _, _ in COLUMNS)], rows, note=notes))
    page.tables.append(_classes(results, evaluation, names, colours))
    page.matrices = [Matrix(mode, names, _shares(evaluation.confusion[mode])) for mode in shown]
    for kind, made in cards.items():
        if made:
            note = f"{len(made)} of {content['images']} images; points of mean IoU of the image."
            page.sections.append(Section(f"Where {evaluation.refined} {kind} most over coarse", note, made))
    return page


def _classes(results: dict[str, Any], evaluation: Evaluation, names: list[str], colours: Colours) -> Table:
    """IoU and boundary IoU of each class and mode, the gain of refinement, and how often the class is labelled."""
    modes, refined = list(results), evaluation.refined
    heads = ["class"]
    columns: list[list[str]] = [names]
    if evaluation.confusion:
        labelled = next(iter(evaluation.confusion.values())).sum(axis=1)
        heads.append("% of labels")
        columns.append([f"{100 * pixels / max(labelled.sum(), 1):.2f}" for pixels in labelled])
    heads += [f"IoU {mode}" for mode in modes]
    columns += [[cell(results[mode]["iou"][name], 2) for name in names] for mode in modes]
    if refined:
        pairs = [(results["coarse"]["iou"][name], results[refined]["iou"][name]) for name in names]
        heads.append(f"gain of {refined}")
        columns.append(["-" if None in pair else f"{pair[1] - pair[0]:+.2f}" for pair in pairs])
    bounded = [mode for mode in modes if results[mode]["boundary_iou"] is not None]
    heads += [f"boundary IoU {mode}" for mode in bounded]
    columns += [[cell(results[mode]["boundary_iou_per_class"][name], 2) for name in names] for mode in bounded]
    return Table("Classes", heads, list(zip(*columns, strict=True)), colours)


def _shares(confusion: np.ndarray) -> list[list[float] | None]:
    return [[100 * float(n) / float(row.sum()) for n in row] if row.sum() else None for row in confusion]
