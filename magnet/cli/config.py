"""A configuration from YAML files and the words of a command line: read, laid one over the other, and checked.

pydantic checks the values against the types of ``magnet.training.config``; its findings are put in our words by the key
where they are and the kind that it has.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from magnet.errors import ArgumentError, shown
from magnet.files.yaml_text import YamlError, dump_yaml, parse_yaml, read_yaml
from magnet.training.config import TrainConfig
from magnet.training.keys import BY_WORD, config_keys, expected, explanations, is_flag, is_section, is_text, suggest
from magnet.training.values import in_file, told_value, validated

__all__ = ["RECIPES", "ConfigParser", "build_train_parser", "parse_config"]

RECIPES = Path(__file__).parent.parent / "recipes"
_TEXTS = "info."  # a dictionary, whose names are anyone's


class ConfigParser:
    """Reads ``--config FILE`` and ``--KEY VALUE`` words, as ``magnet train`` takes them.

    Args:
        prog: what messages begin with.
    """

    def __init__(self, prog: str = "magnet train") -> None:
        self.prog = prog

    def parse(self, words: Sequence[str]) -> TrainConfig:
        """The configuration: defaults, over them the files in order, over them the keys of the command line.

        Raises:
            ArgumentError: words, files, keys or values that are wrong. SystemExit: after --help or --print_config.
        """
        given = _options(words)
        if any(option.name == "help" for option in given):
            print(self.format_help(), end="")
            raise SystemExit(0)
        layers = _Layers()
        for option in given:
            if option.name == "config":
                path = _recipe_path(option.value)
                content = read_yaml(path, "--config", f"recipes are {_recipes()}")
                if not isinstance(content, dict):
                    raise ArgumentError(f"--config: expected keys and values in '{path}', got {told_value(content)}")
                layers.lay(content, path)
        for option in given:
            if option.name not in ("config", "print_config"):
                layers.lay_word(option)
        layers.one_length()
        layers.one_network()
        config = validated(layers.values, layers.sources)
        if any(option.name == "print_config" for option in given):
            print(dump_yaml(config.as_file()), end="")
            raise SystemExit(0)
        return config

    def format_help(self) -> str:
        """Every key, what it is for, what it may be and what it is otherwise."""
        parser = argparse.ArgumentParser(
            prog=self.prog,
            usage=f"{self.prog} --config FILE_OR_RECIPE [--KEY VALUE ...]",
            description="Train a segmenter and its refiners on labelled images.",
            formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28, width=110),
        )
        add = parser.add_argument
        add("--config", metavar="FILE", help="YAML file, or the name of a bundled recipe; a later one is laid over it")
        add("--print_config", action="store_true", help="print the whole configuration as a YAML file, and exit")
        _add_help(parser.add_argument_group("keys"), TrainConfig, "")
        for key, kind in config_keys().items():
            if is_section(kind):
                about = (kind.__doc__ or "").strip().splitlines()[0]
                _add_help(parser.add_argument_group(f"keys of {key}", about), kind, f"{key}.")
        return parser.format_help()


def _add_help(group: Any, section: Any, prefix: str) -> None:
    about = explanations(section)
    for field in dataclasses.fields(section):
        kind = config_keys()[prefix + field.name]
        if is_section(kind):
            continue
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        told = "must be given" if default is dataclasses.MISSING else f"default: {told_value(default)}"
        text = f"{about[field.name]} ({expected(kind)}; {told})"
        group.add_argument(f"--{prefix}{field.name}", metavar="VALUE", help=text.replace("%", "%%"))


class _Option(NamedTuple):
    name: str  # a key, "config", "print_config" or "help"
    value: str


def _options(words: Sequence[str]) -> list[_Option]:
    """``--NAME VALUE`` and ``--NAME=VALUE``; those that are true or false may stand alone."""
    found: list[_Option] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-h", "--help"):
            return [_Option("help", "")]
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not name:
            raise ArgumentError(f"unexpected '{word}'; keys are given as --walk.n_points 0.5")
        kind = config_keys().get(name)
        flag = name == "print_config" or (kind is not None and is_flag(kind))
        if kind is None and name not in ("config", "print_config") and not name.startswith(_TEXTS):
            raise ArgumentError(f"there is no --{name}; {suggest(name, '--')}")
        if not equals:
            if flag and (not rest or rest[0].startswith("-") or name == "print_config"):
                value = "true"
            elif not rest or rest[0].startswith("--"):
                raise ArgumentError(f"--{name}: expected a value, as --{name} VALUE")
            else:
                value = rest.pop(0)
        found.append(_Option(name, value))
    return found


class _Layers:
    """Values laid one over the other, and the file that each key's value comes from ("" = the command line)."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}

    def lay(self, content: Mapping[Any, Any], source: str, section: str = "") -> None:
        """Lay the keys of a section over those there; every one must be known, and sections be sections."""
        place = self.values
        for name in section.split(".")[:-1]:
            place = place.setdefault(name, {})
        for name, value in content.items():
            key = f"{section}{name}"
            kind = config_keys().get(key)
            if kind is None:
                where = f"--config: '{source}' has the key '{key}', which there is not" if source else ""
                raise ArgumentError(f"{where or f'there is no key {key!r}'}; {suggest(key)}")
            if key in BY_WORD and source and value is not False:
                raise ArgumentError(
                    f"{key}: expected it on the command line, as --{key}, got {told_value(value)}{in_file(source)}; "
                    "take it out of the file"
                )
            if not is_section(kind):
                place[name] = value
                self.sources[key] = source
            elif isinstance(value, dict):
                self.lay(value, source, f"{key}.")
            else:
                raise ArgumentError(f"{key}: expected {expected(kind)}, got {told_value(value)}{in_file(source)}")

    def lay_word(self, option: _Option) -> None:
        """Lay a key of the command line over what is there; texts are taken as they are, all else as YAML."""
        section, _, name = option.name.rpartition(".")
        if option.name.startswith(_TEXTS):
            texts = self.values.get("info")
            key = option.name.removeprefix(_TEXTS)
            self.lay({"info": {**(texts if isinstance(texts, dict) else {}), key: option.value}}, "")
            return
        kind = config_keys()[option.name]
        value: Any = option.value
        if not is_text(kind):
            try:
                value = parse_yaml(value)
            except YamlError as error:
                raise ArgumentError(
                    f"{option.name}: expected {expected(kind)}, got {shown(value)} ({error})"
                ) from error
        self.lay({name: value}, "", section and f"{section}.")

    def one_length(self) -> None:
        """Where one of a stage's iterations and epochs alone is on the command line, it replaces both of the files."""
        for stage in ("segmenter", "refiner"):
            keys = [f"{stage}.iterations", f"{stage}.epochs"]
            own = [key for key in keys if self.sources.get(key) == ""]
            if len(own) == 1:
                self.lay({key.rpartition(".")[2]: 0 for key in keys if key not in own}, "", f"{stage}.")

    def one_network(self) -> None:
        """A factory takes the place of a bundled recipe's network; beside one that the user names it is an error."""
        source = self.sources.get("segmenter.network")
        if source is None or not self.values["segmenter"].get("factory"):
            return
        segmenter = self.values["segmenter"]
        if not source or Path(source).parent != RECIPES:
            raise ArgumentError(
                f"segmenter.network: expected none beside segmenter.factory, {told_value(segmenter['factory'])}, got "
                f"{told_value(segmenter['network'])}{in_file(source)}; leave one out"
            )
        del segmenter["network"], self.sources["segmenter.network"]


def _recipes() -> str:
    return ", ".join(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def _recipe_path(value: str) -> str:
    """A YAML file, or the name of a bundled recipe."""
    recipe = str(RECIPES / f"{value}.yaml")
    if not os.path.isfile(value) and os.path.isfile(recipe):
        return recipe
    if not os.path.lexists(value):
        raise ArgumentError(f"--config: expected a YAML file or a recipe ({_recipes()}), got '{value}'")
    return value


def build_train_parser(prog: str = "magnet train") -> ConfigParser:
    """What reads a configuration of words; messages begin with ``prog``."""
    return ConfigParser(prog)


def parse_config(arguments: Sequence[str], parser: ConfigParser | None = None) -> TrainConfig:
    """Turn command-line arguments into a configuration. Exits with code 2 on wrong ones.

    Every value by itself is checked; what a run needs besides is checked by ``run_training``.
    """
    parser = parser or build_train_parser()
    try:
        return parser.parse(arguments)
    except ArgumentError as error:  # in one line, without the page of usage
        print(f"{parser.prog}: error: {error}; see {parser.prog} --help", file=sys.stderr)
        raise SystemExit(2) from error
