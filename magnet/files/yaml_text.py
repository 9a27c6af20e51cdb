"""YAML as this program reads it everywhere: plain values alone, of bounded size, each mistake in one line.

Read as YAML 1.2 says where 1.1 surprises: ``no``, ``off`` and ``yes`` are texts, ``1e-3`` is a number, ``1:30`` and
``2024-05-01`` are texts. Nothing in a file makes an object or runs code.
"""

from __future__ import annotations

import io
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from magnet.errors import ArgumentError, MagNetError, printable
from magnet.files.reading import read_bytes

__all__ = ["YamlError", "dump_yaml", "parse_yaml", "read_yaml"]

MAX_KIB = 256  # of a file
MAX_DEPTH = 50  # of values in values
MAX_VALUES = 10_000  # each alias counted as what it repeats

_TOO_MANY = f"more than {MAX_VALUES} values, an alias counted as what it repeats"


class YamlError(MagNetError):
    """A text that is not YAML, or more than is taken; the message says where, and not which file."""


def _fault(node: yaml.Node, problem: str) -> YamlError:
    return YamlError(f"line {node.start_mark.line + 1}: {problem}")


class _Resolver(yaml.resolver.BaseResolver):
    """What plain texts mean: YAML 1.2's core schema, and the merge key."""


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Resolver.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


class _Constructor(yaml.constructor.SafeConstructor):
    """Plain values; refuses other tags, and a key that is given twice, of which the last would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if not isinstance(node, yaml.MappingNode):  # a tag on something else
            raise _fault(node, "expected keys and values")
        seen: set[Hashable] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise _fault(name, "a key is a list or a mapping; a text is wanted")
            key = name.value if name.tag.endswith(":merge") else self.construct_object(name)
            if key in seen:  # 1, 0x1 and true are one key, too
                raise _fault(name, f"the key '{printable(name.value)}' is given twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_yaml_bool(self, node: Any) -> bool:
        text = self.construct_scalar(node).lower()
        if text not in ("true", "false"):
            raise _fault(node, f"'{printable(text, 60)}' is neither true nor false")
        return bool(text == "true")

    def construct_yaml_int(self, node: Any) -> int:
        text = self.construct_scalar(node)
        try:
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        except ValueError:  # a tag on a text, or more digits than Python takes
            raise _fault(node, f"'{printable(text, 60)}' is no whole number that can be used") from None

    def construct_yaml_float(self, node: Any) -> float:
        text = self.construct_scalar(node)
        try:
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            raise _fault(node, f"'{printable(text, 60)}' is no number") from None

    def refuse(self, node: Any) -> Any:
        raise _fault(node, f"the tag '{printable(node.tag)}' is not taken; values are plain texts, numbers and lists")


_Constructor.yaml_constructors = {
    f"tag:yaml.org,2002:{kind}": getattr(_Constructor, f"construct_yaml_{kind}")
    for kind in ("null", "bool", "int", "float", "str", "seq", "map")
}
_Constructor.add_constructor(None, _Constructor.refuse)


class _Loader(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    _Constructor,
    _Resolver,
):
    """Composes the values of a text; refuses what is nested too deep, or grows too large by aliases."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Constructor.__init__(self)
        _Resolver.__init__(self)
        self._depth = self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self._depth > MAX_DEPTH:
            raise YamlError(f"line {self.peek_event().start_mark.line + 1}: values nested more than {MAX_DEPTH} deep")
        self._values += 1
        if self._values > MAX_VALUES:
            raise YamlError(f"line {self.peek_event().start_mark.line + 1}: {_TOO_MANY}")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _written_out(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """How many values a node stands for, each alias counted as what it repeats."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in above:
        raise _fault(node, "an alias repeats what it stands in, without an end")
    if id(node) not in known:
        parts = [one for pair in node.value for one in pair] if isinstance(node, yaml.MappingNode) else node.value
        inside = above | {id(node)}
        known[id(node)] = 1 + sum(_written_out(part, known, inside) for part in parts)
        if known[id(node)] > MAX_VALUES:
            raise _fault(node, _TOO_MANY)
    return known[id(node)]


def parse_yaml(text: str) -> Any:
    """The value of a YAML text: None, bool, int, float, str, and lists and dicts of these.

    Raises:
        YamlError: no YAML, several documents, tags, a key given twice, values nested deeper than 50, or more than
            10,000, an alias counted as what it repeats.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _written_out(node, {}, set())
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        if isinstance(error, yaml.reader.ReaderError):
            line = text.count("\n", 0, error.position) + 1
            raise YamlError(f"line {line}: the control character {chr(error.character)!r} is not taken") from error
        told = [getattr(error, name, None) for name in ("context", "problem")]
        raise YamlError(where + (", ".join(filter(None, told)) or " ".join(str(error).split()))) from error


def read_yaml(path: str | Path, argument: str, fix: str) -> Any:
    """The value of a YAML file in UTF-8, of at most 256 KiB.

    Args:
        path: the file; a pipe, a device or a folder is refused, not opened.
        argument: what the message begins with, such as "--config".
        fix: what it ends in where there is no such file.

    Raises:
        ArgumentError: no such file, not a file, not to be read, too large, or no YAML (``parse_yaml``).
    """
    try:
        content = read_bytes(path, argument, "a YAML file", at_most=MAX_KIB * 1024)
    except MagNetError as error:
        raise ArgumentError(error) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ArgumentError(f"{argument}: expected a YAML file, but '{path}' does not exist; {fix}") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", "") or error
        raise ArgumentError(
            f"{argument}: cannot read '{path}' ({reason}); check the path and its permissions"
        ) from error
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ArgumentError(
            f"{argument}: '{path}' is not YAML in UTF-8 (line {line}: the byte 0x{content[error.start]:02x}); "
            "save it as UTF-8"
        ) from error
    except YamlError as error:
        raise ArgumentError(f"{argument}: '{path}' is not YAML that can be used ({error}); mend it") from error


class _Dumper(yaml.emitter.Emitter, yaml.serializer.Serializer, yaml.representer.SafeRepresenter, _Resolver):
    """Writes what ``parse_yaml`` reads back as it was."""

    def __init__(self, stream: Any, **options: Any) -> None:
        flow, order = options["default_flow_style"], options["sort_keys"]
        yaml.emitter.Emitter.__init__(self, stream, width=options["width"], allow_unicode=True)
        yaml.serializer.Serializer.__init__(self)
        yaml.representer.SafeRepresenter.__init__(self, default_flow_style=flow, sort_keys=order)
        _Resolver.__init__(self)

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_tuple(self, data: tuple[Any, ...]) -> yaml.Node:
        return self.represent_list(data)

    def represent_text(self, data: str) -> yaml.Node:
        style = None if data.isprintable() else '"'  # which alone has escapes
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
_Dumper.add_representer(tuple, _Dumper.represent_tuple)


def dump_yaml(content: Any) -> str:
    """Values as a YAML text, the innermost lists and mappings in one line."""
    stream = io.StringIO()
    dumper = _Dumper(stream, default_flow_style=None, sort_keys=False, width=120)
    try:
        dumper.open()
        dumper.represent(content)
        dumper.close()
    finally:
        dumper.dispose()
    return stream.getvalue()
