"""The emulator on PTX written here: single instructions, lanes that part and meet, order in memory, what it refuses."""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
import pytest
from ptx import emulator, program
from ptx.self_test import SEEDS

pytestmark = pytest.mark.ptx

HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"
# Thread %r2 of block %r3 of %r4 threads, %r5 in all, has its 64-bit words at %rd4 (given) and %rd5 (to write).
PROLOGUE = """
  .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<40>; .reg .f32 %f<20>; .reg .b64 %rd<20>; .reg .f64 %fd<9>;
  ld.param.u64 %rd1, [k_param_0]; ld.param.u64 %rd2, [k_param_1]; ld.param.u32 %r1, [k_param_2];
  mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mad.lo.s32 %r5, %r3, %r4, %r2;
  mul.wide.s32 %rd3, %r5, 8; add.s64 %rd4, %rd1, %rd3; add.s64 %rd5, %rd2, %rd3;
"""
LOAD = "ld.global.u32 %r10, [%rd4]; ld.global.u32 %r11, [%rd4+4];"
STORE = "st.global.u32 [%rd5], %r12;"
BUFFER = ".shared .align 4 .b8 buffer[512];"


def run(
    body: str,
    given: Any = (),
    *,
    blocks: int = 1,
    threads: int = 32,
    shared: int = 0,
    declare: str = "",
    value: int = 0,
    **options: int,
) -> list[int]:
    """The 64-bit words that a kernel writes. Raises Fault."""
    parameters = ".param .u64 k_param_0, .param .u64 k_param_1, .param .u32 k_param_2"
    text = f"{HEAD}{declare}\n.visible .entry k({parameters})\n{{{PROLOGUE}{body}\n  ret;\n}}\n"
    kernel, handle = emulator.Module(text).kernel("k")
    words = np.zeros(blocks * threads, dtype=np.uint64)
    words[: len(given)] = given
    out = np.zeros_like(words)
    for array in (words, out):
        emulator.LIBRARY.emulator_register(array.ctypes.data, array.nbytes)
    try:
        params = emulator.pack(kernel, (words.ctypes.data, out.ctypes.data, value), "QQI")
        settings = emulator.Options(races=2, most_steps=1_000_000, most_pauses=10_000, **options)
        emulator.launch(handle, (blocks,), (threads,), shared, params, settings)
    finally:
        for array in (words, out):
            emulator.LIBRARY.emulator_forget(array.ctypes.data)
    return out.tolist()


def faults(pattern: str, body: str, **given: Any) -> None:
    for seed in SEEDS:
        with pytest.raises(emulator.Fault) as caught:
            run(body, seed=seed, **given)
        assert re.search(pattern, str(caught.value)), (seed, str(caught.value))


def bits(*values: float) -> list[int]:
    return [struct.unpack("<I", struct.pack("<f", value))[0] for value in values]


# --- single instructions that nvcc makes seldom, or Triton alone

NAN = 0x7FC00001
ONE, TWO, MINUS_0, INFINITE = bits(1.0, 2.0, -0.0, float("inf"))
BINARY = [
    ("add.s32", [(2**31 - 1, 1), (-1, 1)], [2**31, 0]),
    ("add.s16x2", [(0x0001FFFF, 0xFFFF0002)], [1]),
    ("mul.hi.u32", [(2**31, 4)], [2]),
    ("mul.hi.s32", [(-1, 1), (2**31 - 1, -4)], [2**32 - 1, 2**32 - 2]),
    ("div.s32", [(-7, 2), (7, -2)], [2**32 - 3, 2**32 - 3]),
    ("rem.s32", [(-7, 2)], [2**32 - 1]),
    ("shl.b32", [(1, 31), (1, 32), (1, 1000)], [2**31, 0, 0]),
    ("shr.s32", [(-8, 1), (-8, 40)], [2**32 - 4, 2**32 - 1]),
    ("shr.u32", [(2**31, 31), (5, 32)], [1, 0]),
    ("min.s32", [(-1, 1)], [2**32 - 1]),
    ("max.u32", [(-1, 1)], [2**32 - 1]),
    ("max.relu.s32", [(-5, -1), (-5, 3)], [0, 3]),
    ("max.f32", [(NAN, ONE), (MINUS_0, 0), (NAN, NAN)], [ONE, 0, 0x7FFFFFFF]),
    ("min.f32", [(ONE, NAN), (0, MINUS_0)], [ONE, MINUS_0]),
    ("max.NaN.f32", [(NAN, ONE), (ONE, TWO)], [0x7FFFFFFF, TWO]),
    ("sub.rn.f32", [(INFINITE, INFINITE)], [0x7FFFFFFF]),
    ("max.f16x2", [(0x3C007E01, 0x40003C00)], [0x40003C00]),
    ("max.NaN.bf16x2", [(0x3F80FFC1, 0x40003F80)], [0x40007FFF]),
]


@pytest.mark.parametrize(("form", "pairs", "expected"), BINARY)
def test_instructions_of_two(form, pairs, expected):
    given = [a & 0xFFFFFFFF | (b & 0xFFFFFFFF) << 32 for a, b in pairs]
    assert run(f"{LOAD} {form} %r12, %r10, %r11; {STORE}", given)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("text", "given", "expected"),
    [
        ("bfe.u32 %r12, %r10, 4, 8", 0xABCD, 0xBC),
        ("bfe.s32 %r12, %r10, 4, 4", 0xF0, 2**32 - 1),
        ("bfi.b32 %r12, %r10, 0, 8, 4", 0xFF, 0xF00),
        ("prmt.b32 %r12, %r10, 0, 0x0123", 0x03020100, 0x00010203),
        ("prmt.b32 %r12, %r10, 0, 0x8", 0x80, 0x808080FF),
        ("bfind.u32 %r12, %r10", 2**31, 31),
        ("bfind.shiftamt.u32 %r12, %r10", 1, 31),
        ("bfind.u32 %r12, %r10", 0, 2**32 - 1),
        ("shf.l.wrap.b32 %r12, %r10, 1, 4", 0xF0000000, 0x1F),
        ("selp.b32 %r12, 5, 6, %p1", 0, 6),
    ],
)
def test_instructions(text, given, expected):
    assert run(f"{LOAD} setp.ne.u32 %p1, %r10, %r10; {text}; {STORE}", [given])[0] == expected


def test_narrow_registers_are_extended():
    text = "ld.global.s8 %r12, [%rd4]; ld.global.u8 %rs1, [%rd4]; cvt.u32.u16 %r13, %rs1; st.global.u32 [%rd5+4], %r13;"
    assert run(f"{text} {STORE}", [0xFF])[0] == 0xFF << 32 | 0xFFFFFFFF


# --- warps


def test_shuffles_with_predicates():
    lane = np.arange(32)
    shuffles = {
        "bfly %r12|%p1, %r2, 1, 31": lane ^ 1,
        "up %r12|%p1, %r2, 1, 0": np.maximum(lane - 1, 0),
        "down %r12|%p1, %r2, 3, 31": np.where(lane + 3 < 32, lane + 3, lane),
        "idx %r12|%p1, %r2, 5, 6175": lane // 8 * 8 + 5,  # in segments of 8
    }
    for text, expected in shuffles.items():
        kind, rest = text.split(" ", 1)
        assert run(f"shfl.sync.{kind}.b32 {rest}, -1; {STORE}") == expected.tolist(), text
    inside = f"shfl.sync.up.b32 %r13|%p1, %r2, 1, 0, -1; selp.u32 %r12, 1, 0, %p1; {STORE}"
    assert run(inside) == [0] + [1] * 31


@pytest.mark.parametrize("seed", SEEDS)
def test_lanes_that_part_and_meet(seed):
    options = {"seed": seed, "divergence": 200}
    lane = np.arange(32)
    parted = f"""
      setp.lt.u32 %p1, %r2, 10; @%p1 bra L1; vote.sync.ballot.b32 %r12, %p1, -1; bra L2;
      L1: vote.sync.ballot.b32 %r12, %p1, -1;
      L2: {STORE}"""
    assert run(parted, **options) == [1023] * 32
    half = f"""
      and.b32 %r20, %r2, 1; setp.eq.u32 %p1, %r20, 1; mov.u32 %r12, 7; @!%p1 bra L1;
      redux.sync.add.s32 %r12, %r2, 0xAAAAAAAA;
      L1: {STORE}"""
    assert run(half, **options) == [7, 256] * 16
    loop = f"""
      mov.u32 %r12, 0; mov.u32 %r13, 0;
      L1: add.s32 %r12, %r12, %r13; add.s32 %r13, %r13, 1; setp.le.u32 %p1, %r13, %r2; @%p1 bra L1;
      shfl.sync.idx.b32 %r14, %r12, 31, 31, -1; add.s32 %r12, %r12, %r14; {STORE}"""
    assert run(loop, **options) == (lane * (lane + 1) // 2 + 496).tolist()
    guarded = f"""
      setp.lt.u32 %p1, %r2, 4; mov.u32 %r12, 1; @%p1 mov.u32 %r12, 2; @!%p1 bra L1; mov.u32 %r12, 3;
      L1: {STORE}"""
    assert run(guarded, **options) == [3] * 4 + [1] * 28


def test_registers_that_are_one_keep_their_values():
    """What is written where a guard holds, in a loop or on one way of two keeps the value of the other."""
    body = f"""
      mov.u32 %r20, 100; add.u32 %r21, %r2, 1; setp.lt.u32 %p1, %r2, 16;
      @%p1 add.u32 %r20, %r21, 7;
      mov.u32 %r22, 0; mov.u32 %r23, 0;
      L1: add.u32 %r24, %r22, %r20; mov.u32 %r22, %r24; add.u32 %r25, %r23, 1; mov.u32 %r23, %r25;
      setp.lt.u32 %p2, %r23, 3; @%p2 bra L1;
      @%p1 bra L2; add.u32 %r26, %r22, 1; mov.u32 %r27, %r26; bra L3;
      L2: add.u32 %r28, %r22, 2; mov.u32 %r27, %r28;
      L3: add.u32 %r12, %r27, %r2; {STORE}"""
    expected = [3 * (lane + 8) + 2 + lane if lane < 16 else 301 + lane for lane in range(32)]
    for seed in SEEDS:
        assert run(body, seed=seed, divergence=128) == expected


def test_matrices():
    """Matrices of 8 rows of 16 bytes: what stmatrix writes to shared memory ldmatrix reads."""
    body = """
      shl.b32 %r20, %r2, 4; mov.u32 %r21, buffer; add.s32 %r21, %r21, %r20;
      mul.lo.s32 %r22, %r2, 3; mul.lo.s32 %r23, %r2, 5; mul.lo.s32 %r24, %r2, 7;
      stmatrix.sync.aligned.m8n8.x4.shared.b16 [%r21], {%r2, %r22, %r23, %r24}; bar.sync 0;
      ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r25, %r26, %r27, %r28}, [%r21];
      ld.shared.u32 %r29, [%r21]; add.s32 %r30, %r25, %r26; add.s32 %r30, %r30, %r28; st.global.u32 [%rd5], %r30;"""
    assert run(body, declare=".shared .align 16 .b8 buffer[512];") == [11 * lane for lane in range(32)]


# --- blocks and memory

TURN = f"""
  shl.b32 %r20, %r2, 2; mov.u32 %r21, buffer; add.s32 %r22, %r21, %r20; st.shared.u32 [%r22], %r5; bar.sync 0;
  sub.s32 %r23, %r4, %r2; add.s32 %r23, %r23, -1; shl.b32 %r23, %r23, 2; add.s32 %r23, %r21, %r23;
  ld.shared.u32 %r12, [%r23]; {STORE}"""
# A block waits for the one before it, by ticket.
CHAIN = """
  setp.ne.u32 %p1, %r2, 0; @%p1 bra L3; atom.global.add.u32 %r12, [%rd1+240], 1; setp.eq.u32 %p2, %r12, 0;
  mul.wide.u32 %rd8, %r12, 8; add.s64 %rd8, %rd2, %rd8; mov.u64 %rd9, 0; @%p2 bra L2;
  L1: ld.acquire.gpu.global.u64 %rd9, [%rd8+-8]; setp.eq.s64 %p3, %rd9, 0; @%p3 bra L1;
  L2: add.s64 %rd9, %rd9, 3; st.release.gpu.global.u64 [%rd8], %rd9;
  L3: """


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks(seed):
    turned = [b * 128 + 127 - t for b in range(3) for t in range(128)]
    assert run(TURN, blocks=3, threads=128, declare=BUFFER, seed=seed) == turned
    assert run(CHAIN, blocks=20, seed=seed, resident=3)[:20] == [3 * (i + 1) for i in range(20)]


def test_dynamic_shared_memory():
    declare = ".extern .shared .align 16 .b8 buffer[];"
    for bytes_ in (512, 227 << 10):
        assert run(TURN, threads=128, shared=bytes_, declare=declare) == [127 - t for t in range(128)]
    faults(r"byte 508 of buffer \(508 bytes\)", TURN, threads=128, shared=508, declare=declare)
    faults("232449 bytes of shared memory", TURN, threads=128, shared=232449, declare=declare)


@pytest.mark.parametrize("store", ["st.global.u16 [%rd5+{}], %rs1", "st.global.u8 [%rd5+{}], %rs1"])
def test_parts_of_a_word_have_no_race(store):
    """Neighbours that share a word of the records; then the word as a whole."""
    body = (
        f"shr.u32 %r20, %r2, 1; and.b32 %r21, %r2, 1; mul.wide.u32 %rd6, %r20, 8; add.s64 %rd5, %rd2, %rd6; "
        f"cvt.u16.u32 %rs1, %r2; setp.eq.u32 %p1, %r21, 0; @%p1 bra L1; {store.format(2)}; bra L2; "
        f"L1: {store.format(0)}; L2: bar.sync 0; ld.global.u32 %r12, [%rd5]; bar.sync 0; add.u32 %r12, %r12, 1; "
        "@%p1 st.global.u32 [%rd5], %r12;"
    )
    for seed in SEEDS:
        assert run(body, seed=seed)[:16] == [(2 * k | (2 * k + 1) << 16) + 1 for k in range(16)]
    faults("race: (read|write) of", body.replace("bar.sync 0;", "", 1))


def test_what_is_loaded_beside_what_is_needed_is_not_read():
    """Three elements that were written, in a vector of four."""
    body = f"""
      mov.u32 %r21, buffer; setp.ge.u32 %p1, %r2, 3; shl.b32 %r20, %r2, 2; add.s32 %r20, %r21, %r20;
      @%p1 bra L1; st.shared.u32 [%r20], %r2; L1: bar.sync 0;
      ld.shared.v4.u32 {{%r24, %r25, %r26, %r27}}, [%r21]; bar.sync 0;
      add.u32 %r12, %r24, %r25; add.u32 %r12, %r12, %r26; {STORE}"""
    declare = ".shared .align 16 .b8 buffer[512];"
    assert run(body, declare=declare) == [3] * 32
    faults("read of byte 12 of .*never written", body.replace("%r12, %r26;", "%r12, %r27;"), declare=declare)
    # A race of the fourth is none either.
    racing = body.replace("bar.sync 0;\n      add", "@!%p1 bra L2; st.shared.u32 [%r21+12], 5; L2: add")
    assert "L2" in racing
    faults(
        "race: write of byte 12",
        racing.replace("%r12, %r26;", "%r12, %r27;").replace("%r2, 3;", "%r2, 4;", 1),
        declare=declare,
    )


MISTAKES = {
    "out of bounds: .* bytes past the end": "st.global.u32 [%rd5+256], %r2;",
    "a null pointer": "mov.u64 %rd9, 0; ld.global.u32 %r9, [%rd9];",
    "misaligned global access of 8": "st.global.u64 [%rd5+4], %rd1;",
    "misaligned global access of 16": "ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%rd4+8];",
    "parameter out of bounds": "ld.param.u64 %rd9, [k_param_2];",
    "lacks the lane": "vote.sync.ballot.b32 %r12, %p1, 0xFFFF;",
    "does not take part": """setp.ge.u32 %p1, %r2, 16; @%p1 bra L1;
                             shfl.sync.idx.b32 %r12, %r2, 20, 31, 0xFFFF; L1:""",
    "deadlock": """setp.ge.u32 %p1, %r2, 16; @%p1 bra L1;
                   vote.sync.ballot.b32 %r12, %p1, -1; bra L2; L1: bar.sync 0; L2:""",
    "other lanes of this warp wait": """setp.ge.u32 %p1, %r2, 16; @%p1 bra L1;
                                        bar.sync 0; bra L2; L1: bar.sync 0; L2:""",
    "race: write .* wrote": "st.global.u32 [%rd2], %r5;",
    "race: (read .* wrote|write .* read)": "st.global.u32 [%rd5], %r5; ld.global.u32 %r9, [%rd2+8];",
    "race: (read .* wrote|atomic .* read)": "ld.global.u32 %r9, [%rd2]; red.global.add.u32 [%rd2], 1;",
    "a barrier other than 0": "bar.sync 1;",
    "endless: more than": "L1: bra L1;",
    "endless: this warp has asked or waited": "L1: nanosleep.u32 20; bra L1;",
}


@pytest.mark.parametrize("pattern", MISTAKES)
def test_mistakes(pattern):
    faults(pattern, MISTAKES[pattern])


def test_mistakes_in_shared_memory():
    faults("race: (read|write) of|never written", TURN.replace("bar.sync 0;", ""), threads=128, declare=BUFFER)
    faults("never written", TURN.replace("st.shared.u32 [%r22], %r5;", ""), threads=128, declare=BUFFER)
    faults("shared access of 4 bytes: the kernel has no shared variable", "st.shared.u32 [%r2+4], %r2;", declare=BUFFER)
    beside = "mov.u32 %r21, buffer; mov.u32 %r22, more; st.shared.u32 [%r21+512], %r2; st.shared.u32 [%r22], 1;"
    more = f"{BUFFER}\n.shared .align 4 .b8 more[64];"
    faults(r"byte 512 of buffer \(512 bytes\), byte", beside, declare=more)


def test_blocks_that_wait_by_their_index():
    by_index = CHAIN.replace("setp.eq.u32 %p2, %r12, 0", "mov.u32 %r12, %r3; setp.eq.u32 %p2, %r12, 0")
    faults("endless: this warp has asked or waited", by_index, blocks=20, resident=1)


# --- what is refused


def test_unknown_instructions_are_named():
    with pytest.raises(emulator.Fault, match=r"unknown instruction form sin\.approx\.f32"):
        run("sin.approx.f32 %f1, %f2;")
    with pytest.raises(emulator.Fault, match=r"add\.s32 with 2 operands, PTX line \d+"):
        run("add.s32 %r9, %r10;")


@pytest.mark.parametrize(
    ("body", "declare", "error"),
    [
        ("call f, (%r1);", "", "call f"),
        (".local .b8 stack[16];", "", "local"),
        ("mov.u32 %r9, %clock;", "", "operand '%clock'"),
        ("ld.global.u32 %r9, [%rd4+%rd5];", "", "address"),
        ("", ".global .align 4 .b8 table[16];", "not supported: .*global"),
        ("mov.u32 %r9, a; mov.u32 %r8, b;", ".shared .b8 a[4];\n.extern .shared .b8 b[];", "static and dynamic"),
    ],
)
def test_unknown_ptx_is_refused(body, declare, error):
    with pytest.raises(program.PtxError, match=error):
        run(body, declare=declare)


def test_source_lines_say_what_was_inlined_where():
    text = f"""{HEAD}
.visible .entry k(.param .u64 k_param_0)
{{
  .reg .b64 %rd<3>;
  .loc 1 10 3
  ld.param.u64 %rd1, [k_param_0];
  .loc 2 77 5, function_name $L__info_string0, inlined_at 1 11 3
  ld.param.u64 %rd2, [k_param_0];
  ret;
}}
.file 1 "/somewhere/csrc/cuda/a.cu"
.file 2 "/usr/include/b.h"
"""
    kernel, _ = emulator.Module(text).kernel("k")
    places = [kernel.sources[row[8]] for row in kernel.code]
    assert places == ["csrc/cuda/a.cu:10", "csrc/cuda/a.cu:11 > b.h:77", "csrc/cuda/a.cu:11 > b.h:77"]


def test_parameters_must_fit():
    text = f"{HEAD}.visible .entry k(.param .u64 k_param_0)\n{{ ret; }}\n"
    kernel, _ = emulator.Module(text).kernel("k")
    with pytest.raises(emulator.Fault, match="4 bytes, the parameter 8"):
        emulator.pack(kernel, (1,), "I")
