"""Evaluation on rasters: the figures of a label raster that is written and counted whole, counted by window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from map_data import PLACE, map_folder, map_pixels, write_map
from PIL import Image
from raster_files import write_tiff
from walked import build

from magnet import MagNet
from magnet.cli.evaluate import main
from magnet.data import DataFolder
from magnet.data.labels import ClassIds
from magnet.errors import MagNetError
from magnet.evaluation import evaluate, ground, run_evaluation, scores
from magnet.evaluation.boundary import boundary_pixels
from magnet.evaluation.ground import NO_FULL, NO_SCALES
from magnet.evaluation.metrics import confusion_matrix
from magnet.evaluation.modes import predict
from magnet.evaluation.scores import Scorer, figures
from magnet.images.label_files.blocks import NO_ANSWER
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.tensors import normalize, to_tensor
from magnet.networks import RefinementModule, build_segmenter
from magnet.walk.fields import OVERLAP, lay_out
from magnet.walk.maps import labels_at

pytestmark = pytest.mark.usefixtures("one_thread")

FIELD = (48, 64)
EXACT: dict[str, Any] = {"scales": [(12, 16), (24, 32), FIELD], "patch_size": (12, 16), "batch_size": 4}
NAMES = ["a", "b", "c"]


class Whole:
    """Labels in memory, as what reads blocks takes them."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels, self.size = labels, (labels.shape[0], labels.shape[1])
        self.most = 0

    def read(self, box: tuple[int, int, int, int]) -> np.ndarray:
        x0, y0, x1, y1 = box
        self.most = max(self.most, (x1 - x0) * (y1 - y0))
        return self.labels[y0:y1, x0:x1].copy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = map_folder(tmp_path / "maps", {"test": ((130, 170), (48, 64))})
    (path / "classes.txt").write_text("0 a\n1 b\n2 c\n")
    pixels, labels = map_pixels((110, 150), 2)
    pixels[:60, :40] = 0
    write_map(path / "images" / "hole.tif", path / "labels" / "hole.tif", pixels, labels)
    write_tiff(path / "images" / "hole.tif", pixels, overviews=(2, 4), nodata=0, **PLACE)
    (path / "test.txt").write_text("map0\nhole\nmap1\n")
    return path


def whole_labels(folder: Path, stem: str) -> np.ndarray:
    """Labels by Pillow, 255 where labels or image hold no value."""
    labels = np.asarray(Image.open(folder / "labels" / f"{stem}.tif"))
    pixels = np.asarray(Image.open(folder / "images" / f"{stem}.tif"))
    missing = (labels == 9) | ((pixels == 0).all(axis=2) if stem == "hole" else False)
    return np.where(missing, np.uint8(255), labels)


def predicted(model: MagNet, folder: Path, stem: str, out: Path, **changes: Any) -> np.ndarray:
    record = model.predict_raster(folder / "images" / f"{stem}.tif", out, overwrite=True, **changes)
    return np.asarray(Image.open(record.outputs["labels"]))


@pytest.mark.parametrize("width", [0.02, 5, 0])
def test_windows_count_what_the_whole_counts(monkeypatch: pytest.MonkeyPatch, width: float) -> None:
    rng = np.random.default_rng(0)
    for size in ((97, 130), (33, 64), (5, 200), (64, 64)):
        blobs = np.kron(rng.integers(0, 3, (size[0] // 5 + 1, size[1] // 5 + 1)), np.ones((5, 5)))
        target = blobs[: size[0], : size[1]].astype(np.uint8)
        answers = np.where(rng.random(size) < 0.1, rng.integers(0, 3, size), target).astype(np.uint8)
        target[rng.random(size) < 0.03] = 255
        missing = np.zeros(size, bool)
        missing[: size[0] // 3, size[1] // 2 :] = True
        answers[missing] = NO_ANSWER
        scorer = Scorer(3, width, torch.device("cpu"))
        scorer.set_target(np.where(missing, np.uint8(255), target))
        expected = scorer.count(torch.from_numpy(answers))
        for window in (16, 33, 4096):
            monkeypatch.setattr(scores, "_WINDOW", window)
            found = Whole(answers)
            got = scorer.count_windows(size, Whole(target).read, found)
            assert torch.equal(got, expected), (size, window)
            margin = boundary_pixels(width, size) if width else 0
            assert found.most <= (window + 2 * margin) ** 2


def test_every_field_gives_kept_memory_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(ground, "return_freed_memory", lambda: given.append(1))
    model, data = build(**EXACT), DataFolder(folder, "test")
    run_evaluation(model, data, modes=["magnet"])
    assert len(given) > len(data)  # whose rasters have several fields


def test_figures_are_those_of_the_written_labels_counted_at_once(tmp_path: Path, folder: Path) -> None:
    model, data = build(**EXACT), DataFolder(folder, "test")
    evaluation = run_evaluation(model, data, modes=["magnet", "fast"], n_patches=2)
    for mode, changes in (("magnet", {}), ("fast", {"n_patches": 2})):
        total = torch.zeros(3, 3, dtype=torch.int64)
        counts = torch.zeros(Scorer(3, 0.02, model.device).length, dtype=torch.int64)
        for stem in ("map0", "hole", "map1"):
            labels = predicted(model, folder, stem, tmp_path / mode, **changes)
            if stem == "hole":
                assert (labels[:60, :40] == 255).all()
            target = whole_labels(folder, stem)
            if stem == "map1":  # no larger than the last scale: a scene
                labels = model.predict(folder / "images" / "map1.tif", **changes).labels.byte().numpy()
            total += confusion_matrix(labels, target, 3)
            scorer = Scorer(3, 0.02, model.device)
            scorer.set_target(target)
            counts += scorer.count(torch.from_numpy(labels.copy()))
        assert np.array_equal(evaluation.confusion[mode], total.numpy())
        expected = figures(counts, NAMES, True)
        assert {key: evaluation.results[mode][key] for key in expected} == expected
        assert evaluation.results[mode]["note"] == NO_SCALES and "scales" not in evaluation.results[mode]
        assert evaluation.results[mode]["seconds_mean"] > 0


@pytest.mark.parametrize("mode", ["coarse", "sliding"])
def test_modes_that_are_no_walk_see_the_fields_that_walks_see(tmp_path: Path, mode: str) -> None:
    path = map_folder(tmp_path / "flat", {"test": ((130, 170),)}, overviews=())
    (path / "classes.txt").write_text("0 a\n1 b\n2 c\n")
    data = DataFolder(path, "test")
    model = build(**EXACT)
    pixels = np.asarray(Image.open(path / "images" / "map0.tif"))
    with torch.inference_mode():
        # of a file without levels fields begin anywhere, as there are no coarser pixels to lie on
        expected = np.full((130, 170), 255, np.uint8)
        for field in lay_out((130, 170), FIELD, overlap=OVERLAP):
            x0, y0, x1, y1 = field.box
            labels = predict(model, pixels[y0:y1, x0:x1], mode).byte().numpy()
            a, b, c, d = field.own
            expected[b:d, a:c] = labels[b - y0 : d - y0, a - x0 : c - x0]
    target = whole_labels(path, "map0")
    result = run_evaluation(model, data, modes=[mode])
    assert np.array_equal(result.confusion[mode], confusion_matrix(expected, target, 3).numpy())
    assert "note" not in result.results[mode]


def test_coarse_is_read_from_its_own_level(tmp_path: Path) -> None:
    path = map_folder(tmp_path / "flat", {"test": ((144, 192),)})  # where all fields lie on whole pixels of the level
    (path / "classes.txt").write_text("0 a\n1 b\n2 c\n")
    with rasterio.open(path / "images" / "map0.tif", OVERVIEW_LEVEL=1) as file:
        level = np.moveaxis(file.read(), 0, -1)
    model, data = build(**EXACT), DataFolder(path, "test")
    expected = np.full((144, 192), 255, np.uint8)
    for field in lay_out((144, 192), FIELD, overlap=OVERLAP, step=4):
        x0, y0, x1, y1 = field.box
        small = to_tensor(level[y0 // 4 : y1 // 4, x0 // 4 : x1 // 4])[None]
        assert small.shape[-2:] == (12, 16)
        with torch.inference_mode():
            labels = labels_at(model.segment(normalize(small))[0], FIELD).byte().numpy()
        a, b, c, d = field.own
        expected[b:d, a:c] = labels[b - y0 : d - y0, a - x0 : c - x0]
    target = whole_labels(path, "map0")
    confusion = run_evaluation(model, data, modes=["coarse"]).confusion["coarse"]
    assert np.array_equal(confusion, confusion_matrix(expected, target, 3).numpy())


def test_what_rasters_have_no_figures_of_is_noted(folder: Path) -> None:
    model, data = build(**EXACT), DataFolder(folder, "test")
    evaluation = run_evaluation(model, data, modes=["coarse", "magnet", "full"], extremes=2)
    assert evaluation.results["full"]["note"] == NO_FULL and evaluation.results["full"]["mean_iou"] is None
    assert "full" not in evaluation.confusion
    assert [record["name"] for record in evaluation.images] == ["map0", "hole", "map1"]
    assert all("gain" in record for record in evaluation.images)
    assert {one.index for one in (*evaluation.gained, *evaluation.lost)} == {2}  # pictures are of scenes
    alone = DataFolder(folder, "test")
    alone.keep([2])
    plain = run_evaluation(model, alone, modes=["magnet", "full"])
    assert "note" not in plain.results["magnet"] and len(plain.results["magnet"]["scales"]) == 3


def test_the_resolution_of_data_or_model_counts(tmp_path: Path, folder: Path) -> None:
    data = DataFolder(folder, "test")
    data.keep([0, 1])
    model = build(**EXACT)
    confusion = {}
    for name in ("none", "data", "model", "both"):
        data.inputs = InputSettings(resolution="1m" if name in ("data", "both") else None)
        model.info = {"resolution": {"model": "1m", "both": "0.5m"}.get(name)} if name in ("model", "both") else None
        confusion[name] = run_evaluation(model, data, modes=["magnet"]).confusion["magnet"]
    total = torch.zeros(3, 3, dtype=torch.int64)
    model.info = None
    for stem in ("map0", "hole"):
        labels = predicted(model, folder, stem, tmp_path / "out", resolution="1m")
        total += confusion_matrix(labels, whole_labels(folder, stem), 3)
    assert np.array_equal(confusion["data"], total.numpy()) and not np.array_equal(confusion["none"], total.numpy())
    assert np.array_equal(confusion["model"], total.numpy()) and np.array_equal(confusion["both"], total.numpy())


def test_the_releases_walk_refuses_rasters(folder: Path) -> None:
    model = build(**{**EXACT, "scales": [(12, 16), (24, 32), (48, 64)]}, compat="official")
    with pytest.raises(MagNetError, match="compat: expected 'paper' to segment a raster field by field"):
        evaluate(model, DataFolder(folder, "test"), modes=["magnet"])


def test_labels_are_never_decoded_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataFolder(folder, "test")
    data.keep([0])

    def none(self: ClassIds, path: Path) -> object:
        raise AssertionError(f"{path} was read whole")

    monkeypatch.setattr(ClassIds, "read", none)
    evaluate(build(**EXACT), data, modes=["coarse", "sliding", "magnet", "fast"], n_patches=1)


def test_the_command_writes_a_report_of_rasters(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    trained = MagNet(build_segmenter("compact", 3), RefinementModule(3), class_names=NAMES, n_points=0.4, **EXACT)
    trained.save_pretrained(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--data", str(folder), "--out", str(tmp_path / "out")]
    assert main([*words, "--modes", "coarse,magnet", "--data.accept", "[absent]", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert f"magnet: {NO_SCALES}" in out
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [one["name"] for one in content["per_image"]] == ["map0", "hole", "map1"]
    assert NO_SCALES in (tmp_path / "out" / "report.md").read_text()
