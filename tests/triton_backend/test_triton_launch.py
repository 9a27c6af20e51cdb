"""Launches of Triton's kernels name their arguments, which are put in the kernel's own order."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from triton_sources import source_of

from magnet_kernels.triton import implementations, launch
from magnet_kernels.triton.select_points import digit_kernel


@pytest.fixture
def launched(monkeypatch):
    """What would be launched: (kernel, programs, arguments, options, constants)."""
    found: list[tuple] = []
    monkeypatch.setattr(launch, "run", lambda *given: found.append(given))
    return found


def test_arguments_come_in_the_order_of_the_kernel(launched):
    named = {"PIXELS": 512, "blocks": 5, "keys": "k", "DIGITS": 2, "n_points": 3, "workspace": "w", "pixels": 4}
    launch.launch(digit_kernel, 7, **named)
    launch.launch(digit_kernel, 7, num_warps=8, maxnreg=64, **named)
    kernel, programs, arguments, options, constants = launched[0]
    assert (kernel, programs, arguments) == (digit_kernel, 7, ("k", "w", 3, 4, 5))
    assert constants == {"DIGITS": 2, "PIXELS": 512}
    assert options == {"num_warps": 4, "enable_fp_fusion": False}
    assert launched[1][2] == arguments
    assert launched[1][3] == {"num_warps": 8, "enable_fp_fusion": False, "maxnreg": 64}


@pytest.mark.parametrize("programs", [0, 7])
def test_missing_and_unknown_names_are_listed(launched, programs):
    message = r"^digit_kernel: missing workspace, blocks, DIGITS; unknown block, digits$"
    with pytest.raises(TypeError, match=message):
        launch.launch(digit_kernel, programs, keys=1, n_points=2, pixels=3, block=4, digits=1, PIXELS=512)
    with pytest.raises(TypeError, match=r"^digit_kernel: unknown x$"):
        launch.launch(
            digit_kernel, programs, keys=1, workspace=2, n_points=3, pixels=4, blocks=5, DIGITS=1, PIXELS=512, x=0
        )
    assert not launched


def test_no_programs_are_not_launched(launched):
    launch.launch(digit_kernel, 0, keys=1, workspace=2, n_points=3, pixels=4, blocks=5, DIGITS=1, PIXELS=512)
    assert not launched


def test_strides_by_name():
    x = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert launch.strides(x=x) == {"x_n": 60, "x_c": 1, "x_h": 15, "x_w": 3}
    assert launch.plane_strides(x=x, y=None) == {"x_n": 60, "x_h": 15, "x_w": 3, "y_n": 0, "y_h": 0, "y_w": 0}


def calls(n: int, height: int, width: int):
    """Every operator on maps of a size whose rows are multiples of 16 elements."""
    maps = torch.rand(n, 19, height, width)
    small, mask = torch.rand(n, 19, height // 2, width // 2), torch.ones(n, 1, height, width, dtype=torch.bool)
    patches, boxes = torch.rand(6, 19, 64, 64), torch.tensor([[0, 1.5, 2, width, height]] * 6)
    points = torch.zeros(n, height, dtype=torch.int64)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, s, p = (one.to(memory_format=layout) for one in (maps, small, patches))
        yield "confidence", (x, False)
        yield "upsample_confidence", (s, height, width, False)
        yield "uncertainty_score", (x, x, mask, 3, False)
        yield "refine_step_", (x, x.clone(), mask, height, 3, False)
        yield "refine_step", (s, x, None, height, 3, False)
        yield "select_points", (x[:, :1].contiguous(), mask, height)
        yield "replace_points", (x, x, points)
        yield "crop_patches", (x, boxes, 64, 64, True)
        yield "stitch_patches", (p, boxes, height, width, n)
        yield "patch_uncertainty", (x, boxes, True)
        for kernel_size in (3, 5, 7):
            yield "median_blur", (x, kernel_size)


def test_a_new_size_of_image_compiles_nothing(monkeypatch):
    """Once kernels are there for one size of which rows are multiples of 16 elements, they serve all of them."""
    compiled: dict[str, list[str]] = {}

    def note(kernel, programs, arguments, options, constants):
        source = source_of(kernel, arguments, constants)
        key = f"{kernel.__name__} {source.signature} {source.constants} {source.attrs} {options}"
        compiled.setdefault(key, []).append(str(size))

    monkeypatch.setattr(launch, "run", note)
    sizes = [(2, 128, 192), (1, 96, 320), (3, 112, 160), (2, 106, 288), (2, 144, 544), (5, 130, 256)]
    counts = []
    for size in sizes:
        for operator, arguments in calls(*size):
            implementations[operator](*arguments)
        counts.append(len(compiled))
    late = {key: of[0] for key, of in compiled.items() if of[0] != str(sizes[0])}
    assert counts[0] > 25
    assert not late, "\n".join(f"{of}: {key}" for key, of in late.items())
