"""Writes the table of the CPU into docs/performance.md, out of the results of two runs of the benchmarks.

    MALLOC="MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296" NAME=benchmarks/results/cpu_epyc_zen5
    pytest benchmarks/ --benchmark --benchmark-json=$NAME.json --benchmark-table=$NAME.txt
    env $MALLOC pytest benchmarks/ --benchmark --benchmark-json=${NAME}_kept.json --benchmark-table=${NAME}_kept.txt
    python benchmarks/cpu_page.py $NAME

On a machine that does nothing else. In the second run the C library keeps the memory of large results.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from targets import DEFAULT, MOST_COPIES

OURS = "magnet"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- made by benchmarks/cpu_page.py -->\n", "<!-- end -->\n"
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
        return "" if row is None else f"{row['seconds'] * 1e3:.3g}"

    def copies(row: dict[str, Any] | None) -> str:
        if row is None:
            return ""
        return f"**{row['copies']:.2f}**" if row["copies"] > MOST_COPIES else f"{row['copies']:.2f}"

    lines, again = [HEAD, ("---",) * len(HEAD)], by_variant(kept)
    for (case, shape), variants in by_variant(fresh).items():
        ours, ours_kept = variants[OURS], again.get((case, shape), {}).get(OURS)
        name = f"`{case.strip()}`" + ("" if shape == DEFAULT else f" {shape.removeprefix('1x19x1024x2048 ')}")
        cells = (name, f"{ours['bytes_moved'] / 1e6:.0f}", ms(ours), copies(ours), ms(ours_kept), copies(ours_kept))
        lines.append((*cells, ms(variants.get("reference")), ms(variants.get("compile"))))
    return ["| " + " | ".join(line) + " |" for line in lines]


def with_table(page: str, lines: list[str]) -> str:
    """``page`` with ``lines`` between the marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", type=Path, help="NAME.json and NAME_kept.json are read")
    name: Path = parser.parse_args().name
    results = [trimmed(name.with_name(name.name + end)) for end in (".json", "_kept.json")]
    PAGE.write_text(with_table(PAGE.read_text(), table(*results)))
