"""The keys of a configuration: their kinds, in words too, what each is for, and the nearest ones to a wrong one."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from functools import cache
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from magnet.training.config import TrainConfig

__all__ = ["BY_WORD", "config_keys", "expected", "explanations", "is_flag", "is_section", "is_text", "suggest"]

# what other libraries call a key
_ELSEWHERE = {"encoder_weights": "weights", "encoder_name": "encoder", "backbone": "encoder"}
BY_WORD = ("trust",)  # keys that the command line alone sets: a file must not speak for who runs it


@cache
def config_keys(cls: type = TrainConfig, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of the configuration and its kind (a type), sections included."""
    keys: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(cls, include_extras=True).items():
        keys[prefix + name] = kind
        if is_section(kind):
            keys.update(config_keys(kind, f"{prefix}{name}."))
    return keys


def explanations(cls: type) -> dict[str, str]:
    """What each key of a section is for, as the section's docstring says under "Args:"."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("Args:\n")[2]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}


def is_section(kind: Any) -> bool:
    """Whether a kind has keys of its own."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def is_flag(kind: Any) -> bool:
    """Whether a kind is true or false."""
    return _plain(kind) is bool


def is_text(kind: Any) -> bool:
    """Whether a kind is any text, or one of several."""
    kind = _plain(kind)
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(part, str) for part in typing.get_args(kind))
    return kind is str


def _plain(kind: Any) -> Any:
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def suggest(key: str, option: str = "") -> str:
    """The end of a message about a key that there is not: the nearest right ones, or where to look.

    Args:
        key: the wrong one, dotted.
        option: what is put before a key, such as "--".
    """
    known = list(config_keys())
    section, _, leaf = key.rpartition(".")

    def near(keys: list[str]) -> list[str]:
        """Keys whose last name is the closest to the wrong one's."""
        best = difflib.get_close_matches(leaf, {k.rpartition(".")[2] for k in keys}, n=1, cutoff=0.7)
        return [k for k in keys if k.rpartition(".")[2] in best]

    found = [k for k in known if k == f"{section}.{_ELSEWHERE.get(leaf)}"]
    found = found or near([k for k in known if k.rpartition(".")[0] == section])  # beside it
    found = found or near([k for k in known if k.startswith(f"{section}.")])  # below
    found = found or difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    found = found or near(known)
    if not found:
        return "magnet train --help lists the keys"
    return f"did you mean {' or '.join(option + k for k in found[:3])}?"


def expected(kind: Any) -> str:
    """A kind in words: its own, or those of what it is made of."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        own = [extra.description for extra in parts[1:] if isinstance(extra, FieldInfo) and extra.description]
        return own[-1] if own else expected(parts[0])
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("empty (null)" if part is type(None) else expected(part) for part in parts)
    if origin is list:
        return f"a list [...], of {expected(parts[0])} each"
    if origin is dict:
        return "names and texts"
    return {str: "a text", bool: "true or false"}.get(kind, "a section with keys of its own")
