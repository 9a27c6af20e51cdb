"""Several processes as one: the same sums, losses and weights; one that is lost ends the others; and they resume."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import distributed_worker
import pytest
import torch
from processes import TESTS, environment, places, start_two
from safetensors.torch import load_file
from tiny_data import tiny_config, tiny_folder

from magnet import distributed
from magnet.cli.config import parse_config
from magnet.data import DataFolder, ScaleCache
from magnet.errors import MagNetError
from magnet.networks import build_segmenter
from magnet.training import loop
from magnet.training.config import TrainConfig
from magnet.training.pairs import build_refiners
from magnet.training.refiner import RefinerTask, load_segmenter
from magnet.training.run import run_training
from magnet.training.segmenter import validate_segmenter
from magnet.training.sync_batch_norm import SyncBatchNorm2d, sync_batch_norm

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def arguments(place: Path) -> list[str]:
    """A training with all that depends on the whole batch. Its second folder lacks the last scale."""
    large = tiny_folder(place / "large", counts=(4, 3, 3))
    small = tiny_folder(place / "small", size=(48, 72), counts=(3, 1, 1))
    settings = {
        "data.folders": f"[{large},{small}]",
        "walk.scales": "[[32,48],[48,72],[64,96]]",
        "device": "cpu",
        "checkpoint_every": "5",
        "refiner.per_scale": "true",
        "refiner.crop": "[28,40]",
        "refiner.pairs": "first",  # an accumulated map has points, and where rounding moves one its pixel is another
        "refiner.val_chains": "3",
    }
    for stage in ("segmenter", "refiner"):
        settings |= {
            f"{stage}.iterations": "20",
            f"{stage}.batch_size": "4",
            f"{stage}.class_weights": "[1,3]",
            f"{stage}.dice": "0.5",
            f"{stage}.optim.name": "sgd",
            # at higher rates float32 itself drifts: one process with its batch in another order differs as much
            f"{stage}.optim.lr": "5e-5",
            f"{stage}.optim.ema": "0.9",
        }
    settings |= {"segmenter.loss": "ohem", "segmenter.ohem_min_kept": "1500", "refiner.accumulate": "2"}
    return tiny_config(large, place / "one", **settings)


@pytest.fixture(scope="module")
def config(arguments: list[str]) -> TrainConfig:
    return parse_config(arguments)


@pytest.fixture(scope="module")
def checks(place: Path, arguments: list[str]) -> list[dict[str, Any]]:
    """What two processes found, each; they also trained together, to ``place / "two"``."""
    processes = start_two(str(TESTS / "distributed_worker.py"), str(place), *arguments)
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert "rank 0 says hello" in outputs[0][0] and outputs[1][0] == "", "only rank 0 prints"
    assert outputs[0][1].count("magnet: stopped after 8 of 20 steps") == 1 and "stopped" not in outputs[1][1]
    return [json.loads((place / f"checks{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(place: Path, checks: Any, config: TrainConfig) -> Path:
    """The run folder of the training in one process, whose refiners build on the segmenter of two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small convolutions: a second thread waits more than it works
    run_training(config, "segmenter")
    run = Path(config.out) / config.name
    shutil.copy(place / "two" / "tiny" / "segmenter" / "best.safetensors", run / "segmenter")
    run_training(config, "refiner")
    torch.set_num_threads(threads)
    return run


# one process


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")  # of something else than torchrun
    monkeypatch.setenv("WORLD_SIZE", "2")
    with distributed.session("cpu"):
        assert not torch.distributed.is_initialized()
        assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
        assert distributed.shard(range(3)) == distributed.gather_objects(range(3)) == [0, 1, 2]
        assert distributed.any_rank(True) and not distributed.any_rank(False)
        x = torch.arange(3.0)
        assert torch.equal(distributed.all_reduce_sum(x), x) and distributed.all_reduce_sum(x) is not x
        distributed.check_same("x", 1)


def _fail_with_a_parallel_model(end: BaseException, models: list[Any]) -> None:
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    models.append(weakref.ref(model))
    model.itself = model  # as models do that hold their own methods
    try:
        raise end
    except ValueError as error:
        raise MagNetError("data: no file") from error


@pytest.mark.parametrize("end", [ValueError("no file"), RuntimeError("[a.cc] gloo: lost"), SystemExit(143)])
def test_parallel_models_go_before_their_group(monkeypatch: pytest.MonkeyPatch, end: BaseException) -> None:
    """The other way round the group may wait for ever for a thread that waits for the interpreter's lock."""
    for name, value in places(1)[0].items():
        monkeypatch.setenv(name, value)
    destroy = torch.distributed.destroy_process_group
    models: list[Any] = []
    at_the_end: list[bool] = []

    def destroy_noting() -> None:
        at_the_end.append(models[0]() is None)
        destroy()

    monkeypatch.setattr(torch.distributed, "destroy_process_group", destroy_noting)
    message = r"^(data: no file|rank 0: lost the other.*|143)"
    with pytest.raises((MagNetError, SystemExit), match=message), distributed.session("cpu", timeout=60):
        _fail_with_a_parallel_model(end, models)
    assert at_the_end == [True] and not torch.distributed.is_initialized()


def test_sync_batch_norm_of_one_process_is_batch_norm() -> None:
    torch.manual_seed(0)
    plain = torch.nn.BatchNorm2d(3, momentum=None).double()
    synced = sync_batch_norm(torch.nn.Sequential(torch.nn.BatchNorm2d(3, momentum=None).double()), CPU)
    assert isinstance(synced[0], SyncBatchNorm2d)
    for _ in range(2):
        inputs = [(torch.randn(2, 3, 4, 5, dtype=torch.float64) * 3 + 50).requires_grad_()]
        inputs.append(inputs[0].detach().clone().requires_grad_())
        outputs = [norm(x) for norm, x in zip((plain, synced), inputs, strict=True)]
        pull = torch.randn_like(outputs[0])
        for output in outputs:
            output.backward(pull)
        assert torch.allclose(*outputs, rtol=0, atol=1e-10)
        assert torch.allclose(inputs[0].grad, inputs[1].grad, rtol=0, atol=1e-10)
    assert torch.allclose(plain.weight.grad, synced[0].weight.grad, rtol=0, atol=1e-10)
    for key, value in plain.state_dict().items():
        assert torch.allclose(synced[0].state_dict()[key], value, rtol=1e-12), key
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert torch.allclose(plain.eval()(x), synced.eval()(x), rtol=1e-12)


def test_a_batch_that_cannot_be_shared_is_an_error(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (distributed, loop):
        monkeypatch.setattr(module, "world_size", lambda: 4)
    loop.check_parts(dataclasses.replace(config.refiner, accumulate=1), "refiner")
    with pytest.raises(MagNetError, match=r"refiner\.batch_size: expected a multiple of the 4 processes.*set it to 8"):
        loop.check_parts(dataclasses.replace(config.refiner, batch_size=6), "refiner")
    with pytest.raises(MagNetError, match=r"refiner\.accumulate: expected at most the 1 images .* each of 4 processes"):
        loop.check_parts(config.refiner, "refiner")


# two processes


def test_collectives(checks: list[dict[str, Any]]) -> None:
    for check in checks:
        assert check["collectives"] == {
            "world": 2,
            "sum": [2**54 + 1, 1],  # which no float64 holds
            "unchanged": True,
            "gathered": ["0 of 0", "1 of 1", "2 of 0", "3 of 1", "4 of 0"],
            "uneven": [1],
            "any": [True, False],
            "kth": [0.0, 3.0, 7.0],
            "averaged": [0.5, 0.5],
        }


def test_what_differs_between_machines_is_told(checks: list[dict[str, Any]]) -> None:
    host = socket.gethostname()
    for check in checks:
        errors = check["errors"]
        own, message = errors["batch"]
        assert own == 3 and "b: expected a multiple of the 2 processes" in message and "set it to 6" in message
        assert f"got 10 on rank 0 ({host}) and 11 on rank 1 ({host})" in errors["same"]
        assert "cannot be seen by rank 1" in errors["shared"]


def test_losses_gradients_and_statistics_are_those_of_the_whole_batch(checks: list[dict[str, Any]]) -> None:
    for check in checks:
        assert len(check["losses"]) > 15
        assert {key: value for key, value in check["losses"].items() if not value < 2e-6} == {}
        assert check["empty part"] < 1e-7


@pytest.mark.parametrize("stage", ["segmenter", "refiner"])
def test_two_processes_train_what_one_trains(place: Path, one: Path, stage: str) -> None:
    expected, found = (load_file(run / stage / "state.safetensors") for run in (one, place / "two" / "tiny"))
    numbers = [key for key in expected if key.startswith(("network.", "average."))]
    assert len(numbers) > 100
    wrong = {
        key: float((found[key].double() - expected[key].double()).abs().max())
        for key in numbers
        if not torch.allclose(found[key].double(), expected[key].double(), rtol=1e-5, atol=1e-5)
    }
    assert wrong == {}


def test_every_process_has_random_numbers_of_its_own(place: Path, checks: Any) -> None:
    state = load_file(place / "two" / "tiny" / "segmenter" / "state.safetensors")
    assert not torch.equal(state["random.torch"], state["random1.torch"])


def test_validation_is_that_of_one_process(place: Path, checks: Any, config: TrainConfig) -> None:
    run = place / "two" / "tiny"
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    logged = {line["stage"]: line for line in lines if line["step"] == 20}
    data = config.data.folders[0]
    train, val = (ScaleCache(DataFolder(data, split), config.network_sizes) for split in ("train", "val"))
    network = build_segmenter("compact", 2, weights=run / "segmenter" / "last.safetensors").eval()
    scores = validate_segmenter(network, val, config.input_size, 0, CPU, "none")
    assert scores == {key: logged["segmenter"][key] for key in scores}
    refiners = build_refiners(config, 2).eval()
    refiners.load_state_dict(load_file(run / "refiner" / "last.safetensors"))
    segmenter = load_segmenter(config, 2, run / "segmenter" / "best.safetensors", CPU)
    result = RefinerTask(config, refiners, segmenter, [train], val, CPU, {}).validate(refiners)
    assert result.scores == {key: logged["refiner"][key] for key in result.scores}


def test_evaluation_is_that_of_one_process(place: Path, checks: list[dict[str, Any]], config: TrainConfig) -> None:
    expected = distributed_worker.scores(place / "two" / "tiny" / "model", config.data.folders[0])
    assert [check["scores"] for check in checks] == [expected, expected]


def test_a_signal_to_one_process_stops_all(checks: list[dict[str, Any]]) -> None:
    assert [check["stopped"] for check in checks] == [143, 143]


def test_a_killed_process_ends_the_job_and_torchrun_resumes_it(place: Path, checks: Any, arguments: list[str]) -> None:
    words = ["-m", "magnet", "train", *arguments, "--out", str(place / "killed"), "--stage", "segmenter"]
    processes = start_two(*words)
    state = place / "killed" / "tiny" / "segmenter" / "state.safetensors"
    try:
        while not state.exists():
            assert all(process.poll() is None for process in processes), [p.communicate() for p in processes]
            time.sleep(0.02)
        processes[1].kill()
        _, error = processes[0].communicate(timeout=120)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [1, -signal.SIGKILL]
    (line,) = [line for line in error.splitlines() if "error" in line]
    assert line.startswith("magnet: error: rank 0: lost the other processes") and "--resume" in line

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    done = subprocess.run(
        [*torchrun, "--resume"], env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: ") == 1
    # "two" was stopped at another step, by a signal, and resumed
    runs = [load_file(place / out / "tiny" / "segmenter" / "state.safetensors") for out in ("two", "killed")]
    assert runs[0].keys() == runs[1].keys() and all(torch.equal(runs[0][key], runs[1][key]) for key in runs[0])
