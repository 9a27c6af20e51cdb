"""Settings shared by all tests: hypothesis profiles and a fixed number of threads."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import live
import parts
import pytest
import torch
from hypothesis import HealthCheck, settings

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
# The same examples every time: whether a clone passes is no matter of luck. HYPOTHESIS_PROFILE=explore draws others;
# what it finds becomes a fixed example, @example(...) or a test of its own.
settings.register_profile("ci", max_examples=40, derandomize=True, database=None, **_COMMON)
settings.register_profile("explore", max_examples=1000, print_blob=True, **_COMMON)
settings.register_profile("quick", max_examples=10, derandomize=True, database=None, **_COMMON)
settings.register_profile("few", max_examples=4, derandomize=True, database=None, **_COMMON)
_DEFAULT = "quick"
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", _DEFAULT))


@pytest.fixture(scope="session", autouse=True)
def fixed_threads(request: pytest.FixtureRequest):
    alone = not live.emulated and parts.of(request.config, "--part")[1] == 1
    torch.set_num_threads(2 if alone else 1)  # each of two processes has a core


@pytest.fixture(scope="module")
def one_thread_in_the_module():
    """Its fixtures included: where processes are started that have one, as other numbers round sums otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def restore_threads():
    """For tests that change the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def one_thread(restore_threads: None) -> None:
    """For tests whose tensors are so small that more threads take longer."""
    torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("magnet")
    group.addoption("--all", action="store_true", help="slow tests too, and more examples drawn; what CI runs")
    group.addoption("--part", default="1/1", metavar="I/N", help="the I-th of N parts, by file, to be run side by side")
    group = parser.getgroup("magnet, as compiled (pytest -m ptx)")
    group.addoption("--ptx-seed", type=int, default=0, metavar="N", help="of the schedules that launches run by (0)")
    group.addoption("--ptx-share", action="store_true", help="few examples, PTX of two GPUs once")
    group.addoption("--ptx-part", default="1/1", metavar="I/N", help="the I-th of N parts of the tests")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of other parts, and where kernels are emulated those without such tests, are not even imported, which is
    most of what collecting takes."""
    if not collection_path.name.startswith("test_"):
        return None
    if live.emulated:  # by these modules tests are marked
        ours = re.search(r"\b(ptx|live|operator_calls)\b", collection_path.read_text(encoding="utf-8")) is not None
    else:
        part, of = parts.of(config, "--part")
        ours = parts.number(collection_path.name) % of == part - 1
    return None if ours else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not live.emulated:
        emulated = [item for item in items if item.get_closest_marker("ptx")]
        config.hook.pytest_deselected(items=emulated)
        items[:] = [item for item in items if not item.get_closest_marker("ptx")]
        _keep(config, items, lambda item: config.getoption("--all") or not item.get_closest_marker("slow"))


def _keep(config: pytest.Config, items: list[pytest.Item], stays: Callable[[pytest.Item], bool]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if not stays(item)])
    items[:] = [item for item in items if stays(item)]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not live.emulated and not config.getoption("--all"):
        terminalreporter.write_line(
            "quick: slow tests are left out and few examples drawn; pytest --all runs everything"
        )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--all") and "HYPOTHESIS_PROFILE" not in os.environ:
        settings.load_profile("ci")
    live.emulated = "ptx" in re.sub(r"not\s+ptx", "", config.option.markexpr)
    if live.emulated:
        from ptx import plugin

        config.pluginmanager.register(plugin, "ptx")
    config.addinivalue_line("markers", "ptx: kernels as nvcc and Triton compile them, emulated; only with -m ptx")
    config.addinivalue_line(
        "markers", "many_blocks: takes seconds where emulated; --ptx-share runs a twenty-fourth of the cases"
    )
    config.addinivalue_line("markers", "slow: takes many seconds or several GB; only with --all")
    config.addinivalue_line("markers", "triton: Triton kernels on a GPU")
    config.addinivalue_line("markers", "cuda_static: what nvcc says of the CUDA kernels: registers, spills, loads")
