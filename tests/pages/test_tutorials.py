"""docs/tutorials: every block of every page runs, in order, and what the page promises is there."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from code_blocks import ROOT, run_page
from live import environment_of_a_program
from PIL import Image

PAGES = ROOT / "docs" / "tutorials"

pytestmark = pytest.mark.usefixtures("one_thread")


def run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    return run_page(PAGES / page, folder)


def areas(path: Path) -> dict[str, int]:
    """Pixels of each class."""
    with path.open(newline="") as file:
        return {row["class"]: int(row["pixels"]) for row in csv.DictReader(file)}


def test_every_tutorial_has_a_test() -> None:
    source = Path(__file__).read_text()
    pages = sorted(path.name for path in PAGES.glob("*.md"))
    assert pages and all(f'run("{page}", ' in source for page in pages)


@pytest.mark.slow
def test_own_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("own-photos.md", tmp_path, monkeypatch)
    report = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert set(report["results"]) == {"coarse", "sliding", "magnet", "fast"}
    photos = sorted((tmp_path / "my_data" / "images").iterdir())
    for photo in photos:
        with Image.open(tmp_path / "results" / f"{photo.stem}_labels.png") as labels:
            assert labels.size == (512, 256)
    assert names["photo"] == photos[0].relative_to(tmp_path)
    assert float(names["share"].sum()) == pytest.approx(1)


@pytest.mark.slow
def test_aerial_tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasterio")
    names = run("aerial-tiles.md", tmp_path, monkeypatch)
    assert names["accuracy"] > 0.8  # 0.54 of the image is meadow
    counted = areas(tmp_path / "cover" / "large_areas.csv")
    assert [counted[name] for name in ("meadow", "field", "water", "path")] == [
        int((names["cover"] == number).sum()) for number in range(4)
    ]
    assert names["polygons"]
    with Image.open(tmp_path / "corner" / "large_labels.tif") as corner:
        labels = np.asarray(corner)
    assert (labels[300:] == 255).all() and (labels[:, 300:] == 255).all() and (labels[:300, :300] < 4).any()


def test_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openslide", "tifffile", "rasterio"):
        pytest.importorskip(name)
    names = run("slides.md", tmp_path, monkeypatch)
    assert names["pixels"].shape == (256, 256, 3)
    counted = areas(tmp_path / "results" / "slide_areas.csv")
    assert counted["gland"] == pytest.approx(names["gland"].sum(), rel=0.05)
    assert counted["stroma"] == pytest.approx((names["tissue"] & ~names["gland"]).sum(), rel=0.05)
    found = json.loads((tmp_path / "results" / "slide_polygons.geojson").read_text())["features"]
    assert {feature["properties"]["classification"]["name"] for feature in found} == {"stroma", "gland"}


@pytest.mark.slow
def test_finished_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("finished-network.md", tmp_path, monkeypatch)
    assert names["coarse"] == pytest.approx(0.61, abs=0.01) and names["scores"][0.1] == pytest.approx(0.68, abs=0.01)
    assert names["scores"][0.5] < names["coarse"]
    results = json.loads((tmp_path / "report" / "metrics.json").read_text())["results"]
    assert results["magnet"]["mean_iou"] > results["coarse"]["mean_iou"]
    with Image.open(tmp_path / "results" / "street_labels.png") as labels:
        assert labels.size == (2048, 1024)


@pytest.mark.slow
def test_deploying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("deploying.md", tmp_path, monkeypatch)
    assert "refused: image: " in capsys.readouterr().out
    assert json.loads((tmp_path / "doctor.json").read_text())
    assert len(list((tmp_path / "labels").glob("*_labels.png"))) == 3
    assert names["labels"].shape == (1, 1024, 2048)
    assert torch.equal(names["labels"], names["fixed"](names["images"]).argmax(1))
    script = (
        "import sys, torch, magnet_kernels; graph = torch.export.load('street.pt2').module();"
        "print(graph(torch.zeros(1, 3, 1024, 2048)).shape, any(name.startswith('magnet.') for name in sys.modules))"
    )
    command = [sys.executable, "-c", script]
    alone = subprocess.run(command, cwd=tmp_path, env=environment_of_a_program(), capture_output=True, text=True)
    assert alone.stdout == "torch.Size([1, 8, 1024, 2048]) False\n", alone.stderr
