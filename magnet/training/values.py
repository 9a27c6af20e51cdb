"""The values of a configuration, checked against the types of magnet.training.config, in our words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from magnet.errors import ArgumentError, printable, shown
from magnet.training.config import TrainConfig
from magnet.training.keys import config_keys, expected, is_text

__all__ = ["check_values", "in_file", "told_value", "validated"]


@cache
def _adapter() -> TypeAdapter[TrainConfig]:
    return TypeAdapter(TrainConfig)


def validated(values: Mapping[str, Any], sources: Mapping[str, str]) -> TrainConfig:
    try:
        return _adapter().validate_python(values)
    except ValidationError as error:
        faults = cast(Any, error.errors(include_url=False))
        fault = next((one for one in faults if one["type"] != "missing"), faults[0])  # what is there goes first
        raise ArgumentError(_message(fault, values, sources)) from error


def check_values(config: TrainConfig) -> None:
    """Check a configuration that was made in Python.

    Raises:
        ArgumentError: a value that its type does not allow.
    """
    validated(dataclasses.asdict(config), {})


def _message(fault: Mapping[str, Any], values: Any, sources: Mapping[str, str]) -> str:
    """One of pydantic's findings in our words: the key, what it may be, and what it is."""
    key, value, known = "", values, config_keys()
    for name in fault["loc"]:
        inner = f"{key}.{name}" if key else str(name)
        if inner not in known:  # an item of a list, or a part of a kind
            break
        key, value = inner, value.get(name) if isinstance(value, dict) else None
    words = expected(known[key])
    if fault["type"] == "missing" and value is None:
        return f"{key}: expected {words}, got nothing; add it to the file of --config, or give --{key}"
    fix = ""
    if value is None:
        fix = "; drop the line or fill it"
    elif is_text(known[key]) and not isinstance(value, str):
        fix = "; put it in quotes"
    return f"{key}: expected {words}, got {told_value(value)}{in_file(sources.get(key, ''))}{fix}"


def in_file(source: str) -> str:
    return f", in '{printable(source)}'" if source else ""


def told_value(value: Any) -> str:
    return "nothing" if value is None else shown(value)
