"""Wrong command lines of every command: exit code 2, one line that prints, and nothing made."""

from __future__ import annotations

from pathlib import Path

import pytest

from magnet.cli import main as cli
from magnet.cli.models import load_model
from magnet.data.scenes import generate_scene
from magnet.devices import pick_device
from magnet.errors import ArgumentError

# what each command needs, so that one more word is what is wrong
COMMANDS = {
    "doctor": [],
    "demo": ["--out", "o"],
    "predict": ["i.png", "--model", "m", "--out", "o"],
    "train": ["--config", "scenes"],
    "eval": ["--model", "m", "--data", "d"],
    "data": ["check", "d"],
    "convert": ["--backbone", "b", "--refiners", "r", "--out", "o", "--num-classes", "3", "--config", "hrf"],
    "export": ["--model", "m", "--format", "pt2", "--out", "o"],
    "scenes": ["--out", "o"],
}
ANYWHERE = (
    ["--nothing"],
    ["--nothing=3"],
    ["more\x1b[31m", "\x00"],
    ["--no\x1b]0;x\x07"],
    ["-x"],
    ["--="],
    ["--\x00", "y"],
    ["--\udcff", "y"],  # a byte that is not UTF-8
    ["--" + "x" * 5000],
    ["--seed", "１２"],
)
_COUNTS = ["-1", "x", "", "1e3", "9" * 30, "0x10", "1_0", "²", "٣", " 5"]
_POINTS = ["0.0", "-1", "1.5", "nan", "inf", "1e999", "1e-999", "", "x", "9" * 30, "0.5.5"]
_PATCHES = ["-1", "x", "1,,2", "", "1.5", "9" * 30, ","]
_KERNELS = ["0", "2", "17", "x", "-3", "3.0", ""]
_DEVICES = ["meta", "", "tpu", "cuda:x", "cuda:-1", "cpu:0\n", "cuda:9999"]
_SIZES = ["1", "1x", "x", "-1x3", "1x1x1", "９x9", "9" * 20 + "x1", "46341x46341", "0x5"]
NO_VALUE = None
WRONG: dict[str, dict[str, list[str | None]]] = {
    "demo": {"--seed": [*_COUNTS], "--amp": ["fp8", "", "BF16"], "--device": [*_DEVICES], "--out": [NO_VALUE]},
    "predict": {
        "--save": ["", "x", ",", "labels,foo"],
        "--n-patches": [*_PATCHES],
        "--n-points": [*_POINTS],
        "--kernel-size": [*_KERNELS],
        "--points-by": ["x", ""],
        "--flips": ["x", "vertical", ""],
        "--corrupt": ["x"],
        "--device": [*_DEVICES],
        "--model": [NO_VALUE],
    },
    "train": {
        "--config": ["nowhere.yaml", "", ".", "/dev/null", "/dev/zero", "a\x00b", "x" * 5000, "--nothing", NO_VALUE],
        "--seed": ["-1", "x", "", "1e3", NO_VALUE],
        "--segmenter.optim.lr": ["nan", "-1", "[", "{", "'", "!!python/name:os.system", NO_VALUE],
        "--walk.scales": ["[", "[[1]]", "[[1,2],", "1", "[[0,0]]", "&a [*a]"],
        "--name": ["", "..", "a/b", "a\x1bb", "a\nb", NO_VALUE],
        "--device": [*_DEVICES],
        "--info": ["3", "[", "{a: 1}"],
        "--segmenter": ["3", "[", "{iteratons: 3}"],
        "--resume": ["maybe"],
        "--half=perhaps": [NO_VALUE],
        "--data.folders": ["mine", "[1]"],
    },
    "eval": {
        "--modes": ["", "x", ","],
        "--n-patches": ["-1", "x"],
        "--n-points": ["0.0", "x"],
        "--kernel-size": ["2"],
        "--boundary-width": ["-1", "x", "1.5", "nan", "inf", "", "²"],
        "--limit": [*_COUNTS],
        "--amp": ["x"],
        "--device": [*_DEVICES],
        "--config": ["nowhere.yaml", "/dev/zero", ".", NO_VALUE],
    },
    "data": {
        "--split": ["", "x", ","],
        "--json": [NO_VALUE],
        "--config": ["hrf"],
        "--data.format": ["x"],
        "--data.wrkers": ["3"],
        "--data.workers": ["-1", "x"],
    },
    "convert": {
        "--num-classes": ["-1", "x", "", "9" * 30, "0", "1", "10000000"],
        "--scales": [*_SIZES],
        "--patch-size": ["1", "9999x9999"],
        "--input-size": ["x"],
        "--n-points": ["x"],
        "--n-patches": ["x", "1,2"],
        "--compat": ["x"],
        "--config": ["nowhere"],
        "--network": ["x"],
    },
    "export": {
        "--format": ["x", "", "PT2"],
        "--size": [*_SIZES],
        "--image": ["nowhere.png", ""],
        "--n-points": [*_POINTS],
        "--n-patches": [*_PATCHES],
        "--device": [*_DEVICES],
        "--model": [NO_VALUE],
    },
    "scenes": {
        "--size": ["1 1", "x y", "10000000 10000000", "256 9999999999", "16384 16385", "300", "-1 -1"],
        "--train": [*_COUNTS, "1000000000000000000", "2000000"],
        "--seed": [*_COUNTS],
    },
    "doctor": {"--json=x": [NO_VALUE]},
}
LINES: list[list[str]] = [
    [],
    ["nothing"],
    [""],
    ["\x00"],
    ["\x1b[31m"],
    ["\udcff"],
    ["train\x00"],
    ["--version="],
    ["--debug"],
    ["--debug", "--nothing"],
    ["data"],
    ["data", "nothing"],
    ["data", "check"],
    ["data", "check", "--config", "x", "d"],
    *([command] for command in ("predict", "train", "eval", "convert", "export", "scenes")),
    ["eval", "--model", "m"],
    ["eval", "--data", "d"],
    ["train", "more"],
    *([command, *needed, *words] for command, needed in COMMANDS.items() for words in ANYWHERE),
]


def wrong_lines(command: str) -> list[list[str]]:
    """Each option of ``command`` with each of its wrong values."""
    needed = [command, *COMMANDS[command]]
    found = []
    for option, values in WRONG[command].items():
        for value in values:
            words = [] if value is NO_VALUE else value.split(" ") if option == "--size" else [value]
            found.append([*needed, option, *words])
    return found


def check(line: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(line) == 2, line
    out, err = capsys.readouterr()
    assert out == "" and err.endswith("\n") and err[:-1].isprintable() and 10 < len(err) < 2500, (line, err)
    assert " error: " in err and "this is a bug" not in err
    return err


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def test_lines_that_no_command_takes(capsys: pytest.CaptureFixture[str]) -> None:
    for line in LINES:
        check(line, capsys)


@pytest.mark.parametrize("command", sorted(WRONG))
def test_values_that_no_option_takes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in wrong_lines(command):
        option = line[len(COMMANDS[command]) + 1].partition("=")[0]
        err = check(line, capsys)
        if option not in ("--config", "--data.wrkers", "--segmenter", "--patch-size"):
            assert option in err or f" {option[2:]}: " in err or option[2:].replace("-", "_") in err, (line, err)


def test_there_are_many() -> None:
    assert len(LINES) + sum(len(wrong_lines(command)) for command in WRONG) > 280


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            ["scenes", "--out", "o", "--size", "10000000", "10000000"],
            "--size: expected (H, W) of at most 268435456 pixels",
        ),
        (
            ["scenes", "--out", "o", *["--train", "0", "--val", "0", "--test", "0"]],
            "--train, --val, --test: expected one scene or more",
        ),
        (["scenes", "--out", "o", "--train", "2000000"], "--train: expected a whole number from 0 to 1000000, got"),
        (["predict", "", "--model", "m", "--out", "o"], "argument IMAGE: expected a value, got an empty one; is a var"),
        (["predict", "x", "--model", "m", "--out", ""], "argument --out: expected a value, got an empty one"),
        (["eval", "--model", "m", "--data", "", "--out", "o"], "argument --data: expected a value, got an empty one"),
        (
            ["eval", "--model", "m", "--data", "d", "--limit", "0"],
            "--limit: expected a whole number from 1 to 100",
        ),
        (["predict", "/dev/zero", "--model", "m", "--out", "o"], "but '/dev/zero' is a pipe, a socket or a device"),
        (["demo", "--seed", "9" * 30], "--seed: expected a whole number from 0 to 9223372036854775807, got"),
        (["demo", "--device", "meta"], "--device: expected auto, cpu, cuda or cuda:N, got 'meta'"),
        (
            ["train", "--config", "/dev/zero"],
            "--config: expected a YAML file, but '/dev/zero' is a device; copy what comes",
        ),
        (["data", "check", "d", "--data.workers", "x"], "data.workers: expected a whole number from 0 to 1024"),
        (["convert", *COMMANDS["convert"], "--network", "x"], "--network: expected one of compact, hrnet18+ocr"),
        (["convert", *COMMANDS["convert"], "--scales", "9x9", "8x8"], "scales: expected sizes (H, W) from coarse to"),
    ],
)
def test_bounds_and_mends_are_named(line: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in check(line, capsys)


def test_functions_have_the_bounds_of_the_command() -> None:
    with pytest.raises(
        ValueError, match=r"^size: expected \(H, W\) of at most 268435456 pixels, got 10000000x10000000$"
    ):
        generate_scene((10**7, 10**7))
    for name in ("meta", "mps", "cuda:x"):
        with pytest.raises(ArgumentError, match=f"^device: expected auto, cpu, cuda or cuda:N, got '{name}'$"):
            pick_device(name)
        with pytest.raises(ArgumentError, match=f"^--device: expected auto, cpu, cuda or cuda:N, got '{name}'$"):
            load_model("scenes", device=name)
    assert pick_device("cpu").type == "cpu"
