"""Writes what the CPU benchmarks measured into docs/performance.md, out of the results of two runs.

    MALLOC="MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296" NAME=benchmarks/results/cpu_epyc_zen5
    pytest benchmarks/ --benchmark --benchmark-json=$NAME.json --benchmark-table=$NAME.txt
    env $MALLOC pytest benchmarks/ --benchmark --benchmark-json=${NAME}_kept.json --benchmark-table=${NAME}_kept.txt
    python benchmarks/cpu_page.py $NAME

On a machine that does nothing else. In the second run the C library keeps the memory of large results.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from targets import DEFAULT, MOST_COPIES

OURS = "magnet"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks/cpu_page.py writes what follows -->\n", "<!-- end -->\n"
HEAD = ("", "MB", "ours, ms", "x copy", "memory kept, ms", "x copy", "plain torch, ms", "best torch.compile, ms")


def trimmed(path: Path) -> dict[str, Any]:
    """The results, without what pytest-benchmark says of each round, which is taken out of the file."""
    content = json.loads(path.read_text())
    for key in ("benchmarks", "machine_info", "commit_info"):
        content.pop(key, None)
    path.write_text(json.dumps(content, indent=1) + "\n")
    return content


def table(fresh: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """A row a case, in the order of the run: bold what takes longer than MOST_COPIES copies of as many bytes."""

    def by_variant(content: dict[str, Any]) -> dict[tuple[str, str], dict[str, dict[str, Any]]]:
        found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for row in content["results"]:
            found.setdefault((row["case"], row["shape"]), {})[row["variant"]] = row
        return found

    def ms(row: dict[str, Any] | None) -> str:
        if row is None:
            return ""
        value = row["seconds"] * 1e3
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"

    def copies(row: dict[str, Any] | None) -> str:
        if row is None:
            return ""
        return f"**{row['copies']:.2f}**" if row["copies"] > MOST_COPIES else f"{row['copies']:.2f}"

    lines, again = [HEAD, ("---",) * len(HEAD)], by_variant(kept)
    for (case, shape), variants in by_variant(fresh).items():
        mine, mine_kept = variants[OURS], again.get((case, shape), {}).get(OURS)
        name = f"`{case.strip()}`" + ("" if shape == DEFAULT else f" {shape.removeprefix('1x19x1024x2048 ')}")
        cells = (name, f"{mine['bytes_moved'] / 1e6:.0f}", ms(mine), copies(mine), ms(mine_kept), copies(mine_kept))
        lines.append((*cells, ms(variants.get("reference")), ms(variants.get("compile"))))
    return ["| " + " | ".join(line) + " |" for line in lines]


def ours(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in content["results"] if row["variant"] == OURS]


def machine(name: str, fresh: dict[str, Any], kept: dict[str, Any]) -> str:
    """Where and how the results NAME were measured."""
    files = ", ".join(f"[`{one}.txt`](../benchmarks/results/{one}.txt)" for one in (name, f"{name}_kept"))
    known = fresh["environment"]
    rates = [statistics.median(row["copy_rate"] for row in content["results"]) for content in (fresh, kept)]
    return (
        f"{files}: {known['cpu']}, {known['threads']} threads, {known['instruction_set']}, torch {known['torch']}; a "
        f"copy reads and writes {rates[0]:.1f} GB/s ({rates[1]:.1f} in the run with memory kept), load of the machine "
        f"at the start {known['load']:.1f} ({kept['environment']['load']:.1f})."
    )


def verdict(fresh: dict[str, Any], kept: dict[str, Any]) -> str:
    """Which of our rows take longer than MOST_COPIES copies."""
    sides = {"as the C library comes": fresh, "with memory kept": kept}
    counts = {
        side: (sum(row["copies"] > MOST_COPIES for row in ours(content)), len(ours(content)))
        for side, content in sides.items()
    }
    told = ", ".join(f"{side} {above} of {rows} rows" for side, (above, rows) in counts.items())
    return f"Above {MOST_COPIES:g} times the copy, bold: {told}."


def block(name: str, fresh: dict[str, Any], kept: dict[str, Any]) -> list[str]:
    """All that stands between the marks."""
    return [machine(name, fresh, kept), "", *table(fresh, kept), "", verdict(fresh, kept)]


def with_table(page: str, lines: list[str]) -> str:
    """``page`` with ``lines`` between the marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", type=Path, help="NAME.json and NAME_kept.json are read")
    name: Path = parser.parse_args().name
    results = [trimmed(name.with_name(name.name + end)) for end in (".json", "_kept.json")]
    PAGE.write_text(with_table(PAGE.read_text(), block(name.name, *results)))
