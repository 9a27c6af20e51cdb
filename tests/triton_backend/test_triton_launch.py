"""Launches of Triton's kernels name their arguments, which are put in the kernel's own order."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from magnet_kernels.triton import launch
from magnet_kernels.triton.select_points import digit_kernel


@pytest.fixture
def launched(monkeypatch):
    """What would be launched: (kernel, programs, arguments, options, constants)."""
    found: list[tuple] = []
    monkeypatch.setattr(launch, "run", lambda *given: found.append(given))
    return found


def test_arguments_come_in_the_order_of_the_kernel(launched):
    named = {"PIXELS": 512, "blocks": 5, "keys": "k", "DIGITS": 2, "n_points": 3, "workspace": "w", "pixels": 4}
    named["ALIGNED"] = True
    launch.launch(digit_kernel, 7, **named)
    launch.launch(digit_kernel, 7, num_warps=8, maxnreg=64, **named)
    kernel, programs, arguments, options, constants = launched[0]
    assert (kernel, programs, arguments) == (digit_kernel, 7, ("k", "w", 3, 4, 5))
    assert constants == {"DIGITS": 2, "ALIGNED": True, "PIXELS": 512}
    assert options == {"num_warps": 4, "enable_fp_fusion": False}
    assert launched[1][2] == arguments
    assert launched[1][3] == {"num_warps": 8, "enable_fp_fusion": False, "maxnreg": 64}


@pytest.mark.parametrize("programs", [0, 7])
def test_missing_and_unknown_names_are_listed(launched, programs):
    message = r"^digit_kernel: missing workspace, blocks, DIGITS; unknown block, digits$"
    with pytest.raises(TypeError, match=message):
        launch.launch(digit_kernel, programs, keys=1, n_points=2, pixels=3, block=4, digits=1, ALIGNED=True, PIXELS=512)
    with pytest.raises(TypeError, match=r"^digit_kernel: unknown x$"):
        launch.launch(
            digit_kernel,
            programs,
            keys=1,
            workspace=2,
            n_points=3,
            pixels=4,
            blocks=5,
            DIGITS=1,
            ALIGNED=True,
            PIXELS=512,
            x=0,
        )
    assert not launched


def test_no_programs_are_not_launched(launched):
    launch.launch(
        digit_kernel, 0, keys=1, workspace=2, n_points=3, pixels=4, blocks=5, DIGITS=1, ALIGNED=True, PIXELS=512
    )
    assert not launched


def test_strides_by_name():
    x = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert launch.strides(x=x) == {"x_n": 60, "x_c": 1, "x_h": 15, "x_w": 3}
    assert launch.plane_strides(x=x, y=None) == {"x_n": 60, "x_h": 15, "x_w": 3, "y_n": 0, "y_h": 0, "y_w": 0}
