"""Messages quote anything safely: one line, printable, short."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnet.cli import main as cli
from magnet.errors import MagNetError, printable, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain Straße 道路", "plain Straße 道路"),
        ("red \x1b[31m", r"red \x1b[31m"),
        ("two\nlines\tand\r", r"two\nlines\tand\r"),
        ("gnp.\u202etxt", r"gnp.\u202etxt"),  # turns the text round
        ("caf\udce9.png", r"caf\udce9.png"),  # a file name that is not UTF-8
    ],
)
def test_what_does_not_print_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(text=st.text(max_size=400), most=st.integers(20, 100))
def test_a_text_of_any_kind_is_one_printable_line(text: str, most: int) -> None:
    told = printable(text, most)
    assert told.isprintable() and len(told) <= most and printable(told, most) == told
    told.encode()
    if text.isprintable() and len(text) <= most:
        assert told == text


def test_the_middle_of_a_long_text_is_left_out() -> None:
    assert printable("a" * 500 + "; the mend") == "a" * 129 + " ... " + "a" * 56 + "; the mend"


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([16, 24], "[16, 24]"),
        ({"a": (1, None)}, "{'a': (1, None)}"),
        ("x\x1b", r"'x\x1b'"),
        (float("nan"), "nan"),
        (list(range(100_000)), "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        (deep(100_000), "[[[[[...]]]]]"),
    ],
)
def test_values_are_shown_shortly(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_a_number_that_python_does_not_write_is_shown() -> None:
    assert shown(10**5000) == "<int>"


def test_a_long_string_is_not_shown_whole() -> None:
    assert len(shown("k" * 240_000)) < 200


def test_an_error_is_one_printable_line_whatever_it_quotes() -> None:
    error = MagNetError("weights: 'a\x07b' holds\n" + "key, " * 50_000 + "and more; get the file again")
    text = str(error)
    assert text.startswith(r"weights: 'a\x07b' holds key, ") and text.endswith("; get the file again")
    assert len(text) <= 2000 and text.isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == text  # as processes hand errors over


def test_the_command_line_prints_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "no\x1b[2Jimage\x9b", "--model", "m", "--out", "o"]) == 2
    told = capsys.readouterr().err
    assert r"no\x1b[2Jimage\x9b" in told and "\x1b" not in told and "\x9b" not in told
    assert cli.main(["predict", "x.png", "--model", "m", "--out", "o", "--n-points", "\x1b[2J"]) == 2
    told = capsys.readouterr().err
    assert r"\x1b[2J" in told and "\x1b" not in told
