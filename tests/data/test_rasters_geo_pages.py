"""TIFFs of several pages: which one is read, and which are its levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_files import noise, smooth, whole

import magnet
from magnet.errors import MagNetError
from magnet.notices import gathered

pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # of the rasterio that writes

UTM = (0.5, 0.0, 500000.0, 0.0, -0.5, 5000000.0)


def stack(path: Path, *pages: np.ndarray, **options: Any) -> Path:
    import tifffile

    with tifffile.TiffWriter(path) as file:
        for one in pages:
            file.write(one, photometric="rgb" if one.ndim == 3 else "minisblack", metadata=None, **options)
    return path


def test_stacks_ask_for_a_page(tmp_path: Path) -> None:
    """Only the first page used to be read."""
    pages = [noise(40, 50, seed=i) for i in range(3)]
    path = stack(tmp_path / "x.tif", *pages)
    with pytest.raises(MagNetError, match=r"has 3 pages of 40x50 .*page=N \(--page N\), 0 to 2"):
        magnet.open_raster(path)
    for i in range(3):
        with magnet.open_raster(path, page=i) as raster:
            np.testing.assert_array_equal(whole(raster)[0], pages[i])
    for wrong in (3, -1):
        with pytest.raises(MagNetError, match="page: expected 0 to 2"):
            magnet.open_raster(path, page=wrong)


def test_planes_of_one_page_are_not_read_as_the_first_of_them(tmp_path: Path) -> None:
    import tifffile

    volume = noise(64, 192).reshape(64, 3, 64, 3).swapaxes(0, 1)
    tifffile.imwrite(tmp_path / "x.tif", volume, photometric="rgb", volumetric=True, tile=(1, 64, 64))
    with pytest.raises(MagNetError, match="several planes of 64x64"):
        magnet.open_raster(tmp_path / "x.tif")


def test_the_largest_page_is_read(tmp_path: Path) -> None:
    small, large, other = noise(33, 20), noise(300, 200), noise(20, 70)
    path = stack(tmp_path / "x.tif", small, large, other)
    with gathered() as notices, magnet.open_raster(path) as raster:
        assert raster.levels == ((300, 200),)
        np.testing.assert_array_equal(whole(raster)[0], large)
    assert "2 smaller pages" in str(notices[0])
    with gathered() as notices, magnet.open_raster(path, page=2) as raster:
        np.testing.assert_array_equal(whole(raster)[0], other)
    assert not notices  # it was asked for, and others are larger


def test_reduced_pages_are_levels(tmp_path: Path) -> None:
    import tifffile

    levels = [smooth(513, 301), smooth(513, 301)[::2, ::2], smooth(513, 301)[::4, ::4]]
    for below in (True, False):
        path = tmp_path / f"{below}.tif"
        with tifffile.TiffWriter(path, bigtiff=below) as file:
            shared: dict[str, Any] = {
                "photometric": "rgb",
                "tile": (64, 64),
                "compression": "deflate",
                "metadata": None,
            }
            file.write(levels[0], subifds=2 if below else None, **shared)
            for one in levels[1:]:
                file.write(one, subfiletype=1, **shared)
        with magnet.open_raster(path) as raster:
            assert raster.levels == ((513, 301), (257, 151), (129, 76))
            assert raster.factors == ((1, 1), (2, 2), (4, 4))
            for i, one in enumerate(levels):
                np.testing.assert_array_equal(whole(raster, i)[0], one)


def test_unmarked_tiled_pages_of_whole_factors_are_levels(tmp_path: Path) -> None:
    picture = smooth(512, 256)
    path = stack(tmp_path / "x.tif", picture, picture[::2, ::2], picture[::8, ::8], tile=(64, 64))
    with magnet.open_raster(path) as raster:
        assert raster.levels == ((512, 256), (256, 128), (64, 32))
        np.testing.assert_array_equal(whole(raster, 2)[0], picture[::8, ::8])
    with gathered(), magnet.open_raster(stack(tmp_path / "y.tif", picture, picture[::2, ::2])) as raster:
        assert raster.levels == ((512, 256),)  # strips: a second picture


def test_levels_belong_to_their_page(tmp_path: Path) -> None:
    import tifffile

    first, second = smooth(128, 128), noise(128, 128)
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        for one in (first, second):
            file.write(one, photometric="rgb", tile=(64, 64), metadata=None)
            file.write(one[::2, ::2], photometric="rgb", tile=(64, 64), subfiletype=1, metadata=None)
    for page, picture in ((0, first), (2, second)):
        with magnet.open_raster(path, page=page) as raster:
            np.testing.assert_array_equal(whole(raster, 1)[0], picture[::2, ::2])
