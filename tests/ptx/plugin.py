"""What `pytest -m ptx` does beside running tests: the options --ptx-*, and at the end what was launched."""

from __future__ import annotations

import json
import os

import parts
import pytest
from hypothesis import settings
from ptx import backends, build, emulator, torch_memory

FOLDER = build.OUTPUT / "launched"  # a file for each process: what it launched, for run.py


def pytest_configure(config: pytest.Config) -> None:
    parts.of(config, "--ptx-part")
    backends.SCHEDULES.seed = config.getoption("--ptx-seed")
    if "HYPOTHESIS_PROFILE" not in os.environ:
        settings.load_profile("few" if config.getoption("--ptx-share") else "ci")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """This process's part: tests go by their names, so that the parts stay what they are when others come.

    In a share, what two architectures would run alike runs on one (nvcc's PTX is the same for both); of the many cases
    of a test with large maps a twenty-fourth runs, and of Triton's, each compiled for its arguments, every other.
    """
    part, of = parts.of(config, "--ptx-part")
    share = config.getoption("--ptx-share")
    twins = backends.twins() if share else frozenset()

    def stays(item: pytest.Item) -> bool:
        number = parts.number(item.nodeid)
        if share and item.get_closest_marker("many_blocks") and number // of % 24 != 0:
            return False
        given = _parameters_of(item)
        if share and not backends.TRITON.keys().isdisjoint(given) and number // of % 2 != 0:
            return False
        return number % of == part - 1 and twins.isdisjoint(given)

    kept = [item for item in items if stays(item)]
    config.hook.pytest_deselected(items=[item for item in items if not stays(item)])
    items[:] = kept


def _parameters_of(item: pytest.Item) -> list[object]:
    spec = getattr(item, "callspec", None)
    return [value for value in spec.params.values() if isinstance(value, str)] if spec else []


@pytest.fixture(autouse=True)
def _schedules_begin_anew(request: pytest.FixtureRequest):
    backends.SCHEDULES.begin(request.node.name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    launched = backends.launched()
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{os.getpid()}.json").write_text(json.dumps(launched))
    for backend, counts in launched.items():
        terminalreporter.write_line(f"{backend}: {sum(counts.values())} launches of {len(counts)} kernels")
    terminalreporter.write_line(f"emulated: {emulator.statistics()}; guard zones damaged: {torch_memory.damaged()}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if torch_memory.damaged():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
