"""zarr arrays and OME-Zarr images, against the arrays that were written."""

from __future__ import annotations

import builtins
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raster_files import halved, noise, read_in_threads, write_ome_zarr

import magnet
from magnet.errors import MagNetError
from magnet.images.opening import CorruptImageError

zarr = pytest.importorskip("zarr")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("as_path", [True, False])
def test_an_array(tmp_path: Path, version: Any, dtype: type, as_path: bool) -> None:
    pixels = noise(300, 200, 5, dtype)
    array = zarr.create_array(
        tmp_path / "x.zarr", shape=pixels.shape, chunks=(64, 64, 5), dtype=dtype, zarr_format=version
    )
    array[:] = pixels
    with magnet.open_raster(tmp_path / "x.zarr" if as_path else array) as raster:
        assert (raster.levels, raster.channels, raster.dtype) == (((300, 200),), 5, np.dtype(dtype))
        got, valid = raster.read_level(0, (60, 3, 199, 299))
        np.testing.assert_array_equal(got, pixels[3:299, 60:199])
        assert valid.all() and dict(raster.tiles_read) == {0: 5 * 4}
        raster.read_level(0, (64, 64, 128, 128))
        assert dict(raster.tiles_read) == {0: 20}


def test_grey_shards_and_nan(tmp_path: Path) -> None:
    pixels = noise(256, 256, 1, np.float64)[..., 0]
    pixels[7, 9] = np.nan
    array = zarr.create_array(tmp_path / "x.zarr", shape=(256, 256), chunks=(32, 32), shards=(128, 128), dtype="f8")
    array[:] = pixels
    with magnet.open_raster(tmp_path / "x.zarr") as raster:
        got, valid = raster.read_level(0, (0, 0, 256, 256))
        np.testing.assert_array_equal(got[..., 0], pixels)
        assert np.argwhere(~valid).tolist() == [[7, 9]]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("as_path", [True, False])
def test_an_ome_zarr_image(tmp_path: Path, version: str, as_path: bool) -> None:
    fine = noise(301, 257, 4, np.uint16)
    levels = [fine, halved(fine), halved(fine, 2)]
    path = write_ome_zarr(tmp_path / "x.ome.zarr", levels, version=version)
    with magnet.open_raster(path if as_path else zarr.open_group(path, mode="r")) as raster:
        assert raster.levels == ((301, 257), (151, 129), (76, 65))
        assert raster.factors == ((1, 1), (2, 2), (4, 4))  # the scales say 1.99 and 3.96
        assert raster.channels == 4 and raster.resolution == (0.25, "um")
        for i, one in enumerate(levels):
            height, width = one.shape[:2]
            np.testing.assert_array_equal(raster.read_level(i, (1, 2, width, height))[0], one[2:, 1:])
        got, _ = raster.read((64, 128, 192, 256), (32, 32))
        np.testing.assert_array_equal(got, levels[2][32:64, 16:48])


def test_stacks_and_groups_of_other_things_are_refused(tmp_path: Path) -> None:
    path = write_ome_zarr(tmp_path / "x.zarr", [noise(64, 64)])
    group = zarr.open_group(path, mode="r+")
    del group["0"]
    group.create_array("0", shape=(1, 3, 5, 64, 64), chunks=(1, 1, 1, 64, 64), dtype="u1")
    with pytest.raises(MagNetError, match="has 5 along its axis 'z'"):
        magnet.open_raster(path)
    zarr.open_group(tmp_path / "y.zarr", mode="w").create_array("a", shape=(4, 4), dtype="u1")
    with pytest.raises(MagNetError, match="is a group of other things"):
        magnet.open_raster(tmp_path / "y.zarr")
    with magnet.open_raster(tmp_path / "y.zarr" / "a") as raster:
        assert raster.size == (4, 4)
    with pytest.raises(ValueError, match="page: expected None"):
        magnet.open_raster(tmp_path / "y.zarr" / "a", page=0)
    with pytest.raises(MagNetError, match="does not exist"):
        magnet.open_raster("s3://bucket/x.zarr")


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("where", ["compressor", "filters", "v3"])
def test_codecs_that_run_what_they_read_are_refused(tmp_path: Path, where: str) -> None:
    path = tmp_path / "x.zarr"
    path.mkdir()
    codec = {"id": "pickle"}
    if where == "v3":
        array = zarr.create_array(path, shape=(4, 4), chunks=(4, 4), dtype="u1", compressors=None, overwrite=True)
        array[:] = 1
        described = json.loads((path / "zarr.json").read_text())
        described["codecs"].append({"name": "numcodecs.pickle", "configuration": {}})
        (path / "zarr.json").write_text(json.dumps(described))
        next(one for one in (path / "c").rglob("*") if one.is_file()).write_bytes(
            pickle.dumps(_Harm(tmp_path / "done"))
        )
    else:
        described = {
            "zarr_format": 2, "shape": [4, 4], "chunks": [4, 4], "dtype": "|u1", "fill_value": 0, "order": "C",
            "compressor": codec if where == "compressor" else None, "filters": [codec] if where == "filters" else None,
        }  # fmt: skip
        (path / ".zarray").write_text(json.dumps(described))
        (path / "0.0").write_bytes(pickle.dumps(_Harm(tmp_path / "done")))
    with pytest.raises(MagNetError, match=r"x\.zarr"), magnet.open_raster(path) as raster:
        raster.read_level(0, (0, 0, 4, 4))
    assert not (tmp_path / "done").exists()


def test_unknown_codecs_of_an_opened_array_are_refused(tmp_path: Path) -> None:
    import numcodecs

    array = zarr.create_array(
        tmp_path / "x.zarr", shape=(4, 4), dtype="u1", zarr_format=2, filters=[numcodecs.Categorize(["a"], dtype="U1")]
    )
    with pytest.raises(CorruptImageError, match=r"known codecs, but .* has .*categorize"):
        magnet.open_raster(array)


@pytest.mark.parametrize("what", ["chunk", "head"])
def test_damaged_arrays(tmp_path: Path, what: str) -> None:
    pixels = noise(128, 128, 1)[..., 0]
    array = zarr.create_array(tmp_path / "x.zarr", shape=(128, 128), chunks=(64, 64), dtype="u1", zarr_format=2)
    array[:] = pixels
    path = tmp_path / "x.zarr" / ("1.1" if what == "chunk" else ".zarray")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptImageError, match=r"x\.zarr"), magnet.open_raster(tmp_path / "x.zarr") as raster:
        np.testing.assert_array_equal(raster.read_level(0, (0, 0, 64, 64))[0][..., 0], pixels[:64, :64])
        raster.read_level(0, (0, 0, 128, 128))


def test_threads_and_a_forked_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import multiprocessing

    monkeypatch.setattr("magnet.images.rasters.tiles._CACHE_BYTES", 1)
    pixels = noise(256, 256)
    array = zarr.create_array(tmp_path / "x.zarr", shape=pixels.shape, chunks=(64, 64, 3), dtype="u1")
    array[:] = pixels
    with magnet.open_raster(tmp_path / "x.zarr") as raster:
        read_in_threads(raster, pixels, 200)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        process = context.Process(target=lambda: queue.put(raster.read_level(0, (0, 0, 256, 256))[0].tobytes()))
        process.start()
        assert queue.get(timeout=30) == pixels.tobytes()
        process.join(30)


def test_without_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr.create_array(tmp_path / "x.zarr", shape=(4, 4), dtype="u1")
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "zarr":
            raise ImportError("No module named 'zarr'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MagNetError, match=r"pip install 'zarr>=3' \(the extra \[zarr\]\)"):
        magnet.open_raster(tmp_path / "x.zarr")
