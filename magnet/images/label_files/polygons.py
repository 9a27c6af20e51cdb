"""Labels as polygons: GeoJSON, an object a line."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from magnet.images.draw import Colours
from magnet.images.label_files.blocks import NO_ANSWER, STRIP_PIXELS, Blocks, check_same_size, read_block, strips
from magnet.images.label_files.objects import Corners, Finished, Objects
from magnet.images.label_files.outlines import Outlines
from magnet.images.label_files.place import PixelArea, crs_of, pixel_area
from magnet.images.rasters.raster import Place, Resolution, Sides, Transform

__all__ = ["write_polygons"]

_PIXELS: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
_AT_ONCE = 1 << 16  # corners turned into text


def write_polygons(
    labels: Blocks,
    path: Path,
    *,
    confidence: Blocks | None = None,
    place: Place | None = None,
    class_names: Sequence[str] | None = None,
    colours: Colours | None = None,
    resolution: Resolution | Sides | None = None,
    strip_pixels: int = STRIP_PIXELS,
) -> int:
    """Write each object as a polygon with its holes: pixels of one class that are connected by their sides.

    Outlines follow the sides of the pixels, so that rasterising the polygons gives the labels back, and an object is
    one polygon however large it is. No answer (255) has no polygon. Memory holds a strip of rows, and the corners of
    objects that it reaches: about 60 bytes a corner. A polygon ends in the file before one that ends further down.

    Where there is a place, coordinates are those of its CRS, whatever that is. RFC 7946 knows longitude and latitude of
    WGS 84 only; for other systems the member "crs" of its forerunner names it (as URN of EPSG, else as WKT), which
    GDAL, QGIS and geopandas read. Without a place coordinates are pixels from the upper left corner, y downwards, and
    objects have what QuPath reads: "objectType" and "classification" with name and colour.

    Properties of each: class, class_id, area, area_unit ("m2", "um2" or "pixels", see
    :func:`magnet.images.label_files.place.pixel_area`), and with ``confidence`` its mean, 0 to 1.

    Args:
        labels: class ids; read once from the top, in strips of at most ``strip_pixels``, or of a row.
        path: the file to make.
        confidence: of the same size; 0..255 for 0..1.
        place: CRS and transform.
        class_names: one for each class; classes beyond have their number.
        colours: RGB of each class, for QuPath.
        resolution: of a pixel, for areas.
        strip_pixels: see ``labels``; the result does not depend on it.

    Returns:
        how many objects were written.

    Raises:
        ValueError: labels and confidence are not of one size; a CRS or a resolution that cannot be.
        MagNetError: there is a CRS, and rasterio is not installed.
    """
    if confidence is not None:
        check_same_size(labels, confidence)
    head: dict[str, Any] = {"type": "FeatureCollection"}
    if place is not None and (name := _crs_name(place)):
        head["crs"] = {"type": "name", "properties": {"name": name}}
    writer = _Writer(
        _PIXELS if place is None else place.transform,
        pixel_area(place, resolution, labels.size),
        class_names or (),
        (colours or ()) if place is None else None,
        confidence is not None,
    )
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(head)[:-1] + ', "features": [')
        for finished in _finished(labels, confidence, strip_pixels):
            writer.write(file, finished)
        file.write("\n]}\n")
    return writer.written


def _finished(labels: Blocks, confidence: Blocks | None, strip_pixels: int) -> Iterator[Finished]:
    objects = Objects(labels.size[1])
    for box in strips(labels.size, strip_pixels):
        finished = objects.add(read_block(labels, box), None if confidence is None else read_block(confidence, box))
        if finished is not None:
            yield finished
    yield objects.end()


def _crs_name(place: Place) -> str | None:
    """What "crs" names a place's CRS; None where it is that of RFC 7946, or not known."""
    crs: Any = crs_of(place)
    if crs is None:
        return None
    authority = crs.to_authority(confidence_threshold=100)
    if authority in (("EPSG", "4326"), ("OGC", "CRS84")):
        return None
    if authority and authority[0] == "EPSG" and type(crs).from_epsg(int(authority[1])) == crs:
        return f"urn:ogc:def:crs:EPSG::{authority[1]}"
    return str(place.crs)


class _Writer:
    def __init__(
        self,
        transform: Transform,
        area: PixelArea,
        names: Sequence[str],
        colours: Colours | None,
        has_confidence: bool,
    ) -> None:
        self._transform, self._area, self._has_confidence = transform, area, has_confidence
        a, b, _, d, e, _ = transform
        self._turned = a * e - b * d < 0  # where y points up in the result, rings go the other way round
        self._heads = [_head(number, names, colours, area.unit) for number in range(NO_ANSWER)]
        self.written = 0

    def write(self, file: TextIO, finished: Finished) -> None:
        outlines = Outlines(finished.corners)
        described = zip(finished.classes.tolist(), finished.pixels.tolist(), finished.confidence.tolist(), strict=True)
        texts = _Texts(self._transform, outlines.corners)
        for (start, end), (number, pixels, confidence) in zip(pairwise(outlines.bounds), described, strict=True):
            file.write(",\n" if self.written else "\n")
            file.write(self._heads[number] + self._measures(pixels, confidence))
            file.write('}, "geometry": {"type": "Polygon", "coordinates": [')
            texts.prepare(start, end)
            for inner, ring in enumerate(outlines.rings(start, end)):
                file.write(", [" if inner else "[")
                # outer rings counterclockwise, inner ones clockwise, as RFC 7946 wants them
                texts.write(file, ring[::-1] if (inner > 0) != self._turned else ring)
                file.write("]")
            file.write("]}}")
            self.written += 1

    def _measures(self, pixels: int, confidence: int) -> str:
        area = pixels if self._area.unit == "pixels" else pixels * self._area.value
        mean = f', "confidence": {round(confidence / (255 * pixels), 4)}' if self._has_confidence else ""
        return f', "area": {area!r}{mean}'


def _head(number: int, names: Sequence[str], colours: Colours | None, unit: str) -> str:
    """The beginning of a feature of a class, up to the properties that differ."""
    name = names[number] if number < len(names) else str(number)
    properties: dict[str, Any] = {"class": name, "class_id": number, "area_unit": unit}
    if colours is not None:
        properties |= {"objectType": "annotation", "classification": {"name": name}}
        if number < len(colours):
            properties["classification"]["color"] = [int(value) for value in colours[number]]
    return json.dumps({"type": "Feature", "properties": properties}, ensure_ascii=False)[:-2]


class _Texts:
    """Corners as text, made of many at a time, as most objects have few."""

    def __init__(self, transform: Transform, corners: Corners) -> None:
        self._transform, self._corners = transform, corners
        self._start = self._end = 0
        self._texts: list[str] = []

    def prepare(self, start: int, end: int) -> None:
        """Corners from ``start`` to ``end`` are going to be written, and then those after."""
        if end > self._end and end - start <= _AT_ONCE:
            self._start, self._end = start, min(start + _AT_ONCE, len(self._corners))
            self._texts = self._made(slice(self._start, self._end))

    def write(self, file: TextIO, ring: array[int]) -> None:
        """Write the corners of a ring, and the first one again."""
        first = ring[0]
        if self._start <= min(ring) and max(ring) < self._end:
            texts, start = self._texts, self._start
            file.write(", ".join([texts[one - start] for one in ring]) + ", " + texts[first - start])
            return
        for part in range(0, len(ring), _AT_ONCE):
            file.write(", ".join(self._made(np.frombuffer(ring[part : part + _AT_ONCE], np.int64))) + ", ")
        file.write(self._made(slice(first, first + 1))[0])

    def _made(self, index: slice | np.ndarray) -> list[str]:
        x, y = self._corners.x[index], self._corners.y[index]
        if self._transform == _PIXELS:
            return list(map("[%d, %d]".__mod__, zip(x.tolist(), y.tolist(), strict=True)))
        a, b, c, d, e, f = self._transform
        east, north = a * x + b * y + c, d * x + e * y + f
        return list(map("[%r, %r]".__mod__, zip(east.tolist(), north.tolist(), strict=True)))
