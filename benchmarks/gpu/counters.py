"""What ncu's hardware counters say of each kernel: the metrics to ask for, and their table."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from gpu.launch_times import short
from gpu.results import aligned

# metric: (heading, factor, format). Units are fixed by --print-units base: nanoseconds, bytes, percent.
METRICS = {
    "gpu__time_duration.sum": ("us", 1e-3, "{:.1f}"),
    "dram__bytes.sum": ("DRAM MB", 1e-6, "{:.1f}"),
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": ("DRAM %", 1, "{:.0f}"),
    "lts__t_bytes.sum": ("L2 MB", 1e-6, "{:.1f}"),
    "lts__t_sector_hit_rate.pct": ("L2 hit %", 1, "{:.0f}"),
    "sm__inst_executed.sum": ("instr. M", 1e-6, "{:.1f}"),
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": ("SM %", 1, "{:.0f}"),
    "sm__warps_active.avg.pct_of_peak_sustained_active": ("occup. %", 1, "{:.0f}"),
    "launch__registers_per_thread": ("regs", 1, "{:.0f}"),
    "launch__waves_per_multiprocessor": ("waves", 1, "{:.1f}"),
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio": ("stall mem", 1, "{:.1f}"),
    "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio": ("stall bar", 1, "{:.1f}"),
}
NAME = "Kernel Name"


def read(lines: Iterable[str]) -> list[dict[str, str]]:
    """The rows of ``ncu --csv --page raw``: after what else it prints comes a head, then a line of units."""
    kept = [line for line in lines if line.startswith('"')]
    rows = list(csv.DictReader(kept))
    return [row for row in rows if row.get(NAME)]


def table(rows: list[dict[str, str]]) -> list[str]:
    """A line a kernel; a dash where this GPU or this ncu knows no such metric."""
    if not rows:
        return []
    lines = [("kernel", *(heading for heading, *_ in METRICS.values()))]
    for row in rows:
        cells = [value(row.get(metric), factor, form) for metric, (_, factor, form) in METRICS.items()]
        lines.append((short(row[NAME]), *cells))
    return aligned(lines)


def value(text: str | None, factor: float, form: str) -> str:
    try:
        return form.format(float((text or "").replace(",", "")) * factor)
    except ValueError:
        return "-"


def of_file(path: Path) -> list[str]:
    return table(read(path.read_text(errors="replace").splitlines())) if path.exists() else []


if __name__ == "__main__":
    print(",".join(METRICS))
