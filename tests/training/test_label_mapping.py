"""A model keeps the mapping of the label files that it was trained on, so that its ids are theirs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_data import tiny_config, tiny_folder

from magnet import MagNet
from magnet.cli.main import main
from magnet.data import Cityscapes, YamlData
from magnet.data.dataset import label_mapping

DESCRIBED = """
classes: [ground, thing]
mapping: {40: 0, 90: 1, 7: 255}
ignore: [255]
train: {images: images, labels: labels}
val: {images: images, labels: labels}
"""


def described(folder: Path, text: str = DESCRIBED) -> Path:
    """The tiny pictures with other values in their label files."""
    tiny_folder(folder)
    for path in (folder / "labels").iterdir():
        labels = np.asarray(Image.open(path))
        Image.fromarray(np.choose(np.minimum(labels, 2), [40, 90, 255]).astype(np.uint8)).save(path)
    (folder / "data.yaml").write_text(text)
    return folder / "data.yaml"


def test_ids_of_a_trained_model_are_the_values_of_its_label_files(tmp_path: Path) -> None:
    data = described(tmp_path / "data")
    given = tiny_config(tmp_path / "data", tmp_path / "runs", **{"data.format": "yaml", "data.file": str(data)})
    del given[given.index("--data.folders") : given.index("--data.folders") + 2]
    assert main(["train", *given]) == 0
    model = next((tmp_path / "runs").rglob("model/config.json")).parent
    assert MagNet.from_pretrained(model).info["mapping"] == {"40": 0, "90": 1, "7": 255}  # type: ignore[index]
    image, out = tmp_path / "data" / "images" / "p0.jpg", tmp_path / "out"
    assert main(["predict", str(image), "--model", str(model), "--out", str(out), "--save", "labels,ids"]) == 0
    labels, ids = (np.asarray(Image.open(out / f"p0_{kind}.png")) for kind in ("labels", "ids"))
    assert np.array_equal(ids, np.array([40, 90])[labels])


def test_what_mapping_data_sets_have(tmp_path: Path) -> None:
    assert YamlData(described(tmp_path / "a"), "train").mapping == {40: 0, 90: 1, 7: 255}
    plain = re.sub("mapping: .*\n", "", DESCRIBED)
    assert label_mapping(YamlData(described(tmp_path / "b", plain), "train")) is None


def test_ignored_values_are_no_ids(tmp_path: Path) -> None:
    mapping = YamlData(described(tmp_path / "a", DESCRIBED.replace("[255]", "[7, 255]")), "train").mapping
    assert mapping == {40: 0, 90: 1}


@pytest.mark.parametrize("split", ["train", "val"])
def test_cityscapes_says_its_own(tmp_path: Path, split: str) -> None:
    for kind, end in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        folder = tmp_path / kind / split / "ulm"
        folder.mkdir(parents=True)
        Image.fromarray(np.full((8, 16), 7, np.uint8)).save(folder / f"ulm_000000_000019_{end}.png")
    mapping = label_mapping(Cityscapes(tmp_path, split))
    assert mapping is not None and len(mapping) == 19 and mapping[7] == 0 and mapping[33] == 18
