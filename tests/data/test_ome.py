"""OME-TIFF: the size of a pixel in its XML is the raster's resolution."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from raster_files import noise, write_tiff

import magnet
from magnet.data.extent import is_ground
from magnet.images.label_files.place import pixel_area
from magnet.images.label_files.pyramid import pyramid_tags
from magnet.images.rasters.ome import ome_sides
from magnet.images.rasters.pages import read_pages
from magnet.images.rasters.raster import Sides

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
SPACE = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
GIVEN = 'PhysicalSizeX="0.25" PhysicalSizeXUnit="µm" PhysicalSizeY="0.25" PhysicalSizeYUnit="µm"'


def _image(given: str = GIVEN, size: tuple[int, int] = (80, 100)) -> str:
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{size[1]}" '
        f'SizeY="{size[0]}" SizeC="3" SizeZ="1" SizeT="1" {given}><TiffData IFD="0"/></Pixels></Image>'
    )


def _xml(*images: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><!-- Warning --><OME {SPACE}>{"".join(images)}</OME>'


def _write(path: Path, text: str, size: tuple[int, int] = (80, 100), **more: Any) -> Path:
    return write_tiff(path, noise(*size), tags={"": {"TIFFTAG_IMAGEDESCRIPTION": text}}, **more)


@pytest.mark.parametrize(
    ("given", "sides"),
    [
        (GIVEN, Sides(0.25, 0.25, "um")),
        ('PhysicalSizeX="0.5" PhysicalSizeY="0.25"', Sides(0.25, 0.5, "um")),
        (GIVEN.replace("µ", "\u03bc"), Sides(0.25, 0.25, "um")),
        (GIVEN.replace("µm", "nm"), Sides(0.25e-3, 0.25e-3, "um")),
        (GIVEN.replace("µm", "mm"), Sides(250.0, 250.0, "um")),
        (GIVEN.replace("µm", "m"), Sides(0.25, 0.25, "m")),
        (GIVEN.replace("µm", "pixel"), None),
        (GIVEN.replace('XUnit="µm"', 'XUnit="m"'), None),
        (GIVEN.replace('XUnit="µm"', 'XUnit="nm"').replace('X="0.25"', 'X="500"'), Sides(0.25, 0.5, "um")),
        (GIVEN.replace('XUnit="µm"', 'XUnit="cm"').replace('YUnit="µm"', 'YUnit="mm"'), Sides(0.25e-3, 2.5e-3, "m")),
        (GIVEN.replace("µm", "thou"), Sides(0.25 * 2.54e-5, 0.25 * 2.54e-5, "m")),
        (GIVEN.replace("µm", "\ufffdm"), Sides(0.25, 0.25, "um")),
        ('PhysicalSizeX="0.25"', None),
        (GIVEN.replace('"0.25"', '"0"'), None),
        (GIVEN.replace('"0.25"', '"NaN"'), None),
        (GIVEN.replace('"0.25"', '"one"'), None),
        ("", None),
    ],
)
def test_the_size_of_a_pixel_is_read(tmp_path: Path, given: str, sides: Sides | None) -> None:
    with magnet.open_raster(_write(tmp_path / "x.ome.tif", _xml(_image(given)))) as raster:
        assert raster.sides == sides
        assert raster.place is None and (raster.resolution is None) == (sides is None or sides.height != sides.width)
    assert is_ground(tmp_path / "x.ome.tif", None, (64, 64)) == (sides is not None)
    assert not is_ground(tmp_path / "x.ome.tif", None, (80, 100))


@pytest.mark.parametrize("levels", [1, 3])
def test_as_tifffile_writes_it(tmp_path: Path, levels: int) -> None:
    import tifffile

    pixels, path = noise(256, 320), tmp_path / "x.ome.tif"
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as file:
        tiles: Any = {"photometric": "rgb", "tile": (64, 64)}
        file.write(pixels, subifds=levels - 1, metadata={"axes": "YXS", **sizes}, **tiles)
        for i in range(1, levels):
            file.write(np.ascontiguousarray(pixels[:: 2**i, :: 2**i]), subfiletype=1, **tiles)
    with magnet.open_raster(path) as raster:
        assert raster.sides == Sides(0.25, 0.5, "um") and len(raster.levels) == levels


def test_of_several_images_that_of_the_size_counts(tmp_path: Path) -> None:
    other = _image(GIVEN.replace("0.25", "4"), (5, 6))
    for number, (text, wanted) in enumerate(
        [
            (_xml(other, _image()), 0.25),
            (_xml(_image(), _image()), 0.25),
            (_xml(_image(), _image(GIVEN.replace("0.25", "4"))), None),
            (_xml(other), None),
        ]
    ):
        with magnet.open_raster(_write(tmp_path / f"{number}.tif", text)) as raster:
            assert (raster.resolution.value if raster.resolution else None) == wanted


def test_a_place_comes_first_and_plain_tiffs_have_no_size(tmp_path: Path) -> None:
    from map_data import PLACE

    with magnet.open_raster(_write(tmp_path / "a.tif", _xml(_image()), **PLACE)) as raster:
        assert raster.sides is not None and raster.sides.unit == "m"
    for text in ("a scan", "<OME", _xml(_image())[:-9], f"<TEI {SPACE}>{_image()}</TEI>"):
        with magnet.open_raster(_write(tmp_path / "b.tif", text)) as raster:
            assert raster.sides is None
    Image.fromarray(noise(80, 100)).save(tmp_path / "c.tif")
    pages = read_pages(tmp_path / "c.tif")
    assert ome_sides(pages, pages[0]) is None


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    """What would grow to a thousand million letters, and what would read a file, ends it at once."""
    (tmp_path / "secret").write_text("0.25")
    many = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    for declared in (f'<!ENTITY l0 "lol">{many}', f'<!ENTITY l9 SYSTEM "{(tmp_path / "secret").as_uri()}">'):
        text = _xml(f"<Description>&l9;</Description>{_image()}").replace("<OME", f"<!DOCTYPE OME [{declared}]><OME", 1)
        start = time.process_time()
        with magnet.open_raster(_write(tmp_path / "x.tif", text)) as raster:
            assert raster.sides is None
        assert time.process_time() - start < 5


def test_it_is_laid_out_in_fields_and_brought_to_the_models_resolution(tmp_path: Path) -> None:
    from walked import EXACT, FIELD, build

    size = (FIELD[0] * 2, FIELD[1] * 2)
    path = _write(tmp_path / "x.ome.tif", _xml(_image(size=size)), size)
    model = build(**EXACT)
    assert model.predict_raster(path, tmp_path / "out").fields > 1
    record = model.predict_raster(path, tmp_path / "half", resolution="0.5um")
    assert record.fields == 1 and record.outputs["labels"].suffix == ".tif"
    assert np.asarray(Image.open(record.outputs["labels"])).shape == size


def test_one_that_is_resized_whole_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from walked import EXACT, FIELD, build

    size = (FIELD[0] * 2, FIELD[1] * 2)
    build(**EXACT).predict(_write(tmp_path / "x.ome.tif", _xml(_image(size=size)), size))
    assert f"is an OME-TIFF whose pixels have a size of {size[0]}x{size[1]} (HxW)" in caplog.text


def test_images_of_one_size_have_their_own_pixels(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "two.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for side in (0.5, 2.0):
            given = {"axes": "YXS", "PhysicalSizeX": side, "PhysicalSizeY": side}
            writer.write(noise(80, 100), photometric="rgb", metadata=given)
    for page, side in ((0, 0.5), (1, 2.0)):
        with magnet.open_raster(path, page=page) as raster:
            assert raster.sides == Sides(side, side, "um"), page


def test_pixels_that_are_not_square_have_their_area(tmp_path: Path) -> None:
    given = 'PhysicalSizeX="0.5" PhysicalSizeY="2"'
    with magnet.open_raster(_write(tmp_path / "x.ome.tif", _xml(_image(given)))) as raster:
        assert pixel_area(raster.place, raster.sides, raster.size) == (1.0, "um2")
        tags = pyramid_tags(raster.sides)
    assert (tags["TIFFTAG_XRESOLUTION"], tags["TIFFTAG_YRESOLUTION"]) == ("20000.0", "5000.0")
