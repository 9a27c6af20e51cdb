"""No command replaces what it reads, whatever it is told to overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import tiny_folder
from tiny_model import save_tiny_model

from magnet.cli import main as cli

RUN = "name: x\nwalk: {scales: [[32, 48], [64, 96]], patch_size: [32, 48]}\n"


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


@pytest.mark.parametrize(
    "name", ["train.txt", "classes.txt", "labels/p0.png", "images/p1.jpg", "../run.yaml", "../link.json"]
)
def test_the_report_of_a_check(name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(f"{RUN}data: {{root: {data}}}\n")
    (tmp_path / "link.json").symlink_to(data / "val.txt")
    before = contents(tmp_path)
    words = ["--config", tmp_path / "run.yaml"] if name.endswith("run.yaml") else [data]
    code = run("data", "check", *words, "--json", data / name, "--overwrite")
    if name.endswith("link.json"):  # a link is replaced, not what it names
        assert code == 0 and (data / "val.txt").read_bytes() == before["data/val.txt"]
        return
    assert code == 2 and "would replace the input" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_the_lists_of_a_configuration(data: Path, tmp_path: Path) -> None:
    (data / "pairs.lst").write_text("".join(f"images/p{i}.jpg\tlabels/p{i}.png\n" for i in range(3)))
    lists = ["--data.format", "list", "--data.classes", "[a, b]", "--data.lists.train", "pairs.lst", "--split", "train"]
    assert run("data", "check", data, *lists, "--json", data / "pairs.lst", "--overwrite") == 2
    (data / "d.yaml").write_text("classes: [a, b]\ntrain: {list: pairs.lst}\n")
    assert run("data", "check", data / "d.yaml", "--split", "train", "--json", data / "d.yaml", "--overwrite") == 2
    assert run("data", "check", data / "d.yaml", "--split", "train", "--json", tmp_path / "new.json") == 0


@pytest.mark.parametrize("target", ["l1.txt", "l2.txt", "l3.txt", "classes.txt", "train.txt", "d.yaml", "notes.md"])
@pytest.mark.parametrize("split", [[], ["--split", "val"]])
def test_files_that_another_split_is_read_from(target: str, split: list[str], data: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (data / f"l{number}.txt").write_text(f"images/p{number}.jpg\tlabels/p{number}.png\n")
    lists = "".join(f"{name}: {{list: l{i}.txt}}\n" for i, name in enumerate(("train", "val", "test"), 1))
    (data / "d.yaml").write_text(f"classes: [a, b]\n{lists}")
    (data / "notes.md").write_text("of the user, and no report")
    before = contents(tmp_path)
    for place in (data / "d.yaml", data):
        assert run("data", "check", place, *split, "--json", data / target, "--overwrite") in (1, 2)
        assert contents(tmp_path) == before


def test_the_list_of_an_evaluation(data: Path, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", 2)
    (data / "l3.json").write_text("images/p1.jpg\tlabels/p1.png\n")
    (data / "report.md").write_text("images/p1.jpg\tlabels/p1.png\n")
    for name, out in (("l3.json", data / "l3.json"), ("report.md", data)):
        (data / "d.yaml").write_text(f"classes: [a, b]\ntest: {{list: {name}}}\n")
        before = contents(tmp_path)
        common = ["--model", model, "--data", data / "d.yaml", "--modes", "coarse"]
        assert run("eval", *common, "--out", out, "--overwrite") == 2
        assert {name: content for name, content in contents(tmp_path).items() if name in before} == before


@pytest.mark.parametrize("out", ["model/config.json", "run.json", "data/images", "data/labels"])
def test_the_report_of_an_evaluation(out: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model", 2)
    (tmp_path / "run.json").write_text(
        '{"name": "x", "walk": {"scales": [[32, 48], [64, 96]], "patch_size": [32, 48]}}'
    )
    before = contents(tmp_path)
    words = ["--config", tmp_path / "run.json"] if out == "run.json" else []
    common = ["--model", model, "--data", data, "--modes", "coarse", "--limit", "1", *words]
    assert run("eval", *common, "--out", tmp_path / out, "--overwrite") == 2
    told = capsys.readouterr().err
    assert ("is a folder of the data" if out.startswith("data") else "would replace the input") in told
    assert contents(tmp_path) == before
    assert run("eval", *common, "--out", tmp_path / "report") == 0
