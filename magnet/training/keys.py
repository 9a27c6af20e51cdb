"""The keys of a configuration: wrong ones are told before anything else, with the nearest right one."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from magnet.errors import MagNetError
from magnet.training.config import TrainConfig

__all__ = ["check_file", "config_keys", "explain", "one_length", "suggest"]


def config_keys(cls: type = TrainConfig, prefix: str = "") -> dict[str, Any]:
    """Every dotted key of the configuration and its type, sections included."""
    keys: dict[str, Any] = {}
    for name, kind in typing.get_type_hints(cls).items():
        keys[prefix + name] = kind
        if dataclasses.is_dataclass(kind):
            keys.update(config_keys(typing.cast(type, kind), f"{prefix}{name}."))
    return keys


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

    found = near([k for k in known if k.rpartition(".")[0] == section])  # beside it
    found = found or near([k for k in known if k.startswith(f"{section}.")])  # below
    found = found or difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    found = found or near(known)
    if not found:
        return "magnet train --help lists the keys"
    return f"did you mean {' or '.join(option + k for k in found[:3])}?"


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which the last would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for name, _ in node.value:
            if name.value in seen:
                line = name.start_mark.line + 1
                raise yaml.MarkedYAMLError(problem=f"line {line}: the key '{name.value}' is given twice")
            seen.add(name.value)
        return super().construct_mapping(node, deep)


def check_file(path: str | Path) -> None:
    """Check the keys of a YAML file, in every section, also in empty ones; values are left to the parser.

    Raises:
        MagNetError: no YAML, no mapping, an unknown key, a value where a section belongs, or a key given twice.
    """
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise MagNetError(f"--config: expected a YAML file or the name of a recipe, got '{path}'") from None
    except OSError as error:
        raise MagNetError(f"--config: '{path}' cannot be read ({error.strerror or error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise MagNetError(f"--config: '{path}' is not YAML in UTF-8 that can be used ({where}{reason})") from error
    if not isinstance(content, dict):
        raise MagNetError(f"--config: expected keys and values in '{path}', got {_shown(content)}")
    _check_section(content, "", config_keys(), str(path))


def _check_section(content: dict[Any, Any], section: str, known: dict[str, Any], path: str) -> None:
    for name, value in content.items():
        key = f"{section}{name}"
        if key not in known:
            raise MagNetError(f"--config: '{path}' has the key '{key}', which there is not; {suggest(key)}")
        kind = known[key]
        if dataclasses.is_dataclass(kind):
            if isinstance(value, dict):
                _check_section(value, f"{key}.", known, path)
            else:
                raise MagNetError(f"{key}: expected a section with keys of its own, got {_shown(value)}, in '{path}'")
        elif value is None and type(None) not in typing.get_args(kind):
            raise MagNetError(f"{key}: expected {_kind(kind)}, got nothing, in '{path}'; drop the line or fill it")


def one_length(words: Sequence[str]) -> list[str]:
    """``words`` with ``--STAGE.epochs 0`` where only the iterations are given on the command line, and the other way
    round, so that either replaces what a file says of both."""
    given = {word.split("=", 1)[0] for word in words if word.startswith("--")}
    more = []
    for stage in ("segmenter", "refiner"):
        keys = [f"--{stage}.iterations", f"--{stage}.epochs"]
        if sum(key in given for key in keys) == 1:
            more += [f"{key}=0" for key in keys if key not in given]
    return [*words, *more]


def explain(text: str) -> str:
    """A message of the parser, in one line, as of the rest of the program."""
    text = " ".join(text.split())
    if found := re.search(r"unrecognized arguments: (.*)", text):
        words = found[1].split()
        key = next((word for word in words if word.startswith("--")), "").lstrip("-").split("=")[0]
        if not key:
            return f"unexpected '{found[1]}'; keys are given as --walk.n_points 0.5"
        return f"there is no --{key}; {suggest(key, '--')}"
    if found := re.search(r"[Gg]roup '([\w.]+)' does not accept (?:option|nested key) '([\w.]+)'", text):
        key = f"{found[1]}.{found[2]}"
        return f"there is no key '{key}'; {suggest(key)}"
    if found := re.search(r"Parser key \"([\w.]+)\": (.*)", text):
        key = found[1]
        kind = config_keys().get(key)
        value = re.search(r"Got value: (.*)$", found[2])
        if kind is not None and value:
            return f"{key}: expected {_kind(kind)}, got {value[1]}"
        return f"{key}: expected {_kind(kind)}" if dataclasses.is_dataclass(kind) else f"{key}: {found[2]}"
    return text


def _kind(kind: Any) -> str:
    """A type in words."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join("empty (null)" if part is type(None) else _kind(part) for part in parts)
    if origin is list:
        return f"a list [...], of {_kind(parts[0])} each"
    if origin is tuple:
        return "a size [height, width]" if parts == (int, int) else f"{len(parts)} numbers [...]"
    if origin is dict:
        return "names and texts"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(kind, "a section with keys of its own")


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
