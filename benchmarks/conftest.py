"""Fixtures and the table of the benchmarks."""

from __future__ import annotations

import os
import platform

import pytest
import torch
from harness import forget_inputs
from processor import cpu_name
from report import Report
from targets import MOST_SCORE_MAPS

from magnet_kernels import build_info

REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report()


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Report:
    return pytestconfig.stash[REPORT]


@pytest.fixture(scope="session", autouse=True)
def environment(pytestconfig: pytest.Config, report: Report) -> None:
    torch.set_num_threads(pytestconfig.getoption("--benchmark-threads"))
    build = build_info()
    report.environment.update(
        cpu=cpu_name(),
        threads=torch.get_num_threads(),
        cores=os.cpu_count(),
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else "unknown",
        memory=_allocator(),
        python=platform.python_version(),
        **{name: build[name] for name in ("torch", "compiler", "isa", "instruction_set") if name in build},
    )
    with torch.no_grad():
        yield


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back() -> None:
    yield
    forget_inputs()


@pytest.fixture(autouse=True)
def load(request: pytest.FixtureRequest) -> None:
    """The load of the machine goes with each result: times taken on a busy one say little."""
    if "benchmark" in request.fixturenames and hasattr(os, "getloadavg"):
        request.getfixturevalue("benchmark").extra_info["load_average"] = os.getloadavg()[0]


def _allocator() -> str:
    """What the C library does with large results: as it comes, every call gets fresh pages."""
    set_here = {name: value for name, value in sorted(os.environ.items()) if name.startswith("MALLOC_")}
    return " ".join(f"{name}={value}" for name, value in set_here.items()) or "as the C library comes"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(REPORT, None)
    if report and (report.results or report.memory or report.dispatch or report.data_wait or report.training):
        terminalreporter.section("magnet benchmarks")
        lines = report.lines(MOST_SCORE_MAPS)
        for line in lines:
            terminalreporter.write_line(line)
        if (table := config.getoption("--benchmark-table")) is not None:
            table.write_text("\n".join(lines) + "\n")


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: object, output_json: dict[str, object]) -> None:
    report = config.stash[REPORT]
    output_json["environment"] = report.environment
    output_json["results"] = report.rows()
    output_json["comparisons"] = report.comparisons()
    output_json["score_maps_of_refine_step_"] = report.memory
    output_json["dispatch_us_of_refine_step"] = report.dispatch
    output_json["data_wait_of_training"] = report.data_wait
    output_json["refiner_training_steps_per_second"] = report.training
