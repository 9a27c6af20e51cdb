"""What an evaluation leaves: the images that gained and lost most, the picture of the matrix, the files."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import tiny_folder

from magnet.cli.evaluate import main
from magnet.data import DataFolder
from magnet.evaluation.extremes import Extremes, pick_extremes
from magnet.evaluation.pictures import change_sheet, confusion_picture
from magnet.evaluation.report import to_json
from magnet.images.draw import RIGHTED, SPOILT
from magnet.model.magnet import MagNet
from magnet.networks import RefinementModule, build_segmenter

BLANK = torch.zeros(2, 3, dtype=torch.uint8)


def offer(gains: list[float], count: int) -> Extremes:
    extremes = Extremes(count)
    for index, gain in enumerate(gains):
        extremes.add(index, gain, BLANK + index, BLANK + 1)
    return extremes


def test_the_extremes_of_many_images() -> None:
    gains = np.random.default_rng(0).normal(size=60).round(1).tolist()  # with ties
    gains[7] = math.nan
    kept = offer(gains, 4).kept
    assert len(kept) == 8
    gained, lost = pick_extremes(kept, 4)
    known = sorted((i for i in range(60) if i != 7), key=lambda i: (-gains[i], i))
    assert [e.index for e in gained] == known[:4]
    assert [e.index for e in lost] == known[::-1][:4]
    assert all((e.coarse == e.index).all() and (e.refined == 1).all() and e.coarse.shape == (2, 3) for e in kept)


def test_the_extremes_of_several_processes_are_those_of_all() -> None:
    gains = np.random.default_rng(1).normal(size=40).tolist()
    parts = [Extremes(3), Extremes(3)]
    for index, gain in enumerate(gains):
        parts[index % 2].add(index, gain, BLANK, BLANK)
    together = pick_extremes([*parts[0].kept, *parts[1].kept], 3)
    assert together == pick_extremes(offer_blank(gains), 3)


def offer_blank(gains: list[float]) -> list:
    extremes = Extremes(3)
    for index, gain in enumerate(gains):
        extremes.add(index, gain, BLANK, BLANK)
    return extremes.kept


@pytest.mark.parametrize(
    ("gains", "gained", "lost"),
    [
        ([0.1], [0], []),
        ([-0.1], [], [0]),
        ([-0.2, 0.3], [1], [0]),
        ([0.2, 0.3, 0.1], [1, 0, 2], []),
        ([-0.2, 0.3, 0.0, -0.1], [1], [0, 3]),
        ([math.nan, 0.0], [], []),
    ],
)
def test_an_image_is_where_its_gain_belongs(gains: list[float], gained: list[int], lost: list[int]) -> None:
    picked = pick_extremes(offer(gains, 10).kept, 10)
    assert [[e.index for e in part] for part in picked] == [gained, lost]


def test_the_confusion_picture_shows_shares_of_the_labels() -> None:
    confusion = np.array([[90, 10, 0], [0, 500, 500], [0, 0, 0]])
    picture = confusion_picture([("coarse", confusion)], ["a", "b", "a class with a name much too long to be shown"])
    pixels = np.asarray(picture).astype(int).sum(-1)
    row = next(y for y in range(30, picture.height) if (pixels[y] < 60).sum() > 50)  # the black cell of the first row
    x = int(np.flatnonzero(pixels[row] < 60)[0])  # its left edge: third column
    cell = 64

    def brightness(i: int, j: int) -> int:
        return int(pixels[row + i * cell + 3, x + (j - 2) * cell + 3])

    assert brightness(0, 0) > brightness(1, 1) > brightness(0, 1) > brightness(0, 2)
    assert brightness(1, 1) == brightness(1, 2)
    assert len({brightness(2, j) for j in range(3)}) == 1 and brightness(2, 0) > 600  # no labels: grey
    two = confusion_picture([("coarse", confusion), ("magnet", confusion)], ["a", "b", "c"])
    one = confusion_picture([("coarse", confusion)], ["a", "b", "c"])
    assert two.size == (2 * one.width, one.height)
    assert confusion_picture([("", np.eye(60, dtype=int))], ["x"] * 60).width < 1500


@pytest.mark.parametrize(("gain", "colour"), [(0.1, RIGHTED), (-0.1, SPOILT)])
def test_the_regions_of_a_sheet_are_where_it_gained_or_lost(gain: float, colour: tuple[int, int, int]) -> None:
    truth = np.zeros((500, 600), np.uint8)
    wrong = truth.copy()
    wrong[300:360, 400:470] = 1
    coarse, refined = (wrong, truth) if gain > 0 else (truth, wrong)
    sheet = change_sheet(
        np.full((500, 600, 3), 90, np.uint8),
        truth,
        coarse,
        refined,
        gain=gain,
        title="it",
        colours=[(0, 0, 200), (200, 200, 0)],
        class_names=["a", "b"],
        width=800,
    )
    pixels = np.asarray(sheet)
    share = (pixels[:, -170:] == colour).all(-1).mean()
    assert 0.08 < share < 0.5  # the window is full of it: much more than the 1.4% of the image


def make_model() -> MagNet:
    torch.manual_seed(0)
    return MagNet(
        build_segmenter("compact", 2).eval(),
        RefinementModule(2).eval(),
        scales=[(32, 48), (64, 96)],
        patch_size=(32, 48),
        n_points=0.5,
        colours=[(1, 2, 3), (200, 100, 50)],
    )


def test_the_folder_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model().save_pretrained(tmp_path / "model")
    folder = tiny_folder(tmp_path / "data", counts=(1, 1, 3))
    out = tmp_path / "out"
    arguments = ["--model", str(tmp_path / "model"), "--data", str(folder), "--n-patches", "1", "--out", str(out)]
    assert main([*arguments, "--modes", "coarse,magnet,full", "--boundary-width", "3"]) == 0
    assert "after" in capsys.readouterr().out
    content = json.loads((out / "metrics.json").read_text())
    assert content["boundary_width"] == 3 and content["images"] == 3 and content["versions"]["torch"]
    assert set(content["results"]) == set(content["confusion"]) == {"coarse", "magnet", "full"}
    matrix = np.array(content["confusion"]["magnet"])
    labelled = sum(int((DataFolder(folder, "test").load(i)[1] != 255).sum()) for i in range(3))
    assert matrix.shape == (2, 2) and matrix.sum() == labelled
    assert [scale["scale"] for scale in content["results"]["magnet"]["scales"]] == [[32, 48], [64, 96]]

    text = (out / "report.md").read_text()
    for heading in ("## Modes", "## After each scale", "## Classes", "## Confusion", "boundary width 3 pixels"):
        assert heading in text
    assert f"| {content['results']['magnet']['mean_iou']:.2f} |" in text
    with Image.open(out / "confusion.png") as picture:
        assert picture.width > 300

    shown = sorted(out.glob("gained/*.jpg")) + sorted(out.glob("lost/*.jpg"))
    assert len(shown) == 3
    gains = {record["name"]: record["gain"] for record in content["per_image"]}
    assert all((float(path.stem.rsplit("_", 1)[1]) > 0) == (path.parent.name == "gained") for path in shown)
    for path in shown:
        rank, stem, gain = re.fullmatch(r"(\d\d)_(p\d)_([+-]\d+\.\d\d)\.jpg", path.name).groups()  # type: ignore[union-attr]
        assert float(gain) == pytest.approx(gains.pop(stem), abs=0.01) and int(rank) >= 1
        assert f"({path.parent.name}/{path.name})" in text
        with Image.open(path) as picture:
            assert picture.width == 2400
    assert not gains

    kinds = {path.parent.name for path in shown}
    assert {*re.findall(r"magnet (\w+) over coarse on no image\.", text)} == {"gained", "lost"} - kinds
    (out / shown[0].parent.name / "mine.txt").write_text("kept")
    assert main([*arguments, "--modes", "coarse", "--limit", "1", "--boundary-width", "0"]) == 0
    assert [p.name for p in out.glob("*/*")] == ["mine.txt"]  # pictures of the run before are gone
    content = json.loads((out / "metrics.json").read_text())
    assert content["results"]["coarse"]["boundary_iou"] is None


def test_json_keeps_lists_on_one_line_and_strings_as_they_are() -> None:
    content = {"a": [[1, 2], [3, 4]], "name, [ x ]": ["[\n1\n]", "b, c"], "empty": [], "o": [{"k": [1.5, None]}]}
    text = to_json(content)
    assert json.loads(text) == content
    assert "[1, 2]" in text and "[1.5, null]" in text


@pytest.mark.parametrize("width", ["-1", "1.0", "2%", "nan"])
def test_a_wrong_boundary_width_exits_with_2(width: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["--model", "m", "--data", "d", "--boundary-width", width])
    assert error.value.code == 2 and "--boundary-width: expected a number of pixels" in capsys.readouterr().err
