"""The bundled recipes: complete, as published where they say so, and each runs on a tiny sample of its data; and the
errors of a configuration."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sample_data import SAMPLES
from tiny_data import tiny_config, tiny_folder

from magnet.checkpoints.errors import CheckpointError
from magnet.cli.config import RECIPES, ConfigParser, build_train_parser, parse_config
from magnet.cli.train import main
from magnet.errors import MagNetError
from magnet.networks import build_segmenter
from magnet.training.backbone import load_backbone
from magnet.training.checks import check_config
from magnet.training.config import OptimConfig, TrainConfig, with_steps
from magnet.training.keys import config_keys, suggest
from magnet.training.losses import Loss
from magnet.training.optimiser import Optimiser
from magnet.training.run import run_training

NAMES = sorted(path.stem for path in RECIPES.glob("*.yaml"))
PUBLISHED = ["cityscapes", "cityscapes_hrnet48", "deepglobe", "gleason"]
TINY = {  # what makes a step of any recipe one of a second
    "walk.scales": "[[32,48],[64,96]]",
    "walk.patch_size": "[32,48]",
    "walk.input_size": "null",
    "walk.n_patches": "2",
    "data.workers": "0",
    "checkpoint_every": "0",
    "amp": "none",
    "segmenter.iterations": "2",
    "segmenter.batch_size": "2",
    "segmenter.scale_weights": "[1,1]",
    "segmenter.val_every": "0",
    "segmenter.val_images": "1",
    "refiner.iterations": "2",
    "refiner.batch_size": "2",
    "refiner.crop": "null",
    "refiner.val_every": "0",
    "refiner.val_chains": "1",
}


@cache
def parser() -> ConfigParser:
    return build_train_parser()


@pytest.fixture(autouse=True)
def one_thread(restore_threads):
    torch.set_num_threads(1)  # small convolutions: a second thread waits more than it works


def recipe(name: str, **changes: str) -> TrainConfig:
    return parse_config(["--config", name, *[f"--{key}={value}" for key, value in changes.items()]], parser())


def sample(name: str, path: Path) -> dict[str, str]:
    """Keys that open a tiny data set in the layout that the recipe is for."""
    if name == "scenes":
        return {
            f"data.generated.{k}": v for k, v in {"train": "2", "val": "1", "test": "1", "size": "[256,256]"}.items()
        }
    for layout, write in SAMPLES.items():
        if name.startswith(layout):
            return write(path)
    folder = tiny_folder(path)
    if name == "camvid":
        (folder / "classes.txt").write_text("".join(f"{i} class {i}\n" for i in range(11)))
    return {"data.folders": f"[{folder}]"}


# what the recipes say


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_passes_the_checks_and_comes_back_from_print_config(name, tmp_path, capsys):
    config = recipe(name)
    check_config(config)
    assert config.name == name
    with pytest.raises(SystemExit) as stop:
        parse_config(
            ["--config", name, "--segmenter.optim.lr", "0.125", "--data.root", "here", "--print_config"], parser()
        )
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and "lr: 0.125" in printed and "root: here" in printed
    (tmp_path / "whole.yaml").write_text(printed)
    config.segmenter.optim.lr, config.data.root = 0.125, "here"
    assert parse_config(["--config", str(tmp_path / "whole.yaml")], parser()) == config


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_setting_of_a_published_recipe_names_its_source(name):
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    assert any(f"--config {name} " in line for line in lines[:3])
    described: list[int] = []  # indents of the sections around a line whose heading names a source, for all in them
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        described = [i for i in described if i < indent]
        setting, _, source = line.partition(" # ")
        heading = setting.endswith(":")
        if source.startswith(("release", "HRNet", "ours")):
            described += [indent] if heading else []
        else:
            assert heading or described or setting.startswith("name:"), line


def test_the_published_settings():
    configs = {name: recipe(name) for name in PUBLISHED}
    networks = [config.segmenter.network for config in configs.values()]
    assert networks == ["hrnet18+ocr", "hrnet48+ocr", "fpn", "psp"]
    assert configs["cityscapes"].walk.scales == [(128, 256), (256, 512), (512, 1024), (1024, 2048)]
    assert configs["deepglobe"].network_sizes == [(508, 508), (1016, 1016), (2032, 2032)]
    assert [config.walk.n_points for config in configs.values()] == [65536, 65536, 0.75, 1.0]
    for config in configs.values():
        weights = config.segmenter.class_weights
        if config.data.format == "cityscapes":  # inverse to how frequent a class is: road least, motorcycle most
            assert len(weights) == 19 and weights.index(min(weights)) == 0 and weights.index(max(weights)) == 17
            assert config.segmenter.optim.lr == 0.01 and config.segmenter.augment.zoom == (0.5, 2.1)
        refiner = with_steps(config, 800).refiner
        assert refiner.iterations == 5000 and refiner.loss == "ohem"
        parameter = torch.nn.Parameter(torch.zeros(2))
        optimiser = Optimiser([parameter], refiner.optim, refiner.iterations)
        rates = []
        for epoch in (0, 9.99, 10, 20, 30, 40, 44.99, 45, 49.99):
            optimiser.step_index = round(epoch * 100)
            rates.append(optimiser.rate())
        falls = [1, 1, 0.1, 0.01, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
        assert rates == pytest.approx([1e-3 * fall for fall in falls])
        groups = optimiser.optimiser.param_groups
        assert {group["weight_decay"] for group in groups} == {5e-4} and groups[0]["momentum"] == 0.9


# each recipe runs


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name != "cityscapes_hrnet48"]
)  # cityscapes, but for the network
def test_both_stages_of_a_recipe_run_on_its_data(name, tmp_path):
    # the networks of the recipes are in the test below: here, one that is small
    changes = {**TINY, **sample(name, tmp_path / "data"), "out": str(tmp_path), "segmenter.network": "compact"}
    changes["data.accept"] = "[absent]"  # a tiny data set holds a few of the classes
    model = run_training(recipe(name, **changes))
    log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
    assert model.is_dir() and {line["stage"] for line in log} == {"segmenter", "refiner"}
    assert max(line["step"] for line in log) == 2


@pytest.mark.parametrize("name", ["cityscapes", "deepglobe"])  # the other two are large
def test_a_step_of_the_network_of_a_recipe(name):
    config = recipe(name)
    torch.manual_seed(0)
    num_classes = len(config.segmenter.class_weights) or 7
    network = build_segmenter(config.segmenter.network, num_classes).train()
    loss_of = Loss.of(config.segmenter, num_classes, torch.device("cpu"))
    optimiser = Optimiser(list(network.parameters()), config.segmenter.optim, 100)
    images = torch.randn(2, 3, 16, 16)
    target = torch.randint(0, num_classes, (2, 16, 16))
    loss = loss_of(network(images, heads=True) if getattr(network, "has_aux", False) else network(images), target)
    optimiser.backward(loss)
    assert loss.isfinite() and all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    first = next(network.parameters())
    before = first.detach().clone()
    optimiser.step()
    assert not torch.equal(first, before) and first.isfinite().all()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_of_a_recipe_fits_its_input_size(name):
    config = recipe(name)
    with torch.device("meta"):
        network = build_segmenter(config.segmenter.network, 5).train()
        images = torch.empty(config.segmenter.batch_size, 3, *config.input_size)
    logits = network(images, heads=True) if getattr(network, "has_aux", False) else network(images)
    expected = (config.segmenter.batch_size, 5, *config.input_size)
    assert {tuple(one.shape) for one in (logits if isinstance(logits, tuple) else [logits])} == {expected}


def test_epochs_are_passes_over_the_training_images(tmp_path):
    folder = tiny_folder(tmp_path / "data", counts=(5, 1, 1))
    words = tiny_config(folder, tmp_path, **{"segmenter.batch_size": "2"})
    at = words.index("--segmenter.iterations")
    assert main([*words[:at], *words[at + 2 :], "--segmenter.epochs", "1.5", "--stage", "segmenter"]) == 0
    log = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4  # 1.5 * 5 images, 2 a step
    again = parse_config(["--config", str(tmp_path / "tiny" / "config.json")], parser())  # as it was given
    assert (again.segmenter.epochs, again.segmenter.iterations) == (1.5, 0)


def test_either_length_on_the_command_line_replaces_the_other_of_the_file():
    config = recipe("cityscapes", **{"segmenter.iterations": "7"})
    assert (config.segmenter.iterations, config.segmenter.epochs, config.refiner.epochs) == (7, 0, 50)
    check_config(config)
    config = recipe("scenes", **{"refiner.epochs": "3"})
    assert (config.refiner.iterations, config.refiner.epochs) == (0, 3)
    check_config(config)


@pytest.mark.parametrize("decay_norms", [False, True])
def test_weight_decay_of_norms(decay_norms):
    norm = torch.nn.BatchNorm2d(3)
    config = OptimConfig(name="sgd", lr=0.1, weight_decay=0.5, decay_norms=decay_norms, warmup=0, schedule="constant")
    optimiser = Optimiser(list(norm.parameters()), config, 10)
    optimiser.backward(0 * norm.weight.sum() + 0 * norm.bias.sum())
    optimiser.step()
    torch.testing.assert_close(norm.weight.detach(), torch.full((3,), 0.95 if decay_norms else 1.0))


# ImageNet weights


def backbone_file(network: str, path: Path, *, prefix: str = "") -> dict[str, torch.Tensor]:
    """A state dict with the backbone's keys and a classifier, saved; every float is 2."""
    name = {"fpn": "resnet_backbone.", "psp": "feats."}.get(network, "")
    heads = ("aux_head", "cls_head", "conv3x3_ocr", "ocr_distri_head")
    state = {
        prefix + key.removeprefix(name): torch.full_like(value, 2)
        for key, value in build_segmenter(network, 3).state_dict().items()
        if key.startswith(name) and not key.startswith(heads)
    }
    classifier = ["fc.weight", "fc.bias"] if name else ["incre_modules.0.0.conv1.weight", "classifier.weight"]
    state.update({prefix + key: torch.zeros(4) for key in classifier})
    torch.save(state, path)
    return state


@pytest.mark.parametrize("network", ["hrnet18+ocr", "fpn"])
def test_imagenet_weights_go_into_the_backbone_alone(network, tmp_path, capsys):
    state = backbone_file(network, tmp_path / "w.pth", prefix="module." if network == "fpn" else "")
    segmenter = build_segmenter(network, 3)
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    report = load_backbone(segmenter, tmp_path / "w.pth")
    assert len(report.loaded) == len(state) - 2 and len(report.ignored) == 2
    for key, value in segmenter.state_dict().items():
        expected = torch.full_like(value, 2) if key in report.loaded else before[key]
        assert torch.equal(value, expected), key
    assert f"{len(state) - 2} of {len(state) - 2}" in capsys.readouterr().out


def test_imagenet_weights_that_do_not_fit(tmp_path):
    path, segmenter = tmp_path / "w.pth", build_segmenter("hrnet18+ocr", 3)
    before = segmenter.state_dict()["bn1.weight"].clone()
    state = backbone_file("hrnet18+ocr", path)
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save({**{k: v for k, v in old.items() if k != "conv1.weight"}, "bn1.bias": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match=r"1 missing: conv1\.weight; 1 mis-shaped: bn1\.bias"):
        load_backbone(segmenter, path)
    torch.save({**state, "decoder.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match=r"more than a backbone.*decoder\.weight"):
        load_backbone(segmenter, path)
    torch.save({"a.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match=r"holds no tensor of the backbone of HRNetOCR; its first keys are a\.w"):
        load_backbone(segmenter, path)
    assert torch.equal(segmenter.state_dict()["bn1.weight"], before)
    with pytest.raises(MagNetError, match=r"segmenter\.weights: Compact has no backbone"):
        load_backbone(build_segmenter("compact", 3), path)
    torch.save(old, path)  # as files from before there were such counters
    assert len(load_backbone(segmenter, path).loaded) == len(old) - 2


def test_training_starts_from_imagenet_weights(tmp_path):
    backbone_file("hrnet18+ocr", tmp_path / "w.pth")
    keys = {**TINY, **sample("cityscapes", tmp_path / "data"), "out": str(tmp_path), "stage": "segmenter"}
    keys |= {"segmenter.iterations": "1", "segmenter.optim.lr": "1e-30", "walk.scales": "[[16,24],[32,48]]"}
    keys |= {"data.accept": "[absent]", "walk.patch_size": "[16,24]", "segmenter.weights": str(tmp_path / "w.pth")}
    folder = run_training(recipe("cityscapes", **keys))
    assert bool((load_file(folder / "last.safetensors")["conv1.weight"] == 2).all())


# wrong configurations


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        parse_config(words, parser())
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segmenter: {iteratons: 3}", "'segmenter.iteratons', which there is not; did you mean segmenter.iterations?"),
        ("segmentr: {}", "'segmentr', which there is not; did you mean segmenter?"),
        ("segmenter: {augmnt: {}}", "did you mean segmenter.augment?"),
        ("segmenter: {encoder_weights: w.pth}", "did you mean segmenter.weights?"),
        ("segmenter: {optim: {lrr: 3}}", "did you mean segmenter.optim.lr?"),
        ("lr: 3", "did you mean segmenter.optim.lr or refiner.optim.lr?"),
        ("bananas:", "'bananas', which there is not; magnet train --help lists the keys"),
        ("segmenter: 3", "segmenter: expected a section with keys of its own, got 3"),
        ("segmenter: {optim: }", "segmenter.optim: expected a section with keys of its own, got nothing"),
        ("seed: ", "seed: expected a whole number from 0 to 9223372036854775807, got nothing"),
        (
            "segmenter: {iterations: 3.5}",
            "expected a whole number from 0 to 1000000000 (0 = counted by epochs), got 3.5",
        ),
        ("segmenter: {optim: {lr: fast}}", "segmenter.optim.lr: expected a number above 0, up to 1000, got 'fast'"),
        ("amp: fp8", "amp: expected one of none, bf16, fp16, auto, got 'fp8'"),
        ("seed: 3\nseed: 4", "line 4: the key 'seed' is given twice"),
        ("- 3", "not YAML that can be used (line 3"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(text, message, tmp_path, capsys):
    file = tmp_path / "c.yaml"
    file.write_text(f"name: a\nwalk: {{scales: [[8, 8], [16, 16]], patch_size: [8, 8]}}\n{text}\n")
    assert message in refused(["--config", str(file)], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--segmenter.iteratons", "3"], "there is no --segmenter.iteratons; did you mean --segmenter.iterations?"),
        (["--iterations=3"], "did you mean --segmenter.iterations or --refiner.iterations?"),
        (["--segmenter.optim", "{lrr: 3}"], "no key 'segmenter.optim.lrr'; did you mean segmenter.optim.lr?"),
        (["--walk.patch_size", "7"], "expected a size [height, width] of 1 to 2147483648 pixels, got 7"),
        (["--segmenter", "5"], "segmenter: expected a section"),
        (["more"], "unexpected 'more'"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, message, capsys):
    assert message in refused(["--config", "scenes", *words], capsys)


def test_a_recipe_that_there_is_not(tmp_path, monkeypatch, capsys):
    err = refused(["--config", "citiscapes"], capsys)
    assert "cityscapes, cityscapes_hrnet48, custom" in err and "got 'citiscapes'" in err
    (tmp_path / "scenes").mkdir()  # a folder of that name is no file
    monkeypatch.chdir(tmp_path)
    assert recipe("scenes").name == "scenes"


def test_every_key_is_suggested_for_itself():
    for key in config_keys():
        if not key.endswith("info"):
            assert key in suggest(key)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmenter.iterations": "3", "segmenter.epochs": "2"}, r"segmenter\.iterations: .*iterations 3 and epochs 2"),
        ({"refiner.iterations": "0"}, r"refiner\.iterations: expected either .*got neither"),
        ({"segmenter.weights": "absent.pth"}, r"segmenter\.weights: expected a file, but 'absent\.pth'"),
        ({"segmenter.weights": "w.pth", "segmenter.init": "hrf"}, r"segmenter\.weights: expected none where"),
        ({"segmenter.ohem_threshold": "0"}, r"segmenter\.ohem_threshold: expected a probability"),
        ({"refiner.ohem_min_kept": "-1"}, r"refiner\.ohem_min_kept: expected a count"),
        ({"segmenter.aux_weight": "-0.5"}, r"segmenter\.aux_weight"),
        ({"segmenter.optim.momentum": "1"}, r"segmenter\.optim\.momentum"),
        ({"segmenter.optim.steps": "[10,20]"}, r"segmenter\.optim\.steps: expected fractions of the run"),
        ({"segmenter.augment.noise": "-1"}, r"segmenter\.augment\.noise"),
        ({"refiner.augment.zoom": "[0.5,2]"}, r"refiner\.augment\.zoom: expected \(1\.0, 1\.0\)"),
    ],
)
def test_values_that_cannot_be_meant(changes, message):
    with pytest.raises(MagNetError, match=message):
        check_config(parser().parse(["--config", "scenes", *[f"--{key}={value}" for key, value in changes.items()]]))


def test_weights_for_a_network_without_a_backbone(tmp_path):
    (tmp_path / "w.pth").touch()
    with pytest.raises(MagNetError, match=r"segmenter\.weights: expected none for 'compact', only for hrnet18"):
        check_config(recipe("custom", **{"segmenter.weights": str(tmp_path / "w.pth")}))
