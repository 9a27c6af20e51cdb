"""``magnet predict``: right results, and nothing lost where the input is bad."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import save_tiny_model

import magnet
from magnet.cli import data_check, evaluate, predict, predict_scenes
from magnet.cli import main as cli
from magnet.files.manifest import MANIFEST
from magnet.files.outputs import RECORD
from magnet.model.prediction import Stage
from magnet.walk.paper import labels_at


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for k, name in enumerate(("a.png", "b.jpg", "c.png")):
        Image.fromarray(rng.integers(0, 256, (70 + k, 110, 3), dtype=np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not an image, and not taken for one")
    return folder


def run(*words: object) -> int:
    return cli.main(["predict", *map(str, words)])


def names(folder: Path) -> list[str]:
    """The files of a folder, without the record of what is a result and the manifest of what is done."""
    return sorted(p.name for p in folder.iterdir() if p.name not in (RECORD, MANIFEST))


def test_labels_are_those_of_the_model(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(images / "a.png", "--model", model, "--out", out, "--save", "labels,overlay") == 0
    assert names(out) == ["a_labels.png", "a_overlay.jpg"]
    expected = magnet.MagNet.from_pretrained(model).predict(images / "a.png")
    with Image.open(out / "a_labels.png") as image:
        assert image.mode == "P" and image.getpalette()[:6] == [0, 255, 0, 20, 235, 10]
        assert np.array_equal(np.array(image), expected.labels.numpy())
    with Image.open(out / "a_overlay.jpg") as image:
        assert image.size == (110, 70)


def test_everything_that_can_be_saved(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(images / "b.jpg", "--model", model, "--out", out, "--save", ",".join(predict_scenes.SAVE)) == 0
    assert names(out) == sorted(f"b{ending}" for ending in predict_scenes.SAVE.values())
    net = magnet.MagNet.from_pretrained(model)
    expected = net.predict(images / "b.jpg", return_stages=True)
    probabilities = np.load(out / "b_probabilities.npy")
    assert probabilities.shape == (8, 64, 128) and probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities, expected.probabilities.numpy(), atol=1e-3)
    with Image.open(out / "b_coarse.png") as image:
        assert np.array_equal(np.array(image), expected.stages[0].labels((71, 110)).numpy())
    with Image.open(out / "b_uncertainty.png") as image:
        assert image.mode == "L" and image.size == (110, 71)
        assert abs(np.array(image).mean() / 255 - expected.uncertainty.mean().item()) < 0.02


def test_settings_reach_the_model(model: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--model", model, "--out", out, "--save", "probabilities"]
    found = {}
    for name, extra in {
        "all": [],
        "coarse only": ["--n-patches", 0],
        "one patch": ["--n-patches", 1],
        "few points": ["--n-points", 10],
        "a fraction": ["--n-points", 0.9],
        "filter": ["--kernel-size", 7],
    }.items():
        assert run(images / "a.png", *words, *extra) == 0
        found[name] = np.load(out / "a_probabilities.npy")
    different = {name: (found[name] != found["coarse only"]).any(0).mean() for name in found}
    assert different["coarse only"] == 0 < different["few points"] <= 10 / (64 * 128)
    assert different["few points"] < different["one patch"] < different["a fraction"]
    assert (found["filter"] != found["all"]).any()


def test_a_folder_of_images(model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(images, images / "a.png", "--model", model, "--out", out, "--save", "labels") == 0
    assert names(out) == ["a_labels.png", "b_labels.png", "c_labels.png"]
    assert capsys.readouterr().out.count("a_labels.png") == 1


def test_a_corrupt_image_is_named_and_the_others_are_done(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = images / "b.jpg"
    bad.write_bytes(bad.read_bytes()[:900])
    out = tmp_path / "out"
    assert run(images, "--model", model, "--out", out) == 1
    assert names(out) == ["a_labels.png", "a_overlay.jpg", "c_labels.png", "c_overlay.jpg"]
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 2 and "b.jpg' is corrupt" in errors[0] and "1 of 3 images" in errors[1]


def test_corrupt_images_are_skipped_and_counted_where_that_is_wished(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "b.jpg").write_bytes((images / "b.jpg").read_bytes()[:900])
    out = tmp_path / "out"
    words = ["--model", model, "--out", out, "--save", "labels", "--corrupt", "skip"]
    assert run(images, *words) == 0
    assert names(out) == ["a_labels.png", "c_labels.png"]
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("magnet: ")]
    assert len(told) == 2 and "b.jpg' is corrupt" in told[0] and told[1].startswith("magnet: skipped 1 of 3 images")
    for name in ("a.png", "c.png"):
        (images / name).write_text("no image")
    assert run(images, *words) == 1  # nothing was done
    assert "skipped 3 of 3 images" in capsys.readouterr().err


def test_a_missing_library_is_no_corrupt_image(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 110 * 71)  # c.png is larger
    monkeypatch.setitem(sys.modules, "pyvips", None)
    out = tmp_path / "out"
    assert run(images, "--model", model, "--out", out, "--save", "labels", "--corrupt", "skip") == 1
    assert names(out) == ["a_labels.png", "b_labels.png"]
    assert "pip install 'pyvips[binary]>=3'" in capsys.readouterr().err


def test_large_images(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The size of the last scale, 64 x 128, is what the networks get of one past the limit."""
    path = tmp_path / "wide.png"
    rng = np.random.default_rng(5)
    with Image.open(images / "a.png") as image:
        image.resize((300, 150), Image.Resampling.BILINEAR).save(path)
    with Image.open(path) as image:
        small = np.array(image.resize((128, 64), Image.Resampling.BILINEAR))
    net = magnet.MagNet.from_pretrained(model)
    expected = net.predict(small)
    assert net.predict(path).labels.shape == (150, 300)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    found = net.predict(path)
    assert found.image_size == (150, 300) and torch.equal(found.labels, expected.labels)
    assert torch.equal(found.probabilities, expected.probabilities)
    full = labels_at(found.probabilities, (150, 300))
    for _ in range(5):
        (y0, y1), (x0, x1) = (sorted(rng.choice(n + 1, 2, replace=False)) for n in (150, 300))
        assert (found.labels_in((x0, y0, x1, y1)) == full[y0:y1, x0:x1]).double().mean() > 0.999
    out = tmp_path / "out"
    assert run(path, "--model", model, "--out", out, "--save", "labels,overlay,full_labels") == 0
    printed = capsys.readouterr().out
    assert "image of 150x300, past Pillow's size limit: results at 64x128" in printed
    with Image.open(out / "wide_labels.png") as image:
        assert np.array_equal(np.array(image), expected.labels.numpy())
        palette = image.getpalette()
    with Image.open(out / "wide_overlay.jpg") as image:
        assert image.size == (128, 64)
    monkeypatch.undo()
    with Image.open(out / "wide_full_labels.png") as image:
        assert image.mode == "P" and image.getpalette() == palette
        assert np.array_equal(np.array(image), found.labels_in((0, 0, 300, 150)).numpy())


def test_windows_of_labels(model: Path, images: Path) -> None:
    net = magnet.MagNet.from_pretrained(model)
    found = net.predict(images / "a.png", probabilities=False)
    assert torch.equal(found.labels_in((3, 4, 50, 9)), found.labels[4:9, 3:50])
    with pytest.raises(ValueError, match=r"^box: expected 0 <= x0 < x1 <= 110 and 0 <= y0 < y1 <= 70, got "):
        found.labels_in((3, 4, 111, 9))
    found.image_size = (700, 1100)
    with pytest.raises(ValueError, match=r"^probabilities: expected a map, got None"):
        found.labels_in((3, 4, 50, 9))


def test_a_corrupt_image_alone_gives_one_line(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "a.png").write_text("no image")
    assert run(images / "a.png", "--model", model, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("magnet: error: image: ") and "a.png" in error and "\n" not in error


@pytest.mark.parametrize(
    ("case", "code", "told"),
    [
        ("missing image", 2, "nowhere.png' does not exist"),
        ("empty folder", 1, "holds no images"),
        ("same names", 2, "would have the same names"),
        ("missing model", 2, "'nomodel' is neither a folder nor a model"),
        ("folder without a model", 2, "config.json"),
        ("truncated weights", 1, "model.safetensors"),
        ("file as output", 2, "--out: expected a folder"),
        ("device", 2, "argument --device: expected auto, cpu, cuda or cuda:N, got 'nodevice'"),
    ],
)
def test_errors_are_one_line_before_any_work(
    case: str, code: int, told: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    image: Path | list[Path] = images / "a.png"
    chosen: Path | str = model
    out, extra = tmp_path / "out", []
    if case == "missing image":
        image = images / "nowhere.png"
    elif case == "empty folder":
        image = tmp_path / "empty"
        image.mkdir()
    elif case == "same names":
        (tmp_path / "a.jpg").write_bytes((images / "b.jpg").read_bytes())
        image = [images / "a.png", tmp_path / "a.jpg"]
    elif case == "missing model":
        chosen = "nomodel"
    elif case == "folder without a model":
        chosen = images
    elif case == "truncated weights":
        chosen = save_tiny_model(tmp_path / "cut")
        weights = chosen / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:5000])
    elif case == "file as output":
        out = tmp_path / "out"
        out.write_text("kept")
    else:
        extra = ["--device", "nodevice"]
    paths = image if isinstance(image, list) else [image]
    assert run(*paths, "--model", chosen, "--out", out, *extra) == code
    captured = capsys.readouterr()
    assert (
        captured.err.startswith(("magnet: error: ", "magnet predict: error: ")) and len(captured.err.splitlines()) == 1
    )
    assert told in captured.err
    assert out.read_text() == "kept" if case == "file as output" else not out.exists() or not names(out)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["a.png"],
        ["a.png", "--model", "m"],
        ["a.png", "--model", "m", "--out", "o", "--save", "labels,nothing"],
        ["a.png", "--model", "m", "--out", "o", "--kernel-size", "4"],
        ["a.png", "--model", "m", "--out", "o", "--n-points", "1.5"],
        ["a.png", "--model", "m", "--out", "o", "--n-points", "0.0"],
        ["a.png", "--model", "m", "--out", "o", "--n-points", "-3"],
        ["a.png", "--model", "m", "--out", "o", "--n-points", "many"],
        ["a.png", "--model", "m", "--out", "o", "--n-patches", "4,x"],
        ["a.png", "--model", "m", "--out", "o", "--colour", "red"],
    ],
)
def test_wrong_arguments_exit_with_2(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("magnet predict: error: ") and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("split", [predict._kinds, evaluate._modes, data_check._splits])
@pytest.mark.parametrize("text", ["", ",", "{},", ",{}", "{},,{}", "{}, ,{}"])
def test_a_list_with_nothing_between_its_commas_is_refused(split: Callable[[str], list[str]], text: str) -> None:
    known = {predict._kinds: "labels", evaluate._modes: "coarse", data_check._splits: "train"}[split]
    assert split(f" {known}, {known}") == [known]
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected some of .*, got '"):
        split(text.format(known, known))


def test_an_interrupted_write_leaves_no_half_file(
    model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(image: Image.Image, path: Path, **options: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_scenes, "save_image", interrupted)
    out = tmp_path / "out"
    assert run(images / "a.png", "--model", model, "--out", out) == 130
    assert not out.exists()


def test_no_warnings(model: Path, images: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(images, "--model", model, "--out", tmp_path / "out", "--save", ",".join(predict_scenes.SAVE)) == 0


def test_stage() -> None:
    probabilities = torch.zeros(3, 4, 6)
    probabilities[2] = 1
    probabilities[:, 1, 1] = torch.tensor([0.5, 0.2, 0.3])
    stage = Stage((4, 6), probabilities, torch.tensor([0, 13]), [(0, 0, 6, 4)])
    assert stage.n_patches == 1
    assert stage.points_mask().nonzero().tolist() == [[0, 0], [2, 1]]
    assert stage.uncertainty[1, 1].item() == pytest.approx(0.8) and stage.uncertainty[0, 0] == 0
    assert stage.labels((4, 6))[1].tolist() == [2, 0, 2, 2, 2, 2]
    assert not Stage((4, 6), probabilities).points_mask().any()
