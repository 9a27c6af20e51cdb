"""The code on a page, and running it as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from live import environment_of_a_program

ROOT = Path(__file__).resolve().parent.parent  # of the repository: the package may be installed elsewhere

_FENCE = re.compile(
    r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block: its language, title ("" for none), text, the heading above it, and the line it begins on."""

    language: str
    title: str
    code: str
    heading: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a Markdown page, in its order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        headings = re.findall(r"^#+ (.+)$", re.sub(_FENCE, "", text[: match.start()]), re.MULTILINE)
        line = text.count("\n", 0, match.start("code"))
        found.append(Block(match["language"], match["title"] or "", match["code"], (headings or [""])[-1], line))
    assert text.count("\n```") == 2 * len(found), f"{page}: a fence is not of the form that is understood"
    return found


def run_python(block: Block, page: Path, names: dict[str, Any]) -> None:
    """Run a block in a namespace; a traceback names the page and its line."""
    exec(compile("\n" * block.line + block.code, str(page), "exec"), names)


def run_shell(block: Block, folder: Path) -> str:
    """Run a block of shell in a folder, with ``magnet`` the one under test; returns what it printed."""
    programs = folder / ".programs"
    if not programs.exists():
        programs.mkdir()
        magnet = programs / "magnet"
        magnet.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m magnet "$@"\n')
        magnet.chmod(0o755)
    environment = environment_of_a_program(OMP_NUM_THREADS="1")
    environment["PATH"] = f"{programs}:{Path(sys.executable).parent}:{environment['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", block.code]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, f"{block.heading}:\n{block.code}\n{run.stdout}\n{run.stderr}"
    return run.stdout + run.stderr


def run_page(page: Path, folder: Path, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run all of a page in a folder, which must be the current one: Python in one namespace, shell, and files of
    blocks with a title, which are written under it. Returns the namespace."""
    names = {"__name__": "__main__"} if names is None else names
    for block in blocks_of(page):
        if block.title:
            (folder / block.title).write_text(block.code)
        elif block.language == "python":
            run_python(block, page, names)
        elif block.language == "bash":
            run_shell(block, folder)
        else:
            raise AssertionError(
                f"{page.relative_to(ROOT)}: a block of {block.language} needs a title, or another language"
            )
    return names
