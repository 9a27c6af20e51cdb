"""COCO JSON, as it is published and as Label Studio, CVAT and others export it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from magnet.bounds import Size
from magnet.data.imports.found import Found, Item, WholeLabels, check_faults, image_of, number_classes
from magnet.data.imports.shapes import Drawing, Order, Outline, Runs, Shape, read_runs
from magnet.data.names import plain_name
from magnet.data.sizes import image_size
from magnet.errors import MagNetError, printable, shown
from magnet.files.reading import parse_json, read_bytes
from magnet.images.opening import failures

__all__ = ["read_coco"]

_MOST = 1 << 30  # bytes: the instances of COCO's 118 287 training images have 450 MB


def read_coco(path: Path, images: Path, *, background: str, ignore: Collection[str], order: Order) -> Found:
    """The images of a COCO file, and their annotations: polygons, RLE as numbers and compressed.

    Classes are the categories in the order of their ids, after the background: what no annotation holds.

    Args:
        path: the JSON file.
        images: folder of the images.
        background: name of that class; a category of this name is the same class.
        ignore: categories whose pixels are ignored.
        order: which of overlapping annotations is on top.

    Raises:
        MagNetError: no COCO file; images that are missing, or of another size; annotations that have no outline, or
            are of no image or category.
    """
    content = _parsed(path)
    categories = {int(one["id"]): str(one["name"]) for one in sorted(content["categories"], key=lambda c: int(c["id"]))}
    others = [name for name in categories.values() if plain_name(name) != plain_name(background)]
    names, ids = number_classes([background, *others], ignore)
    numbers = {key: ids.get(name, ids[background]) for key, name in categories.items()}
    of_images: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for one in content["annotations"]:
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
    contested = empty = 0
    owners: dict[Path, Any] = {}
    stems = Counter(PurePosixPath(str(record["file_name"]).replace("\\", "/")).stem for record in records)
    for record in records:
        found, size = _image(record, images, faults)
        if found is None:
            continue
        if owners.setdefault(found, record["id"]) != record["id"]:  # of two folders that --images does not have
            faults.append(f"'{found}' would be the image {shown(owners[found])} and the image {shown(record['id'])}")
            continue
        owned = of_images[record["id"]]
        contested += _draw(owned, numbers, size, ids[background], order, faults)[1]
        empty += not owned
        # drawn anew where it is written: all shapes of a large data set would not fit into memory
        labels = WholeLabels(size, partial(_labels, owned, numbers, size, ids[background], order))
        items.append(Item(_name(str(record["file_name"]), stems), found, path, labels))
    check_faults(faults, f"images and outlines for all of '{path}'", "mend the source, or check --images")
    notes = []
    if contested:
        notes.append(f"{contested} pixels lie in annotations of several classes: the {order} one is on top (--overlap)")
    if empty:
        notes.append(f"{empty} of {len(items)} images have no annotation: all of them is {background}")
    return Found(names, bool(ignore), items, notes=notes)


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
        return content  # type: ignore[no-any-return]
    except (ValueError, KeyError, TypeError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise MagNetError(
            f"import: expected COCO JSON with images, categories and annotations, but '{path}' is none ({told}); "
            "export the labels as COCO"
        ) from error


def _image(record: Mapping[str, Any], folder: Path, faults: list[str]) -> tuple[Path | None, Size]:
    """The file of an image, and its (H, W)."""
    name = str(record["file_name"])
    path = image_of(folder, name)
    if path is None:
        faults.append(f"'{printable(name)}' is not in '{folder}'")
        return None, (1, 1)
    size = image_size(path)
    if "height" in record and "width" in record and (record["height"], record["width"]) != size:
        faults.append(
            f"'{path}' is {size[0]}x{size[1]} (HxW), and {shown(record['height'])}x{shown(record['width'])} in the "
            "labels"
        )
        return None, size
    return path, size


def _draw(
    annotations: Sequence[Mapping[str, Any]],
    numbers: Mapping[int, int],
    size: Size,
    background: int,
    order: Order,
    faults: list[str],
) -> tuple[np.ndarray, int]:
    """As :meth:`Drawing.draw`, of all of an image."""
    shapes = [shape for one in annotations if (shape := _shape(one, numbers, size, faults))]
    return Drawing(size, shapes, background, order).draw((0, 0, size[1], size[0]))


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
        if not found:
            raise ValueError("an outline, got a box alone" if one.get("bbox") else "an outline, got none")
        rings = [np.array(part, np.float64).reshape(-1, 2) for part in found]
        if not all(np.isfinite(ring).all() for ring in rings):
            raise ValueError("numbers as corners")
        rings = [ring for ring in rings if len(ring) >= 3]  # two corners hold no pixel
        return Outline(number, [[ring] for ring in rings]) if rings else None
    except (KeyError, TypeError, ValueError, UnicodeEncodeError, OverflowError) as error:
        faults.append(f"{told}: expected {error}")
        return None


def _name(file_name: str, stems: Mapping[str, int]) -> str:
    """The stem of an image, with its folders before it where another one has the same."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    return path.stem if stems[path.stem] == 1 else "_".join(path.with_suffix("").parts).replace("..", "")
