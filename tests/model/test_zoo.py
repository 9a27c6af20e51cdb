"""magnet.Segmenter with the libraries themselves, where they are installed: tiny random networks, nothing downloaded.

CI's step with a CUDA build of torch has all of them (the extra [zoo]): torchvision, which several need, does not load
beside a CPU build.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from processes import environment
from seeded import seed_module
from tiny_data import tiny_config, tiny_folder

import magnet
from magnet.cli.config import parse_config
from magnet.errors import MagNetError
from magnet.model.magnet import MagNet
from magnet.training.run import run_training

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, SIZE = 5, (64, 96)  # what a network sees
BACKBONE = {
    "model_type": "swin", "image_size": 32, "embed_dim": 12, "depths": [1] * 4, "num_heads": [1, 1, 2, 2],
    "window_size": 4, "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip
SEGFORMER = {
    "depths": [1] * 4, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "decoder_hidden_size": 16,
}  # fmt: skip
MASK2FORMER = {
    "backbone_config": BACKBONE, "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32,
    "encoder_feedforward_dim": 16, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2,
    "dim_feedforward": 16, "num_queries": 9,
}  # fmt: skip
UPERNET = {"backbone_config": BACKBONE, "hidden_size": 16, "auxiliary_channels": 8, "auxiliary_in_channels": 48}
MONAI_UNET = {"spatial_dims": 2, "channels": [4, 8, 16], "strides": [2, 2]}
PLAIN = {"mean": None, "std": None}


class Case(NamedTuple):
    """library: that is imported. channels: of the images. form: of the labels, 2 classes or CLASSES."""

    library: str
    factory: str
    args: dict[str, Any]
    wrap: dict[str, Any]
    channels: int = 3
    classes: int = CLASSES


SMP, TORCHVISION = "segmentation_models_pytorch", "torchvision.models.segmentation"
SMALL = {"encoder_name": "resnet18", "encoder_weights": None}
CASES = {
    "smp Unet": Case(SMP, f"{SMP}:Unet", {**SMALL, "classes": CLASSES}, {"divisor": 32}),
    "smp FPN of timm's features": Case(
        SMP, f"{SMP}:FPN", {**SMALL, "encoder_name": "tu-resnet10t", "classes": CLASSES}, {"divisor": 32}
    ),
    "smp with an auxiliary classifier": Case(
        SMP, f"{SMP}:Unet", {**SMALL, "classes": CLASSES, "aux_params": {"classes": 2}}, {"divisor": 32}
    ),
    "smp one logit, sigmoid": Case(
        SMP, f"{SMP}:Unet", {**SMALL, "classes": 1, "activation": "sigmoid"},
        {"divisor": 32, "binary": True, "activation": "sigmoid"}, classes=2,
    ),
    "smp softmax": Case(SMP, f"{SMP}:Unet", {**SMALL, "classes": CLASSES, "activation": "softmax2d"}, {"divisor": 32}),
    "smp 16 channels": Case(
        SMP, f"{SMP}:Unet", {**SMALL, "classes": CLASSES, "in_channels": 16}, {"divisor": 32, **PLAIN}, channels=16
    ),
    "torchvision": Case(
        TORCHVISION, f"{TORCHVISION}:lraspp_mobilenet_v3_large", {"num_classes": CLASSES, "weights_backbone": None}, {}
    ),
    "torchvision with an auxiliary head": Case(
        TORCHVISION, f"{TORCHVISION}:deeplabv3_mobilenet_v3_large",
        {"num_classes": CLASSES, "aux_loss": True, "weights_backbone": None}, {"aux": "aux"},
    ),
    "segformer": Case(
        "transformers", "transformers:SegformerForSemanticSegmentation", {**SEGFORMER, "num_labels": CLASSES},
        {"divisor": 32},
    ),
    "a class that chooses": Case(
        "transformers", "transformers:AutoModelForSemanticSegmentation",
        {**SEGFORMER, "model_type": "segformer", "num_labels": CLASSES}, {"divisor": 32},
    ),
    "mask2former": Case(
        "transformers", "transformers:Mask2FormerForUniversalSegmentation", {**MASK2FORMER, "num_labels": CLASSES},
        {"divisor": 32},
    ),
    "upernet": Case(
        "transformers", "transformers:UperNetForSemanticSegmentation", {**UPERNET, "num_labels": CLASSES},
        {"divisor": 32},
    ),
    "segformer, one logit": Case(
        "transformers", "transformers:SegformerForSemanticSegmentation", {**SEGFORMER, "num_labels": 1},
        {"divisor": 32, "binary": True}, classes=2,
    ),
    "monai UNet, one channel": Case(
        "monai.networks.nets", "monai.networks.nets:UNet", {**MONAI_UNET, "in_channels": 1, "out_channels": CLASSES},
        {"divisor": 4, **PLAIN}, channels=1,
    ),
    "monai one logit": Case(
        "monai.networks.nets", "monai.networks.nets:UNet", {**MONAI_UNET, "in_channels": 3, "out_channels": 1},
        {"divisor": 4, "binary": True}, classes=2,
    ),
}  # fmt: skip


def need(library: str) -> Any:
    return pytest.importorskip(library, exc_type=ImportError)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is fetched: the libraries ask no hub, and a socket that they open is an error."""

    def refused(*_: Any) -> None:
        raise AssertionError("a network connection was asked for")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("socket.socket.connect", refused)
    yield


def build(case: Case, **given: Any) -> magnet.Segmenter:
    torch.manual_seed(0)
    return magnet.Segmenter(case.factory, case.args, wrap=case.wrap, channels=case.channels, **given)


def model_of(segmenter: magnet.Segmenter, case: Case) -> MagNet:
    refiner = seed_module(magnet.RefinementModule(case.classes), "refiner.")
    scales = [SIZE, (2 * SIZE[0], 2 * SIZE[1])]
    return MagNet(segmenter, refiner, scales=scales, patch_size=SIZE, n_points=0.5, channels=case.channels).eval()


def image(case: Case) -> torch.Tensor:
    return torch.rand(case.channels, 2 * SIZE[0], 2 * SIZE[1], generator=torch.Generator().manual_seed(3))


@pytest.mark.filterwarnings("ignore:model. ends in a softmax")
@pytest.mark.parametrize("name", CASES)
def test_saved_and_loaded(name: str, tmp_path: Path, offline: None) -> None:
    case = CASES[name]
    need(case.library)
    model = model_of(build(case), case)
    expected = model.predict(image(case))
    assert expected.probabilities.shape[0] == case.classes
    model.save_pretrained(tmp_path)
    spec = json.loads((tmp_path / "config.json").read_text())["segmenter"]
    assert spec["factory"] == case.factory and case.wrap.items() <= spec["wrap"].items()
    with pytest.raises(MagNetError, match=r"to load it imports the module .* pass trust=True"):
        MagNet.from_pretrained(tmp_path)
    loaded = MagNet.from_pretrained(tmp_path, trust=True)
    found = loaded.predict(image(case))
    assert loaded.num_classes == case.classes
    assert torch.equal(found.labels, expected.labels) and torch.equal(found.probabilities, expected.probabilities)


@pytest.mark.filterwarnings("ignore:model. ends in a softmax")
@pytest.mark.parametrize("name", CASES)
def test_every_network_learns(name: str) -> None:
    """Steps lower the loss on what they are taken on, by a gradient that reaches the network's first layer."""
    case = CASES[name]
    need(case.library)
    segmenter = build(case)
    segmenter.settle(SIZE)
    segmenter.train()
    images = magnet.images.normalize(image(case)[None, :, : SIZE[0], : SIZE[1]].repeat(2, 1, 1, 1))
    labels = torch.zeros(2, *SIZE, dtype=torch.long)
    labels[:, :, SIZE[1] // 2 :] = 1
    optimiser = torch.optim.Adam(segmenter.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        logits = segmenter(images, heads=True)
        parts = logits if isinstance(logits, tuple) else (logits,)
        assert len(parts) == (2 if "aux" in case.wrap else 1)
        assert {tuple(part.shape) for part in parts} == {(2, case.classes, *SIZE)}
        loss = sum(torch.nn.functional.cross_entropy(part, labels) for part in parts)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < losses[0], losses  # dropout may spoil one
    assert next(segmenter.parameters()).grad.abs().sum() > 0


def test_nothing_of_them_is_imported_with_magnet() -> None:
    script = (
        "import sys, magnet; magnet.MagNet, magnet.Segmenter, magnet.wrap; import magnet.cli.train;"
        "names = {'timm', 'segmentation_models_pytorch', 'transformers', 'torchvision', 'monai'};"
        "print(sorted(names & {name.partition('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-P", "-c", script], env=environment(), capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stderr


# a folder of transformers


def write_folder(folder: Path, names: list[str], **processor: Any) -> Any:
    transformers = need("transformers")
    torch.manual_seed(1)
    config = transformers.SegformerConfig(**SEGFORMER, id2label=dict(enumerate(names)), label2id={})
    network = transformers.SegformerForSemanticSegmentation(config).eval()
    network.save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return network


NAMES = ["sky", "road", "tree"]


@pytest.mark.parametrize("factory", ["SegformerForSemanticSegmentation", "AutoModelForSemanticSegmentation"])
def test_a_folder_gives_names_mean_deviation_and_size(factory: str, tmp_path: Path, offline: None) -> None:
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.25, 0.2]
    network = write_folder(tmp_path / "theirs", NAMES, image_mean=mean, image_std=std, size={"height": 64, "width": 96})
    segmenter = magnet.Segmenter(f"transformers:{factory}", weights=tmp_path / "theirs", wrap={"divisor": 32})
    assert segmenter.class_names == NAMES and segmenter.num_classes == 3 and segmenter.seen_size == (64, 96)
    assert segmenter.spec()["wrap"] | {"mean": mean, "std": std} == segmenter.spec()["wrap"]
    rgb = image(CASES["segformer"])[None, :, : SIZE[0], : SIZE[1]]
    columns = [torch.tensor(values).view(3, 1, 1) for values in (mean, std)]
    with torch.no_grad():
        theirs = network((rgb - columns[0]) / columns[1]).logits
        expected = torch.nn.functional.interpolate(theirs, SIZE, mode="bilinear", align_corners=False)
        torch.testing.assert_close(segmenter.eval()(magnet.images.normalize(rgb)), expected, rtol=1e-4, atol=1e-5)

    case = CASES["segformer"]._replace(classes=3)
    model = model_of(segmenter, case)
    assert model.class_names == NAMES
    model.save_pretrained(tmp_path / "ours")
    for path in sorted((tmp_path / "theirs").iterdir()):
        path.unlink()  # it is not needed any more
    loaded = MagNet.from_pretrained(tmp_path / "ours", trust=True)
    assert loaded.class_names == NAMES
    assert torch.equal(loaded.predict(image(case)).labels, model.predict(image(case)).labels)


def test_a_processor_of_its_own_range(tmp_path: Path, offline: None) -> None:
    write_folder(tmp_path, NAMES, do_rescale=False, image_mean=[127.5] * 3, image_std=[51.0] * 3, size=64)
    segmenter = magnet.Segmenter("transformers:SegformerForSemanticSegmentation", weights=tmp_path)
    assert segmenter.seen_size == (64, 64)
    assert segmenter.spec()["wrap"]["mean"] == [0.5] * 3 and segmenter.spec()["wrap"]["std"] == [0.2] * 3
    own = magnet.Segmenter("transformers:SegformerForSemanticSegmentation", weights=tmp_path, wrap={"mean": [0.1] * 3})
    assert own.spec()["wrap"]["mean"] == [0.1] * 3  # what is said comes first


def test_a_folder_for_other_classes(tmp_path: Path, offline: None, caplog: pytest.LogCaptureFixture) -> None:
    network = write_folder(tmp_path, NAMES)
    name = "transformers:SegformerForSemanticSegmentation"
    with pytest.raises(MagNetError, match=r"^weights: .* in another shape: decode_head\.classifier\.bias"):
        magnet.Segmenter(name, {"num_labels": 7}, weights=tmp_path)
    segmenter = magnet.Segmenter(name, {"num_labels": 7}, weights=tmp_path, wrap={"divisor": 32}, strict=False)
    assert segmenter.settle(SIZE) == 7 and segmenter.class_names is None
    assert "start anew: decode_head.classifier.bias, decode_head.classifier.weight" in caplog.text
    found = segmenter.model.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(found[key], value) or key.startswith("decode_head.classifier."), key


@pytest.mark.parametrize(
    ("args", "change", "message"),
    [
        ({"num_labelz": 3}, None, r"^args: SegformerConfig has no 'num_labelz'"),
        ({"depths": "many"}, None, r"^(args|weights): "),
        ({}, ("config.json", "{"), r"^weights: '.*config\.json' cannot be read"),
        ({}, ("config.json", "[]"), r"^weights: '.*config\.json' holds no configuration"),
        ({}, ("model.safetensors", "damaged"), r"^weights: '.*' could not be loaded by transformers:Segformer"),
        ({}, ("preprocessor_config.json", '{"image_mean": 3}'), r"^weights: .* has no mean and deviation"),
    ],
)
def test_folders_that_are_wrong(args: dict, change: Any, message: str, tmp_path: Path, offline: None) -> None:
    write_folder(tmp_path, NAMES)
    if change:
        (tmp_path / change[0]).write_text(change[1])
    with pytest.raises(MagNetError, match=message):
        magnet.Segmenter("transformers:SegformerForSemanticSegmentation", args, weights=tmp_path)


def test_features_of_timm_are_no_logits() -> None:
    timm = need("timm")
    args = {"model_name": "resnet10t", "features_only": True}
    segmenter = magnet.Segmenter("timm:create_model", args, wrap={"output": 5})
    with pytest.raises(MagNetError, match=r"output: expected a result of FeatureListNet with 5, got list"):
        segmenter.settle(SIZE)
    assert importlib.import_module("timm") is timm
    maps = magnet.Segmenter("timm:create_model", args, wrap={"output": -1})
    assert maps.settle(SIZE) == 512  # one class a channel of the last features


def test_a_refiner_for_a_folder_by_a_recipe(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names are held against those of the data, the size against the walk's; the model needs the folder no more."""
    processor = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"height": 64, "width": 96}}
    write_folder(tmp_path / "theirs", ["ground", "thing"], **processor)
    keys = {"segmenter.factory": "transformers:AutoModelForSemanticSegmentation", "segmenter.train": "false"}
    keys |= {"segmenter.weights": str(tmp_path / "theirs"), "segmenter.wrap.divisor": "32"}
    words = tiny_config(tiny_folder(tmp_path / "data"), tmp_path, **keys)
    folder = run_training(parse_config([*words, "--trust"]))
    assert "theirs' is of a network for images of 64x96, and the walk shows it 32x48 (HxW)" in caplog.text
    shutil.rmtree(tmp_path / "theirs")
    loaded = MagNet.from_pretrained(folder, trust=True)
    assert loaded.class_names == ["ground", "thing"] and loaded.segmenter.spec()["wrap"]["std"] == [0.25] * 3
    assert loaded.predict(torch.rand(3, 64, 96)).labels.shape == (64, 96)

    write_folder(tmp_path / "theirs", ["thing", "ground"], **processor)
    with pytest.raises(MagNetError, match=r"^classes: segmenter\.weights has them in another order than the data"):
        run_training(parse_config([*words, "--trust", "--name", "other"]))
