"""Fixtures and the table of the benchmarks."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch
from harness import forget_inputs
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
        cpu=_cpu_name(),
        threads=torch.get_num_threads(),
        cores=os.cpu_count(),
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


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash.get(REPORT, None)
    if report and (report.results or report.memory or report.dispatch or report.data_wait or report.training):
        terminalreporter.section("magnet benchmarks")
        for line in report.lines(MOST_SCORE_MAPS):
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: object, output_json: dict[str, object]) -> None:
    report = config.stash[REPORT]
    output_json["environment"] = report.environment
    output_json["comparisons"] = report.comparisons()
    output_json["score_maps_of_refine_step_"] = report.memory
    output_json["dispatch_us_of_refine_step"] = report.dispatch
    output_json["data_wait_of_training"] = report.data_wait
    output_json["refiner_training_steps_per_second"] = report.training
