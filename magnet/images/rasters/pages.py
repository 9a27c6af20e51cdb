"""The pages of a TIFF: which one is meant, and which are the same picture in less detail."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from magnet.errors import MagNetError, shown
from magnet.images.rasters.directories import Reader
from magnet.images.rasters.levels import level_factor
from magnet.images.tiff import TiffHead, head_of

__all__ = ["TiffPage", "choose_page", "is_smaller", "levels_of", "page_stem", "read_pages", "same_kind"]

_WIDTH, _HEIGHT, _SUBFILE, _DESCRIPTION, _TILE_WIDTH, _SUB_PAGES = 256, 257, 254, 270, 322, 330
_GEO_KEYS = (33550, 34264, 34735)
_REDUCED, _MASK = 1, 4  # of the subfile type
_MOST_PAGES = 1 << 16  # looked at


class TiffPage(NamedTuple):
    """One page.

    Attributes:
        number: among those of the file, from 0; that of the page above it where it lies below one.
        offset: of its directory, in bytes.
        head: what its tags say.
        reduced: it calls itself a reduced copy of another page.
        mask: it calls itself a mask of another one.
        below: it lies below another page.
        tiled: in tiles, not strips.
        geo: it has tags that say where it lies.
        description: its text.
    """

    number: int
    offset: int
    head: TiffHead
    reduced: bool
    mask: bool
    below: bool
    tiled: bool
    geo: bool
    description: str


def read_pages(path: str | os.PathLike[str]) -> list[TiffPage]:
    """All pages of a TIFF, at least one, those below a page after it.

    Raises:
        OSError, ValueError and others: a page is damaged (see ``magnet.images.tiff.DAMAGE``).
    """
    pages: list[TiffPage] = []
    seen: set[int] = set()
    with open(path, "rb") as file:
        reader = Reader(file)
        ahead: list[tuple[int, bool]] = [(reader.first, False)]
        number = -1
        while ahead and len(pages) < _MOST_PAGES:
            offset, below = ahead.pop(0)
            if offset == 0 or offset in seen:  # a circle is no end
                continue
            seen.add(offset)
            tags, following = reader.read(offset)
            if _WIDTH not in tags or _HEIGHT not in tags:
                raise ValueError(f"its page at {offset} does not say its size")
            number += not below
            subfile = int(tags.get(_SUBFILE, 0))
            pages.append(
                TiffPage(
                    number=number,
                    offset=offset,
                    head=head_of(tags),
                    reduced=bool(subfile & _REDUCED),
                    mask=bool(subfile & _MASK),
                    below=below,
                    tiled=_TILE_WIDTH in tags,
                    geo=any(tag in tags for tag in _GEO_KEYS),
                    description=str(tags.get(_DESCRIPTION, "")),
                )
            )
            under = tags.get(_SUB_PAGES, ())
            under = under if isinstance(under, tuple) else (under,)
            ahead = [*((int(v), True) for v in under), *([] if below else [(following, False)]), *ahead]
    if not pages:
        raise ValueError("it has no pages")
    return pages


def choose_page(pages: Sequence[TiffPage], page: int | None, name: str) -> TiffPage:
    """The page of a number, or the largest one, where only one is that large.

    Raises:
        MagNetError: several are, or there is no page of that number.
    """
    whole = [one for one in pages if not one.below]
    if page is not None:
        if not 0 <= page < len(whole):
            raise MagNetError(
                f"page: expected 0 to {len(whole) - 1}, the pages of '{name}', got {shown(page)}; give one of these"
            )
        return _one_plane(whole[page], name)
    pictures = [one for one in whole if not (one.reduced or one.mask)] or whole
    largest = max(pictures, key=lambda one: one.head.size[0] * one.head.size[1])
    others = [one for one in pictures if sorted(one.head.size) == sorted(largest.head.size)]
    height, width = largest.head.size
    if len(others) > 1:
        raise MagNetError(
            f"image: expected one picture, but '{name}' has {len(others)} pages of {height}x{width} (HxW); give the "
            f"number of one, page=N (--page N), {others[0].number} to {others[-1].number}"
        )
    return _one_plane(largest, name)


def page_stem(path: Path, page: int | None) -> str:
    """What the results of a file are named by: each page that is asked for has results of its own."""
    return path.stem if page is None else f"{path.stem}_page{page}"


def _one_plane(page: TiffPage, name: str) -> TiffPage:
    if page.head.planes:
        height, width = page.head.size
        raise MagNetError(
            f"image: expected one picture, but '{name}' has several planes of {height}x{width} (HxW) in one page; save "
            "the one that is meant as a file of its own"
        )
    return page


def levels_of(pages: Sequence[TiffPage], main: TiffPage) -> list[TiffPage]:
    """The pages that are ``main`` in less detail, the finest first.

    They say so, and lie below it, or after it and before the next picture; or they are unmarked, as slide scanners
    leave them, and tiled like it, of its sides divided by one whole number.
    """
    found: dict[tuple[int, int], TiffPage] = {}
    alone = sum(not (one.reduced or one.mask or one.below) for one in pages) == 1
    last = main
    for one in pages:
        if not (one.reduced or one.mask or one.below):
            last = one
        owned = one.number == main.number if one.below else (last is main or alone)
        marked = owned and (one.reduced or one.below)
        unmarked = one.tiled and main.tiled and not one.below and not one.reduced
        if one is main or one.mask or not (marked or unmarked) or not same_kind(one.head, main.head):
            continue
        if is_smaller(one.head.size, main.head.size, exactly=not marked):
            found.setdefault(one.head.size, one)
    return [found[size] for size in sorted(found, reverse=True)]


def same_kind(one: TiffHead, other: TiffHead) -> bool:
    """Whether pixels of two pages are of one type and of the same bands."""
    return (one.bands, one.bits, one.kind, one.colours, one.extra) == (
        other.bands,
        other.bits,
        other.kind,
        other.colours,
        other.extra,
    )


def is_smaller(size: tuple[int, int], whole: tuple[int, int], exactly: bool = False) -> bool:
    """Whether a page of ``size`` may be a reduced copy of ``whole``: of its shape, or its sides by one whole number."""
    if size[0] * size[1] >= whole[0] * whole[1]:
        return False
    rows, columns = level_factor(whole, size)
    # sides of few pixels are rounded by more than a hundredth
    return rows == columns if exactly else abs(rows - columns) <= 0.01 * rows + rows / min(size)
