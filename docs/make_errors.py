"""Writes docs/errors.md: every message of the program and what mends it, out of the code's own messages.

Run ``python docs/make_errors.py`` from anywhere. Messages are what errors and warnings of ``magnet/`` and
``magnet_kernels/`` are made with, and texts that begin as messages do ("name: ...; fix"). What fills an f-string stands
in capitals. Words that the code does not hold (heads of the groups, fixes of messages without one) are in errors.yaml.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

__all__ = ["Message", "Row", "messages", "page", "rows"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"
_WORDS = Path(__file__).with_suffix("").parent / "errors.yaml"
_ERRORS = {"MagNetError", "ArgumentError", "BandsError", "CheckpointError", "CorruptImageError", "LargeImageError"}
_ERRORS |= {"NoPagesError", "PixelsError", "YamlError"}
_CHECKS = {"ValueError", "TypeError", "RuntimeError", "IndexError", "NotImplementedError"}
_WARNINGS = {"warnings.warn", "_LOG.warning"}
_MESSAGE = re.compile(r"(\.\.\.|[A-Za-z_][\w.-]*|--[\w.-]+|[A-Z]+( [A-Z]+)?): \S")
_BEGINS = re.compile("(data|labels|image|--config): .{10}|out of memory; .")  # messages with or without a fix
_BUG = "this is a bug in magnet"  # not for users to mend
_THROUGH = {
    "int",
    "list",
    "max",
    "min",
    "printable",
    "repr",
    "set",
    "shown",
    "sorted",
    "str",
    "suggest",
    "sum",
    "tuple",
}
_SAID = {"__name__": "TYPE", "error": "REASON", "of_expected": "ONE", "of_names": "ANOTHER", "reason": "REASON"}
_SAID |= {"self": "HEAD", "strerror": "REASON", "told": "..."}


class Message(NamedTuple):
    """A message with placeholders, and the file (from the repository's root) that makes it."""

    text: str
    file: str


class Row(NamedTuple):
    """A line of a table: what is told, and what mends it."""

    message: str
    mend: str


@functools.cache
def messages() -> list[Message]:
    """Every message that may reach a user; each text once."""
    words = _words()
    found: dict[str, str] = {}
    paths = [path for package in ("magnet", "magnet_kernels") for path in sorted((ROOT / package).rglob("*.py"))]
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    constants: dict[str, str] = {}
    for tree in trees.values():
        constants |= _named(node for node in tree.body)
    for file, tree in trees.items():
        for text in _Reader(tree, constants | _named(tree.body)).read():  # its own names go before others'
            if not any(text.startswith(left_out) for left_out in words["left_out"]):
                found.setdefault(text, file)
    return [Message(text, file) for text, file in found.items() if not _is_part(text, found) and _BUG not in text]


def _is_part(text: str, others: Iterable[str]) -> bool:
    """Whether a text without a fix is the beginning of another one."""
    return not _fix(text)[1] and any(other != text and other.startswith(text) for other in others)


def rows() -> dict[str, list[Row]]:
    """The rows of each group, sorted, by the group's title."""
    words = _words()
    made: dict[str, dict[str, list[str]]] = {group["title"]: {} for group in words["groups"]}
    for message in messages():
        row = _row(words["mends"], message.text)
        mends = made[_group(words["groups"], message)].setdefault(row.message, [])
        if row.mend not in mends:
            mends.append(row.mend)
    return {
        title: [Row(told, "; or ".join(mends)) for told, mends in sorted(group.items(), key=lambda one: _order(one[0]))]
        for title, group in made.items()
    }


def _order(text: str) -> tuple[str, str]:
    return re.sub("['`]", "", text).lower(), text


def page() -> str:
    """The whole page."""
    words = _words()
    parts = ["# What the messages mean\n", words["intro"]]
    of_groups = rows()
    for group in words["groups"]:
        parts += [f"## {group['title']}\n", group["text"], "| message | what mends it |\n|---|---|"]
        parts[-1] += "".join(f"\n| {_code(row.message)} | {_cell(row.mend)} |" for row in of_groups[group["title"]])
        parts[-1] += "\n"
    return "\n".join(parts)


def unused() -> list[str]:
    """Beginnings in errors.yaml that no message has any more."""
    mends = _words()["mends"]
    needed = {_by_hand(mends, message.text) for message in messages()}
    return [begin for begin in mends if begin not in needed]


class _Reader:
    """Reads the messages of one file."""

    def __init__(self, tree: ast.Module, constants: dict[str, str]) -> None:
        self._nodes = list(ast.walk(tree))
        self._functions: dict[ast.AST, ast.FunctionDef] = {}  # the innermost function of a node
        for node in self._nodes:
            if isinstance(node, ast.FunctionDef):
                self._functions.update(dict.fromkeys(ast.walk(node), node))
        self._names: dict[ast.AST | None, dict[str, str]] = {None: constants}  # by function, those of the modules too
        self._calls: dict[str, list[ast.Call]] = {}
        for node in self._nodes:
            if isinstance(node, ast.Call):
                self._calls.setdefault(ast.unparse(node.func).removeprefix("self."), []).append(node)
        self._documents = {id(node.value) for node in self._nodes if isinstance(node, ast.Expr)}

    def read(self) -> Iterator[str]:
        inside = set(self._documents)  # strings that are part of another one, or were taken with a call
        for node in self._nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "tell":  # a notice of one image
                inside.update(map(id, ast.walk(node)))
                found, fix = (_text(part, self._known(node)) for part in node.args[2:])
                yield _tidy(f"image: 'PATH' {found}; {fix}")
            elif isinstance(node, ast.Call) and (told := self._told(node)) is not None:
                inside.update(map(id, ast.walk(told)))
                before = "argument --OPTION: " if ast.unparse(node.func).endswith("ArgumentTypeError") else ""
                for text in self._filled(node, told):
                    if self._meant(node, text := _tidy(before + re.sub("^magnet: (error: )?", "", text))):
                        yield text
            elif isinstance(node, ast.BinOp | ast.JoinedStr | ast.Constant) and id(node) not in inside:
                inside.update(map(id, ast.walk(node)))
                text = _tidy(_text(node, self._known(node)))
                if isinstance(node, ast.BinOp) and not any(_literal(side) for side in (node.left, node.right)):
                    inside.difference_update(map(id, ast.walk(node)))  # a sum of numbers, or of names
                elif _BEGINS.match(text) or (_MESSAGE.match(text) and _fix(text)[1]):
                    yield text

    def _known(self, node: ast.AST) -> dict[str, str]:
        """What names stand for where a node is."""
        function = self._functions.get(node)
        if function not in self._names:
            self._names[function] = self._names[None] | _named(ast.walk(cast(ast.AST, function)))
        return self._names[function]

    def _told(self, call: ast.Call) -> ast.expr | None:
        """The argument of a call that is the message, if it makes an error or a warning."""
        name = ast.unparse(call.func)
        last = name.rpartition(".")[2]
        if call.args and (last in _ERRORS | _CHECKS | {"ArgumentTypeError"} or name in _WARNINGS):
            return call.args[0]
        if call.args and (name.endswith("parser.error") or name == "_parser().error"):
            return call.args[0]
        if name == "print" and any(ast.unparse(word.value) == "sys.stderr" for word in call.keywords):
            return call.args[0]
        return None

    def _meant(self, call: ast.Call, text: str) -> bool:
        """Whether a text is a message of its own: the errors of Python also carry mere reasons, put into others."""
        if not re.search(r"[a-z]{3}", text.replace("argument --OPTION: ", "")):
            return False  # nothing but placeholders: another message, passed on
        return ast.unparse(call.func) not in _CHECKS or bool(_MESSAGE.match(text))

    def _filled(self, call: ast.Call, told: ast.expr) -> Iterator[str]:
        """The message; once for each use, where it is made by a function that is given parts of it as texts."""
        function = self._functions.get(call)
        known = self._known(call)
        names = {node.id for node in ast.walk(told) if isinstance(node, ast.Name)}
        parameters = [one.arg for one in function.args.args] if function else []
        yet = True
        if function and names & set(parameters):
            usual = dict(zip(reversed(parameters), reversed(function.args.defaults), strict=False))
            for use in self._calls.get(function.name, []):
                own = parameters[1:] if ast.unparse(use.func).startswith("self.") else parameters
                given = usual | dict(zip(own, use.args, strict=False))
                given |= {word.arg: word.value for word in use.keywords if word.arg}
                wanted = {name: value for name, value in given.items() if name in names - {*_SAID} and _literal(value)}
                parts = {name: _text(value, known) for name, value in wanted.items()}
                if parts:
                    yet = False
                    yield _text(told, known | parts)
        if yet:
            yield _text(told, known)


def _named(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """The texts and numbers that are given names, the longest of each."""
    named: dict[str, str] = {}
    for node in nodes:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if _literal(value) or (name.isupper() and isinstance(value, ast.Constant)):
                if name != "reason" and re.search(
                    "[a-z]{3}|^[0-9.]+$", text := _text(value, {})
                ):  # not of placeholders alone
                    named[name] = max(named.get(name, ""), text, key=len)
    return named


def _literal(node: ast.expr) -> bool:
    """Whether an expression is a text, at least in part."""
    if isinstance(node, ast.BinOp):  # not a path / "name"
        return isinstance(node.op, ast.Add) and (_literal(node.left) or _literal(node.right))
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _text(node: ast.expr, parts: dict[str, str]) -> str:
    """An expression as a reader sees it: texts as they are, all else as a word in capitals."""
    match node:
        case ast.Constant(value=float() as number):
            return f"{number:g}"
        case ast.Constant(value=str() as text):
            return text
        case ast.Constant(value=value):
            return repr(value)
        case ast.JoinedStr(values=values):  # of parts without a word between them, the first stands for all
            first = values[:1] + [one for before, one in pairwise(values) if isinstance(before, ast.Constant)]
            return "".join(_text(value, parts) for value in values if isinstance(value, ast.Constant) or value in first)
        case ast.FormattedValue():
            return _text(node.value, parts)
        case ast.BinOp(op=ast.Add()) if _literal(node):
            return _text(node.left, parts) + _text(node.right, parts)
        case ast.BinOp(op=ast.Sub(), left=ast.Name() as left, right=ast.Constant(value=int() as right)):
            return f"({_text(left, {})} - {right})"
        case ast.BinOp():
            named = node.left if not isinstance(node.left, ast.Constant) else node.right
            return _text(named, {})
        case ast.Name(id=name):
            return parts.get(name, _SAID.get(name, _capitals(name)))
        case ast.Attribute(attr=name):
            return _SAID.get(name, _capitals(name))
        case ast.Subscript(value=value):
            return _text(value, parts)
        case ast.Call(func=ast.Attribute(attr="join"), args=[one]):
            return _text(one, parts)
        case ast.Call(func=ast.Attribute(value=value, attr="strip" | "item" | "tolist" | "partition" | "removeprefix")):
            return _text(value, parts)
        case ast.Call(func=ast.Name(id=name), args=[ast.GeneratorExp() | ast.ListComp() | ast.Starred(), *_]):
            return _capitals(name)
        case ast.Call(func=ast.Name(id="len")):
            return "COUNT"
        case ast.Call(func=ast.Name(id="type")):
            return "TYPE"
        case ast.Call(func=ast.Name(id=name), args=[one, *_]) if name in _THROUGH:
            return _text(one, parts)
        case ast.Call(func=func) if ast.unparse(func).endswith("describe"):
            return "VALUE"
        case ast.GeneratorExp(generators=[first, *_]) | ast.ListComp(generators=[first, *_]):
            return _text(first.iter, parts)
        case ast.BoolOp(values=values):
            return _text(next((one for one in values if isinstance(one, ast.JoinedStr)), values[0]), parts)
        case _:
            return "..."


def _capitals(name: str) -> str:
    return name.strip("_").upper().replace("_", " ")


def _tidy(text: str) -> str:
    text = " ".join(text.replace("%s", "...").replace("%d", "COUNT").split())
    text = re.sub(r"\b([A-Z]{2,})x\1\b", "HxW", text).replace("'FIX", "'")
    return re.sub(r"(\.\.\.,? ?){2,}", "... ", text).strip()


def _fix(text: str) -> tuple[str, str]:
    """What is told, and the fix: what follows the last semicolon outside of brackets ("" without one)."""
    depth = 0
    for at in range(len(text) - 1, 0, -1):
        depth += {")": 1, "]": 1, "}": 1, "(": -1, "[": -1, "{": -1}.get(text[at], 0)
        if text[at] == ";" and depth <= 0:
            fix = text[at + 1 :].strip()
            return text[:at], fix if re.search(r"[a-z]{3}", fix) else ""
    return text, ""


def _row(mends: dict[str, str], text: str) -> Row:
    by_hand = _by_hand(mends, text)
    told, fix = _fix(text)
    return Row(told, mends[by_hand] if by_hand else re.sub(r"(?<=\w)\.{3}$", "", fix))


def _by_hand(mends: dict[str, str], text: str) -> str | None:
    """The longest key of the hand-written fixes that a message begins with."""
    return max((begin for begin in mends if text.startswith(begin)), key=len, default=None)


def _group(groups: list[dict[str, Any]], message: Message) -> str:
    """The group with the longest beginning of the message, else the first one that has its file."""
    begins = {begin: group["title"] for group in groups for begin in group["begins"] if message.text.startswith(begin)}
    if begins:
        return str(begins[max(begins, key=len)])
    for group in groups:
        if any(fnmatch(message.file, pattern) for pattern in group["files"]):
            return str(group["title"])
    raise SystemExit(f"docs/errors.yaml: no group has {message.file}, which says '{message.text}'; add it to one")


@functools.cache
def _words() -> dict[str, Any]:
    words: dict[str, Any] = yaml.safe_load(_WORDS.read_text(encoding="utf-8"))
    return words


def _code(text: str) -> str:
    """Text as code in a table."""
    return (f"`` {text} ``" if "`" in text else f"`{text}`").replace("|", "\\|")


def _cell(text: str) -> str:
    """A fix in a table: outside of its code, nothing is taken for marks of Markdown."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([<*])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}: {sum(map(len, rows().values()))} messages")
