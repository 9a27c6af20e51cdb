"""docs/drop-in.md: each recipe runs as it stands, and does what plain torch does in the other library's way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from code_blocks import ROOT, Block, blocks_of, run_python
from PIL import Image
from torch import Tensor, nn

import magnet

PAGE = ROOT / "docs" / "drop-in.md"
BLOCKS = {block.heading: block for block in blocks_of(PAGE)}

pytestmark = pytest.mark.usefixtures("one_thread")


class EncoderDecoder(nn.Module):
    """mmseg's interface: logits at a quarter of the size, resized to what the metas say."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def encode_decode(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        size = batch_img_metas[0]["img_shape"]
        assert isinstance(size, torch.Size)  # mmseg takes pad_shape for others
        assert len(batch_img_metas) == len(inputs)
        return F.interpolate(self.network(inputs)[..., ::4, ::4], size, mode="bilinear")


class Predictor:
    """SAM's interface: logits of the whole image for a box; here of an ellipse in it, and of as large a one outside."""

    def predict(self, *, box: np.ndarray, multimask_output: bool, return_logits: bool) -> tuple[np.ndarray, ...]:
        assert return_logits and not multimask_output
        y, x = np.mgrid[:256, :512]
        (x0, y0, x1, y1) = box
        far = ((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2
        outside = np.roll(far, (100, 250), (0, 1))
        logits = 20 * (1 - np.minimum(far, outside)[None])
        return logits.astype(np.float32), np.ones(1), np.zeros((1, 256, 256), np.float32)


def run(heading: str) -> dict[str, Any]:
    """The names after the block that all share and the one under a heading."""
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    run_python(BLOCKS["Drop-in recipes"], PAGE, names)
    names["network"].weight.mul_(20)  # surer, and unlike at neighbouring pixels
    names["model"] = EncoderDecoder(names["network"])
    names["predictor"] = Predictor()
    block: Block = BLOCKS[heading]
    run_python(block, PAGE, names)
    return names


def plain_step(coarse: Tensor, fine: Tensor, n_points: int, mask: Tensor | None = None) -> Tensor:
    """One step in plain torch."""
    if coarse.shape != fine.shape:
        coarse = F.interpolate(coarse, fine.shape[2:], mode="bilinear")
    margins = [x.topk(2, dim=1).values for x in (coarse, fine)]
    unsure, sure = 1 - (margins[0][:, :1] - margins[0][:, 1:]), margins[1][:, :1] - margins[1][:, 1:]
    score = unsure * sure
    if mask is not None:
        score = score * mask.reshape(-1, 1, *fine.shape[2:])
    score = F.unfold(score, 3, padding=1).median(dim=1).values
    if mask is not None:
        score = score.where(mask.reshape(score.shape), -torch.ones(()))
        n_points = min(n_points, int(mask.sum()))
    points = score.argsort(dim=1, descending=True, stable=True)[:, :n_points]
    refined = coarse.flatten(2).clone()
    values = fine.flatten(2).gather(2, points.unsqueeze(1).expand(-1, fine.shape[1], -1))
    refined.scatter_(2, points.unsqueeze(1).expand_as(values), values)
    return refined.view_as(fine)


def check_step(names: dict[str, Any], n_points: int, mask: Tensor | None = None) -> None:
    """The recipe's refined map is that of plain torch; scores that differ by rounding may change places."""
    expected = plain_step(names["coarse"], names["fine"], n_points, mask)
    far = ((names["refined"] - expected).abs() > 1e-5).any(dim=1)
    assert far.sum() <= 4, f"{int(far.sum())} pixels"
    coarse = names["coarse"]
    torch.testing.assert_close(coarse.sum(dim=1), torch.ones_like(coarse[:, 0]))
    if coarse.shape != expected.shape:
        coarse = F.interpolate(coarse, expected.shape[2:], mode="bilinear")
    assert ((names["refined"] - coarse).abs() > 1e-5).any(dim=1).sum() > n_points // 4  # it did something


def test_every_recipe_has_one_block_and_a_test() -> None:
    assert [block.language for block in blocks_of(PAGE)] == ["python"] * len(BLOCKS)
    source = Path(__file__).read_text()
    assert all(f'run("{heading}")' in source for heading in BLOCKS if heading != "Drop-in recipes")


def test_monai() -> None:
    pytest.importorskip("monai", exc_type=ImportError)
    names = run("MONAI: a sliding window as the fine map")
    fine = names["fine"]
    torch.testing.assert_close(fine.sum(dim=1), torch.ones(1, 256, 512))
    alone = names["network"](names["image"][:, :, :128, :128]).softmax(1)  # the first window; 96 wide before the next
    torch.testing.assert_close(fine[:, :, :96, :96], alone[:, :, :96, :96])
    check_step(names, 256 * 512 // 4)


def test_pointrend() -> None:
    names = run("PointRend: selection and scatter")
    logits = names["network"](names["small"])
    for size in ((128, 256), (256, 512)):
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=False)
        top = logits.topk(2, dim=1).values
        uncertainty = (top[:, 1] - top[:, 0]).flatten(1)
        points = uncertainty.topk(2048, dim=1).indices
        coordinates = torch.stack([points % size[1] + 0.5, points // size[1] + 0.5], dim=2) / torch.tensor(size[::-1])
        seen = [
            F.grid_sample(x, 2 * coordinates.unsqueeze(2) - 1, align_corners=False).squeeze(3)
            for x in (names["features"], names["coarse"])
        ]
        index = points.unsqueeze(1).expand(-1, 19, -1)
        logits = logits.flatten(2).scatter(2, index, names["point_head"](torch.cat(seen, dim=1))).view_as(logits)
    far = ((names["logits"] - logits).abs() > 1e-4).any(dim=1)
    assert far.sum() <= 4  # margins that differ by rounding


def test_pointrend_trains_as_the_page_says() -> None:
    block = BLOCKS["PointRend: selection and scatter"]
    in_place = "logits.flatten(2).scatter_(2, points.unsqueeze(1).expand_as(answers), answers)"
    line = next(
        line for line in PAGE.read_text().splitlines() if line.startswith("`logits = logits.flatten(2).scatter(")
    )
    assert block.code.count(in_place) == 1
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    run_python(BLOCKS["Drop-in recipes"], PAGE, names)
    names["network"].requires_grad_(True)
    exec(block.code.replace(in_place, line.split("`")[1]), names)
    names["logits"].square().mean().backward()
    assert names["network"].weight.grad.abs().sum() > 0


def test_mmsegmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (256, 512, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("street.png")
    names = run("mmsegmentation: `encode_decode` in MagNet's walk")

    class Plain(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            return F.interpolate(self.network(images)[..., ::4, ::4], images.shape[2:], mode="bilinear")

    plain = magnet.MagNet(
        Plain(names["network"]), None, scales=names["scales"], patch_size=(64, 128), n_points=0.1, progress=False
    )
    assert torch.equal(names["labels"], plain.predict(pixels).labels)
    assert names["labels"].unique().numel() > 1


def test_two_networks() -> None:
    names = run("Two networks of different resolution")
    x0, y0, x1, y1 = (names[name] for name in ("x0", "y0", "x1", "y1"))
    covered = torch.zeros(1, 1, 256, 512, dtype=torch.bool)
    covered[..., y0:y1, x0:x1] = True
    assert torch.equal(names["covered"], covered)
    assert torch.equal(names["fine"][..., y0:y1, x0:x1], names["close"])
    assert covered.flatten()[names["points"]].all() and names["points"].shape == (1, 8192)
    check_step(names, 8192, covered)


def test_views_that_agree() -> None:
    names = run("Test-time augmentation: only where the views agree")
    classes = [names["network"](names["image"]).argmax(1)]
    classes += [names["network"](names["image"].flip(side)).flip(side).argmax(1) for side in (2, 3)]
    agree = names["agree"]
    assert 0 < agree.sum() < agree.numel()
    assert torch.equal(agree, (classes[0] == classes[1]) & (classes[0] == classes[2]))
    coarse = F.interpolate(names["coarse"], (256, 512), mode="bilinear")
    changed = ((names["refined"] - coarse).abs() > 1e-5).any(dim=1)
    assert not changed[~agree].any()
    names["fine"] = names["probabilities"].mean(0)
    check_step(names, min(256 * 512 // 4, int(agree.sum())), agree)


def test_a_class_that_is_certain_leaves_no_nan() -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    run_python(BLOCKS["Drop-in recipes"], PAGE, names)
    names["network"].bias[13] += 1000  # the class of the prompt, everywhere
    names["predictor"] = Predictor()
    run_python(BLOCKS["A promptable model's mask against a coarse prediction"], PAGE, names)
    assert (names["coarse"][:, names["thing"]] == 1).any()
    assert names["fine"].isfinite().all() and names["refined"].isfinite().all()


def test_promptable_mask() -> None:
    names = run("A promptable model's mask against a coarse prediction")
    fine, inside = names["fine"], names["inside"]
    torch.testing.assert_close(fine.sum(dim=1), torch.ones(1, 256, 512))
    torch.testing.assert_close(fine[:, 13], inside[:, 0])
    check_step(names, 150 * 200 // 10, names["within"])
    outside = ~names["within"]
    assert torch.equal(names["refined"][..., outside], names["coarse"][..., outside])
