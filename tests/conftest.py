"""Settings shared by all tests: hypothesis profiles and a fixed number of threads."""

from __future__ import annotations

import os

import pytest
import torch
import triton_interpreter
from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
# The same examples every time: whether a clone passes is no matter of luck. HYPOTHESIS_PROFILE=explore draws others;
# what it finds becomes a fixed example, @example(...) or a test of its own.
settings.register_profile("ci", max_examples=40, derandomize=True, database=None, **_COMMON)
settings.register_profile("explore", max_examples=1000, print_blob=True, **_COMMON)
settings.register_profile("interpreter", max_examples=5, derandomize=True, database=None, **_COMMON)
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_DEFAULT = "interpreter" if _INTERPRETED else "ci"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _DEFAULT))
if _INTERPRETED:
    triton_interpreter.speed_up()


@pytest.fixture(scope="session", autouse=True)
def fixed_threads():
    torch.set_num_threads(1 if _INTERPRETED else 2)  # the interpreter has one, and runs beside another process


@pytest.fixture
def restore_threads():
    """For tests that change the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes many seconds or several GB; leave out with -m 'not slow'")
    config.addinivalue_line("markers", "cuda_host: CUDA kernels on the CPU, under the model in tests/cuda_host")
    config.addinivalue_line("markers", "triton: Triton kernels; on the CPU as TRITON_INTERPRET=1 pytest -m triton")
    config.addinivalue_line("markers", "cuda_static: what nvcc says of the CUDA kernels: registers, spills, loads")
