"""The rivals that MagNet is compared with: each sees what its name says, and the best way of each is shown."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import magnet
from magnet.images.tensors import normalize, resize, to_tensor
from magnet.walk.sliding import sliding_window

FOLDER = Path(__file__).parents[1] / "benchmarks" / "proof"


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def by_pixel(images: Tensor) -> Tensor:
    """Probabilities that depend on each pixel alone, so that it does not matter how an image is cut."""
    return torch.cat([images[:, :1], -images[:, 1:2], images[:, 2:]], dim=1).softmax(dim=1)


def by_window(images: Tensor) -> Tensor:
    """Probabilities that depend on the whole window."""
    return (by_pixel(images) + images.mean(dim=(2, 3), keepdim=True).softmax(dim=1)) / 2


def test_every_way_of_a_network_by_pixel_gives_the_same(proof: Callable[[str], ModuleType]) -> None:
    ways = proof("ways")
    image = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    expected = by_pixel(normalize(image))[0].argmax(dim=0)
    tried = [way for way in ways.rival_ways((16, 24), [(8, 12), (16, 24), (40, 60)]) if way.size == (40, 60)]
    assert len(tried) == 5
    for way in tried:
        assert torch.equal(ways.segment_by(way, by_pixel, image, (40, 60)), expected), way.name


def test_windows_side_by_side_are_the_librarys_own(proof: Callable[[str], ModuleType]) -> None:
    ways = proof("ways")
    image = torch.rand(1, 3, 50, 70, generator=torch.Generator().manual_seed(1))
    way = ways.Way("window", (40, 60), (16, 24))
    own = sliding_window(by_window, resize(image, (40, 60)), (16, 24))[0].argmax(dim=0)
    assert torch.equal(ways.segment_by(way, by_window, image, (40, 60)), own)


def test_flips_see_the_image_mirrored(proof: Callable[[str], ModuleType]) -> None:
    ways = proof("ways")
    seen = []

    def segment(images: Tensor) -> Tensor:
        seen.append(images)
        return by_pixel(images)

    way = ways.Way("whole", (8, 12), (8, 12), flip=True)
    ways.segment_by(way, segment, torch.rand(1, 3, 8, 12), (8, 12))
    assert len(seen) == 2 and torch.equal(seen[0], seen[1].flip(-1))


def row(network: str, way: str, split: str, seed: int, iou: float, seconds: float) -> dict[str, Any]:
    figures = {"mean_iou": iou, "boundary_iou": iou / 2, "seconds_median": seconds}
    return {"network": network, "way": way, "split": split, "seed": seed, **figures} | {
        "peak_memory_mib": 100.0,
        "training_seconds": 600,
    }


def test_the_best_way_is_chosen_by_validation_and_shown_by_test(proof: Callable[[str], ModuleType]) -> None:
    rows = []
    for seed, more in ((0, 0.0), (1, 2.0)):
        for split, whole, window in (("val", 50.0, 52.0), ("test", 49.0, 47.0)):
            rows.append(row("MagNet", "MagNet", split, seed, 53 + more, 0.3))
            rows.append(row("input 8x12", "whole", split, seed, whole + more, 0.1))
            rows.append(row("input 8x12", "window", split, seed, window + more, 0.9))
    table = proof("table")
    validated = table.mean_rows({"rows": rows}, "val")
    assert table.best_ways(validated) == [("input 8x12", "window")]
    assert table.best_ways(validated, most_seconds=0.5) == [("input 8x12", "whole")]
    lines = table.table({"rows": rows}).splitlines()
    assert lines[2].startswith("| MagNet | MagNet | 54.00 ± 1.41 | 27.00 |")
    assert lines[3].startswith("| input 8x12 | window | 48.00 ± 1.41 | 24.00 | 0.90 | 100 | 10 |")
    assert lines[4].startswith("| input 8x12 | whole | 50.00 ± 1.41 | 25.00 | 0.10 |")  # in no more time than MagNet's
    assert len(lines) == 5


def test_seconds_are_those_of_one_precision(proof: Callable[[str], ModuleType]) -> None:
    rows = [row("a", "whole", "test", 0, 50.0, 0.1), row("a", "whole", "test", 1, 52.0, 0.9) | {"amp": "none"}]
    (mean,) = proof("table").mean_rows({"rows": rows}, "test").values()
    assert (mean.seeds, mean.iou, mean.seconds) == (2, 51.0, 0.1)


def test_rows_of_the_page_are_those_of_the_results(proof: Callable[[str], ModuleType]) -> None:
    root = FOLDER.parents[1]
    page = (root / "docs" / "results.md").read_text(encoding="utf-8")
    section = page.split("## Against rivals")[1].split("## Other")[0]
    shown = [line for line in section.splitlines() if line.startswith("| ")]
    found: set[str] = set()
    for name in ("camvid", "camvid_smp", "hrf", "scenes"):
        content = json.loads((root / "benchmarks" / "results" / f"proof_{name}.json").read_text(encoding="utf-8"))
        found |= {*proof("table").table(content).splitlines()}
    assert len(shown) > 44
    assert {*shown} <= found


def test_the_best_of_each_kind_is_chosen_by_validation(proof: Callable[[str], ModuleType]) -> None:
    rows = [row("a", "whole at 8x12", "val", 0, 50.0, 0.1), row("a", "whole at 16x24", "val", 0, 52.0, 0.1)]
    rows += [row("a", "window at 16x24", "val", 0, 40.0, 0.1), row("b", "whole at 8x12", "val", 0, 60.0, 0.1)]
    rows += [row("a", "whole at 8x12", "test", 0, 99.0, 0.1)]
    assert proof("table").best_of_kinds({"rows": rows}, "a") == {"whole at 16x24", "window at 16x24"}


def test_rivals_may_match_colours_where_magnet_does(
    proof: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = proof("run")
    generator = np.random.default_rng(0)
    dark, bright = (generator.integers(low, low + 60, (12, 18, 3), np.uint8) for low in (10, 180))

    class One:
        def __len__(self) -> int:
            return 1

        def load(self, _: int) -> tuple[np.ndarray, np.ndarray]:
            return dark, np.zeros((12, 18), np.uint8)

    monkeypatch.setattr(run, "open_split", lambda *_: [One()])
    config = SimpleNamespace(walk=SimpleNamespace(match_colours=True), data=None, input_size=(8, 12))
    chosen = SimpleNamespace(sizes=((8, 12),))
    torch.manual_seed(0)
    alone = magnet.MagNet(torch.nn.Conv2d(3, 3, 1), None, scales=[(8, 12)], patch_size=(8, 12), n_points=1.0).eval()
    walks = dict(run.rival_walks(alone, config, chosen))
    assert [*walks] == [
        f"whole at 8x12{flips}{more}" for flips in ("", ", flips") for more in ("", ", colours matched")
    ]
    statistics = magnet.images.channel_statistics([dark])
    matched = alone.with_settings(colour_statistics=statistics, match_colours=True).matched(to_tensor(bright)[None])
    way = proof("ways").Way("whole", (8, 12), (8, 12))
    expected = proof("ways").segment_by(way, alone.segment, matched, (12, 18))
    assert torch.equal(walks["whole at 8x12, colours matched"](bright), expected)
    assert not torch.equal(walks["whole at 8x12"](bright), expected)
    config.walk.match_colours = False
    assert [*dict(run.rival_walks(alone, config, chosen))] == ["whole at 8x12", "whole at 8x12, flips"]
