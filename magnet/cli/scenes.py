"""``magnet scenes``: generated scenes as a data folder."""

from __future__ import annotations

from collections.abc import Sequence

from magnet.bounds import MAX_SCENES
from magnet.cli.arguments import Parser, check_scene_size, count, count_between
from magnet.data.scenes import write_dataset
from magnet.files.outputs import OVERWRITE_HELP

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Returns 0, or raises MagNetError, or exits with 2 on wrong arguments."""
    parser = Parser(
        prog="magnet scenes", description="Write generated street scenes with exact labels as a data folder."
    )
    parser.add_argument("--out", required=True, help="folder to write; 'magnet train' reads it")
    parser.add_argument("--train", type=count_between(0, MAX_SCENES), default=40, help="scenes to train on (40)")
    parser.add_argument("--val", type=count_between(0, MAX_SCENES), default=4, help="scenes to validate on (4)")
    parser.add_argument("--test", type=count_between(0, MAX_SCENES), default=8, help="scenes to evaluate on (8)")
    parser.add_argument("--size", type=count, nargs=2, default=(1024, 2048), metavar=("H", "W"), help="(1024 2048)")
    parser.add_argument("--seed", type=count, default=0, help="seed of the first scene; the others follow it (0)")
    parser.add_argument("--overwrite", action="store_true", help=OVERWRITE_HELP)
    args = parser.parse_args(argv)
    check_scene_size(parser, args.size)
    counts = {"train": args.train, "val": args.val, "test": args.test}
    if not any(counts.values()):
        parser.error("--train, --val, --test: expected one scene or more, got 0 of each; give one of them a number")
    size = (args.size[0], args.size[1])
    folder = write_dataset(args.out, counts, size, args.seed, progress=True, overwrite=args.overwrite)
    print(f"done: {sum(counts.values())} scenes in {folder}")
    return 0
