"""``magnet predict`` of arrays: a zarr folder is one input, wherever it lies, and .npy files are ground."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from predicting import predict, save_small_model
from raster_files import write_ome_zarr
from walked import pixels_of

from magnet import MagNet
from magnet.files.trees import tree_mark


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "small")


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def write_zarr(path: Path, pixels: np.ndarray) -> Path:
    zarr.create_array(path, data=pixels, chunks=(64, 64, 3))
    return path


def test_zarr_arrays_and_images_are_inputs(model: Path, tmp_path: Path) -> None:
    pixels = pixels_of(100, 120)
    expected = MagNet.from_pretrained(model).predict_raster(pixels, tmp_path / "python", name="a").outputs["labels"]
    write_zarr(tmp_path / "plain.zarr", pixels)
    write_ome_zarr(tmp_path / "image.ome.zarr", [pixels, pixels[::2, ::2]])  # whose pixels have a size: as a slide
    np.save(tmp_path / "mapped.npy", pixels)
    out = tmp_path / "out"
    assert predict(model, out, tmp_path / "plain.zarr", tmp_path / "image.ome.zarr") == 0
    assert predict(model, out, tmp_path / "mapped.npy", "--extent", "ground") == 0
    for name in ("plain_labels.png", "mapped_labels.png"):
        assert np.array_equal(labels_of(out / name), labels_of(expected))
    assert labels_of(out / "image.ome_labels.tif").shape == (100, 120)


def test_folders_of_zarr_are_not_walked_into(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    (images / "below").mkdir(parents=True)
    for path in (images / "a.zarr", images / "below" / "b.zarr"):
        write_zarr(path, pixels_of(70, 70))
        Image.fromarray(pixels_of(64, 64)).save(path / "inside.png")
    Image.fromarray(pixels_of(64, 64)).save(images / "scene.png")
    assert predict(model, tmp_path / "flat", images) == 0
    assert sorted(path.name for path in (tmp_path / "flat").glob("*_labels.png")) == [
        "a_labels.png",
        "scene_labels.png",
    ]
    assert predict(model, tmp_path / "all", images, "--recursive") == 0
    found = {path.relative_to(tmp_path / "all").as_posix() for path in (tmp_path / "all").rglob("*_labels.png")}
    assert found == {"a_labels.png", "scene_labels.png", "below/b_labels.png"}
    capsys.readouterr()
    assert predict(model, tmp_path / "all", images, "--recursive") == 0
    assert "3 done before, 0 to do" in capsys.readouterr().out
    zarr.open(images / "below" / "b.zarr")[:10] = 0  # type: ignore[index]
    assert predict(model, tmp_path / "all", images, "--recursive") == 0
    assert "2 done before, 1 to do" in capsys.readouterr().out


def test_a_job_of_zarr_goes_on(model: Path, tmp_path: Path) -> None:
    made = MagNet.from_pretrained(model)
    path = write_zarr(tmp_path / "a.zarr", pixels_of(150, 170))
    made.predict_raster(path, tmp_path / "all")
    done: list[int] = []
    inner = made.segment

    class Stopped(BaseException):
        pass

    def stop(*given: object, **named: object) -> object:
        done.append(1)
        if len(done) == 9:
            raise Stopped
        return inner(*given, **named)  # type: ignore[arg-type]

    made.segment = stop  # type: ignore[method-assign, assignment]
    with pytest.raises(Stopped):
        made.predict_raster(path, tmp_path / "out", workers=1)
    del made.segment
    record = made.predict_raster(path, tmp_path / "out", workers=1)
    assert record.resumed > 0
    assert np.array_equal(labels_of(record.outputs["labels"]), labels_of(tmp_path / "all" / "a_labels.png"))
    zarr.open(path)[:] = 0  # type: ignore[index]
    assert (
        made.predict_raster(path, tmp_path / "out").resumed == 0
    )  # its results are replaced by those of the same path


def test_a_tree_is_told_from_another(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.zarr", pixels_of(130, 70))
    mark, size = tree_mark(path)
    assert size == sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
    shutil.copytree(path, tmp_path / "b.zarr")  # with its times
    assert tree_mark(tmp_path / "b.zarr") == (mark, size)
    chunk = next(one for one in sorted(path.rglob("*")) if one.is_file() and one.name != "zarr.json")
    chunk.rename(chunk.with_name("other"))
    assert tree_mark(path) != (mark, size) and tree_mark(path)[1] == size


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("a.npy",), "--extent: expected ground, as 'a.npy' is an array"),
        (("a.npy", "--extent", "scene"), "--extent: expected ground, as 'a.npy' is an array"),
        (("a.zarr", "--extent", "scene"), "--extent: expected ground, as 'a.zarr' is an array"),
        (("a.zarr", "--save", "overlay"), "--save: expected some of"),
        (("a.zarr", "--page", "1"), "page: expected None"),
        (("group.zarr",), "'group.zarr' is a group of other things"),
        (("a.zarr", "--out", "a.zarr"), "--out: "),
    ],
)
def test_what_cannot_be_is_told(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", pixels_of(70, 70))
    write_zarr(Path("a.zarr"), pixels_of(70, 70))
    zarr.open_group("group.zarr", mode="w").create_array("x", shape=(3,), dtype="u1")
    assert predict(model, tmp_path / "out", *given) != 0
    assert message in capsys.readouterr().err
