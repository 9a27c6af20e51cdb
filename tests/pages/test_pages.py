"""The README and the pages of docs/: their Python runs, and the commands that they name take these options."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from code_blocks import ROOT, blocks_of, run_python
from PIL import Image
from processes import environment
from raster_files import smooth, write_tiff
from tiny_model import save_tiny_model
from torch import nn

import magnet
from magnet.cli.arguments import Parser
from magnet.cli.config import RECIPES, ConfigParser
from magnet.cli.main import _COMMANDS

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def run(page: Path, names: dict[str, Any]) -> dict[str, Any]:
    """Run the page's blocks of Python one after the other."""
    blocks = [block for block in blocks_of(page) if block.language == "python"]
    assert blocks
    for block in blocks:
        run_python(block, page, names)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_of_the_repository(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = {
        target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target and "mailto:" not in target
    }
    assert [target for target in sorted(targets) if not (page.parent / target).exists()] == []


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fundus.jpg", "one.jpg", "other.jpg"):
        Image.fromarray(smooth(160, 240)).save(name)


@pytest.mark.slow
def test_readme(photo: None) -> None:
    names = run(ROOT / "README.md", {})
    changed = (names["refined"] != names["coarse"]).any(dim=1)
    assert 65536 - 100 < changed.sum() <= 65536  # a pixel of equal values is replaced without a change
    assert names["labels"].shape == (160, 240)


@pytest.mark.slow
def test_use(photo: None) -> None:
    their_model = nn.Conv2d(3, 5, 3, padding=1)
    names = {"segmenter": magnet.build_segmenter("compact", 19), "their_model": their_model, "num_classes": 19}
    names = run(ROOT / "docs" / "use.md", names)
    assert names["prediction"].labels.shape == names["quick"].labels.shape == (160, 240)
    assert torch.equal(names["fast"].predict("fundus.jpg").labels, names["quick"].labels)
    with torch.no_grad():
        assert names["model"](torch.randn(1, 3, 512, 1024)).shape == (1, 5, 512, 1024)


def test_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    pixels = np.asarray(smooth(150, 170))
    write_tiff(Path("tile.tif"), pixels, crs="EPSG:32632", transform=(0.5, 0, 500000, 0, -0.5, 5400000))
    write_tiff(Path("scene.tif"), pixels[..., [0, 1, 2, 1, 0]].astype(np.uint16) * 15)
    record = run(ROOT / "docs" / "large.md", {"model": magnet.MagNet.from_pretrained(save_tiny_model(Path("model")))})[
        "record"
    ]
    assert set(record.outputs) == {"labels", "confidence", "polygons", "areas"}
    assert all(Path(path).is_file() for path in record.outputs.values())


def lines_in_text(page: Path) -> set[str]:
    """What the text of a page, outside of its blocks of code, names of the package: names with dots, and imports."""
    text = re.sub(r"^```.*?^```$|^:::.*?$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    imports = r"`(from magnet[\w.]* import [\w, ]+|import magnet[\w.]*)`"
    names = r"(?<![\w./-])magnet(?:\.[A-Za-z_]\w*)+(?![\w/])"
    found = {*re.findall(imports, text), *re.findall(names, re.sub(imports, "", text))}
    return {line for line in found if not line.endswith(".py")}


LINES = sorted(set().union(*map(lines_in_text, PAGES)))


def test_names_in_the_text_are_found() -> None:
    assert {"magnet.MagNet", "magnet.images.normalize", "magnet.evaluation.metrics.confusion_matrix"} <= {*LINES}
    assert sum(line.startswith("from ") for line in LINES) >= 2


@pytest.mark.parametrize("first", sorted({line.split(".")[1] for line in LINES if not line.startswith("from ")}))
def test_names_in_the_text_are_there_after_import_magnet_alone(first: str) -> None:
    lines = [line for line in LINES if line.startswith(f"magnet.{first}.") or line == f"magnet.{first}"]
    subprocess.run([sys.executable, "-c", "\n".join(["import magnet", *lines])], env=environment(), check=True)


def test_imports_in_the_text_are_possible() -> None:
    exec("\n".join(line for line in LINES if line.startswith("from ")), {})


def commands_of(page: Path) -> list[str]:
    """Lines of code that call ``magnet``, from that word on; those that show what may stand there are left out."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(r"^(?: {4})?(?!\|).*", text, re.MULTILINE)
    parts = [part for line in lines for part in line.split(" && ")]
    found = [re.search(r"^(?: {4}|\S*bin/|(?:srun|torchrun) .*?)?\b(magnet [a-z].*)", part) for part in parts]
    calls = [match[1] for match in found if match]
    return [call for call in calls if not re.search(r"[\[(]--|[\[(][A-Z]|\.\.\.| \| |: ", call)]


CALLS = sorted({(page.relative_to(ROOT).as_posix(), call) for page in PAGES for call in commands_of(page)})


def test_commands_are_found() -> None:
    assert len(CALLS) > 25
    assert {call.split()[1] for _, call in CALLS} >= {"predict", "train", "eval", "data", "scenes", "doctor", "convert"}


class _Parsed(Exception):
    """The words were taken; nothing is to be done."""


def check_options(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a command's own parser take its words, and do nothing. The current folder is the test's own."""
    variables = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "4", "MAGNET_DATA": "data"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("my.yaml", "cover.yaml"):
        shutil.copy(RECIPES / "custom.yaml", name)
    _, command, *words = shlex.split(os.path.expandvars(call), comments=True)
    rest = words = words[: words.index(">")] if ">" in words else words
    if command != "train":
        rest = []
        parse = Parser.parse_known_args

        def parse_only(self: Parser, *arguments: Any) -> Any:
            args, left = parse(self, *arguments)
            rest.extend(left)
            raise _Parsed(args)

        monkeypatch.setattr(Parser, "parse_known_args", parse_only)
        with pytest.raises(_Parsed):
            importlib.import_module(_COMMANDS[command].module).main(words)
        monkeypatch.setattr(Parser, "parse_known_args", parse)
        assert not rest or command in ("eval", "data"), f"no option of magnet {command}: {rest}"
    if rest:
        ConfigParser().parse(rest if "--config" in rest else ["--config", "custom", *rest])


@pytest.mark.parametrize(("page", "call"), CALLS)
def test_a_command_takes_its_options(page: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks_of(ROOT / page):
        if block.title.endswith(".yaml"):  # recipes on the page
            Path(block.title).write_text(block.code)
    check_options(call, monkeypatch)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("magnet predict a.jpg --model m --out o --no-such 3", "--no-such"),
        ("magnet train --config custom --walk.no 3", "walk.no"),
        ("magnet eval --model m --data d --data.no 3", "data.no"),
        ("magnet scenes --out o --size 3", "--size"),
    ],
)
def test_an_option_that_there_is_not_is_found(
    call: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((SystemExit, magnet.MagNetError, AssertionError)) as error:
        check_options(call, monkeypatch)
    assert told in str(error.value) + capsys.readouterr().err
