"""World files and .prj beside images of any format: their place is that which GDAL gives a GeoTIFF."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from raster_files import noise, write_tiff
from rasterio.crs import CRS

from magnet import open_raster
from magnet.errors import MagNetError
from magnet.images.rasters.where import has_place

NUMBERS = (0.5, 0.0, 0.0, -0.5, 400000.25, 5799999.75)
UTM = rasterio.Affine(0.5, 0, 400000, 0, -0.5, 5800000)
ESRI = (
    'PROJCS["WGS_1984_UTM_Zone_33N",GEOGCS["GCS_WGS_1984",DATUM["D_WGS_1984",SPHEROID["WGS_1984",6378137.0,'
    '298.257223563]],PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["False_Easting",500000.0],PARAMETER["False_Northing",0.0],PARAMETER["Central_Meridian",15.0],'
    'PARAMETER["Scale_Factor",0.9996],PARAMETER["Latitude_Of_Origin",0.0],UNIT["Meter",1.0]]'
)


def write_image(path: Path, pixels: np.ndarray) -> Path:
    if path.suffix == ".tif":
        return write_tiff(path, pixels)
    Image.fromarray(pixels).save(path)
    return path


def write_world(path: Path, numbers: tuple[float, ...] = NUMBERS, wkt: str = "") -> Path:
    path.write_text("\n".join(map(repr, numbers)) + "\n")
    if wkt:
        path.with_suffix(".prj").write_text(wkt)
    return path


@pytest.mark.parametrize("wkt", [ESRI, CRS.from_epsg(32633).to_wkt()], ids=["esri", "ogc"])
@pytest.mark.parametrize(
    ("name", "world"),
    [
        ("a.png", "a.pgw"),
        ("a.png", "a.pngw"),
        ("a.PNG", "a.PGW"),
        ("a.jpg", "a.jgw"),
        ("a.jpeg", "a.jpegw"),
        ("a.jpg", "a.wld"),
        ("a.bmp", "a.bpw"),
        ("a.tif", "a.tfw"),
    ],
)
def test_the_place_is_that_of_a_geotiff(tmp_path: Path, name: str, world: str, wkt: str) -> None:
    pixels = noise(60, 80)
    path = write_image(tmp_path / name, pixels)
    write_world(tmp_path / world, wkt=wkt)
    placed = write_tiff(tmp_path / "placed.tif", pixels, crs="EPSG:32633", transform=UTM)
    with open_raster(path) as raster, open_raster(placed) as expected:
        assert raster.place is not None and expected.place is not None
        assert raster.place.transform == expected.place.transform
        assert CRS.from_wkt(str(raster.place.crs)).to_epsg() == 32633
        assert raster.resolution == pytest.approx(expected.resolution) == (0.5, "m")


@pytest.mark.parametrize("numbers", [NUMBERS, (0.3, 0.1, -0.2, -0.7, 12.5, 99.0)])
def test_the_transform_is_that_of_gdal(tmp_path: Path, numbers: tuple[float, ...]) -> None:
    path = write_image(tmp_path / "a.png", noise(60, 80))
    write_world(tmp_path / "a.pgw", numbers)
    with rasterio.open(path) as file, open_raster(path) as raster:
        assert raster.place is not None
        assert raster.place.transform == pytest.approx(file.transform[:6]) and raster.place.crs is None
        assert raster.resolution is None


def test_an_image_without_a_world_file_lies_nowhere(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", noise(60, 80))
    (tmp_path / "a.prj").write_text(ESRI)
    (tmp_path / "b.pgw").write_text("1\n0\n0\n-1\n0\n0\n")
    with open_raster(path) as raster:
        assert raster.place is None and raster.resolution is None


def test_a_place_in_gdals_auxiliary_file_is_not_read_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, pixels = tmp_path / "a.png", noise(60, 80)
    options = {"driver": "PNG", "width": 80, "height": 60, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=UTM, **options) as file:
        file.write(pixels.transpose(2, 0, 1))
    assert (tmp_path / "a.png.aux.xml").is_file()
    with open_raster(path) as raster:
        assert raster.place is None
    told = "has its place in 'a.png.aux.xml', which is not read; make it a GeoTIFF"
    assert caplog.text.count(told) == 1
    (tmp_path / "other").mkdir()  # another folder: of each the first is told
    other = write_image(tmp_path / "other" / "b.png", pixels)
    (tmp_path / "other" / "b.png.aux.xml").write_text("<PAMDataset></PAMDataset>")
    assert not has_place(other) and "b.png" not in caplog.text


def test_degrees_are_lengths_at_their_latitude(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", noise(60, 60))
    write_world(tmp_path / "a.pgw", (1e-5, 0, 0, -1e-5, 10.0, 0.0), CRS.from_epsg(4326).to_wkt())
    with open_raster(path) as raster:
        assert raster.resolution is not None and raster.resolution.unit == "m"
        assert raster.resolution.value == pytest.approx(1.11, rel=0.01)


@pytest.mark.parametrize(
    ("beside", "content", "message"),
    [
        ("a.pgw", b"1\n0\n0\n-1\n5", "six numbers in the world file"),
        ("a.pgw", b"1 0 0 0 5 5", "six numbers in the world file"),
        ("a.pgw", b"\xff\xfe", "six numbers in the world file"),
        ("a.prj", b"here", "coordinate reference system as WKT in"),
        ("a.prj", b"\xff\xfe", "which is no UTF-8 text"),
    ],
)
def test_damaged_files_beside_are_told(tmp_path: Path, beside: str, content: bytes, message: str) -> None:
    for name, numbers in (("a.png", "a.pgw"), ("a.tif", "a.tfw")):
        path = write_image(tmp_path / name, noise(60, 80))
        write_world(tmp_path / numbers)
        (tmp_path / beside.replace("pgw", numbers[2:])).write_bytes(content)
        with pytest.raises(MagNetError, match=f"image: expected .*{message}"):
            open_raster(path)


def test_a_turned_photo_has_no_rows_that_a_world_file_could_mean(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(60, 80)).save(tmp_path / "a.jpg", exif=exif)
    open_raster(tmp_path / "a.jpg").close()
    write_world(tmp_path / "a.jgw")
    with pytest.raises(MagNetError, match=r"rows as they are stored.*orientation tag \(6\)"):
        open_raster(tmp_path / "a.jpg")


def test_a_place_needs_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "a.png", noise(60, 80))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    open_raster(path).close()
    write_world(tmp_path / "a.pgw")
    with pytest.raises(MagNetError, match=r"the world file beside .*a.png.* needs a package .*pip install 'rasterio"):
        open_raster(path)


def test_a_world_file(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "x.tif", noise(8, 8))
    (tmp_path / "x.tfw").write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    with open_raster(path) as raster:
        assert raster.place == (None, (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0))
    (tmp_path / "x.tfw").write_text("0.5 0 0 -0.5 500000.25")
    with pytest.raises(MagNetError, match="six numbers in the world file"):
        open_raster(path)
