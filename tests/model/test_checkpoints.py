"""Checkpoints: what fits is loaded whole; what does not gets one error and changes nothing."""

from __future__ import annotations

import logging
import os
import zipfile
from pathlib import Path

import pytest
import torch
from seeded import seed_module, seeded_state
from torch import nn

from magnet.checkpoints.errors import CheckpointError
from magnet.checkpoints.fit import load_official, load_state, load_weights
from magnet.checkpoints.safetensors_files import load_safetensors, save_safetensors
from magnet.checkpoints.state_dicts import read_state_dict
from magnet.errors import MagNetError
from magnet.networks import RefinementModule, build_segmenter


@pytest.fixture
def state():
    return seeded_state(RefinementModule(5))


def assert_loaded(module: nn.Module, state: dict[str, torch.Tensor]) -> None:
    actual = module.state_dict()
    assert actual.keys() == state.keys()
    for key, value in state.items():
        assert torch.equal(actual[key], value), key


def snapshot(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model.", "model.module."])
@pytest.mark.parametrize("legacy", [False, True])
def test_official_refiner(tmp_path, state, prefix, legacy):
    torch.save(
        {prefix + key: value for key, value in state.items()},
        tmp_path / "r.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    module = RefinementModule(5)
    report = load_official(tmp_path / "r.pth", module)
    assert_loaded(module, state)
    assert report.prefix == prefix and report.loaded == tuple(state) and report.ignored == ()


def test_official_segmenter_with_wrapper_keys(tmp_path, caplog):
    source = seed_module(build_segmenter("hrnet18+ocr", 4)).state_dict()
    content = {f"model.{key}": value for key, value in source.items()} | {"loss.criterion.weight": torch.ones(4)}
    torch.save(content, tmp_path / "s.pth")
    module = build_segmenter("hrnet18+ocr", 4)
    with caplog.at_level(logging.WARNING, logger="magnet"):
        report = load_official(tmp_path / "s.pth", module)
    assert_loaded(module, source)
    assert report.prefix == "model." and report.ignored == ("loss.criterion.weight",)
    assert "loss.criterion.weight" in caplog.text
    assert set(report.ignored) | {f"model.{key}" for key in report.loaded} == set(content)


def test_official_several_refiners_in_one_file(tmp_path):
    states = [{k: v + i for k, v in seeded_state(RefinementModule(3)).items()} for i in range(2)]
    torch.save({f"refiners.{i}.{k}": v for i, s in enumerate(states) for k, v in s.items()}, tmp_path / "all.pth")
    for i, expected in enumerate(states):
        module = RefinementModule(3)
        report = load_official(tmp_path / "all.pth", module, prefix=f"refiners.{i}.")
        assert_loaded(module, expected)
        assert len(report.ignored) == len(expected)
    with pytest.raises(MagNetError, match=r"prefix: no key of .* starts with 'refiner\.'; .*start with refiners\."):
        load_official(tmp_path / "all.pth", RefinementModule(3), prefix="refiner.")
    with pytest.raises(CheckpointError, match="60 missing"):
        load_official(tmp_path / "all.pth", RefinementModule(3))


@pytest.mark.parametrize("name", ["state_dict", "model"])
def test_wrapped_state_dict(tmp_path, state, name):
    torch.save({name: state, "epoch": 3}, tmp_path / "w.pth")
    module = RefinementModule(5)
    load_official(tmp_path / "w.pth", module)
    assert_loaded(module, state)


def test_one_error_lists_everything_and_changes_nothing(tmp_path, state):
    del state["bn1.weight"], state["conv2.weight"]
    state["extra.weight"] = torch.zeros(2)
    state["bn2.bias"] = torch.zeros(7)
    state["bn2.weight"] = torch.zeros(64, dtype=torch.int64)
    torch.save(state, tmp_path / "bad.pth")
    module = RefinementModule(5)
    before = snapshot(module)
    with pytest.raises(CheckpointError) as caught:
        load_official(tmp_path / "bad.pth", module)
    error = caught.value
    assert error.missing == ("bn1.weight", "conv2.weight")
    assert error.unexpected == ("extra.weight",)
    assert error.mismatched == {"bn2.bias": ("7", "64"), "bn2.weight": ("torch.int64", "torch.float32")}
    message = str(error)
    assert "\n" not in message and "bad.pth" in message
    for text in ("2 missing: bn1.weight, conv2.weight", "1 unexpected: extra.weight", "2 mis-shaped: bn2.weight"):
        assert text in message
    assert_loaded(module, before)


def test_long_lists_are_shortened_in_the_message_only(state):
    with pytest.raises(CheckpointError, match=r"60 missing: bn0\.weight.* and 54 more") as caught:
        load_state(RefinementModule(5), {"x": torch.zeros(1)}, source="empty")
    assert caught.value.missing == tuple(state)


@pytest.mark.parametrize("build", [RefinementModule, lambda c: build_segmenter("hrnet18+ocr", c)])
def test_other_number_of_classes(tmp_path, build):
    torch.save(build(7).state_dict(), tmp_path / "seven.pth")
    module = build(4)
    before = snapshot(module)
    with pytest.raises(CheckpointError, match=r"checkpoint is for 7 classes and the network for 4.*num_classes=7"):
        load_official(tmp_path / "seven.pth", module)
    assert_loaded(module, before)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_truncated_file(tmp_path, state, suffix, keep):
    path = tmp_path / f"whole{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_safetensors(path, state)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    module = RefinementModule(5)
    before = snapshot(module)
    with pytest.raises(MagNetError, match="truncated, corrupt or not a checkpoint") as caught:
        load_weights(path, module)
    assert "\n" not in str(caught.value) and f"whole{suffix}" in str(caught.value)
    assert_loaded(module, before)


def test_flipped_bits(tmp_path, state):
    path = tmp_path / "x.pth"
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(MagNetError, match="truncated, corrupt or not a checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_unreadable_files(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    with pytest.raises(MagNetError, match="does not exist"):
        read_state_dict(path)
    path.write_bytes(b"these are not weights, just some words in a file")
    with pytest.raises(MagNetError, match="truncated, corrupt or not a checkpoint") as caught:
        read_state_dict(path)
    assert "weights_only" not in str(caught.value)  # no advice to load unsafely
    path.unlink()
    path.mkdir()
    with pytest.raises(MagNetError, match="is a folder; check the path"):
        read_state_dict(path)


class Planted:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was run",))


def test_no_code_is_run(tmp_path):
    torch.save({"weight": torch.zeros(1), "x": Planted()}, tmp_path / "evil.pth")
    with pytest.raises(MagNetError, match="holds more than tensors"):
        read_state_dict(tmp_path / "evil.pth")


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], torch.zeros(2), {"a": 1}])
def test_not_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(MagNetError, match="should hold a state dict"):
        read_state_dict(tmp_path / "x.pth")


def test_safetensors_round_trip(tmp_path, state):
    state["shared"] = state["conv1.weight"]  # tied weights share memory
    save_safetensors(tmp_path / "x.safetensors", state, {"num_classes": "5"})
    loaded, metadata = load_safetensors(tmp_path / "x.safetensors")
    assert metadata == {"num_classes": "5"}
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], value) and loaded[key].dtype == value.dtype for key, value in state.items())
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_safetensors_half(tmp_path, state):
    state["bn0.running_var"][0] = 1e6  # beyond half precision, kept in full
    save_safetensors(tmp_path / "full.safetensors", state)
    save_safetensors(tmp_path / "half.safetensors", state, half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.65 * (tmp_path / "full.safetensors").stat().st_size
    loaded, _ = load_safetensors(tmp_path / "half.safetensors")
    for key, value in state.items():
        assert loaded[key].dtype == value.dtype
        if value.ndim < 2:
            assert torch.equal(loaded[key], value)
        else:
            assert torch.equal(loaded[key], value.half().float())
    module = RefinementModule(5)
    load_weights(tmp_path / "half.safetensors", module)
    assert_loaded(module, loaded)
    state["conv1.weight"][0, 0, 0, 0] = 1e6
    with pytest.raises(ValueError, match=r"half: 'conv1\.weight' holds values beyond 65504"):
        save_safetensors(tmp_path / "new.safetensors", state, half=True)
    assert not (tmp_path / "new.safetensors").exists()


def test_failed_save_keeps_the_old_file(tmp_path, state, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, state)
    before = path.read_bytes()

    def full_disk(tensors, name, metadata):
        name.write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("magnet.checkpoints.safetensors_files.save_file", full_disk)
    with pytest.raises(MagNetError, match=r"could not be written.*No space left"):
        save_safetensors(path, {"other": torch.zeros(1)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_save_into_a_missing_folder(tmp_path):
    with pytest.raises(MagNetError, match=r"could not be written"):
        save_safetensors(tmp_path / "no" / "x.safetensors", {"a": torch.zeros(1)})


# values that are wrong, and files that are none


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(tmp_path, state, suffix, value):
    state["conv1.weight"][0, 0, 0, 0] = value
    state["bn1.running_var"][1] = value
    path = tmp_path / f"x{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_safetensors(path, state)
    module = RefinementModule(5)
    before = snapshot(module)
    with pytest.raises(
        MagNetError, match=r"^weights: '.*' holds NaN or infinity in conv1\.weight, bn1\.running_var; train"
    ):
        load_weights(path, module)
    assert_loaded(module, before)


def test_weights_without_values_are_named_shortly(tmp_path):
    with torch.device("meta"):
        torch.save(build_segmenter("hrnet18+ocr", 4).state_dict(), tmp_path / "m.pth")
    module = build_segmenter("hrnet18+ocr", 4)
    before = snapshot(module)
    with pytest.raises(
        MagNetError, match=r"holds shapes without values \(device 'meta'\): .* and \d+ more; save"
    ) as caught:
        load_weights(tmp_path / "m.pth", module)
    assert len(str(caught.value)) < 600 + len(str(tmp_path))
    assert_loaded(module, before)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x.to(torch.complex64), "torch.complex64"),
        (lambda x: x.to_sparse(), "torch.float32"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "torch.qint8"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_tensors_of_another_kind_do_not_fit(tmp_path, state, change, kind):
    state["conv2.weight"] = change(state["conv2.weight"])
    module = RefinementModule(5)
    before = snapshot(module)
    with pytest.raises(CheckpointError, match="1 mis-shaped: conv2") as caught:
        load_state(module, state, source="x.pth")
    assert caught.value.mismatched == {"conv2.weight": (kind, "torch.float32")}
    assert_loaded(module, before)


def test_keys_are_shown_without_what_a_terminal_obeys(tmp_path, state):
    state["\x1b[31mred\u202e"] = state.pop("conv1.weight")
    state |= {f"k{i}" * 3000: torch.zeros(1) for i in range(6)}
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(CheckpointError) as caught:
        load_official(tmp_path / "x.pth", RefinementModule(5))
    message = str(caught.value)
    assert r"\x1b[31mred\u202e" in message and message.isprintable() and len(message) <= 2000
    assert "\x1b[31mred\u202e" in caught.value.unexpected


def test_a_file_that_grows_when_unpacked_is_not(tmp_path, state):
    torch.save({"a": torch.zeros(1 << 22)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as whole, zipfile.ZipFile(tmp_path / "packed.pth", "w", 8) as packed:
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))
    assert (tmp_path / "packed.pth").stat().st_size < 100_000
    with pytest.raises(
        MagNetError, match=r"packed\.pth' is truncated.*\(it would take 167\d{5} bytes, 20 times its size"
    ):
        read_state_dict(tmp_path / "packed.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, suffix):
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"zero{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path, kind in ((pipe, "pipe"), (device, "device")):
        with pytest.raises(MagNetError, match=rf"^weights: expected a file, but '{path}' is a {kind}; copy"):
            read_state_dict(path)
    link = tmp_path / f"link{suffix}"
    link.symlink_to(Path("none"))
    with pytest.raises(MagNetError, match="does not exist"):
        read_state_dict(link)


def test_a_pickle_that_refers_to_nothing(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02h\x05.")  # number 5 of what was put aside, which nothing was
    with pytest.raises(MagNetError, match=r"not a checkpoint \(no state dict could be unpickled\)"):
        read_state_dict(path)
