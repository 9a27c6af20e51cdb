"""Bad input end to end: one clear error before any work, nothing written, nothing half written left behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from live import environment_of_a_program
from PIL import Image
from tiny_data import tiny_config, tiny_folder
from tiny_model import save_tiny_model

import magnet_kernels
from magnet.cli import main as cli
from magnet.errors import MagNetError
from magnet.images.read import read_image
from magnet.walk import settings


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_ints_of_numpy_are_ints(kind: type[np.integer]) -> None:
    coarse, fine = torch.rand(2, 1, 3, 8, 9).unbind()
    expected = magnet_kernels.refine_step(coarse, fine, n_points=5, kernel_size=5)
    assert torch.equal(magnet_kernels.refine_step(coarse, fine, n_points=kind(5), kernel_size=kind(5)), expected)
    assert magnet_kernels.crop_patches(coarse, torch.zeros(1, 5), (kind(4), kind(2))).shape == (1, 3, 4, 2)
    assert type(settings.check_n_points(kind(5))) is int and type(settings.check_kernel_size(kind(5))) is int
    assert all(type(v) is int for v in settings.check_size("size", (kind(4), kind(2))))


def test_floats_of_numpy_are_fractions() -> None:
    score = torch.rand(1, 1, 8, 9)
    assert magnet_kernels.select_points(score, np.float32(0.5)).shape == (1, 36)
    with pytest.raises(ValueError, match=r"^n_points: "):
        magnet_kernels.select_points(score, np.float32(1.5))
    with pytest.raises(ValueError, match=r"^n_points: "):
        magnet_kernels.select_points(score, np.bool_(True))


def test_sparse_maps_are_refused() -> None:
    with pytest.raises(TypeError, match=r"^x: expected a dense tensor, .*to_dense"):
        magnet_kernels.confidence(torch.rand(1, 3, 8, 9).to_sparse())


def test_memory_that_is_read_is_not_written_to() -> None:
    maps = torch.rand(4, 3, 8, 9)
    before = maps.clone()
    points = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^coarse: expected memory of its own, got memory shared with fine"):
        magnet_kernels.refine_step_(maps[:2], maps[1:3], n_points=5)
    with pytest.raises(ValueError, match=r"^coarse: expected memory of its own, got memory shared with fine"):
        magnet_kernels.replace_points_(maps[:2], maps[1:3], points)
    with pytest.raises(ValueError, match=r"^coarse: expected memory of its own"):
        magnet_kernels.refine_step_(maps[:1], maps[:1].view(1, 3, 9, 8).mT, n_points=5)
    assert torch.equal(maps, before)


@pytest.mark.parametrize("axis", [0, 1])
def test_parts_of_one_tensor_are_not_taken_for_shared(axis: int) -> None:
    """As in coarse, fine = network(images).chunk(2)."""
    maps = torch.rand(4, 6, 8, 9)
    coarse, fine = maps.chunk(2, dim=axis)
    expected = magnet_kernels.refine_step(coarse.clone(), fine.clone(), n_points=7)
    assert torch.equal(magnet_kernels.refine_step_(coarse, fine, n_points=7), expected)
    assert torch.equal(magnet_kernels.refine_step_(fine, fine, n_points=7), fine)


def test_sixteen_bits_are_not_clipped_to_eight(tmp_path: Path) -> None:
    values = np.linspace(0, 0xFFFF, 12).astype(np.uint16).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = np.rint(values / 257).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / "deep.png"), np.dstack([expected] * 3))
    Image.fromarray(np.full((3, 4), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(MagNetError, match=r"^image: expected 8 or 16 bits .*float\.tif"):
        read_image(tmp_path / "float.tif")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("walk.n_points", "1.5"),
        ("walk.n_points", "0.0"),
        ("walk.n_patches", "-4"),
        ("walk.kernel_size", "4"),
        ("segmenter.network", "nothing"),
        ("segmenter.iterations", "-4"),
        ("refiner.batch_size", "0"),
        ("refiner.optim.lr", "-1"),
        ("segmenter.augment.zoom", "[0,0]"),
        ("name", "../elsewhere"),
    ],
)
def test_a_wrong_setting_is_found_before_the_training(
    key: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data folder does not exist, and is not even looked for."""
    assert cli.main(["train", *tiny_config(tmp_path / "none", tmp_path / "out", **{key: value})]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.match(rf"magnet( train)?: error: {re.escape(key)}: expected", lines[0])
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_all_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "data")
    for path in (folder / "labels").iterdir():
        Image.fromarray(np.full((64, 96), 255, np.uint8)).save(path)
    assert cli.main(["train", *tiny_config(folder, tmp_path / "out")]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "is 255 (ignored)" in lines[0]


@pytest.mark.parametrize(
    "words",
    [
        ["--n-points", "1.5"],
        ["--n-points", "0.0"],
        ["--n-patches=-1"],
        ["--kernel-size", "4"],
        ["--limit=-1"],
        ["--modes", "foo"],
    ],
)
def test_wrong_arguments_of_eval(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "--model", "none", "--data", "none", *words]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_eval_looks_at_its_output_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["eval", "--model", "none", "--data", "none", "--out", str(tmp_path / "file" / "report")]) == 2
    assert capsys.readouterr().err.startswith("magnet: error: --out: expected a folder")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_run_that_is_ended_leaves_no_half_file(tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for k in range(30):
        Image.fromarray(np.full((500, 900, 3), 8 * k, np.uint8)).save(images / f"{k}.png")
    words = ["predict", str(images), "--model", str(save_tiny_model(tmp_path / "model")), "--out", str(out)]
    command = [sys.executable, "-P", "-m", "magnet", *words, "--save", "labels,overlay,uncertainty"]
    run = subprocess.Popen(command, env=environment_of_a_program())
    end = time.monotonic() + 100
    while time.monotonic() < end and len(list(out.glob("[!.]*"))) < 3:
        time.sleep(0.003)
    run.send_signal(signal.SIGTERM)
    assert run.wait(100) == 128 + signal.SIGTERM
    names = [path.name for path in out.iterdir()]
    assert 3 <= len(names) < 90 and [name for name in names if name.startswith(".")] == [".magnet.jsonl"]
