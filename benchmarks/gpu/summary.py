"""The last word of gpu_check.sh: what each step said, figures to reach, launches, rivals; in few characters.

``PYTHONPATH=.:benchmarks python -m gpu.summary FOLDER STEPS [TITLE]``; STEPS is the file of a line for each step.
Exit code 2 where a figure is not reached. Reads files only: it must work where everything else failed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from targets import GPU_CASE

from gpu import counters
from gpu.commits import abbreviated
from gpu.launch_times import Launch, lines
from gpu.results import MISSED, OURS, Report, Row, read_json, table

MOST = 11_500  # characters: what a remote machine's answer shows of the end of the output, less a margin
WIDTH = 170
MOST_LINES = 32  # of a part, but for the last one, which takes what is left
NOTE = 40  # characters of a note that more lines are in the files
SELECTS = ("count_candidates", "list_tiles")  # the launches of refine_step_ that select; the second also replaces


def part(title: str, entries: Sequence[str]) -> list[str]:
    return ["", f"-- {title}", *entries] if entries else []


def of_launches(folder: Path) -> list[Launch]:
    try:
        return [Launch(**entry) for entry in json.loads((folder / "launches.json").read_text())["launches"]]
    except FileNotFoundError:
        return []


def against_cub(report: Report, launches: Sequence[Launch]) -> list[str]:
    """Selection alone, and as refine_step_ does it, against CUB's; it is said where ours is not faster."""
    result = []
    for row in report.rows:
        if not row.variant.startswith("CUB"):
            continue
        ours = next((r for name in OURS for r in report.rows if (r.case, r.variant) == (row.case, name)), None)
        if ours is not None:
            result.append(_against(f"{row.case}, alone", ours.kernel_us, f"{row.variant} {row.kernel_us:.1f} us", row))
    default = GPU_CASE.format("float32")
    fused = [launch for launch in launches if launch.kernel in SELECTS and launch.case == default]
    if len(fused) == len(SELECTS):
        took = sum(launch.median_us for launch in fused)
        for case in dict.fromkeys(launch.case for launch in launches if ", CUB" in launch.case):
            rival = sum(launch.median_us for launch in launches if launch.case == case)
            words = f"{case.split(', ', 1)[1]} {rival:.1f} us, scores in L2 for both"
            result.append(_against("fused: count_candidates and list_tiles, with the replacement", took, words, rival))
    return result


def _against(what: str, ours: float, theirs: str, other: Row | float) -> str:
    rival = other.kernel_us if isinstance(other, Row) else other
    verdict = f"{rival / ours:.2f}x as fast" if ours < rival else "OURS IS NOT FASTER"
    return f"{what}: {ours:.1f} us against {theirs}: {verdict}"


def cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def summary(folder: Path, steps: Sequence[str], title: str) -> tuple[list[str], bool]:
    """The lines, and whether some figure is not reached. The most important parts keep their place, tables give way."""
    report, launches = read_json(folder / "results.json"), of_launches(folder)
    verdicts = report.verdicts()
    known = report.environment
    measured_on = ""
    if report.rows:
        rate = known.get("copy_bytes_per_second", 0) / 1e9
        commit = abbreviated(str(known.get("commit")))
        measured_on = f"copy {rate:.0f} GB/s, torch {known.get('torch')}, commit {commit}"
    failed = [f"{case}, {variant}: {reason}" for case, variant, reason in report.failed]
    skipped = [f"{case}, {variant}: {reason}" for case, variant, reason in report.skipped]
    late = [entry for entry in skipped if "time ran out" in entry]
    skipped = [entry for entry in skipped if entry not in late]
    needed = [
        title,
        *([measured_on] if measured_on else []),
        *part("steps", steps),
        *part("figures to reach", [verdict.line() for verdict in verdicts]),
        *part("FAILED while measured", failed[:12]),
    ]
    optional = [
        part("launches", lines(launches)),
        part("ncu", counters.of_file(folder / "ncu.csv")),
        part("selection against CUB's", against_cub(report, launches)),
        part("not measured", [*skipped[:6], *([f"{len(late)} cases for which no time was left"] if late else [])]),
        part("all that was measured", table(report) if report.rows else []),
    ]
    result = [cut(line) for line in needed]
    left = MOST - sum(len(line) + 1 for line in result) - NOTE * len(optional)
    for lines_of_part in optional:
        for index, line in enumerate(map(cut, lines_of_part)):
            rest = len(lines_of_part) - index
            if len(line) + 1 > left or (index > MOST_LINES and lines_of_part is not optional[-1]):
                result.append(f"({rest} more lines: see the files)")
                break
            result.append(line)
            left -= len(line) + 1
    return result, any(verdict.state == MISSED for verdict in verdicts)


def main(arguments: Sequence[str]) -> int:
    folder, steps = Path(arguments[0]), Path(arguments[1])
    title = arguments[2] if len(arguments) > 2 else "gpu_check"
    try:
        told = steps.read_text().splitlines()
    except FileNotFoundError:
        told = []
    result, missed = summary(folder, told, title)
    print("\n".join(result))
    return 2 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
