"""``magnet tune``: how many pixels a model is to replace, and how they are chosen, by labelled images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from magnet import distributed
from magnet.bounds import AMP, MAX_COUNT
from magnet.cli import arguments
from magnet.cli.arguments import Parser
from magnet.cli.data_options import add_model_and_data, amp_of, model_of, open_data, parse_given
from magnet.data.counting import check_scored_labels
from magnet.devices import keep_memory_on, pick_amp, pick_device, to_device
from magnet.errors import ArgumentError
from magnet.evaluation.seen import seen_by
from magnet.evaluation.tuning import FRACTIONS, Choice, best_of, tune
from magnet.files.atomic import check_output_dir, no_empty_folders
from magnet.files.outputs import OVERWRITE_HELP
from magnet.files.reading import sha256
from magnet.model.magnet import MagNet
from magnet.model.pretrained import WEIGHTS, check_model_folder, find_model
from magnet.training.config import TrainConfig

__all__ = ["build_parser", "main"]

_ORIGIN = "tuned_from"  # in the info of a model: SHA-256 of the weights that it has; no other model is replaced by it


def build_parser() -> Parser:
    """The parser of ``magnet tune``."""
    parser = Parser(
        prog="magnet tune",
        description="Try how many pixels a model replaces at each scale (n_points) and how they are chosen (points_by) "
        "on labelled images, and say what is best. How much to trust the finer scales differs from model to model: "
        "without a refiner, or with one that learnt for minutes, few pixels are best. Under torchrun the images are "
        "shared out.",
    )
    add = parser.add_argument
    add_model_and_data(parser)
    add(
        "--split",
        default="val",
        help="val (default): images that the model was not trained on, and not those of the test, on which the best "
        "choice would look better than it is",
    )
    add(
        "--fractions",
        type=_fractions,
        default=list(FRACTIONS),
        help="comma-separated fractions of the pixels (default: 0.1,0.25,0.5,0.75,1)",
    )
    add(
        "--n-patches",
        type=arguments.n_patches,
        help="tune MagNet-Fast: patches, one number or one for each later scale (default: the model's)",
    )
    add("--limit", type=arguments.count_between(1, MAX_COUNT), default=0, help="this many images only, the first ones")
    add("--amp", choices=AMP, help=f"{arguments.AMP_HELP} (default: as in the config, or none)")
    add("--device", type=arguments.device_name, default="auto")
    add("--out", metavar="DIR", help="write the model with the best choice there; weights are as they were")
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def _fractions(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < value <= 1 for value in found):
        raise argparse.ArgumentTypeError(f"expected fractions in (0, 1], got '{text}'; give some as 0.1,0.25,1")
    return list(dict.fromkeys(found))


def main(argv: Sequence[str]) -> int:
    """``magnet tune``: returns 0, or raises MagNetError, or exits with 2 on wrong arguments."""
    parser = build_parser()
    args, rest, config = parse_given(parser, argv)
    with distributed.session(args.device), no_empty_folders(args.out if distributed.is_main() else None):
        return _run(args, rest, config, parser.prog)


def _run(args: argparse.Namespace, rest: Sequence[str], config: TrainConfig | None, prog: str) -> int:
    name = args.model or model_of(config)
    amp = pick_amp(pick_device(args.device), args.amp or amp_of(config))
    out = Path(args.out) if args.out else None
    if out is not None and out.is_dir() and Path(name).is_dir() and out.samefile(name):
        raise ArgumentError(f"--out: '{out}' is the model itself, which stays as it is; choose another folder")
    origin = sha256(find_model(name) / WEIGHTS) if out is not None else ""
    if out is not None and distributed.is_main():  # before the work
        check_model_folder(
            check_output_dir(out),
            argument="--out",
            overwrite=args.overwrite,
            is_same=lambda stored: (stored.get("info") or {}).get(_ORIGIN) == origin,
        )
    dataset, _ = open_data(args.data, args.split, rest, prog, config)
    check_scored_labels(dataset, args.limit)
    changes = {} if args.n_patches is None else {"n_patches": args.n_patches}
    with arguments.wrong_values():
        model = MagNet.from_pretrained(name, trust=args.trust, amp=amp, **changes)
    if len(model.scales) == 1:
        raise ArgumentError(f"--model: '{name}' has one scale, so that nothing is replaced; choose another")
    keep_memory_on(to_device(model, pick_device(args.device)).device)
    main_process = distributed.is_main()
    if main_process:
        print(f"{'n_points':>10}  {'points_by':<12} {'mean IoU':>8} {'seconds':>8}")
    found = tune(
        model,
        seen_by(model, dataset),
        fractions=args.fractions,
        limit=args.limit,
        report=(lambda choice: print(_line(choice), flush=True)) if main_process else None,
    )
    if main_process:
        _tell(found, args.n_patches)
        if out is not None:
            best = best_of(found)
            chosen = model.with_settings(n_points=best.n_points, points_by=best.points_by)
            chosen.save_pretrained(out, info={_ORIGIN: origin}, overwrite=args.overwrite)
            print(f"written: {out}")
    return 0


def _line(choice: Choice) -> str:
    name, by = (repr(choice.n_points), choice.points_by) if choice.points_by else ("coarse", "")
    note = "  the model's own" if choice.own else ""
    return f"{name:>10}  {by:<12} {choice.mean_iou:>8.2f} {choice.seconds:>8.3f}{note}"


def _tell(found: Sequence[Choice], n_patches: int | Sequence[int] | None = None) -> None:
    """Print what is best, and the options that give it; ``n_patches`` as it was given."""
    coarse, best, own = found[0], best_of(found), next(one for one in found if one.own)
    options = f"--n-points {best.n_points!r} --points-by {best.points_by}"
    if n_patches is not None:
        counts = [n_patches] if isinstance(n_patches, int) else n_patches
        options += f" --n-patches {','.join(map(str, counts))}"
    if best.own:
        print("best: the model's own choice")
    else:
        print(
            f"best: {best.mean_iou:.2f}, {best.mean_iou - own.mean_iou:+.2f} against the model's own; "
            f"{options} with magnet predict and magnet eval{' (there the mode fast)' if n_patches is not None else ''}"
        )
    if best.mean_iou <= coarse.mean_iou:
        print(
            f"no choice is above the coarse prediction ({coarse.mean_iou:.2f}): with this model and these images the "
            "finer scales gain nothing; train a refiner, or the segmenter on their scales"
        )
