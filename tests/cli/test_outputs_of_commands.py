"""Each command keeps the user's files, replaces its own results, and leaves out of a folder what is no image."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from output_files import contents, names, picture, run
from safetensors.torch import save_file
from tiny_data import tiny_folder
from tiny_model import save_tiny_model

import magnet
from magnet.errors import printable
from magnet.files.manifest import MANIFEST
from magnet.files.outputs import RECORD


def test_names_that_are_no_text_are_shown() -> None:
    assert printable("a\x1b[31m\nb\udcffé 漢") == r"a\x1b[31m\nb\udcffé 漢"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_predict_keeps_images_and_ground_truth(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("a.png", "a_labels.png", "x.png", "x_full.png"):
        picture(data / name)
    before = contents(data)
    common = ["--model", model]

    def told() -> str:
        error = capsys.readouterr().err
        assert error.startswith("magnet: error: --out: ") and error.count("\n") == 1
        return error

    for extra in ([], ["--overwrite"]):
        assert run("predict", data, *common, "--out", data, *extra) == 2
        assert "is a folder of the images" in told()
        assert run("predict", data / "a.png", data / "a_labels.png", *common, "--out", data, *extra) == 2
        assert "a_labels.png' would replace the input" in told()
        both = [data / "x.png", data / "x_full.png", *common, "--out", out, "--save", "labels,full_labels", *extra]
        assert run("predict", *both) == 2
        assert "would both be" in told()
    assert run("predict", data / "a.png", *common, "--out", data) == 1
    assert "a_labels.png' is there already, and is not a result of 'magnet predict'" in told()
    assert contents(data) == before

    monkeypatch.chdir(data)
    for _ in range(2):  # the same command again
        assert run("predict", "a.png", *common, "--out", ".", "--save", "overlay") == 0
    capsys.readouterr()
    assert run("predict", *sorted(data.glob("*.[pj]*g")), *common, "--out", data, "--save", "coarse") == 1
    assert "a_overlay.jpg' is a result of an earlier 'magnet predict' into the same folder" in told()
    other = save_tiny_model(tmp_path / "other", 3)
    assert run("predict", "a.png", "--model", other, "--out", ".", "--save", "overlay") == 1
    assert "a_overlay.jpg' is there already, and was made from '" in told()
    assert run("predict", "a.png", "--model", other, "--out", ".", "--save", "overlay", "--overwrite") == 0
    assert {name: content for name, content in contents(data).items() if name in before} == before


def test_predict_takes_names_that_are_no_text(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    strange = [os.fsdecode(b"\xff\xfe new\nline\x1b[31m.png"), "漢" * 80 + ".png"]
    for name in strange:
        picture(data / "p.png")
        (data / "p.png").rename(data / name)
    (data / "bad\x07.png").write_text("no image")
    (data / "._plain.png").write_text("of a Mac")
    for _ in range(2):
        assert run("predict", data, "--model", model, "--out", out, "--save", "labels") == 1
        captured = capfd.readouterr()
        assert "\x1b" not in captured.out and "\x07" not in captured.err and "Traceback" not in captured.err
        assert "bad\\x07.png" in captured.err and "1 of 3 images could not be read" in captured.err
        assert names(out) == sorted([RECORD, MANIFEST, *(f"{Path(name).stem}_labels.png" for name in strange)])


def test_results_in_a_folder_of_images_are_left_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    picture(data / "a.png")
    assert run("predict", data / "a.png", "--model", model, "--out", data) == 0
    assert run("predict", data, "--model", model, "--out", out) == 0
    assert sorted(path.name for path in out.glob("a_*")) == ["a_labels.png", "a_overlay.jpg"]
    assert caplog.messages == [
        f"image: left out of the folder '{data}': 2 results that magnet wrote there; give them by name to segment them"
    ]
    picture(data / "a_labels.png")  # somebody's own now
    assert run("predict", data, "--model", model, "--out", tmp_path / "other") == 0
    assert (tmp_path / "other" / "a_labels_labels.png").is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_pipes_in_a_folder_of_images_are_left_out_and_told(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    picture(data / "a.png")
    os.mkfifo(data / "b.png")
    assert run("predict", data, "--model", model, "--out", out) == 0
    assert caplog.messages == [
        f"image: left out of the folder '{data}': 1 pipes or devices, as '{data / 'b.png'}'; "
        "copy what comes from them to files"
    ]
    assert not list(out.glob("b*"))


def test_folders_of_images_further_down_are_named(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val", "empty"):
        (tmp_path / "d" / name).mkdir(parents=True)
    picture(tmp_path / "d" / "train" / "a.png")
    picture(tmp_path / "d" / "val" / "b.png")
    assert run("predict", tmp_path / "d", "--model", model, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert f"but the folders in it do: '{tmp_path / 'd' / 'train'}', '{tmp_path / 'd' / 'val'}'; give those" in told
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "gone.png").symlink_to(tmp_path / "nowhere.png")  # told, not left out
    assert run("predict", tmp_path / "e", "--model", model, "--out", tmp_path / "out") == 1
    assert "gone.png" in capsys.readouterr().err


def test_scenes_keep_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny_folder(tmp_path / "data")
    before = contents(data)
    words = ["--train", 1, "--val", 0, "--test", 0, "--size", 256, 256]
    assert run("scenes", "--out", data, *words) == 1
    assert (
        "train.txt' is there already, and is not a result of 'magnet scenes' (and so are 3 more"
        in capsys.readouterr().err
    )
    assert contents(data) == before
    for _ in range(2):
        assert run("scenes", "--out", tmp_path / "own", *words) == 0
    made = contents(tmp_path / "own")
    assert run("scenes", "--out", tmp_path / "own", *words[:-2], 256, 300) == 1
    assert "scene_000000.png' is there already, and was made from seed 0 at 256x256" in capsys.readouterr().err
    assert contents(tmp_path / "own") == made
    assert run("scenes", "--out", tmp_path / "own", *words[:-2], 256, 300, "--overwrite") == 0
    assert run("scenes", "--out", tmp_path / "many", "--train", 10**6, "--val", 1) == 1
    assert "counts: expected at most 1000000 scenes together" in capsys.readouterr().err


def test_eval_keeps_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tiny_folder(tmp_path / "data", counts=(1, 1, 2)), save_tiny_model(tmp_path / "model", 2)
    words = ["eval", "--model", model, "--data", data, "--modes", "coarse,magnet", "--limit", 1, "--boundary-width", 0]
    out = tmp_path / "out"
    (out / "gained").mkdir(parents=True)
    mine = out / "gained" / "01_mine_+1.00.jpg"
    mine.write_text("mine")
    assert run(*words, "--out", out) == 1
    assert "01_mine_+1.00.jpg' is there already, and is not a result of 'magnet eval'" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    mine.rename(out / "gained" / "mine.txt")
    for _ in range(2):
        assert run(*words, "--out", out) == 0
    capsys.readouterr()
    assert run(*words, "--out", out, "--split", "val") == 1
    told = capsys.readouterr().err
    assert "metrics.json' is there already, and was made from an evaluation of the model" in told
    assert (out / "gained" / "mine.txt").read_text() == "mine"
    file = tmp_path / "r.json"
    file.write_text('{"a": 1}')
    assert run(*words, "--out", file) == 1
    assert "r.json' is there already, and is not an evaluation of the same input" in capsys.readouterr().err
    assert run(*words, "--out", file, "--overwrite") == 0
    assert run(*words, "--out", file) == 0
    assert run(*words, "--out", file, "--split", "val") == 1
    assert json.loads(file.read_text())["split"] == "test"


def test_eval_takes_no_patches_as_told(tmp_path: Path) -> None:
    """0 is a number: MagNet-Fast is then the coarse prediction, whatever the model and the configuration say."""
    data = tiny_folder(tmp_path / "data", counts=(1, 1, 2))
    net = magnet.MagNet.from_pretrained(save_tiny_model(tmp_path / "tiny", 2))
    out = tmp_path / "r.json"
    config = tmp_path / "c.yaml"
    config.write_text("name: c\nwalk: {scales: [[32, 64], [64, 128]], patch_size: [32, 64], n_patches: 3}\n")
    common = [
        "--modes",
        "coarse,fast",
        "--out",
        out,
        "--overwrite",
        "--boundary-width",
        0,
        "--data",
        data,
        "--limit",
        1,
    ]
    for own, words, expected in (
        (2, ["--n-patches", 0], 0),
        (0, [], 0),
        (2, ["--config", config, "--n-patches", 0], 0),
        (2, ["--config", config], 3),
    ):
        net.with_settings(n_patches=own).save_pretrained(tmp_path / "model")
        assert run("eval", "--model", tmp_path / "model", *words, *common) == 0
        content = json.loads(out.read_text())
        assert content["n_patches"] == expected
        same = content["results"]["fast"]["iou"] == content["results"]["coarse"]["iou"]
        assert same or expected


def test_data_check_keeps_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, other = tiny_folder(tmp_path / "data", counts=(1, 1, 1)), tiny_folder(tmp_path / "other", counts=(1, 1, 1))
    before = contents(data)
    assert run("data", "check", data, "--json", data / "classes.txt") == 2
    assert "classes.txt' would replace the input" in capsys.readouterr().err
    assert contents(data) == before
    (tmp_path / ".c.0123456789abcdef").mkdir()  # of a process that was killed
    for _ in range(2):
        assert run("data", "check", data, "--json", tmp_path / "c.json") == 0
    assert names(tmp_path) == ["c.json", "data", "other"]
    assert run("data", "check", other, "--json", tmp_path / "c.json") == 1
    assert run("data", "check", other, "--json", tmp_path / "c.json", "--overwrite") == 0


def test_convert_keeps_models_of_other_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter, refiner = magnet.build_segmenter("compact", 2), magnet.RefinementModule(2)
    out = tmp_path / "out"
    words = ["--num-classes", 2, "--network", "compact", "--scales", "32x64", "64x128", "--patch-size", "32x64"]
    words += ["--n-points", 100, "--out", out]
    save_file(segmenter.state_dict(), tmp_path / "b.safetensors")
    save_file(refiner.state_dict(), tmp_path / "r.safetensors")
    words += ["--refiners", tmp_path / "r.safetensors", "--backbone", tmp_path / "b.safetensors"]
    for _ in range(2):
        assert run("convert", *words, "--report", tmp_path / "report.json") == 0, capsys.readouterr().err
    save_file({key: value + 0 for key, value in segmenter.state_dict().items()}, tmp_path / "c.safetensors")
    before = contents(out)
    capsys.readouterr()
    assert run("convert", *words[:-1], tmp_path / "c.safetensors") == 1
    assert "config.json' is there already, and is of another model" in capsys.readouterr().err
    assert run("convert", *words, "--report", tmp_path / "r.safetensors", "--overwrite") == 2
    assert "would replace the input" in capsys.readouterr().err
    assert contents(out) == before
    assert run("convert", *words[:-1], tmp_path / "c.safetensors", "--overwrite") == 0
