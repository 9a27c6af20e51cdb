"""Which id of a data set stands for each class of a model: the mapping of its label files, turned round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magnet.errors import MagNetError, shown
from magnet.images.label_files.blocks import NO_ANSWER

__all__ = ["MAPPING", "class_ids"]

MAPPING = "mapping"  # in the info of a model
_FIX = "give a mapping with one value for each class (--mapping FILE), or none of it (--mapping none) for class numbers"


def class_ids(mapping: Mapping[Any, Any] | None, info: Mapping[str, Any] | None, num_classes: int) -> dict[int, int]:
    """The id of each class.

    Args:
        mapping: the class of each value of label files, as ``mapping`` in a description of data; 255 is no class.
            None: that of the data which the model was trained on, as its ``info`` has it; none of either, or {}: ids
            are class numbers.
        info: of the model.
        num_classes: of the model.

    Raises:
        MagNetError: it is no mapping; a class has no value, or several, of which it is not known which to write.
    """
    given = (info or {}).get(MAPPING) if mapping is None else mapping
    if given is None or given == {}:
        return {number: number for number in range(num_classes)}
    values: dict[int, list[int]] = {number: [] for number in range(num_classes)}
    for value, number in _pairs(given):
        if number != NO_ANSWER:
            values.setdefault(number, []).append(value)
    if len(values) > num_classes:
        raise MagNetError(
            f"mapping: expected classes of the model, 0 to {num_classes - 1}, got {max(values)}; give that of its data"
        )
    for number, found in values.items():
        if len(found) != 1:
            got = f"{', '.join(map(str, found))}, of which it is not known which to write" if found else "none"
            raise MagNetError(f"mapping: expected one value for each class, but class {number} has {got}; {_FIX}")
    return {number: value for number, (value,) in values.items()}


def _pairs(mapping: Any) -> list[tuple[int, int]]:
    """Values and classes; JSON makes texts of the former."""
    try:
        pairs = [(int(value), number) for value, number in mapping.items()]
    except (AttributeError, TypeError, ValueError):
        pairs = [(-1, -1)]
    whole = all(isinstance(number, int) and not isinstance(number, bool) for _, number in pairs)
    if not whole or not all(0 <= value <= 255 and 0 <= number <= 255 for value, number in pairs):
        raise MagNetError(
            f"mapping: expected the class of each label value, both 0 to 255, as {{7: 0, 8: 1}}, got {shown(mapping)}; "
            "mend it"
        )
    return pairs
