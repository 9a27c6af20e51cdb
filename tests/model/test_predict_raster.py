"""Rasters of any size, field by field: the same labels as a plain loop over the fields gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from map_data import PLACE
from PIL import Image
from raster_files import write_tiff
from rasterio import Affine
from walked import EXACT, FIELD, build, pixels_of

from magnet import MagNet, open_raster
from magnet.data.extent import field_size
from magnet.errors import MagNetError
from magnet.images.label_files.block_file import BlockFile
from magnet.images.match_colours import OwnStatistics, match_channels, own_statistics
from magnet.images.rasters import Channels
from magnet.images.rasters.raster import Raster
from magnet.images.rasters.tiles import TiledRaster
from magnet.images.tensors import normalize, to_tensor
from magnet.model.raster_walk import RasterWalk
from magnet.walk.fields import OVERLAP, lay_out

pytestmark = pytest.mark.usefixtures("one_thread")


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def by_hand(
    model: MagNet,
    pixels: np.ndarray,
    size: tuple[int, int] = FIELD,
    tile: tuple[int, int] = (1, 1),
    **changes: object,
) -> np.ndarray:
    """Each field cut out and predicted as an image, and each pixel taken from its field."""
    height, width = pixels.shape[:2]
    own = own_statistics(to_tensor(pixels)[None]) if changes.get("match_colours") else None
    result = np.full((height, width), 255, np.uint8)
    for field in lay_out((height, width), size, overlap=OVERLAP, step=1, tile=tile):
        x0, y0, x1, y1 = field.box
        image = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
        part = pixels[y0:y1, x0:x1]
        image[: part.shape[0], : part.shape[1]] = part
        labels = (
            model.predict(image, **changes).labels.numpy() if own is None else _in_colours(model, image, own, changes)
        )
        a, b, c, d = field.own
        result[b:d, a:c] = labels[b - y0 : d - y0, a - x0 : c - x0]
    return result


def _in_colours(model: MagNet, image: np.ndarray, own: OwnStatistics, changes: dict) -> np.ndarray:
    """Labels of an image whose colours are judged by those of what it is a part of."""
    mean, std = model.settings.colour_statistics
    seen = normalize(match_channels(to_tensor(image)[None], mean, std, own))
    return model.with_settings(**{**changes, "match_colours": False})(seen)[0].argmax(dim=0).numpy()


def test_pixels_of_no_known_size_are_told_where_the_model_has_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels_of(*FIELD))
    expected = build(**EXACT).predict_raster(path, tmp_path / "own")
    assert caplog.text == ""
    found = build(**EXACT, resolution="0.5m").predict_raster(path, tmp_path / "out")
    assert "does not say how large its pixels are, and those of the model are of 0.5m" in caplog.text
    assert np.array_equal(labels_of(found.outputs["labels"]), labels_of(expected.outputs["labels"]))


def test_a_raster_of_one_field_is_predicted_as_the_image_that_it_is(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(*FIELD)
    record = model.predict_raster(pixels, tmp_path, name="one")
    expected = model.predict(pixels)
    assert np.array_equal(labels_of(record.outputs["labels"]), expected.labels.numpy())
    assert (record.fields, record.size, record.resumed) == (1, FIELD, 0)
    assert os.listdir(tmp_path) and not list(tmp_path.glob(".*.fields"))  # working files are gone


@pytest.mark.parametrize(
    ("size", "changes"),
    [
        ((113, 150), {}),
        ((113, 150), {"n_patches": 2}),
        ((113, 150), {"match_colours": True}),
        ((48, 200), {"n_patches": 1, "match_colours": True}),
        ((30, 40), {}),
        ((30, 200), {"n_patches": 2}),
    ],
)
def test_many_fields_are_what_a_loop_over_them_gives(tmp_path: Path, size: tuple[int, int], changes: dict) -> None:
    model = build(**EXACT, colour_statistics=([0.4, 0.5, 0.3], [0.2, 0.1, 0.2]))
    pixels = pixels_of(*size)
    record = model.predict_raster(pixels, tmp_path, name="many", **changes)
    assert np.array_equal(labels_of(record.outputs["labels"]), by_hand(model, pixels, **changes))


def test_colours_are_judged_by_the_whole_raster(tmp_path: Path) -> None:
    model = build(**EXACT, colour_statistics=([0.4, 0.5, 0.3], [0.2, 0.1, 0.2]), match_colours=True)
    pixels = pixels_of(96, 150)
    pixels[:, 75:] = pixels[:, 75:] // 4  # half of it lies in the shade
    whole = labels_of(model.predict_raster(pixels, tmp_path, name="whole").outputs["labels"])
    part = labels_of(model.predict_raster(pixels, tmp_path, name="part", roi=(0, 0, 40, 96)).outputs["labels"])
    assert np.array_equal(part[:, :40], whole[:, :40])
    one = model.predict_raster(pixels[:48, :64], tmp_path, name="one")  # judged as the image that it is
    assert np.array_equal(labels_of(one.outputs["labels"]), model.predict(pixels[:48, :64]).labels.numpy())
    assert not np.array_equal(labels_of(one.outputs["labels"])[:24, :32], whole[:24, :32])


@pytest.mark.parametrize(("wanted", "ratio"), [("1m", 2.0), ("0.25m", 0.5), ("0.61m", 1.22), ("610000um", 1.22)])
def test_a_raster_of_other_pixels_is_seen_at_the_size_of_the_models(tmp_path: Path, wanted: str, ratio: float) -> None:
    model, pixels = build(**EXACT), pixels_of(130, 170)
    where = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 4e5, 0, -0.5, 5.8e6)}
    path = write_tiff(tmp_path / "tile.tif", pixels, **where)
    with open_raster(path) as raster:
        assert isinstance(raster, TiledRaster)
        expected = by_hand(model, pixels, (round(48 * ratio), round(64 * ratio)), raster.tiles[0])
    record = model.predict_raster(path, tmp_path / "given", resolution=wanted, save=("labels", "confidence"))
    assert np.array_equal(labels_of(record.outputs["labels"]), expected)
    assert labels_of(record.outputs["confidence"]).shape == (130, 170)
    assert not np.array_equal(expected, by_hand(model, pixels))
    model.info = {"resolution": wanted}
    assert np.array_equal(labels_of(model.predict_raster(path, tmp_path / "own").outputs["labels"]), expected)
    array = model.predict_raster(pixels, tmp_path / "array", name="a")  # whose pixels are of no known size
    assert np.array_equal(labels_of(array.outputs["labels"]), by_hand(model, pixels))


@pytest.mark.parametrize("overviews", [(), (2, 4)])
@pytest.mark.parametrize("wanted", [1.1, 2.0])
def test_pixels_of_degrees_are_seen_at_the_size_of_the_models_along_both_axes(
    tmp_path: Path, wanted: float, overviews: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    model, pixels = build(**EXACT), pixels_of(130, 190)
    where = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 13.4, 0, -1e-5, 50.0)}
    path = write_tiff(tmp_path / "deg.tif", pixels, overviews=overviews, resampling="average", **where)
    height, width = 1e-5 * 111229.03, 1e-5 * 71695.75  # metres of a degree at 50 N, of the tables of WGS84
    size = round(48 * wanted / height), round(64 * wanted / width)
    assert size[0] / 48 != pytest.approx(size[1] / 64, rel=0.2)
    record = model.predict_raster(path, tmp_path / "out", resolution=f"{wanted}m")
    with open_raster(path) as raster:
        assert isinstance(raster, TiledRaster) and raster.sides is not None
        assert raster.sides[:2] == pytest.approx((height, width), rel=1e-4)
        assert raster.resolution is None and field_size(raster, FIELD, f"{wanted}m") == size
        tile = raster.tiles[0]
    if overviews:
        assert record.fields == len(lay_out((130, 190), size, overlap=OVERLAP, step=1, tile=tile))
    else:
        assert np.array_equal(labels_of(record.outputs["labels"]), by_hand(model, pixels, size, tile))
    asked = build(**EXACT, resolution=f"{wanted}m")
    own = asked.predict_raster(path, tmp_path / "own")
    assert np.array_equal(labels_of(own.outputs["labels"]), labels_of(record.outputs["labels"]))
    model.predict_raster(path, tmp_path / "as_it_is")
    assert not caplog.records
    with pytest.raises(MagNetError, match=r"has 0.71\d* x 1.11\d* \(width x height\) m a pixel"):
        model.predict_raster(path, tmp_path / "far", resolution="60m")


def test_networks_that_do_not_say_how_many_classes_they_have_are_asked(tmp_path: Path) -> None:
    model, silent, pixels = build(**EXACT), build(**EXACT), pixels_of(100, 130)
    silent.num_classes = None
    made = [one.predict_raster(pixels, tmp_path / str(i), name="a") for i, one in enumerate((model, silent))]
    assert np.array_equal(*(labels_of(record.outputs["labels"]) for record in made))
    assert silent.num_classes == model.num_classes
    silent.num_classes = None
    with pytest.raises(MagNetError, match=r"^classes: expected some of the model's 0 to"):
        silent.predict_raster(pixels, tmp_path / "c", name="a", classes=[200])


def test_the_result_does_not_depend_on_how_fields_took_turns(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(150, 180)
    made = {
        workers: labels_of(
            model.predict_raster(pixels, tmp_path / str(workers), name="a", workers=workers).outputs["labels"]
        )
        for workers in (1, 2, 5)
    }
    assert np.array_equal(made[1], made[2]) and np.array_equal(made[1], made[5])


def test_networks_in_training_mode_are_given_back_so_and_do_not_learn(tmp_path: Path) -> None:
    model, pixels = build(**EXACT).train(), pixels_of(100, 130)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    got = labels_of(model.predict_raster(pixels, tmp_path, name="a", workers=3).outputs["labels"])
    assert all(module.training for module in model.modules())
    assert all(bool((value == before[name]).all()) for name, value in model.state_dict().items())
    assert np.array_equal(got, by_hand(build(**EXACT), pixels))


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


def test_colours_are_judged_by_valid_pixels(tmp_path: Path) -> None:
    pixels = np.full((60, 70, 3), np.nan, np.float32)
    pixels[:30, :40] = pixels_of(30, 40) / 255.0
    model = build(**EXACT, colour_statistics=([0.4, 0.5, 0.3], [0.2, 0.1, 0.2]), match_colours=True)
    with (
        open_raster(pixels) as raster,
        RasterWalk(model, raster, model.settings, tmp_path / "fields", ["a"], channels=_unit()) as walk,
    ):
        own = walk.colours()
    assert own is not None
    torch.testing.assert_close(
        own.mean.flatten(), torch.from_numpy(pixels[:30, :40].mean(axis=(0, 1))), rtol=0, atol=1e-5
    )


def test_resumed_counts_the_fields_of_the_roi(tmp_path: Path) -> None:
    record = build(**EXACT).predict_raster(pixels_of(150, 180), tmp_path, name="a", roi=(0, 0, 10, 10))
    assert (record.fields, record.resumed) == (1, 0)


def test_of_a_pyramid_each_scale_reads_its_own_level(tmp_path: Path) -> None:
    pixels = np.tile(pixels_of(*FIELD), (8, 8, 1))
    path = write_tiff(tmp_path / "a.tif", pixels, overviews=(2, 4), blockxsize=16, blockysize=16)
    model = build(**EXACT)
    with open_raster(path) as raster:
        assert len(raster.levels) == 3
        with RasterWalk(model, raster, model.settings.changed(n_patches=0), tmp_path / "none", ["a"]) as walk:
            list(walk)
        assert raster.tiles_read[2] and not raster.tiles_read[0] and not raster.tiles_read[1]
    with open_raster(path) as raster, RasterWalk(model, raster, model.settings, tmp_path / "all", ["a"]) as walk:
        list(walk)
        assert all(raster.tiles_read[level] for level in range(3))


def test_what_holds_no_value_has_no_answer_and_is_not_looked_at(tmp_path: Path) -> None:
    pixels = np.zeros((150, 180, 3), np.float32)
    pixels[:, :60] = pixels_of(150, 60) / 255.0
    pixels[:, 60:] = np.nan
    model = build(**EXACT)
    with open_raster(pixels) as raster:
        looked: list[tuple[int, int, int, int]] = []
        walk = RasterWalk(model, raster, model.settings, tmp_path, ["a"], channels=_unit())
        inner = walk._walk
        walk._walk = lambda group, turns: (looked.extend(one._box for one in group), inner(group, turns))[1]  # type: ignore[method-assign]
        with walk:
            list(walk)
            labels = walk.labels.read((0, 0, 180, 150))
        empty = {field.box for field in walk.fields if field.own[0] >= 60}
    assert empty and not empty & set(looked) and len(looked) == len(walk.fields) - len(empty)
    assert (labels[:, :60] != 255).all() and (labels[:, 60:] == 255).all()


def _unit() -> Channels:
    return Channels(value_range=(0.0, 1.0))


def test_confidence_says_where_there_is_no_answer(tmp_path: Path) -> None:
    """As labels do: where the raster holds no value, and not where an answer is unsure or left out."""
    pixels = np.maximum(pixels_of(100, 130), 1)
    pixels[:40, :50] = 0
    path = write_tiff(tmp_path / "x.tif", pixels, nodata=0, **PLACE)
    record = build(**EXACT).predict_raster(path, tmp_path / "out", save=("labels", "confidence"), min_confidence=0.5)
    valid = pixels.any(axis=2)
    with rasterio.open(record.outputs["confidence"]) as file:
        assert file.nodata == 0
        assert np.array_equal(file.dataset_mask() > 0, valid)
    assert (labels_of(record.outputs["labels"])[valid] == 255).any()


def test_confidence_classes_and_roi(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(100, 130)
    kinds = ("labels", "confidence", "polygons", "areas", "ids")
    roi = (20, 10, 120, 90)
    all_of_it = model.predict_raster(pixels, tmp_path / "all", name="a", save=kinds)
    labels, sure = (labels_of(all_of_it.outputs[kind]) for kind in ("labels", "confidence"))
    assert np.array_equal(labels, by_hand(model, pixels))
    assert np.array_equal(labels_of(all_of_it.outputs["ids"]), labels)
    part = model.predict_raster(
        pixels, tmp_path / "part", name="a", save=kinds, roi=roi, classes=[0, 2], min_confidence=0.5
    )
    expected = np.full_like(labels, 255)
    expected[10:90, 20:120] = labels[10:90, 20:120]
    expected[(sure < 0.5 * 255) | (labels == 1)] = 255
    assert np.array_equal(labels_of(part.outputs["labels"]), expected)
    assert 0 < (expected != 255).sum() < 80 * 100
    areas = part.outputs["areas"].read_text().splitlines()
    assert any(f",{(expected == 0).sum()}," in line for line in areas)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"save": ["overlay"]}, "save: expected some of labels, confidence"),
        ({"save": iter(["labels"])}, "save: expected some of labels, confidence"),
        ({"save": None}, "save: expected some of labels, confidence"),
        ({"classes": []}, "classes: expected numbers of classes"),
        ({"classes": ["road"]}, r"classes: expected numbers of classes, got \['road'\]; give those of the model"),
        ({"classes": [3]}, "classes: expected some of the model's 0 to 2"),
        ({"classes": [1.0]}, "classes: expected numbers of classes"),
        ({"classes": "1"}, "classes: expected numbers of classes"),
        ({"min_confidence": "0.5"}, "min_confidence: expected 0 to 1"),
        ({"overlap": None}, "overlap: expected 0 to 0.5"),
        ({"workers": 1.5}, "workers: expected a positive int"),
        ({"roi": (0, 0, 10)}, "roi: expected four ints"),
        ({"roi": (0.5, 0, 10, 10)}, "roi: expected four ints"),
        ({"resolution": "0.5"}, "resolution: expected the side of a pixel"),
        ({"resolution": "-1m"}, "resolution: expected the side of a pixel"),
        ({"resolution": "1m"}, "resolution: expected a raster whose pixels have a known size"),
        ({"name": "../evil"}, "name: expected a name"),
        ({"name": "."}, "name: expected a name"),
        ({"name": ""}, "name: expected a name"),
        ({"name": "a\0b"}, "name: expected a name"),
        ({"save": "labels"}, "save: expected some of"),
        ({"overlap": 0.7}, "overlap: expected 0 to 0.5"),
        ({"min_confidence": 2}, "min_confidence: expected 0 to 1"),
        ({"workers": 0}, "workers: expected a positive int"),
        ({"name": None}, "give name="),
        ({"roi": (0, 0, 500, 10)}, "roi: expected x0,y0,x1,y1"),
        ({"bands": (4, 3, 2)}, "bands: "),
        ({"compat": "official"}, "compat: expected 'paper'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(tmp_path: Path, given: dict, message: str) -> None:
    with pytest.raises((ValueError, MagNetError), match=message):
        build(**EXACT).predict_raster(pixels_of(60, 70), tmp_path / "out", **{"name": "a", **given})
    assert not list(tmp_path.rglob("*_labels*")) and not list(tmp_path.rglob(".*.fields"))
