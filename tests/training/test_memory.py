"""A training on the CPU keeps what its steps free, unless the user said how memory is to be handled."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch
from processes import environment

from magnet.training.memory import SAID, keep_freed_memory

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone is told")

FAULTS = """
import resource, torch
from magnet.training.memory import keep_freed_memory
kept = keep_freed_memory(torch.device("cpu"))
torch.set_num_threads(1)
for step in range(24):
    if step == 12:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(40 << 20, dtype=torch.uint8) for _ in range(3)]
    del blocks
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**changes: str) -> tuple[bool, int]:
    command = [sys.executable, "-P", "-c", FAULTS]
    plain = {name: value for name, value in environment().items() if not name.startswith(SAID)}
    run = subprocess.run(command, env={**plain, **changes}, capture_output=True, text=True, check=True)
    kept, count = run.stdout.split()
    return kept == "True", int(count)


def test_steps_find_the_memory_of_the_last_one() -> None:
    kept, count = faults()
    assert kept
    asked, fresh = faults(MALLOC_ARENA_MAX="2")  # the user's word: nothing is changed
    assert not asked
    assert fresh > 1000 and count < fresh / 4


def test_other_devices_are_left_alone() -> None:
    assert not keep_freed_memory(torch.device("cuda"))
