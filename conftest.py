"""Command-line options of the benchmarks: without --benchmark everything in benchmarks/ is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("magnet benchmarks")
    group.addoption("--benchmark", action="store_true", help="run what is in benchmarks/, which is skipped otherwise")
    group.addoption("--benchmark-threads", type=int, default=2, metavar="N", help="threads of the benchmarks (2)")
    group.addoption("--benchmark-table", type=Path, metavar="FILE", help="a file for the benchmarks' table")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--benchmark"):
        return
    skip = pytest.mark.skip(reason="a benchmark: run it with 'pytest benchmarks/ --benchmark'")
    for item in items:
        if BENCHMARKS in item.path.parents:
            item.add_marker(skip)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--benchmark") and hasattr(config.option, "benchmark_quiet"):
        config.option.benchmark_quiet = True  # one table, ours, says it all
