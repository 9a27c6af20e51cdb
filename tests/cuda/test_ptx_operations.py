"""What instructions give under the emulator, as nvcc uses them: warps, barriers, atomics, conversions, arithmetic."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from ptx import emulator
from ptx.self_test import SEEDS, Kernels

import build_nvcc

pytestmark = pytest.mark.ptx

MASKS = [0xFFFFFFFF, 0x0000FFFF, 0xFF00FF00, 0x80000001, 0x00000010]
HALVES = np.arange(65536, dtype=np.uint16)
DTYPES = {"half": torch.float16, "bfloat16": torch.bfloat16}
TYPES = {"int32": "i", "uint32": "j", "int64": "l", "uint64": "m", "float32": "f", "float64": "d"}  # as mangled
NAN = np.uint32(0x7FFFFFFF)  # that instructions make


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    try:
        return Kernels("operations.cu")
    except build_nvcc.NvccError as error:
        pytest.skip(str(error))


def options(seed: int, **given: int) -> emulator.Options:
    return emulator.Options(seed=seed, races=2, **given)


# --- warps


def lanes_of(mask: int) -> list[int]:
    return [lane for lane in range(32) if mask >> lane & 1]


def shuffle_source(kind: int, lane: int, by: int, width: int) -> int:
    """As the PTX manual describes shfl, in CUDA's terms."""
    segment = lane // width * width
    if kind == 0:
        return segment + by % width
    source = [0, lane - by, lane + by, lane ^ by][kind]
    if (kind == 1 and source < segment) or (kind in (2, 3) and source >= segment + width):
        return lane
    return source


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_shuffles(kernels, kind, dtype):
    random = np.random.default_rng(kind)
    for width in (1, 2, 8, 16, 32):
        for repeat in range(8):
            by = random.integers(0, 32, 32) if kind == 0 or repeat % 2 else np.full(32, random.integers(0, 32))
            by = by.astype(np.int32)
            bits = random.integers(0, 2**63, 32, dtype=np.uint64) * 2 + 1
            values = bits.astype(dtype) if "int" in dtype else random.standard_normal(32).astype(dtype)
            out = np.zeros(32, dtype)
            kernels.launch(f"shuffle<{TYPES[dtype]}>", 1, 32, kind, 0xFFFFFFFF, width, by, values, out)
            expected = [values[shuffle_source(kind, lane, int(by[lane]), width)] for lane in range(32)]
            np.testing.assert_array_equal(out, np.array(expected, dtype))


@pytest.mark.parametrize("mask", MASKS)
def test_shuffles_of_some_lanes(kernels, mask):
    lanes = lanes_of(mask)
    values = np.arange(32, dtype=np.int32) + 100
    by = np.array([lanes[(lane * 5) % len(lanes)] for lane in range(32)], np.int32)
    for seed in SEEDS:
        out = np.zeros(32, np.int32)
        kernels.launch("shuffle<i>", 1, 32, 0, mask, 32, by, values, out, options=options(seed, divergence=128))
        np.testing.assert_array_equal(out, [values[by[lane]] if lane in lanes else 0 for lane in range(32)])


@pytest.mark.parametrize("mask", MASKS)
def test_votes_and_reductions(kernels, mask):
    random = np.random.default_rng(mask)
    lanes = lanes_of(mask)
    for high in (2, 8, 2**32):
        for seed in SEEDS:
            values = random.integers(0, high, 32, dtype=np.uint64).astype(np.uint32)
            if random.integers(2):
                values |= 4
            out = np.zeros((14, 32), np.uint32)
            kernels.launch("votes", 1, 32, mask, values, out, options=options(seed, divergence=128))
            x = [int(values[lane]) for lane in lanes]
            y = [v - 2**32 if v >= 2**31 else v for v in x]
            same = {v: sum(1 << lane for lane in lanes if values[lane] == v) for v in x}
            scalars = {
                0: sum((v & 1) << lane for v, lane in zip(x, lanes, strict=True)),
                1: any(v & 2 for v in x),
                2: all(v & 4 for v in x),
                5: sum(x),
                6: min(x),
                7: max(x),
                8: sum(y),
                9: min(y),
                10: max(y),
                11: int(np.bitwise_and.reduce(x)),
                12: int(np.bitwise_or.reduce(x)),
                13: int(np.bitwise_xor.reduce(x)),
            }
            expected = np.zeros((14, 32), np.uint32)
            for lane in lanes:
                expected[3:5, lane] = same[int(values[lane])]
                for row, value in scalars.items():
                    expected[row, lane] = int(value) % 2**32
            np.testing.assert_array_equal(out, expected)


# --- blocks


@pytest.mark.parametrize("threads", [32, 96, 1024])
def test_barriers_join_predicates(kernels, threads):
    random = np.random.default_rng(threads)
    for share in (0, 0.5, 1):
        for seed in SEEDS:
            values = np.where(random.random(threads) < share, random.integers(1, 9, threads), 0).astype(np.int32)
            out = np.zeros((threads, 3), np.int32)
            kernels.launch("join", 1, threads, values, out, options=options(seed, divergence=64))
            any_, all_, count = out.T
            assert (any_.astype(bool) == values.any()).all() and (all_.astype(bool) == values.all()).all()
            assert (count == np.count_nonzero(values)).all()


@pytest.mark.parametrize("elements", [1, 127, 5000])
def test_atomics(kernels, elements):
    values = np.random.default_rng(elements).integers(0, 2**31, elements).astype(np.uint32)
    for seed in SEEDS:
        bins, total = np.zeros(64, np.uint32), np.zeros(1, np.uint64)
        bits, first = np.zeros(1, np.uint32), np.full(1, 0xFFFFFFFF, np.uint32)
        blocks = (elements + 127) // 128
        kernels.launch("count", blocks, 128, values, elements, bins, total, bits, first, options=options(seed))
        np.testing.assert_array_equal(bins, np.bincount(values % 64, minlength=64))
        assert total[0] == values.sum(dtype=np.uint64)
        assert bits[0] == np.bitwise_or.reduce(values)
        assert first[0] in values


def test_look_back_waits_and_works(kernels):
    """Prefix sums by blocks that wait for those before them."""
    waited = 0
    for seed in range(20):
        values = np.random.default_rng(seed).integers(0, 2**32, 64 * 40 + seed, dtype=np.uint64).astype(np.uint32)
        blocks = (len(values) + 63) // 64
        out, tiles = np.zeros(len(values), np.uint64), np.zeros(blocks, np.uint64)
        ticket, waits = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
        arguments = values, len(values), ticket, tiles, out, waits
        kernels.launch("scan", blocks, 64, *arguments, options=options(seed))
        wide = values.astype(np.uint64)
        np.testing.assert_array_equal(out, np.cumsum(wide) - wide)
        waited += int(waits[0])
    assert waited > 20


def test_pointers(kernels):
    pairs = np.frombuffer(b"".join(struct.pack("<fxxxxq", lane / 2, lane) for lane in range(32)), np.uint8).copy()
    out = np.zeros(32)
    kernels.launch("pointers", 1, 32, pairs, None, out)
    np.testing.assert_array_equal(out, np.full(32, sum(1.5 * lane for lane in range(32)) - 1))


# --- the order of threads and blocks


def order(kernels: Kernels, blocks: int, threads: int, seed: int) -> np.ndarray:
    out = np.zeros(blocks * threads, np.uint32)
    kernels.launch("order", blocks, threads, np.zeros(1, np.uint32), out, options=options(seed))
    return out


def test_the_order_is_the_seeds(kernels):
    orders = {order(kernels, 7, 64, seed).tobytes() for seed in range(8)}
    assert len(orders) == 8
    assert orders == {order(kernels, 7, 64, seed).tobytes() for seed in range(8)}


def test_blocks_start_in_any_order_and_interleave(kernels):
    early = {int(order(kernels, 8, 32, seed).argmin()) // 32 for seed in range(100)}
    assert len(early) == 8
    blocks = [order(kernels, 8, 128, seed).argsort() // 128 for seed in range(20)]
    assert any((np.diff(one) != 0).sum() > 7 for one in blocks)


def test_every_thread_runs_once(kernels):
    for blocks, threads in ((1, 32), (1, 128), (33, 96), (1000, 32)):
        np.testing.assert_array_equal(np.sort(order(kernels, blocks, threads, 0)), np.arange(blocks * threads))


# --- numbers


def elementwise(kernels: Kernels, name: str, values: np.ndarray, dtype: Any) -> np.ndarray:
    out = np.zeros(len(values), dtype)
    kernels.launch(name, (len(values) + 255) // 256, 256, values, len(values), out, options=emulator.Options())
    return out


def bits_of(x: torch.Tensor) -> np.ndarray:
    return x.view(torch.int16).numpy().view(np.uint16)


def widened(name: str) -> np.ndarray:
    return torch.from_numpy(HALVES.view(np.int16)).view(DTYPES[name]).float().numpy()


@pytest.mark.parametrize("name", DTYPES)
def test_widens_as_torch_does(kernels, name):
    out = elementwise(kernels, f"widen_{name}", HALVES, np.float32)
    expected = widened(name)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(out.view(np.uint32)[number], expected.view(np.uint32)[number])
    assert np.isnan(out[~number]).all()


@pytest.mark.parametrize("name", DTYPES)
def test_narrows_as_torch_does(kernels, name):
    every = widened(name).view(np.uint32)
    steps = np.array([-1, 1, 0x1000, 0xFFF, 0x1001, 0x8000, 0x7FFF, 0x8001], np.int64)
    near = ((every[:, None].astype(np.int64) + steps) % 2**32).astype(np.uint32).ravel()  # and halfway to the next
    some = np.random.default_rng(0).integers(0, 2**32, 10**6, dtype=np.uint64).astype(np.uint32)
    values = np.concatenate([every, near, some]).view(np.float32)
    out = elementwise(kernels, f"narrow_{name}", values, np.uint16)
    expected = bits_of(torch.from_numpy(values).to(DTYPES[name]))
    number = ~np.isnan(values)
    np.testing.assert_array_equal(out[number], expected[number])
    assert (out[~number] == 0x7FFF).all()


MOST = Fraction(float(np.finfo(np.float32).max))
SPECIAL = np.array(
    [0, -0.0, 1, -1, 0.5, 1.5, 2.5, 1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 16777217, np.inf, -np.inf, np.nan]
    + [sign * 2.0**power for sign in (1, -1) for power in (31, 32, 63, 64)],
    np.float32,
)


def floats(seed: int, count: int = 3000) -> np.ndarray:
    """Of any bits, and the special ones."""
    bits = np.random.default_rng(seed).integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32)
    near = np.random.default_rng(seed + 1).standard_normal(count).astype(np.float32) * np.float32(2.0**31)
    return np.concatenate([bits.view(np.float32), near, SPECIAL])


@pytest.mark.parametrize(
    ("name", "dtype", "nan"), [("to_int32", np.int32, 0), ("to_int64", np.int64, -(2**63)), ("to_uint32", np.uint32, 0)]
)
def test_floats_to_integers(kernels, name, dtype, nan):
    """To the nearest that there is; NaN as the manual says."""
    values = floats(3)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    expected = [nan if np.isnan(v) else low if v <= low else high if v >= high else int(v) for v in values.tolist()]
    assert elementwise(kernels, name, values, dtype).tolist() == expected


def canonical(x: np.ndarray) -> np.ndarray:
    """The bits; the one NaN for every NaN."""
    return np.where(np.isnan(x), NAN, x.view(np.uint32))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_conversions_and_roots(kernels):
    random = np.random.default_rng(4)
    whole = np.concatenate([random.integers(-(2**63), 2**63, 2000), random.integers(-(2**26), 2**26, 2000)])
    np.testing.assert_array_equal(elementwise(kernels, "from_int64", whole, np.float32), whole.astype(np.float32))
    values = floats(5)
    third = elementwise(kernels, "third", values, np.float64)
    np.testing.assert_array_equal(third, values.astype(np.float64) / 3)
    narrow = elementwise(kernels, "from_double", third, np.float32)
    np.testing.assert_array_equal(canonical(narrow), canonical(third.astype(np.float32)))
    np.testing.assert_array_equal(
        canonical(elementwise(kernels, "root", values, np.float32)), canonical(np.sqrt(values))
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float_functions(kernels):
    a, b = floats(6), np.random.default_rng(7).permutation(floats(8))
    count = len(a)
    a = np.concatenate([a, np.repeat(SPECIAL, len(SPECIAL))])
    b = np.concatenate([b[:count], np.tile(SPECIAL, len(SPECIAL))])
    out = np.zeros((9, len(a)), np.float32)
    kernels.launch("floats", (len(a) + 255) // 256, 256, a, b, len(a), out, options=emulator.Options())

    def pick(better: Callable[[float, float], bool], nan: bool) -> np.ndarray:
        """max or min, as instructions have it: -0 is less than +0; NaN where either is, or the other."""
        chosen = []
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            if np.isnan(x) or np.isnan(y):
                chosen.append(np.nan if nan else y if np.isnan(x) else x)
            elif x == y == 0:
                chosen.append(x if better(np.copysign(1, x), np.copysign(1, y)) else y)
            else:
                chosen.append(x if better(x, y) else y)
        return np.array(chosen, np.float32)

    expected = [a + b, a - b, a * b, a / b, None, pick(float.__gt__, False), pick(float.__lt__, False)]
    expected += [pick(float.__gt__, True), np.abs(a)]
    for row, values in enumerate(expected):
        if values is not None:
            np.testing.assert_array_equal(canonical(out[row]), canonical(values), err_msg=str(row))
    for x, y, sum_ in zip(a[:count:7].tolist(), b[:count:7].tolist(), out[4, :count:7], strict=True):
        if np.isfinite(x) and np.isfinite(y):
            exact = Fraction(x) * Fraction(y) + Fraction(x)
            if np.isinf(sum_):
                assert abs(exact) > MOST
            else:
                assert abs(Fraction(float(sum_)) - exact) <= Fraction(float(np.spacing(abs(sum_)))) / 2


def test_comparisons(kernels):
    a, b = np.repeat(SPECIAL, len(SPECIAL)), np.tile(SPECIAL, len(SPECIAL))
    out = np.zeros((8, len(a)), np.uint8)
    kernels.launch("comparisons", (len(a) + 255) // 256, 256, a, b, len(a), out)
    expected = [a < b, a <= b, a == b, a != b, a > b, a >= b, ~(a < b), ~(a >= b)]
    np.testing.assert_array_equal(out.astype(bool), np.array(expected))


@pytest.mark.parametrize("name", DTYPES)
def test_pairs(kernels, name):
    """Minimum and maximum of both halves of a word: of all values with some, as one at a time."""
    random = np.random.default_rng(9)
    mangled = {"half": "NS_4HalfE", "bfloat16": "NS_8BFloat16E"}[name]
    a = np.concatenate([HALVES, random.integers(0, 65536, 2000).astype(np.uint16), [0, 0x8000, 0x7C01, 0x7FC1]])
    a = a.astype(np.uint16)
    b = np.concatenate([random.permutation(HALVES), random.integers(0, 65536, 2000), [0x8000, 0, 0, 1]]).astype(
        np.uint16
    )
    out = np.zeros((3, len(a) // 2), np.uint32)
    arguments = a.view(np.uint32), b.view(np.uint32), len(a) // 2, out
    kernels.launch(f"pairs<{mangled}>", (len(a) // 2 + 255) // 256, 256, *arguments, options=emulator.Options())
    as_float = widened(name)
    x, y = as_float[a], as_float[b]
    signed = np.where(x == y, np.signbit(x) > np.signbit(y), x < y)  # -0 below +0
    nan = np.isnan(x) | np.isnan(y)
    number = np.where(np.isnan(x), b, a)
    both = np.isnan(x) & np.isnan(y)
    rows = [np.where(signed, b, a), np.where(signed, a, b)]
    expected = [np.where(both, 0x7FFF, np.where(nan, number, row)) for row in rows]
    expected.append(np.where(nan, 0x7FFF, rows[0]))
    np.testing.assert_array_equal(out.view(np.uint16), np.array(expected, np.uint16))


def test_approximations(kernels):
    """ex2.approx and rcp.approx: rounded, or as wrong as the manual lets them be."""
    x = np.concatenate([np.linspace(-126, 127.9, 5001), [0, -127, -1000, 1000, np.inf, -np.inf, np.nan]]).astype(
        np.float32
    )
    exact = np.exp2(x.astype(np.float64))
    y = np.array([3, 1e-3, 7e20, 1.5, -3, 0.0, np.inf], np.float32)
    for approximate in (0, 1):
        out, inverse = np.zeros_like(x), np.zeros_like(y)
        given = emulator.Options(approximate=approximate)
        kernels.launch("exp2_fast_of", (len(x) + 255) // 256, 256, x, len(x), out, options=given)
        kernels.launch("reciprocal_fast_of", 1, 256, y, len(y), inverse, options=given)
        allowed = 2.0 ** (-22 if approximate else -24), 2.0 ** (-23 if approximate else -24)
        np.testing.assert_allclose(out[:5001], exact[:5001], rtol=allowed[0])
        np.testing.assert_array_equal(out[5001:], np.array([1, 0, 0, np.inf, np.inf, 0, np.nan], np.float32))
        np.testing.assert_allclose(
            inverse[:5], 1 / y[:5].astype(np.float64), rtol=2.0**-23 if approximate else 2.0**-24
        )
        assert inverse[5] == np.inf and inverse[6] == 0
    assert (out[:5001] != exact[:5001].astype(np.float32)).any()


def test_integer_functions(kernels):
    random = np.random.default_rng(1)
    words = [0, 1, 2**31, 2**32, 2**63, 2**64 - 1, 0xFFFFFFFF, 0xFFFFFFFF << 32, 2**63 + 2**31, 1 << 32 | 2**31]
    words += [int(x) >> int(s) for x, s in zip(random.integers(0, 2**63, 50), random.integers(0, 63, 50), strict=True)]
    cases = [(x, shift) for x in words for shift in (0, 1, 17, 31, 32, 33, 63)]
    given = np.array([x for x, _ in cases], np.uint64), np.array([shift for _, shift in cases], np.uint32)
    out = np.zeros((28, len(cases)), np.uint64)
    kernels.launch("integers", (len(cases) + 255) // 256, 256, *given, len(cases), out)
    for (x, shift), found in zip(cases, out.T.tolist(), strict=True):
        assert found == integers(x, shift), (x, shift)


def integers(x: int, shift: int) -> list[int]:
    low, high = x % 2**32, x >> 32

    def inserted(a: int, b: int, at: int, length: int, bits: int) -> int:
        """The lowest bits of ``a`` in the place of those of ``b`` from bit ``at`` on."""
        field = ((1 << length) - 1 << at) & (1 << bits) - 1
        return b & ~field | a << at & field

    def signed(v: int, bits: int) -> int:
        v %= 2**bits
        return v - 2**bits if v >= 2 ** (bits - 1) else v

    s, c = shift % 32, min(shift, 32)
    result = [
        low.bit_count(),
        x.bit_count(),
        32 - low.bit_length(),
        64 - x.bit_length(),
        (low & -low).bit_length(),
        (x & -x).bit_length(),
        int(f"{low:032b}"[::-1], 2),
        int(f"{x:064b}"[::-1], 2),
        (x << s) >> 32 & 0xFFFFFFFF,
        (x >> s) & 0xFFFFFFFF,
        (x << c) >> 32 & 0xFFFFFFFF,
        (x >> c) & 0xFFFFFFFF,
        low * high >> 32,
        low,
        x << shift,
        x >> shift,
        signed(x, 64) >> shift,
        low // high if high else 0,
        low % high if high else 0,
        x // high if high else 0,
        x % high if high else 0,
        min(low, high),
        max(signed(low, 32), signed(high, 32)) % 2**32,
        signed(low, 32) * signed(high, 32),
        signed(low, 8),
        signed(low >> 8, 16),
        inserted(high, low, shift, 13, 32),
        inserted(~x, x, shift, 37, 64),
    ]
    return [v % 2**64 for v in result]
