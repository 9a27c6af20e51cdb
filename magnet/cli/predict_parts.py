"""``--part``: which of the inputs of a job this process does, where several machines share it."""

from __future__ import annotations

import argparse
import heapq
import re
from collections.abc import Mapping, Sequence

from magnet.errors import ArgumentError
from magnet.files.parts import Part

__all__ = ["AUTO", "PART_HELP", "auto_part", "local_rank", "part_of", "share_out"]

PART_HELP = (
    "do part I of N of the inputs, as 2/4: the other parts may write into the same folder at the same time; auto: as "
    "torchrun (RANK, WORLD_SIZE) or srun (SLURM_PROCID, SLURM_NTASKS) numbered this process"
)
AUTO = "auto"
_MOST = 100_000  # parts
_NUMBERS = (("torchrun", "RANK", "WORLD_SIZE"), ("srun", "SLURM_PROCID", "SLURM_NTASKS"))
_LOCAL = ("LOCAL_RANK", "SLURM_LOCALID")
# bytes; an image that is resized to the scales costs the same whatever its size, about as much as a raster of this one
_LEAST = 1 << 21


def part_of(text: str) -> Part | str:
    """A part I/N, or auto."""
    if text == AUTO:
        return AUTO
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    number, of = (int(one) for one in found.groups()) if found else (0, 0)
    if not 1 <= number <= of <= _MOST:
        raise argparse.ArgumentTypeError(
            f"expected I/N with I from 1 to N, and N at most {_MOST}, or auto, got '{text}'; "
            "the parts of four machines are 1/4, 2/4, 3/4 and 4/4"
        )
    return Part(number, of)


def auto_part(environment: Mapping[str, str]) -> Part:
    """The part that whoever started this process gave it a number for; torchrun's where srun started torchrun.

    Raises:
        ArgumentError: nobody did; the numbers are none; it is a task of a job array, which does not number them so.
    """
    array = environment.get("SLURM_ARRAY_TASK_COUNT", "1")
    for starter, rank, count in _NUMBERS:
        if rank not in environment or count not in environment:
            continue
        number, of = (_number(environment[name]) for name in (rank, count))
        if not 0 <= number < of <= _MOST:
            raise ArgumentError(
                f"--part: expected {rank} from 0 to {count} - 1, as {starter} sets them, got "
                f"'{environment[rank]}' and '{environment[count]}'; give --part I/N"
            )
        if of == 1 and array != "1":  # each task of the array would do everything
            raise ArgumentError(
                "--part: expected the tasks of one step, but this is one of a job array, which srun does not number; "
                "give --part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT, with tasks from 1"
            )
        return Part(number + 1, of)
    raise ArgumentError(
        "--part: auto needs the RANK and WORLD_SIZE of torchrun, or the SLURM_PROCID and SLURM_NTASKS of srun, which "
        "are not set; start it with one of these, or give --part I/N"
    )


def local_rank(environment: Mapping[str, str]) -> int:
    """The number of this process on its machine, from 0, as torchrun or srun gave it; 0 where nobody did."""
    return next((max(_number(environment[name]), 0) for name in _LOCAL if name in environment), 0)


def _number(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else -1


def share_out(sizes: Sequence[tuple[str, int]], of: int) -> list[list[int]]:
    """Share inputs out so that all parts take about as long: the largest first, each to the part with the least to do.

    Every process that is given the same inputs, in any order, finds the same parts.

    Args:
        sizes: name and bytes of each input.
        of: how many parts.

    Returns:
        Of each part the numbers of its inputs, in order.
    """
    parts: list[list[int]] = [[] for _ in range(of)]
    loads = [(0, part) for part in range(of)]
    for number in sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], sizes[i][0])):
        load, part = heapq.heappop(loads)
        parts[part].append(number)
        heapq.heappush(loads, (load + max(sizes[number][1], _LEAST), part))
    return [sorted(part) for part in parts]
