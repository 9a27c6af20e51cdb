"""Kinds of values that a configuration has: what each may be, for pydantic to check and in words for messages.

Numbers are strict: ``true`` is no number, ``"3"`` and ``3.0`` are no whole ones, and NaN and infinities are refused.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, Field, Strict

from magnet.bounds import DEVICES, MAX_SCALE_PIXELS, MAX_SCENE_PIXELS, MIN_SCENE_SIDE, check_pixels

__all__ = ["Device", "Flag", "Name", "Note", "ScaleSize", "SceneSize", "Text", "Weight", "number", "said", "whole"]

said = partial(Field)  # said(description="...") puts a kind into words of its own


def whole(low: int, high: int, note: str = "", *, description: str = "") -> Any:
    """A whole number from ``low`` to ``high``; ``note`` is what follows in messages."""
    words = f"a whole number from {low} to {high}" + (f" ({note})" if note else "")
    return Field(strict=True, ge=low, le=high, description=description or words)


def number(
    low: float, high: float, note: str = "", *, above: bool = False, below: bool = False, description: str = ""
) -> Any:
    """A finite number from ``low`` (``above``: without it) to ``high`` (``below``: without it)."""
    start = f"above {low:.12g}, up to" if above else f"from {low:.12g} to"
    words = f"a number {start} {'below ' if below else ''}{high:.12g}" + (f" ({note})" if note else "")
    return Field(
        strict=True,
        allow_inf_nan=False,
        gt=low if above else None,
        ge=None if above else low,
        lt=high if below else None,
        le=None if below else high,
        description=description or words,
    )


def _prints(text: str) -> str:
    if any(ord(mark) < 32 or ord(mark) == 127 for mark in text):
        raise ValueError("control characters")
    return text


def _is_folder_name(text: str) -> str:
    if text in ("", ".", "..") or any(mark in text for mark in "/\\") or len(text.encode(errors="replace")) > 200:
        raise ValueError("no name of a folder")
    return text


Flag = Annotated[bool, Strict()]
Note = Annotated[str, Strict()]
Text = Annotated[str, Strict(), AfterValidator(_prints), said(description="a text without control characters")]
Name = Annotated[
    str,
    Strict(),
    AfterValidator(_prints),
    AfterValidator(_is_folder_name),
    said(description="the name of a folder to make in --out"),
]
Device = Annotated[str, Strict(), Field(pattern=rf"^({DEVICES})$", description="auto, cpu, cuda or cuda:N")]
Side = Annotated[int, whole(1, MAX_SCALE_PIXELS)]
ScaleSize = Annotated[
    tuple[Side, Side],
    AfterValidator(partial(check_pixels, most=MAX_SCALE_PIXELS)),
    said(description=f"a size [height, width] of 1 to {MAX_SCALE_PIXELS} pixels"),
]
_SceneSide = Annotated[int, whole(MIN_SCENE_SIDE, MAX_SCENE_PIXELS)]
SceneSize = Annotated[
    tuple[_SceneSide, _SceneSide],
    AfterValidator(partial(check_pixels, most=MAX_SCENE_PIXELS)),
    said(description=f"a size [height, width] of at least {MIN_SCENE_SIDE} each and at most {MAX_SCENE_PIXELS} pixels"),
]
Weight = Annotated[float, number(0, 1e6)]
