"""``magnet convert``: checkpoints as the public release lays them out become a folder with the same results."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from seeded import golden_keys, probs, seed_module, seeded_state, tensor_for

from magnet import MagNet, RefinementModule, build_segmenter
from magnet.cli import main as cli
from magnet.errors import MagNetError
from magnet.model.convert import convert

SETTINGS = {"scales": [(16, 32), (32, 64), (48, 96)], "patch_size": (16, 32), "n_points": 300, "kernel_size": 5}
WORDS = ["--scales", "16x32", "32x64", "48x96", "--patch-size", "16x32", "--n-points", "300", "--kernel-size", "5"]


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # fastest for tensors this small


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the release's layout: a backbone in its training wrapper, and a refinement module for each scale."""
    folder = tmp_path_factory.mktemp("release")
    backbone = {f"model.{key}": tensor_for(key, shape) for key, shape, _ in golden_keys("hrnet18+ocr/19")}
    torch.save({**backbone, "loss.criterion.weight": torch.ones(19)}, folder / "backbone.pth")
    for i in (1, 2):
        torch.save(seeded_state(RefinementModule(19), f"refine{i}."), folder / f"refine{i}.pth")
    return folder


def run(release: Path, out: Path, *more: object, backbone: str = "backbone.pth", classes: int = 19) -> int:
    refiners = ["--refiners", release / "refine1.pth", release / "refine2.pth"]
    words = ["--backbone", release / backbone, *refiners, "--num-classes", classes, "--out", out, *more]
    return cli.main(["convert", *map(str, words)])


def test_the_folder_gives_the_results_of_the_networks(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    out = tmp_path / "model"
    assert run(release, out, "--network", "hrnet18+ocr", *WORDS, "--n-patches", 2, "--report", report) == 0
    segmenter = seed_module(build_segmenter("hrnet18+ocr", 19))
    refiners = [seed_module(RefinementModule(19), f"refine{i}.") for i in (1, 2)]
    direct = MagNet(segmenter, refiners, **SETTINGS, n_patches=2, compat="official")
    loaded = MagNet.from_pretrained(out)
    assert loaded.compat == "official" and loaded.extra_repr() == direct.extra_repr()
    image = (probs("convert", 1, 3, 60, 120)[0] * 255).byte().permute(1, 2, 0).numpy()
    expected, found = direct.predict(image), loaded.predict(image)
    assert torch.equal(found.probabilities, expected.probabilities) and torch.equal(found.labels, expected.labels)
    assert loaded.info["converted_from"][0]["file"] == "backbone.pth"

    printed = capsys.readouterr().out
    names = [key for key, _, _ in golden_keys("hrnet18+ocr/19")]
    assert f"backbone.pth: {len(names)} keys matched under 'model.', 1 ignored, 0 keys missing" in printed
    assert "  ignored     loss.criterion.weight: " in printed
    told = json.loads(report.read_text())
    assert [Path(keys["source"]).name for keys in told] == ["backbone.pth", "refine1.pth", "refine2.pth"]
    assert told[0]["matched"] == names and list(told[0]["ignored"]) == ["loss.criterion.weight"]


def test_what_does_not_fit_is_told_in_full_and_nothing_is_written(
    release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.load(release / "backbone.pth", weights_only=True)
    del state["model.conv1.weight"], state["model.bn1.bias"]
    state["model.bn1.weight"] = torch.ones(7)
    state["model.more.weight"] = torch.ones(3)
    torch.save(state, release / "bad.pth")
    out = tmp_path / "model"
    report = tmp_path / "report.json"
    words = ["--network", "hrnet18+ocr", *WORDS, "--report", report]
    assert run(release, out, *words, backbone="bad.pth") == 1
    captured = capsys.readouterr()
    for line in (
        "missing     conv1.weight",
        "missing     bn1.bias",
        "unexpected  more.weight",
        "mis-shaped  bn1.weight: file 7, network 64",
        "ignored     loss.criterion.weight: of the loss",
    ):
        assert f"  {line}" in captured.out
    assert "refine2.pth: 60 keys matched" in captured.out  # every file is looked at
    assert captured.err.startswith("magnet: error: convert: 1 of 3 checkpoints do not fit")
    assert "2 keys missing, 1 unexpected, 1 mis-shaped" in captured.err and len(captured.err.splitlines()) == 1
    assert not out.exists() and json.loads(report.read_text())[0]["unexpected"] == ["more.weight"]


def test_other_numbers_of_classes_do_not_fit(release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(release, tmp_path / "model", "--network", "hrnet18+ocr", *WORDS, classes=7) == 1
    captured = capsys.readouterr()
    assert "3 of 3 checkpoints do not fit" in captured.err and "--num-classes" in captured.err
    assert "file 19x" in captured.out and "network 7x" in captured.out


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain pickle", "old pickle"])
def test_pickles_that_need_more_than_tensors_are_refused(
    release: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "executed"
    content = {"conv1.weight": torch.zeros(1), "x": Planted(trace)}
    if "pickle" in kind:
        (release / "evil.pth").write_bytes(pickle.dumps(content, protocol=2 if kind == "old pickle" else 4))
    else:
        torch.save(content, release / "evil.pth", _use_new_zipfile_serialization=kind == "zip")
    out = tmp_path / "model"
    assert run(release, out, "--network", "fpn", *WORDS, backbone="evil.pth") == 1
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert f"holds more than tensors ({os.mkdir.__module__}.mkdir)" in captured.err and "evil.pth" in captured.err
    assert not trace.exists() and not out.exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scales": [(32, 64), (16, 32)]}, "scales: expected sizes"),
        ({"patch_size": (40, 64)}, "patch_size: expected at most"),
        ({"n_points": 1.5}, "n_points: expected"),
        ({"scales": [(16, 32), (32, 64)]}, "refiner: expected one module, or one for each scale"),
        ({"network": "unet"}, "name: expected one of"),
    ],
)
def test_settings_are_checked_before_any_file_is_read(tmp_path: Path, changes: dict, told: str) -> None:
    settings = {"network": "fpn", "num_classes": 4, **SETTINGS, **changes}
    with pytest.raises(ValueError, match=told):
        convert(tmp_path / "none.pth", [tmp_path / "none.pth"] * 2, tmp_path / "model", **settings)
    assert not list(tmp_path.iterdir())
    with pytest.raises(MagNetError, match=r"none\.pth' does not exist"):
        convert(tmp_path / "none.pth", ["x"], tmp_path / "model", network="fpn", num_classes=4, **SETTINGS)


def test_a_recipe_gives_the_settings(release: Path, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(
        "name: mine\ndata: {folders: [none]}\nsegmenter: {network: hrnet18+ocr}\n"
        "walk: {scales: [[16, 32], [32, 64], [48, 96]], patch_size: [16, 32], n_points: 200, kernel_size: 7}\n"
    )
    assert run(release, tmp_path / "model", "--config", tmp_path / "my.yaml", "--n-points", 0.5) == 0
    model = MagNet.from_pretrained(tmp_path / "model")
    assert list(model.scales) == SETTINGS["scales"] and model.kernel_size == 7
    assert model.n_points == 0.5 and model.n_patches is None


@pytest.mark.parametrize("words", [[], ["--network", "fpn"], ["--network", "fpn", *WORDS[:-4], "--n-points", "2.5"]])
def test_wrong_arguments_exit_with_2(
    words: list[str], release: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(release, tmp_path / "model", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("magnet convert: error: ") and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
