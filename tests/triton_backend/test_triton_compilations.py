"""How many kernels Triton compiles: none for a new size of image whose rows and planes are aligned as those before.

Launches are only noted, with what the JIT would look a compiled kernel up by.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from triton_sources import key_of

from magnet_kernels.triton import implementations, launch

Size = tuple[int, int, int, int, int]  # images, height, width, points, patches

SIZES: dict[str, list[Size]] = {
    "rows are multiples of 16": [
        (2, 128, 192, 500, 6),
        (1, 96, 320, 1, 1),
        (3, 113, 144, 64, 16),
        (2, 106, 288, 113, 2),
        (5, 144, 544, 144 * 544, 32),
        (16, 131, 256, 1000, 5),
    ],
    "planes are, rows are not": [
        (2, 128, 100, 500, 6),
        (1, 96, 132, 1, 1),
        (3, 112, 197, 64, 16),
        (2, 208, 331, 113, 2),
        (16, 64, 200, 64 * 200, 32),
    ],
    "neither": [
        (2, 127, 509, 500, 6),
        (1, 101, 133, 1, 1),
        (3, 65, 331, 64, 16),
        (16, 129, 129, 113, 2),
        (5, 254, 202, 254 * 202, 32),
    ],
}


def calls(size: Size) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every operator, with and without what it takes, in both layouts."""
    n, height, width, n_points, n_patches = size
    maps = torch.empty(n, 19, height, width)
    small = torch.empty(n, 19, (height + 1) // 2, (width + 1) // 2)
    cut = torch.empty(n, 19, height + 3, width + 16)[..., :height, :width]  # no image is one row
    mask = torch.ones(n, 1, height, width, dtype=torch.bool)
    patches = torch.empty(n_patches, 19, height // 3, width // 2)
    boxes = torch.tensor([[0, 1.5, 2, width // 2, height // 2]] * n_patches)
    points = torch.zeros(n, n_points, dtype=torch.int64)
    side = min(height, width)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, s, p = (one.to(memory_format=layout) for one in (maps, small, patches))
        for from_logits in (False, True):
            yield "confidence", (x, from_logits)
        yield "upsample_confidence", (s, height, width, False)
        yield "uncertainty_score", (x, x, mask, 3, False)
        yield "uncertainty_score", (cut, x, None, 1, False)
        yield "select_points", (x[:, :1].contiguous(), mask, n_points)
        yield "select_points", (cut[:, :1], None, n_points)
        yield "replace_points", (x, x, points)
        yield "replace_points_", (x, cut, points)
        yield "refine_step", (s, x, None, n_points, 3, False)
        yield "refine_step_", (x, x.clone(), mask, n_points, 5, False)
        yield "refine_step_out", (x, cut, mask, n_points, 7, True, torch.empty_like(x))
        yield "crop_patches", (x, boxes, side - 2, side, True)
        yield "stitch_patches", (p, boxes, height, width, n)
        yield "refine_stage", (s, p, boxes, height, width, n_points, 3, False)
        yield "refine_stage_labels", (s, p, boxes, height, width, n_points, 3, False)
        yield "patch_uncertainty", (x, boxes[:1], True)
        yield "patch_uncertainty", (x, boxes.repeat(100, 1), False)
        for kernel_size in (3, 5, 7):
            yield "median_blur", (x, kernel_size)


def compiled(monkeypatch: pytest.MonkeyPatch, size: Size) -> set[str]:
    """What the JIT needs to have compiled for all calls of this size."""
    found = set()
    monkeypatch.setattr(launch, "run", lambda kernel, programs, *given: found.add(key_of(kernel, *reordered(*given))))
    for operator, arguments in calls(size):
        implementations[operator](*arguments)
    return found


def reordered(arguments: tuple[Any, ...], options: dict[str, Any], constants: dict[str, Any]) -> tuple[Any, ...]:
    return arguments, constants, options


def test_every_operator_is_called():
    assert {operator for operator, _ in calls(SIZES["neither"][0])} == set(implementations)


@pytest.mark.parametrize("alignment", SIZES)
def test_a_new_size_of_image_compiles_nothing(alignment, monkeypatch):
    """Where rows and planes are aligned as those of a size before; for all numbers of images, points and patches."""
    first, *others = SIZES[alignment]
    before = compiled(monkeypatch, first)
    assert len(before) > 40
    for size in others:
        new = sorted(compiled(monkeypatch, size) - before)
        assert not new, f"{size} compiles {len(new)} kernels, the first of them {new[0]}"
