"""Training with anyone's network: by a recipe that names its factory, from the start or for a finished one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import tiny_config, tiny_folder
from wrapped import Net

import magnet
from magnet.cli import main as cli
from magnet.cli.config import parse_config
from magnet.errors import ArgumentError, MagNetError
from magnet.model.magnet import MagNet
from magnet.training.run import run_training

pytestmark = pytest.mark.usefixtures("one_thread")

NET = {"segmenter.factory": "wrapped:Net", "segmenter.args": "{classes: 2, stride: 2}"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The weights of a network that was trained elsewhere."""
    network = Net(classes=2, stride=2)
    with torch.no_grad():
        network.conv.bias += 1
    torch.save(network.state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def words(data: Path, out: Path, *more: str, **keys: str) -> list[str]:
    return ["train", *tiny_config(data, out, **{**NET, **keys}), *more]


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "tiny" / "log.jsonl").read_text().splitlines()]


def test_trained_predicted_and_evaluated_by_commands(data: Path, tmp_path: Path) -> None:
    assert cli.main(words(data, tmp_path, "--trust")) == 0
    folder = tmp_path / "tiny" / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["segmenter"] == {
        "factory": "wrapped:Net",
        "args": {"classes": 2, "stride": 2},
        "wrap": {"activation": "none"},
    }
    best = load_file(tmp_path / "tiny" / "segmenter" / "best.safetensors")
    saved = load_file(folder / "model.safetensors")
    assert set(best) == {"model.conv.weight", "model.conv.bias"}
    assert all(torch.equal(saved[f"segmenter.{key}"], value) for key, value in best.items())
    assert not torch.equal(best["model.conv.weight"], Net(classes=2).conv.weight)
    assert {line["stage"] for line in log_of(tmp_path)} == {"segmenter", "refiner"}
    # the run's own configuration does not speak for who runs it again
    assert json.loads((tmp_path / "tiny" / "config.json").read_text())["trust"] is False

    photo = str(next((data / "images").iterdir()))
    predict = ["predict", photo, "--model", str(folder), "--out", str(tmp_path / "results")]
    assert cli.main(predict) == 2
    assert cli.main([*predict, "--trust"]) == 0 and list((tmp_path / "results").glob("*_labels.png"))
    evaluate = ["eval", "--model", str(folder), "--data", str(data), "--out", str(tmp_path / "e.json")]
    assert cli.main(evaluate) == 2
    assert cli.main([*evaluate, "--trust"]) == 0
    assert set(json.loads((tmp_path / "e.json").read_text())["results"]) == {"coarse", "sliding", "magnet", "fast"}


def test_a_run_that_goes_on_is_as_one_that_never_stopped(data: Path, tmp_path: Path) -> None:
    assert cli.main(words(data, tmp_path / "a", "--trust", "--stage", "segmenter")) == 0
    short = {"segmenter.iterations": "2", "segmenter.optim.schedule": "constant", "segmenter.optim.warmup": "0"}
    long = {**short, "segmenter.iterations": "4"}
    assert cli.main(words(data, tmp_path / "b", "--trust", "--stage", "segmenter", **long)) == 0
    assert cli.main(words(data, tmp_path / "c", "--trust", "--stage", "segmenter", **short)) == 0
    assert cli.main(words(data, tmp_path / "c", "--trust", "--stage", "segmenter", "--resume", **long)) == 0
    one, other = (load_file(tmp_path / name / "tiny" / "segmenter" / "last.safetensors") for name in "bc")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_auxiliary_output_is_trained_too(data: Path, tmp_path: Path) -> None:
    """Its weight changes what is learnt."""
    changed = {}
    for weight in ("0", "1"):
        keys = {"segmenter.args": "{classes: 2, form: dict}", "segmenter.wrap.aux": "aux", "segmenter.dice": "0"}
        keys |= {"segmenter.aux_weight": weight, "segmenter.optim.weight_decay": "0", "segmenter.optim.ema": "0"}
        out = tmp_path / weight
        assert cli.main(words(data, out, "--trust", "--stage", "segmenter", **keys)) == 0
        after = load_file(out / "tiny" / "segmenter" / "last.safetensors")["model.conv.bias"]
        changed[weight] = float((after - Net(classes=2).conv.bias.detach()).abs().sum())
    assert changed["0"] > 0 and changed["1"] != changed["0"]


def test_networks_of_one_logit(data: Path, tmp_path: Path) -> None:
    keys = {"segmenter.args": "{classes: 1}", "segmenter.wrap": "{binary: true}"}
    assert cli.main(words(data, tmp_path, "--trust", **keys)) == 0
    model = MagNet.from_pretrained(tmp_path / "tiny" / "model", trust=True)
    assert model.num_classes == 2 and model.class_names == ["ground", "thing"]
    assert model.segmenter.model.conv.out_channels == 1


def test_a_network_that_ends_in_a_softmax(data: Path, tmp_path: Path) -> None:
    keys = {"segmenter.args": "{classes: 2, form: softmax}"}
    with pytest.warns(UserWarning, match=r"^model: ends in a softmax"):
        assert cli.main(words(data, tmp_path, "--trust", **keys)) == 0
    spec = json.loads((tmp_path / "tiny" / "model" / "config.json").read_text())["segmenter"]
    assert spec["wrap"] == {"activation": "softmax"}


# a finished network


def test_only_the_refiner_is_trained(data: Path, tmp_path: Path, finished: Path) -> None:
    keys = {"segmenter.train": "false", "segmenter.weights": str(finished), "segmenter.iterations": "0"}
    assert cli.main(words(data, tmp_path, "--trust", **keys)) == 0
    folder = tmp_path / "tiny"
    expected = Net(classes=2, stride=2).conv
    for path, prefix in (("segmenter/best", "model"), ("model/model", "segmenter.model")):
        state = load_file(folder / f"{path}.safetensors")
        assert torch.equal(state[f"{prefix}.conv.weight"], expected.weight)
        assert torch.equal(state[f"{prefix}.conv.bias"], expected.bias + 1)
    assert sorted(path.name for path in (folder / "segmenter").iterdir()) == ["best.safetensors"]
    log = log_of(tmp_path)
    assert [line["step"] for line in log if line["stage"] == "segmenter"] == [0] and len(log[0]["miou"]) == 2
    fresh = load_file(folder / "refiner" / "best.safetensors")

    # given again it goes on, does nothing, and leaves all as it is
    before = {path: path.read_bytes() for path in folder.glob("*er/best.safetensors")}
    assert cli.main(words(data, tmp_path, "--trust", "--resume", **keys)) == 0
    assert {path: path.read_bytes() for path in before} == before and len(fresh) > 10
    assert len([line for line in log_of(tmp_path) if line["stage"] == "segmenter"]) == 1
    # the refiner belongs to its segmenter
    torch.save(Net(classes=2, stride=2).state_dict(), finished)
    with pytest.raises(MagNetError, match=r"^resume: .* holds other weights than the finished segmenter has now"):
        run_training(parse_config(words(data, tmp_path, "--trust", "--resume", **keys)[1:]))
    with pytest.raises(MagNetError, match=r"of an earlier run is there already"):
        run_training(parse_config(words(data, tmp_path, "--trust", **keys)[1:]))
    assert cli.main(words(data, tmp_path, "--trust", "--overwrite", "--stage", "refiner", **keys)) == 0
    state = load_file(folder / "model" / "model.safetensors")
    assert torch.equal(state["segmenter.model.conv.bias"], expected.bias)


def test_a_finished_network_of_this_library(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    first = magnet.build_segmenter("compact", 2)
    scales: Any = {"scales": [(32, 48), (64, 96)], "patch_size": (32, 48), "n_points": 0.5}
    MagNet(first, None, **scales).save_pretrained(tmp_path / "first")
    keys = {"segmenter.factory": "", "segmenter.args": "{}", "segmenter.train": "false"}
    keys |= {"segmenter.init": str(tmp_path / "first")}
    assert cli.main(words(data, tmp_path, **keys)) == 0
    state = load_file(tmp_path / "tiny" / "model" / "model.safetensors")
    assert all(torch.equal(state[f"segmenter.{key}"], value) for key, value in first.state_dict().items())
    MagNet(magnet.build_segmenter("compact", 5), None, **scales).save_pretrained(tmp_path / "five")
    keys["segmenter.init"] = str(tmp_path / "five")
    with pytest.raises(MagNetError, match=r"^segmenter\.init: '.*five' has \d+ of the \d+ tensors of Compact, which"):
        run_training(parse_config(words(data, tmp_path, "--overwrite", **keys)[1:]))


def test_weights_to_go_on_from(data: Path, tmp_path: Path, finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A network for other classes: its last layer starts anew, and that is told; a finished one must fit."""
    torch.save(Net(classes=7, stride=2).state_dict(), finished)
    keys = {"segmenter.weights": str(finished)}
    assert cli.main(words(data, tmp_path, "--trust", "--stage", "segmenter", **keys)) == 0
    assert "start anew: conv.weight, conv.bias" in caplog.text
    with pytest.raises(ArgumentError, match=r"^segmenter\.weights: '.*net\.pth' does not fit Net"):
        run_training(parse_config(words(data, tmp_path / "b", "--trust", **keys, **{"segmenter.train": "false"})[1:]))
    assert not (tmp_path / "b").exists()


# what is wrong


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"segmenter.factory": "wrapped"}, r"^segmenter\.factory: expected a module and a callable in it"),
        ({"segmenter.factory": "wrapped:nothing"}, r"^segmenter\.factory: expected 'nothing' to be a callable"),
        ({"segmenter.factory": "no_such:Net"}, r"^segmenter\.factory: 'no_such' cannot be imported"),
        ({"segmenter.factory": ""}, r"^segmenter\.factory: expected the factory that segmenter\.args and"),
        (
            {"segmenter.args": "{classes: 3}"},
            r"^segmenter\.args: expected a network of 2 classes, .* got one of 3; set",
        ),
        ({"segmenter.args": "{class: 3}"}, r"^segmenter\.args: wrapped:Net could not build a network of {'class': 3}"),
        (
            {"segmenter.args": "{classes: 2, channels: 4}"},
            r"^segmenter\.args: the network of wrapped:Net gave no logits",
        ),
        ({"segmenter.args": "{classes: 1}"}, r"^segmenter\.args: .* gave no logits .*give binary=True"),
        ({"segmenter.wrap.mean": "[123.675, 116.28, 103.53]"}, r"^segmenter\.wrap\.mean: .*divide by 255: mean="),
        ({"segmenter.wrap": "{activation: softmax, binary: true}"}, r"^segmenter\.wrap\.activation: expected 'none'"),
        (
            {"segmenter.weights": "absent.pth"},
            r"^segmenter\.weights: expected a file, but 'absent\.pth' does not exist",
        ),
        ({"segmenter.weights": "."}, r"^segmenter\.weights: expected a file, but '\.' is a folder, which there are of"),
        (
            {"segmenter.train": "false"},
            r"^segmenter\.weights: expected the weights of the network, which segmenter\.tr",
        ),
        (
            {"segmenter.train": "false", "stage": "segmenter", "segmenter.init": "hrf"},
            "^stage: expected refiner or all",
        ),
        (
            {"segmenter.train": "false", "segmenter.factory": "", "segmenter.args": "{}"},
            r"^segmenter\.init: expected the",
        ),
        ({"data.channels": "4"}, r"^segmenter\.wrap\.mean: expected 4 numbers, one for each channel, got 3"),
    ],
)
def test_mistakes_end_the_run_before_any_work(keys: dict[str, str], message: str, data: Path, tmp_path: Path) -> None:
    config = parse_config(words(data, tmp_path / "out", "--trust", **keys)[1:])
    with pytest.raises(ArgumentError, match=message):
        run_training(config)
    assert not (tmp_path / "out").exists()


def test_a_network_beside_a_factory_is_told_on_the_command_line_and_in_python(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "segmenter.network: expected none beside segmenter.factory, 'wrapped:Net', got 'fpn'; leave one out"
    assert cli.main(words(data, tmp_path / "out", "--trust", **{"segmenter.network": "fpn"})) == 2
    assert told in capsys.readouterr().err
    config = parse_config(words(data, tmp_path / "out", "--trust")[1:])
    config.segmenter.network = "fpn"
    with pytest.raises(ArgumentError, match=f"^{re.escape(told)}"):
        run_training(config)
    assert not (tmp_path / "out").exists()


def test_a_recipe_imports_nothing_unasked(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evil_recipe.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = words(data, tmp_path / "out", **{"segmenter.factory": "evil_recipe:run"})
    assert cli.main(asked) == 2
    told = capsys.readouterr().err
    assert "segmenter is built by evil_recipe:run: to load it imports the module evil_recipe and calls run" in told
    assert "--trust" in told and not (tmp_path / "out").exists()


def test_a_file_does_not_speak_for_who_runs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("name: a\ntrust: true\n")
    assert cli.main(["train", "--config", str(tmp_path / "c.yaml")]) == 2
    assert "trust: expected it on the command line, as --trust, got True, in '" in capsys.readouterr().err
    (tmp_path / "c.yaml").write_text("name: a\ntrust: false\nwalk: {scales: [[8, 8]], patch_size: [8, 8]}\n")
    assert parse_config(["--config", str(tmp_path / "c.yaml")]).trust is False
    assert parse_config(["--config", str(tmp_path / "c.yaml"), "--trust"]).trust is True


def test_keys_of_args_are_anyones(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "name: a\nwalk: {scales: [[8, 8]], patch_size: [8, 8]}\n"
        "segmenter:\n  factory: a.b:C\n  args: {classes: 3, deep: {list: [1, 2.5, null, true], none: null}}\n"
        "  wrap: {output: 1, mean: [], std: [0.5, 0.5, 0.5], divisor: 32, aux: aux}\n"
    )
    segmenter = parse_config(["--config", str(tmp_path / "c.yaml")]).segmenter
    assert segmenter.args == {"classes": 3, "deep": {"list": [1, 2.5, None, True], "none": None}}
    assert segmenter.wrap.options() == {
        "output": 1, "mean": None, "std": [0.5] * 3, "divisor": 32, "aux": "aux", "binary": False, "activation": "auto",
    }  # fmt: skip


@pytest.mark.parametrize("form", ["stacked in training", "tuple in training"])
def test_outputs_that_are_there_in_training_alone(form: str, data: Path, tmp_path: Path) -> None:
    keys = {"segmenter.args": f"{{classes: 2, form: {form}}}", "segmenter.wrap": "{output: 0, aux: 1}"}
    assert cli.main(words(data, tmp_path, "--trust", **keys)) == 0
    assert MagNet.from_pretrained(tmp_path / "tiny" / "model", trust=True).num_classes == 2


def test_a_torchscript_program_is_trained(data: Path, tmp_path: Path) -> None:
    keys = {"segmenter.factory": "wrapped:program", "segmenter.args": "{classes: 2}"}
    assert cli.main(words(data, tmp_path, "--trust", **keys)) == 0


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("frozen", 2, "segmenter.train: expected a network with weights to train"),
        ("Random", 2, "segmenter.factory: wrapped:Random makes a network that gives other results"),
        ("leaving", 2, "segmenter.args: wrapped:leaving could not build a network"),
        ("Failing", 1, "model: Failing, a network that is not this library's, failed (Expected more than 1 value"),
    ],
)
def test_networks_that_cannot_be_trained_say_why(
    name: str, code: int, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"segmenter.factory": f"wrapped:{name}", "segmenter.args": "{classes: 2}"}
    assert cli.main(words(data, tmp_path, "--trust", **keys)) == code
    told = capsys.readouterr().err
    assert message in told and "a bug in magnet" not in told
