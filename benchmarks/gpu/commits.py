"""Names of commits. Needs neither torch nor a GPU."""

from __future__ import annotations


def abbreviated(commit: str) -> str:
    """The first 12 digits, with what is said of changes: "6b584abfc9e6 + changes"."""
    name, *changes = commit.split(" ", 1)
    return " ".join([name[:12], *changes])
