"""A command that failed leaves no empty folder that was not there before."""

from __future__ import annotations

from pathlib import Path

import pytest
from output_files import names, picture, run
from safetensors.torch import save_file
from tiny_data import tiny_folder
from tiny_model import save_tiny_model
from torch import zeros

from magnet.errors import MagNetError
from magnet.files.atomic import check_output_dir, no_empty_folders
from magnet.files.outputs import Outputs
from magnet.files.parts import Part


def test_what_was_made_and_is_empty_goes(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RuntimeError), no_empty_folders(tmp_path / "mine" / "a" / "b", tmp_path / "c" / "file.json"):
        check_output_dir(tmp_path / "mine" / "a" / "b")
        check_output_dir(tmp_path / "c")
        raise RuntimeError
    assert names(tmp_path) == ["mine"] and names(tmp_path / "mine") == []
    with no_empty_folders(tmp_path / "mine" / "a", None):
        check_output_dir(tmp_path / "mine" / "a" / "b")
        (tmp_path / "mine" / "a" / "kept.txt").write_text("")
    assert names(tmp_path / "mine" / "a") == ["b", "kept.txt"]


def test_results_keep_their_folders_and_empty_ones_go(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Outputs(out, "test", inside=("images", "labels")):
        assert (out / "labels").is_dir()
    assert not out.exists()
    with pytest.raises(MagNetError), Outputs(out, "test", inside=("images", "labels")) as outputs:
        with outputs.write(out / "images" / "a.txt", "a") as temporary:
            temporary.write_text("a")
        raise MagNetError("later")
    assert "images" in names(out) and "labels" not in names(out)
    with Outputs(tmp_path / "parts", "test", inside=("x",), part=Part(1, 2)):
        pass
    assert (tmp_path / "parts" / "x").is_dir()  # another part may be about to write there


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that no class of the data fits, images, data, and weights of nothing."""
    folder = tmp_path_factory.mktemp("given")
    save_tiny_model(folder / "model")
    tiny_folder(folder / "data")
    save_file({"nothing": zeros(1)}, folder / "weights.safetensors")
    (folder / "images").mkdir()
    picture(folder / "images" / "a.png")
    (folder / "images" / "broken.png").write_bytes(b"\x89PNG")
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "tune --model G/images --data G/data --out O",
        "tune --model G/model --data G/data --split none --out O",
        "eval --model G/model --data G/data --split none --out O",
        "eval --model G/images --data G/data --split val --out O",
        "eval --model G/images --data G/data --split val --out O/figures.json",
        "predict G/images/a.png --model G/model --out O --save labels --n-patches 1,2,3,4,5,6",
        "predict G/images/broken.png --model G/model --out O",
        "demo --model G/images --out O",
        "train --config G/data/none.yaml --out O",
        "convert --backbone G/weights.safetensors --refiners G/weights.safetensors --num-classes 2 --network fpn "
        "--scales 64x64 128x128 --patch-size 64x64 --n-points 0.5 --out O/model",
        "data check G/data --split train --json O/check.json --sheet O/sheet.png",
        "export --model G/model --format pt2 --size 64x64 --n-patches 2 --n-points 0.5 --out O",
    ],
)
def test_a_failed_command_leaves_no_empty_folder(given: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / "above" / "out"
    words = [word.replace("G/", f"{given}/").replace("O", str(out)) for word in command.split()]
    try:
        code = run(*words)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code in (1, 2)
    assert names(tmp_path) == []
