"""Evaluation: the figures of each mode, the JSON, and what is refused."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from processes import start_two
from tiny_data import tiny_config, tiny_folder
from torch import nn

from magnet.cli.evaluate import MODES, evaluate, main
from magnet.data import DataFolder
from magnet.errors import ArgumentError, MagNetError
from magnet.evaluation import Evaluation, meter, modes, run_evaluation
from magnet.evaluation.metrics import confusion_matrix, frequency_weighted_iou, mean_iou, official_mean_iou
from magnet.images.tensors import normalize
from magnet.model.magnet import MagNet
from magnet.networks import RefinementModule, build_segmenter
from magnet.walk.sliding import sliding_window


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


def few_layers(num_classes: int) -> nn.Module:
    """A segmenter that takes no time, and is another one in training mode."""
    last = nn.Conv2d(8, num_classes, 1)
    nn.init.normal_(last.weight, std=3)
    return nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.BatchNorm2d(8), nn.Tanh(), last)


def make_model(num_classes: int = 2, network: str = "", **changes: Any) -> MagNet:
    torch.manual_seed(0)
    segmenter = build_segmenter(network, num_classes) if network else few_layers(num_classes)
    options = {"scales": [(32, 48), (64, 96)], "patch_size": (32, 48), "n_points": 0.5, **changes}
    return MagNet(segmenter, RefinementModule(num_classes), **options).eval()


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
    stopped = evaluate(model, data, modes=["fast"], n_patches=0)["fast"]["mean_iou"]
    assert coarse == pytest.approx(stopped, abs=1e-3)


def scored(data: DataFolder, predict: Callable[[np.ndarray], torch.Tensor]) -> float:
    """Mean IoU in percent of one way to predict."""
    matrix = torch.zeros(2, 2, dtype=torch.int64)
    for index in range(len(data)):
        image, labels = data.load(index)
        matrix += confusion_matrix(predict(image), torch.from_numpy(labels), 2)
    return mean_iou(matrix) * 100


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_every_scale_is_scored_as_its_stage_is(tmp_path: Path, compat: str) -> None:
    folder = tiny_folder(tmp_path / "data", size=(71, 105), counts=(1, 1, 2))
    data, model = DataFolder(folder, "test"), make_model(scales=[(32, 48), (48, 72), (64, 96)], compat=compat)
    results = evaluate(model, data, modes=["coarse", "magnet", "fast"], n_patches=[1, 0])
    for mode, n_patches in (("magnet", None), ("fast", [1, 0])):
        scales = results[mode]["scales"]
        assert [tuple(scale["scale"]) for scale in scales] == list(model.scales)
        for number in range(2):

            def stage(image: np.ndarray, number: int = number, n_patches: Any = n_patches) -> torch.Tensor:
                stages = model.predict(image, return_stages=True, n_patches=n_patches).stages
                assert stages is not None
                return stages[number].labels((71, 105))

            assert scales[number]["mean_iou"] == pytest.approx(scored(data, stage), abs=1e-3)
        seconds = [scale["seconds_median"] for scale in scales]
        assert seconds == sorted(seconds) and seconds[-1] == results[mode]["seconds_median"]
        last = {key: scales[-1][key] for key in ("mean_iou", "boundary_iou", "iou")}
        assert last == {key: results[mode][key] for key in last}
    if compat == "paper":
        assert results["magnet"]["scales"][0]["iou"] == results["coarse"]["iou"]
    assert "scales" not in evaluate(model, data, modes=["magnet"], limit=1, per_scale=False)["magnet"]


def test_an_image_with_fewer_scales_ends_early(tmp_path: Path) -> None:
    data = DataFolder(tiny_folder(tmp_path / "data", size=(40, 60), counts=(1, 1, 1)), "test")
    model = make_model(scales=[(32, 48), (64, 96), (96, 144)], follow_image=True)
    assert len(model.plan((40, 60)).scales) == 2
    scales = evaluate(model, data, modes=["magnet"])["magnet"]["scales"]
    assert len(scales) == 3 and scales[1]["iou"] == scales[2]["iou"] != scales[0]["iou"]


def test_full_is_one_pass_at_the_magnification_of_the_last_scale(folder: Path) -> None:
    data, model = DataFolder(folder, "test"), make_model(input_size=(16, 24))
    seen = []

    def one_pass(image: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        pixels = F.interpolate(pixels, (32, 48), mode="bilinear", antialias=True)  # half of the last scale
        probabilities = model.segment(normalize(pixels))
        seen.append(probabilities.shape[-2:])
        return F.interpolate(probabilities, (64, 96), mode="bilinear")[0].argmax(0)

    assert evaluate(model, data, modes=["full"])["full"]["mean_iou"] == pytest.approx(scored(data, one_pass), abs=0.05)
    assert seen == [(32, 48)] * 2


def test_a_pass_that_needs_more_memory_than_there_is_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = DataFolder(folder, "test"), make_model(scales=[(32, 48), (128, 192)])
    readings = [100.0, 110.0]  # MiB before and at the peak of a pass over a sixteenth
    monkeypatch.setattr(modes, "peak_memory", lambda device: readings[0])
    segment = MagNet.segment

    def growing(self: MagNet, images: torch.Tensor, *precision: Any) -> torch.Tensor:
        monkeypatch.setattr(modes, "peak_memory", lambda device: readings[1])
        return segment(self, images, *precision)

    monkeypatch.setattr(MagNet, "segment", growing)
    monkeypatch.setattr(modes, "free_memory", lambda: 159.0)
    full = run_evaluation(model, data, modes=["full", "coarse"])
    assert re.search(r"out of memory: .* 128x192 pixels .* about 0.2 GiB, and 0.2 GiB are free", note_of(full))
    assert full.results["full"]["mean_iou"] is None and full.results["full"]["seconds_median"] is None
    assert full.results["coarse"]["mean_iou"] > 0 and set(full.confusion) == {"coarse"}
    monkeypatch.setattr(modes, "peak_memory", lambda device: readings[0])
    monkeypatch.setattr(modes, "free_memory", lambda: 161.0)
    assert "note" not in evaluate(model, data, modes=["full"], limit=1)["full"]


def note_of(evaluation: Evaluation) -> str:
    return str(evaluation.results["full"]["note"])


@pytest.mark.parametrize(
    "error", [torch.cuda.OutOfMemoryError("out"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_the_allocator_may_say_so_too(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    data, model = DataFolder(folder, "test"), make_model()
    segment = MagNet.segment

    def refuse(self: MagNet, images: torch.Tensor, *precision: Any) -> torch.Tensor:
        if images.shape[-2:] == (64, 96):
            raise error
        return segment(self, images, *precision)

    monkeypatch.setattr(MagNet, "segment", refuse)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**33))
    evaluation = run_evaluation(model, data, modes=["full", "coarse"], limit=1)
    assert note_of(evaluation).startswith("out of memory: one pass over 64x96")
    assert evaluation.results["coarse"]["mean_iou"] > 0


def test_pauses_count_neither_as_time_nor_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, memory = [0.0], [10.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(meter, "peak_memory", lambda device: memory[0])
    monkeypatch.setattr(meter, "reset_peak_memory", lambda device: None)
    watch = meter.Meter(torch.device("cpu"))
    watch.start()
    clock[0] = 3.0
    watch.pause()
    clock[0], memory[0] = 10.0, 99.0  # scoring
    watch.resume()
    clock[0], memory[0] = 12.0, 20.0
    watch.stop()
    assert (watch.seconds, watch.peak) == (5.0, 20.0)


def test_the_first_image_warms_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = DataFolder(folder, "train"), make_model()
    ticks = iter([0.0, 9.0, 0.0, 1.0, 0.0, 2.0, 0.0, 6.0])  # start and stop of four images
    monkeypatch.setattr(meter.time, "perf_counter", lambda: next(ticks))
    coarse = evaluate(model, data, modes=["coarse"])["coarse"]
    assert [coarse[f"seconds_{key}"] for key in ("first", "mean", "median")] == [9, 3, 2]
    assert coarse["timed_images"] == 3
    ticks = iter([0.0, 9.0])
    alone = evaluate(model, data, modes=["coarse"], limit=1)["coarse"]
    assert alone["seconds_median"] == 9 and alone["timed_images"] == 1


def test_figures_by_the_releases_definitions(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data", counts=(1, 1, 2))
    (folder / "classes.txt").write_text("0 Unknown\n1 thing\n2 never\n")
    data, model = DataFolder(folder, "test"), make_model(3)
    evaluation = run_evaluation(model, data, modes=["coarse"])
    coarse, confusion = evaluation.results["coarse"], evaluation.confusion["coarse"]
    assert coarse["official_mean_iou"] == pytest.approx(official_mean_iou(confusion, [1, 2]) * 100, abs=1e-3)
    assert coarse["official_mean_iou"] != coarse["mean_iou"]
    each = []
    for index in range(2):
        image, labels = data.load(index)
        predicted = model.predict(image, n_patches=0).labels
        each.append(frequency_weighted_iou(confusion_matrix(predicted, labels, 3), [1, 2]) * 100)
    assert coarse["official_frequency_weighted_iou"] == pytest.approx(sum(each) / 2, abs=0.01)
    shown = [record["coarse"]["official_frequency_weighted_iou"] for record in evaluation.images]
    assert shown == pytest.approx(each, abs=0.01)


def test_a_model_in_training_mode_is_evaluated_and_left_so(folder: Path) -> None:
    data, model = DataFolder(folder, "test"), make_model()
    expected = [r["mean_iou"] for r in evaluate(model, data, modes=["coarse", "sliding"], limit=1).values()]
    model.train()
    model.refiners.eval()
    assert [r["mean_iou"] for r in evaluate(model, data, modes=["coarse", "sliding"], limit=1).values()] == expected
    assert model.segmenter.training and not model.refiners.training


def test_predictions_outside_of_the_classes_are_an_error(folder: Path) -> None:
    torch.manual_seed(0)
    model = MagNet(nn.Conv2d(3, 40, 1), None, scales=[(32, 48)], patch_size=(32, 48), n_points=1)
    assert model.num_classes is None
    with pytest.raises(MagNetError, match=r"'p6' or the predictions for it lie outside of the classes 0\.\.1"):
        evaluate(model, DataFolder(folder, "test"), modes=["coarse"])


@pytest.mark.slow
def test_two_processes_find_what_one_does(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data", counts=(1, 1, 3))
    make_model(network="compact").save_pretrained(tmp_path / "model")
    alone, together = tmp_path / "one.json", tmp_path / "two.json"
    arguments = ["--model", str(tmp_path / "model"), "--data", str(folder), "--n-patches", "1", "--device", "cpu"]
    arguments += ["--modes", "coarse,fast"]
    started = start_two("-m", "magnet", "eval", *arguments, "--out", str(together))
    try:
        assert main([*arguments, "--out", str(alone)]) == 0
        printed = [process.communicate(timeout=300)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0]
    assert "written" in printed[0] and printed[1] == ""
    one, two = json.loads(alone.read_text()), json.loads(together.read_text())
    assert two["processes"] == 2 and two["confusion"] == one["confusion"]
    same = ("mean_iou", "boundary_iou", "official_frequency_weighted_iou", "iou", "class_accuracy")
    for mode in ("coarse", "fast"):
        assert [two["results"][mode][key] for key in same] == [one["results"][mode][key] for key in same]
    assert two["results"]["coarse"]["timed_images"] == 1  # the first image of each process warms up
    assert [scale["mean_iou"] for scale in two["results"]["fast"]["scales"]] == [
        scale["mean_iou"] for scale in one["results"]["fast"]["scales"]
    ]
    assert [(r["name"], r["gain"]) for r in two["per_image"]] == [(r["name"], r["gain"]) for r in one["per_image"]]


def test_the_command_writes_json(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model(network="compact").save_pretrained(tmp_path / "model")
    out = tmp_path / "results" / "r.json"
    arguments = ["--model", str(tmp_path / "model"), "--data", str(folder), "--split", "val", "--n-patches", "1"]
    assert main([*arguments, "--modes", "coarse,fast", "--n-points", "100", "--limit", "1", "--out", str(out)]) == 0
    content = json.loads(out.read_text())
    assert content["n_points"] == 100 and content["images"] == 1 and content["n_patches"] == 1
    assert set(content["results"]) == {"coarse", "fast"}
    assert "thing" in capsys.readouterr().out
    assert [p.name for p in out.parent.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("words", "of_the_model", "expected"), [(["0"], 1, 0), ([], 0, 0), ([], None, 4), (["2"], 0, 2)]
)
def test_no_patches_are_a_number_of_patches(
    folder: Path, tmp_path: Path, words: list[str], of_the_model: int | None, expected: int
) -> None:
    make_model(network="compact", n_patches=of_the_model).save_pretrained(tmp_path / "model")
    options = ["--n-patches", *words] if words else []
    arguments = ["--model", str(tmp_path / "model"), "--data", str(folder), "--modes", "coarse,fast", "--limit", "1"]
    assert main([*arguments, *options, "--out", str(tmp_path / "m.json")]) == 0
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["n_patches"] == expected
    if expected == 0:
        assert content["results"]["fast"]["mean_iou"] == content["results"]["coarse"]["mean_iou"]


@pytest.mark.parametrize(("of_the_model", "expected"), [(0, 0), (3, 3)])
def test_no_patches_in_an_ablation_are_a_number(
    of_the_model: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks" / "ablations"))
    ablations = importlib.import_module("run")
    seen: list[object] = []

    def record(*_: object, modes: list[str], n_patches: object, **__: object) -> dict[str, dict]:
        seen.append(n_patches)
        return {modes[0]: {}}

    monkeypatch.setattr(ablations, "evaluate", record)
    variant = ablations.Variant("patches", "own", settings={"n_patches": of_the_model})
    ablations.figures(make_model(), variant, [])
    assert seen == [expected]


@pytest.mark.parametrize(("of_the_config", "expected"), [("0", 0), ("3", 3)])
def test_no_patches_in_a_configuration_are_a_number(
    folder: Path, tmp_path: Path, of_the_config: str, expected: int
) -> None:
    make_model(network="compact", n_patches=1).save_pretrained(tmp_path / "model")
    file = tmp_path / "tiny.yaml"
    file.write_text(
        f"name: tiny\nwalk: {{scales: [[32, 48], [64, 96]], patch_size: [32, 48], n_patches: {of_the_config}}}\n"
    )
    arguments = ["--config", str(file), "--model", str(tmp_path / "model"), "--data", str(folder), "--modes", "fast"]
    assert main([*arguments, "--limit", "1", "--out", str(tmp_path / "m.json")]) == 0
    assert json.loads((tmp_path / "m.json").read_text())["n_patches"] == expected


def test_a_configuration_names_data_and_model(folder: Path, tmp_path: Path) -> None:
    make_model(network="compact").save_pretrained(tmp_path / "tiny" / "model")
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


def test_a_split_that_there_is_not_is_a_wrong_argument(folder: Path, tmp_path: Path) -> None:
    make_model(network="compact").save_pretrained(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--data", str(folder), "--split", "nosuch"]
    with pytest.raises(ArgumentError, match=r"^--split: expected a list of '.*' \(test, train, val\), got 'nosuch'"):
        main(words)
    (tmp_path / "data.yaml").write_text(f"root: {folder}\nclasses: [ground, thing]\n")
    with pytest.raises(ArgumentError, match=r"^split: expected train, val or test, got 'nosuch'"):
        main(["--model", str(tmp_path / "model"), "--data", str(tmp_path / "data.yaml"), "--split", "nosuch"])


def test_keys_of_the_data_are_set_beside_its_path(folder: Path, tmp_path: Path) -> None:
    make_model(network="compact").save_pretrained(tmp_path / "model")
    (folder / "lossy").mkdir()
    for path in (folder / "labels").iterdir():
        Image.open(path).save(folder / "lossy" / f"{path.stem}.jpg", quality=100)
    (tmp_path / "data.yaml").write_text(
        f"root: {folder}\nclasses: [ground, thing]\nmapping: {{{', '.join(f'{i}: {int(i > 0)}' for i in range(9))}}}\n"
        "test: {images: images, labels: lossy}\n"
    )
    words = ["--model", str(tmp_path / "model"), "--data", str(tmp_path / "data.yaml"), "--modes", "coarse"]
    with pytest.raises(MagNetError, match=r"data\.accept: \[lossy\]"):
        main(words)
    assert main([*words, "--data.accept", "[lossy]"]) == 0
    run = tmp_path / "run.yaml"
    run.write_text("name: x\nwalk: {scales: [[32, 48], [64, 96]], patch_size: [32, 48]}\ndata: {accept: [lossy]}\n")
    assert main([*words, "--config", str(run)]) == 0
    with pytest.raises(ArgumentError, match=r"^argument --walk\.n_points: expected keys of the data alone"):
        main([*words, "--data.accept", "[lossy]", "--walk.n_points", "3"])


def test_labels_of_another_size_than_the_last_scale(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "data", size=(71, 105))
    result = evaluate(make_model(), DataFolder(folder, "val"), n_patches=2)
    assert all(np.isfinite(r["mean_iou"]) for r in result.values())
