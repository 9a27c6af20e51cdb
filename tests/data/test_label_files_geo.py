"""GeoTIFF and pyramids of labels, read back with rasterio, tifffile and Pillow."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tifffile
from label_blocks import ArrayBlocks, blobs
from PIL import Image
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.warp import transform

from magnet.errors import MagNetError
from magnet.files.atomic import atomic_path
from magnet.images.draw import colour_table
from magnet.images.label_files.geotiff import write_geotiff
from magnet.images.label_files.place import pixel_area
from magnet.images.label_files.pyramid import write_pyramid
from magnet.images.label_files.values import write_confidence, write_ids
from magnet.images.rasters import Place, Resolution

COLOURS = [(200, 30, 30), (20, 160, 60), (40, 60, 220)]
NAMES = ["road", "grass & <trees>", "Gebäude"]
UTM = CRS.from_epsg(32633).to_wkt()
UP = (0.1, 0.0, 500000.3, 0.0, -0.1, 4000000.7)
TURNED = (0.3, 0.1, 1e5 + 1 / 3, 0.1, -0.3, 2e5)


def mode(labels: np.ndarray) -> np.ndarray:
    """Half the size: the class that first reaches the highest count among the answered of four pixels."""
    height, width = labels.shape[0] // 2, labels.shape[1] // 2
    four = labels.reshape(height, 2, width, 2).transpose(0, 2, 1, 3).reshape(height, width, 4)
    best, result = np.zeros((height, width), int), np.full((height, width), 255, np.uint8)
    for k in range(4):
        count = (four[..., : k + 1] == four[..., k : k + 1]).sum(-1)
        better = (four[..., k] != 255) & (count > best)
        best[better], result[better] = count[better], four[..., k][better]
    return result


def levels(path: Path) -> list[np.ndarray]:
    with rasterio.open(path) as file:
        count = len(file.overviews(1))
        found = [file.read(1)]
    for level in range(count):
        with rasterio.open(path, overview_level=level) as file:
            found.append(file.read(1))
    return found


def write_zeros(path: Path, start: int) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(2000))


def another_file(path: Path, **options: Any) -> None:
    """The same size and place, and nothing in it."""
    profile = {"width": 1300, "height": 1200, "count": 1, "dtype": "uint8", "crs": UTM, "transform": Affine(*UP)}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "nodata": 255}
    with rasterio.open(path, "w", driver="GTiff", **profile, **options):
        pass


@pytest.mark.parametrize("crs", [UTM, CRS.from_epsg(4326).to_wkt(), CRS.from_epsg(2056).to_wkt(), None])
@pytest.mark.parametrize("transform", [UP, TURNED, (1.0, 0.0, 0.0, 0.0, 2.0, 0.0)])
def test_labels_and_their_place_come_back(
    tmp_path: Path, crs: str | None, transform: tuple[float, float, float, float, float, float]
) -> None:
    labels = blobs((700, 1100))
    path = tmp_path / "a#b!c%20d.tif"
    write_geotiff(ArrayBlocks(labels), path, Place(crs, transform), COLOURS, NAMES)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), labels)
        assert file.crs == (None if crs is None else CRS.from_wkt(crs))
        assert tuple(file.transform)[:6] == transform
        assert (file.nodata, file.shape, file.count, file.dtypes) == (255, (700, 1100), 1, ("uint8",))
        assert file.colorinterp == (ColorInterp.palette,)
        table = colour_table(COLOURS)
        assert {value: colour[:3] for value, colour in file.colormap(1).items()} == {
            value: tuple(table[value]) for value in range(256)
        }
        tags = file.tags(1)
        assert [tags[f"CLASS_{k}"] for k in range(3)] == NAMES
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.block_shapes == [(512, 512)]
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_other_programs_read_the_same(tmp_path: Path) -> None:
    labels = blobs((700, 1100))
    write_geotiff(ArrayBlocks(labels), tmp_path / "x.tif", Place(UTM, UP), COLOURS)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "x.tif"), labels)
    image = Image.open(tmp_path / "x.tif")
    np.testing.assert_array_equal(np.asarray(image), labels)
    np.testing.assert_array_equal(np.asarray(image.convert("RGB")), colour_table(COLOURS)[labels])


def test_overviews_hold_the_most_frequent_class(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4, (2048, 1024), dtype=np.uint8)
    noise[noise == 3] = 255
    write_geotiff(ArrayBlocks(noise), tmp_path / "x.tif", Place(UTM, UP), COLOURS)
    found = levels(tmp_path / "x.tif")
    assert [level.shape for level in found] == [(2048, 1024), (1024, 512), (512, 256)]
    for finer, level in pairwise(found):
        np.testing.assert_array_equal(level, mode(finer))


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (511, 513), (1025, 1027)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    labels = blobs(size)
    write_geotiff(ArrayBlocks(labels), tmp_path / "x.tif", Place(UTM, UP), COLOURS)
    found = levels(tmp_path / "x.tif")
    np.testing.assert_array_equal(found[0], labels)
    assert set(np.unique(found[-1])) <= set(np.unique(labels))


def test_a_pyramid_has_its_resolution_and_levels(tmp_path: Path) -> None:
    labels = blobs((1024, 2048))
    write_pyramid(ArrayBlocks(labels), tmp_path / "x.tif", Resolution(0.25, "um"), COLOURS, NAMES)
    with tifffile.TiffFile(tmp_path / "x.tif") as file:
        pages = file.pages
        assert [page.shape for page in pages] == [(1024, 2048), (512, 1024), (256, 512)]
        assert [page.is_tiled for page in pages] == [True] * 3
        assert [page.is_reduced for page in pages] == [False, True, True]
        assert pages[0].tags["ResolutionUnit"].value == 3  # centimetres
        for tag in ("XResolution", "YResolution"):
            top, bottom = pages[0].tags[tag].value
            assert top / bottom == pytest.approx(40000, rel=1e-6)
        np.testing.assert_array_equal(pages[0].asarray(), labels)
        np.testing.assert_array_equal(pages[1].asarray(), mode(labels))
        np.testing.assert_array_equal(pages[2].asarray(), mode(mode(labels)))
        np.testing.assert_array_equal((pages[0].colormap >> 8).T, colour_table(COLOURS))
    write_pyramid(ArrayBlocks(labels), tmp_path / "m.tif", Resolution(2.0, "m"), COLOURS)
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        top, bottom = file.pages[0].tags["XResolution"].value
        assert top / bottom == pytest.approx(0.005, rel=1e-6)
    write_pyramid(ArrayBlocks(labels), tmp_path / "none.tif", None, COLOURS)
    with rasterio.open(tmp_path / "none.tif") as file:
        assert not [tag for tag in file.tags() if "RESOLUTION" in tag]
    with pytest.raises(ValueError, match=r"resolution: expected above 0 um or m, got 1 x 1 mm \(height x width\)"):
        write_pyramid(ArrayBlocks(labels), tmp_path / "y.tif", Resolution(1, "mm"), COLOURS)


def test_ids_at_a_place(tmp_path: Path) -> None:
    labels = blobs((600, 300))
    write_ids(ArrayBlocks(labels), tmp_path / "x.tif", {0: 10, 1: 20, 2: 0}, Place(UTM, UP))
    wanted = np.full(256, 255)
    wanted[:3] = 10, 20, 0
    with rasterio.open(tmp_path / "x.tif") as file:
        np.testing.assert_array_equal(file.read(1), wanted[labels])
        assert (file.nodata, file.crs, tuple(file.transform)[:6]) == (255, CRS.from_wkt(UTM), UP)
        assert file.colorinterp == (ColorInterp.gray,)


def test_confidence_at_a_place(tmp_path: Path) -> None:
    confidence = np.random.default_rng(0).integers(0, 256, (1024, 1024), dtype=np.uint8)
    labels = np.where(np.random.default_rng(1).random(confidence.shape) < 0.3, 255, 1).astype(np.uint8)
    labels[:600, :700] = 255  # tiles of nothing
    write_confidence(ArrayBlocks(confidence), ArrayBlocks(labels), tmp_path / "x.tif", Place(UTM, UP))
    with rasterio.open(tmp_path / "x.tif") as file:
        assert (file.nodata, file.crs, tuple(file.transform)[:6]) == (0, CRS.from_wkt(UTM), UP)
        np.testing.assert_array_equal(file.dataset_mask() > 0, labels != 255)
    full, half = levels(tmp_path / "x.tif")[:2]
    written = np.where(labels == 255, 0, np.maximum(confidence, 1))
    np.testing.assert_array_equal(full, written)
    four = written.reshape(512, 2, 512, 2).astype(float)
    answers = (four > 0).sum((1, 3))
    means = four.sum((1, 3)) / np.maximum(answers, 1)  # of those that have an answer
    assert np.abs(half - means).max() <= 0.5 and ((half == 0) == (answers == 0)).all()


@pytest.mark.parametrize(
    ("code", "area"),
    [
        (32633, (0.01, "m2")),
        (2263, (0.01 * (1200 / 3937) ** 2, "m2")),  # feet
        (3035, (0.01, "m2")),
        (4326, (1.0, "pixels")),  # degrees
        (3857, (1.0, "pixels")),  # Mercator
        (4087, (1.0, "pixels")),  # equidistant cylindrical
        (6933, (0.01, "m2")),  # cylindrical, but of equal area
        (5972, (0.01, "m2")),  # UTM with heights
    ],
)
def test_the_area_of_a_pixel_at_a_place(caplog: pytest.LogCaptureFixture, code: int, area: tuple[float, str]) -> None:
    found = pixel_area(Place(CRS.from_epsg(code).to_wkt(), UP))
    assert found == (pytest.approx(area[0]), area[1])
    assert ("area: the coordinate reference system does not keep areas" in caplog.text) == (area[1] == "pixels")


def sphere_band(south: float, north: float) -> float:
    """Square metres of a degree of longitude between two latitudes of WGS 84, by its formula."""
    flattening = 1 / 298.257223563
    e = math.sqrt(flattening * (2 - flattening))

    def upto(latitude: float) -> float:
        s = math.sin(math.radians(latitude))
        return s / (2 * (1 - e * e * s * s)) + math.atanh(e * s) / (2 * e)

    return math.radians(1) * (6378137 * math.sqrt(1 - e * e)) ** 2 * (upto(north) - upto(south))


@pytest.mark.parametrize("code", [4326, 3857, 3395, 4087])
@pytest.mark.parametrize("latitude", [0, 52, -70])
def test_areas_are_those_on_the_ground_where_a_crs_stretches_them(code: int, latitude: float) -> None:
    lon, lat = [10, 10.02], [latitude - 0.01, latitude + 0.01]
    (left, right), (bottom, top) = transform(CRS.from_epsg(4326), CRS.from_epsg(code), lon, lat)
    height, width = 200, 100
    place = ((right - left) / width, 0.0, left, 0.0, (bottom - top) / height, top)
    found = pixel_area(Place(CRS.from_epsg(code).to_wkt(), place), None, (height, width))
    assert found.unit == "m2"
    assert found.value * height * width == pytest.approx(0.02 * sphere_band(*lat), rel=2e-3)


@pytest.mark.parametrize("place", [(0.7, 0.0, -180.0, 0.0, -0.7, 90.0), (0.1, 0.0, 0.0, 0.0, -0.1, 60.0)])
def test_no_one_area_stands_for_all_latitudes(
    caplog: pytest.LogCaptureFixture, place: tuple[float, float, float, float, float, float]
) -> None:
    """The pixels of a map of the world were all taken to be as large as those at the equator."""
    found = pixel_area(Place(CRS.from_epsg(4326).to_wkt(), place), Resolution(78009, "m"), (100, 200))
    assert found == (1.0, "pixels") and "area: the coordinate reference system does not keep areas" in caplog.text


def test_pixels_of_a_crs_without_a_transform_are_counted() -> None:
    """They were taken to be of a metre a side."""
    place = Place(UTM, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    assert pixel_area(place, None, (10, 10)) == (1.0, "pixels")
    assert pixel_area(place, Resolution(0.5, "m"), (10, 10)) == (0.25, "m2")


def test_pixels_of_a_local_crs_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """GDAL has no way from it to longitudes; that was an error which ended a folder of images."""
    local = 'LOCAL_CS["site",LOCAL_DATUM["unknown",0],UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    assert pixel_area(Place(local, UP), None, (10, 10)) == (1.0, "pixels")
    assert "area: the coordinate reference system does not say where on earth its pixels lie" in caplog.text


def test_a_place_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="place: expected a CRS as WKT, got 'nowhere'"):
        write_geotiff(ArrayBlocks(blobs((5, 5))), tmp_path / "x.tif", Place("nowhere", UP), COLOURS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        lambda path: os.truncate(path, path.stat().st_size * 9 // 10),
        lambda path: write_zeros(path, path.stat().st_size - 3000),
        lambda path: write_zeros(path, 400000),
        another_file,
        lambda path: another_file(path, sparse_ok=True),
    ],
    ids=["cut short", "a hole in the full level", "a hole in an overview", "other pixels", "tiles left out"],
)
def test_a_file_that_does_not_hold_what_was_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Path], None]
) -> None:
    """As GDAL has left it, without a word, on a disc that had become full."""
    noise = np.random.default_rng(0).integers(0, 200, (1200, 1300), dtype=np.uint8)
    copy = rasterio.shutil.copy

    def faulty(source: Path, target: Path, **options: Any) -> None:
        copy(source, target, **options)
        fault(target)

    monkeypatch.setattr(rasterio.shutil, "copy", faulty)
    with pytest.raises(MagNetError, match=r"path: expected to (write|find)"), atomic_path(tmp_path / "x") as temporary:
        write_geotiff(ArrayBlocks(noise), temporary, Place(UTM, UP), COLOURS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["100k", "1m", "2m"])
def test_a_full_disk_is_told(tmp_path: Path, size: str) -> None:
    """Noise of 1.4 MB: the disc fills in the first file, or in the second one."""
    noise = np.random.default_rng(0).integers(0, 200, (1200, 1300), dtype=np.uint8)
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], check=False).returncode:
        pytest.skip("only root may mount a file system")
    try:
        with (
            pytest.raises(MagNetError, match=r"path: expected to write .* GDAL says"),
            atomic_path(disk / "x") as temporary,
        ):
            write_geotiff(ArrayBlocks(noise), temporary, Place(UTM, UP), COLOURS)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)
