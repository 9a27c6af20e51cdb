"""Maps whose strides reach past 2^31 and 2^32 elements, in memory of which only a few pages exist."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable

import pytest
import torch
from boxes import BoxSpec
from live import on_emulated_backends
from tolerances import assert_close, assert_same
from torch import Tensor

import magnet_kernels as mk

pytestmark = pytest.mark.ptx

SHAPE = (2, 5, 6, 40)
BYTES = 1 << 39


@functools.cache
def place(number: int) -> int:
    """The address of half a terabyte that may be read and written."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    address = libc.mmap(None, BYTES, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if address in (None, 2**64 - 1):
        pytest.skip("this system gives no half terabyte of addresses")
    return address


def lay(x: Tensor, strides: tuple[int, ...], number: int) -> Tensor:
    """The same values with these strides, in one of the places."""
    most = sum((n - 1) * s for n, s in zip(x.shape, strides, strict=True)) + 1
    assert most * x.element_size() <= BYTES
    buffer = (ctypes.c_uint8 * (most * x.element_size())).from_address(place(number))
    view = torch.frombuffer(buffer, dtype=x.dtype, count=most).as_strided(x.shape, strides)
    return view.copy_(x)


# strides of a map (N, C, H, W)
APART: dict[str, Callable[[int, int, int, int], tuple[int, ...]]] = {
    "images": lambda n, c, h, w: (2**33 + 16, h * w, w, 1),
    "planes": lambda n, c, h, w: (c * (2**31 + 16), 2**31 + 16, w, 1),
    "planes, a little less": lambda n, c, h, w: (c * (2**30 - 8), 2**30 - 8, w, 1),
    "rows": lambda n, c, h, w: (h * (2**30 + 4), w, 2**30 + 4, 1),
    "columns": lambda n, c, h, w: (w * (2**27 + 1), 1 << 20, 1 << 10, 2**27 + 1),
    "rows of pixels": lambda n, c, h, w: (h * (2**30 + 4), 1, 2**30 + 4, c),
    "columns of pixels": lambda n, c, h, w: (w * (2**27 + 8), 1, c, 2**27 + 8),
}


@on_emulated_backends()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("apart", APART)
@pytest.mark.parametrize("far_fine", [False, True], ids=["coarse", "both"])
@pytest.mark.many_blocks
def test_far_apart(backend, dtype, apart, far_fine):
    from ptx import backends

    backends.SCHEDULES.races = 1  # who touched each byte of half a terabyte is too much to remember
    g = torch.Generator().manual_seed(0)
    a, b = ((torch.randn(SHAPE, generator=g) * 2).softmax(1).to(dtype) for _ in range(2))
    n, _, h, w = SHAPE
    mask = torch.rand(n, 1, h, w, generator=g) < 0.7
    boxes = BoxSpec(5, 2, (h, w), (4, 9), "around", torch.float32, 3).make()
    patches = (torch.randn(5, 5, 4, 9, generator=g) * 2).softmax(1).to(dtype)
    strides = APART[apart]

    def compare(name: str, call: Callable[..., object], *maps: Tensor, near: tuple[int, ...] = ()) -> None:
        """The same bits from the maps laid far apart (but those numbered in ``near``) as from the maps as they are.

        And the reference's, of maps laid far apart, too.
        """

        def far() -> list[Tensor]:
            return [m.clone() if i in near else lay(m, strides(*m.shape), i) for i, m in enumerate(maps)]

        def outcome(given: list[Tensor], backend: str) -> list[Tensor]:
            result = call(*given, backend)
            return [x.clone() for x in ([result] if isinstance(result, Tensor) else result)]

        results = outcome(far(), backend), outcome([m.clone() for m in maps], backend), outcome(far(), "reference")
        for x, y, z in zip(*results, strict=True):
            try:
                assert_same(x, y)
                # a crop sums its taps in another order, near as well as far
                (assert_close if name == "crop_patches" else assert_same)(x, z)
            except AssertionError as error:
                raise AssertionError(f"{name}: {error}") from error

    one, fine_near = a[:, :1].contiguous(), () if far_fine else (1,)
    given = {"mask": mask, "n_points": 60, "return_points": True}
    compare("uncertainty_score", lambda x, y, k: mk.uncertainty_score(x, y, backend=k), a, b, near=fine_near)
    compare("refine_step", lambda x, y, k: mk.refine_step(x, y, **given, backend=k), a, b, near=fine_near)
    compare("refine_step_", lambda x, y, k: mk.refine_step_(x, y, **given, backend=k), a, b, near=fine_near)
    if far_fine:
        compare(
            "refine_stage",
            lambda x, p, k: mk.refine_stage(x, p, boxes, (h, w), n_points=50, return_points=True, backend=k),
            a,
            patches,
        )
        return
    compare("confidence", lambda x, k: mk.confidence(x, backend=k), a)
    compare("mask", lambda m, k: mk.uncertainty_score(a, b, mask=m, backend=k), mask)
    compare("median_blur of 7", lambda x, k: mk.median_blur(x, 7, backend=k), one)
    compare("median_blur of 3", lambda x, k: mk.median_blur(x, 3, backend=k), one)
    compare("select_points", lambda x, k: mk.select_points(x, 50, backend=k), one)
    compare("upsample_confidence", lambda x, k: mk.upsample_confidence(x, (11, 80), backend=k), a)
    compare("upsample_confidence, doubled", lambda x, k: mk.upsample_confidence(x, (12, 80), backend=k), a)
    compare("crop_patches", lambda x, k: mk.crop_patches(x, boxes, (4, 9), backend=k), a)
    compare("stitch_patches", lambda p, k: mk.stitch_patches(p, boxes, (h, w), batch_size=2, backend=k), patches)
    compare("patch_uncertainty", lambda x, k: mk.patch_uncertainty(x, boxes, backend=k), a)
