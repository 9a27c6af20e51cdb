"""What a page holds, and the page itself: HTML with its style, its script and its pictures within.

All text is escaped where it is put into the page, and what does not print is shown as an escape: names of files and
classes are anyone's. The page asks for nothing: its policy allows pictures within it and its own script alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from magnet.errors import printable
from magnet.images.draw import Colours

__all__ = ["Card", "Layer", "Matrix", "Page", "Section", "Table", "View", "render"]


@dataclass(frozen=True)
class Table:
    """A table whose rows a click on a heading sorts.

    Attributes:
        title: over it.
        heads: headings of the columns; the first column names the rows.
        rows: text of the cells; "-" where there is no figure.
        colours: RGB of each row, shown beside its name.
        note: below the title.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    colours: Colours | None = None
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Attributes:
        title: over it.
        names: of the classes.
        shares: (C, C): of the pixels of a row's label those predicted as each column, in percent; None in rows without
            labels.
    """

    title: str
    names: Sequence[str]
    shares: Sequence[Sequence[float] | None]


@dataclass(frozen=True)
class Layer:
    """A picture that lies on others of its size: its name, and its ``data:`` address."""

    name: str
    uri: str


@dataclass(frozen=True)
class View:
    """Layers of one size, the image first; a slider leads from one to the next.

    Attributes:
        title: which part of the image that is.
        width, height: in pixels of the image.
        layers: at least one.
    """

    title: str
    width: int
    height: int
    layers: Sequence[Layer]


@dataclass(frozen=True)
class Card:
    """An image: its name, a line about it, its views, and figures of its classes as (class, figure)."""

    name: str
    note: str
    views: Sequence[View]
    figures: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Section:
    """Images under a heading, and which ones they are."""

    title: str
    note: str
    cards: Sequence[Card]


@dataclass
class Page:
    """All that a page holds, from its top to its foot; ``legend`` has names and colours of the classes."""

    title: str
    about: list[str]
    legend: list[tuple[str, Sequence[int]]]
    tables: list[Table] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def render(page: Page) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    folder = Path(__file__).parent
    template, style, script = (
        (folder / f"page.{ending}").read_text(encoding="utf-8") for ending in ("html", "css", "js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["plain"] = printable
    return environment.from_string(template).render(page=page, style=style, script=script, digest=digest)
