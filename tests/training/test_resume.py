"""Interrupted training: it goes on bit for bit, from whatever moment it was stopped at."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from live import environment_of_a_program
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_data import tiny_config, tiny_folder
from torch import nn

from magnet.cli.config import parse_config
from magnet.errors import MagNetError
from magnet.training import network, segmenter
from magnet.training.config import TrainConfig
from magnet.training.loader import Loader
from magnet.training.run import run_training
from magnet.training.runlog import RunLog
from magnet.training.state import load_training_state, restore_optimiser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("resume") / "data", size=(32, 48))


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # the work is too small for more


@pytest.fixture(scope="module")
def tiny(folder: Path) -> TrainConfig:
    return parse_config(
        tiny_config(
            folder,
            folder,
            **{
                "walk.scales": "[[16,24],[32,48]]",
                "walk.patch_size": "[16,24]",
                "segmenter.iterations": "8",
                "segmenter.val_every": "3",
                "refiner.iterations": "6",
                "refiner.val_every": "2",
                "refiner.crop": "[8,12]",
                "checkpoint_every": "0",
            },
        )
    )


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmenter of milliseconds, with what has a state: batch normalisation and dropout."""

    def build(_: str, num_classes: int, **__: Any) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.3), nn.Conv2d(8, num_classes, 1)
        )

    monkeypatch.setattr(network, "build_segmenter", build)


def changed(config: TrainConfig, out: Path, **settings: Any) -> TrainConfig:
    """The configuration with other values; ``optim__lr`` is a key of the segmenter's optimiser."""
    stage = {key: value for key, value in settings.items() if hasattr(config.segmenter, key)}
    optim = {key.removeprefix("optim__"): value for key, value in settings.items() if key.startswith("optim__")}
    rest = {key: value for key, value in settings.items() if key not in stage and not key.startswith("optim__")}
    optimiser = dataclasses.replace(config.segmenter.optim, **optim)
    return dataclasses.replace(
        config, out=str(out), segmenter=dataclasses.replace(config.segmenter, optim=optimiser, **stage), **rest
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Everything that a run wrote, by file and key; the training states without their clocks."""
    found = {}
    for path in sorted(run.rglob("*.safetensors")):
        for key, value in load_file(path).items():
            found[f"{path.relative_to(run)}:{key}"] = value
    return found


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def log_of(run: Path) -> list[dict[str, Any]]:
    """The lines of the log, without what the clock decides."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "data_wait")} for line in lines]


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Sends this process a signal when the loader is asked for a step, as often as there are steps given."""
    original = Loader.next
    pending: list[tuple[int, int]] = []

    def plan(*steps: int, number: int = signal.SIGTERM) -> None:
        pending.extend((step, number) for step in steps)

    def counted(self: Loader) -> Any:
        batch = original(self)
        if pending:
            step, number = pending[0]
            if step == 0:
                pending.pop(0)
                signal.raise_signal(number)
            else:
                pending[0] = (step - 1, number)
        return batch

    monkeypatch.setattr(Loader, "next", counted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    yield plan
    signal.signal(signal.SIGINT, before)
    assert not pending, "the run was too short for the plan"


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize(
    "settings",
    [
        {"optim__ema": 0.9},
        {"optim__ema": 0.0, "optim__name": "sgd", "accumulate": 2},
        {"amp": "fp16"},
        {"optim__schedule": "poly", "checkpoint_every": 2, "patience": 4},
    ],
    ids=["adamw-ema", "sgd-parts", "fp16", "often"],
)
def test_a_stopped_segmenter_goes_on_bit_for_bit(
    tiny: TrainConfig, tmp_path: Path, stop_at: Callable[..., None], settings: dict[str, Any]
) -> None:
    run_training(changed(tiny, tmp_path / "a", **settings), "segmenter")
    stopped = changed(tiny, tmp_path / "b", resume=True, **settings)
    stop_at(2, 3)
    for done in (3, 7):
        with pytest.raises(SystemExit) as stop:
            run_training(stopped, "segmenter")
        assert stop.value.code == 143
        state = load_training_state(tmp_path / "b" / "tiny" / "segmenter" / "state.safetensors")[1]
        assert state["progress"]["step"] == done
    run_training(stopped, "segmenter")
    assert same(tmp_path / "a", tmp_path / "b")
    assert log_of(tmp_path / "a" / "tiny") == log_of(tmp_path / "b" / "tiny")


def test_both_stages_go_on_and_finished_ones_are_left_alone(
    tiny: TrainConfig, tmp_path: Path, stop_at: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(changed(tiny, tmp_path / "a", iterations=2), "all")
    stopped = changed(tiny, tmp_path / "b", iterations=2, resume=True)
    stop_at(4, number=signal.SIGINT)  # two steps of the segmenter, then the third of the refiner
    with pytest.raises(SystemExit) as stop:
        run_training(stopped, "all")
    assert stop.value.code == 130
    assert "stopped after 3 of 6 steps of the refiner" in capsys.readouterr().err
    run_training(stopped, "all")
    assert "segmenter: was trained to its end, after 2 steps" in capsys.readouterr().out
    assert same(tmp_path / "a", tmp_path / "b")
    assert log_of(tmp_path / "a" / "tiny") == log_of(tmp_path / "b" / "tiny")
    before = (tmp_path / "b" / "tiny" / "log.jsonl").read_text()
    run_training(stopped, "all")  # nothing is left to do
    assert same(tmp_path / "a", tmp_path / "b") and (tmp_path / "b" / "tiny" / "log.jsonl").read_text() == before


@pytest.mark.usefixtures("small_network")
def test_a_validation_that_was_interrupted_is_done_again(
    tiny: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(changed(tiny, tmp_path / "a"), "segmenter")
    original = segmenter.validate_segmenter

    def interrupted(*arguments: Any) -> Any:
        monkeypatch.setattr(segmenter, "validate_segmenter", original)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the validation went on")

    monkeypatch.setattr(segmenter, "validate_segmenter", interrupted)
    with pytest.raises(SystemExit):
        run_training(changed(tiny, tmp_path / "b"), "segmenter")
    assert not (tmp_path / "b" / "tiny" / "segmenter" / "last.safetensors").exists()
    run_training(changed(tiny, tmp_path / "b", resume=True), "segmenter")
    assert same(tmp_path / "a", tmp_path / "b")
    assert log_of(tmp_path / "a" / "tiny") == log_of(tmp_path / "b" / "tiny")


@pytest.mark.usefixtures("small_network")
def test_a_finished_run_can_be_made_longer_and_told_so(
    tiny: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_training(changed(tiny, tmp_path, iterations=3), "segmenter")
    run_training(changed(tiny, tmp_path, iterations=5, optim__lr=1e-3, resume=True), "segmenter")
    out = capsys.readouterr().out
    assert "goes on with other settings" in out and "segmenter.iterations 3 -> 5" in out
    assert "segmenter.optim.lr 0.002 -> 0.001" in out and "resume" not in out
    run_training(changed(tiny, tmp_path, iterations=5, optim__lr=1e-4, resume=True), "segmenter")
    out = capsys.readouterr().out
    assert "segmenter.optim.lr 0.001 -> 0.0001" in out and "was trained to its end, after 5 steps" in out
    assert log_of(tmp_path / "tiny")[-1]["step"] == 5


@pytest.mark.usefixtures("small_network")
def test_what_is_trained_is_replaced_only_where_that_is_wished(tiny: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny, tmp_path / "a", iterations=2)
    run_training(config, "segmenter")
    run, before = tmp_path / "a" / "tiny", weights(tmp_path / "a")
    with pytest.raises(MagNetError, match=r"^--out: '.*best\.safetensors' of an earlier run .*--resume.*--overwrite"):
        run_training(config, "segmenter")
    state = run / "segmenter" / "state.safetensors"
    whole = state.read_bytes()
    state.unlink()  # killed before its first state: the same run begins again, another one does not
    with pytest.raises(MagNetError, match=r"^resume: '.*best\.safetensors' is of a run with other settings"):
        run_training(changed(tiny, tmp_path / "a", iterations=3, resume=True), "segmenter")
    state.write_bytes(whole)
    after = weights(tmp_path / "a")
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    state.unlink()
    run_training(dataclasses.replace(config, resume=True), "segmenter")
    after = weights(tmp_path / "a")
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    run_training(dataclasses.replace(config, overwrite=True), "segmenter")
    run_training(changed(tiny, tmp_path / "b", iterations=2, resume=True), "segmenter")  # nothing to resume
    assert same(tmp_path / "a", tmp_path / "b")
    assert log_of(tmp_path / "a" / "tiny") == log_of(tmp_path / "b" / "tiny")


# what is wrong is said


@pytest.mark.usefixtures("small_network")
def test_states_that_do_not_fit_are_refused(tiny: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "segmenter" / "state.safetensors"
    run_training(changed(tiny, tmp_path, iterations=1), "segmenter")
    whole = path.read_bytes()
    with pytest.raises(MagNetError, match=r"segmenter\.optim\.name: expected 'adamw'"):
        run_training(changed(tiny, tmp_path, iterations=2, resume=True, optim__name="sgd"), "segmenter")
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MagNetError, match=r"^resume: .*state\.safetensors' is no training state"):
        run_training(changed(tiny, tmp_path, resume=True), "segmenter")
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(MagNetError, match=r"^resume: .*state\.safetensors' is no training state"):
        run_training(changed(tiny, tmp_path, resume=True), "segmenter")
    path.write_bytes(whole)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({k: v for k, v in tensors.items() if not k.startswith("random.")}, path, metadata)
    with pytest.raises(MagNetError, match=r"lacks part of a training state \('torch'\)"):
        run_training(changed(tiny, tmp_path, resume=True), "segmenter")


_WRONG = {
    "progress": [7, [], None, {}],
    "progress.step": ["3", 1.5, -1, True, None, 10**400 * -1],
    "progress.best": ["x", None],
    "progress.seconds": [[]],
    "optimiser": [3, {}],
    "optimiser.name": [7],
    "optimiser.steps": ["x", -3],
    "scaler": [[1]],
    "average": ["many", None],
    "random": [[], {}],
    "random.numpy": [
        7,
        ["MT19937", 10**6, 0, 0.0],
        ["MT19937", -5, 0, 0.0],
        ["PCG64", 1, 0, 0.0],
        ["MT19937", "1", 0, 0.0],
    ],
    "random.python": [None, [3], [3, "x"], [9, None]],
    "origin": ["x"],
    "config": [[1, 2], None],
}


@pytest.mark.usefixtures("small_network")
def test_values_of_another_kind_are_one_error(tiny: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "segmenter" / "state.safetensors"
    run_training(changed(tiny, tmp_path, iterations=1), "segmenter")
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    for key, wrong in _WRONG.items():
        for value in wrong:
            values = json.loads(metadata["values"])
            *above, last = key.split(".")
            inner = values[above[0]] if above else values
            inner[last] = value
            save_file(tensors, path, {**metadata, "values": json.dumps(values)})
            with pytest.raises(MagNetError, match=r"^resume: ") as caught:
                run_training(changed(tiny, tmp_path, iterations=2, resume=True), "segmenter")
            told = str(caught.value)
            assert "--resume" in told or "--stage" in told, (key, value, told)
            assert len(told) < 700 + len(str(path)), (key, value)
    for text in ("[1]", "[" * 100_000, "nothing"):
        save_file(tensors, path, {**metadata, "values": text})
        with pytest.raises(MagNetError, match=r"^resume: .* is no training state that this version can read"):
            run_training(changed(tiny, tmp_path, iterations=2, resume=True), "segmenter")


@pytest.mark.usefixtures("small_network")
def test_tensors_of_another_kind_are_one_error(tiny: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "tiny" / "segmenter" / "state.safetensors"
    run_training(changed(tiny, tmp_path, iterations=1), "segmenter")
    whole = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    cases: list[tuple[dict[str, torch.Tensor | None], str]] = [
        ({"random.torch": torch.zeros(7)}, "holds what is no training state"),
        ({"random.torch": torch.zeros(7, dtype=torch.uint8)}, "holds what is no training state"),
        ({"random.numpy": torch.zeros(9, dtype=torch.int64)}, "holds what is no training state"),
        ({"random.python": torch.zeros(9, dtype=torch.int64)}, "holds what is no training state"),
        ({"optimiser.0.exp_avg": None}, "expected .*'exp_avg'.* of each parameter"),
        ({"optimiser.0.exp_avg_sq": None}, "expected .*'exp_avg_sq'.* of each parameter"),
        ({"optimiser.²": torch.zeros(1)}, "has a parameter ²"),
        ({"optimiser.0.exp_avg": whole["optimiser.0.exp_avg"] * torch.nan}, "'optimiser.0.exp_avg' holds NaN"),
    ]
    for changes, message in cases:
        tensors = {key: value for key, value in {**whole, **changes}.items() if value is not None}
        save_file(tensors, path, metadata)
        with pytest.raises(MagNetError, match=f"^resume: .*{message}"):
            run_training(changed(tiny, tmp_path, iterations=2, resume=True), "segmenter")


def test_an_optimiser_takes_no_tensors_of_another_network() -> None:
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(2, 3))])
    with pytest.raises(MagNetError, match="a parameter 1"):
        restore_optimiser(optimiser, {"1.exp_avg": torch.zeros(2, 3)})
    with pytest.raises(MagNetError, match=r"holds \(3, 2\) for a parameter of \(2, 3\)"):
        restore_optimiser(optimiser, {"0.exp_avg": torch.zeros(3, 2)})


def test_the_refiner_does_not_go_on_with_another_segmenter(tiny: TrainConfig, tmp_path: Path) -> None:
    config = changed(tiny, tmp_path, iterations=1, refiner=dataclasses.replace(tiny.refiner, iterations=1))
    run_training(config, "all")
    best = tmp_path / "tiny" / "segmenter" / "best.safetensors"
    save_file({key: value * 2 if value.ndim > 1 else value for key, value in load_file(best).items()}, best)
    with pytest.raises(MagNetError, match="belongs to another segmenter"):
        run_training(dataclasses.replace(config, resume=True), "refiner")


def test_the_log_loses_what_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = RunLog(path)
    for step in (0, 20, 40):
        log.write(stage="segmenter", step=step, lr=0.1)
        log.write(stage="segmenter", step=step, miou=[1.0])
    log.write(stage="refiner", step=40, lr=0.1)
    with path.open("ab") as file:
        for line in (b'{"stage": "segmenter", "step": "many"}', b"[" * 100_000, b"7", b"\xff\xfe", b"{}x"):
            file.write(line + b"\n")  # what no run wrote
        file.write(b'{"stage": "refi')  # a process that was killed
    log.begin("segmenter", 20, 100.0)
    log.write(stage="segmenter", step=20, lr=0.2)
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    shown = [(line["stage"][0], line["step"], line.get("lr")) for line in lines]
    assert shown == [("s", 0, 0.1), ("s", 0, None), ("s", 20, None), ("r", 40, 0.1), ("s", 20, 0.2)]
    assert 100 <= lines[-1]["seconds"] < 101


# kill -9

_KILLS = 20
_SERVER = """
    import dataclasses, os, signal, sys, time
    import torch
    import torch._dynamo  # which optimisers import, for seconds
    torch.set_num_threads(1)  # no pool of threads, which a fork would break
    from magnet.cli.config import parse_config
    from magnet.training.run import run_training
    from magnet.training import refiner, segmenter
    from magnet import MagNet
    config = parse_config(sys.argv[1:])

    def start(out, workers):
        number = os.fork()
        if number == 0:
            log = os.open(os.path.join(out, "stderr.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1), os.dup2(log, 2)
            data = dataclasses.replace(config.data, workers=workers)
            try:
                run_training(dataclasses.replace(config, out=out, resume=True, data=data))
                os._exit(0)
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        return number

    for line in sys.stdin:  # folder, seconds until the kill, workers -> "ended" or "killed", exit status, seconds
        out, limit, workers = line.split()
        began = time.perf_counter()
        number, what = start(out, int(workers)), "ended"
        while not (ended := os.waitpid(number, os.WNOHANG))[0]:
            if time.perf_counter() - began >= float(limit):
                os.kill(number, signal.SIGKILL)
                ended, what = os.waitpid(number, 0), "killed"
                break
            time.sleep(0.002)
        print(what, ended[1], time.perf_counter() - began, flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    import random

    rng = random.Random(5)
    arguments = tiny_config(
        folder,
        tmp_path,
        **{
            "walk.scales": "[[16,24],[32,48]]",
            "walk.patch_size": "[16,24]",
            "segmenter.iterations": "14",
            "segmenter.val_every": "5",
            "refiner.iterations": "9",
            "refiner.val_every": "4",
            "refiner.val_chains": "1",
            "checkpoint_every": "3",
        },
    )
    del arguments[arguments.index("--out") : arguments.index("--out") + 2]
    server = subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(_SERVER), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_of_a_program(PYTHONWARNINGS="ignore"),
    )

    def start(out: Path, limit: float = 1e9, workers: int = 0) -> tuple[bool, float]:
        """Run until it ends or ``limit`` seconds are over; whether it was killed, and the seconds it took."""
        assert server.stdin is not None and server.stdout is not None
        out.mkdir(exist_ok=True)
        print(out, limit, workers, file=server.stdin, flush=True)
        what, status, seconds = server.stdout.readline().split()
        assert what == "killed" or status == "0", (out / "stderr.txt").read_text()
        return what == "killed", float(seconds)

    whole = tmp_path / "whole"
    _, seconds = start(whole)
    kills, finished = 0, 0
    run = tmp_path / "0"
    while kills < _KILLS:
        killed, _ = start(run, rng.uniform(0, 0.5) * seconds, workers=kills % 2)
        if not killed:  # it ended before its time came: a new run takes the rest of the kills
            assert same(whole, run)
            finished += 1
            run = tmp_path / str(finished)
            continue
        kills += 1
        _check_what_is_left(run / "tiny")
    start(run)
    assert same(whole, run) and log_of(whole / "tiny") == log_of(run / "tiny")
    assert not list(run.rglob(".*"))
    server.communicate("")
    assert server.returncode == 0


def _check_what_is_left(run: Path) -> None:
    """Every file can be read, and no more than three steps are lost of those that the log knows."""
    for path in run.rglob("*.safetensors"):
        if not path.parent.name.startswith("."):  # in there are the unfinished ones
            load_file(path)
    for stage in ("segmenter", "refiner"):
        path = run / stage / "state.safetensors"
        done = load_training_state(path)[1]["progress"]["step"] if path.exists() else 0
        logged = (
            [line["step"] for line in log_of(run) if line["stage"] == stage] if (run / "log.jsonl").exists() else []
        )
        assert max(logged, default=0) - done <= 3
