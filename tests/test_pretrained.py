from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from seeded import rand
from torch import Tensor, nn

from magnet import MagNet, MagNetError, RefinementModule, build_segmenter, checkpoints, pretrained
from magnet.checkpoints import CheckpointError

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
    image = rand("pretrained.image", 1, 3, 40, 60)
    assert torch.equal(model(image), loaded(image))
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("refiners", [0, 2])
def test_every_number_of_refiners(tmp_path: Path, refiners: int) -> None:
    scales = [(16, 24), (32, 48), (64, 96)]
    tiny(refiners=refiners, scales=scales, n_patches=[1, 2]).save_pretrained(tmp_path)
    loaded = MagNet.from_pretrained(str(tmp_path))
    assert len(loaded.refiners) == refiners and loaded.scales == scales and loaded.n_patches == [1, 2]


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
    with pytest.raises(TypeError, match="unknown arguments: points"):
        MagNet.from_pretrained(saved, points=3)
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
    with pytest.raises(MagNetError, match=r"refiner: expected magnet\.RefinementModule, got Own"):
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

    monkeypatch.setattr(checkpoints, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tiny(num_classes=4).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["hrnet18+ocr", "fpn"])
def test_segmenters_are_recognised(name: str) -> None:
    with torch.device("meta"):
        assert pretrained._segmenter_name(build_segmenter(name, 5)) == name
