"""Names and colours of the classes, which a model keeps."""

from __future__ import annotations

from typing import Any

from magnet.checks import is_list
from magnet.errors import shown

__all__ = ["check_class_names", "check_colours"]


def check_class_names(names: Any, num_classes: int | None) -> list[str] | None:
    """One text for each class."""
    if names is None:
        return None
    if not is_list(names) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"class_names: expected a list of texts, got {shown(names)}")
    if num_classes is not None and len(names) != num_classes:
        raise ValueError(f"class_names: expected one for each of {num_classes} classes, got {len(names)}")
    return list(names)


def check_colours(colours: Any, num_classes: int | None) -> list[tuple[int, int, int]] | None:
    """One RGB triple for each class."""
    if colours is None:
        return None
    try:
        rows = [tuple(int(v) for v in colour) for colour in colours]
    except (TypeError, ValueError, OverflowError) as error:  # infinity is no int
        raise ValueError(f"colours: expected RGB triples of 0 to 255, got {shown(colours)}") from error
    if not all(len(row) == 3 and all(0 <= v <= 255 for v in row) for row in rows):
        raise ValueError(f"colours: expected RGB triples of 0 to 255, got {shown(rows)}")
    if num_classes is not None and len(rows) != num_classes:
        raise ValueError(f"colours: expected one for each of {num_classes} classes, got {len(rows)}")
    return [(r, g, b) for r, g, b in rows]
