"""docs/errors.md is made of today's messages, and says for each of them what mends it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

_DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_errors", _DOCS / "make_errors.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(maker: ModuleType) -> None:
    today = maker.page()
    kept = (_DOCS / "errors.md").read_text(encoding="utf-8")
    new = sorted(set(today.splitlines()) - set(kept.splitlines()))
    old = sorted(set(kept.splitlines()) - set(today.splitlines()))
    assert today == kept, f"run python docs/make_errors.py; new: {new[:3]}, gone: {old[:3]}"


def test_each_message_has_a_mend_and_stands_once(maker: ModuleType) -> None:
    groups = maker.rows()
    rows = [row for group in groups.values() for row in group]
    assert len(rows) > 400
    assert all(groups.values())
    without = [row.message for row in rows if not re.search("[a-z]{3}", row.mend)]
    assert not without, f"docs/errors.yaml: add to mends what mends {without}, or say it in the message after a ';'"
    assert len({row.message for row in rows}) == len(rows)


def test_no_hand_written_fix_is_left_over(maker: ModuleType) -> None:
    assert maker.unused() == []


@pytest.mark.parametrize(
    ("group", "message", "mend"),
    [
        (
            "Images",
            "image: expected a readable image, but 'PATH' is corrupt or not an image (REASON)",
            "replace the file",
        ),
        ("Labels and data sets", "labels: 'PATH' holds [FOUND], which are mapped to no class", "mend the labels"),
        ("Labels and data sets", "data: NAME of 'PARENT' lists 'TWICE' twice", "remove one"),
        ("Configurations and command lines", "line LINE: the key 'VALUE' is given twice", "remove one of the two"),
        ("Configurations and command lines", "there is no --NAME", "--help"),
        ("Models, weights and checkpoints", "weights: 'SOURCE' holds NaN or infinity in ...", "get the file again"),
        ("Models, weights and checkpoints", "NAME: expected logits, got probabilities", "leave the softmax"),
        ("Training runs, resume and several processes", "rank NUMBER: lost the other processes", "--resume"),
        ("Results and output folders", "ARGUMENT: 'FOLDER' is being written to by", "wait until it has ended"),
        ("Results and output folders", "out of memory", "use smaller images"),
        ("Operators", "mask: expected a bool tensor", "mask.bool()"),
        ("Operators", "OPERATOR: out of memory of DEVICE", "fewer or smaller images"),
        ("Installing and backends", "tensorboard: the package is not installed", "pip install tensorboard"),
    ],
)
def test_a_telling_message_is_in_its_group(maker: ModuleType, group: str, message: str, mend: str) -> None:
    found = [row for row in maker.rows()[group] if row.message.startswith(message)]
    assert found, f"{message} is not among {[row.message for row in maker.rows()[group]]}"
    assert mend in found[0].mend


def test_what_the_code_says_becomes_a_row(maker: ModuleType) -> None:
    """A message built of parts, by a function that is given some of them, and a mere reason."""
    import ast

    source = '''
MOST = 7
def refuse(path, wanted, fix="save it anew"):
    """image: no message; as it is a docstring."""
    raise MagNetError(f"image: '{path}' is not {wanted}; " + fix)
def use(path, value):
    if value > MOST:
        raise ValueError(f"count: expected at most {MOST}, got {len(value)}; pass less")
    raise ValueError("no size")
    refuse(path, "grey")
    refuse(path, f"of {value.shape}", "crop it")
    parser.error("expected a file")
'''
    tree = ast.parse(source)
    assert sorted(maker._Reader(tree, {"MOST": "7"}).read()) == [
        "count: expected at most 7, got COUNT; pass less",
        "expected a file",
        "image: 'PATH' is not grey; save it anew",
        "image: 'PATH' is not of SHAPE; crop it",
    ]
