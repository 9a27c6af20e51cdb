"""``magnet predict --report``: a page of HTML about the images of a folder, made of a small file an image.

That file, the summary, is a result like others: a job that was broken off and goes on, or was shared out in parts, has
all of them in the end.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magnet.files.outputs import Outputs
from magnet.images.draw import Colours, most_improved
from magnet.pages.page import Card, Layer, Page, Section, Table, View, render
from magnet.pages.pictures import WINDOW, views_of

__all__ = ["PAGE", "summary_of", "write_page"]

PAGE = "report.html"
_IMAGES = 24  # that are shown
_ROWS = 500  # of the table of images
_LEAST = 0.05  # percent of an image, below which a class is not named beside it


def summary_of(
    image: np.ndarray,
    coarse: np.ndarray,
    refined: np.ndarray,
    colours: Colours,
    class_names: Sequence[str] | None,
) -> dict[str, Any]:
    """What a page holds of an image, as values for JSON: size, classes with their pixels, changes, small pictures.

    Args:
        image: (H, W, 3) uint8 RGB.
        coarse, refined: (H, W) labels.
        colours: RGB of each class.
        class_names: of the classes; None: their numbers.
    """
    size = (image.shape[0], image.shape[1])
    names = class_names or [str(number) for number in range(len(colours))]
    counts = np.bincount(refined.ravel(), minlength=len(names))
    (part,) = most_improved(coarse, refined, size=(min(WINDOW, size[0]), min(WINDOW, size[1])), n=1)
    views = views_of(image, {"coarse": coarse, "refined": refined}, colours, part)
    return {
        "size": size,
        "changed_percent": round(100 * float((coarse != refined).mean()), 4),
        "classes": [
            {"name": name, "colour": [int(value) for value in colour], "pixels": int(pixels)}
            for name, colour, pixels in zip(names, colours, counts, strict=False)
        ],
        "views": [
            {
                "title": view.title,
                "size": (view.height, view.width),
                "layers": {layer.name: layer.uri for layer in view.layers},
            }
            for view in views
        ],
    }


def write_page(
    outputs: Outputs, source: str, model: str, summaries: Mapping[str, Path], missing: Sequence[str] = ()
) -> Path:
    """Write the page of a job into the folder of its results.

    Args:
        outputs: the folder, entered.
        source: what it records that the page is made from.
        model: what the page calls the model.
        summaries: of images that are done, by the names that the page calls them.
        missing: names of the other inputs of the job.

    Returns:
        The page.
    """
    path = outputs.folder / PAGE
    page = _page(model, ((name, _read(file)) for name, file in summaries.items()), missing)
    with outputs.write(path, source) as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    return path


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _page(model: str, summaries: Iterable[tuple[str, dict[str, Any]]], missing: Sequence[str]) -> Page:
    rows: list[tuple[float, str, dict[str, Any]]] = []
    shown: list[tuple[float, int, str, dict[str, Any]]] = []
    for number, (name, summary) in enumerate(summaries):
        changed = summary["changed_percent"]
        entry = (changed, -number, name, summary)  # of two that changed as much the first
        heapq.heappush(shown, entry) if len(shown) < _IMAGES else heapq.heappushpop(shown, entry)
        rows.append((changed, name, {key: value for key, value in summary.items() if key != "views"}))
    shown.sort(reverse=True)
    inputs, about = len(rows) + len(missing), []
    if missing:
        about.append(
            f"{len(missing)} of {inputs} inputs are not among them (named below): maps and slides, whose labels are "
            "files of their own, and what could not be read"
        )
    page = Page(f"{model} on {len(rows)} {'image' if len(rows) == 1 else 'images'}", about, [])
    absent = [_missing_table(missing)] if missing else []
    if not rows:
        page.tables = absent
        return page
    classes = rows[0][2]["classes"]
    page.legend = [(one["name"], one["colour"]) for one in classes]
    page.tables = [_class_table(rows), _image_table(rows), *absent]
    note = f"{len(shown)} of {len(rows)} images, those whose pixels refinement changed most"
    page.sections = [Section("Images", note, [_card(name, summary) for _, _, name, summary in shown])]
    return page


def _missing_table(names: Sequence[str]) -> Table:
    note = f"{_ROWS} of {len(names)} inputs." if len(names) > _ROWS else ""
    return Table("Not on this page", ["input"], [[name] for name in names[:_ROWS]], note=note)


def _percents(summary: Mapping[str, Any]) -> list[float]:
    pixels = [one["pixels"] for one in summary["classes"]]
    return [100 * count / max(sum(pixels), 1) for count in pixels]


def _class_table(rows: Sequence[tuple[float, str, dict[str, Any]]]) -> Table:
    classes = rows[0][2]["classes"]
    pixels = np.array([[one["pixels"] for one in summary["classes"]] for _, _, summary in rows])
    shares = 100 * pixels.sum(axis=0) / max(int(pixels.sum()), 1)
    cells = [
        [one["name"], f"{share:.2f}", str(int(images))]
        for one, share, images in zip(classes, shares, (pixels > 0).sum(axis=0), strict=True)
    ]
    return Table("Classes", ["class", "% of pixels", "images"], cells, [one["colour"] for one in classes])


def _image_table(rows: Sequence[tuple[float, str, dict[str, Any]]]) -> Table:
    kept = sorted(rows, key=lambda row: -row[0])[:_ROWS] if len(rows) > _ROWS else rows
    names = [one["name"] for one in rows[0][2]["classes"]]
    cells = [
        [name, "{}x{}".format(*summary["size"]), f"{changed:.2f}", *(f"{share:.2f}" for share in _percents(summary))]
        for changed, name, summary in kept
    ]
    note = "Percent of the pixels of each image: whose class refinement changed, and of each class."
    if len(rows) > len(kept):
        note += f" {len(kept)} of {len(rows)} images, those that changed most."
    return Table("Shares of classes", ["image", "size (HxW)", "changed", *names], cells, note=note)


def _card(name: str, summary: Mapping[str, Any]) -> Card:
    views = [
        View(
            view["title"],
            view["size"][1],
            view["size"][0],
            [Layer(layer, uri) for layer, uri in view["layers"].items()],
        )
        for view in summary["views"]
    ]
    found = sorted(
        zip((one["name"] for one in summary["classes"]), _percents(summary), strict=True), key=lambda one: -one[1]
    )
    figures = [(label, f"{share:.1f}%") for label, share in found if share >= _LEAST]
    return Card(
        name, f"Refinement changed the class of {summary['changed_percent']:.2f}% of the pixels", views, figures
    )
