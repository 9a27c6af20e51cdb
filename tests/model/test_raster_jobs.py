"""Jobs over rasters that stop: the fields that are done are not done again, and another job begins anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fields_by_hand import by_hand, labels_of
from PIL import Image
from raster_files import write_tiff
from walked import EXACT, FIELD, build, pixels_of

from magnet import open_raster
from magnet.errors import MagNetError
from magnet.images.label_files.block_file import BlockFile
from magnet.images.rasters import Channels
from magnet.images.rasters.raster import Raster
from magnet.model.raster_walk import RasterWalk
from magnet.walk.fields import OVERLAP, lay_out

pytestmark = pytest.mark.usefixtures("one_thread")


class Told(Exception):
    """Of a raster that fails."""


class _Failing(Raster):
    """A raster that fails at its n-th read."""

    def __init__(self, raster: Raster, reads: int) -> None:
        super().__init__(raster.name, raster.levels, raster.channels, raster.dtype)
        self.may_be_invalid = raster.may_be_invalid
        self._raster, self._left = raster, reads

    def _window(self, level: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        return self._raster.read_level(level, box)

    def __repr__(self) -> str:
        return repr(self._raster)

    def read_level(self, level: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        self._left -= 1
        if self._left < 0:
            raise Told("the disc went away")
        return self._raster.read_level(level, box)


def test_a_walk_that_was_broken_off_goes_on_with_the_fields_that_are_left(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(150, 180)
    expected = by_hand(model, pixels)
    done = 0
    with open_raster(pixels) as raster:
        fields = len(lay_out(raster.size, FIELD, overlap=OVERLAP))
        for reads in (45, 30, 0, 70):  # a field takes 18
            failing = _Failing(raster, reads)
            walk = RasterWalk(model, failing, model.settings, tmp_path, ["a"], workers=2)
            with walk, pytest.raises(Told):
                assert len(walk.left) == fields - done
                for _ in walk:
                    pass
            now = RasterWalk(model, raster, model.settings, tmp_path, ["a"])
            with now:
                assert len(now.left) <= fields - done
                done = fields - len(now.left)
        assert 0 < done < fields
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"]) as walk:
            assert len(list(walk)) == fields - done
            assert np.array_equal(walk.labels.read((0, 0, 180, 150)), expected)
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"]) as walk:
            assert list(walk) == []


@pytest.mark.parametrize("other", ["settings", "identity", "weights", "overlap", "channels"])
def test_another_job_begins_anew(tmp_path: Path, other: str) -> None:
    model, pixels = build(**EXACT), pixels_of(100, 130)
    with open_raster(pixels) as raster:
        with RasterWalk(model, raster, model.settings, tmp_path, ["a"]) as walk:
            list(walk)
        settings, identity, overlap, channels = model.settings, ["a"], 0.25, None
        if other == "settings":
            settings = settings.changed(n_patches=1)
        elif other == "identity":
            identity = ["b"]
        elif other == "overlap":
            overlap = 0.5
        elif other == "channels":
            channels = Channels((3, 2, 1))
        else:
            model.segmenter.conv.bias.data += 1e-3
        with RasterWalk(model, raster, settings, tmp_path, identity, overlap=overlap, channels=channels) as walk:
            assert walk.left == walk.fields
            assert (walk.labels.read((0, 0, 130, 100)) == 255).all()


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import numpy as np, torch
torch.set_num_threads(1)
from walked import EXACT, build
build(**EXACT).predict_raster(Path(sys.argv[4]), Path(sys.argv[1]), name="k", progress=False)
"""


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_ends_in_the_same_labels(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(300, 400)
    np.save(tmp_path / "k.npy", pixels)
    whole = model.predict_raster(tmp_path / "k.npy", tmp_path / "whole", name="k")
    tests = Path(__file__).parent
    script = "import sys; sys.path.insert(0, sys.argv[2]); sys.path.insert(0, sys.argv[3])\n" + KILLED.format(
        tests=str(tests)
    )
    seen, most = set(), 0
    for attempt in range(60):
        job = subprocess.Popen(
            [
                sys.executable,
                "-c",
                script,
                str(tmp_path / "killed"),
                str(tests.parent),
                str(tests),
                str(tmp_path / "k.npy"),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        journal = tmp_path / "killed" / ".k.fields" / "journal.jsonl"
        before = len(journal.read_text().splitlines()) if journal.exists() else 0
        assert before >= most  # nothing that was done is done again
        most = before
        killed = attempt < 10
        while killed and job.poll() is None:
            lines = len(journal.read_text().splitlines()) if journal.exists() else 0
            if lines >= before + 2 + attempt % 3:
                job.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        code = job.wait()
        seen.add(code)
        if code == 0:
            break
    assert -signal.SIGKILL in seen and 0 in seen
    assert (tmp_path / "killed" / "k_labels.png").read_bytes() == whole.outputs["labels"].read_bytes()


def test_an_array_has_no_mark_so_its_jobs_begin_anew(tmp_path: Path) -> None:
    model = build(**EXACT)
    one, other = pixels_of(100, 130), 255 - pixels_of(100, 130)
    with open_raster(one) as raster:
        failing = _Failing(raster, 60)
        with pytest.raises(Told):
            model.predict_raster(failing, tmp_path, name="a")
    assert (tmp_path / ".a.fields" / "labels.blocks").exists()
    record = model.predict_raster(other, tmp_path, name="a")
    assert record.resumed == 0
    assert np.array_equal(labels_of(record.outputs["labels"]), by_hand(model, other))


def test_what_an_array_holds_tells_it_from_others(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(60, 70)
    first = model.predict_raster(pixels, tmp_path, name="a")
    again = model.predict_raster(pixels.copy(), tmp_path, name="a")
    assert first.outputs == again.outputs
    with pytest.raises(MagNetError, match="was made from an array of SHA-256"):
        model.predict_raster(255 - pixels, tmp_path, name="a")
    model.predict_raster(255 - pixels, tmp_path, name="a", overwrite=True)
    assert np.array_equal(labels_of(first.outputs["labels"]), by_hand(model, 255 - pixels))


def test_files_beside_a_raster_are_part_of_what_it_is(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(150, 180)
    path = write_tiff(tmp_path / "tile.tif", pixels)
    calls = [0]

    def stop(*_: object, **__: object) -> None:
        calls[0] += 1
        if calls[0] == 4:
            raise Told("stopped")
        return None

    with pytest.MonkeyPatch.context() as patch:
        written = BlockFile.flush
        patch.setattr(BlockFile, "flush", lambda self: (written(self), stop()))
        with pytest.raises(Told):
            model.predict_raster(path, tmp_path / "out", workers=1)
    journal = tmp_path / "out" / ".tile.fields" / "journal.jsonl"
    assert len(journal.read_text().split()) > 3
    valid = np.zeros((150, 180), np.uint8)
    valid[:, 90:] = 255
    Image.fromarray(valid).save(tmp_path / "tile.tif.msk", format="TIFF")
    record = model.predict_raster(path, tmp_path / "out")
    assert record.resumed == 0
    assert ((labels_of(record.outputs["labels"]) == 255) == (valid == 0)).all()


def test_only_working_files_are_ever_removed(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(60, 70)
    mine = tmp_path / ".a.fields" / "thesis.doc"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(MagNetError, match=r"expected nothing but working files .*got 'thesis.doc'"):
        model.predict_raster(pixels, tmp_path, name="a")
    assert mine.read_text() == "mine"
    mine.unlink()
    mine.parent.rmdir()
    (tmp_path / ".a.fields").symlink_to(tmp_path)
    with pytest.raises(MagNetError, match="got a file or a link"):
        model.predict_raster(pixels, tmp_path, name="a")


def test_resumed_counts_the_fields_of_the_roi(tmp_path: Path) -> None:
    record = build(**EXACT).predict_raster(pixels_of(150, 180), tmp_path, name="a", roi=(0, 0, 10, 10))
    assert (record.fields, record.resumed) == (1, 0)
