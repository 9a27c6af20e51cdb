"""Rasters of any size, field by field: the same labels as a plain loop over the fields gives."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from fields_by_hand import by_hand, labels_of
from map_data import PLACE
from raster_files import write_tiff
from rasterio import Affine
from walked import EXACT, FIELD, build, pixels_of

from magnet import open_raster
from magnet.data.extent import field_size
from magnet.errors import MagNetError
from magnet.images.rasters import Channels
from magnet.images.rasters.tiles import TiledRaster
from magnet.model.raster_walk import RasterWalk
from magnet.walk.fields import OVERLAP, lay_out

pytestmark = pytest.mark.usefixtures("one_thread")


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
