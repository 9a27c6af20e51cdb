"""Masks, polygons and tissue: which pixels of a raster are segmented, against plain loops over its pixels."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from PIL import Image
from raster_files import noise, smooth, write_slide, write_tiff
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.warp import transform_geom
from walked import build

from magnet import open_raster
from magnet.errors import MagNetError
from magnet.images.wanted import raster_mask
from magnet.images.wanted.masks import open_wanted
from magnet.images.wanted.tissue import otsu
from magnet.model.raster_walk import RasterWalk

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT: dict = {"scales": [(12, 16), (24, 32), (48, 64)], "patch_size": (12, 16), "batch_size": 4}
SIZE = (150, 180)
DEGREES = {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 13.377, 0, -1e-5, 52.516)}
UTM = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 4e5, 0, -0.5, 5.8e6)}


def pixels_of(height: int, width: int) -> np.ndarray:
    return (smooth(height, width).astype(np.float64) * 0.6 + noise(height, width) * 0.4).astype(np.uint8)


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def ellipse(size: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1


def wanted_of(raster_path: Any, mask: Any, *, tissue: bool = False) -> np.ndarray:
    """All that is wanted, asked for in windows that do not fit anything."""
    with open_raster(raster_path) as raster, open_wanted(raster, mask, tissue=tissue) as wanted:
        assert wanted is not None
        height, width = raster.size
        found = np.zeros(raster.size, bool)
        for y in range(0, height, 37):
            for x in range(0, width, 53):
                box = x, y, min(x + 53, width), min(y + 37, height)
                found[box[1] : box[3], box[0] : box[2]] = wanted.read(box)
        assert np.array_equal(wanted.read((0, 0, width, height)), found)
    return found


def by_place(size: tuple[int, int], place: Affine, mask: np.ndarray, mask_place: Affine) -> np.ndarray:
    """Pixel by pixel: the mask's pixel that holds the centre."""
    found = np.zeros(size, bool)
    for y in range(size[0]):
        for x in range(size[1]):
            column, row = (int(np.floor(one + 1e-6)) for one in ~mask_place @ (place @ (x + 0.5, y + 0.5)))
            if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1]:
                found[y, x] = mask[row, column].any()
    return found


def test_only_wanted_pixels_have_answers_and_fields_without_are_not_read(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(*SIZE)
    path = write_tiff(tmp_path / "a.tif", pixels, **UTM, blockxsize=16, blockysize=16)
    everything = labels_of(model.predict_raster(path, tmp_path / "all").outputs["labels"])
    mask = ellipse(SIZE, (40, 50), (22, 30))
    record = model.predict_raster(path, tmp_path / "some", mask=mask)
    assert np.array_equal(labels_of(record.outputs["labels"]), np.where(mask, everything, 255))
    with open_raster(path) as raster, open_wanted(raster, mask, tissue=False) as wanted:
        decoded: list[tuple[int, int, int, int]] = []
        inner = raster._decode  # type: ignore[attr-defined]
        raster._decode = lambda level, box: (decoded.append(box), inner(level, box))[1]  # type: ignore[attr-defined]
        with RasterWalk(model, raster, model.settings, tmp_path / "walk", ["a"], wanted=wanted) as walk:
            list(walk)
            assert walk.wanted_pixels == mask.sum()
        holding = [one for one in walk.fields if mask[one.own[1] : one.own[3], one.own[0] : one.own[2]].any()]
        assert walk.fields == holding and len(holding) == record.fields
        reach = np.array([one.box for one in holding])
    assert decoded and all(
        ((reach[:, 0] < x1) & (x0 < reach[:, 2]) & (reach[:, 1] < y1) & (y0 < reach[:, 3])).any()
        for x0, y0, x1, y1 in decoded
    )


PLACES = {
    "the same": UTM["transform"],
    "finer": UTM["transform"] @ Affine.translation(-11, 7) @ Affine.scale(0.5),
    "coarser": UTM["transform"] @ Affine.translation(-300.3, -49.8) @ Affine.scale(3.7, 2.9),
    "turned": UTM["transform"] @ Affine.translation(10, -30) @ Affine.rotation(31),
    "far finer": UTM["transform"] @ Affine.translation(60, 40) @ Affine.scale(0.11),
}


@pytest.mark.parametrize("case", PLACES)
@pytest.mark.parametrize("most", [1 << 24, 500])
def test_a_mask_is_brought_over_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, most: int
) -> None:
    monkeypatch.setattr(raster_mask, "_WINDOW_BYTES", most)
    monkeypatch.setattr(raster_mask, "_TURNED_PIXELS", most)
    size = (60, 80)
    path = write_tiff(tmp_path / "a.tif", pixels_of(*size), **UTM)
    stored = np.where(ellipse((90, 110), (40, 60), (33, 41)), 3, 0).astype(np.int16)[..., None]
    mask = write_tiff(tmp_path / "m.tif", stored, crs="EPSG:32633", transform=PLACES[case])
    found = wanted_of(path, mask)
    assert np.array_equal(found, by_place(size, UTM["transform"], stored, PLACES[case]))
    assert 0 < found.sum() < found.size


def test_a_large_mask_is_read_in_bounded_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_mask, "_WINDOW_BYTES", 2000)
    mask = ellipse((600, 800), (300, 300), (200, 250))
    with open_raster(pixels_of(60, 80)) as raster, open_raster(mask.astype(np.uint8)) as opened:
        largest: list[int] = []
        inner = opened.read_level
        opened.read_level = lambda level, box: (  # type: ignore[method-assign]
            largest.append((box[2] - box[0]) * (box[3] - box[1])),
            inner(level, box),
        )[1]
        with open_wanted(raster, opened, tissue=False) as wanted:
            assert wanted is not None
            assert np.array_equal(wanted.read((0, 0, 80, 60)), mask[5::10, 5::10])
    assert max(largest) <= 2000 < mask.size


@pytest.mark.parametrize("size", [(60, 80), (30, 40), (120, 160), (7, 10), (8, 10), (13, 18), (61, 81)])
def test_a_mask_without_a_place_has_the_size_or_the_aspect(tmp_path: Path, size: tuple[int, int]) -> None:
    stored = ellipse(size, (size[0] * 0.4, size[1] * 0.6), (size[0] * 0.3, size[1] * 0.3))
    Image.fromarray(stored.astype(np.uint8) * 255).save(tmp_path / "m.png")
    expected = np.zeros((60, 80), bool)
    for y in range(60):
        for x in range(80):
            row, column = (y + 0.5) * size[0] / 60, (x + 0.5) * size[1] / 80
            expected[y, x] = stored[int(row + 1e-6), int(column + 1e-6)]
    found = wanted_of(pixels_of(60, 80), tmp_path / "m.png")
    assert np.array_equal(found, expected) and found.any()


@pytest.mark.parametrize("code", [4326, 3035, 32633])
def test_the_same_crs_in_other_words_is_no_other(tmp_path: Path, code: int) -> None:
    place = DEGREES["transform"] if code == 4326 else UTM["transform"]
    path = write_tiff(tmp_path / "a.tif", pixels_of(60, 80), crs=f"EPSG:{code}", transform=place)
    stored = ellipse((60, 80), (30, 30), (20, 25))
    Image.fromarray(stored.astype(np.uint8)).save(tmp_path / "m.png")
    a, b, c, d, e, f = place[:6]
    (tmp_path / "m.pgw").write_text(f"{a} {d} {b} {e} {c + a / 2} {f + e / 2}")
    (tmp_path / "m.prj").write_text(CRS.from_epsg(code).to_wkt(version="WKT1_ESRI"))
    assert np.array_equal(wanted_of(path, tmp_path / "m.png"), stored)


def test_what_holds_no_value_in_a_mask_is_not_wanted(tmp_path: Path) -> None:
    stored = np.full((60, 80, 1), 7, np.uint8)
    stored[:20], stored[20:30] = 9, 0
    mask = write_tiff(tmp_path / "m.tif", stored, **UTM, nodata=9)
    found = wanted_of(write_tiff(tmp_path / "a.tif", pixels_of(60, 80), **UTM), mask)
    assert found[30:].all() and not found[:30].any()
    floats = np.where(stored == 7, np.float32(0.5), np.float32(np.nan))
    assert np.array_equal(wanted_of(pixels_of(60, 80), floats), stored[..., 0] == 7)


RINGS = [
    shapely.Polygon([(10.2, 5.1), (70.7, 8.3), (62.1, 40.9), (20.4, 50.2)], [[(30, 15), (45.5, 18), (40, 30.3)]]),
    shapely.MultiPolygon([shapely.box(2.2, 52.4, 9.1, 58.8), shapely.Point(70, 50).buffer(6.3)]),
]


def inside() -> np.ndarray:
    """Centres of 60x80 pixels that lie in one of the polygons."""
    y, x = np.mgrid[:60, :80] + 0.5
    return shapely.contains_xy(shapely.union_all(RINGS), x, y)


def write_geojson(path: Path, shapes: list[Any], crs: str | None = None) -> Path:
    features = [{"type": "Feature", "properties": {}, "geometry": one} for one in shapes]
    content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs:
        content["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(content))
    return path


def test_polygons_in_pixels_in_a_crs_and_in_longitudes(tmp_path: Path) -> None:
    shapes = [shapely.geometry.mapping(one) for one in RINGS]
    a, b, c, d, e, f = UTM["transform"][:6]
    placed = [shapely.geometry.mapping(shapely.affinity.affine_transform(one, [a, b, d, e, c, f])) for one in RINGS]
    earth = [transform_geom("EPSG:32633", "EPSG:4326", one) for one in placed]
    path = write_tiff(tmp_path / "a.tif", pixels_of(60, 80), **UTM)
    expected = inside()
    assert np.array_equal(wanted_of(pixels_of(60, 80), write_geojson(tmp_path / "p.geojson", shapes)), expected)
    named = write_geojson(tmp_path / "c.geojson", placed, "urn:ogc:def:crs:EPSG::32633")
    assert np.array_equal(wanted_of(path, named), expected)
    assert np.array_equal(wanted_of(path, write_geojson(tmp_path / "e.json", earth)), expected)
    (tmp_path / "list.json").write_text(json.dumps(json.loads((tmp_path / "e.json").read_text())["features"]))
    assert np.array_equal(wanted_of(path, tmp_path / "list.json"), expected)


def test_polygons_that_were_written_here_give_their_pixels_back_as_a_mask(tmp_path: Path) -> None:
    model = build(**EXACT)
    for source, folder in (
        (write_tiff(tmp_path / "placed.tif", pixels_of(100, 130), **UTM), "placed"),
        (write_tiff(tmp_path / "plain.tif", pixels_of(100, 130)), "plain"),
        (write_tiff(tmp_path / "degrees.tif", pixels_of(100, 130), **DEGREES), "degrees"),
    ):
        record = model.predict_raster(source, tmp_path / folder, save=("labels", "polygons"), classes=[1], name="a")
        assert np.array_equal(wanted_of(source, record.outputs["polygons"]), labels_of(record.outputs["labels"]) == 1)


@pytest.mark.parametrize("min_confidence", [0.0, 0.4])
def test_polygons_and_areas_of_what_is_wanted(tmp_path: Path, min_confidence: float) -> None:
    model, pixels = build(**EXACT), pixels_of(100, 130)
    path = write_tiff(tmp_path / "a.tif", pixels, **UTM)
    mask, roi = ellipse((100, 130), (50, 60), (40, 55)), (20, 10, 120, 80)
    kinds = ("labels", "confidence", "polygons", "areas", "ids")
    plain = model.predict_raster(path, tmp_path / "all", save=kinds)
    record = model.predict_raster(path, tmp_path / "b", save=kinds, mask=mask, roi=roi, min_confidence=min_confidence)
    labels, sure = (labels_of(plain.outputs[kind]) for kind in ("labels", "confidence"))
    wanted = np.zeros_like(mask)
    wanted[10:80, 20:120] = mask[10:80, 20:120]
    expected = np.where(wanted & (sure / 255 >= min_confidence), labels, 255)
    assert np.array_equal(labels_of(record.outputs["labels"]), expected)
    assert np.array_equal(labels_of(record.outputs["ids"]), expected)
    assert np.array_equal(labels_of(record.outputs["confidence"]), np.where(wanted, sure, 0))
    features = json.loads(record.outputs["polygons"].read_text())["features"]
    shapes = [(one["geometry"], one["properties"]["class_id"]) for one in features]
    again = rasterize(shapes, labels.shape, fill=255, transform=UTM["transform"], dtype=np.uint8)
    assert np.array_equal(again, expected)
    with record.outputs["areas"].open() as file:
        rows = {int(row["class_id"]): int(row["pixels"]) for row in csv.DictReader(file)}
    assert sum(rows.values()) == wanted.sum()
    assert all(rows.get(number, 0) == (expected == number).sum() for number in range(3))


def test_another_mask_is_another_job(tmp_path: Path) -> None:
    model, pixels = build(**EXACT), pixels_of(*SIZE)
    path = write_tiff(tmp_path / "a.tif", pixels, **UTM)
    mask = tmp_path / "m.png"
    first = np.ones(SIZE, bool)

    def broken_off() -> None:
        with open_raster(path) as raster, open_wanted(raster, mask, tissue=False) as wanted:
            assert wanted is not None
            with RasterWalk(
                model, raster, model.settings, tmp_path / "w", [wanted.identity], wanted=wanted, workers=1
            ) as walk:
                left.append(len(walk.left))
                next(iter(walk))

    left: list[int] = []
    Image.fromarray(first.astype(np.uint8)).save(mask)
    broken_off()
    broken_off()
    first[:, 90:] = False
    Image.fromarray(first.astype(np.uint8)).save(mask)
    os.utime(mask, ns=(1, 1))
    broken_off()
    with open_raster(path) as raster, RasterWalk(model, raster, model.settings, tmp_path / "x", []) as walk:
        every = walk.fields
    assert left[0] == len(every) and left[1] < left[0]
    assert left[2] == sum(first[one.own[1] : one.own[3], one.own[0] : one.own[2]].any() for one in every)


def test_tissue_is_what_is_coloured(tmp_path: Path) -> None:
    model, tissue = build(**EXACT), ellipse((320, 400), (150, 130), (90, 80))
    pixels = np.where(tissue[..., None], np.array([190, 90, 160]), np.array([240, 239, 241])).astype(np.uint8)
    pixels += noise(320, 400) // 40
    levels = [pixels, pixels.reshape(160, 2, 200, 2, 3).mean(axis=(1, 3)).astype(np.uint8)]
    path = write_slide(tmp_path / "s.svs", levels, mpp="0.5")
    everything = labels_of(model.predict_raster(path, tmp_path / "all").outputs["labels"])
    record = model.predict_raster(path, tmp_path / "t", tissue=True)
    found = wanted_of(path, None, tissue=True)
    assert np.array_equal(labels_of(record.outputs["labels"]), np.where(found, everything, 255))
    far = ellipse((320, 400), (150, 130), (96, 86)) ^ ellipse((320, 400), (150, 130), (84, 74))
    assert np.array_equal(found[~far], tissue[~far])  # but for a few pixels of the small level at its rim
    with open_raster(path) as raster:
        list(RasterWalk(model, raster, model.settings, tmp_path / "w", []).fields)
        decoded = sum(raster.tiles_read.values())
    both = wanted_of(path, ellipse((320, 400), (100, 100), (80, 60)), tissue=True)
    assert np.array_equal(both, found & ellipse((320, 400), (100, 100), (80, 60))) and decoded == 0


def test_otsus_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        values = np.concatenate([rng.normal(rng.uniform(20, 90), 15, 400), rng.normal(rng.uniform(120, 220), 20, 200)])
        values = values.clip(0, 255).astype(int)
        within = {}
        for t in range(255):
            parts = [one for one in (values[values <= t], values[values > t]) if len(one)]
            within[t] = sum(len(one) * one.var() for one in parts)
        assert within[otsu(np.bincount(values, minlength=256))] == pytest.approx(min(within.values()), rel=1e-9)
    assert otsu(np.bincount([7] * 5, minlength=256)) == 255  # one value alone: nothing is above


def far_away(tmp_path: Path) -> Path:
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 5e5, 0, -0.5, 5.8e6)}
    return write_tiff(tmp_path / "m.tif", np.ones((60, 80, 1), np.uint8), **place)


def other_crs(tmp_path: Path) -> Path:
    place = {"crs": "EPSG:32632", "transform": UTM["transform"]}
    return write_tiff(tmp_path / "m.tif", np.ones((60, 80, 1), np.uint8), **place)


def with_palette(tmp_path: Path) -> Path:
    palette = {0: (255, 0, 0, 255), 1: (0, 0, 0, 255)}
    return write_tiff(tmp_path / "m.tif", np.ones((60, 80, 1), np.uint8), palette=palette, photometric="palette", **UTM)


def png_palette(tmp_path: Path) -> Path:
    image = Image.fromarray(np.ones((60, 80), np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 0])
    image.save(tmp_path / "m.png")
    return tmp_path / "m.png"


def cut_short(tmp_path: Path) -> Path:
    path = write_tiff(tmp_path / "m.tif", noise(60, 80, 1), **UTM, compress="deflate")
    path.write_bytes(path.read_bytes()[:-2000])
    return path


def jpeg(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(tmp_path / "m.jpg")
    return tmp_path / "m.jpg"


def jpeg_tiff(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "m.tif", np.ones((60, 80, 1), np.uint8), compress="jpeg", **UTM)


def text(content: str) -> Any:
    def write(tmp_path: Path) -> Path:
        (tmp_path / "m.geojson").write_text(content)
        return tmp_path / "m.geojson"

    return write


SQUARE = '{"type": "Polygon", "coordinates": [[[1, 2], [5, 2], [5, 5], [1, 2]]]}'
NAMED = '{"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "%s"}}, "features": [%s]}'


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (far_away, "mask: expected pixels that are wanted .* lies elsewhere"),
        (other_crs, "mask: expected the coordinate reference system of .*EPSG:32633, but .* has EPSG:32632"),
        (lambda _: np.zeros((60, 80), bool), "mask: expected pixels that are wanted .* is 0 in all of it"),
        (lambda _: np.ones((60, 60), bool), "mask: expected the size of .*60x80"),
        (lambda _: np.ones((60, 80), complex), "mask: expected integers or floats"),
        (with_palette, "mask: expected grey .* has a palette"),
        (png_palette, "mask: expected grey .* has a palette"),
        (jpeg, "mask: expected values as they were, but .* is JPEG"),
        (jpeg_tiff, "mask: expected values as they were, but .* is JPEG"),
        (cut_short, "mask: expected a readable image"),
        (lambda tmp: tmp / "none.tif", "mask: expected a file, but .* does not exist"),
        (lambda tmp: tmp / "none.geojson", "mask: expected a file, but .* does not exist"),
        (text("[1"), "mask: expected GeoJSON, but .* is none"),
        (text('{"type": "Point", "coordinates": [1, 2]}'), "mask: expected GeoJSON of polygons"),
        (text('{"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}'), "a ring is not closed"),
        (text('{"type": "FeatureCollection", "features": []}'), "mask: expected polygons in"),
        (text(SQUARE.replace("5", "500000")), "mask: expected longitudes and latitudes"),
        (text(SQUARE), "mask: expected polygons that hold pixels of"),
        (text(NAMED % ("EPSG:99999999", SQUARE)), "mask: expected a CRS that is known"),
        (text(SQUARE.replace("[1, 2]", "[1, 1e400]")), "mask: expected"),
    ],
)
def test_masks_that_cannot_be_are_refused_and_nothing_is_left(tmp_path: Path, mask: Any, message: str) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels_of(60, 80), **UTM)
    with pytest.raises((MagNetError, ValueError), match=message):
        build(**EXACT).predict_raster(path, tmp_path / "out", mask=mask(tmp_path))
    assert not list(tmp_path.rglob("*_labels*")) and not list(tmp_path.rglob("*.blocks"))


def test_no_result_replaces_the_mask(tmp_path: Path) -> None:
    model, path = build(**EXACT), write_tiff(tmp_path / "a.tif", pixels_of(60, 80), **UTM)
    mask = model.predict_raster(path, tmp_path / "out", save=("labels", "ids")).outputs["ids"]
    before = mask.read_bytes()
    with pytest.raises(MagNetError, match=r"a_ids\.tif"):
        model.predict_raster(path, tmp_path / "out", save=("labels", "ids"), mask=mask)
    assert mask.read_bytes() == before
    model.predict_raster(path, tmp_path / "other", save=("labels", "ids"), mask=mask)


def test_polygons_with_a_crs_are_no_pixels(tmp_path: Path) -> None:
    mask = text(NAMED % ("EPSG:32633", SQUARE))(tmp_path)
    with pytest.raises(MagNetError, match="mask: expected pixel coordinates"):
        build(**EXACT).predict_raster(pixels_of(60, 80), tmp_path / "out", name="a", mask=mask)


@pytest.mark.parametrize("given", [np.zeros((40, 50, 4), np.uint16), np.zeros((40, 50), np.uint8)])
def test_tissue_needs_colours(tmp_path: Path, given: np.ndarray) -> None:
    with pytest.raises(MagNetError, match="tissue: expected 8-bit red, green and blue"):
        build(**EXACT).predict_raster(given, tmp_path / "out", name="a", tissue=True, bands=(1, 1, 1))


def test_a_slide_of_one_colour_holds_no_tissue(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "s.svs", [np.full((320, 400, 3), 240, np.uint8)])
    with pytest.raises(MagNetError, match="tissue: expected coloured pixels"):
        build(**EXACT).predict_raster(path, tmp_path / "out", tissue=True)
