"""Every instruction set gives the reference's results: AVX-512, AVX2, and neither."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from live import environment_of_a_program, live

SCRIPT = Path(__file__).resolve().parent.parent / "isa_parity.py"

pytestmark = [
    pytest.mark.skipif("cpu" not in live("refine_step"), reason="the compiled CPU kernels are not live here"),
    pytest.mark.slow,
]


def run(isa: str) -> subprocess.CompletedProcess[str]:
    environment = environment_of_a_program(SCRIPT.parent, MAGNET_CPU_ISA=isa)
    return subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_parity(isa):
    """A machine without AVX-512 or AVX2 runs the best that it has."""
    result = run(isa)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == "36 cases equal"


def test_an_unknown_instruction_set_is_an_error():
    result = run("sse9")
    assert result.returncode != 0
    assert "MAGNET_CPU_ISA: expected baseline, avx2 or avx512" in result.stderr
