"""What is wrong with an answer or with what a command left behind: the promises that hold for every fault."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

LEFTOVER = re.compile(r"\..{0,32}\.[0-9a-f]{16}")
LONGEST_LINE = 2100  # of a message, whose beginning names the command


def of_answer(answer: dict[str, Any]) -> list[str]:
    """Of any job: a hang, an end of the process, a traceback, a message that is not one readable line."""
    for fault in ("hang", "died", "traceback"):
        if fault in answer:
            return [f"{fault}: {answer[fault]}"]
    if "Traceback (most recent call last)" in answer["err"] + answer["out"]:
        return [f"a traceback was printed: {answer['err'][-1500:]}"]
    return of_message(answer["refused"]) if "refused" in answer else []


def of_message(message: str) -> list[str]:
    if not message.strip():
        return ["an empty message"]
    if "\n" in message or not message.isprintable():
        return [f"a message that is not one line of printable characters: {message!r}"]
    if len(message) > LONGEST_LINE:
        return [f"a message of {len(message)} characters: {message[:200]}..."]
    return []


def of_command(answer: dict[str, Any], codes: tuple[int, ...] = (0, 1, 2)) -> list[str]:
    """Besides: an exit code that no command has, a failure without a word, errors past all bounds."""
    found = of_answer(answer)
    if found:
        return found
    if answer["code"] not in codes:
        found.append(f"exit code {answer['code']}, expected one of {codes}: {answer['err'][-500:]}")
    if answer["code"] and "error" not in answer["err"] and "skipped" not in answer["err"] and not answer["out"]:
        found.append(f"exit code {answer['code']} without a message: {answer['err'][-500:]!r}")
    for line in re.split(r"[\n\r]", answer["err"]):
        if len(line) > LONGEST_LINE:
            found.append(f"a line of {len(line)} characters: {line[:200]}...")
    return found


def state_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with the digest of its content."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def of_folder(before: dict[str, str], folder: Path) -> list[str]:
    """Files of the user that were changed, removed or added to."""
    after = state_of(folder)
    return [f"changed: {name}" for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]


def leftovers(folder: Path) -> list[str]:
    """Temporary folders that nothing will ever remove."""
    return [f"left over: {path}" for path in folder.rglob(".*") if LEFTOVER.fullmatch(path.name)]
