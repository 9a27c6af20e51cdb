"""Evaluation: the figures of each mode, the JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import tiny_config, tiny_folder

from magnet.data import DataFolder
from magnet.errors import MagNetError
from magnet.evaluate import MODES, evaluate, main
from magnet.metrics import confusion_matrix, mean_iou
from magnet.model import MagNet
from magnet.networks import RefinementModule, build_segmenter
from magnet.sliding import sliding_window


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


def make_model(num_classes: int = 2) -> MagNet:
    torch.manual_seed(0)
    return MagNet(
        build_segmenter("compact", num_classes).eval(),
        RefinementModule(num_classes).eval(),
        scales=[(32, 48), (64, 96)],
        patch_size=(32, 48),
        n_points=0.5,
    )


def test_sliding_window_covers_everything_and_averages_overlaps() -> None:
    image = torch.rand(1, 3, 21, 34)

    def brightness(x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1, keepdim=True)

    whole = brightness(torch.cat([sliding_window(lambda x: x, image, (21, 34))]))
    for size in ((8, 8), (21, 5), (20, 33), (1, 34)):
        torch.testing.assert_close(brightness(sliding_window(lambda x: x, image, size, batch_size=3)), whole)
    with pytest.raises(ValueError, match="size"):
        sliding_window(lambda x: x, image, (22, 34))


def test_every_mode_is_scored_as_its_own_prediction_is(folder: Path) -> None:
    model, data = make_model(), DataFolder(folder, "test")
    result = evaluate(model, data, n_patches=1)
    assert list(result) == list(MODES)
    matrix = torch.zeros(2, 2, dtype=torch.int64)
    for index in range(len(data)):
        image, labels = data.load(index)
        matrix += confusion_matrix(torch.as_tensor(model.predict(image).labels), torch.from_numpy(labels), 2)
    assert result["magnet"]["mean_iou"] == pytest.approx(mean_iou(matrix) * 100, abs=1e-3)
    for mode in MODES:
        r = result[mode]
        assert set(r["iou"]) == {"ground", "thing"} and 0 <= r["mean_iou"] <= 100
        assert r["seconds_mean"] > 0 and r["peak_memory_mib"] > 10
    assert model.n_patches is None and model.progress is None


def test_coarse_is_the_first_stage_of_the_walk(folder: Path) -> None:
    model, data = make_model(), DataFolder(folder, "test")
    coarse = evaluate(model, data, modes=["coarse"])["coarse"]["mean_iou"]
    model.n_patches = 0
    stopped = evaluate(model, data, modes=["fast"], n_patches=0)["fast"]["mean_iou"]
    assert coarse == pytest.approx(stopped, abs=1e-3)


def test_the_command_writes_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model().save_pretrained(tmp_path / "model")
    out = tmp_path / "results" / "r.json"
    arguments = ["--model", str(tmp_path / "model"), "--data", str(folder), "--split", "val", "--n-patches", "1"]
    assert main([*arguments, "--modes", "coarse,fast", "--n-points", "100", "--limit", "1", "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert content["n_points"] == 100 and content["images"] == 1 and content["n_patches"] == 1
    assert set(content["results"]) == {"coarse", "fast"}
    assert "thing" in capsys.readouterr().out
    assert [p.name for p in out.parent.iterdir()] == ["r.json"]


def test_a_configuration_names_data_and_model(folder: Path, tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "tiny" / "model")
    arguments = tiny_config(folder, tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text("name: tiny\nwalk: {scales: [[32, 48], [64, 96]], patch_size: [32, 48], n_patches: [1]}\n")
    model = ["--model", str(tmp_path / "tiny" / "model")]
    assert main(["--config", str(file), "--modes", "fast", *model, *arguments[4:6]]) == 0
    with pytest.raises(MagNetError, match="tiny"):
        main(["--config", str(file), "--modes", "fast", *arguments[4:6]])


@pytest.mark.parametrize("arguments", [[], ["--model", "m"], ["--model", "m", "--data", "d", "--wrong", "1"]])
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    data = DataFolder(folder, "test")
    with pytest.raises(MagNetError, match=r"2 classes .* the model 3"):
        evaluate(make_model(3), data)
    with pytest.raises(MagNetError, match=r"modes.*slow"):
        evaluate(make_model(), data, modes=["slow"])
    (tmp_path / "file").write_text("")
    with pytest.raises(MagNetError, match="--out"):
        main(["--model", "m", "--data", str(folder), "--out", str(tmp_path / "file" / "r.json")])
    with pytest.raises(MagNetError, match="model"):
        main(["--model", str(tmp_path / "none"), "--data", str(folder)])


def test_labels_of_another_size_than_the_last_scale(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data", size=(71, 105))
    result = evaluate(make_model(), DataFolder(folder, "val"), n_patches=2)
    assert all(np.isfinite(r["mean_iou"]) for r in result.values())
