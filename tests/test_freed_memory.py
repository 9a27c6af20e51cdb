"""Commands on the CPU keep what they free, unless the user handles memory; what is measured next is not that."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from processes import environment

from magnet import devices
from magnet_kernels import _freed_memory
from magnet_kernels._freed_memory import keep_freed_memory, user_keeps

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")

FAULTS = """
import resource, torch
from magnet_kernels._freed_memory import keep_freed_memory
kept = keep_freed_memory()
torch.set_num_threads(1)
for step in range(24):
    if step == 12:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(40 << 20, dtype=torch.uint8) for _ in range(3)]
    del blocks
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


MEASURED = """
import magnet, torch
from magnet.evaluation.meter import peak_memory, reset_peak_memory
magnet.keep_freed_memory()
device = torch.device("cpu")
reset_peak_memory(device)
before = peak_memory(device)
blocks = [torch.ones(40 << 20, dtype=torch.uint8) for _ in range(8)]
highest = peak_memory(device)
held = torch.ones(40 << 20, dtype=torch.uint8)  # above them, so that the heap does not end below it
del blocks
reset_peak_memory(device)
print(before, highest, peak_memory(device))
"""

COMMAND = """
import sys
from PIL import Image
from magnet.cli.predict import main
from magnet_kernels import _freed_memory
before, image = _freed_memory._kept, sys.argv[1] + "/a.png"
Image.new("RGB", (64, 32)).save(image)
main(["--model", "scenes", "--n-patches", "0", "--out", sys.argv[1] + "/out", "--save", "labels", image])
print(before, _freed_memory._kept)
"""


def run(program: str, *arguments: str, **changes: str) -> list[str]:
    plain = {name: value for name, value in environment().items() if not user_keeps({name: value})}
    command = [sys.executable, "-P", "-c", program, *arguments]
    return subprocess.run(command, env={**plain, **changes}, capture_output=True, text=True, check=True).stdout.split()


def faults(**changes: str) -> tuple[bool, int]:
    kept, count = run(FAULTS, **changes)
    return kept == "True", int(count)


def test_steps_find_the_memory_of_the_last_one() -> None:
    kept, count = faults()
    assert kept
    asked, fresh = faults(MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")  # the user's word
    assert not asked
    assert fresh > 1000 and count < fresh / 4


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MALLOC_ARENA_MAX": "2", "MALLOC_CHECK_": "0", "GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "", "LD_PRELOAD": "", "GLIBC_TUNABLES": ""}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "65536"}, True),
        ({"MALLOC_MMAP_MAX_": "0"}, True),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, True),
        ({"MALLOC_TOP_PAD_": "0"}, True),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, True),
        ({"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F:glibc.malloc.mmap_max=0"}, True),
    ],
)
def test_what_the_user_says_of_other_things_is_no_word(variables: dict[str, str], said: bool) -> None:
    assert user_keeps(variables) is said
    if not said:
        assert faults(**variables)[0]


def test_other_devices_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: asked.append("cpu"))
    devices.keep_memory_on(torch.device("cuda"))
    assert not asked
    devices.keep_memory_on(torch.device("cpu"))
    assert asked == ["cpu"]


def test_what_is_kept_does_not_count_as_memory_of_what_is_measured_next() -> None:
    before, highest, after = map(float, run(MEASURED))
    assert highest > before + 300
    assert after < before + 60  # the block that is held, not the eight that were freed


def test_a_glibc_that_takes_no_high_threshold_has_no_blocks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def mallopt(what: int, value: int) -> int:
        asked.append((what, value))
        return int(what != _freed_memory._M_MMAP_THRESHOLD)

    for name, value in [*os.environ.items()]:
        if user_keeps({name: value}):
            monkeypatch.delenv(name)
    monkeypatch.setattr(_freed_memory, "_kept", False)
    monkeypatch.setattr(_freed_memory.ctypes, "CDLL", lambda path: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory()
    assert asked[1:] == [(_freed_memory._M_MMAP_MAX, 0), (_freed_memory._M_TRIM_THRESHOLD, -1)]


def test_predict_keeps_it(tmp_path: Path) -> None:
    assert run(COMMAND, str(tmp_path))[-2:] == ["False", "True"]
    (tmp_path / "again").mkdir()
    told = run(COMMAND, str(tmp_path / "again"), GLIBC_TUNABLES="glibc.malloc.trim_threshold=131072")
    assert told[-2:] == ["False", "False"]
