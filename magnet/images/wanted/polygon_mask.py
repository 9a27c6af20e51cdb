"""Polygons of a GeoJSON file as a mask of a raster: pixels whose centres lie in one of them are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from magnet.bounds import Box
from magnet.errors import MagNetError, shown
from magnet.extras import need
from magnet.files.reading import parse_json, read_bytes
from magnet.images.label_files.place import crs_of
from magnet.images.opening import failures
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.transforms import inverse
from magnet.images.wanted.polygon_fill import PolygonFill

__all__ = ["PolygonMask", "in_pixels", "polygons_of", "read_geojson"]

_MOST = 1 << 27  # bytes of a file, all of which is in memory while it is parsed
_AT_A_TIME = 1 << 16  # corners that are reprojected, as lists
_LONGITUDES = "OGC:CRS84"  # of RFC 7946
_HOLDERS = {"FeatureCollection": "features", "GeometryCollection": "geometries"}


class PolygonMask:
    """Polygons and their holes.

    On a raster with a place coordinates are those of the CRS that the member "crs" names, without it longitude and
    latitude (RFC 7946), and are brought to the raster's: corners are, sides are straight in the raster. On one
    without a place they are pixels from the upper left corner, y downwards, as QuPath and ``--save polygons`` write.

    Args:
        path: the GeoJSON file.
        raster: that it is a mask of.
        identity: of the file.

    Raises:
        MagNetError: it is no GeoJSON, holds no polygon, or has coordinates that cannot be those of this raster.
    """

    def __init__(self, path: Path, raster: Raster, identity: str) -> None:
        content = read_geojson(path)
        rings: list[int] = []
        polygons: list[int] = []
        given: list[np.ndarray] = []
        for polygon in polygons_of(content, path):
            polygons.append(len(polygon))
            rings.extend(map(len, polygon))
            given.extend(polygon)
        if not polygons:
            raise MagNetError(f"mask: expected polygons in '{path}', got none; draw what is wanted as polygons")
        self._fill = PolygonFill(in_pixels(np.concatenate(given), content, path, raster), rings, polygons)
        self.identity = f"mask {identity}"
        self.none_wanted = (
            f"mask: expected polygons that hold pixels of '{raster.name}', but those of '{path}' hold none that is "
            "meant; check their coordinates"
        )

    def read(self, box: Box) -> np.ndarray:
        return self._fill.read(box)


def read_geojson(path: Path) -> Any:
    """What a GeoJSON file holds, rings of polygons as (n, 2) float64 arrays where they are what they should be.

    Raises:
        MagNetError: it cannot be read, or is no JSON.
    """
    with failures(path):
        text = read_bytes(path, "mask", "GeoJSON", at_most=_MOST)
    try:
        return parse_json(text.decode("utf-8-sig"), object_hook=_packed)
    except ValueError as error:
        raise MagNetError(f"mask: expected GeoJSON, but '{path}' is none ({error}); save it anew") from error


def _packed(found: dict[str, Any]) -> dict[str, Any]:
    """A polygon with its rings as arrays, made as soon as it is parsed: as lists, a corner takes ten times the memory.

    What is none is left as it is, for :func:`polygons_of` to tell of.
    """
    rings = found.get("coordinates")
    with contextlib.suppress(LookupError, TypeError, ValueError):
        if found.get("type") == "Polygon" and rings:
            found["coordinates"] = list(map(_ring, rings))
        elif found.get("type") == "MultiPolygon" and rings:
            found["coordinates"] = [list(map(_ring, polygon)) for polygon in rings]
    return found


def _ring(corners: Any) -> np.ndarray:
    """(n, 2) float64 of a ring; heights are left out.

    Raises:
        LookupError, TypeError, ValueError: it is none.
    """
    if isinstance(corners, np.ndarray):
        return corners
    with contextlib.suppress(ValueError):  # corners of two and of three numbers
        ring = np.array(corners, np.float64)
        if ring.ndim == 2 and ring.shape[1] >= 2 and not np.isnan(ring).any():  # null would be NaN
            return ring if ring.shape[1] == 2 else ring[:, :2].copy()
    return np.array([(float(corner[0]), float(corner[1])) for corner in corners], np.float64).reshape(-1, 2)


def polygons_of(content: Any, path: Path) -> Iterator[list[np.ndarray]]:
    """The coordinates of each polygon: its outer ring and its holes, (n, 2) float64."""
    kind = content.get("type") if isinstance(content, dict) else None
    try:
        if kind in _HOLDERS:
            for one in content[_HOLDERS[kind]]:
                yield from polygons_of(one, path)
        elif kind == "Feature":
            if content["geometry"] is not None:
                yield from polygons_of(content["geometry"], path)
        elif kind == "Polygon":
            if content["coordinates"] != []:  # which stands for no geometry, by RFC 7946
                yield _checked(content["coordinates"])
        elif kind == "MultiPolygon":
            yield from map(_checked, content["coordinates"])
        elif isinstance(content, list):  # of features, as QuPath exports them
            for one in content:
                yield from polygons_of(one, path)
        else:
            raise ValueError(f"{shown(kind)} is neither a polygon nor what holds some")
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise MagNetError(
            f"mask: expected GeoJSON of polygons, but '{path}' holds something else ({error}); save polygons alone"
        ) from error


def _checked(rings: Any) -> list[np.ndarray]:
    found = list(map(_ring, rings))
    if not found or any(len(ring) < 4 or (ring[0] != ring[-1]).any() for ring in found):
        raise ValueError("a ring is not closed, or has fewer than four corners")
    return found


def in_pixels(corners: np.ndarray, content: Any, path: Path, raster: Raster) -> np.ndarray:
    """(n, 2) x and y in pixels of the raster.

    Raises:
        MagNetError: coordinates cannot be what they are taken for.
    """
    member = content.get("crs") if isinstance(content, dict) else None
    if raster.place is None:
        if member is not None:
            raise MagNetError(
                f"mask: expected pixel coordinates, as '{raster.name}' has no place, but '{path}' names a CRS; give "
                "the raster its place, or draw the polygons on it"
            )
    elif (crs := crs_of(raster.place)) is not None:
        corners = _reprojected(corners, _crs(member, corners, path), crs)
    if not np.isfinite(corners).all():
        raise MagNetError(
            f"mask: expected polygons in the CRS of '{raster.name}', but those of '{path}' reach beyond where it "
            "holds; cut them, or check their coordinates"
        )
    if raster.place is None:
        return corners
    a, b, c, d, e, f = inverse(raster.place.transform)
    x, y = corners.T
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


def _crs(member: Any, corners: np.ndarray, path: Path) -> Any:
    """The CRS that the member "crs" names."""
    crs = need("rasterio.crs", "geo").CRS
    if member is not None:
        try:
            return crs.from_user_input(member["properties"]["name"])
        except (KeyError, TypeError, ValueError) as error:
            raise MagNetError(
                f"mask: expected a CRS that is known in '{path}', got {shown(member)}; save it anew, as in EPSG:4326"
            ) from error
    if (np.abs(corners) > (180, 90)).any():
        x, y = corners[(np.abs(corners) > (180, 90)).any(axis=1)][0]
        raise MagNetError(
            f"mask: expected longitudes and latitudes, as '{path}' names no CRS (RFC 7946), got ({x:g}, {y:g}); save "
            'it in EPSG:4326, or name its CRS in the member "crs"'
        )
    return crs.from_user_input(_LONGITUDES)


def _reprojected(corners: np.ndarray, source: Any, target: Any) -> np.ndarray:
    if source == target:
        return corners
    errors, err = need("rasterio.errors", "geo"), need("rasterio._err", "geo")
    transform = need("rasterio.warp", "geo").transform
    moved = np.empty_like(corners)
    for start in range(0, len(corners), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        try:
            moved[part] = np.array(transform(source, target, *corners[part].T.tolist())[:2]).T
        except (errors.RasterioError, err.CPLE_BaseError):
            moved[part] = np.nan
    return moved
