"""The host model itself: that it finds mistakes in kernels, and that its operations give what CUDA's would."""

from __future__ import annotations

import ctypes
import math
import re
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda_host import build

pytestmark = pytest.mark.cuda_host
SELF_TEST = Path(build.HERE, "self_test")
SEEDS = ("0", "1", "2", "3", "4", "5")

# A kernel's one mistake: what the error says.
MISTAKES = {
    "two_barriers": "barrier divergence: .* waits at the barrier at .* while this thread reached another one",
    "return_before_barrier": "barrier divergence: (it ended while|1 threads of the block have ended)",
    "barrier_in_a_loop": "barrier divergence: (it ended while|1 threads of the block have ended)",
    "other_barrier_operation": "barrier divergence",
    "mask_without_the_lane": "__ballot_sync of lanes 0x0000ffff: the mask lacks the lane itself",
    "lanes_that_ended": "has ended and will not arrive|ended while a lane of its warp waits for it",
    "lane_at_a_barrier": "waits at the barrier .* and will not arrive|waits for it in a warp operation",
    "different_operations": "is in another operation: __(any|ballot)_sync of lanes 0xffffffff",
    "different_places": "is in another operation: __shfl_sync of lanes 0xffffffff",
    "different_masks": "ended while a lane of its warp waits for it",
    "lanes_wait_for_each_other": "deadlock: all threads wait for others: block 0, thread .* in __syncwarp of lanes",
    "shuffle_from_outside": "__shfl_sync of lanes 0x000000ff: reads lane 9, which is not in the mask",
    "shuffle_of_odd_width": "shuffle of width 24",
    "write_past_the_end": r"out of bounds: write of 1 element\(s\) at index \d+ of global memory with 64 element",
    "read_before_the_start": r"out of bounds: read of 1 element\(s\) at index -1 of global memory with 64 element",
    "wide_past_the_end": r"out of bounds: write of 4 element\(s\) at index \d+ of global memory with 64 element",
    "wide_misaligned": "misaligned read of 16 bytes at element 6 of global memory",
    "null_pointer": "read through a null pointer",
    "atomic_past_the_end": r"out of bounds: atomic of 1 element\(s\) at index 64 of global memory",
    "shared_past_the_end": r"out of bounds: write of 1 element\(s\) at index 64 of values with 64 element",
    "shared_read_before_the_start": r"out of bounds: read of 1 element\(s\) at index -1 of values with 64 element",
    "shared_wide_misaligned": "misaligned write of 16 bytes at element .* of values",
    "shared_too_large": "shared array (first|second) makes 49156 bytes of shared memory",
    "shared_not_written": "read of element 9 of shared array values, which was never written in this block",
    "shared_of_another_block": "shared array values, which was never written in this block",
    "counters_not_cleared": "atomic of element 0 of shared array counter, which was never written in this block",
    "read_before_barrier": "race: .* of values, which thread .* with no __syncthreads between",
    "overwritten_while_read": "race: .* of element 0 of value, which thread .* with no __sync",
    "two_writers": "race: write of element 0 of value, which thread .* wrote with no __syncthreads between",
    "neighbours_of_a_warp": "race: .* of values, which thread .* with no __syncwarp between",
    "shuffle_orders_no_memory": "race: .* of values, which thread .* with no __syncwarp between",
    "half_a_warp_ordered": "race: .* of values, which thread .* with no __syncwarp between",
    "ordered_through_another_lane": "race: .* of element 0 of value, which thread .* with no __syncwarp between",
    "atomic_and_plain": "race: .* of element 0 of counter, which thread .* with no __sync",
    "plain_increment": "race: .* of element 0 of counter, which thread .* with no __sync",
    "global_race": "race: .* of global memory, which thread .* with no __syncthreads between",
    "waits_by_index": "deadlock: all threads wait for others: block",
    "waits_for_ever": "deadlock: all threads wait for others: block",
    "asks_for_ever": "deadlock: all threads wait for others: block 0",
    "spins": r"load_acquire in an endless loop without back_off\(\)",
    "part_of_a_warp": "blocks of 48 threads; expected whole warps",
    "too_many_threads": "blocks of 1056 threads; expected whole warps, 1024 threads at most",
    "read_by_the_host": "memory of the device accessed by the host at .*outside of a kernel",
}

ONE_WARP = ("lanes_wait_for_each_other", "ordered_through_another_lane", "waits_for_ever", "asks_for_ever", "spins")


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(build.build_self_test()))
    except build.NoCompiler as error:
        pytest.skip(str(error))


def run_case(library: ctypes.CDLL, name: str, wrong: bool) -> tuple[str | None, list[int]]:
    """The error, if any, and the 64 elements that the kernel may write."""
    case = getattr(library, f"{name}_case")
    case.restype = ctypes.c_char_p
    case.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
    out = (ctypes.c_uint32 * 64)()
    error = case(wrong, out, 64)
    return None if error is None else error.decode(), list(out)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MISTAKES)
def test_finds_a_mistake(library, monkeypatch, name, seed):
    monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", seed)
    error, _ = run_case(library, name, wrong=True)
    assert error is not None, "the mistake was not seen"
    assert error.startswith("host model: ")
    assert re.search(MISTAKES[name], error), error


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MISTAKES)
def test_passes_the_kernel_without_the_mistake(library, monkeypatch, name, seed):
    monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", seed)
    error, out = run_case(library, name, wrong=False)
    assert error is None, error
    used = 32 if name in ONE_WARP else 64
    assert out == [i + 1 for i in range(used)] + [0] * (64 - used)


@pytest.mark.parametrize("name", [name for name in MISTAKES if not name.endswith(("_warp", "_threads"))])
def test_names_the_kernel_and_the_line(library, monkeypatch, name):
    monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", "0")
    error, _ = run_case(library, name, wrong=True)
    if name != "read_by_the_host":
        assert re.match(rf"host model: kernel {name} \(MAGNET_CUDA_HOST_SEED=0, launch \d+\)", error)
        assert re.search(r"block \d+, thread \d+ \(warp \d+, lane \d+\)", error)
    lines = (SELF_TEST / "mistakes.cu").read_text().splitlines()
    blamed = [lines[int(line) - 1] for line in re.findall(r"at tests/cuda_host/self_test/mistakes\.cu:(\d+)", error)]
    assert blamed, error
    assert all(line.endswith("// wrong") for line in blamed), (error, blamed)


def test_mistakes_leave_nothing_behind(library):
    for seed in range(3):
        for name in MISTAKES:
            assert run_case(library, name, wrong=True)[0] is not None
            values = np.arange(1000, dtype=np.uint32) + seed
            np.testing.assert_array_equal(scan(library, values)[0], np.cumsum(values) - values)


def test_an_exception_of_a_kernel_arrives(library):
    for _ in range(3):
        assert call(library.throws_of) == "from a kernel"


def test_threads_of_the_host_take_turns(library):
    values = np.arange(3000, dtype=np.uint32)

    def work(i: int) -> None:
        for _ in range(20):
            np.testing.assert_array_equal(scan(library, values)[0], np.cumsum(values) - values)
            name = [*MISTAKES][i]
            assert re.search(MISTAKES[name], run_case(library, name, wrong=True)[0])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


SNIPPETS = {
    "float x = s[0]; x += s[1]; s[0] = x; g[0] = s[1]": None,
    "g[0] = static_cast<float>(s[0]) + (i > 0 ? c[0] : 0)": None,
    "s[1] = i > 0 ? s[0] : 0.0f": None,
    "auto x = s[0]; s[1] = x": "passing .* as .this. argument|use of deleted function|no match",
    "s[1] = i > 0 ? s[0] : 0": r"operands to .\?:. have different types",
    "float* p = g": "cannot convert",
    "c[0] = 1": "lvalue required|not assignable",
}


@pytest.mark.parametrize("code", SNIPPETS)
def test_what_compiles(library, tmp_path, code):
    source = tmp_path / "snippet.cu"
    source.write_text(
        "#include <cuda/device.cuh>\n"
        "void f(magnet::Shared<float> s, magnet::Global<float> g, magnet::Global<const float> c, int i) {\n"
        f"  {code};\n  static_cast<void>(g); static_cast<void>(c); static_cast<void>(i);\n}}\n"
    )
    includes = [f"-I{build.HERE / 'include'}", f"-I{build.ROOT / 'csrc'}"]
    command = [*build.compiler(), *build.CXX_FLAGS, *includes, "-Wno-unused", "-x", "c++", "-fsyntax-only", str(source)]
    result = subprocess.run(command, capture_output=True, text=True)
    if SNIPPETS[code] is None:
        assert result.returncode == 0, result.stderr
    else:
        assert result.returncode != 0
        assert re.search(rf"snippet\.cu:3:.*error: .*({SNIPPETS[code]})", result.stderr), result.stderr


# --- what the operations give


def call(function, *arguments) -> str | None:
    """Arrays are passed by address. The error, if any."""
    function.restype = ctypes.c_char_p
    passed = [a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments]
    error = function(*passed)
    return None if error is None else error.decode()


def lanes_of(mask: int) -> list[int]:
    return [lane for lane in range(32) if mask >> lane & 1]


MASKS = [0xFFFFFFFF, 0x0000FFFF, 0xFF00FF00, 0x80000001, 0x00000010]


def shuffle_source(kind: int, lane: int, by: int, width: int) -> int:
    """As PTX describes shfl, in CUDA's terms."""
    segment = lane // width * width
    if kind == 0:
        return segment + by % width
    source = [0, lane - by, lane + by, lane ^ by][kind]
    if (kind == 1 and source < segment) or (kind in (2, 3) and source >= segment + width):
        return lane
    return source


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_shuffles(library, kind, dtype):
    random = np.random.default_rng(kind)
    function = getattr(library, f"shuffle_{dtype.replace('float32', 'float').replace('float64', 'double')}")
    for width in (1, 2, 8, 16, 32):
        for repeat in range(8):
            by = random.integers(0, 32, 32) if kind == 0 or repeat % 2 else np.full(32, random.integers(0, 32))
            by = by.astype(np.int32)
            bits = random.integers(0, 2**63, 32, dtype=np.uint64) * 2 + 1
            values = bits.astype(dtype) if "int" in dtype else random.standard_normal(32).astype(dtype)
            out = np.zeros(32, dtype)
            assert call(function, kind, ctypes.c_uint(0xFFFFFFFF), width, by, values, out) is None
            expected = [values[shuffle_source(kind, lane, int(by[lane]), width)] for lane in range(32)]
            np.testing.assert_array_equal(out, np.array(expected, dtype))


@pytest.mark.parametrize("mask", MASKS)
def test_shuffles_of_some_lanes(library, mask):
    values, out = np.arange(32, dtype=np.int32) + 100, np.zeros(32, np.int32)
    lanes = lanes_of(mask)
    by = np.array([lanes[(lane * 5) % len(lanes)] for lane in range(32)], np.int32)
    assert call(library.shuffle_int32, 0, ctypes.c_uint(mask), 32, by, values, out) is None
    expected = [values[by[lane]] if lane in lanes else 0 for lane in range(32)]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("mask", MASKS)
def test_votes_and_reductions(library, mask):
    random = np.random.default_rng(mask)
    lanes = lanes_of(mask)
    for high in (2, 8, 2**32):
        for _ in range(5):
            values = random.integers(0, high, 32, dtype=np.uint64).astype(np.uint32)
            if random.integers(2):
                values |= 4
            out = np.zeros((14, 32), np.uint32)
            assert call(library.votes_of, ctypes.c_uint(mask), values, out) is None
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


@pytest.mark.parametrize("threads", [32, 96, 1024])
def test_barriers_join_predicates(library, threads):
    random = np.random.default_rng(threads)
    for share in (0, 0.5, 1):
        values = np.where(random.random(threads) < share, random.integers(1, 9, threads), 0).astype(np.int32)
        out = np.zeros((threads, 3), np.int32)
        assert call(library.join_of, threads, values, out) is None
        expected = [values.any(), values.all(), np.count_nonzero(values)]
        np.testing.assert_array_equal(out, np.tile(np.array(expected, np.int32), (threads, 1)))


@pytest.mark.parametrize("elements", [1, 127, 5000])
def test_atomics(library, elements):
    values = np.random.default_rng(elements).integers(0, 2**31, elements).astype(np.uint32)
    bins, total = np.zeros(64, np.uint32), np.zeros(1, np.uint64)
    bits, first = np.zeros(1, np.uint32), np.full(1, 0xFFFFFFFF, np.uint32)
    assert call(library.count_of, values, ctypes.c_int64(elements), bins, total, bits, first) is None
    np.testing.assert_array_equal(bins, np.bincount(values % 64, minlength=64))
    assert total[0] == values.sum(dtype=np.uint64)
    assert bits[0] == np.bitwise_or.reduce(values)
    assert first[0] in values


def scan(library: ctypes.CDLL, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Exclusive prefix sums by decoupled look-back, and how often a block had to wait."""
    out, tiles = np.zeros(len(values), np.uint64), np.zeros((len(values) + 63) // 64, np.uint64)
    waits = np.zeros(1, np.uint32)
    assert call(library.scan_of, values, ctypes.c_int64(len(values)), tiles, out, waits) is None
    return out, int(waits[0])


def test_look_back_waits_and_works(library, monkeypatch):
    waits = 0
    for seed in range(20):
        monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", str(seed))
        values = np.random.default_rng(seed).integers(0, 2**32, 64 * 40 + seed, dtype=np.uint64).astype(np.uint32)
        out, waited = scan(library, values)
        wide = values.astype(np.uint64)
        np.testing.assert_array_equal(out, np.cumsum(wide) - wide)
        waits += waited
    assert waits > 20


def test_pointers(library):
    pairs = b"".join(struct.pack("<fxxxxq", lane / 2, lane) for lane in range(32))
    out = np.zeros(32)
    assert call(library.pointers_of, np.frombuffer(pairs, np.uint8), out) is None
    np.testing.assert_array_equal(out, np.full(32, sum(1.5 * lane for lane in range(32)) - 1))


# --- the order of threads and blocks


def order(library: ctypes.CDLL, blocks: int, threads: int) -> np.ndarray:
    out = np.zeros(blocks * threads, np.uint32)
    assert call(library.order_of, ctypes.c_int64(blocks), threads, out) is None
    return out


def test_the_order_is_the_seeds(library, monkeypatch):
    def orders(seed: str) -> list[bytes]:
        monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", "99")
        order(library, 1, 32)  # a change of the seed starts anew
        monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", seed)
        return [order(library, 7, 64).tobytes() for _ in range(4)]

    first = orders("5")
    assert len({*first}) == 4
    assert orders("5") == first
    assert orders("6") != first


def test_blocks_start_in_any_order_and_interleave(library, monkeypatch):
    monkeypatch.setenv("MAGNET_CUDA_HOST_SEED", "1042")
    early = {int(order(library, 8, 32).argmin()) // 32 for _ in range(100)}
    assert len(early) == 8
    interleaved = 0
    for _ in range(20):
        blocks = order(library, 8, 128).argsort() // 128
        interleaved += int((np.diff(blocks) != 0).sum() > 7)
    assert 0 < interleaved < 20  # sometimes blocks run one after another, too


def test_every_thread_runs_once(library):
    for blocks, threads in ((1, 32), (1, 1024), (33, 96), (1000, 32)):
        np.testing.assert_array_equal(np.sort(order(library, blocks, threads)), np.arange(blocks * threads))


def test_few_multiprocessors(library):
    assert library.multiprocessors_of() == 3


# --- numbers

HALVES = np.arange(65536, dtype=np.uint16)
DTYPES = {"half": torch.float16, "bfloat16": torch.bfloat16}


def bits_of(x: torch.Tensor) -> np.ndarray:
    return x.view(torch.int16).numpy().view(np.uint16)


@pytest.mark.parametrize("name", DTYPES)
def test_widens_as_torch_does(library, name):
    out = np.zeros(65536, np.float32)
    call(getattr(library, f"widen_{name}"), HALVES, out, ctypes.c_int64(65536))
    expected = torch.from_numpy(HALVES.view(np.int16)).view(DTYPES[name]).float().numpy()
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(out.view(np.uint32)[number], expected.view(np.uint32)[number])
    assert np.isnan(out[~number]).all()


@pytest.mark.parametrize("name", DTYPES)
def test_narrows_as_torch_does(library, name):
    random = np.random.default_rng(0)
    every = torch.from_numpy(HALVES.view(np.int16)).view(DTYPES[name]).float().numpy().view(np.uint32)
    steps = np.array([-1, 1, 0x1000, 0xFFF, 0x1001, 0x8000, 0x7FFF, 0x8001], np.int64)
    near = ((every[:, None].astype(np.int64) + steps) % 2**32).astype(np.uint32).ravel()  # and halfway to the next
    floats = np.concatenate([every, near, random.integers(0, 2**32, 10**6, dtype=np.uint64).astype(np.uint32)])
    values = floats.view(np.float32)
    out = np.zeros(len(values), np.uint16)
    call(getattr(library, f"narrow_{name}"), values, out, ctypes.c_int64(len(values)))
    expected = bits_of(torch.from_numpy(values).to(DTYPES[name]))
    number = ~np.isnan(values)
    np.testing.assert_array_equal(out[number], expected[number])
    assert (out[~number] == 0x7FFF).all()  # the one NaN that PTX makes


def float_function(library: ctypes.CDLL, name: str):
    function = getattr(library, name)
    function.restype = ctypes.c_float
    return lambda *arguments: function(*(ctypes.c_float(a) for a in arguments))


def test_float_functions(library):
    nan, inf = math.nan, math.inf
    max_nan, least, most = (float_function(library, name) for name in ("max_nan_of", "min_float", "max_float"))
    assert max_nan(1, 2) == 2 and max_nan(-inf, 3) == 3 and math.copysign(1, max_nan(-0.0, 0.0)) == 1
    assert math.isnan(max_nan(nan, 2)) and math.isnan(max_nan(2, nan))
    assert least(nan, 2) == 2 and most(2, nan) == 2 and least(1, 2) == 1 and most(1, 2) == 2
    exp2, reciprocal = float_function(library, "exp2_fast_of"), float_function(library, "reciprocal_fast_of")
    for x in (0, 1, -1, 0.3, -7.7, 100.25, -125.5, -126):
        assert exp2(x) == pytest.approx(2**x, rel=3e-7)
    assert exp2(-127) == exp2(-1000) == exp2(-inf) == 0 and exp2(inf) == exp2(200) == inf and math.isnan(exp2(nan))
    assert reciprocal(3) == np.float32(1) / np.float32(3) and reciprocal(0) == inf and reciprocal(inf) == 0


def test_integer_functions(library):
    library.min_mixed.restype = ctypes.c_int64
    assert library.min_mixed(-1, 7) == 7  # as unsigned, as in CUDA
    assert library.max_signed(-1, -7) == -1
    random = np.random.default_rng(1)
    words = [0, 1, 2**31, 2**32, 2**63, 2**64 - 1, 0xFFFFFFFF, 0xFFFFFFFF << 32]
    words += [int(x) >> int(s) for x, s in zip(random.integers(0, 2**63, 50), random.integers(0, 63, 50), strict=True)]
    for x in words:
        for shift in (0, 1, 17, 31, 32, 33, 63):
            out = np.zeros(14, np.uint64)
            library.integers(ctypes.c_uint64(x), ctypes.c_uint32(shift), out.ctypes.data_as(ctypes.c_void_p))
            low, high = x % 2**32, x >> 32
            s, c = shift % 32, min(shift, 32)
            expected = [
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
            ]
            assert out.tolist() == expected, (x, shift)


# --- the two device.cuh and the build


def names_in(path: Path) -> set[str]:
    """What a device.cuh declares for kernels: functions, types, macros."""
    text = re.sub(r"//.*", "", path.read_text())
    functions = re.findall(r"^(?:MAGNET_DEVICE |inline |template <> )?[\w:<>, ]+?[ >](\w+)\([^;]*?\) ?\{", text, re.M)
    macros = re.findall(r"^#define (\w+)", text, re.M)
    types = re.findall(r"^(?:using|struct(?: alignas\(.*?\))?) (\w+)", text, re.M)
    return {*functions, *macros, *types}


def test_the_model_has_what_the_device_has():
    device = names_in(build.ROOT / "csrc/cuda/device.cuh") - {"Word", "WordOf", "check_cuda"}
    model = names_in(build.HERE / "include/cuda/device.cuh") | {"multiprocessors"}
    assert {"load", "store_once", "atomic_add", "back_off", "max_nan", "launch", "Pack", "Global"} <= device
    assert device <= model, device - model


@pytest.fixture
def small_sources(tmp_path, monkeypatch) -> Path:
    """A folder of sources in the place of the self-test's."""
    monkeypatch.setattr(build, "HERE", tmp_path)
    folder = tmp_path / "self_test"
    folder.mkdir()
    (folder / "one.h").write_text("constexpr int kOne = 1;\n")
    (folder / "a.cu").write_text('#include "one.h"\nint a() { return kOne; }\n')
    (folder / "b.cu").write_text("int b() { return 2; }\n")
    return folder


def test_builds_only_what_changed(small_sources, tmp_path):
    def built() -> dict[str, int]:
        library = build.build_self_test(tmp_path / "out")
        return {path.name: path.stat().st_mtime_ns for path in (library, *(tmp_path / "out/objects").glob("*.o"))}

    first = built()
    assert len(first) == 3
    assert built() == first
    (small_sources / "one.h").write_text("constexpr int kOne = 11;\n")
    second = built()
    assert {name for name in first if second[name] != first[name]} == {"libself_test.so", "self_test-a.cu.o"}
    (small_sources / "a.cu").unlink()
    built()
    (small_sources / "c.cu").write_text("int c() { return 3; }\n")
    assert {"self_test-b.cu.o", "self_test-c.cu.o"} <= built().keys()


def test_builds_at_the_same_time(small_sources, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        libraries = list(pool.map(lambda _: build.build_self_test(tmp_path / "out"), range(4)))
    assert len({*libraries}) == 1
    ctypes.CDLL(str(libraries[0]))


def test_a_failing_build_gives_the_compilers_message(small_sources, tmp_path):
    (small_sources / "broken.cu").write_text("int f() { return undeclared; }\n")
    with pytest.raises(build.BuildError, match=r"broken\.cu:1:\d+: error: .*undeclared"):
        build.build_self_test(tmp_path / "out")


def test_no_compiler_is_told(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.NoCompiler, match="C\\+\\+ compiler"):
        build.build_self_test()
