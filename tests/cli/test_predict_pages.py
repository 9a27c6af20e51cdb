"""Pages of one TIFF that are asked for by number: each has results, lines of the manifest and fields of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from output_files import run
from PIL import Image
from raster_files import noise
from tiny_model import save_tiny_model

import magnet
from magnet import MagNet
from magnet.errors import MagNetError
from magnet.files.manifest import read_manifests

pytestmark = pytest.mark.usefixtures("one_thread_in_the_module")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def _stack(path: Path, size: tuple[int, int] = (70, 90)) -> Path:
    pages = [Image.fromarray(noise(*size, seed=seed)) for seed in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def _labels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("extent", ["scene", "ground"])
def test_each_page_has_results_of_its_own(
    model: Path, tmp_path: Path, extent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, out = _stack(tmp_path / "stack.tif"), tmp_path / "out"
    words = ["predict", stack, "--model", model, "--out", out, "--save", "labels", "--extent", extent]
    for page in (1, 0):
        assert run(*words, "--page", page) == 0
    assert sorted(one.name for one in out.glob("*_labels.*")) == ["stack_page0_labels.png", "stack_page1_labels.png"]
    made = MagNet.from_pretrained(model)
    for page in (0, 1):
        name = f"stack_page{page}_labels.png"
        if extent == "scene":
            wanted = made.predict(stack, page=page).labels.numpy()
        else:
            record = made.predict_raster(stack, tmp_path / "python", page=page)
            assert record.outputs["labels"].name == name
            wanted = _labels(record.outputs["labels"])
        assert np.array_equal(_labels(out / name), wanted)
    lines = read_manifests(out)
    assert {name: line["outputs"] for name, line in lines.items()} == {
        "stack.tif#page=0": ["stack_page0_labels.png"],
        "stack.tif#page=1": ["stack_page1_labels.png"],
    }
    capsys.readouterr()
    for page in (0, 1):  # neither has undone the other
        assert run(*words, "--page", page) == 0
        assert "1 done before, 0 to do" in capsys.readouterr().out


def test_an_opened_page_is_named_by_it_and_no_other_page_replaces_it(model: Path, tmp_path: Path) -> None:
    stack, made = _stack(tmp_path / "stack.tif"), MagNet.from_pretrained(model)
    for page in (0, 2):
        with magnet.open_raster(stack, page=page) as raster:
            record = made.predict_raster(raster, tmp_path / "out")
        assert record.outputs["labels"].name == f"stack_page{page}_labels.png"
    made.predict_raster(stack, tmp_path / "out", page=0, name="x")
    kept = (tmp_path / "out" / "x_labels.png").read_bytes()
    with pytest.raises(MagNetError, match=r"x_labels\.png"):
        made.predict_raster(stack, tmp_path / "out", page=1, name="x")
    assert (tmp_path / "out" / "x_labels.png").read_bytes() == kept


def test_a_job_that_stopped_in_one_page_is_not_gone_on_with_in_another(model: Path, tmp_path: Path) -> None:
    stack, made = _stack(tmp_path / "stack.tif", (150, 170)), MagNet.from_pretrained(model)
    inner, done = made.segment, []

    class Stopped(BaseException):
        pass

    def stop(*given: object, **named: object) -> object:
        done.append(1)
        if len(done) == 9:
            raise Stopped
        return inner(*given, **named)  # type: ignore[arg-type]

    made.segment = stop  # type: ignore[method-assign, assignment]
    with pytest.raises(Stopped):
        made.predict_raster(stack, tmp_path / "out", workers=1, page=0, name="x")
    del made.segment
    shutil.copytree(tmp_path / "out", tmp_path / "same")
    assert made.predict_raster(stack, tmp_path / "same", workers=1, page=0, name="x").resumed > 0
    assert made.predict_raster(stack, tmp_path / "out", workers=1, page=1, name="x").resumed == 0


@pytest.mark.parametrize("extent", ["scene", "ground"])
def test_a_file_without_pages_fails_alone(
    model: Path, tmp_path: Path, extent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    _stack(folder / "b.tif")
    Image.fromarray(noise(30, 40)).save(folder / "a.png")
    words = ["predict", folder, "--model", model, "--out", out, "--save", "labels", "--extent", extent]
    assert run(*words, "--page", 1) == 1
    told = capsys.readouterr().err
    assert "magnet: error: page: expected None, as " in told and "a.png' is no TIFF and has no pages, got 1" in told
    assert "1 of 2 images could not be read" in told
    assert [one.name for one in out.glob("*_labels.png")] == ["b_page1_labels.png"]


def test_in_python_a_file_without_pages_is_skipped_as_others(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(noise(30, 40)).save(tmp_path / "a.png")
    images, made = [tmp_path / "a.png", _stack(tmp_path / "b.tif")], MagNet.from_pretrained(model)
    found = list(made.predict_many(images, page=1, on_error="skip"))
    assert [one is None for one in found] == [True, False]
    assert "sources[0]: skipped: " in caplog.text and "is no TIFF and has no pages" in caplog.text
    with pytest.raises(ValueError, match=r"^sources\[0\]: page: expected None"):
        list(made.predict_many(images, page=1))


def _two_sizes(path: Path, first: tuple[int, int], second: tuple[int, int]) -> Path:
    pages = [Image.fromarray(noise(*size)) for size in (first, second)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def test_what_is_said_of_a_larger_page_is_what_is_done(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a scene the first page is read, which is an error where another is larger: nothing says that that is read."""
    words = ["--model", model, "--out", tmp_path / "out", "--save", "labels"]
    larger = _two_sizes(tmp_path / "larger.tif", (30, 40), (70, 90))
    assert run("predict", larger, *words) == 1
    assert "first page is 30x40 (HxW), and another one 70x90, while only the first is read" in capsys.readouterr().err
    assert not caplog.messages
    for page, size in enumerate(((30, 40), (70, 90))):
        assert run("predict", larger, *words, "--page", page) == 0
        assert _labels(tmp_path / "out" / f"larger_page{page}_labels.png").shape == size
    assert not caplog.messages
    assert run("predict", larger, *words, "--extent", "ground") == 0
    assert "1 smaller pages besides the one of 70x90 (HxW) that is read" in caplog.text
    assert _labels(tmp_path / "out" / "larger_labels.png").shape == (70, 90)
    smaller = _two_sizes(tmp_path / "below.tif", (70, 90), (30, 40))
    caplog.clear()
    assert run("predict", smaller, *words) == 0
    assert "smaller pages" in caplog.text  # which is so
    assert _labels(tmp_path / "out" / "below_labels.png").shape == (70, 90)
