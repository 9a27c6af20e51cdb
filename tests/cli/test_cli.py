"""The command line as a whole: exit codes, one line an error, the demo."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from live import environment_of_a_program
from PIL import Image
from tiny_data import tiny_folder
from tiny_model import save_tiny_model

import magnet
from magnet.cli import demo, doctor
from magnet.cli import main as cli
from magnet.data.scenes import generate_scene
from magnet.errors import ArgumentError, MagNetError
from magnet.evaluation.metrics import confusion_matrix, mean_iou
from magnet.files.outputs import RECORD
from magnet.model.pretrained import shipped_models

BUG = "; this is a bug in magnet: --debug shows the traceback to report"
OUT_OF_MEMORY = "out of memory; use smaller images, fewer patches in a batch, or a smaller model"
COMMANDS = ("doctor", "demo", "predict", "train", "eval", "data", "scenes")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def raising(error: BaseException):
    def main(argv: Sequence[str]) -> int:
        raise error

    return main


def test_python_dash_m_is_the_command() -> None:
    command = [sys.executable, "-P", "-m", "magnet", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment_of_a_program())
    assert (done.returncode, done.stdout) == (0, f"magnet {magnet.__version__}\n")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^    {name}\b", shown, re.MULTILINE) for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    assert f"magnet {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nothing"], ["--nothing"], *([name, "--nothing"] for name in COMMANDS)])
def test_wrong_arguments_exit_with_2_and_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MagNetError("model: expected this,\n   got that"), "model: expected this, got that"),
        (ValueError("size: expected x, got y"), "size: expected x, got y"),
        (TypeError("size: expected a, got b"), "size: expected a, got b"),
        (TypeError("no such type"), f"no such type{BUG}"),
        (RuntimeError("it broke"), f"it broke{BUG}"),
        (RuntimeError("CUDA out of memory. Tried"), OUT_OF_MEMORY),
        (RecursionError("too deep"), f"too deep{BUG}"),
        (ImportError("No module named 'x'"), "No module named 'x'"),
        (MagNetError("name: \x1b[31m\x00"), r"name: \x1b[31m\x00"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), "a/b: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (KeyError("weights"), f"KeyError: 'weights'{BUG}"),
        (KeyError("\x1b]0;"), rf"KeyError: '\x1b]0;'{BUG}"),
        (MemoryError(), OUT_OF_MEMORY),
        (AssertionError(), f"AssertionError{BUG}"),
    ],
)
def test_an_error_is_one_line(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "main", raising(error))
    assert cli.main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"magnet: error: {told}\n" and captured.out == ""


def test_wrong_arguments_that_a_command_finds_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "main", raising(ArgumentError("seed: expected this")))
    assert cli.main(["doctor"]) == 2
    assert capsys.readouterr().err == "magnet: error: seed: expected this\n"


@pytest.mark.parametrize("words", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_shows_the_traceback(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "main", raising(MagNetError("broken")))
    with pytest.raises(MagNetError, match="broken"):
        cli.main(words)


def test_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "main", raising(KeyboardInterrupt()))
    assert cli.main(["doctor"]) == 130
    captured = capsys.readouterr()
    assert captured.err == "magnet: interrupted\n" and captured.out == ""


def test_train_and_eval_get_their_own_arguments(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "--config", str(tmp_path / "nowhere.yaml")]) in (1, 2)
    assert "nowhere.yaml" in capsys.readouterr().err
    folder = tiny_folder(tmp_path / "data")
    assert cli.main(["eval", "--model", str(model), "--data", str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("magnet: error: data: has ") and "but the model 8" in error


def test_demo_measures_what_it_draws(model: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    size = (256, 512)
    result = demo.run_demo(tmp_path / "out", seed=4, model=str(model), size=size, report=lines.append)
    image, truth = generate_scene(size, 4)
    prediction = magnet.MagNet.from_pretrained(model).predict(image, return_stages=True)
    for labels, told in (
        (prediction.labels, result.refined),
        (prediction.stages[0].labels(size), result.coarse),
    ):
        assert told == pytest.approx(100 * mean_iou(confusion_matrix(labels, np.asarray(truth), 8)), abs=1e-9)
    text = "\n".join(lines)
    assert f"coarse    {result.coarse:5.1f} mIoU" in text and f"refined   {result.refined:5.1f} mIoU" in text
    assert "2 scales, 4 patches, 1000 points" in text and str(result.sheet) in text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [RECORD, "magnet_demo_4.png"]
    with Image.open(result.sheet) as sheet:
        assert sheet.width == 2048 and len(np.unique(np.array(sheet))) > 100


def test_demo_checks_the_folder_and_the_model_first(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "generate_scene", raising(AssertionError("worked before it checked")))
    (tmp_path / "file").write_text("")
    assert cli.main(["demo", "--model", str(model), "--out", str(tmp_path / "file")]) == 2
    assert "--out: expected a folder" in capsys.readouterr().err
    two = save_tiny_model(tmp_path / "two", num_classes=2)
    assert cli.main(["demo", "--model", str(two), "--out", str(tmp_path / "out")]) == 1
    assert "num_classes: expected 8 classes" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--seed", "-1"], ["--seed", "x"], ["--amp", "fp8"], ["extra"]])
def test_demo_with_wrong_arguments(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif("scenes" not in shipped_models(), reason="the library was built without its weights")
def test_the_demo_gains_with_the_model_that_comes_with_the_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    gain = float(re.search(r"^gain +([-+][\d.]+) mIoU$", shown, re.MULTILINE)[1])
    coarse = float(re.search(r"^coarse +([\d.]+) mIoU", shown, re.MULTILINE)[1])
    assert gain > 2 and coarse > 40
    assert (tmp_path / f"magnet_demo_{demo.SEED}.png").is_file()
