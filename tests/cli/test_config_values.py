"""Every value that a configuration may be given: taken, or refused in one line before anything is made."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml

from magnet.cli import main as cli
from magnet.cli.config import RECIPES, ConfigParser
from magnet.data import kinds
from magnet.errors import ArgumentError
from magnet.training.checks import check_config
from magnet.training.config import OptimConfig, SegmenterConfig, TrainConfig
from magnet.training.keys import config_keys, expected, explanations, is_flag, is_section, is_text
from magnet.training.run_folder import write_config
from magnet.training.values import check_values

BASE = """
name: a
walk: {scales: [[8, 8], [16, 16]], patch_size: [8, 8]}
segmenter: {iterations: 1}
refiner: {iterations: 1}
"""
# as YAML has them, and what they are
VALUES: dict[str, Any] = {
    ".nan": float("nan"),
    ".inf": float("inf"),
    "-.inf": float("-inf"),
    "-1": -1,
    "0": 0,
    "0.5": 0.5,
    "1": 1,
    "3.0": 3.0,
    "1e30": 1e30,
    "100000000000000000000": 10**20,
    "text": "text",
    "'1'": "1",
    "[]": [],
    "{}": {},
    "null": None,
    "true": True,
    "[1]": [1],
    "[1, 1]": [1, 1],
    "[0.5, -1]": [0.5, -1],
    "[.nan, 1]": [float("nan"), 1],
    "[true, true]": [True, True],
    "[1000000000, 1000000000]": [10**9, 10**9],
    "[[8, 8]]": [[8, 8]],
}
_COUNT = {"0", "1"}
_POSITIVE = {"1"}
_NUMBER = {"0", "0.5", "1", "3.0"}
_FRACTION = {"0", "0.5", "1"}
_BELOW_1 = {"0", "0.5"}
_SIZE = {"[1, 1]"}
_WEIGHTS = {"[]", "[1]", "[1, 1]"}
_CHANNELS = {"null", "[]", "[1]", "[1, 1]", "[0.5, -1]"}
_OUTPUT = {"-1", "0", "1", "text", "'1'"}
ALLOWED: dict[str, set[str]] = {
    "seed": _COUNT,
    "checkpoint_every": _COUNT,
    "walk.scales": {"[[8, 8]]"},
    "walk.patch_size": _SIZE,
    "walk.input_size": {*_SIZE, "null"},
    "walk.n_points": {"0", "0.5", "1"},
    "walk.n_patches": {*_COUNT, "[]", "[1]", "[1, 1]", "[1000000000, 1000000000]"},
    "walk.kernel_size": _POSITIVE,
    "data.annotator": _POSITIVE,
    "data.channels": _POSITIVE,
    "data.bands": _WEIGHTS,
    "data.value_range": {"null", "[1, 1]", "[0.5, -1]", "[1000000000, 1000000000]", "[[8, 8]]"},
    "data.cache_mb": _COUNT,
    "data.workers": _COUNT,
    "data.split.val": {*_BELOW_1, "null"},
    "data.split.test": {*_BELOW_1, "null"},
    "data.split.seed": _COUNT,
    **dict.fromkeys((f"data.generated.{name}" for name in ("train", "val", "test", "seed")), _COUNT),
    "data.generated.size": set(),
    "segmenter.wrap.output": _OUTPUT,
    "segmenter.wrap.divisor": _POSITIVE,
    "segmenter.wrap.mean": _CHANNELS,
    "segmenter.wrap.std": _CHANNELS,
    "segmenter.wrap.aux": {*_OUTPUT, "null"},
    "segmenter.scale_weights": _WEIGHTS,
    "segmenter.aux_weight": _NUMBER,
    "segmenter.val_images": _COUNT,
    "refiner.val_chains": _POSITIVE,
    "refiner.crop": {*_SIZE, "null"},
}
for _stage in ("segmenter", "refiner"):
    ALLOWED |= {
        f"{_stage}.{_name}": _values
        for _name, _values in {
            "iterations": _COUNT,
            "epochs": _NUMBER,
            "batch_size": _POSITIVE,
            "accumulate": _POSITIVE,
            "class_weights": _WEIGHTS,
            "ohem_threshold": {"0.5", "1"},
            "ohem_min_kept": _COUNT,
            "dice": _NUMBER,
            "val_every": _COUNT,
            "patience": _COUNT,
            "augment.flip": _FRACTION,
            "augment.flip_vertical": _FRACTION,
            "augment.rotate": _NUMBER,
            "augment.zoom": {"[1, 1]"},
            **dict.fromkeys(
                (f"augment.{n}" for n in ("brightness", "contrast", "saturation", "tint", "gamma", "noise")), _NUMBER
            ),
            "optim.lr": {"0.5", "1", "3.0"},
            "optim.momentum": _BELOW_1,
            "optim.weight_decay": _NUMBER,
            "optim.steps": _WEIGHTS,
            "optim.warmup": _FRACTION,
            "optim.clip": _NUMBER,
            "optim.ema": _BELOW_1,
        }.items()
    }


def holds_numbers(kind: Any) -> bool:
    return kind in (int, float) or any(holds_numbers(part) for part in typing.get_args(kind))


def with_value(key: str, value: object) -> str:
    """The base configuration as YAML, one key of it replaced."""
    content = yaml.safe_load(BASE)
    place = content
    *sections, name = key.split(".")
    for section in sections:
        place = place.setdefault(section, {})
    place[name] = value
    return yaml.safe_dump(content)


def test_the_table_has_every_key_of_numbers() -> None:
    assert set(ALLOWED) == {key for key, kind in config_keys().items() if holds_numbers(kind) and not is_section(kind)}


def value_of(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


def plain(value: Any) -> Any:
    """Tuples as the lists that YAML has."""
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("key", sorted(ALLOWED))
def test_every_value_is_taken_or_refused_in_one_line(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "base.yaml").write_text(BASE)
    monkeypatch.chdir(tmp_path / "runs")
    for text, value in VALUES.items():
        (tmp_path / "c.yaml").write_text(with_value(key, value))
        ways = ["--config", str(tmp_path / "c.yaml")], ["--config", str(tmp_path / "base.yaml"), f"--{key}={text}"]
        for words in ways:
            if text in ALLOWED[key]:
                assert plain(value_of(ConfigParser().parse(words), key)) == value, words
                continue
            with pytest.raises(ArgumentError) as caught:
                ConfigParser().parse(words)
            told = str(caught.value)
            assert told.startswith(f"{key}: expected ") and ", got " in told and told.isprintable(), told
            if text in ("true", ".nan"):
                assert cli.main(["train", *words]) == 2
                assert capsys.readouterr().err == f"magnet train: error: {told}; see magnet train --help\n"
    assert list(Path().iterdir()) == []


OTHER = [key for key, kind in config_keys().items() if key not in ALLOWED and not is_section(kind)]


@pytest.mark.parametrize("key", OTHER)
def test_texts_and_switches_are_no_numbers(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (1, 0, 0.5, {"a": 1}, [1], None, "yes" if is_flag(config_keys()[key]) else "a\x00\x1b", [None]):
        if (key == "info" and isinstance(value, str)) or (key == "data.extent" and value is None):
            continue
        if key == "segmenter.args" and isinstance(value, dict):
            continue
        (tmp_path / "c.yaml").write_text(with_value(key, value))
        assert cli.main(["train", "--config", str(tmp_path / "c.yaml")]) == 2, value
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and f" {key}: expected " in err and err.removesuffix("\n").isprintable(), err


@pytest.mark.parametrize("key", [key for key, kind in config_keys().items() if is_section(kind)])
def test_sections_are_sections(key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (1, "text", [], None, True):
        (tmp_path / "c.yaml").write_text(with_value(key, value))
        assert cli.main(["train", "--config", str(tmp_path / "c.yaml")]) == 2
        assert f"{key}: expected a section with keys of its own, got " in capsys.readouterr().err


def test_a_configuration_made_in_python_is_checked_too() -> None:
    config = ConfigParser().parse(["--config", "scenes"])
    check_values(config)
    bad = dataclasses.replace(config, segmenter=SegmenterConfig(optim=OptimConfig(lr=float("nan"))))
    with pytest.raises(ArgumentError, match=r"^segmenter\.optim\.lr: expected a number above 0, up to 1000, got nan$"):
        check_config(bad)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--walk.scales", "[[1000000000,1000000000]]"], "walk.scales: expected 1 to 32 sizes"),
        (["--walk.scales", f"[{','.join(['[8,8]'] * 100_000)}]"], "more than 10000 values"),
        (["--walk.scales", f"[{','.join(['[8,8]'] * 1000)}]"], "walk.scales: expected 1 to 32 sizes"),
        (["--walk.patch_size", "[46341,46341]"], "walk.patch_size: expected a size [height, width] of 1 to 2147483648"),
        (["--data.generated.size", "[10000000,10000000]"], "data.generated.size: expected a size"),
        (["--data.generated.size", "[255,2000]"], "of at least 256 each and at most 268435456 pixels"),
        (["--segmenter.iterations", "1000000000000000000"], "expected a whole number from 0 to 1000000000"),
        (["--segmenter.batch_size", "65537"], "expected a whole number from 1 to 65536"),
        (["--data.workers", "1025"], "expected a whole number from 0 to 1024"),
        (["--data.cache_mb", "1000000000"], "expected a whole number from 0 to 100000000"),
        (["--seed", "9223372036854775808"], "expected a whole number from 0 to 9223372036854775807"),
        (["--device", "meta"], "device: expected auto, cpu, cuda or cuda:N, got 'meta'"),
        (["--device", "cuda:-1"], "device: expected auto, cpu, cuda or cuda:N, got 'cuda:-1'"),
        (["--name", "a\nb"], r"name: expected the name of a folder to make in --out, got 'a\nb'"),
        (["--name", "x" * 201], "name: expected the name of a folder"),
        (["--name", ".."], "name: expected the name of a folder"),
        # contradictions
        (["--segmenter.patience", "3"], "segmenter.patience: expected 0 where segmenter.val_every is 0"),
        (["--data.folders", "[mine]"], "data.generated: expected train 0 where data.folders"),
        (["--data.generated.val", "0"], "data.generated.val: expected at least 1, to validate on"),
        (["--segmenter.augment.zoom", "[2,1]"], "segmenter.augment.zoom: expected two magnifications, the least first"),
        (["--walk.scales", "[[256,256]]"], "walk.scales: expected at least two, between which the refiner works"),
        (["--walk.kernel_size", "4"], "walk.kernel_size: expected an odd"),
        (["--segmenter.class_weights", "[0,0]"], "segmenter.class_weights: expected weights that are not all 0"),
        (
            ["--segmenter.scale_weights", "[0,0,0,0]"],
            "segmenter.scale_weights: expected 4 weights, one a scale, not all",
        ),
        (["--refiner.accumulate", "5"], "refiner.accumulate: expected 1 to batch_size, 4, got 5"),
        *(
            (["--data.generated.train", "0", "--data.format", layout, *wrong], told)
            for layout, wrong, told in [
                ("folder", ["--data.file", "x.yaml"], "data.file: expected none with data.format folder"),
                ("folder", ["--data.lists.val", "x"], "data.lists: expected none with data.format folder"),
                ("folder", ["--data.split.val", "0.1"], "data.split: expected none with data.format folder"),
                ("folder", [], "data.folders: expected at least one data folder; add it to the YAML file"),
                ("yaml", [], "data.file: expected the YAML file that describes the data (data.format is yaml)"),
                ("yaml", ["--data.folders", "[a]"], "data.folders: expected none with data.format yaml"),
                ("list", ["--data.lists.val", "v"], "data.lists.train: expected a list of lines image<TAB>label"),
                ("cityscapes", ["--data.classes", "[a]"], "data.classes: expected none with data.format cityscapes"),
                ("deepglobe", ["--data.split.val", "0.5", "--data.split.test", "0.5"], "with a sum below 1"),
            ]
        ),
    ],
)
def test_bounds_are_named_and_contradictions_told(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--config", "scenes", *words]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and told in err and len(err) < 700, err
    assert list(tmp_path.iterdir()) == []


def test_words_replace_files_wherever_they_stand_and_later_files_earlier_ones(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "walk: {n_points: 7}\nsegmenter: {optim: {lr: 0.5}, iterations: 3}\ninfo: {a: b}\n"
    )
    words = ["--seed", "5", "--config", "scenes", "--config", str(tmp_path / "a.yaml"), "--walk.n_patches", "[1,2,3]"]
    config = ConfigParser().parse([*words, "--info.c", "no", "--segmenter.optim", "{momentum: 0.5}", "--resume"])
    assert (config.seed, config.walk.n_points, config.walk.n_patches, config.resume) == (5, 7, [1, 2, 3], True)
    assert (config.segmenter.optim.lr, config.segmenter.optim.momentum, config.segmenter.iterations) == (0.5, 0.5, 3)
    assert config.segmenter.dice == 0.5 and config.info == {"a": "b", "c": "no"}


def test_a_wrong_value_is_told_before_a_missing_one() -> None:
    with pytest.raises(ArgumentError, match=r"^seed: expected .*, got 'x'$"):
        ConfigParser().parse(["--seed", "x"])
    with pytest.raises(
        ArgumentError, match=r"^name: expected .*, got nothing; add it to the file of --config, or give"
    ):
        ConfigParser().parse(["--seed", "3"])


def test_texts_of_the_command_line_are_taken_as_they_are() -> None:
    config = ConfigParser().parse(["--config", "scenes", "--name", "1e-3", "--data.root=--odd", "--out", "null: [x"])
    assert (config.name, config.data.root, config.out) == ("1e-3", "--odd", "null: [x")


@pytest.mark.parametrize("name", ["1e-3", "no", "null", "2024-05-01", "07", "a: b", "é", "'"])
def test_print_config_writes_what_is_read_back(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "hrf", f"--name={name}", f"--info.x={name}"]
    with pytest.raises(SystemExit) as stop:
        ConfigParser().parse([*words, "--print_config"])
    assert stop.value.code == 0
    (tmp_path / "c.yaml").write_text(capsys.readouterr().out, encoding="utf-8")
    assert ConfigParser().parse(["--config", str(tmp_path / "c.yaml")]) == ConfigParser().parse(words)


def test_help_explains_every_key_and_what_it_may_be() -> None:
    text = " ".join(ConfigParser().format_help().split())
    for key, kind in config_keys().items():
        section = config_keys().get(key.rpartition(".")[0], TrainConfig)
        about = explanations(section)[key.rpartition(".")[2]]
        assert about
        if not is_section(kind):
            assert f"--{key} VALUE {' '.join(about.split())} ({expected(kind)}; " in text


def test_kinds_in_words() -> None:
    assert kinds.whole(0, 5, "0 = none").description == "a whole number from 0 to 5 (0 = none)"
    assert kinds.number(0, 1, above=True).description == "a number above 0, up to 1"
    assert kinds.number(0, 1, below=True).description == "a number from 0 to below 1"
    assert (
        is_text(config_keys()["amp"]) and is_text(config_keys()["out"]) and not is_text(config_keys()["data.annotator"])
    )
    assert not re.search(r"\d{11}", expected(config_keys()["data.workers"])) and list(RECIPES.glob("*.yaml"))


def test_a_factory_beside_a_network_of_the_users_is_an_error(tmp_path: Path) -> None:
    factory = ["--segmenter.factory", "a:b"]
    for name in ("custom", "cityscapes"):  # whose networks nobody has asked for
        config = ConfigParser().parse(["--config", name, *factory])
        assert (config.segmenter.factory, config.segmenter.network) == ("a:b", SegmenterConfig().network)
    file = tmp_path / "mine.yaml"
    told = r"^segmenter\.network: expected none beside segmenter\.factory, 'a:b', got 'compact'"
    file.write_text("segmenter: {network: compact}\n")
    with pytest.raises(ArgumentError, match=f"{told}, in .*mine.yaml.*; leave one out$"):
        ConfigParser().parse(["--config", "custom", "--config", str(file), *factory])
    file.write_text("segmenter: {factory: 'a:b'}\n")
    with pytest.raises(ArgumentError, match=f"{told}; leave one out$"):
        ConfigParser().parse(["--config", "custom", "--config", str(file), "--segmenter.network", "compact"])
    assert ConfigParser().parse(["--config", "custom", "--config", str(file)]).segmenter.factory == "a:b"
    assert ConfigParser().parse(["--config", "custom", "--segmenter.factory", ""]).segmenter.network == "compact"


def test_a_printed_configuration_of_a_factory_is_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", "custom", "--segmenter.factory", "a:b"]
    with pytest.raises(SystemExit):
        ConfigParser().parse([*words, "--trust", "--print_config"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert ConfigParser().parse(["--config", str(tmp_path / "printed.yaml")]) == ConfigParser().parse(words)


def test_the_configuration_of_a_run_of_a_factory_is_read_again(tmp_path: Path) -> None:
    config = ConfigParser().parse(["--config", "custom", "--segmenter.factory", "a:b"])
    write_config(config, tmp_path)
    assert ConfigParser().parse(["--config", str(tmp_path / "config.json")]) == config


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--resume", "--overwrite"], "overwrite: expected none with --resume"),
        (["--out", ""], "out: expected a folder, got ''"),
        (["--segmenter.weights", "/dev/null"], "segmenter.weights: expected a file, but '/dev/null' is no file"),
        (["--segmenter.encoder", "timm:resnet18"], "segmenter.encoder: expected none for 'compact', only for fpn, psp"),
        (["--segmenter.network", "fpn-lite"], "segmenter.encoder: expected the encoder that 'fpn-lite' works on"),
        (
            ["--segmenter.network", "fpn", "--segmenter.encoder", "resnet18"],
            "segmenter.encoder: expected timm: and the name of one of its networks, as 'timm:resnet34', got 'resnet18'",
        ),
        (
            ["--segmenter.network", "psp", "--segmenter.encoder", "timm:hf-hub:timm/resnet18"],
            "segmenter.encoder: expected timm: and the name of one of its networks",
        ),
        (
            ["--segmenter.factory", "a:b", "--trust", "--segmenter.encoder", "timm:resnet18"],
            "segmenter.encoder: expected none beside segmenter.factory, 'a:b', got 'timm:resnet18'; leave one out",
        ),
    ],
)
def test_what_contradicts_or_leads_nowhere(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"{BASE}data: {{root: {tmp_path}}}\n")
    config = ConfigParser().parse(["--config", str(tmp_path / "run.yaml"), *words])
    with pytest.raises(ArgumentError, match=re.escape(told)):
        check_config(config)
