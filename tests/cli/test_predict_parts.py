"""``magnet predict --part``: a job shared out among processes, which write into one folder at the same time."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import environment_of_a_program
from output_files import contents, picture, run
from tiny_model import save_tiny_model

from magnet.cli import predict
from magnet.cli.predict_parts import auto_part, local_rank, share_out
from magnet.errors import ArgumentError, MagNetError
from magnet.files.locks import LOCK, folder_lock
from magnet.files.manifest import MANIFEST, read_manifests
from magnet.files.outputs import Outputs
from magnet.files.parts import Part, part_lock

pytestmark = pytest.mark.usefixtures("one_thread_in_the_module")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


INPUTS = [f"{folder}{name}.png" for folder in ("", "x/", "y/") for name in "abc"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(INPUTS):
        (folder / name).parent.mkdir(exist_ok=True)
        picture(folder / name, seed)
    return folder


@pytest.fixture(scope="module")
def whole(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of one run."""
    out = tmp_path_factory.mktemp("whole")
    assert run(*words(model, data, out)) == 0
    return results(out)


def words(model: Path, data: Path, out: Path, *more: object) -> list[object]:
    return ["predict", data, "--recursive", "--model", model, "--out", out, "--save", "labels", "--n-patches", 1, *more]


def results(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(folder).items() if not name.endswith(".jsonl")}


def test_parts_are_the_whole(
    model: Path, data: Path, tmp_path: Path, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for part in ("2/3", "1/3", "3/3"):
        assert run(*words(model, data, out, "--part", part)) == 0
        number = part[0]
        assert f"magnet: part {number} of 3: 3 of 9 inputs, 0 done before, 3 to do\n" in capsys.readouterr().out
        assert len((out / f"predictions.part-{number}-of-3.jsonl").read_text().splitlines()) == 3
    assert results(out) == whole
    assert sorted(read_manifests(out)) == INPUTS and not (out / MANIFEST).exists()
    before = contents(out)
    assert run(*words(model, data, out, "--part", "2/3")) == 0
    assert capsys.readouterr().out == "magnet: part 2 of 3: 3 of 9 inputs, 3 done before, 0 to do\n"
    assert run(*words(model, data, out, "--part", "1/2")) == 0  # whoever did them
    assert "5 done before, 0 to do" in capsys.readouterr().out
    assert run(*words(model, data, out)) == 0
    assert capsys.readouterr().out == "magnet: 9 done before, 0 to do\n"
    assert contents(out) == before


def test_parts_at_the_same_time(model: Path, data: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "magnet", *map(str, words(model, data, out, "--part", part))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment_of_a_program(OMP_NUM_THREADS="1"),
        )
        for part in ("1/2", "2/2")
    ]
    for process in processes:
        told = process.communicate(timeout=120)
        assert process.returncode == 0, told
    assert results(out) == whole and sorted(read_manifests(out)) == INPUTS
    assert not list(out.glob("*.lock")) and not list(out.glob(".*.lock"))


def test_the_whole_does_what_parts_left(
    model: Path, data: Path, tmp_path: Path, whole: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out, "--part", "1/3")) == 0
    left = out / ".a_labels.0123456789abcdef"  # of a part that was killed
    left.mkdir()
    assert run(*words(model, data, out, "--part", "1/3")) == 0
    assert left.is_dir()  # another part may be about to write in it
    capsys.readouterr()
    assert run(*words(model, data, out)) == 0
    assert "magnet: 3 done before, 6 to do" in capsys.readouterr().out
    assert results(out) == whole and not left.exists()
    assert run(*words(model, data, out, "--n-points", 10, "--part", "1/1")) == 0
    assert "0 done before, 9 to do" in capsys.readouterr().out
    assert results(out) != whole
    assert run(*words(model, data, out)) == 0  # lines of both jobs are there: what the files are decides
    assert "magnet: " not in capsys.readouterr().out.splitlines()[0]
    assert results(out) == whole


def test_more_parts_than_inputs(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        assert run(*words(model, data / "a.png", tmp_path / "out", "--part", f"{number}/2")) == 0
    assert "part 2 of 2: 0 of 1 inputs, 0 done before, 0 to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    "value", ["0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "1.5/3", "1/200000", "auto1", "١/٣"]
)
def test_wrong_parts(model: Path, data: Path, tmp_path: Path, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words(model, data, tmp_path / "out", f"--part={value}")) == 2
    told = capsys.readouterr().err
    assert told.startswith("magnet predict: error: argument --part: expected I/N with I from 1 to N")
    assert told.count("\n") == 1 and not (tmp_path / "out").exists()


def test_auto() -> None:
    assert auto_part({"RANK": "2", "WORLD_SIZE": "4"}) == Part(3, 4)
    assert auto_part({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}) == Part(1, 2)
    torchrun_in_slurm = {"RANK": "5", "WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
    assert auto_part(torchrun_in_slurm) == Part(6, 8)
    assert auto_part({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_ARRAY_TASK_COUNT": "4"}) == Part(2, 2)
    assert local_rank({}) == 0 and local_rank({"LOCAL_RANK": "3", "SLURM_LOCALID": "1"}) == 3


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "which are not set"),
        ({"RANK": "1"}, "which are not set"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "got '4' and '4'"),
        ({"SLURM_PROCID": "x", "SLURM_NTASKS": "4"}, "got 'x' and '4'"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_ARRAY_TASK_COUNT": "4"}, r"\$SLURM_ARRAY_TASK_ID"),
    ],
)
def test_auto_without_numbers(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ArgumentError, match=rf"^--part: .*{told}"):
        auto_part(environment)


def test_numbers_count_only_where_they_are_asked_for(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_NTASKS", "3")
    assert run(*words(model, data, tmp_path / "out", "--part", "auto")) == 0
    assert "part 2 of 3: 3 of 9 inputs" in capsys.readouterr().out
    assert run(*words(model, data, tmp_path / "all")) == 0
    assert len(read_manifests(tmp_path / "all")) == 9


@given(st.lists(st.integers(0, 1 << 40), max_size=30), st.integers(1, 7), st.randoms())
def test_inputs_are_shared_out(sizes: list[int], of: int, random: object) -> None:
    inputs = [(f"{number}.png", size) for number, size in enumerate(sizes)]
    parts = share_out(inputs, of)
    assert len(parts) == of and sorted(number for part in parts for number in part) == list(range(len(inputs)))
    loads = [sum(max(sizes[number], 1 << 21) for number in part) for part in parts]
    if inputs:  # nobody has to wait for another for longer than the largest takes
        assert max(loads) - min(loads) <= max(*sizes, 1 << 21)
    mixed = list(inputs)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    names = [{mixed[number][0] for number in part} for part in share_out(mixed, of)]
    assert names == [{inputs[number][0] for number in part} for part in parts]


# locks: another process holds one, as those of one process know each other too well


def _hold(folder: Path, part: Part | None, ready: str) -> None:
    with part_lock(folder, part) if part else folder_lock(folder):
        Path(ready).touch()
        time.sleep(60)


@pytest.fixture
def held(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that another process is writing into, as the part that is asked for."""
    folder, ready = tmp_path / "out", tmp_path / "ready"
    folder.mkdir()
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(folder, request.param, str(ready)))
    process.start()
    while not ready.exists():
        time.sleep(0.01)
    yield folder
    process.kill()
    process.join()


@pytest.mark.parametrize("held", [Part(1, 3, "p")], indirect=True)
def test_who_may_write_beside_a_part(held: Path) -> None:
    with part_lock(held, Part(2, 3, "p")):
        pass
    with Outputs(held, "test", part=Part(3, 3, "p")) as outputs, outputs.write(held / "r.txt", "a") as temporary:
        temporary.write_text("1")
    assert (held / LOCK).exists()  # of the first part, still
    for part in (Part(2, 4, "p"), Part(2, 3, "other")):
        with pytest.raises(
            MagNetError, match=r"^--part: expected parts of one job, but .* is being written to by proc"
        ):
            part_lock(held, part).__enter__()
    with pytest.raises(MagNetError, match=r"^--out: .* is being written to by process \d+ on .*"):
        part_lock(held, Part(1, 3, "p")).__enter__()
    with pytest.raises(MagNetError, match=r"^--out: .* is being written to by"):
        folder_lock(held).__enter__()


@pytest.mark.parametrize("held", [None], indirect=True)
def test_no_part_beside_the_whole(held: Path) -> None:
    with pytest.raises(MagNetError, match=r"^--out: .* is being written to by"):
        part_lock(held, Part(1, 3, "p")).__enter__()


@pytest.mark.parametrize("held", [Part(1, 3, "p")], indirect=True)
def test_what_a_killed_part_left_is_in_nobodys_way(held: Path) -> None:
    process = multiprocessing.active_children()[0]
    process.kill()
    process.join()
    assert (held / ".magnet.part-1-of-3.lock").exists()
    with part_lock(held, Part(2, 4, "other")):
        pass
    with part_lock(held, Part(1, 3, "p")):
        pass
    with folder_lock(held):
        pass
    assert os.listdir(held) == []


def test_parts_read_the_records_of_each_other(tmp_path: Path) -> None:
    for number in (1, 2):
        with Outputs(tmp_path, "test", part=Part(number, 2), job="j") as outputs:
            with outputs.write(tmp_path / f"{number}.txt", "a") as temporary:
                temporary.write_text("1")
            assert outputs.holds(tmp_path / "1.txt", "a") and not outputs.holds(tmp_path / "1.txt", "b")
    assert len(json.loads((tmp_path / ".magnet.part-1-of-2.jsonl").read_text())) == 6
    with Outputs(tmp_path, "test", job="other") as outputs:
        assert not outputs.holds(tmp_path / "1.txt", "a") and not outputs.foreign(tmp_path / "2.txt", "a")


@pytest.mark.parametrize(
    ("part", "device", "environment", "taken"),
    [
        ("auto", None, {"LOCAL_RANK": "1"}, "cuda:1"),
        ("auto", "cuda", {"SLURM_LOCALID": "3"}, "cuda:1"),  # more processes than GPUs share them
        ("auto", "cuda:0", {"LOCAL_RANK": "1"}, "cuda:0"),
        ("auto", "cpu", {"LOCAL_RANK": "1"}, "cpu"),
        (Part(1, 2), None, {"LOCAL_RANK": "1"}, None),
        (None, None, {"LOCAL_RANK": "1"}, None),
    ],
)
def test_each_process_takes_its_own_gpu(
    part: object, device: str | None, environment: dict[str, str], taken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert predict._device(argparse.Namespace(part=part, device=device)) == taken
