"""Training with an encoder of timm: by a recipe, from a file of weights, resumed, frozen, exported."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import tiny_config, tiny_folder

from magnet.cli import main as cli
from magnet.cli.config import parse_config
from magnet.errors import ArgumentError, MagNetError
from magnet.model.magnet import MagNet
from magnet.networks import build_segmenter
from magnet.training.parallel import _SYNCED
from magnet.training.run import run_training
from magnet.training.sync_batch_norm import SyncBatchNorm2d, sync_batch_norm

timm = pytest.importorskip("timm", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("one_thread")

ENCODER = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of timm's whole network."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(timm.create_model(ENCODER, pretrained=False).state_dict(), path)
    return path


def words(data: Path, out: Path, *more: str, **keys: str) -> list[str]:
    own = {"segmenter.network": "fpn-lite", "segmenter.encoder": f"timm:{ENCODER}"}
    return ["train", *tiny_config(data, out, **{**own, **keys}), *more]


def test_trained_predicted_evaluated_and_exported_by_commands(
    data: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "theirs.pth"
    theirs.write_bytes(weights.read_bytes())
    assert cli.main(words(data, tmp_path, **{"segmenter.weights": str(theirs)})) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("segmenter.weights: ")]
    assert len(told) == 1 and "of mean [0.485, 0.456, 0.406]" in told[0] and "left out: " in told[0]
    theirs.unlink()  # it is not needed any more
    folder = tmp_path / "tiny" / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["segmenter"] == {"network": "fpn-lite", "encoder": f"timm:{ENCODER}"}
    best = load_file(tmp_path / "tiny" / "segmenter" / "best.safetensors")
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(saved[f"segmenter.{key}"], value) for key, value in best.items())

    photo = str(next((data / "images").iterdir()))
    assert cli.main(["predict", photo, "--model", str(folder), "--out", str(tmp_path / "results")]) == 0
    assert list((tmp_path / "results").glob("*_labels.png"))
    assert cli.main(["eval", "--model", str(folder), "--data", str(data), "--out", str(tmp_path / "e.json")]) == 0
    export = ["export", "--model", str(folder), "--format", "pt2", "--out", str(tmp_path / "pt2"), "--image", photo]
    assert cli.main(export) == 0
    program = torch.export.load(next((tmp_path / "pt2").glob("*.pt2"))).module()
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    labels = program(image)[0][0]
    assert torch.equal(labels.long(), MagNet.from_pretrained(folder).predict(image[0]).labels.long())


def test_training_starts_from_the_file(data: Path, weights: Path, tmp_path: Path) -> None:
    keys = {"segmenter.weights": str(weights), "segmenter.iterations": "1", "segmenter.optim.lr": "1e-30"}
    assert cli.main(words(data, tmp_path, "--stage", "segmenter", **keys)) == 0
    last = load_file(tmp_path / "tiny" / "segmenter" / "last.safetensors")
    expected = torch.load(weights)["conv_stem.weight"]
    assert torch.equal(last["encoder.model.conv_stem.weight"], expected)


def test_a_run_that_goes_on_is_as_one_that_never_stopped(data: Path, tmp_path: Path) -> None:
    short = {"segmenter.iterations": "1", "segmenter.optim.schedule": "constant", "segmenter.optim.warmup": "0"}
    long = {**short, "segmenter.iterations": "2"}
    assert cli.main(words(data, tmp_path / "b", "--stage", "segmenter", **long)) == 0
    assert cli.main(words(data, tmp_path / "c", "--stage", "segmenter", **short)) == 0
    assert cli.main(words(data, tmp_path / "c", "--stage", "segmenter", "--resume", **long)) == 0
    one, other = (load_file(tmp_path / name / "tiny" / "segmenter" / "last.safetensors") for name in "bc")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_finished_network_gets_a_refiner(data: Path, tmp_path: Path) -> None:
    assert cli.main(words(data, tmp_path / "first", **{"segmenter.network": "psp"})) == 0
    first = tmp_path / "first" / "tiny" / "model"
    keys = {"segmenter.network": "psp", "segmenter.train": "false", "segmenter.init": str(first)}
    assert cli.main(words(data, tmp_path / "second", **keys)) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (first, tmp_path / "second/tiny/model"))
    own = [key for key in before if key.startswith("segmenter.")]
    assert len(own) > 100 and all(torch.equal(before[key], after[key]) for key in own)
    keys["segmenter.encoder"] = "timm:resnet18"
    with pytest.raises(MagNetError, match=r"^segmenter\.init: '.*model' has \d+ of the \d+ tensors of PSPNet"):
        run_training(parse_config(words(data, tmp_path / "third", **keys)[1:]))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_norms_over_all_processes_keep_their_activations(device: str) -> None:
    """timm's batch normalisation holds an activation, which that of torch in its place would drop without a word."""
    torch.manual_seed(0)
    network = build_segmenter("fpn-lite", 3, encoder=f"timm:{ENCODER}")
    images = torch.randn(2, 3, 32, 48)
    own, modes = copy.deepcopy(network), ["eval"] if device == "cuda" else ["eval", "train"]  # its sums are CUDA's
    synced = sync_batch_norm(network, torch.device(device))
    kinds = [type(module) for module in synced.modules()]
    assert not any(issubclass(k, torch.nn.BatchNorm2d) and not issubclass(k, SyncBatchNorm2d) for k in kinds)
    assert sum(k.__name__.endswith(("Act", "Act2d")) and issubclass(k, _SYNCED) for k in kinds) > 10
    assert synced.state_dict().keys() == own.state_dict().keys()
    for mode in modes:
        expected, found = (getattr(one, mode)()(images) for one in (own, synced))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"segmenter.encoder": "timm:mobilenetv3_smal_050"},
            r"^segmenter\.encoder: timm .*did you mean timm:mobilenetv3_s",
        ),
        (
            {"segmenter.encoder": "timm:mixer_s32_224"},
            r"^segmenter\.encoder: timm:mixer_s32_224 takes no images of 32x6",
        ),
        ({"segmenter.encoder": "timm:resnet18"}, r"^segmenter\.weights: '.*theirs\.pth' does not fit timm:resnet18, "),
    ],
)
def test_mistakes_end_the_run_before_any_work(
    keys: dict[str, str], message: str, data: Path, weights: Path, tmp_path: Path
) -> None:
    more = {"segmenter.weights": str(weights)} if keys["segmenter.encoder"].endswith("18") else {}
    with pytest.raises(MagNetError, match=message) as told:
        run_training(parse_config(words(data, tmp_path / "out", **keys, **more)[1:]))
    assert isinstance(told.value, ArgumentError) or more
    assert not (tmp_path / "out").exists()
