"""YAML as the program reads it: plain values, of bounded size, each mistake in one line; nothing else is opened."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnet.data import YamlData
from magnet.errors import ArgumentError
from magnet.files import yaml_text
from magnet.files.yaml_text import YamlError, dump_yaml, parse_yaml, read_yaml

TIMES_NINE = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 30))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # what YAML 1.1 takes for something else
        ("[no, off, yes, on, n, y, No, NO]", ["no", "off", "yes", "on", "n", "y", "No", "NO"]),
        ("[1e-3, 1E5, 1e+2, .5, 1., 5.0e-4]", [1e-3, 1e5, 1e2, 0.5, 1.0, 5e-4]),
        ("[1:30, 2024-05-01, 1_000, =]", ["1:30", "2024-05-01", "1_000", "="]),
        ("[010, 0x1f, 0o17, +5, -3]", [10, 31, 15, 5, -3]),
        ("[true, True, false, FALSE, null, ~, ]", [True, True, False, False, None, None]),
        ("[.inf, -.INF, 1e999]", [math.inf, -math.inf, math.inf]),
        ("['no', \"1\", !!str 5, !!int '7']", ["no", "1", "5", 7]),
        ("", None),
        ("# only a comment", None),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}\ne: *x", {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": {"b": 1}}),
        ("{1: a, '1': b}", {1: "a", "1": "b"}),
    ],
)
def test_values(text: str, value: object) -> None:
    found = parse_yaml(text)
    assert found == value and repr(found) == repr(value)  # True is no 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (TIMES_NINE, r"^line \d: more than 10000 values, an alias counted as what it repeats$"),
        (MERGED, r"^line \d: more than 10000 values, an alias counted as what it repeats$"),
        ("[" + "x, " * 20_000 + "]", "more than 10000 values"),
        ("&a [*a]", "^line 1: an alias repeats what it stands in, without an end$"),
        ("&a {b: {c: *a}}", "without an end"),
        ("[" * 5000, "^line 1: values nested more than 50 deep$"),
        ("{a: " * 5000, "nested more than 50 deep"),
        ("- " * 5000 + "x", "nested more than 50 deep"),
        ("a: 1\nb: !!python/object/apply:os.system ['touch x']", "^line 2: the tag '.*os.system' is not taken; "),
        ("!!set {a}", "the tag '.*set' is not taken"),
        ("!!binary aGVsbG8=", "the tag '.*binary' is not taken"),
        ("!mine 3", "the tag '!mine' is not taken"),
        ("!!int x", "'x' is no whole number that can be used"),
        ("!!float x", "'x' is no number"),
        ("!!bool x", "'x' is neither true nor false"),
        ("!!map [1]", "expected keys and values"),
        ("9" * 5000, r"'9{10,60} \.\.\. 9{10,60}' is no whole number that can be used"),
        ("a: 1\nb: 2\na: 3", "^line 3: the key 'a' is given twice$"),
        ("{1: a, true: b}", "the key 'true' is given twice"),
        ("{1: a, 0x1: b}", "the key '0x1' is given twice"),
        ("{<<: {a: 1}, <<: {a: 2}}", "the key '<<' is given twice"),
        ("? [1, 2]\n: 3", "a key is a list or a mapping; a text is wanted"),
        ("--- 1\n--- 2", "line 2: expected a single document in the stream, but found another document"),
        ("a\nb\x00", r"^line 2: the control character '\\x00' is not taken$"),
        ("\x1b[31m", r"the control character '\\x1b' is not taken"),
        ("a: *b", "found undefined alias 'b'"),
        ("a: b: c", "mapping values are not allowed here"),
        ("\t- a", r"found character '\\t' that cannot start any token"),
        ("[1, 2", "expected ',' or ']'"),
        ("<<: 3", "for merging"),
    ],
)
def test_what_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(YamlError, match=told) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_aliases_within_the_bound_are_taken() -> None:
    values = parse_yaml("a: &a [1, 2, 3]\nb: [" + ", ".join(["*a"] * 1000) + "]")
    assert values["b"] == [[1, 2, 3]] * 1000


SCALARS = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(SCALARS, lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(), part, max_size=4))


@given(VALUES)
def test_what_is_written_is_read_back(value: object) -> None:
    assert parse_yaml(dump_yaml(value)) == value


@given(st.text(alphabet="ab01 -:,[]{}&*!?|>'\"%@`#\n\t<=.e+~", max_size=60) | st.text(max_size=40))
def test_any_text_is_values_or_one_error(text: str) -> None:
    try:
        parse_yaml(text)
    except YamlError as error:
        assert "\n" not in str(error)


def read(path: Path | str) -> object:
    return read_yaml(path, "--config", "name one")


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1")
    assert read(tmp_path / "bom.yaml") == {"a": 1}
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        server.bind("socket")
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: é".encode("latin-1"))
    (tmp_path / "large.yaml").write_bytes(b"#" * (1024 * yaml_text.MAX_KIB + 1))
    (tmp_path / "loop").symlink_to("loop")
    for name, told in [
        ("nowhere.yaml", "but 'nowhere.yaml' does not exist; name one"),
        ("bom.yaml/x", "does not exist; name one"),
        (".", "but '.' is a folder; check the path"),
        ("pipe", "but 'pipe' is a pipe; copy what comes from it to a file"),
        ("socket", "is a socket; copy"),
        ("/dev/zero", "but '/dev/zero' is a device; copy"),
        ("large.yaml", "expected a YAML file of at most 256 KiB, but 'large.yaml' is larger"),
        ("latin.yaml", r"'latin.yaml' is not YAML in UTF-8 \(line 2: the byte 0xe9\); save it as UTF-8"),
        ("loop", r"cannot read 'loop' \(.*\)"),
        ("a\x00b", r"cannot read 'a\\x00b' \(embedded null byte\)"),
        ("x" * 5000, "cannot read .*File name too long"),
    ]:
        with pytest.raises(ArgumentError, match=f"^--config: .*{told}") as caught:
            read(name)
        assert "\n" not in str(caught.value)


def test_a_sparse_file_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.yaml").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ArgumentError, match="at most 256 KiB"):
        read(tmp_path / "huge.yaml")


@pytest.mark.parametrize("text", [TIMES_NINE, "[" * 5000, "a: 1\na: 2", "!!python/name:os.system ''", "a: \x00"])
def test_descriptions_of_data_are_read_in_the_same_way(text: str, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ArgumentError, match=r"^data\.file: '.*' is not YAML that can be used \(line \d+: "):
        YamlData(tmp_path / "data.yaml", "train")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArgumentError, match=r"^data\.file: expected a YAML file, but '.*pipe' is a pipe"):
        YamlData(tmp_path / "pipe", "train")
