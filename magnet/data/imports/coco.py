"""COCO JSON, as it is published and as Label Studio, CVAT and others export it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from magnet.bounds import Size
from magnet.data.imports.found import (
    Found,
    Item,
    WholeLabels,
    check_faults,
    image_of,
    number_classes,
    turn,
    turned_note,
    unique_names,
)
from magnet.data.imports.shapes import Drawing, Order, Outline, Runs, Shape, read_runs
from magnet.data.names import plain_name
from magnet.data.sizes import image_head, image_size
from magnet.errors import MagNetError, printable, shown
from magnet.files.reading import parse_json, read_bytes
from magnet.images.opening import failures

__all__ = ["read_coco"]

_MOST = 1 << 30  # bytes: the instances of COCO's 118 287 training images have 450 MB


def read_coco(
    path: Path,
    images: Path,
    *,
    background: str,
    ignore: Collection[str],
    order: Order,
    skip_incomplete: bool = False,
) -> Found:
    """The images of a COCO file, and their annotations: polygons, RLE as numbers and compressed.

    Classes are the categories in the order of their ids, after the background: what no annotation holds.

    Args:
        path: the JSON file.
        images: folder of the images.
        background: name of that class; a category of this name is the same class.
        ignore: categories whose pixels are ignored.
        order: which of overlapping annotations is on top.
        skip_incomplete: leave out annotations without an outline, as boxes alone: their pixels are background.

    Raises:
        MagNetError: no COCO file; images that are missing, or of another size; annotations that have no outline, or
            are of no image or category.
    """
    content = _parsed(path)
    for key, told in (("categories", "class"), ("images", "image")):  # one of two would get what is the other's
        counts = Counter(one["id"] for one in content[key])
        check_faults(
            (f"{count} have the id {shown(number)}" for number, count in counts.items() if count > 1),
            f"each {told} of '{path}' to have an id of its own",
            "export the file anew, each image once",
        )
    categories = {int(one["id"]): str(one["name"]) for one in sorted(content["categories"], key=lambda c: int(c["id"]))}
    others = [name for name in categories.values() if plain_name(name) != plain_name(background)]
    names, ids = number_classes([background, *others], ignore)
    numbers = {key: ids.get(name, ids[background]) for key, name in categories.items()}
    of_images: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    drawn, notes = _with_outlines(content["annotations"], path, skip=skip_incomplete)
    for one in drawn:
        of_images[one["image_id"]].append(one)
    records = content["images"]
    known = {record["id"] for record in records}
    check_faults(
        (f"annotation {shown(one.get('id'))} is of image {shown(key)}" for key in of_images if key not in known
         for one in of_images[key]),
        f"annotations of the images of '{path}'",
        "export the file anew",
    )  # fmt: skip
    items: list[Item] = []
    faults: list[str] = []
    contested = empty = nothing = 0
    owners: dict[Path, Any] = {}
    paths = (image_of(images, str(record["file_name"])) for record in records)
    called = unique_names((one for one in paths if one is not None), images)
    if not records:
        raise MagNetError(f"import: expected images in '{path}', got none; export the labels with their images")
    turned: list[Path] = []
    for record in records:
        found, size, stored = _image(record, images, faults)
        if found is None:
            continue
        if owners.setdefault(found, record["id"]) != record["id"]:  # of two folders that --images does not have
            faults.append(f"'{found}' would be the image {shown(owners[found])} and the image {shown(record['id'])}")
            continue
        owned = of_images[record["id"]]
        _, over, none = _draw(owned, numbers, stored, ids[background], order, faults)
        contested, nothing = contested + over, nothing + none
        empty += not owned
        # drawn anew where it is written: all shapes of a large data set would not fit into memory
        make = partial(_labels, owned, numbers, stored, ids[background], order)
        if stored != size:
            turned.append(found)
            make = partial(turn, make, image_head(found)[1])
        items.append(Item(called[found], found, path, WholeLabels(size, make)))
    check_faults(faults, f"images and outlines for all of '{path}'", "mend the source, or check --images")
    if contested:
        notes.append(f"{contested} pixels lie in annotations of several classes: the {order} one is on top (--overlap)")
    if empty:
        notes.append(f"{empty} of {len(items)} images have no annotation: all of them is {background}")
    if nothing:
        notes.append(f"{nothing} annotations hold no pixel: they lie outside of their image, or are too small")
    notes += turned_note(turned)
    notes += _unused(drawn, categories, background, ignore)
    return Found(names, bool(ignore), items, notes=notes)


def _with_outlines(
    annotations: Sequence[Mapping[str, Any]], path: Path, *, skip: bool
) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The annotations that have an outline, and what to tell of the others, which are an error unless they may go."""
    drawn = [one for one in annotations if one.get("segmentation")]
    without = [one for one in annotations if not one.get("segmentation")]
    if not without:
        return drawn, []
    boxes = sum(bool(one.get("bbox")) for one in without)
    kinds = [f"{boxes} are boxes alone"] if boxes else []
    kinds += [f"{len(without) - boxes} have neither outline nor box"] if boxes < len(without) else []
    told = f"of {len(annotations)} annotations {' and '.join(kinds)}"
    if not skip or not drawn:
        first = f"annotation {shown(without[0].get('id'))} of image {shown(without[0]['image_id'])}"
        rest = ", or leave these out with --skip-incomplete, which makes their pixels background" if drawn else ""
        raise MagNetError(
            f"import: expected an outline in each annotation of '{path}', but {told}, as {first}; export outlines{rest}"
        )
    return drawn, [f"{told}: left out, so that their pixels are of what else lies there (--skip-incomplete)"]


def _unused(
    annotations: Sequence[Mapping[str, Any]], categories: Mapping[int, str], background: str, ignore: Collection[str]
) -> list[str]:
    """What to tell of categories that no annotation is of, as the one that Roboflow puts above all others."""
    used = {int(one["category_id"]) for one in annotations}
    known = {plain_name(name) for name in (background, *ignore)}
    names = [name for key, name in categories.items() if key not in used and plain_name(name) not in known]
    if not names:
        return []
    told = ", ".join(map(printable, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"no annotation is of {told}; where that is no class, --ignore leaves it out"]


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with failures(path):
            text = read_bytes(path, "import", "a COCO JSON file", at_most=_MOST)
        content = parse_json(text.decode("utf-8-sig"))
        wanted = {"images": ("id", "file_name"), "categories": ("id", "name"), "annotations": ("image_id",)}
        for key, inside in wanted.items():
            for one in content[key]:
                for name in inside:
                    one[name]
                    if name.endswith("id") and not isinstance(one[name], int | float | str):
                        raise ValueError(f"{name} {shown(one[name])} in its {key}")
        return content  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise MagNetError(
            f"import: expected COCO JSON with images, categories and annotations, but '{path}' is none ({told}); "
            "export the labels as COCO"
        ) from error


def _image(record: Mapping[str, Any], folder: Path, faults: list[str]) -> tuple[Path | None, Size, Size]:
    """The file of an image, its (H, W) upright, and that of its labels: another one where they were drawn on it as it
    is stored, before its EXIF turn."""
    name = str(record["file_name"])
    path = image_of(folder, name)
    if path is None:
        faults.append(f"'{printable(name)}' is not in '{folder}'")
        return None, (1, 1), (1, 1)
    size, stored = image_size(path), image_size(path, upright=False)
    told = record.get("height"), record.get("width")
    if not all(told):  # Label Studio does not always know
        return path, size, size
    try:
        meant = int(told[0]), int(told[1])  # type: ignore[arg-type]
    except (TypeError, ValueError):
        meant = (0, 0)
    if meant not in (size, stored):
        faults.append(f"'{path}' is {size[0]}x{size[1]} (HxW), and {shown(told[0])}x{shown(told[1])} in the labels")
        return None, size, size
    return path, size, size if meant == size else stored


def _draw(
    annotations: Sequence[Mapping[str, Any]],
    numbers: Mapping[int, int],
    size: Size,
    background: int,
    order: Order,
    faults: list[str],
) -> tuple[np.ndarray, int, int]:
    """As :meth:`Drawing.draw`, of all of an image; and how many annotations hold no pixel of it."""
    before = len(faults)
    shapes = [shape for one in annotations if (shape := _shape(one, numbers, size, faults))]
    whole = (0, 0, size[1], size[0])
    nothing = len(annotations) - len(shapes) - (len(faults) - before) + sum(_is_outside(one, size) for one in shapes)
    return *Drawing(size, shapes, background, order).draw(whole), nothing


def _is_outside(shape: Shape, size: Size) -> bool:
    x0, y0, x1, y1 = shape.bounds
    empty = x0 >= x1 or y0 >= y1 or (isinstance(shape, Runs) and shape.area == 0)
    return empty or x0 >= size[1] or y0 >= size[0] or x1 <= 0 or y1 <= 0


def _labels(
    annotations: Sequence[Mapping[str, Any]], numbers: Mapping[int, int], size: Size, background: int, order: Order
) -> np.ndarray:
    return _draw(annotations, numbers, size, background, order, [])[0]


def _shape(one: Mapping[str, Any], numbers: Mapping[int, int], size: Size, faults: list[str]) -> Shape | None:
    """The shape of an annotation; None where it holds no pixel, or is at fault."""
    told = f"annotation {shown(one.get('id'))} of image {shown(one['image_id'])}"
    try:
        number = numbers[int(one["category_id"])]
    except (KeyError, TypeError, ValueError):
        faults.append(f"{told} is of category {shown(one.get('category_id'))}, which there is none of")
        return None
    found = one.get("segmentation")
    try:
        if isinstance(found, dict):
            height, width = (int(side) for side in found["size"])
            counts = found["counts"]
            lengths = read_runs(counts) if isinstance(counts, str) else np.array(counts, np.int64)
            if (height, width) != size:
                raise ValueError(f"a mask of {size[0]}x{size[1]} (HxW), got {height}x{width}")
            return Runs(number, size, lengths)
        if not isinstance(found, list) or any(not isinstance(part, list) or len(part) % 2 for part in found):
            raise ValueError(f"lists of x and y in turn, one for each polygon, got {shown(found)}")
        rings = [np.array(part, np.float64).reshape(-1, 2) for part in found]
        if not all(np.isfinite(ring).all() for ring in rings):
            raise ValueError("numbers as corners")
        rings = [ring for ring in rings if len(ring) >= 3]  # two corners hold no pixel
        return Outline(number, [[ring] for ring in rings]) if rings else None
    except (KeyError, TypeError, ValueError, UnicodeEncodeError, OverflowError) as error:
        faults.append(f"{told}: expected {error}")
        return None
