"""Networks of timm as encoders, with timm itself where it is installed: random networks, nothing downloaded.

CI's step with a CUDA build of torch has it (the extra [zoo]).
"""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import environment
from safetensors.torch import save_file
from seeded import seed_module

import magnet
from magnet.checkpoints.errors import CheckpointError
from magnet.errors import MagNetError
from magnet.model.magnet import MagNet
from magnet.networks import ON_ENCODERS, build_segmenter
from magnet.training.backbone import load_backbone

timm = pytest.importorskip("timm", exc_type=ImportError)
pytestmark = pytest.mark.usefixtures("one_thread", "offline")

CLASSES, SIZE = 5, (64, 96)
# what differs: flattened blocks, no levels above stride 4, channels last, one stride alone, mean and deviation
ENCODERS = [
    "resnet18",
    "mobilenetv3_small_050",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A socket that is opened is an error."""

    def refused(*_: Any) -> None:
        raise AssertionError("a network connection was asked for")

    monkeypatch.setattr("socket.socket.connect", refused)
    yield


def built(network: str, encoder: str, *, channels: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_segmenter(network, CLASSES, channels=channels, encoder=f"timm:{encoder}").eval()


def model_of(segmenter: torch.nn.Module, channels: int = 3) -> MagNet:
    refiner = seed_module(magnet.RefinementModule(CLASSES), "refiner.")
    scales = [SIZE, (2 * SIZE[0], 2 * SIZE[1])]
    return MagNet(segmenter, refiner, scales=scales, patch_size=SIZE, n_points=0.5, channels=channels).eval()


def image(channels: int = 3) -> torch.Tensor:
    return torch.rand(channels, 2 * SIZE[0], 2 * SIZE[1], generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("network", ON_ENCODERS)
def test_logits_of_images_of_any_size(network: str, encoder: str) -> None:
    """One size is a multiple of all strides; the other is not, and is smaller than the deepest."""
    module = built(network, encoder)
    assert module.num_classes == CLASSES and module.in_channels == 3
    with torch.no_grad():
        for size in (SIZE, (45, 70), (20, 17)):
            logits = module(torch.randn(2, 3, *size))
            assert logits.shape == (2, CLASSES, *size) and torch.isfinite(logits).all()


def test_padding_changes_what_lies_beside_it_alone() -> None:
    """An image whose sides are no multiples gives what the image with its border repeated gives."""
    module, images = built("fpn-lite", "resnet18"), torch.randn(1, 3, 60, 90)
    padded = torch.nn.functional.pad(images, (0, 6, 0, 4), mode="replicate")
    with torch.no_grad():
        assert torch.equal(module(images), module(padded)[..., :60, :90])


@pytest.mark.parametrize("network", ON_ENCODERS)
@pytest.mark.parametrize("channels", [1, 3, 16])
def test_saved_and_loaded(network: str, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(built(network, "mobilenetv3_small_050", channels=channels), channels)
    expected = model.predict(image(channels))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["segmenter"] == {"network": network, "encoder": "timm:mobilenetv3_small_050"}
    asked = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: asked.append(k["pretrained"]) or create(*a, **k))
    loaded = MagNet.from_pretrained(tmp_path)  # without trust: timm is asked for nothing but its own networks
    found = loaded.predict(image(channels))
    assert asked and not any(asked)
    assert torch.equal(found.labels, expected.labels) and torch.equal(found.probabilities, expected.probabilities)
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["segmenter"] == config["segmenter"]


def test_in_a_new_process(tmp_path: Path) -> None:
    model = model_of(built("fpn-lite", "resnet18"))
    model.save_pretrained(tmp_path)
    script = (
        "import sys, torch, magnet; torch.set_num_threads(1);"
        "model = magnet.MagNet.from_pretrained(sys.argv[1]);"
        "image = torch.rand(3, 128, 192, generator=torch.Generator().manual_seed(3));"
        "torch.save(model.predict(image).labels, sys.argv[2])"
    )
    command = [sys.executable, "-P", "-c", script, str(tmp_path), str(tmp_path / "labels.pt")]
    run = subprocess.run(command, env={**environment(), "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert torch.equal(torch.load(tmp_path / "labels.pt"), model.predict(image()).labels)


def test_a_changed_network_is_not_saved_as_another(tmp_path: Path) -> None:
    segmenter = built("fpn-lite", "resnet18")
    segmenter.head = torch.nn.Conv2d(64, CLASSES, 3, padding=1)
    with pytest.raises(MagNetError, match=r"^segmenter: FPNLite is not a network that build_segmenter makes"):
        model_of(segmenter).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "config.json").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"network": "fpn", "encoder": "timm:no_such_net"}, r"^encoder: timm .* has no network 'no_such_net'"),
        ({"network": "compact", "encoder": "timm:resnet18"}, "encoder: expected none for 'compact'"),
        ({"network": "fpn-lite", "encoder": None}, "encoder: expected the encoder that 'fpn-lite' works on"),
        ({"network": ["fpn"], "encoder": "timm:resnet18"}, "name: expected one of"),
        ({"network": "fpn", "encoder": "timm:hf-hub:a/b"}, "encoder: expected timm: and the name"),
    ],
)
def test_folders_that_are_wrong(spec: dict[str, Any], message: str, tmp_path: Path) -> None:
    model_of(magnet.build_segmenter("compact", CLASSES)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "segmenter": spec}))
    with pytest.raises(MagNetError, match=message):
        MagNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("network", ON_ENCODERS)
def test_every_network_learns(network: str) -> None:
    torch.manual_seed(0)
    module = built(network, "mobilenetv3_small_050").train()
    images = torch.randn(2, 3, *SIZE)
    labels = torch.zeros(2, *SIZE, dtype=torch.long)
    labels[:, :, SIZE[1] // 2 :] = 1
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(module(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < losses[0], losses  # dropout may spoil one
    assert next(module.encoder.parameters()).grad.abs().sum() > 0


def test_it_is_a_module_as_any_other() -> None:
    module, images = built("fpn", "mobilenetv3_small_050"), torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        expected = module(images)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(images), expected)
        assert torch.equal(torch.nn.DataParallel(module)(images), expected)
        found = module(images.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# mean and deviation


def test_images_come_with_the_mean_and_deviation_of_the_encoder() -> None:
    module = built("fpn-lite", "vit_tiny_patch16_224")
    assert module.encoder.normalization() == ([0.5] * 3, [0.5] * 3)
    seen: list[torch.Tensor] = []
    module.encoder.model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    rgb = image()[None, :, : SIZE[0], : SIZE[1]]
    with torch.no_grad():
        module(magnet.images.normalize(rgb))
    torch.testing.assert_close(seen[0], (rgb - 0.5) / 0.5, rtol=1e-5, atol=1e-5)


def test_a_tag_tells_them_too() -> None:
    assert built("fpn-lite", "vit_tiny_patch16_224.augreg_in21k").encoder.normalization() == ([0.5] * 3, [0.5] * 3)
    mean, std = built("fpn-lite", "resnet18").encoder.normalization()
    assert mean == [0.485, 0.456, 0.406] and std == [0.229, 0.224, 0.225]
    assert built("fpn-lite", "vit_tiny_patch16_224", channels=4).encoder.normalization() == ([0.5] * 4, [0.25] * 4)


# weights of a file


def weights_file(encoder: str, path: Path, prefix: str = "") -> torch.nn.Module:
    """timm's own network, classifier and all, and a file of it."""
    torch.manual_seed(1)
    whole = timm.create_model(encoder, pretrained=False).eval()
    with torch.no_grad():
        for key, value in whole.state_dict().items():
            if key.endswith("running_mean"):
                value.uniform_(-0.1, 0.1)
    state = {f"{prefix}{key}": value.contiguous() for key, value in whole.state_dict().items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return whole


@pytest.mark.parametrize("encoder", ENCODERS)
def test_weights_give_the_features_of_timms_whole_network(
    encoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = weights_file(encoder, tmp_path / "w.safetensors")
    module = built("fpn-lite", encoder)
    report = load_backbone(module, tmp_path / "w.safetensors")
    assert len(report.loaded) == sum(key.startswith("encoder.model.") for key in module.state_dict())
    assert any(key.startswith(("fc.", "classifier.", "head.")) for key in report.ignored)
    mean, std = module.encoder.normalization()
    told = capsys.readouterr().out
    assert f"{len(report.loaded)} of {len(report.loaded)} backbone tensors" in told and f"mean {mean}" in told
    rgb = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    columns = [torch.tensor(values).view(3, 1, 1) for values in (mean, std)]
    with torch.no_grad():
        theirs = whole.forward_intermediates((rgb - columns[0]) / columns[1], norm=False, intermediates_only=True)
        ours, size = module.encoder(magnet.images.normalize(rgb))
    assert size == (224, 224)
    for one in ours:
        same = [other for other in theirs if other.shape == one.shape]
        assert any(torch.allclose(one, other, rtol=1e-3, atol=1e-3) for other in same)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_weights_of_wrapped_networks(name: str, prefix: str, tmp_path: Path) -> None:
    whole = weights_file("resnet18", tmp_path / name, prefix)
    module = built("fpn", "resnet18")
    load_backbone(module, tmp_path / name, tell=False)
    assert torch.equal(module.encoder.model.conv1.weight, whole.conv1.weight)


def test_weights_of_features_alone(tmp_path: Path) -> None:
    features = timm.create_model("convnext_atto", pretrained=False, features_only=True)
    torch.save(features.state_dict(), tmp_path / "w.pth")
    module = built("psp", "convnext_atto")
    load_backbone(module, tmp_path / "w.pth", tell=False)
    assert torch.equal(module.encoder.model.stem_0.weight, features.stem_0.weight)


def test_weights_of_a_layout_that_timm_knows(tmp_path: Path) -> None:
    """Swin's own names of 2021, with buffers that are none any more."""
    whole = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False)
    state = {key: value for key, value in whole.state_dict().items() if "downsample" not in key}
    for level in (1, 2, 3):  # where they were: at the end of the level before
        for key, value in whole.state_dict().items():
            if key.startswith(f"layers.{level}.downsample"):
                state[key.replace(f"layers.{level}", f"layers.{level - 1}")] = value
    state = {key.replace("head.fc.", "head."): value for key, value in state.items()}
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
    torch.save({"model": state}, tmp_path / "w.pth")
    module = built("fpn", "swin_tiny_patch4_window7_224")
    load_backbone(module, tmp_path / "w.pth", tell=False)
    expected = whole.layers[1].downsample.reduction.weight
    assert torch.equal(module.encoder.model.layers_1.downsample.reduction.weight, expected)


def test_the_first_convolution_takes_other_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = weights_file("mobilenetv3_small_050", tmp_path / "w.pth")
    module = built("fpn-lite", "mobilenetv3_small_050", channels=4)
    load_backbone(module, tmp_path / "w.pth")
    assert "the first convolution, of RGB, is adapted to 4 channels by its mean" in capsys.readouterr().out
    grey = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        found = module.encoder.model.conv_stem(grey.expand(-1, 4, -1, -1))
        torch.testing.assert_close(found, whole.conv_stem(grey.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ("resnet10t", r"does not fit timm:resnet18, \d+ of whose 120 tensors .*missing: conv1\.weight"),
        ("resnet34", r"120 of whose 120 tensors are in it; not of it: layer1\.2\.conv1\.weight"),  # deeper
        (
            "resnet50",
            r"tensors are in it; of another shape: layer1\.0\.conv1\.weight \(file 64x64x1x1, network 64x64x3x3\)",
        ),
        ("convnext_atto", r"0 of whose 120 tensors are in it; missing: conv1\.weight.*not of it: stem\.0\.weight"),
    ],
)
def test_weights_that_do_not_fit(of: str, message: str, tmp_path: Path) -> None:
    weights_file(of, tmp_path / "w.pth")
    module = built("fpn", "resnet18")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"^segmenter.weights: '.*w.pth' .*{message}"):
        load_backbone(module, tmp_path / "w.pth")
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


# what is wrong


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("timm:resnet_34", r"^encoder: timm \S+ has no network 'resnet_34'; did you mean timm:resnet34 or"),
        ("timm:qqqqqq", r"^encoder: timm \S+ has no network 'qqqqqq'; see timm\.list_models\(\)"),
        (
            "timm:resnet34.no_such_tag",
            r"^encoder: timm \S+ knows 'resnet34' with the tags .*a1_in1k.*got 'no_such_tag'",
        ),
    ],
)
def test_names_that_timm_has_not(encoder: str, message: str) -> None:
    with pytest.raises(MagNetError, match=message):
        build_segmenter("fpn", 3, encoder=encoder)


def test_an_encoder_without_features(monkeypatch: pytest.MonkeyPatch) -> None:
    @timm.models.register_model
    def magnet_test_plain(pretrained: bool = False, **options: Any) -> torch.nn.Module:
        if options.get("features_only"):
            raise RuntimeError("features_only not implemented for this network.")
        return torch.nn.Conv2d(3, 3, 1)

    with pytest.raises(
        MagNetError, match=r"^encoder: timm makes no encoder of 'timm:magnet_test_plain' \(RuntimeError: f"
    ):
        build_segmenter("fpn", 3, encoder="timm:magnet_test_plain")


def test_sizes_that_an_encoder_does_not_take() -> None:
    with (
        torch.no_grad(),
        pytest.raises(
            ValueError,
            match=r"^encoder: timm:mixer_s32_224 takes no images of 64x96 pixels \(HxW\) \(AssertionError: .*\)",
        ),
    ):
        built("fpn-lite", "mixer_s32_224")(torch.randn(1, 3, *SIZE))
    with torch.no_grad(), pytest.raises(ValueError, match=r"takes no images of 32x32 pixels .*let it see the size"):
        built("fpn-lite", "inception_v3")(torch.randn(1, 3, 20, 20))
