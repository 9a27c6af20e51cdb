from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch
from seeded import rand
from torch import Tensor, nn

from magnet import MagNet, MagNetError, RefinementModule, build_segmenter
from magnet.checkpoints import safetensors_files
from magnet.checkpoints.errors import CheckpointError
from magnet.images.tensors import normalize
from magnet.model import pretrained

SETTINGS: dict = {"scales": [(16, 24), (32, 48)], "patch_size": (16, 24), "n_points": 0.5}


def tiny(num_classes: int = 3, refiners: int = 1, **changes: object) -> MagNet:
    torch.manual_seed(0)
    modules = [RefinementModule(num_classes) for _ in range(refiners)] or None
    return MagNet(build_segmenter("compact", num_classes), modules, **{**SETTINGS, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "deep" / "model"
    tiny(class_names=["sky", "Straße", "tree"], colours=[(0, 0, 0), (1, 2, 3), (255, 255, 255)]).save_pretrained(
        folder, info={"licence": "CC BY 4.0"}
    )
    return folder


def copy_of(saved: Path, folder: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((saved / name).read_bytes())
    return folder


def test_round_trip(saved: Path) -> None:
    model, loaded = tiny(), MagNet.from_pretrained(saved)
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in model.state_dict().items())
    for name in ("scales", "patch_size", "input_size", "n_points", "n_patches", "kernel_size", "compat", "num_classes"):
        assert getattr(loaded, name) == getattr(model, name), name
    assert loaded.class_names == ["sky", "Straße", "tree"] and loaded.colours[1] == (1, 2, 3)
    assert loaded.info == {"licence": "CC BY 4.0"}
    image = normalize(rand("pretrained.image", 1, 3, 40, 60))
    assert torch.equal(model(image), loaded(image))
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("refiners", [0, 2])
def test_every_number_of_refiners(tmp_path: Path, refiners: int) -> None:
    scales = [(16, 24), (32, 48), (64, 96)]
    tiny(refiners=refiners, scales=scales, n_patches=[1, 2]).save_pretrained(tmp_path)
    loaded = MagNet.from_pretrained(str(tmp_path))
    assert len(loaded.refiners) == refiners and list(loaded.scales) == scales and loaded.n_patches == (1, 2)


def test_half_precision_is_smaller_and_loads_as_float32(saved: Path, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path, half=True)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.6 * (saved / "model.safetensors").stat().st_size
    loaded, full = MagNet.from_pretrained(tmp_path).state_dict(), tiny().state_dict()
    for key, value in full.items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)


def test_changes_replace_what_is_stored(saved: Path) -> None:
    loaded = MagNet.from_pretrained(saved, n_patches=2, n_points=7, batch_size=1, amp="bf16", progress=False)
    assert (loaded.n_patches, loaded.n_points, loaded.batch_size, loaded.amp, loaded.progress) == (
        2,
        7,
        1,
        "bf16",
        False,
    )
    with pytest.raises(TypeError, match=r"^settings: expected some of scales, .*, num_classes, got points"):
        MagNet.from_pretrained(saved, points=3)
    with pytest.raises(TypeError, match=r"^folder: expected a folder, or the name of a model .*, got None; pass"):
        MagNet.from_pretrained(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"n_points: .*got 1\.5"):
        MagNet.from_pretrained(saved, n_points=1.5)


def test_saving_again_keeps_the_info(saved: Path, tmp_path: Path) -> None:
    MagNet.from_pretrained(saved).save_pretrained(tmp_path, info={"note": "again"})
    assert MagNet.from_pretrained(tmp_path).info == {"licence": "CC BY 4.0", "note": "again"}


def test_models_that_come_with_the_library(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vessels").mkdir()
    copy_of(saved, tmp_path / "vessels")
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    assert pretrained.shipped_models() == ["vessels"]
    assert MagNet.from_pretrained("vessels").num_classes == 3
    with pytest.raises(MagNetError, match=r"model: 'roads' is neither a folder nor .*\(vessels\)"):
        MagNet.from_pretrained("roads")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file(saved: Path, tmp_path: Path, name: str) -> None:
    (copy_of(saved, tmp_path) / name).unlink()
    with pytest.raises(MagNetError, match=rf"{name}'?.*does not exist"):
        MagNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_truncated_file(saved: Path, tmp_path: Path, name: str, share: float) -> None:
    path = copy_of(saved, tmp_path) / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(MagNetError, match=rf"{name}.* (truncated|corrupt)"):
        MagNet.from_pretrained(tmp_path)


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({k: v for k, v in {**config, **changes}.items() if v != "drop"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 4, "class_names": None, "colours": None}, "checkpoint is for 3 classes and the network for 4"),
        ({"refiners": 2, "scales": [[16, 24], [32, 48], [64, 96]]}, "model.safetensors' does not fit .* missing"),
        ({"refiners": 0}, "model.safetensors' does not fit .* unexpected"),
        ({"segmenter": "fpn"}, "model.safetensors' does not fit"),
        ({"segmenter": "unet"}, "config.json' is not valid .*'unet'"),
        ({"refiners": -1}, "config.json' is not valid .*refiners"),
        ({"num_classes": "many"}, "config.json' is not valid .*num_classes"),
        ({"n_points": 1.5}, "config.json' is not valid .*n_points"),
        ({"class_names": ["a"]}, "config.json' is not valid .*class_names"),
        ({"scales": "drop"}, "config.json' lacks scales"),
        ({"num_classes": 10**9}, "config.json' is not valid .*num_classes: expected at most 10000, got 1000000000"),
        ({"refiners": 10**9}, "config.json' is not valid .*refiners: expected how many there are, 0 to 32, got 10"),
        ({"scales": [[10**9, 10**9]]}, r"config.json' is not valid .*scales\[0\]: expected at most 2\*\*32 pixels"),
        (
            {"scales": [[i, i] for i in range(16, 10**5)]},
            "config.json' is not valid .*scales: expected at most 32 sizes",
        ),
        ({"input_size": [10**9, 10**9]}, "config.json' is not valid .*input_size: expected at most"),
        (
            {"scales": [[16, 24], [4096, 4096]], "patch_size": [1, 1]},
            "config.json' is not valid .*patch_size: .* 1048576",
        ),
        ({"colours": [[float("inf"), 0, 0]] * 3}, "config.json' is not valid .*colours"),
        ({"segmenter": {"a": 1}}, "config.json' is not valid .*segmenter: expected factory, args, wrap, got"),
        ({"n_points": "\x1b[31m"}, r"config.json' is not valid .*n_points: .*\\x1b\[31m"),
        ({"segmenter": "x" * 10**6}, "config.json' is not valid .{0,600}$"),
        ({"weights_sha256": 7}, "model.safetensors' is not the file that 'config.json' was written with"),
        ({"format": 2}, "config.json' has format 2, and this version reads 1"),
        ({"format": "drop"}, "config.json' is not the configuration"),
    ],
)
def test_files_that_do_not_fit(saved: Path, tmp_path: Path, changes: dict, message: str) -> None:
    edit(copy_of(saved, tmp_path), **changes)
    with pytest.raises(MagNetError, match=message):
        MagNet.from_pretrained(tmp_path)


def test_another_number_of_classes_is_refused(saved: Path) -> None:
    assert MagNet.from_pretrained(saved, num_classes=3).num_classes == 3
    with pytest.raises(MagNetError, match=r"num_classes: expected 5 classes, but the model .* has 3"):
        MagNet.from_pretrained(saved, num_classes=5)


def test_the_error_holds_every_key(saved: Path, tmp_path: Path) -> None:
    edit(copy_of(saved, tmp_path), refiners=0)
    with pytest.raises(CheckpointError) as caught:
        MagNet.from_pretrained(tmp_path)
    assert set(caught.value.unexpected) == {key for key in tiny().state_dict() if key.startswith("refiners.")}


def test_networks_that_cannot_be_rebuilt_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Own(nn.Module):
        num_classes = 3

        def forward(self, images: Tensor) -> Tensor:
            return images

    folder = tmp_path / "model"
    with pytest.raises(MagNetError, match="segmenter: Own is not a network that build_segmenter makes"):
        MagNet(Own(), None, **SETTINGS).save_pretrained(folder)
    with pytest.raises(MagNetError, match=r"refiner: expected one that magnet\.build_refiner makes, got Own"):
        MagNet(build_segmenter("compact", 3), Own(), **SETTINGS).save_pretrained(folder)
    with pytest.raises(TypeError, match="info: expected values that JSON can hold"):
        tiny().save_pretrained(folder, info={"x": object()})
    assert not folder.exists()


def test_the_folder_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MagNetError, match="folder: expected a folder that can be written to"):
        tiny().save_pretrained(tmp_path / "file")


def test_an_interrupted_save_leaves_the_old_model(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in copy_of(saved, tmp_path).iterdir()}

    def interrupt(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(safetensors_files, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny(num_classes=4).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["hrnet18+ocr", "fpn"])
def test_segmenters_are_recognised(name: str) -> None:
    with torch.device("meta"):
        assert pretrained._named(build_segmenter(name, 5)) == name


# the weights are those that the configuration was written with


def test_the_configuration_knows_the_weights(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    assert config["weights_sha256"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", pretrained.shipped_models())
def test_shipped_weights_are_known(name: str) -> None:
    config = json.loads((pretrained.SHIPPED / name / "config.json").read_text(encoding="utf-8"))
    weights = (pretrained.SHIPPED / name / "model.safetensors").read_bytes()
    assert config["weights_sha256"] == hashlib.sha256(weights).hexdigest()


def test_other_weights_are_an_error_that_says_how_to_take_them(saved: Path, tmp_path: Path) -> None:
    copy_of(saved, tmp_path)
    other = tiny().state_dict()
    other["segmenter.head.bias"] += 1  # as tuned by hand
    safetensors_files.save_safetensors(tmp_path / "model.safetensors", other)
    with pytest.raises(
        MagNetError, match=r"^weights: .* is not the file that 'config\.json' was written with"
    ) as caught:
        MagNet.from_pretrained(tmp_path)
    assert 'take "weights_sha256" out of config.json' in str(caught.value)
    edit(tmp_path, weights_sha256="drop")  # as the message says; so are folders of older versions
    loaded = MagNet.from_pretrained(tmp_path)
    assert torch.equal(loaded.segmenter.head.bias, other["segmenter.head.bias"])
    loaded.save_pretrained(tmp_path)
    MagNet.from_pretrained(tmp_path)


def test_weights_that_are_not_finite_are_named(saved: Path, tmp_path: Path) -> None:
    copy_of(saved, tmp_path)
    model = tiny()
    with torch.no_grad():
        model.segmenter.head.bias[1] = torch.nan
    safetensors_files.save_safetensors(tmp_path / "model.safetensors", model.state_dict())
    with pytest.raises(MagNetError, match=r"model\.safetensors' holds NaN or infinity in segmenter\.head\.bias; train"):
        MagNet.from_pretrained(tmp_path)


# files that are none


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_pipes_and_devices_are_not_waited_for(saved: Path, tmp_path: Path, name: str) -> None:
    path = copy_of(saved, tmp_path) / name
    argument = "config" if name == "config.json" else "weights"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MagNetError, match=rf"^{argument}: expected a file, but '{path}' is a (pipe|device); copy"):
        MagNet.from_pretrained(tmp_path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(MagNetError, match=rf"^{argument}: expected a file, but '{path}' is a (pipe|device); copy"):
        MagNet.from_pretrained(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(MagNetError, match=rf"^{argument}: expected a file, but '{path}' is a folder; check"):
        MagNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_configuration_nested_without_an_end(saved: Path, tmp_path: Path, opening: str) -> None:
    (copy_of(saved, tmp_path) / "config.json").write_text(opening * 100_000)
    with pytest.raises(MagNetError, match=r"^config: .* is truncated, corrupt or not JSON \(it is nested too deep\)"):
        MagNet.from_pretrained(tmp_path)


def test_a_configuration_of_a_gigabyte_is_not_read(saved: Path, tmp_path: Path) -> None:
    with (copy_of(saved, tmp_path) / "config.json").open("r+b") as file:
        file.truncate(1 << 30)  # takes no room on the disk
    with pytest.raises(MagNetError, match=r"^config: expected a file of at most 16 MiB, but .* is larger"):
        MagNet.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"1" * 10_000, b"NaN", b"null", b'"x"'])
def test_what_is_no_configuration(saved: Path, tmp_path: Path, content: bytes) -> None:
    (copy_of(saved, tmp_path) / "config.json").write_bytes(content)
    with pytest.raises(MagNetError, match=r"^config: .* is (truncated, corrupt or not JSON|not the configuration)"):
        MagNet.from_pretrained(tmp_path)
