"""Training: reproducible, complete, and clear about what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_data import tiny_config, tiny_folder

from magnet.cli.config import RECIPES, build_train_parser, parse_config
from magnet.cli.train import main
from magnet.data import IGNORE_INDEX, DataFolder, ScaleCache
from magnet.errors import MagNetError
from magnet.images.match_colours import channel_statistics
from magnet.model.magnet import MagNet
from magnet.networks import RefinementModule, build_segmenter
from magnet.training import loop
from magnet.training.augment import ColourChange, cut, random_sample
from magnet.training.config import AugmentConfig, OptimConfig
from magnet.training.losses import dice_loss
from magnet.training.network import start_from
from magnet.training.optimiser import Average, Optimiser
from magnet.training.run import run_training
from magnet.training.segmenter import SampleSource


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # the work is too small for more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


# configuration


@pytest.mark.parametrize("recipe", sorted(p.stem for p in RECIPES.glob("*.yaml")))
def test_recipes_parse(recipe: str) -> None:
    config = parse_config(["--config", recipe])
    assert config.name and len(config.walk.scales) >= 2
    assert len(config.network_sizes) == len(config.walk.scales)


def test_keys_on_the_command_line_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "name: a\nwalk: {scales: [[8, 8], [16, 16]], patch_size: [8, 8], n_points: 0.5}\nsegmenter: {iterations: 7}\n"
    )
    config = parse_config(["--config", str(file), "--segmenter.optim.lr", "0.5", "--walk.n_points", "300"])
    assert (config.name, config.segmenter.iterations, config.segmenter.optim.lr) == ("a", 7, 0.5)
    assert config.walk.n_points == 300 and isinstance(config.walk.n_points, int)
    assert config.walk.scales == [(8, 8), (16, 16)]


@pytest.mark.parametrize(
    "wrong",
    [["--segmenter.iteratons", "3"], ["--walk.patch_size", "7"], ["--amp", "fp8"], ["--segmenter.iterations", "many"]],
)
def test_wrong_keys_and_values_exit_with_2(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        parse_config([*tiny_config(tmp_path, tmp_path), *wrong])
    assert error.value.code == 2
    err = capsys.readouterr().err
    assert wrong[0].split(".")[-1].lstrip("-") in err and err.count("\n") == 1


def test_unknown_key_in_the_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("name: a\nwalk: {scales: [[8, 8]], patch_size: [8, 8]}\nsegmentr: {iterations: 3}\n")
    with pytest.raises(SystemExit) as error:
        parse_config(["--config", str(file)])
    assert error.value.code == 2 and "segmentr" in capsys.readouterr().err


def test_flags_may_stand_without_a_value(tmp_path: Path) -> None:
    given = [*tiny_config(tmp_path, tmp_path), "--resume", "--half", "false", "--tensorboard"]
    config = parse_config(given)
    assert (config.resume, config.half, config.tensorboard, config.compile) == (True, False, True, False)


def test_help_explains_the_keys() -> None:
    text = build_train_parser().format_help()
    assert "--segmenter.iterations" in text and "optimiser steps" in text


# samples


def test_cut_without_geometry_is_a_plain_crop(folder: Path) -> None:
    image, labels = DataFolder(folder, "train").load(0)
    pixels, target = cut(image, labels, (30, 40), (20, 30))
    np.testing.assert_array_equal((pixels * 255).round().permute(1, 2, 0).numpy(), image[20:40, 25:55])
    np.testing.assert_array_equal(target.numpy(), labels[20:40, 25:55])


def test_cut_keeps_image_and_labels_together_and_ignores_the_outside() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[:, 40:] = 1
    image = np.repeat(labels[..., None] * 255, 3, axis=2)
    for angle, zoom, flip in ((0.4, 1.0, (False, True)), (-0.7, 1.3, (True, False)), (0.0, 0.7, (False, False))):
        pixels, target = cut(image, labels, (30.0, 40.0), (60, 80), angle=angle, zoom=zoom, flip=flip)
        inside = target != IGNORE_INDEX
        assert ((pixels[0] > 0.5).long() == target)[inside].float().mean() > 0.99
        if zoom <= 1:
            assert (~inside).any() and inside.float().mean() > 0.4
    turned, _ = cut(image, labels, (30.0, 40.0), (20, 20), angle=np.pi / 2)
    assert turned[0, :9].mean() != turned[0, 11:].mean()  # the edge, upright before, lies now


def test_the_same_generator_gives_the_same_sample(folder: Path) -> None:
    image, labels = DataFolder(folder, "train").load(0)
    augment = AugmentConfig(rotate=20, zoom=(0.8, 1.2), noise=0.05)
    first, second, other = (
        random_sample(np.random.default_rng(s), image, labels, (32, 48), augment) for s in (5, 5, 6)
    )
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_colour_stays_in_range() -> None:
    for seed in range(5):
        changed = ColourChange(np.random.default_rng(seed), AugmentConfig(noise=0.2, gamma=1))(torch.rand(3, 8, 8))
        assert changed.min() >= 0 and changed.max() <= 1


def test_samples_that_zoom_in_are_cut_from_a_finer_copy(folder: Path) -> None:
    cache = ScaleCache(DataFolder(folder, "train"), [(16, 24), (32, 48), (64, 96)])
    rng = np.random.default_rng(0)
    for zoom, weights, found in (
        (1.0, [1, 0, 0], 16),
        (1.6, [1, 0, 0], 32),
        (3.0, [1, 0, 0], 64),
        (3.0, [0, 0, 1], 64),
    ):
        source = SampleSource([cache], weights)
        drawn = source.draw(rng, AugmentConfig(crop="random", zoom=(0.5, zoom)))
        assert drawn.image.shape[0] == drawn.labels.shape[0] == found
        assert drawn.base == ((16, 24) if weights[0] else (64, 96))
    drawn = source.draw(rng, AugmentConfig(zoom=(0.5, 3.0)))
    assert drawn.base is None and drawn.image.shape == (64, 96, 3) and drawn.name.startswith("p")


# parts of the loop


def test_dice_loss_is_zero_when_right_and_ignores_what_is_ignored() -> None:
    target = torch.randint(0, 3, (2, 8, 8))
    logits = torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float() * 50
    assert dice_loss(logits, target) < 1e-4
    assert dice_loss(-logits, target) > 0.5
    target[:, :4] = IGNORE_INDEX
    logits[:, :, :4] = -logits[:, :, :4]
    assert dice_loss(logits, target) < 1e-4


@pytest.mark.parametrize("schedule", ["cosine", "poly", "step", "constant"])
def test_the_rate_rises_then_falls(schedule: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimiser = Optimiser([parameter], OptimConfig(lr=1.0, schedule=schedule, warmup=0.1), 100)  # type: ignore[arg-type]
    rates = []
    for _ in range(100):
        rates.append(optimiser.rate())
        optimiser.zero()
        optimiser.backward((parameter**2).sum())
        assert float(optimiser.clip()) == 0
        optimiser.step()
    assert rates[0] < 0.2 and max(rates) == pytest.approx(1, abs=0.02)
    assert rates[:10] == sorted(rates[:10])
    assert (rates[-1] < 0.05) == (schedule != "constant")


def test_average_follows_slowly() -> None:
    network = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, 0.9)
    for _ in range(100):
        average.update(network)
    torch.nn.init.ones_(network.weight)
    seen = []
    for _ in range(100):
        average.update(network)
        seen.append(average.network.weight[0, 0].item())
    assert seen == sorted(seen) and seen[0] == pytest.approx(0.1) and seen[-1] == pytest.approx(1, abs=1e-3)
    assert Average(network, 0).network is network


# whole runs


def test_the_same_seed_gives_the_same_segmenter(folder: Path, tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        arguments = tiny_config(folder, tmp_path / name, seed=seed)
        assert main([*arguments, "--stage", "segmenter", "--segmenter.augment.rotate", "15"]) == 0
        weights.append(load_file(tmp_path / name / "tiny" / "segmenter" / "last.safetensors"))
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert any(not torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


@pytest.mark.parametrize("refiner", ["merge", "guided"])
@pytest.mark.parametrize("pairs", ["first", "accumulated"])
def test_a_whole_run_leaves_a_model_that_predicts(folder: Path, tmp_path: Path, pairs: str, refiner: str) -> None:
    results = []
    for name in ("a", "b"):
        changes = {"refiner.pairs": pairs, "refiner.network": refiner, "refiner.crop": "[16,24]"}
        walk = {"walk.follow_image": "true", "walk.match_colours": "true", "walk.points_by": "uncertainty"}
        config = parse_config(tiny_config(folder, tmp_path / name, **changes, **walk))
        model_folder = run_training(config, "all")
        model = MagNet.from_pretrained(model_folder)
        assert model.follow_image and model.match_colours and model.points_by == "uncertainty"
        images = [
            Image.open(folder / "images" / f"p{i}.jpg").resize((48, 32), Image.Resampling.BILINEAR) for i in range(4)
        ]
        mean, deviation = channel_statistics(map(np.asarray, images))
        assert model.colour_statistics == (tuple(mean), tuple(deviation))
        results.append(model.predict(DataFolder(folder, "test").load(0)[0]))
    assert results[0].labels.shape == (64, 96)
    np.testing.assert_array_equal(np.asarray(results[0].probabilities), np.asarray(results[1].probabilities))
    lines = [json.loads(line) for line in (tmp_path / "a" / "tiny" / "log.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in lines} == {"segmenter", "refiner"}
    assert json.loads((tmp_path / "a" / "tiny" / "config.json").read_text())["refiner"]["pairs"] == pairs
    left = [p.name for p in (tmp_path / "a").rglob("*") if p.name.startswith(".")]
    assert left == []


def test_pictures_of_both_stages_are_shown(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, tuple[int, ...]] = {}

    class Board(loop.Board):
        live = True

        def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
            shown.update({f"{name} {step}": picture.shape for name, picture in pictures.items()})

    monkeypatch.setattr(loop, "Board", Board)
    run_training(parse_config(tiny_config(folder, tmp_path)), "all")
    assert shown == {  # image, labels, coarse and last scale; image, labels, coarse, fine and refined
        "segmenter/p4 4": (64, 4 * 100 - 4, 3),
        "segmenter/p5 4": (64, 4 * 100 - 4, 3),
        "refiner/0_p4 3": (32, 5 * 52 - 4, 3),
        "refiner/1_p5 3": (32, 5 * 52 - 4, 3),
    }


def test_training_learns(folder: Path, tmp_path: Path) -> None:
    config = parse_config(
        tiny_config(
            folder,
            tmp_path,
            **{"segmenter.iterations": "40", "segmenter.batch_size": "4", "segmenter.optim.lr": "0.01"},
        )
    )
    run_training(config, "segmenter")
    lines = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 40 and max(lines[-1]["miou"]) > 70
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]


def test_training_starts_from_a_saved_model(tmp_path: Path) -> None:
    source = build_segmenter("compact", 5)
    refiner = RefinementModule(5)
    model = MagNet(source, refiner, scales=[(32, 48), (64, 96)], patch_size=(32, 48), n_points=0.5)
    model.save_pretrained(tmp_path / "model")
    network = build_segmenter("compact", 2)
    head = network.state_dict()["head.weight"].clone()
    copied = start_from(network, str(tmp_path / "model"))
    own, given = network.state_dict(), source.state_dict()
    assert copied == len(own) - 2  # all but the classifier's weight and bias
    assert torch.equal(own["stem.0.weight"], given["stem.0.weight"]) and torch.equal(own["head.weight"], head)
    with pytest.raises(MagNetError, match=r"segmenter\.init: nothing"):
        start_from(torch.nn.Linear(3, 2), str(tmp_path / "model"))


# what is wrong is said


def test_the_refiner_needs_a_segmenter(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match="--stage segmenter first"):
        run_training(parse_config(tiny_config(folder, tmp_path)), "refiner")


def test_a_refiner_without_images_is_found_before_the_segmenter_is_trained(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    for stem in ("p4", "p5"):  # the validation images become too small for the second scale
        for path in (folder / "images" / f"{stem}.jpg", folder / "labels" / f"{stem}.png"):
            Image.open(path).resize((48, 32), Image.Resampling.NEAREST).save(path)
    with pytest.raises(MagNetError, match="no validation image is as large as the second scale, 64x96"):
        run_training(parse_config(tiny_config(folder, tmp_path / "out")), "all")
    assert not (tmp_path / "out" / "tiny" / "segmenter").exists()


def test_bad_labels_are_found_before_the_work_starts(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((64, 96), 9, np.uint8)).save(folder / "labels" / "p3.png")
    with pytest.raises(MagNetError, match=r"p3\.png"):
        run_training(parse_config(tiny_config(folder, tmp_path / "out")), "segmenter")
    assert not (tmp_path / "out" / "tiny" / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("walk.scales", "[[64,96],[32,48]]", "coarse to fine"),
        ("walk.scales", "[[32,48],[640,960]]", "no training image"),
        ("walk.patch_size", "[128,128]", "patch_size"),
        ("segmenter.scale_weights", "[1,2,3]", "scale_weights"),
        ("segmenter.class_weights", "[1,2,3]", "class_weights"),
        ("data.folders", "[]", r"data\.folders"),
        ("device", "tpu9", "device"),
        ("segmenter.accumulate", "3", r"segmenter\.accumulate: expected 1 to batch_size, 2, got 3"),
        ("segmenter.patience", "-1", r"segmenter\.patience"),
        ("data.workers", "-1", r"data\.workers"),
        ("checkpoint_every", "-1", "checkpoint_every"),
    ],
)
def test_bad_settings(folder: Path, tmp_path: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(MagNetError, match=message):
        run_training(build_train_parser().parse(tiny_config(folder, tmp_path / "out", **{key: value})), "segmenter")
    # sizes of images are known once they are read, which the run does
    assert message == "no training image" or not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MagNetError, match="--out"):
        run_training(parse_config(tiny_config(tmp_path / "absent", tmp_path / "file")), "segmenter")


def test_folders_of_other_classes_do_not_mix(folder: Path, tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other")
    (other / "classes.txt").write_text("0 ground\n1 person\n")
    config = parse_config(tiny_config(folder, tmp_path / "out", **{"data.folders": f"[{folder},{other}]"}))
    with pytest.raises(MagNetError, match="share their classes"):
        run_training(config, "segmenter")
