"""That the emulator finds mistakes: kernels with one each, as nvcc compiles them, and the same without it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
from ptx import emulator
from ptx.self_test import FOLDER, SEEDS, Kernels

import build_nvcc

pytestmark = pytest.mark.ptx
FILES = ("mistakes_of_waiting.cu", "mistakes_of_memory.cu", "mistakes_of_order.cu")


class Mistake(NamedTuple):
    """What must be found, and how the kernel is launched."""

    error: str
    blocks: int = 1
    threads: int = 64
    # The arguments: o what the kernel writes to, n a null pointer, f flags of 64 bits, w words of 32 bits that are 0
    arguments: str = "o"
    kernel: str = ""  # where it is not the mistake's name
    wrong_threads: int = 0  # where the mistake is the launch
    right_blocks: int = 0  # where the right one has more


ENDED = r"ended while others of its block wait at|barrier: \d+ threads of the block have ended"
NOT_WRITTEN = "which was never written in this block"
ENDLESS = "endless: this warp has asked or waited"
PAST_THE_END = r"out of bounds: global access of {} bytes at 0x.*: \d+ bytes past the end of 256 bytes"

MISTAKES = {
    "two_barriers": Mistake("barrier: other lanes of this warp wait at"),
    "return_before_barrier": Mistake(ENDED),
    "barrier_in_a_loop": Mistake(ENDED),
    "other_barrier_operation": Mistake(
        "barrier: other(s of the block| lanes of this warp) wait at .* bar.red.(or|and)"
    ),
    "mask_without_the_lane": Mistake("the member mask 0xffff lacks the lane itself.* vote.sync.ballot"),
    "lanes_that_ended": Mistake("this lane ended while lanes 0xffff wait for it|names lanes that have ended"),
    "lane_at_a_barrier": Mistake("deadlock: .* lanes 0x8, at .* bar.sync.* for lanes 0xffffffff, at .* bar.warp.sync"),
    "different_operations": Mistake("deadlock: .* for lanes 0xffffffff, at .* vote.sync.(any|ballot)"),
    "different_masks": Mistake("ended while lanes 0xffff wait for it|names lanes that have ended"),
    "shuffle_from_outside": Mistake("shfl reads lane 9, which does not take part.* lane 2"),
    "shuffle_of_odd_width": Mistake("shuffle of width 24"),
    "lanes_wait_for_each_other": Mistake("deadlock: .* for lanes 0xaaaaaaab, at .* bar.warp.sync", threads=32),
    "write_past_the_end": Mistake(PAST_THE_END.format(4), blocks=2),
    "read_before_the_start": Mistake("out of bounds: global access of 4 bytes at .* 4 bytes before the start of 256"),
    "wide_past_the_end": Mistake(PAST_THE_END.format(16)),
    "wide_misaligned": Mistake("misaligned global access of 16 bytes"),
    "null_pointer": Mistake("global access of 4 bytes at 0x0: a null pointer", arguments="no"),
    "atomic_past_the_end": Mistake(PAST_THE_END.format(4)),
    "shared_past_the_end": Mistake(r"shared access of 4 bytes: .*byte 256 of values \(256 bytes\)"),
    "shared_read_before_the_start": Mistake(r"shared access of 4 bytes: byte -4 of values \(256 bytes\)"),
    "shared_wide_misaligned": Mistake("misaligned shared access of 16 bytes"),
    "shared_too_large": Mistake("shared variables make 49156 bytes"),
    "shared_not_written": Mistake(rf"read of byte 36 of shared variable values \(256 bytes\), {NOT_WRITTEN}"),
    "shared_of_another_block": Mistake(f"read of byte .* of shared variable values .*, {NOT_WRITTEN}", blocks=5),
    "counters_not_cleared": Mistake(f"atomic of byte 0 of shared variable counter .*, {NOT_WRITTEN}"),
    "read_before_barrier": Mistake("race: .* of shared variable values .*, which thread .* with no __sync"),
    "overwritten_while_read": Mistake("race: .* of shared variable value .*, which .* with no __sync"),
    "two_writers": Mistake(
        "race: write of byte 0 of shared variable value .* wrote at .* with no __syncthreads between"
    ),
    "neighbours_of_a_warp": Mistake("race: .* of shared variable values .* with no __syncwarp between"),
    "shuffle_orders_no_memory": Mistake("race: .* of shared variable values .* with no __syncwarp between"),
    "half_a_warp_ordered": Mistake("race: .* of shared variable values .* with no __syncwarp between"),
    "ordered_through_another_lane": Mistake(
        "race: .* of shared variable value .* with no __syncwarp between", threads=32
    ),
    "atomic_and_plain": Mistake("race: .* of shared variable counter .*, which .* with no __sync"),
    "plain_increment": Mistake("race: .* of shared variable counter .*, which .* with no __sync"),
    "global_race": Mistake("race: .* of 256 bytes of global memory, which .* with no __sync"),
    "race_of_blocks": Mistake("race: .* of 256 bytes of global memory, which .* with no acquire and release", blocks=2),
    "no_acquire": Mistake("race: .* of global memory, which .* with no acquire and release", blocks=2, arguments="fwo"),
    "neighbours_in_global_memory": Mistake(
        "race: .* of 256 bytes of global memory, which .* with no __syncwarp between"
    ),
    "waits_by_index": Mistake(ENDLESS, blocks=64, threads=32, arguments="fwo"),
    "waits_for_ever": Mistake(ENDLESS, blocks=3, threads=32, arguments="fo"),
    "asks_for_ever": Mistake(ENDLESS, threads=32, arguments="wwo"),
    "spins": Mistake(ENDLESS, threads=32, arguments="fo", right_blocks=2),
    "never_ends": Mistake("endless: more than 100000 instructions"),
    "part_of_a_warp": Mistake("blocks of 48 threads; expected whole warps", 2, kernel="fill", wrong_threads=48),
    "too_many_threads": Mistake("blocks of 1056 threads; expected .* 1024", 2, kernel="fill", wrong_threads=1056),
    "against_its_bounds": Mistake("blocks of 96 threads, against its", wrong_threads=96),
}

# What the kernel's author may call a mistake and PTX does not: it runs, and gives what the right one gives.
RIGHT_IN_PTX = {
    "two_barriers_of_warps": "bar.sync names a barrier by its number: warps may come to it at several places",
    "different_places": "shfl.sync names lanes and no place, and compilers make several places of one",
}
# read_by_the_host, the 42nd mistake of old, is none of a kernel: host code that follows a device pointer. Here device
# memory is the host's, so that nothing shows; on a GPU it ends the process.

NOT_OF_A_LINE = ("shared_too_large", "part_of_a_warp", "too_many_threads", "against_its_bounds")  # of a launch
ONE_WARP = [name for name, mistake in MISTAKES.items() if mistake.threads == 32 and name != "waits_by_index"]


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    try:
        return Kernels(*FILES)
    except build_nvcc.NvccError as error:
        pytest.skip(str(error))


def run(kernels: Kernels, name: str, wrong: bool, seed: int) -> list[int]:
    """The 64 words that the kernel may write. Raises Fault."""
    mistake = MISTAKES.get(name, Mistake(""))
    out, flags = np.zeros(64, np.uint32), np.zeros(64, np.uint64)
    words = [np.zeros(1, np.uint32), np.zeros(1, np.uint32)]
    arguments = [{"o": out, "n": None, "f": flags}[c] if c != "w" else words.pop() for c in mistake.arguments]
    threads = mistake.wrong_threads if wrong and mistake.wrong_threads else mistake.threads
    blocks = mistake.blocks if wrong or not mistake.right_blocks else mistake.right_blocks
    options = emulator.Options(seed=seed, races=2, most_pauses=2000, most_steps=100_000)
    kernel = f"{mistake.kernel or name}<Lb{int(wrong and not mistake.wrong_threads)}>"
    kernels.launch(kernel, blocks, threads, *arguments, options=options)
    return out.tolist()


def fault(kernels: Kernels, name: str, seed: int) -> str:
    with pytest.raises(emulator.Fault) as caught:
        run(kernels, name, wrong=True, seed=seed)
    return str(caught.value)


def is_right(name: str, out: list[int]) -> bool:
    used = 32 if name in ONE_WARP else 64
    return out == [i + 1 for i in range(used)] + [0] * (64 - used)


@pytest.mark.parametrize("name", MISTAKES)
def test_finds_a_mistake(kernels, name):
    for seed in SEEDS:
        error = fault(kernels, name, seed)
        assert re.search(MISTAKES[name].error, error), (seed, error)


@pytest.mark.parametrize("name", [*MISTAKES, *RIGHT_IN_PTX])
def test_passes_the_kernel_without_the_mistake(kernels, name):
    for seed in SEEDS:
        assert is_right(name, run(kernels, name, wrong=False, seed=seed)), seed


@pytest.mark.parametrize("name", RIGHT_IN_PTX)
def test_passes_what_is_no_mistake_in_ptx(kernels, name):
    for seed in SEEDS:
        assert is_right(name, run(kernels, name, wrong=True, seed=seed)), (seed, RIGHT_IN_PTX[name])


@pytest.mark.parametrize("name", [name for name in MISTAKES if name not in NOT_OF_A_LINE])
def test_names_the_kernel_and_the_line(kernels, name):
    error = fault(kernels, name, seed=0)
    kernel = rf"kernel magnet::cuda::{name}<true>, seed 0"
    assert re.search(kernel, error)
    assert error.startswith("deadlock") or re.search(
        rf"{kernel}, block \d+(, thread \d+)? \(warp \d+(, lane \d+)?\), at .*PTX line \d+: \w+", error
    )
    places = re.findall(r"at tests/ptx/self_test/(mistakes_of_\w+\.cu):(\d+)", error)
    blamed = [(FOLDER / file).read_text().splitlines()[int(line) - 1] for file, line in places]
    assert any(line.endswith("// wrong") for line in blamed), (error, blamed)


@pytest.mark.parametrize("name", NOT_OF_A_LINE)
def test_names_the_kernel_of_a_launch(kernels, name):
    assert re.match(rf"magnet::cuda::{MISTAKES[name].kernel or name}<(true|false)>: ", fault(kernels, name, seed=0))


def test_mistakes_leave_nothing_behind(kernels):
    for seed in SEEDS:
        for name in MISTAKES:
            fault(kernels, name, seed)
            assert is_right("global_race", run(kernels, "global_race", wrong=False, seed=seed)), name


def test_threads_of_the_host_take_turns(kernels):
    def work(i: int) -> None:
        name = [*MISTAKES][i]
        for seed in range(20):
            assert re.search(MISTAKES[name].error, fault(kernels, name, seed))
            assert is_right(name, run(kernels, name, wrong=False, seed=seed))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))


def test_the_values_of_several_writers_may_be_the_same_where_they_may(kernels):
    """Triton's layouts have several threads write one element: an option, for its kernels alone."""
    for seed in SEEDS:
        out = np.zeros(64, np.uint32)
        options = emulator.Options(seed=seed, races=2, same_values=1)
        kernels.launch("two_writers<Lb1>", 1, 64, out, options=options)
        assert is_right("two_writers", out.tolist())
