"""Figures of quality in the README and the docs are those of the committed results."""

from __future__ import annotations

import importlib
import json
import re
import runpy
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
OF_ROW = {"HRF": "hrf", "CHASE_DB1": "chase_db1", "CamVid": "camvid", "generated scenes": "scenes"}


def results_of(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}_test.json").read_text(encoding="utf-8"))["results"]  # type: ignore[no-any-return]


def scores_by_seed(content: dict[str, Any], network: str, way: str, split: str = "test") -> list[float]:
    rows = [r for r in content["rows"] if (r["network"], r["way"], r["split"]) == (network, way, split)]
    return [r["mean_iou"] for r in sorted(rows, key=lambda r: r["seed"])]


def words_of(page: str) -> str:
    """A page as one line."""
    return " ".join((ROOT / page).read_text(encoding="utf-8").split())


def check_told(text: str, pattern: str, values: list[float]) -> None:
    """The groups of a pattern, which stands in the text, are these values, rounded."""
    assert (found := re.search(pattern, text)), pattern
    assert all(is_rounded(told, value) for told, value in zip(found.groups(), values, strict=True)), pattern


def rows_of(page: str, head: str) -> list[list[str]]:
    """The cells of the table below the line that begins with ``head``."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(head)) + 2
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:end]]


def is_rounded(text: str, value: float) -> bool:
    """Whether a text is the value to as many places as it has."""
    return float(text) == pytest.approx(value, abs=0.501 * 10.0 ** -len(text.partition(".")[2]))


def test_the_table_of_the_readme() -> None:
    modes = {"the network alone, whole image": "coarse", "sliding window": "sliding"}
    modes |= {"**MagNet**": "magnet", "**MagNet-Fast**": "fast"}
    found = results_of("hrf")
    rows = {name: cells for name, *cells in rows_of("README.md", "| HRF vessels") if name in modes}
    assert {*rows} == {*modes}
    for name, (score, seconds) in rows.items():
        assert is_rounded(score.strip("*"), found[modes[name]]["mean_iou"]), name
        assert is_rounded(seconds, found[modes[name]]["seconds_median"]), name


def test_the_rivals_of_the_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "proof"))
    table = importlib.import_module("table")
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    shown = re.search(
        r"has ([\d.]+) in its best way where MagNet has ([\d.]+) \(a third of these images, two seeds\), "
        r"and ([\d.]+) where MagNet has ([\d.]+) \(generated",
        text,
    )
    assert shown
    expected = []
    for name in ("hrf", "scenes"):
        content = json.loads((RESULTS / f"proof_{name}.json").read_text(encoding="utf-8"))
        tested = table.mean_rows(content, "test")
        rivals = [tested[key].iou for key in table.best_ways(table.mean_rows(content, "val"))]
        expected += [max(rivals), *(mean.iou for (_, way), mean in tested.items() if way == "MagNet")]
    assert all(is_rounded(text, value) for text, value in zip(shown.groups(), expected, strict=True))


def test_what_magnet_gains_on_scenes_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "proof"))
    table = importlib.import_module("table")
    content = json.loads((RESULTS / "proof_scenes.json").read_text(encoding="utf-8"))

    scores = partial(scores_by_seed, content)
    (rival,) = table.best_ways(table.mean_rows(content, "val"))
    ours = "MagNet, input 128x256"
    gains = [mine - theirs for mine, theirs in zip(scores(ours, "MagNet"), scores(*rival), strict=True)]
    fast = mean(scores(ours, "MagNet-Fast")) - mean(scores(*rival))
    flips = mean(scores(ours, "MagNet, flips")) - mean(scores(ours, "MagNet"))
    coarse, number = mean(scores(ours, "coarse")), r"(-?\d+\.\d)"
    (at_full_size,) = scores(rival[0], "window at 1024x2048, half overlap, Gaussian, flips")  # the third seed's best
    page = words_of("docs/results.md")
    expected = {
        rf"MagNet is {number} points above the best way of the rival \(by seed {number}, {number} and {number}\)": [
            *(mean(gains), *gains)
        ],
        rf"in the third seed it does better at full size, {number} on the test images in 6.1 seconds, {number} below": [
            *(at_full_size, scores(ours, "MagNet")[2] - at_full_size)
        ],
        rf"MagNet-Fast {number} in about its time": [fast],
        rf"{number} \(scenes\) for 17 to 29% more time": [flips],
        rf"gives scenes {number} of the {number} points, in a fifth of the time, all pixels lose {number};": [
            mean(scores(ours, "no refiner, score, 0.1")) - coarse,
            mean(scores(ours, "MagNet")) - coarse,
            coarse - mean(scores(ours, "no refiner, all pixels")),
        ],
    }
    for pattern, values in expected.items():
        check_told(page, pattern, values)


def test_what_magnet_gains_on_hrf_by_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "proof"))
    table = importlib.import_module("table")
    content = json.loads((RESULTS / "proof_hrf.json").read_text(encoding="utf-8"))
    scores = partial(scores_by_seed, content)
    ((network, way),) = table.best_ways(table.mean_rows(content, "val"))
    rival, ours, number = scores(network, way), "MagNet, input 292x438", r"(-?\d+\.\d)"
    assert way == "whole at 2336x3504, flips, colours matched"
    coarse = mean(scores(ours, "coarse"))
    gains = [mine - theirs for mine, theirs in zip(scores(ours, "MagNet"), rival, strict=True)]
    whole = mean(scores(network, "whole at 2336x3504, colours matched"))
    matched = [
        with_it - without
        for with_it, without in zip(rival, scores(network, way.removesuffix(", colours matched")), strict=True)
    ]
    page = words_of("docs/results.md")
    expected = {
        rf"MagNet is {number} points above the best way of the rival \(by seed {number} and {number}; {number} with": [
            *(mean(gains), *gains, mean(scores(ours, "MagNet, flips")) - mean(rival))
        ],
        rf"MagNet-Fast \(5.0 s\) {number} above the whole image at once": [mean(scores(ours, "MagNet-Fast")) - whole],
        rf"Matched colours are worth {number} and {number} to the rival's best way": matched,
        rf"all pixels give {number} of the {number}": [
            *(mean(scores(ours, "no refiner, all pixels")) - coarse, mean(scores(ours, "MagNet")) - coarse)
        ],
    }
    for pattern, values in expected.items():
        check_told(page, pattern, values)


def test_what_the_walk_gains_on_camvid_by_seed() -> None:
    content = json.loads((RESULTS / "proof_camvid_smp.json").read_text(encoding="utf-8"))

    scores = partial(scores_by_seed, content)
    walks, walk = "MagNet on the network of both scales", "no refiner, score, 0.1"
    rival = ("finished network, trained whole at 360x480", "whole at 360x480, flips")
    gains = {}
    for split in ("test", "val"):
        for way in (walk, f"{walk}, flips"):
            pairs = zip(scores(walks, way, split), scores(*rival, split), strict=True)
            gains[split, way != walk] = [ours - theirs for ours, theirs in pairs]
    own = [
        [after - before for after, before in zip(scores(walks, walk, s), scores(walks, "coarse", s), strict=True)]
        for s in ("test", "val")
    ]
    theirs = scores(*rival)
    refined = [ours - theirs[seed] for ours, seed in zip(scores(walks, "score, 0.1"), (0, 2), strict=True)]
    added = [ours - scores(walks, walk)[seed] for ours, seed in zip(scores(walks, "score, 0.1"), (0, 2), strict=True)]
    page, readme, use = map(words_of, ("docs/results.md", "README.md", "docs/use.md"))
    number, three = r"(-?\d+\.\d)", r"(-?[\d.]+), (-?[\d.]+) and (-?[\d.]+)"
    expected = {
        (page, rf"MagNet on the network of both scales is {number} points above"): [mean(gains["test", False])],
        (page, rf"without a refiner, with flips {number}, for"): [mean(gains["test", True])],
        (page, rf"by seed {three}, with flips"): gains["test", False],
        (page, rf"with flips {three}, so that"): gains["test", True],
        (page, rf"it is {number} above \(both with flips"): [mean(gains["val", False])],
        (page, rf"\(both with flips: {number}\)"): [mean(gains["val", True])],
        (page, rf"gains {number} points on its own first scale"): [mean(own[0])],
        (page, rf"\(three seeds: {three};"): own[0],
        (page, rf"; {three} on the validation images\), boundary"): own[1],
        (page, rf"it was {number} above and {number} below that seed's rival"): [refined[0], -refined[1]],
        (page, rf"added {number} to the first seed's {number} and {number} to the third's {number}\."): [
            *(added[0], scores(walks, walk)[0]),
            *(added[1], scores(walks, walk)[2]),
        ],
        (readme, rf"tell from none \({three}\)"): gains["test", True],
        (use, rf"on CamVid {number} points \(three seeds\)"): [mean(own[0])],
    }
    for (text, pattern), values in expected.items():
        check_told(text, pattern, values)


def test_the_table_of_what_was_measured() -> None:
    rows = rows_of("docs/measured.md", "| data, network input")
    assert len(rows) == len(OF_ROW)
    for name, coarse, sliding, refined, fast in rows:
        found = results_of(next(OF_ROW[start] for start in OF_ROW if name.startswith(start)))
        assert is_rounded(coarse, found["coarse"]["mean_iou"]), name
        assert is_rounded(sliding, found["sliding"]["mean_iou"]), name
        shown = [(refined, "magnet")] + ([(fast, "fast")] if fast else [])
        for text, mode in shown:
            score, gain = re.findall(r"\d+\.\d+", text)[:2]
            assert is_rounded(score, found[mode]["mean_iou"]), (name, mode)
            assert float(gain) == pytest.approx(float(score) - float(coarse), abs=0.005), (name, mode)
        if fast:
            share, time = (int(part) for part in re.findall(r"(\d+)%", fast))
            gains = [found[mode]["mean_iou"] - found["coarse"]["mean_iou"] for mode in ("fast", "magnet")]
            assert share == round(100 * gains[0] / gains[1]), name
            assert time == round(100 * found["fast"]["seconds_median"] / found["magnet"]["seconds_median"]), name


def test_what_keeping_freed_memory_is_worth() -> None:
    """As the page says it: seconds of hrf kept and not, of scenes, then of the system, then MiB."""
    rows = json.loads((RESULTS / "freed_memory.json").read_text(encoding="utf-8"))["rows"]
    of = {(row["model"], row["kept"]): row for row in rows}
    text = " ".join((ROOT / "docs" / "performance.md").read_text(encoding="utf-8").split())
    told = text[text.index("Networks gain more than operators") :].partition("Not so for rasters")[0]
    shown = [float(number) for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?\b", told)]
    expected = [of[name, kept]["seconds_median"] for name in ("hrf", "scenes") for kept in (True, False)]
    expected += [of[name, False]["system_seconds_median"] for name in ("hrf", "scenes")]
    expected += [of[name, kept]["peak_memory_mib"] for name in ("hrf", "scenes") for kept in (True, False)]
    assert shown == expected


@pytest.mark.parametrize("name", ["hrf", "camvid"])
def test_the_tables_of_the_ablations(name: str) -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "ablations" / "table.py"))
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    content = json.loads((RESULTS / f"ablation_{name}.json").read_text(encoding="utf-8"))
    tables = [text.strip() for text in made["tables"](content).split("\n\n") if text.strip()]
    assert len(tables) == 6
    for text in tables:
        assert text in page


def test_the_builds_in_turns() -> None:
    content = json.loads((RESULTS / "upsampling_epyc_zen3.json").read_text(encoding="utf-8"))
    text = " ".join((ROOT / "docs" / "performance.md").read_text(encoding="utf-8").split())
    passage = text[text.index("**What that came to**") : text.index("upsampling_epyc_zen3.json")]
    shown = re.findall(r"([\d.]+) to ([\d.]+)", passage)
    old, new = (content["medians_ms"][build].values() for build in ("old", "new"))
    assert len(shown) == len(old)
    for (before, after), was, now in zip(shown, old, new, strict=True):
        assert is_rounded(before, was) and is_rounded(after, now)
    assert f"of {len(content['turns_ms']['old'])} turns".replace("7", "seven") in passage


def test_what_folding_is_worth() -> None:
    rows = json.loads((RESULTS / "folding_epyc_zen3.json").read_text(encoding="utf-8"))["rows"]
    text = " ".join((ROOT / "docs" / "performance.md").read_text(encoding="utf-8").split())
    change = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for row in rows:
        before, after = row["seconds_median"].values()
        shown = re.search(rf"`{row['model']}` ([\d.]+) (?:to|seconds to) ([\d.]+)", text)
        assert shown and is_rounded(shown[1], before) and is_rounded(shown[2], after)
        less = re.search(rf"(\d+)% (?:less time for the networks|for those) of `{row['model']}`", change)
        assert less and is_rounded(less[1], 100 * (1 - after / before))


def test_how_much_slower_bfloat16_is_without_instructions_for_it() -> None:
    content = json.loads((RESULTS / "precision_epyc_zen3.json").read_text(encoding="utf-8"))
    text = " ".join((ROOT / "docs" / "training.md").read_text(encoding="utf-8").split())
    shown = re.search(r"take (\d+) and (\d+) times as long to answer in bf16 as in float32, and (\d+) and (\d+)", text)
    assert shown and not content["computes_bf16"]
    by = {(row["model"], row["amp"]): row for row in content["rows"]}
    ratios = [
        by[model, "bf16"][key] / by[model, "none"][key]
        for key in ("answer_seconds_median", "step_seconds_median")
        for model in ("hrf", "scenes")
    ]
    assert all(is_rounded(told, ratio) for told, ratio in zip(shown.groups(), ratios, strict=True))
