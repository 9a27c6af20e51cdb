"""The training loader: the same samples whoever makes them, one clear error, and no more memory than it says."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from live import environment_of_a_program
from tiny_data import tiny_config, tiny_folder

from magnet.data import DataFolder, ScaleCache
from magnet.errors import MagNetError
from magnet.training import loader as loader_module
from magnet.training.chains import ChainSamples
from magnet.training.config import AugmentConfig
from magnet.training.loader import Loader
from magnet.training.loop import _parts
from magnet.training.segmenter import SampleSource, SegmenterSamples
from magnet.training.signals import Interrupted, StopSignal

SIZES = [(32, 48), (64, 96)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("loader") / "data")


def caches(folder: Path, limit_mb: int) -> list[ScaleCache]:
    cache = ScaleCache(DataFolder(folder, "train"), SIZES, limit_mb)
    cache.preload()
    return [cache]


def samples_of(stage: str, folder: Path, limit_mb: int = 64) -> SegmenterSamples | ChainSamples:
    augment = AugmentConfig(noise=0.1, rotate=10)
    if stage == "segmenter":
        return SegmenterSamples(SampleSource(caches(folder, limit_mb), []), SIZES[0], augment)
    return ChainSamples(caches(folder, limit_mb), SIZES[0], augment, (16, 24))


def batches(samples: Any, first: int, workers: int, accumulate: int = 1) -> list[Any]:
    loader = Loader(samples, (5, 1), _parts(4, accumulate), first, 5, workers=workers)
    made = [loader.next()[0] for _ in range(first, 5)]
    loader.close()
    return made


def flat(batches: list[Any]) -> list[torch.Tensor]:
    return [value for parts in batches for part in parts for value in part if isinstance(value, torch.Tensor)]


@pytest.mark.parametrize("stage", ["segmenter", "refiner"])
def test_samples_do_not_depend_on_workers_cache_or_start(stage: str, folder: Path) -> None:
    expected = batches(samples_of(stage, folder), 0, 0)
    assert len({tuple(part[0].names) for part in expected}) > 1  # steps differ
    for limit_mb, first, workers in ((64, 0, 2), (0, 0, 1), (0, 3, 2)):
        made = batches(samples_of(stage, folder, limit_mb), first, workers)
        assert [part.names for parts in made for part in parts] == [
            part.names for parts in expected[first:] for part in parts
        ]
        for a, b in zip(flat(made), flat(expected[first:]), strict=True):
            assert torch.equal(a, b)


def test_parts_hold_the_same_samples_as_the_whole(folder: Path) -> None:
    whole = batches(samples_of("segmenter", folder), 3, 0)
    parts = batches(samples_of("segmenter", folder), 3, 0, accumulate=3)
    assert [len(part.names) for part in parts[0]] == [2, 1, 1]
    for step in range(2):
        assert torch.equal(torch.cat([part.images for part in parts[step]]), whole[step][0].images)


def test_the_training_generator_is_left_alone(folder: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for workers in (0, 1):
        batches(samples_of("segmenter", folder), 4, workers)
    assert torch.equal(torch.get_rng_state(), before)


class Bad(NamedTuple):
    """Samples that fail in one of several ways."""

    how: str

    def draw(self, rng: np.random.Generator) -> Any:
        if self.how == "data":
            raise MagNetError("data: 'p3.jpg' is corrupt")
        if self.how == "bug":
            raise KeyError("left")
        os.kill(os.getpid(), signal.SIGKILL)

    def collate(self, samples: Any) -> Any:
        return samples


@pytest.mark.parametrize(
    ("how", "workers", "message"),
    [
        ("data", 0, r"^data: 'p3\.jpg' is corrupt$"),
        ("data", 2, r"^data: 'p3\.jpg' is corrupt$"),
        ("bug", 1, r"^data: sample 0 of step 0 could not be made \(KeyError: 'left'\)$"),
        ("killed", 1, r"^data: a loader process ended \(.*\), most often for lack of memory; lower"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_one_line(how: str, workers: int, message: str) -> None:
    loader = Loader(Bad(how), (0, 1), [[0]], 0, 3, workers=workers)
    with pytest.raises(MagNetError, match=message) as error:
        loader.next()
    assert "\n" not in str(error.value)
    loader.close()


linux = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux")


class Batch(NamedTuple):
    images: torch.Tensor


class Slow(NamedTuple):
    """Samples of a size that take a while; what a worker must not hear does not end it."""

    seconds: float
    pixels: int = 4

    def draw(self, rng: np.random.Generator) -> Any:
        time.sleep(self.seconds)
        return rng.random(self.pixels)

    def collate(self, samples: Any) -> Any:
        return Batch(torch.from_numpy(np.stack(samples)))


def processes(loader: Loader) -> list[Any]:
    return list(loader._batches._workers)


@linux
def test_workers_that_hang_are_given_up_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "_LOOK_EVERY", 0.1)
    monkeypatch.setattr(loader_module, "LONGEST_WAIT", 0.3)
    monkeypatch.setattr(loader_module, "_TIME_TO_END", 0.2)
    loader = Loader(Slow(1000.0), (0, 1), [[0]], 0, 3, workers=2)
    workers = processes(loader)
    with pytest.raises(MagNetError, match=r"^data: the loader processes gave no batch for 0\.3 s; .*--data\.workers 0"):
        loader.next()
    loader.close()
    assert [worker.is_alive() for worker in workers] == [False, False]


@linux
def test_a_signal_ends_the_wait_for_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_module, "_TIME_TO_END", 0.2)
    monkeypatch.setattr(loader_module, "_LOOK_EVERY", 0.2)
    with StopSignal() as stop:
        loader = Loader(Slow(1000.0), (0, 1), [[0]], 0, 3, workers=1, stopped=lambda: stop.number > 0)
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        with pytest.raises(Interrupted):
            loader.next()
        loader.close()
    assert stop.number == signal.SIGTERM


@linux
@pytest.mark.parametrize("seed", range(8))
def test_a_worker_killed_at_any_moment_is_one_line(seed: int) -> None:
    """While it starts, draws or sends, or while the training does something else."""
    rng = random.Random(seed)
    loader = Loader(Slow(0.0, 3000), (0, 1), [[0, 1], [2]], 0, 10**6, workers=2)
    victim = rng.choice(processes(loader))
    threading.Timer(rng.random() * 0.2, victim.kill).start()
    end = time.monotonic() + 60
    with pytest.raises(MagNetError) as caught:
        while time.monotonic() < end:
            loader.next()
            sum(range(rng.randrange(20_000)))
    loader.close()
    assert str(caught.value).startswith("data: a loader process ended (") and "lower data.workers" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_killed_worker_interrupts_nothing_but_the_wait_for_it() -> None:
    """torch's handler of the signal raises wherever the training is, in the middle of an import as well."""
    before = signal.getsignal(signal.SIGCHLD)
    loader = Loader(Slow(0.0, 3000), (0, 1), [[0, 1], [2]], 0, 10**6, workers=2)
    torchs = loader._signal._before
    assert callable(torchs) and signal.getsignal(signal.SIGCHLD) != torchs
    for victim in processes(loader):
        victim.kill()
        victim.join(30)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        sum(range(1000))
    with pytest.raises(MagNetError, match=r"^data: a loader process ended \(DataLoader worker "):
        for _ in range(100):
            loader.next()
    loader.close()
    assert signal.getsignal(signal.SIGCHLD) == torchs
    assert before in (torchs, signal.SIG_DFL)


def test_workers_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused:
        def __init__(self, *_: Any) -> None:
            raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(loader_module, "DataLoader", lambda *_, **__: Iterable(Refused))
    with pytest.raises(
        MagNetError, match=r"^data: 3 loader processes cannot be started \(Resource temp.*; lower data\."
    ):
        Loader(Slow(0.0), (0, 1), [[0]], 0, 3, workers=3)


class Iterable(NamedTuple):
    make: Any

    def __iter__(self) -> Any:
        return self.make()


@linux
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a /dev/shm of its own")
def test_too_little_shared_memory_is_told() -> None:
    script = (
        "from test_loader import Loader, Slow\n"
        "loader = Loader(Slow(0.0, 10**6), (0, 1), [[0]], 0, 3, workers=2)\n"
        "try: loader.next()\n"
        "finally: loader.close()\n"
    )
    mounted = 'mount -t tmpfs -o size=1m tmpfs /dev/shm || exit 77; exec "$0" -c "$1"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, sys.executable, script]
    environment = environment_of_a_program(Path(__file__).parent, Path(__file__).parent.parent)
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    if run.returncode == 77 or "unshare failed" in run.stderr:
        pytest.skip("this system lets nobody mount")
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("magnet.errors.MagNetError: data: a loader process has too little shared memory for a batch")
    assert "enlarge /dev/shm" in last and "--data.workers 0" in last


@pytest.mark.slow
@linux
@pytest.mark.parametrize("after", [0.0, 1.0])
def test_a_training_whose_worker_is_killed_ends_with_one_line(after: float, folder: Path, tmp_path: Path) -> None:
    keys = {"data.workers": "1", "segmenter.iterations": "100000", "segmenter.val_every": "0"}
    words = ["train", *tiny_config(folder, tmp_path / "out", **keys)]
    command = [sys.executable, "-P", "-m", "magnet", *words]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment_of_a_program())
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    end, worker = time.monotonic() + 100, ""
    while time.monotonic() < end and run.poll() is None and not worker:
        with contextlib.suppress(OSError):
            worker = children.read_text().strip()
    time.sleep(after)
    os.kill(int(worker.split()[0]), signal.SIGKILL)
    _, said = run.communicate(timeout=100)
    assert run.returncode == 1, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line.startswith("magnet: error: data: a loader process ended (")], (
        said
    )


# the cache


class Counted:
    """A data set that counts what is asked of it."""

    class_names = ("a", "b")
    num_classes = 2

    def __init__(self, count: int = 6, *, varies: bool = False) -> None:
        self.count, self.varies = count, varies
        self.loads: list[int] = []

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"image {index}"

    def size(self, index: int) -> tuple[int, int]:
        return (600, 800) if index else (40, 60)

    def load(self, index: int, rng: np.random.Generator | None = None) -> tuple[np.ndarray, np.ndarray]:
        self.loads.append(index)
        h, w = self.size(index)
        drawn = int(rng.integers(2)) if rng is not None else 0
        return np.full((h, w, 3), index, np.uint8), np.full((h, w), drawn, np.uint8)


def test_data_that_fit_are_read_once() -> None:
    data = Counted()
    cache = ScaleCache(data, [(30, 40), (600, 800)], limit_mb=64)
    cache.preload()
    assert [cache.get(i, s)[0].shape[0] for i, s in ((0, 0), (1, 0), (1, 1), (5, 1))] == [30, 30, 600, 600]
    assert data.loads == list(range(6)) and cache.scales_of(0) == [0]


def test_data_that_do_not_fit_are_not_all_read() -> None:
    data = Counted(20)
    cache = ScaleCache(data, [(30, 40), (600, 800)], limit_mb=4)  # two copies of 600 x 800 x 4 bytes
    cache.preload()
    assert data.loads == [0, 1, 2, 3]
    assert [len(cache.scales_of(i)) for i in range(20)] == [1] + [2] * 19
    assert data.loads == [0, 1, 2, 3]
    assert [cache.kept(i, 1) is not None for i in (1, 2, 3, 19)] == [True, True, False, False]
    for scale in (0, 1):
        assert cache.get(19, scale)[0][0, 0, 0] == 19
    assert data.loads == [0, 1, 2, 3, 19]


def test_labels_that_vary_are_drawn_by_the_sample_and_agree_at_all_scales() -> None:
    data = Counted(varies=True)
    cache = ScaleCache(data, [(30, 40), (600, 800)], limit_mb=64)
    cache.preload()
    assert data.loads == []
    drawn = []
    for seed in range(12):
        scaled = cache.open(1, np.random.default_rng(seed))
        values = {int(scaled.get(scale)[1].max()) for scale in (0, 1)}
        assert values == {int(np.random.default_rng(seed).integers(2))}
        drawn += values
    assert set(drawn) == {0, 1} and len(data.loads) == 12
    assert int(cache.get(1, 0)[1].max()) == 0  # validation sees the fixed labels


def test_copies_are_not_sent_to_workers() -> None:
    cache = ScaleCache(Counted(), [(30, 40), (600, 800)], limit_mb=64)
    cache.preload()
    assert len(pickle.dumps(cache)) < 5000 < cache.get(1, 1)[0].nbytes
    assert np.array_equal(pickle.loads(pickle.dumps(cache)).get(1, 1)[0], cache.get(1, 1)[0])
