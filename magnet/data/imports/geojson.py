"""GeoJSON drawn over rasters: a property of each feature names its class."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from magnet.data.imports.found import Found, Item, check_faults, number_classes, unique_names
from magnet.data.imports.shapes import Drawing, Order, Outline
from magnet.data.names import plain_name
from magnet.errors import ArgumentError, MagNetError, shown
from magnet.images.rasters.open import open_raster
from magnet.images.rasters.raster import Raster
from magnet.images.read import IMAGE_SUFFIXES
from magnet.images.wanted.polygon_mask import in_pixels, polygons_of, read_geojson

__all__ = ["read_features"]

_SUFFIXES = (".geojson", ".json")
_TIFF = (".tif", ".tiff")


def read_features(
    path: Path,
    images: Path,
    *,
    classes_from: str,
    background: str,
    ignore: Collection[str],
    order: Order,
    skip_incomplete: bool = False,
) -> Found:
    """Polygons as labels of the rasters of a folder: pixels whose centres lie in one are of its class.

    Args:
        path: one GeoJSON file for all rasters, or a folder with one of the name of each. On rasters with a place
            coordinates are brought from the file's CRS to the raster's; on others they are pixels.
        images: folder of the rasters.
        classes_from: the property that names the class; dots lead into properties, as "classification.name".
        background: class of what no polygon holds.
        ignore: classes whose pixels are ignored.
        order: which of overlapping polygons is on top.
        skip_incomplete: leave out features without the property: their pixels are background.

    Raises:
        MagNetError: features without the property, coordinates that cannot be those of a raster, rasters without a
            GeoJSON file, no polygon on any of them.
    """
    rasters = [one for one in sorted(images.iterdir()) if _is_image(one)] if images.is_dir() else []
    if not rasters:
        raise ArgumentError(f"import: expected a folder of images, got none in '{images}'; check --images")
    of_raster = {raster: path if path.is_file() else _beside(path, raster) for raster in rasters}
    missing = [f"'{raster}' has none in '{path}'" for raster, file in of_raster.items() if file is None]
    check_faults(missing, "a GeoJSON file of the name of each image", "check --images, or give one file for all")
    files = sorted({file for file in of_raster.values() if file is not None})
    with _told():
        features, frames = {}, {}
        for source in files:
            content = read_geojson(source)
            features[source] = list(_features(content, source, classes_from))
            # what else it holds is not kept
            frames[source] = {"crs": content["crs"]} if isinstance(content, dict) and "crs" in content else {}
            del content
    notes = _check_classes(features, classes_from, skip=skip_incomplete)
    named = sorted({one.name for found in features.values() for one in found if one.name is not None})
    others = [name for name in named if plain_name(name) != plain_name(background)]
    names, ids = number_classes([background, *others], ignore)
    numbers = {name: ids.get(name, ids[background]) for name in named}
    called = unique_names(rasters, images)
    items, empty = [], []
    for raster, file in of_raster.items():
        assert file is not None
        with _told(), open_raster(raster) as opened:
            shapes = _shapes(opened, features[file], numbers, frames[file], file)
            drawing = Drawing(opened.size, shapes, ids[background], order)
            place = opened.place if raster.suffix.lower() in _TIFF else None
            items.append(Item(called[raster], raster, file, drawing, place))
        empty += [] if shapes else [raster]
    if len(empty) == len(items):
        raise MagNetError(
            f"import: expected polygons that lie on the images of '{images}', but those of '{path}' lie on none; check "
            "their coordinates"
        )
    if empty:
        count = f"{len(empty)} of {len(items)} images"
        notes.append(f"no polygon lies on {count}, as '{empty[0]}': all of them is {background}")
    return Found(names, bool(ignore), items, notes=notes)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *_TIFF) and not path.name.startswith(".") and path.is_file()


def _beside(folder: Path, raster: Path) -> Path | None:
    return next((one for suffix in _SUFFIXES if (one := folder / f"{raster.stem}{suffix}").is_file()), None)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors of reading polygons say that they are imported, not that they are a mask."""
    try:
        yield
    except MagNetError as error:
        raise MagNetError(f"import: {str(error).removeprefix('mask: ')}") from error


class _Feature(NamedTuple):
    """The class of a feature, None where it has none; its polygons: rings of corners; what tells of one without."""

    name: str | None
    polygons: list[list[np.ndarray]]
    told: str


def _check_classes(features: dict[Path, list[_Feature]], key: str, *, skip: bool) -> list[str]:
    """What to tell of features without a class, which are an error unless they may be left out."""
    found = [one for of_file in features.values() for one in of_file]
    without = [one for one in found if one.name is None]
    if not without:
        return []
    count = f"{len(without)} of {len(found)} features have none"
    if not skip or len(without) == len(found):
        rest = ", mend the features, or leave these out with --skip-incomplete, which makes their pixels background"
        raise MagNetError(
            f"import: expected a class in the property '{key}' of each feature, but {count}, as {without[0].told}; "
            f"give its name with --property{rest if len(without) < len(found) else ''}"
        )
    return [f"{count} in the property '{key}': left out, as {without[0].told} (--skip-incomplete)"]


def _features(content: Any, path: Path, key: str) -> Iterator[_Feature]:
    found = content.get("features") if isinstance(content, dict) else content
    if isinstance(content, dict) and content.get("type") == "Feature":
        found = [content]
    if not isinstance(found, list):
        raise MagNetError(f"mask: expected a collection of features in '{path}', got {shown(content)}; save it anew")
    for number, feature in enumerate(found):
        polygons = list(polygons_of(feature, path))
        if not polygons:  # a feature may have no geometry, and then no class
            continue
        value = feature.get("properties") if isinstance(feature, dict) else None
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        held = feature.get("properties") if isinstance(feature, dict) else feature
        name = None if value is None or isinstance(value, dict | list) else str(value).strip() or None
        told = f"feature {number} of '{path}', which has {shown(held)}" if name is None else ""
        yield _Feature(name, polygons, told)


def _shapes(
    raster: Raster,
    features: list[_Feature],
    numbers: dict[str, int],
    content: Any,
    path: Path,
) -> list[Outline]:
    """The polygons that lie on a raster, in its pixels."""
    owned = [(numbers[one.name], polygon) for one in features if one.name is not None for polygon in one.polygons]
    if not owned:
        return []
    rings = [ring for _, polygon in owned for ring in polygon]
    corners = in_pixels(np.concatenate(rings), content, path, raster)
    parts = iter(np.split(corners, np.cumsum([len(ring) for ring in rings])[:-1]))
    height, width = raster.size
    shapes = []
    for number, polygon in owned:
        outline = Outline(number, [[next(parts) for _ in polygon]])
        x0, y0, x1, y1 = outline.bounds
        if x0 < width and y0 < height and x1 > 0 and y1 > 0:
            shapes.append(outline)
    return shapes
