"""What holds no value in zarr arrays: chunks that were never written, and the nodata that CF and xarray name."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_files import noise, write_ome_zarr

import magnet
from magnet.notices import gathered

zarr = pytest.importorskip("zarr")


def _valid(source: Any) -> tuple[np.ndarray, list[str]]:
    with gathered() as notices, magnet.open_raster(source) as raster:
        height, width = raster.size
        assert raster.may_be_invalid
        return raster.read_level(0, (0, 0, width, height))[1], [str(one) for one in notices]


@pytest.mark.parametrize(("version", "fill"), [(2, 0), (2, 7), (2, None), (3, 0), (3, 7)])
@pytest.mark.parametrize("chunks", [(64, 64, 3), (64, 64, 1), (5000, 64, 3)])
def test_chunks_that_are_not_there(tmp_path: Path, version: Any, fill: int | None, chunks: tuple[int, ...]) -> None:
    pixels = np.maximum(noise(150, 200), 8)
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=pixels.shape, chunks=chunks, dtype="u1", fill_value=fill, zarr_format=version
    )
    array[:, 64:] = pixels[:, 64:]
    valid, notices = _valid(tmp_path / "x.zarr")
    assert not valid[:, :64].any() and valid[:, 64:].all()
    assert len(set(notices)) == 1 and f"lacks chunks, which stand for its fill value ({fill or 0})" in notices[0]
    array[:] = pixels
    valid, notices = _valid(array)
    assert valid.all() and not notices


def test_one_channel_is_enough_and_what_was_written_is_there(tmp_path: Path) -> None:
    for name, more in (("left", {}), ("written", {"config": {"write_empty_chunks": True}})):
        array = zarr.create_array(tmp_path / name, shape=(64, 128, 2), chunks=(64, 64, 1), dtype="u1", **more)
        array[:] = 0
        array[:, :64, 1] = 5
        valid, notices = _valid(tmp_path / name)
        assert valid[:, :64].all() and valid[:, 64:].all() == (name == "written")
        assert bool(notices) == (name == "left")


def test_within_shards(tmp_path: Path) -> None:
    pixels = np.maximum(noise(256, 256, 1)[..., 0], 1)
    array = zarr.create_array(tmp_path / "x", shape=(256, 256), chunks=(32, 32), shards=(128, 128), dtype="u1")
    array[:128, :200] = pixels[:128, :200]
    expected = np.zeros((256, 256), bool)
    expected[:128, :224] = True  # chunks are the least that can be known
    np.testing.assert_array_equal(_valid(tmp_path / "x")[0], expected)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_of_an_image(tmp_path: Path, version: str) -> None:
    path = write_ome_zarr(tmp_path / "x.zarr", [np.maximum(noise(256, 256), 1)], version=version)
    array = zarr.open_group(path, mode="r+")["0"]
    rows, columns = array.chunks[-2:]
    array[..., :rows, :columns] = 0
    valid, _ = _valid(path)
    assert not valid[:rows, :columns].any() and valid.sum() == 256 * 256 - rows * columns


_ENCODED = base64.standard_b64encode(struct.pack("<d", -1.0)).decode()


@pytest.mark.parametrize(
    ("dtype", "attributes", "value"),
    [
        ("i2", {"_FillValue": -1}, -1),
        ("i2", {"missing_value": [-1]}, -1),
        ("f4", {"_FillValue": _ENCODED}, -1),
        ("f4", {"_FillValue": -1.0}, -1),
        ("u1", {"_FillValue": 255}, 255),
        ("u1", {"_FillValue": -9999}, None),
        ("u1", {"_FillValue": "none"}, None),
        ("f4", {"_FillValue": "NaN"}, None),
    ],
)
def test_nodata_by_its_attribute(tmp_path: Path, dtype: str, attributes: dict[str, Any], value: float | None) -> None:
    pixels = noise(64, 64, 2, np.uint8).astype(dtype) % 100 + 1
    pixels[3, 4] = 0 if value is None else value
    pixels[5, 6, 0] = 0 if value is None else value
    array = zarr.create_array(tmp_path / "x", shape=pixels.shape, chunks=(64, 64, 2), dtype=dtype)
    array[:] = pixels
    array.attrs.update(attributes)
    with magnet.open_raster(tmp_path / "x") as raster:
        assert raster.nodata == value
    valid, notices = _valid(tmp_path / "x")
    missing = [] if value is None else [[3, 4]] if dtype == "u1" else [[3, 4], [5, 6]]
    assert np.argwhere(~valid).tolist() == missing and not notices


@pytest.mark.parametrize("named", [True, False])
def test_the_fill_value_of_xarray_is_nodata(tmp_path: Path, named: bool) -> None:
    """Of version 2, whose dimensions it names by an attribute."""
    pixels = np.full((64, 64), 9, "i2")
    pixels[1, 2] = -5
    array = zarr.create_array(tmp_path / "x", shape=(64, 64), dtype="i2", fill_value=-5, zarr_format=2)
    array[:] = pixels
    if named:
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    assert np.argwhere(~_valid(tmp_path / "x")[0]).tolist() == ([[1, 2]] if named else [])


def test_they_are_no_answer(tmp_path: Path) -> None:
    from PIL import Image
    from walked import EXACT, FIELD, build

    size = FIELD[0] * 2, FIELD[1] * 2
    array = zarr.create_array(tmp_path / "x.zarr", shape=(*size, 3), chunks=(*FIELD, 3), dtype="u1")
    array[: FIELD[0]] = np.maximum(noise(FIELD[0], size[1]), 1)
    record = build(**EXACT).predict_raster(tmp_path / "x.zarr", tmp_path / "out")
    labels = np.asarray(Image.open(record.outputs["labels"]))
    assert (labels[FIELD[0] :] == 255).all() and (labels[: FIELD[0]] != 255).all()
