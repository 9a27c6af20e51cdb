"""Groups of fields side by side: read ahead, computed in turns, written by another; and how all of it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from raster_files import write_tiff
from torch import Tensor
from tqdm import tqdm
from walked import EXACT, FIELD, build, pixels_of

from magnet import open_raster
from magnet.images.label_files.block_file import BlockFile
from magnet.images.rasters import Channels
from magnet.images.rasters.arrays import ArrayRaster
from magnet.images.tensors import resize
from magnet.model import progress
from magnet.model.raster_walk import RasterWalk
from magnet.walk.ahead import READERS, Ahead, readers
from magnet.walk.field_views import FieldViews, read_box
from magnet.walk.field_walk import Turns
from magnet.walk.plan import images_per_pass, plan_walk
from magnet.walk.views import JoinedViews, TensorViews

pytestmark = pytest.mark.usefixtures("one_thread")


class Told(Exception):
    """Of what fails."""


def ours() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("magnet-")]


def walked(tmp_path: Path, pixels: np.ndarray, name: str, **more: Any) -> tuple[np.ndarray, np.ndarray]:
    """Labels and confidence."""
    model = build(**EXACT).with_settings(**more.pop("settings", {}))
    height, width = pixels.shape[:2]
    with open_raster(pixels) as raster:
        walk = RasterWalk(model, raster, model.settings, tmp_path / name, ["a"], wants_confidence=True, **more)
        with walk:
            numbers = [field.number for field in walk]
            assert sorted(numbers) == [field.number for field in walk.fields]
            assert walk.confidence is not None
            box = (0, 0, width, height)
            return walk.labels.read(box), walk.confidence.read(box)


@pytest.mark.parametrize(
    "settings", [{}, {"n_patches": 2}, {"n_patches": 2, "n_points": 50}, {"points_by": "random"}, {"n_patches": 0}]
)
def test_fields_that_share_passes_are_those_of_single_ones(tmp_path: Path, settings: dict) -> None:
    pixels = np.full((150, 180, 3), np.nan, np.float32)  # some fields of a group hold nothing
    pixels[:, :100] = pixels_of(150, 100) / 255.0
    settings = {"batch_size": 1, **settings}
    unit = Channels(value_range=(0.0, 1.0))
    alone = walked(tmp_path, pixels, "alone", settings=settings, fields_per_pass=1, channels=unit)
    for together, workers in ((3, 1), (4, 2), (100, 2)):
        got = walked(
            tmp_path,
            pixels,
            f"{together}",
            settings=settings,
            fields_per_pass=together,
            workers=workers,
            channels=unit,
        )
        assert np.array_equal(got[0], alone[0]) and np.array_equal(got[1], alone[1])


def test_passes_are_filled_by_the_fields_of_a_group(tmp_path: Path) -> None:
    counts: list[int] = []
    model = build(**{**EXACT, "batch_size": 8}, n_patches=2)
    model.segmenter.register_forward_hook(lambda _, given, __: counts.append(len(given[0])))
    with open_raster(pixels_of(150, 180)) as raster:
        walk = RasterWalk(model, raster, model.settings, tmp_path, ["a"], fields_per_pass=4, workers=1)
        with walk:
            fields = len(list(walk))
    whole, rest = divmod(fields, 4)
    assert counts == [4, 8, 8] * whole + ([rest, 2 * rest, 2 * rest] if rest else [])


def test_a_group_of_which_some_fields_are_done_is_done_again_as_a_whole(tmp_path: Path) -> None:
    """What a pass gives depends, in rounding, on all that is in it."""
    model, pixels = build(**EXACT), pixels_of(150, 180)
    with open_raster(pixels) as raster:
        arguments: dict = {"fields_per_pass": 3, "workers": 1}
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"], **arguments) as walk:
            groups = [walk.left[i : i + 3] for i in range(0, len(walk.left), 3)]
            for field in (*groups[0], groups[1][0]):
                walk._journal.add(field.number)
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"], **arguments) as walk:
            assert walk.left == [field for group in groups[1:] for field in group]
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"], fields_per_pass=2) as walk:
            assert walk.left == walk.fields  # another job: its groups are others


def test_a_gpu_is_given_full_passes_and_a_cpu_one_field_at_a_time() -> None:
    settings = build(**{**EXACT, "batch_size": None}).settings
    plan, gpu = plan_walk(settings, FIELD), torch.device("cuda")
    assert settings.patches_per_pass(gpu) == 16
    assert images_per_pass(settings, plan, torch.device("cpu")) == 1
    assert images_per_pass(settings, plan, gpu) == 4  # of the second scale there are 4 patches
    assert images_per_pass(settings.changed(n_patches=3), plan, gpu) == 6
    assert images_per_pass(settings.changed(n_patches=[0, 2]), plan, gpu) == 8
    assert images_per_pass(settings.changed(n_patches=0), plan, gpu) == 16
    large = settings.changed(scales=[(12, 16), (4096, 4096)])
    assert images_per_pass(large.changed(n_patches=1), plan_walk(large, (4096, 4096)), gpu) == 1


class _Slow(ArrayRaster):
    """Counts the reads that are begun, and holds each until it is let go."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__(pixels)
        self.begun = 0
        self.go = threading.Event()

    def read_level(self, level: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        self.begun += 1
        assert self.go.wait(60)
        return super().read_level(level, box)


def test_all_patches_of_a_scale_are_read_before_the_first_is_asked_for() -> None:
    model = build(**EXACT)
    plan, raster = plan_walk(model.settings, FIELD), _Slow(pixels_of(*FIELD))
    raster.go.set()
    with readers() as pool:
        views = FieldViews(
            raster, Channels().of(raster), (0, 0, 64, 48), lambda images: images, torch.device("cpu"), pool
        )
        views.whole(plan)
        raster.go.clear()
        raster.begun = 0
        boxes = torch.tensor([(0, x, y, x + 16, y + 12) for y in (0, 12, 36) for x in (0, 20, 48)], dtype=torch.float32)
        views.expect(FIELD, boxes, (12, 16))
        deadline = time.monotonic() + 60
        while raster.begun < READERS and time.monotonic() < deadline:
            time.sleep(0.001)
        assert raster.begun == READERS  # nobody asked yet
        raster.go.set()
        got = torch.cat([views.patches(FIELD, part, (12, 16)) for part in boxes.split(4)])
        assert raster.begun == len(boxes)
    expected = [pixels_of(*FIELD)[y : y + 12, x : x + 16] for y in (0, 12, 36) for x in (0, 20, 48)]
    assert torch.equal(got, torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2) / 255)


def test_what_is_read_ahead_is_bounded_and_comes_in_order() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def call(number: int) -> int:
        with lock:
            begun.append(number)
        return number

    with readers() as pool:
        ahead = Ahead(pool, ((lambda n=n: call(n)) for n in range(50)), 5)
        for taken, future in enumerate(ahead):
            assert future.result() == taken
            assert max(begun) <= taken + 5
    assert sorted(begun) == list(range(50))

    def failing() -> Any:
        yield lambda: 1
        raise Told("no more")

    with readers() as pool:
        first, last = Ahead(pool, failing(), 5)
        assert first.result() == 1
        with pytest.raises(Told):
            last.result()


@pytest.mark.parametrize("where", ["read", "network", "write"])
def test_an_error_ends_all_threads_and_is_raised(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(**EXACT)
    calls = [0]

    def fail(*_: object) -> None:
        calls[0] += 1
        if calls[0] == 7:
            raise Told(where)

    if where == "network":
        model.segmenter.register_forward_hook(fail)
    raster = open_raster(pixels_of(150, 180))
    kind, name = (ArrayRaster, "read_level") if where == "read" else (BlockFile, "write")
    if where != "network":
        plain = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, *given: (fail(), plain(self, *given))[1])
    with raster, RasterWalk(model, raster, model.settings, tmp_path, ["a"]) as walk, pytest.raises(Told, match=where):
        list(walk)
    assert not ours()


def test_a_caller_who_stops_ends_all_threads_without_finishing(tmp_path: Path) -> None:
    model = build(**EXACT)
    modes = [module.training for module in model.modules()]
    with open_raster(pixels_of(300, 400)) as raster:
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"]) as walk:
            fields = iter(walk)
            first = next(fields)
            assert ours()
            fields.close()  # type: ignore[attr-defined]
            assert not ours()
            assert [module.training for module in model.modules()] == modes
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"]) as walk:
            assert first not in walk.left and walk.left
            list(walk)  # and it goes on
            labels = walk.labels.read((0, 0, 400, 300))
    assert (labels != 255).all()


INTERRUPTED = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
sys.path[:0] = sys.argv[2:4]
import numpy as np, torch
torch.set_num_threads(1)
from walked import EXACT, build, pixels_of
from magnet.images.rasters.arrays import ArrayRaster
plain = ArrayRaster.read_level
def late(self, level, box):
    time.sleep(0.01)
    return plain(self, level, box)
ArrayRaster.read_level = late
model = build(**EXACT)
model.segmenter.register_forward_hook(lambda *_: time.sleep(0.02))
print("begins", flush=True)
try:
    model.predict_raster(pixels_of(1500, 1500), sys.argv[1], name="k", progress=False)
except KeyboardInterrupt:
    print([one.name for one in threading.enumerate() if one.name.startswith("magnet-")], flush=True)
    sys.exit(7)
"""


def test_an_interrupted_job_ends_its_threads_and_goes_on_later(tmp_path: Path) -> None:
    tests = Path(__file__).parent
    job = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path), str(tests.parent), str(tests)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / ".k.fields" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while (not journal.exists() or len(journal.read_text().splitlines()) < 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    job.send_signal(signal.SIGINT)
    told, _ = job.communicate(timeout=120)
    assert job.returncode == 7 and told.splitlines() == ["begins", "[]"]
    done = len(journal.read_text().splitlines()) - 1
    with open_raster(pixels_of(1500, 1500)) as raster:
        model = build(**EXACT)
        with RasterWalk(model, raster, model.settings, tmp_path / "whole", ["a"]) as walk:
            assert 2 <= done < len(walk.fields) - 10


def test_who_waits_for_a_read_lets_others_compute() -> None:
    turns, future = Turns(), Future[int]()
    order: list[str] = []

    def first() -> None:
        with turns.computing():
            order.append("first")
            began.set()
            order.append(f"first {turns.result(future)}")

    began = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(60)
    with turns.computing():  # which would wait for ever
        order.append("second")
        future.set_result(3)
    thread.join(60)
    assert order == ["first", "second", "first 3"]
    assert torch.equal(turns.fetch(torch.arange(3)), torch.arange(3))


def test_views_of_several_images_are_those_of_each() -> None:
    images = torch.rand(3, 3, 24, 32)
    plan = plan_walk(build(**EXACT).settings, FIELD)
    joined, batch = JoinedViews([TensorViews(one[None]) for one in images]), TensorViews(images)
    assert torch.equal(joined.whole(plan), batch.whole(plan))
    boxes = torch.tensor([(n, x, 3, x + 16, 15) for n in range(3) for x in (0, 5)], dtype=torch.float32)

    def parts(views: Any) -> Tensor:
        views.expect(FIELD, boxes, (12, 16))
        return torch.cat([views.patches(FIELD, some, (12, 16)) for some in boxes.split(4)])

    assert torch.equal(parts(joined), parts(batch))


@pytest.mark.parametrize("factors", [(2, 4), (4,), (3,), (2,), ()])
@pytest.mark.parametrize("start", [(0, 0), (4, 8), (2, 6)])
def test_patches_of_a_scale_that_no_level_has_are_those_of_the_whole_field(
    tmp_path: Path, factors: tuple[int, ...], start: tuple[int, int]
) -> None:
    """Bit for bit, from whichever level they are made, in the middle and at the border of a field."""
    pixels = pixels_of(3 * 48, 3 * 64)
    path = write_tiff(tmp_path / "a.tif", pixels, overviews=factors, blockxsize=16, blockysize=16)
    y, x = start
    plan = plan_walk(build(**EXACT).settings, FIELD)
    with open_raster(path) as raster:
        views = FieldViews(
            raster, Channels().of(raster), (x, y, x + 64, y + 48), lambda images: images, torch.device("cpu")
        )
        views.whole(plan)
        for scale in ((12, 16), (24, 32), FIELD):
            stored, _ = read_box(raster, (x, y, x + 64, y + 48), scale)
            whole = resize(torch.from_numpy(stored).permute(2, 0, 1)[None] / 255, scale)
            corners = [(0, 0), (scale[1] - 9, scale[0] - 7), (3, 4), (1, 0)]
            boxes = torch.tensor([(0, a, b, a + 9, b + 7) for a, b in corners], dtype=torch.float32)
            views.expect(scale, boxes, (7, 9))
            got = torch.cat([views.patches(scale, some, (7, 9)) for some in boxes.split(3)])
            expected = torch.cat([whole[..., b : b + 7, a : a + 9] for a, b in corners])
            assert torch.equal(got, expected)


def test_a_scale_between_two_levels_reads_only_what_is_looked_at(tmp_path: Path) -> None:
    """With levels of a quarter each the middle of three scales is made of the finest level."""
    pixels = np.tile(pixels_of(*FIELD), (6, 6, 1))
    path = write_tiff(tmp_path / "a.tif", pixels, overviews=(4,), blockxsize=16, blockysize=16)
    model = build(**{**EXACT, "patch_size": (6, 8)})
    with open_raster(path) as raster:
        settings = model.settings.changed(n_patches=[1, 0])  # of 16, at the scale between
        with RasterWalk(model, raster, settings, tmp_path / "w", ["a"]) as walk:
            list(walk)
        every = -(-pixels.shape[0] // 16) * -(-pixels.shape[1] // 16)
        assert 0 < raster.tiles_read[0] < every * 0.75  # all, where fields are read as a whole


def test_the_bar_counts_fields_and_those_of_an_earlier_run_have_no_part_in_the_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, pixels = build(**EXACT), pixels_of(150, 180)
    np.save(tmp_path / "a.npy", pixels)
    calls = [0]
    plain = BlockFile.flush

    def stop(self: BlockFile) -> None:
        plain(self)
        calls[0] += 1
        if calls[0] == 4:
            raise Told("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(BlockFile, "flush", stop)
        with pytest.raises(Told):
            model.predict_raster(tmp_path / "a.npy", tmp_path / "out", workers=1, progress=False)
    bars: list[Any] = []
    monkeypatch.setattr(progress, "tqdm", lambda *given, **more: bars.append(tqdm(*given, **more)) or bars[-1])
    capsys.readouterr()
    record = model.predict_raster(tmp_path / "a.npy", tmp_path / "out", progress=True)
    told = capsys.readouterr().err
    assert 3 <= record.resumed < record.fields
    assert f" {record.resumed}/{record.fields} [" in told and f" {record.fields}/{record.fields} [" in told
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d, +[\d.]+(field/s|s/field)\]", told)  # time taken, time left, rate
    (bar,) = bars
    state = bar.format_dict
    assert (state["initial"], state["n"], state["total"]) == (record.resumed, record.fields, record.fields)
