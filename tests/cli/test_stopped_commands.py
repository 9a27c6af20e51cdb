"""Commands stopped by a signal at any moment, also while they are loaded, leave nothing half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live import environment_of_a_program
from output_files import contents, names, picture
from tiny_data import tiny_folder
from tiny_model import save_tiny_model

from magnet.cli import predict
from magnet.cli.main import main
from magnet.cli.predict_inputs import Input
from magnet.files.manifest import MANIFEST
from magnet.files.outputs import RECORD
from magnet.images.rasters.read_input import InputImage
from magnet.model.magnet import MagNet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


_SERVER = """
import os, signal, sys, json
import torch, torch._dynamo
torch.set_num_threads(1)
from magnet.cli import main as cli, predict, evaluate
from magnet.model import magnet as model
import magnet.cli.scenes
signal.signal(signal.SIGINT, signal.default_int_handler)
for line in sys.stdin:  # a command, seconds, signal -> exit code
    words, seconds, number = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        code = cli.main(words)
        sys.stderr.flush()
        os._exit(code)
    import time
    began, sent = time.monotonic(), False
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if number and not sent and time.monotonic() - began >= seconds:
            os.kill(child, number)
            sent = True
        time.sleep(0.002)
    print(json.dumps([ended[1], time.monotonic() - began]), flush=True)
"""


@pytest.mark.slow
def test_stopped_at_any_moment_nothing_half_is_left(tmp_path: Path, model: Path) -> None:
    """What a stopped command left is whole, and the same command ends with the result of one that was never stopped."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(2):
        picture(data / f"{number}.png", number)
    labelled = tiny_folder(tmp_path / "labelled", counts=(1, 1, 1))
    two = save_tiny_model(tmp_path / "two", 2)
    commands = {
        "predict": ["predict", data, "--model", model, "--save", "labels,overlay,probabilities"],
        "scenes": ["scenes", "--train", 1, "--val", 0, "--test", 1, "--size", 256, 256],
        "eval": ["eval", "--model", two, "--data", labelled, "--modes", "coarse,magnet"],
    }
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment_of_a_program(OMP_NUM_THREADS="1"),
    ) as server:

        def start(words: list[object], seconds: float = 0.0, number: int = 0) -> tuple[int, float]:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.write(json.dumps([[str(word) for word in words], seconds, number]) + "\n")
            server.stdin.flush()
            status, took = json.loads(server.stdout.readline())
            assert "Traceback" not in (tmp_path / "log.txt").read_text()
            return os.waitstatus_to_exitcode(status), took

        def whole(folder: Path) -> dict[str, bytes]:
            unlike = ("metrics.json", "report.md", "report.html", RECORD, MANIFEST)  # they hold times
            return {name: content for name, content in contents(folder).items() if name not in unlike}

        rng = np.random.default_rng(3)
        for name, words in commands.items():
            code, took = start([*words, "--out", tmp_path / name])
            assert code == 0, (tmp_path / "log.txt").read_text()
            expected, out = whole(tmp_path / name), tmp_path / f"{name}_stopped"
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                code, _ = start([*words, "--out", out], rng.uniform(0.02, took), number)
                allowed = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
                assert code in (allowed, 0), (tmp_path / "log.txt").read_text()
                if number != signal.SIGKILL and out.is_dir():
                    assert not [p for p in out.rglob(".*") if p.name != RECORD]
                found = whole(out) if out.is_dir() and number != signal.SIGKILL else {}
                assert all(expected[file] == content for file, content in found.items())
            assert start([*words, "--out", out])[0] == 0, (tmp_path / "log.txt").read_text()
            assert whole(out) == expected
            assert not [p for p in out.rglob(".*") if p.name != RECORD]


def test_an_interrupted_folder_says_how_to_go_on(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(3):
        picture(data / f"{number}.png", number)
    words = ["predict", str(data), "--model", str(model), "--out", str(tmp_path / "out")]
    real = predict.predict_scene

    def third_stops(model: MagNet, image: InputImage, one: Input, *others: Any) -> list[Path]:
        if one.path.stem == "2":
            raise KeyboardInterrupt
        return real(model, image, one, *others)

    monkeypatch.setattr(predict, "predict_scene", third_stops)
    assert main(words) == 130
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == [
        "magnet: 2 of 3 images are done; the same command goes on with the others",
        "magnet: interrupted",
    ]
    monkeypatch.undo()
    assert main(words) == 0
    assert len(names(tmp_path / "out")) > 2


_INTERRUPTED_IMPORT = """
import runpy, signal, sys
chosen = sys.argv.pop(1)
class Interrupt:
    def find_spec(self, name, *_):
        if name == chosen:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
runpy.run_module("magnet", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module", ["magnet.cli.main", "argparse", "magnet.cli.predict", "numpy", "torch._C", "magnet.walk.paper"]
)
def test_interrupted_while_it_is_loaded(module: str, tmp_path: Path, model: Path) -> None:
    picture(tmp_path / "a.png")
    words = ["predict", str(tmp_path / "a.png"), "--model", str(model), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-P", "-c", _INTERRUPTED_IMPORT, module, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment_of_a_program())
    assert (done.returncode, done.stderr) == (130, "magnet: interrupted\n")
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []
