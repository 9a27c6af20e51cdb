"""Results of one run, and the table made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from targets import LEAST_REFINER_TRAINING, MOST_COPIES, MOST_DATA_WAIT, MOST_DISPATCH_US, target_of

OURS = "magnet"


@dataclass(frozen=True)
class Result:
    """One variant of one case, timed."""

    case: str
    shape: str
    variant: str
    backend: str
    seconds: float
    spread: float
    ours: float  # the median of our times, taken in turns with this variant's
    bytes_moved: int
    copy_rate: float  # GB/s that a plain copy reads and writes, measured just before

    @property
    def rate(self) -> float:
        """GB/s, counting what any implementation must read and write."""
        return self.bytes_moved / self.seconds / 1e9

    @property
    def copies(self) -> float:
        """How many times as long as a copy of as many bytes."""
        return self.copy_rate / self.rate

    @property
    def near_copy(self) -> bool:
        return self.copies <= MOST_COPIES

    @property
    def ratio(self) -> float:
        """How many times as long as ours this variant takes."""
        return self.seconds / self.ours


@dataclass
class Report:
    """Everything measured in one run."""

    results: list[Result] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)
    dispatch: dict[str, float] = field(default_factory=dict)  # microseconds of CPU time
    data_wait: dict[str, float] = field(default_factory=dict)  # share of the training time
    training: dict[str, float] = field(default_factory=dict)  # steps a second, and their ratio
    notes: set[str] = field(default_factory=set)
    environment: dict[str, object] = field(default_factory=dict)

    def comparisons(self) -> list[dict[str, object]]:
        """Each competitor against ours: the ratio of the times, the target and whether it is met."""
        rows = []
        for rival in self.results:
            if rival.variant == OURS:
                continue
            ratio, target = rival.ratio, target_of(rival.case, rival.shape, rival.variant)
            row: dict[str, object] = {"case": rival.case, "shape": rival.shape, "rival": rival.variant, "ratio": ratio}
            if target is not None:
                row |= {"target": target.ratio, "met": ratio >= target.ratio}
            rows.append(row)
        return rows

    def rows(self) -> list[dict[str, object]]:
        """Every result with what follows from it, for the JSON."""
        return [asdict(r) | {"gb_per_s": r.rate, "copies": r.copies, "ratio": r.ratio} for r in self.results]

    def lines(self, most_score_maps: float) -> list[str]:
        """The table: one line a variant; for competitors how many times as long they take, and the target."""
        verdicts = {(row["case"], row["shape"], row["rival"]): row for row in self.comparisons()}
        head = ("operator", "shape", "variant", "median ms", "+-", "MB", "GB/s", "x copy", "ratio", "target", "met")
        rows = [head]
        for r in self.results:
            verdict = verdicts.get((r.case, r.shape, r.variant), {})
            ratio, target = verdict.get("ratio"), verdict.get("target")
            rows.append(
                (
                    r.case,
                    r.shape,
                    f"{r.variant} ({r.backend})" if r.variant == OURS else r.variant,
                    f"{r.seconds * 1e3:.2f}",
                    f"{r.spread / r.seconds:.0%}",
                    f"{r.bytes_moved / 1e6:.0f}",
                    f"{r.rate:.1f}",
                    f"{r.copies:.2f}x",
                    "" if ratio is None else f"{ratio:.2f}x",
                    "" if target is None else f"{target:.2f}x",
                    "" if target is None else ("yes" if verdict["met"] else "NO"),
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines, last = [], ""
        for index, row in enumerate(rows):
            if index and row[0] + row[1] != last:
                lines.append("")
            last = row[0] + row[1]
            cells = (
                cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join(cells).rstrip())
        if self.memory:
            lines += [
                "",
                f"memory of refine_step_ beyond inputs and points, in score maps (at most {most_score_maps:g})",
            ]
            for case, maps in self.memory.items():
                lines.append(f"  {case:<16}{maps:6.2f}  {'yes' if maps <= most_score_maps else 'NO'}")
        if self.dispatch:
            lines += ["", f"CPU time of refine_step on 2x3x8x8 (overhead: at most {MOST_DISPATCH_US:g} us)"]
            lines += [f"  {part:<48}{microseconds:6.1f} us" for part, microseconds in self.dispatch.items()]
        if self.data_wait:
            lines += ["", f"time that training waits for its data (with 2 workers: under {MOST_DATA_WAIT:.0%})"]
            lines += [f"  {case:<48}{share:6.1%}" for case, share in self.data_wait.items()]
        if self.training:
            lines += ["", f"steps a second of refiner training (ratio on a GPU: at least {LEAST_REFINER_TRAINING:g})"]
            lines += [f"  {way:<48}{rate:6.2f}" for way, rate in self.training.items()]
        lines += [
            "",
            "ratio: the variant's median time / ours, the two measured in turns; +-: half the interquartile range",
            *self._of_copies(),
        ]
        lines += sorted(self.notes)
        lines.append("  ".join(f"{name}: {value}" for name, value in self.environment.items()))
        return lines

    def _of_copies(self) -> list[str]:
        if not self.results:
            return []
        rates = sorted(r.copy_rate for r in self.results)
        above = [f"{r.case} {r.shape} {r.copies:.2f}x" for r in self.results if r.variant == OURS and not r.near_copy]
        return [
            f"MB: what any implementation reads and writes; copy: {rates[len(rates) // 2]:.1f} GB/s read and written "
            f"({rates[0]:.1f} to {rates[-1]:.1f} beside the rows); x copy: the time / the copy's for as many bytes",
            f"ours above {MOST_COPIES:g}x the copy: {'; '.join(above) or 'none'}",
        ]
