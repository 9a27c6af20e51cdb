"""magnet.Segmenter: anyone's network by name, saved and loaded as one of the library's own."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import wrapped
from processes import environment
from safetensors.torch import save_file
from seeded import seed_module
from torch import Tensor
from wrapped import Net, images_of

import magnet
from magnet.errors import MagNetError
from magnet.model.magnet import MagNet
from magnet.networks import segmenter as segmenters

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(segmenter: magnet.Segmenter, **settings: Any) -> MagNet:
    refiner = seed_module(magnet.RefinementModule(settings.pop("classes", 3)), "refiner.")
    return MagNet(segmenter, refiner, scales=[(16, 24), (32, 48)], patch_size=(16, 24), n_points=0.5, **settings)


def image(channels: int = 3) -> Tensor:
    return torch.rand(channels, 32, 48, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("args", "wrap", "channels", "saved"),
    [
        ({"classes": 3}, {}, 3, {"activation": "none"}),
        ({"classes": 3, "form": "dict", "stride": 2}, {"aux": "aux", "divisor": 4}, 3, {"aux": "aux", "divisor": 4}),
        ({"classes": 1, "form": "sigmoid"}, {"binary": True, "activation": "sigmoid"}, 3, {"binary": True}),
        ({"classes": 3, "form": "tuple"}, {"output": -1, "mean": [0.5] * 3, "std": None}, 3, {"output": -1}),
        ({"classes": 3, "channels": 5}, {"mean": None, "std": None}, 5, {"mean": None, "std": None}),
        ({"classes": 3, "channels": 1}, {"mean": [0.4], "std": (0.2,)}, 1, {"mean": [0.4], "std": [0.2]}),
    ],
)
def test_saved_and_loaded(args: dict, wrap: dict, channels: int, saved: dict, tmp_path: Path) -> None:
    segmenter = magnet.Segmenter("wrapped:Net", args, wrap=wrap, channels=channels)
    classes = 2 if args["classes"] == 1 else 3
    model = model_of(segmenter, channels=channels, classes=classes)
    expected = model.predict(image(channels))
    with torch.no_grad():
        segmenter.model.conv.weight.mul_(1.5)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["num_classes"] == classes
    assert config["segmenter"]["factory"] == "wrapped:Net" and config["segmenter"]["args"] == args
    assert saved.items() <= config["segmenter"]["wrap"].items() and set(wrap) <= {*config["segmenter"]["wrap"]}

    loaded = MagNet.from_pretrained(tmp_path, trust=True)
    assert isinstance(loaded.segmenter, magnet.Segmenter) and loaded.num_classes == classes
    found, now = loaded.predict(image(channels)), model.predict(image(channels))
    assert torch.equal(found.labels, now.labels) and torch.equal(found.probabilities, now.probabilities)
    assert not torch.equal(found.probabilities, expected.probabilities)  # the weights are those of the folder
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert {**again, "weights_sha256": ""} == {**config, "weights_sha256": ""}  # whose order in the file may differ


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model_of(magnet.Segmenter("wrapped:Net", {"form": "softmax"})).save_pretrained(folder)
    return folder


def test_in_a_new_process(saved: Path, tmp_path: Path) -> None:
    script = (
        "import sys, torch, magnet; model = magnet.MagNet.from_pretrained(sys.argv[1], trust=True);"
        "image = torch.rand(3, 32, 48, generator=torch.Generator().manual_seed(3));"
        "torch.set_num_threads(1); torch.save(model.predict(image).labels, sys.argv[2])"
    )
    command = [sys.executable, "-P", "-W", "error", "-c", script, str(saved), str(tmp_path / "labels.pt")]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr  # a softmax that was noticed before it was saved is not told again
    expected = MagNet.from_pretrained(saved, trust=True).predict(image()).labels
    assert torch.equal(torch.load(tmp_path / "labels.pt"), expected)


def test_code_of_others_is_not_imported_unasked(saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["segmenter"]["factory"] = "evil_module.inner:start"
    (tmp_path / "evil_module").mkdir()
    (tmp_path / "evil_module" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    sys.path.insert(0, str(tmp_path))
    try:
        for trust in (False, 1, "no"):
            with pytest.raises(
                MagNetError,
                match=r"^model: '.*model' is built by evil_module\.inner:start: to load it imports the module "
                r"evil_module\.inner and calls start, .* pass trust=True \(--trust\)$",
            ):
                MagNet.from_pretrained(tmp_path / "model", trust=trust)
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"factory": "wrapped:Net", "args": {}}, "segmenter: expected factory, args, wrap, got"),
        ({"factory": "wrapped", "args": {}, "wrap": {}}, "factory: expected a module and a callable"),
        ({"factory": "wrapped:Net", "args": [], "wrap": {}}, "args: expected keyword arguments"),
        ({"factory": "wrapped:Net", "args": {}, "wrap": {"more": 1}}, "wrap: expected some of output, divisor"),
        ({"factory": "wrapped:Net", "args": {"colour": 1}, "wrap": {}}, "args: wrapped:Net could not build a network"),
        ({"factory": "no_such_module:Net", "args": {}, "wrap": {}}, "factory: 'no_such_module' cannot be imported"),
    ],
)
def test_folders_that_are_wrong(spec: dict, message: str, saved: Path, tmp_path: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "segmenter": spec}))
    with pytest.raises(MagNetError, match=message):
        MagNet.from_pretrained(tmp_path, trust=True)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_weights_of_a_file(ending: str, prefix: str, tmp_path: Path) -> None:
    state = {f"{prefix}{key}": value + 1 for key, value in Net().state_dict().items()}
    path = tmp_path / f"net{ending}"
    save_file(state, path) if ending == ".safetensors" else torch.save(state, path)
    segmenter = magnet.Segmenter("wrapped:Net", weights=path)
    assert torch.equal(segmenter.model.conv.bias, Net().conv.bias + 1)


def test_weights_that_do_not_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "net.pth"
    torch.save(Net(classes=5).state_dict(), path)
    with pytest.raises(MagNetError, match=r"weights: '.*net\.pth' does not fit Net .*5 classes and the network for 3"):
        magnet.Segmenter("wrapped:Net", {"classes": 3}, weights=path)
    assert not caplog.messages
    segmenter = magnet.Segmenter("wrapped:Net", {"classes": 3}, weights=path, strict=False)
    assert segmenter.settle((8, 8)) == 3
    assert "layers of another shape than in" in caplog.text and "conv.weight, conv.bias" in caplog.text
    torch.save({"head.weight": torch.ones(3)}, path)  # which is of another network
    with pytest.raises(MagNetError, match=r"2 missing: conv\.weight, conv\.bias; 1 unexpected: head\.weight"):
        magnet.Segmenter("wrapped:Net", {"classes": 3}, weights=path, strict=False)
    with pytest.raises(MagNetError, match="which there are of transformers' classes alone"):
        magnet.Segmenter("wrapped:Net", weights=tmp_path)


def test_a_folder_loads_no_weights_of_its_own(tmp_path: Path) -> None:
    wrapped.LOADED.clear()
    segmenter = magnet.Segmenter("wrapped:loading", {"encoder_weights": "imagenet"})
    assert wrapped.LOADED == ["imagenet", "pretrained"]  # as it was asked for
    model_of(segmenter).save_pretrained(tmp_path)
    loaded = MagNet.from_pretrained(tmp_path, trust=True)
    assert loaded.segmenter.args == {"encoder_weights": None, "pretrained": False}
    torch.save(Net().state_dict(), tmp_path / "net.pth")
    magnet.Segmenter("wrapped:loading", weights=tmp_path / "net.pth")
    assert wrapped.LOADED == ["imagenet", "pretrained"]


def test_what_weights_imply_must_be_said(tmp_path: Path) -> None:
    model = model_of(magnet.Segmenter("wrapped:implying"), classes=5)
    with pytest.raises(MagNetError, match=r"^factory: wrapped:implying makes another network without .*\(weights\)"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model" / "config.json").exists()
    model_of(magnet.Segmenter("wrapped:implying", {"classes": 5}), classes=5).save_pretrained(tmp_path / "model")


@pytest.mark.parametrize(
    ("factory", "given", "error", "message"),
    [
        (Net, {}, TypeError, "^factory: expected a text as"),
        ("wrapped.Net", {}, ValueError, "^factory: expected a module and a callable in it, .* got 'wrapped.Net'"),
        ("wrapped:Net()", {}, ValueError, "^factory: expected a module and a callable"),
        ("wrapped:nothing", {}, MagNetError, "^factory: expected 'nothing' to be a callable of 'wrapped'"),
        ("wrapped:FORMS", {}, MagNetError, "^factory: expected 'FORMS' to be a callable"),
        ("wrapped:of_nothing", {}, MagNetError, r"^factory: expected wrapped:of_nothing to return a torch\.nn\.Module"),
        ("wrapped:Net", {"args": {"classes": {3}}}, TypeError, "^args: expected keyword arguments .*JSON"),
        ("wrapped:Net", {"args": {"classes": float("nan")}}, TypeError, "^args: expected keyword arguments"),
        ("wrapped:Net", {"args": {1: 2}}, TypeError, "^args: expected keyword arguments"),
        ("wrapped:Net", {"args": {"x": 2}}, MagNetError, r"^args: wrapped:Net could not build .*unexpected keyword"),
        ("wrapped:Net", {"wrap": {"output": torch.log}}, TypeError, "^output: expected a text or a number, which a"),
        ("wrapped:Net", {"wrap": {"mean": [123.675] * 3}}, ValueError, "^mean: .*divide by 255: mean="),
        ("wrapped:Net", {"wrap": {"mean": 3}}, TypeError, "^mean: expected numbers"),
        ("wrapped:Net", {"channels": 5}, ValueError, "^mean: expected 5 numbers, one for each channel"),
        ("wrapped:Net", {"num_classes": 0}, ValueError, "^num_classes: expected a positive int"),
        ("wrapped:Net", {"weights": 3}, TypeError, "^weights: expected a path"),
        ("wrapped:Net", {"weights": "absent.pth"}, MagNetError, "^weights: .*'absent.pth' does not exist"),
    ],
)
def test_what_is_refused(factory: Any, given: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        magnet.Segmenter(factory, **given)


def test_networks_that_do_not_take_the_images() -> None:
    segmenter = magnet.Segmenter("wrapped:Net", {"channels": 4})
    with pytest.raises(MagNetError, match=r"^args: the network of wrapped:Net gave no logits of images \(1, 3, 8, 8\)"):
        segmenter.settle((8, 8))
    assert segmenter.training
    of_four = magnet.Segmenter("wrapped:Net", {"channels": 4}, channels=4, wrap={"mean": None, "std": None})
    assert of_four.settle((8, 8)) == 3


def test_settling_changes_no_statistics_and_no_mode() -> None:
    segmenter = magnet.Segmenter("torch.nn:Sequential").train()  # an empty one: the image itself
    segmenter.model.append(torch.nn.BatchNorm2d(3))
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    assert segmenter.settle((8, 8)) == 3 and segmenter.training and segmenter.model[0].training
    assert all(torch.equal(value, before[key]) for key, value in segmenter.state_dict().items())


def test_it_is_a_module_as_any_other() -> None:
    segmenter = magnet.Segmenter("wrapped:Net", {"classes": 3})
    for other in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        assert torch.equal(other(images_of(8, 8)), segmenter(images_of(8, 8))) and other.spec() == segmenter.spec()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("leaving", r"args: wrapped:leaving could not build .*SystemExit: 3"),
        ("lazy", r"factory: .* got lazy layers, whose sizes are open \(weight, bias\)"),
        ("without_values", r"factory: .* got tensors without values \(weight, bias\)"),
        ("Fuller", r"factory: .* got state that is no tensor \(_extra_state\)"),
    ],
)
def test_networks_that_no_folder_could_hold(name: str, message: str) -> None:
    with pytest.raises(MagNetError, match=message):
        magnet.Segmenter(f"wrapped:{name}")


def test_a_network_that_its_weights_do_not_make_is_not_saved(tmp_path: Path) -> None:
    """A folder of it would give other labels, without a word."""
    with pytest.raises(MagNetError, match=r"factory: wrapped:Random .* other results with the same weights"):
        model_of(magnet.Segmenter("wrapped:Random")).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    changed = magnet.Segmenter("wrapped:Net")
    changed.model.conv = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(MagNetError, match=r"factory: wrapped:Net makes a network of other layers"):
        model_of(changed).save_pretrained(tmp_path / "model")
    model = model_of(magnet.Segmenter("wrapped:Net"))
    before = torch.get_rng_state()
    model.save_pretrained(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers are not touched


@pytest.mark.parametrize(("name", "told"), [("Dropping", True), ("staying_awake", True), ("Net", False)])
def test_results_that_differ_each_time_are_told(
    name: str, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    segmenters._tell_random.cache_clear()
    model = model_of(magnet.Segmenter(f"wrapped:{name}"))
    for _ in range(2):
        model.save_pretrained(tmp_path / name)
    found = [message for message in caplog.messages if "other results of one image each time" in message]
    assert len(found) == told and all(f"wrapped:{name} " in message for message in found)


@pytest.mark.parametrize("name", ["needing_a_package", "Needing"])
def test_a_package_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match=r"^args: .* by 'pip install no_such_package'$"):
        model_of(magnet.Segmenter(f"wrapped:{name}")).save_pretrained(tmp_path / "model")


@pytest.mark.parametrize("prefix", ["net.", "_orig_mod.", "module.segmentor."])
@pytest.mark.parametrize("inside", [None, "params"])
def test_weights_under_a_name_of_their_training_program(prefix: str, inside: str | None, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    torch.nn.init.ones_(network[0].weight)
    state = {prefix + key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save({inside: state, "epoch": 3} if inside else state, tmp_path / "w.pth")
    segmenter = magnet.Segmenter("wrapped:sequential", weights=tmp_path / "w.pth")
    assert torch.equal(segmenter.model[0].weight, network[0].weight)


def test_files_that_are_no_state_dict_say_what_they_are(tmp_path: Path) -> None:
    state = Net().state_dict()
    torch.save({"generator": state, "critic": state}, tmp_path / "two.pth")
    with pytest.raises(MagNetError, match=r"several state dicts \(generator, critic\)"):
        magnet.Segmenter("wrapped:Net", weights=tmp_path / "two.pth")
    wrapped.program().save(tmp_path / "program.pt")
    with pytest.raises(MagNetError, match="is a TorchScript program"):
        magnet.Segmenter("wrapped:Net", weights=tmp_path / "program.pt")
