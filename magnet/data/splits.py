"""Splits of data sets that come without them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from magnet.errors import ArgumentError, MagNetError

__all__ = ["check_split_name", "seeded_split"]


def check_split_name(split: str) -> None:
    """Raise ArgumentError unless it is one of the three splits."""
    if split not in ("train", "val", "test"):
        raise ArgumentError(f"split: expected train, val or test, got '{split}'")


def seeded_split(names: Sequence[str], split: str, *, val: float, test: float, seed: int) -> list[str]:
    """The part of ``names`` that belongs to a split, sorted.

    Names are put in the order of the SHA-256 of ``"<seed>:<name>"``: the first ``round(test * n)`` are the test split,
    the next ``round(val * n)`` the validation split, the rest the training split. The same names and seed give the same
    split on every machine, whatever the order of the files.

    Raises:
        MagNetError: an unknown split, or fractions that are negative or leave nothing to train on.
    """
    check_split_name(split)
    if min(val, test) < 0 or val + test >= 1:
        raise MagNetError(f"data.split: expected val and test to be fractions with a sum below 1, got {val} and {test}")
    order = sorted(names, key=lambda name: (hashlib.sha256(f"{seed}:{name}".encode()).digest(), name))
    first, second = round(test * len(order)), round(test * len(order)) + round(val * len(order))
    part = {"test": order[:first], "val": order[first:second], "train": order[second:]}[split]
    return sorted(part)
