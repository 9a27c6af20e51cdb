"""That the emulator finds what Triton's interpreter cannot: a kernel that is right as written and wrong as compiled."""

from __future__ import annotations

import re

import pytest
import torch
from ptx import emulator, torch_memory
from ptx.self_test import SEEDS

pytestmark = pytest.mark.ptx

triton = pytest.importorskip("triton")
tl = triton.language


@triton.jit
def masked_histogram(x, out, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Each of the two reshapes may reorder its elements: keys meet the mask of others."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    exists = (row < height) & (column < width)
    value = tl.load(x + row * width + column, mask=exists, other=0)
    counts = tl.histogram(tl.reshape(value, [ROWS * COLUMNS]), 16, mask=tl.reshape(exists, [ROWS * COLUMNS]))
    tl.store(out + tl.arange(0, 16), counts)


@triton.jit
def marked_histogram(x, out, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The same with the mask made of what was reshaped."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    value = tl.load(x + row * width + column, mask=(row < height) & (column < width), other=-1)
    value = tl.reshape(value, [ROWS * COLUMNS])
    counts = tl.histogram(value, 16, mask=value >= 0)
    tl.store(out + tl.arange(0, 16), counts)


@triton.jit
def past_the_end(x, out, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    at = tl.arange(0, ROWS * COLUMNS)
    tl.store(out + at % 16, tl.load(x + at), mask=at < 16)


@triton.jit
def of_several_programs(x, out, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    tl.store(out + tl.arange(0, 16), tl.program_id(0))


@pytest.fixture
def launch():
    """Runs a kernel of those above: what it has left in 16 numbers, and TTGIR's words."""
    from ptx.triton_runner import Runner

    runner = Runner(90)
    torch_memory.active(True)
    yield lambda kernel, seed, programs=1: _launch(runner, kernel, seed, programs)
    torch_memory.active(False)


def _launch(runner, kernel, seed: int, programs: int) -> tuple[list[int], list[int]]:
    x = torch.randint(1, 16, (3, 32), dtype=torch.int32, generator=torch.Generator().manual_seed(seed))
    out = torch.zeros(16, dtype=torch.int32)
    runner.options = emulator.Options(seed=seed, races=2, same_values=1)
    runner(kernel, programs, (x, out, 3, 32), {"num_warps": 4}, {"ROWS": 8, "COLUMNS": 32})
    return out.tolist(), torch.bincount(x.flatten(), minlength=16).tolist()


def may_reorder() -> int:
    """How many of masked_histogram's reshapes this Triton lets reorder: the mistake is there where both may."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {
        "x": "*i32",
        "out": "*i32",
        "height": "i32",
        "width": "i32",
        "ROWS": "constexpr",
        "COLUMNS": "constexpr",
    }
    source = ASTSource(masked_histogram, signature, {(4,): 8, (5,): 32}, {(3,): [["tt.divisibility", 16]]})
    text = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ttgir"]
    return len(re.findall(r"tt\.reshape .*allow_reorder", text))


def test_finds_keys_that_meet_the_mask_of_others(launch):
    if may_reorder() < 2:
        assert all(len(set(map(tuple, launch(masked_histogram, seed)))) == 1 for seed in SEEDS)
        pytest.skip("this Triton reorders neither reshape: its kernel is right, as the emulator says")
    for seed in SEEDS:
        out, expected = launch(masked_histogram, seed)
        assert out != expected


def test_passes_the_kernel_without_the_mistake(launch):
    for seed in SEEDS:
        out, expected = launch(marked_histogram, seed)
        assert out == expected


def test_finds_mistakes_that_the_interpreter_passes(launch):
    for seed in SEEDS:
        with pytest.raises(emulator.Fault, match="out of bounds: global access"):
            launch(past_the_end, seed)
        with pytest.raises(emulator.Fault, match=r"race: write of .*, which .* of block . wrote at .* with no acquire"):
            launch(of_several_programs, seed, programs=2)
