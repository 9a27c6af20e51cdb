"""What was measured, judged and written down: rows, figures to reach, CSV, JSON and the table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from targets import GPU_TARGETS, GpuTarget

from gpu.clock import BETWEEN_EVENTS

OURS = ("cuda", "triton", "cpu")  # compiled backends, the first live one stands for all
REACHED, MISSED, OPEN = "reached", "NOT reached", "not measured"


@dataclass(frozen=True)
class Row:
    """One variant of one case. Times in microseconds; ``fraction`` is of the floor: 1 is as fast as memory allows."""

    case: str
    operator: str
    shape: str
    dtype: str
    n_points: int
    scores: str
    variant: str
    method: str
    kernel_us: float
    kernel_p20_us: float
    kernel_p80_us: float
    kernel_rounds: int
    call_us: float
    call_p20_us: float
    call_p80_us: float
    bytes_moved: int
    floor_us: float
    fraction: float
    compared_with: str


@dataclass
class Report:
    environment: dict[str, Any] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    skipped: list[tuple[str, str, str]] = field(default_factory=list)  # case, variant, reason
    failed: list[tuple[str, str, str]] = field(default_factory=list)

    def put(self, row: Row) -> None:
        """In the place of an earlier one of the same variant of the same case."""
        for index, old in enumerate(self.rows):
            if (old.case, old.variant) == (row.case, row.variant):
                self.rows[index] = row
                return
        self.rows.append(row)

    def forget(self, case: str) -> None:
        """What was said of a case that is run again."""
        self.skipped = [entry for entry in self.skipped if entry[0] != case]
        self.failed = [entry for entry in self.failed if entry[0] != case]

    def find(self, case: str, variant: str) -> Row | None:
        return next((row for row in self.rows if row.case == case and row.variant == variant), None)

    def verdicts(self, backend: str = "cuda") -> list[Verdict]:
        """Of the figures that are to be reached on this GPU."""
        gpu = str(self.environment.get("gpu", ""))
        return [judge(self, target, backend) for target in GPU_TARGETS if target.gpu in gpu]


@dataclass(frozen=True)
class Verdict:
    target: GpuTarget
    value: float | None
    against: str = ""

    @property
    def state(self) -> str:
        if self.value is None:
            return OPEN
        limit = self.target.limit
        if self.target.at_least:
            good = self.value >= limit
        else:
            good = self.value < limit if self.target.kind == "times the variant" else self.value <= limit
        return REACHED if good else MISSED

    def line(self) -> str:
        show = {"microseconds": "{:.1f} us", "fraction": "{:.0%} of copy"}.get(self.target.kind, "{:.2f}x")
        what = "" if self.target.kind in ("microseconds", "fraction") else f", {self.target.kind} {self.against}"
        what = what.replace("as fast ", "as fast as ")
        value = "-" if self.value is None else show.format(self.value)
        sign = ">=" if self.target.at_least else "< " if self.target.kind == "times the variant" else "<="
        return f"{self.state:<12} {value:>12} {sign} {show.format(self.target.limit):<12} {self.target.case}{what}"


def judge(report: Report, target: GpuTarget, backend: str) -> Verdict:
    """The figure of ``target`` on ``backend``, and what it was held against; no figure where one was not measured."""
    row = report.find(target.case, backend)
    if row is None:
        return Verdict(target, None, target.other)
    if target.kind in ("microseconds", "fraction"):
        return Verdict(target, row.kernel_us if target.kind == "microseconds" else row.fraction)
    if target.kind == "times the case":
        other = report.find(target.other, backend)
    elif target.kind == "times the variant":
        other = report.find(target.case, f"{target.other} ({backend})")
    else:
        rivals = [r for r in report.rows if r.case == target.case and r.variant.startswith(target.other)]
        other = min(rivals, key=lambda r: r.kernel_us, default=None)
    if other is None:
        return Verdict(target, None, target.other)
    against = (other.case if target.kind == "times the case" else other.variant) + mark(other)
    ratio = other.kernel_us / row.kernel_us if target.kind == "times as fast" else row.kernel_us / other.kernel_us
    return Verdict(target, ratio, against)


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_json(path: Path, report: Report, backend: str) -> None:
    names = ("case", "variant", "reason")
    content = {
        "environment": report.environment,
        "figures_to_reach": [
            {**asdict(v.target), "value": v.value, "against": v.against, "state": v.state}
            for v in report.verdicts(backend)
        ],
        "results": [asdict(row) for row in report.rows],
        "skipped": [dict(zip(names, entry, strict=True)) for entry in report.skipped],
        "failed": [dict(zip(names, entry, strict=True)) for entry in report.failed],
    }
    whole = path.with_suffix(".new")  # a step may be ended at any moment, and the next one reads what is there
    whole.write_text(json.dumps(content, indent=1, default=str) + "\n")
    whole.replace(path)


def read_json(path: Path) -> Report:
    """What ``write_json`` wrote; an empty report where there is none."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return Report()
    told = [[tuple(entry.values()) for entry in content[name]] for name in ("skipped", "failed")]
    return Report(content["environment"], [Row(**entry) for entry in content["results"]], *told)


def table(report: Report) -> list[str]:
    """One line a case: kernel and call time, part of the floor, and how many times as long the others take."""
    by_case: dict[str, list[Row]] = {}
    for row in report.rows:
        by_case.setdefault(row.case, []).append(row)
    head = ("case", "backend", "kernel us", "p20-p80", "call us", "floor", "others, times as long")
    lines = [head]
    for case, rows in by_case.items():
        ours = [row for name in OURS for row in rows if row.variant == name]
        others = [row for row in rows if row not in ours]
        base = ours[0] if ours else None
        shown = ours or others[:1]
        for index, row in enumerate(shown):
            ratios = "  ".join(f"{r.variant} {_ratio(r, base)}" for r in others if r is not row) if not index else ""
            spread = f"{row.kernel_p20_us:.1f}-{row.kernel_p80_us:.1f}"
            lines.append(
                (
                    case if not index else "",
                    row.variant,
                    f"{row.kernel_us:.1f}{mark(row)}",
                    spread,
                    f"{row.call_us:.1f}",
                    f"{row.fraction:.0%}",
                    ratios,
                )
            )
    return aligned(lines)


def mark(row: Row) -> str:
    """A star where host code waits for the device, so that no graph can hold it and its time holds the host's, too."""
    return "*" if row.method == BETWEEN_EVENTS else ""


def _ratio(row: Row, base: Row | None) -> str:
    ratio = f"{row.kernel_us:.0f} us" if base is None else f"{row.kernel_us / base.kernel_us:.1f}x"
    return ratio + mark(row)


def aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    last = len(widths) - 1
    return [
        "  ".join(
            cell if i == last else cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
