"""How large the pixels of an OME-TIFF are: PhysicalSizeX and PhysicalSizeY of the XML in its first description.

Only the standard library's expat looks at it, tag by tag. A document type, by which entities are declared, ends that:
OME has none, and nothing is fetched or expanded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.parsers import expat

from magnet.bounds import Size
from magnet.images.rasters.pages import TiffPage
from magnet.images.rasters.raster import Sides
from magnet.images.rasters.resolution import pixel_sides

__all__ = ["ome_sides"]

# the micro sign, the Greek letter, and what a sign of another encoding became when the tag was read
_MICROMETRES = {"\u00b5m": 1.0, "\u03bcm": 1.0, "um": 1.0, "\ufffdm": 1.0}
_MICROMETRES |= {"nm": 1e-3, "pm": 1e-6, "\u00c5": 1e-4, "mm": 1e3}
_METRES = {"m": 1.0, "km": 1e3, "dm": 0.1, "cm": 0.01, "in": 0.0254, "ft": 0.3048, "yd": 0.9144, "mi": 1609.344}
_METRES |= {"thou": 2.54e-5, "li": 0.0254 / 12}
_MOST = 64  # times as long as wide: more is a mistake in a unit
_UNIT = "\u00b5m"  # where none is named, as the schema says


class _Pixels(NamedTuple):
    """One image of the file: (H, W), what its pixels span, and the numbers of its pages, where that is said."""

    size: Size
    sides: Sides | None
    pages: list[range]


class _Refused(Exception):
    """It is no OME, or has a document type."""


def ome_sides(pages: Sequence[TiffPage], main: TiffPage) -> Sides | None:
    """Height and width of the pixels of ``main``; None: the file is no OME-TIFF, or does not say it.

    Of a file of several images the one counts that says that the page is its own, else those of the page's size; if
    they differ, it is not known.
    """
    found = _images(pages[0].description)
    of_page = [one for one in found if any(main.number in planes for planes in one.pages)]
    same = {one.sides for one in of_page or found if one.size == main.head.size}
    return same.pop() if len(same) == 1 else None


def _images(text: str) -> list[_Pixels]:
    """What is said of the images of a file; empty where the text is no OME-XML, or is damaged."""
    if "<OME" not in text[:4096] and ":OME" not in text[:4096]:
        return []
    found: list[_Pixels] = []
    depth = 0

    def start(name: str, given: dict[str, str]) -> None:
        nonlocal depth
        plain = name.rpartition(":")[2]
        if depth == 0 and plain != "OME":
            raise _Refused
        depth += 1
        if plain == "Pixels" and "SizeX" in given and "SizeY" in given:
            found.append(_Pixels((int(given["SizeY"]), int(given["SizeX"])), _sides(given), []))
        if plain == "TiffData" and "IFD" in given and found:
            first = int(given["IFD"])
            found[-1].pages.append(range(first, first + int(given.get("PlaneCount", 1))))

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except (expat.ExpatError, ValueError, _Refused):
        return []
    return found


def _sides(given: dict[str, str]) -> Sides | None:
    units = [given.get(f"PhysicalSize{axis}Unit", _UNIT) for axis in "YX"]
    try:
        height, width = (float(given[f"PhysicalSize{axis}"]) for axis in "YX")
    except (KeyError, ValueError):
        return None
    if not (height > 0 and width > 0):
        return None
    in_metres = _METRES | {name: value * 1e-6 for name, value in _MICROMETRES.items()}
    for known, unit in ((_MICROMETRES, "um"), (in_metres, "m")):
        if all(one in known for one in units):
            height, width = height * known[units[0]], width * known[units[1]]
            return pixel_sides(height, width, unit) if 1 / _MOST < height / width < _MOST else None
    return None
