"""Memory that runs out is torch.OutOfMemoryError, whatever the operator, and nothing has been changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import magnet_kernels as mk
from magnet_kernels import _backends, build_info

compiled = pytest.mark.skipif(build_info()["cpu_library"] != "ok", reason="the compiled CPU library is not there")
SIDE = 2**23  # of a map of 2^46 pixels, of which one is in memory; no machine has room for a result


def huge(channels: int = 2) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), 0.5).expand(1, channels, SIDE, SIDE)


CALLS: dict[str, Callable[[], Any]] = {
    "confidence": lambda: mk.confidence(huge()),
    "median_blur": lambda: mk.median_blur(huge()),
    "uncertainty_score": lambda: mk.uncertainty_score(huge(), huge()),
    "select_points": lambda: mk.select_points(huge(1), 1.0),
    "replace_points": lambda: mk.replace_points(huge(), huge(), torch.zeros(1, 1, dtype=torch.int64)),
    "refine_step": lambda: mk.refine_step(huge(), huge(), n_points=1),
    "upsample_confidence": lambda: mk.upsample_confidence(torch.rand(1, 2, 3, 3), (SIDE, SIDE)),
    "crop_patches": lambda: mk.crop_patches(torch.rand(1, 2, 3, 3), torch.zeros(1, 5), (SIDE, SIDE)),
    "stitch_patches": lambda: mk.stitch_patches(torch.rand(1, 2, 3, 3), torch.zeros(1, 5), (SIDE, SIDE)),
    "refine_stage": lambda: mk.refine_stage(
        torch.rand(1, 2, 3, 3), torch.rand(1, 2, 3, 3), torch.zeros(1, 5), (SIDE, SIDE), n_points=1
    ),
}


@compiled
@pytest.mark.parametrize("name", CALLS)
def test_is_torchs_error(name: str) -> None:
    """The CPU library allocates through the same calls as the CUDA library."""
    with pytest.raises(torch.OutOfMemoryError, match=rf"^{name}: out of memory; nothing was changed") as caught:
        CALLS[name]()
    assert str(SIDE) in str(caught.value).split("It was given ")[1]


@pytest.mark.parametrize("backend", [pytest.param("cpu", marks=compiled), "reference"])
@pytest.mark.parametrize("size", [(10**12, 1), (1, 10**12), (10**6, 10**6)])
def test_sizes_of_a_million_millions_are_named(size: tuple[int, int], backend: str) -> None:
    x, boxes = torch.rand(1, 2, 1, 1), torch.zeros(1, 5)
    named = rf"^upsample_confidence: .* height {size[0]}, width {size[1]}; free"
    with pytest.raises(torch.OutOfMemoryError, match=named):
        mk.upsample_confidence(x, size, backend=backend)
    with pytest.raises(torch.OutOfMemoryError, match=rf"^crop_patches: .* height {size[0]}, width {size[1]}; free"):
        mk.crop_patches(x, boxes, size, backend=backend)
    with pytest.raises(torch.OutOfMemoryError, match=rf"^stitch_patches: .* height {size[0]}, width {size[1]}, batch"):
        mk.stitch_patches(x, boxes, size, backend=backend)
    with pytest.raises(torch.OutOfMemoryError, match=r"^stitch_patches: .* batch_size 1000000000000; free"):
        mk.stitch_patches(x, boxes, (3, 3), batch_size=10**12, backend=backend)
    named = rf"^refine_stage: .* height {size[0]}, width {size[1]}, n_points|^size: expected rows of less than 2\*\*31"
    with pytest.raises((torch.OutOfMemoryError, ValueError), match=named):
        mk.refine_stage(x, x, boxes, size, n_points=1, backend=backend)


@pytest.mark.parametrize("name", ["upsample_confidence", "crop_patches", "stitch_patches"])
def test_is_torchs_error_in_the_reference(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(_backends, "_FORCED", "reference")
    with pytest.raises(torch.OutOfMemoryError, match=rf"^{name}: out of memory; nothing was changed"):
        CALLS[name]()


@compiled
def test_nothing_is_changed_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError(
            'torch_call_dispatcher( "aten::new_empty", "", stack.data()) API call failed at ops.h, line 9'
        )

    x, y = torch.rand(2, 1, 3, 8, 9).unbind()
    before = x.clone()
    monkeypatch.setattr(_backends, "_choose", lambda *_: fails)
    with pytest.raises(torch.OutOfMemoryError, match=r"^refine_step_: out of memory"):
        mk.refine_step_(x, y, n_points=3)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "words",
    [
        'torch_call_dispatcher( "aten::transpose", "int", stack.data()) API call failed at ops.h, line 9',
        "CUDA: score: an illegal memory access was encountered",
        "out of range",
    ],
)
def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(_backends, "_choose", lambda *_: fails)
    with pytest.raises(RuntimeError) as caught:
        mk.confidence(torch.rand(1, 3, 8, 9))
    assert type(caught.value) is RuntimeError and str(caught.value) == words


def test_a_kernel_that_failed_before_is_not_taken_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU on which a kernel has failed refuses everything from then on, memory too."""
    from magnet_kernels import _memory

    def fails(*_: Any) -> None:
        raise RuntimeError('"aten::empty", "memory_format", stack.data()) API call failed at ops.h, line 9')

    def broken(_: torch.device) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(RuntimeError, match="illegal memory access") as caught:
        _memory.translated("confidence", torch.device("cuda", 0), fails)()
    assert not isinstance(caught.value, torch.OutOfMemoryError)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 80 * 2**30))
    with pytest.raises(torch.OutOfMemoryError, match=r"memory of cuda:0 \(1.00 GiB of 80.00 GiB are free\)"):
        _memory.translated("confidence", torch.device("cuda", 0), fails)()
