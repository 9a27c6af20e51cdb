"""Generated scenes: repeatable, varied, exact, and thin where they have to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from magnet.cli import main as cli
from magnet.data import DataFolder, GeneratedScenes, scenes
from magnet.data.scenes import SCENE_CLASSES, generate_scene, write_dataset
from magnet.data.scenes.random_numbers import Random
from magnet.errors import MagNetError
from magnet.evaluation.metrics import confusion_matrix, iou_per_class, mean_iou
from magnet.images.read import read_image

SMALL = (256, 512)


def test_shapes_types_and_classes() -> None:
    image, labels = generate_scene((300, 421), seed=3)
    assert image.shape == (300, 421, 3) and image.dtype == np.uint8
    assert labels.shape == (300, 421) and labels.dtype == np.uint8
    assert labels.max() < len(SCENE_CLASSES)
    assert len({c.colour for c in SCENE_CLASSES}) == len({c.name for c in SCENE_CLASSES}) == len(SCENE_CLASSES)


def test_a_seed_gives_the_same_scene_and_another_seed_another() -> None:
    image, labels = generate_scene(SMALL, seed=5)
    again, labels_again = generate_scene(SMALL, seed=5)
    assert np.array_equal(image, again) and np.array_equal(labels, labels_again)
    other, other_labels = generate_scene(SMALL, seed=6)
    assert (other_labels != labels).mean() > 0.1
    assert np.abs(other.astype(int) - image).mean() > 10


def test_random_numbers_are_those_of_every_machine() -> None:
    """The layout of a scene hangs on this stream, which numpy keeps for PCG64 and its plain doubles."""
    r = Random(0, 0)
    drawn = [r.uniform(0, 1), float(r.integer(0, 1000)), r.bell()]
    assert drawn == pytest.approx([0.6369616873, 269.0, -0.2164730241], abs=1e-9)


def test_classes_share_the_picture_as_on_a_street() -> None:
    counts = sum(np.bincount(generate_scene(SMALL, seed)[1].ravel(), minlength=len(SCENE_CLASSES)) for seed in range(6))
    share = counts / counts.sum()
    assert share[[scenes.BUILDING, scenes.GROUND]].min() > 0.15
    thin = share[[scenes.MARKING, scenes.POLE, scenes.FENCE, scenes.PERSON]]
    assert thin.min() > 0.001 and thin.max() < 0.06


def test_an_eighth_of_the_resolution_cannot_hold_the_thin_classes() -> None:
    """The best that a 128 x 256 prediction could do: the exact labels, averaged over 8 x 8 pixels and enlarged."""
    confusion = torch.zeros(8, 8, dtype=torch.int64)
    for seed in (11, 12):
        labels = torch.from_numpy(generate_scene((1024, 2048), seed)[1])
        share = F.avg_pool2d(F.one_hot(labels.long(), 8).permute(2, 0, 1)[None].float(), 8)
        enlarged = F.interpolate(share, labels.shape, mode="bilinear", align_corners=False).argmax(1)[0]
        confusion += confusion_matrix(enlarged, labels, 8)
    iou = iou_per_class(confusion)
    assert 0.55 < mean_iou(confusion) < 0.78
    assert iou[scenes.POLE] < 0.6 and iou[scenes.FENCE] < 0.4
    assert iou[[scenes.SKY, scenes.BUILDING, scenes.GROUND]].min() > 0.9


def test_colour_alone_does_not_tell_the_classes_apart() -> None:
    """Each colour given to its most frequent class, in the very scenes it was counted in: that is not enough."""
    votes = np.zeros((4096, len(SCENE_CLASSES)), np.int64)
    kept = []
    for seed in range(6):
        image, labels = generate_scene(SMALL, seed)
        cell = (image.astype(np.int64) >> 4) @ np.array([256, 16, 1])
        np.add.at(votes, (cell.ravel(), labels.ravel()), 1)
        kept.append((cell, labels))
    confusion = sum(
        confusion_matrix(torch.from_numpy(votes.argmax(1)[cell]), torch.from_numpy(labels), 8) for cell, labels in kept
    )
    assert mean_iou(confusion) < 0.5


def test_labels_lie_on_what_is_drawn() -> None:
    """A white lane marking is brighter than the asphalt beside it, pixel for pixel."""
    image, labels = generate_scene((512, 1024), seed=2)
    grey = image.mean(axis=2)
    marking = labels == scenes.MARKING
    beside = np.zeros_like(marking)
    beside[:, 6:] |= marking[:, :-6]
    beside[:, :-6] |= marking[:, 6:]
    beside &= labels == scenes.GROUND
    assert grey[marking].mean() > grey[beside].mean() + 15


@pytest.mark.parametrize(
    ("size", "seed", "name"), [((255, 512), 0, "size"), ((256, 100), 0, "size"), ((256, 256), -1, "seed")]
)
def test_wrong_arguments(size: tuple[int, int], seed: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        generate_scene(size, seed)


def test_a_written_data_set_is_a_data_folder(tmp_path: Path) -> None:
    write_dataset(tmp_path / "d", {"train": 2, "val": 1, "test": 0}, (256, 300), seed=40)
    train, val = DataFolder(tmp_path / "d", "train"), DataFolder(tmp_path / "d", "val")
    assert (len(train), len(val)) == (2, 1)
    assert train.class_names == [c.name for c in SCENE_CLASSES]
    for folder, index, seed in ((train, 0, 40), (train, 1, 41), (val, 0, 42)):
        image, labels = generate_scene((256, 300), seed)
        loaded = folder.load(index)
        assert np.array_equal(loaded[0], image) and np.array_equal(loaded[1], labels)
    assert (tmp_path / "d" / "test.txt").read_text() == ""
    made = GeneratedScenes(2, (256, 300), 40)
    assert np.array_equal(made.load(1)[1], train.load(1)[1])


def test_write_dataset_refuses_before_it_works(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="counts: expected 0 or more"):
        write_dataset(tmp_path / "d", {"train": -1})
    (tmp_path / "file").write_text("")
    with pytest.raises(MagNetError, match="folder that can be written to"):
        write_dataset(tmp_path / "file", {"train": 1})
    assert not (tmp_path / "d").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--train", "1", "--val", "0", "--test", "1", "--size", "256", "256", "--seed", "9"]
    assert cli.main(["scenes", "--out", str(tmp_path / "d"), *words]) == 0
    assert "2 scenes" in capsys.readouterr().out
    stems = (tmp_path / "d" / "test.txt").read_text().split()
    assert np.array_equal(read_image(tmp_path / "d" / "images" / f"{stems[0]}.png"), generate_scene((256, 256), 10)[0])


@pytest.mark.parametrize("words", [[], ["--out", "x", "--train", "-1"], ["--out", "x", "--size", "100", "256"]])
def test_the_command_with_wrong_arguments(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["scenes", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
