"""``magnet export``: a model as one file that other programs run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magnet.cli.arguments import TRUST_HELP, Parser, device_name, n_patches, n_points, size, wrong_values
from magnet.cli.models import load_model
from magnet.errors import ArgumentError, printable
from magnet.export import FORMATS, export_model
from magnet.files.outputs import OVERWRITE_HELP

__all__ = ["main"]


def build_parser() -> Parser:
    """The parser of ``magnet export``."""
    parser = Parser(
        prog="magnet export",
        description="Write a model as one file that other programs run: the whole walk over images of one size. The "
        "file is tried with an image, and its labels compared with those of 'magnet predict', before it is there.",
    )
    add = parser.add_argument
    add("--model", required=True, help="folder of a model, or the name of one that comes with the library")
    add("--trust", action="store_true", help=TRUST_HELP)
    add(
        "--format",
        required=True,
        choices=tuple(FORMATS),
        help="pt2 (a program of torch.export, for Python), aoti (compiled for this machine's processor, for C++ and "
        "Python) or onnx (for onnxruntime and others)",
    )
    add("--out", required=True, metavar="DIR", help="folder for the file, made if it is not there")
    add("--size", type=size, metavar="HxW", help="of the images; default: that of --image, or the model's last scale")
    add("--image", metavar="FILE", help="image that the file is tried with; default: a drawn street scene")
    add("--name", help="what the file's name begins with; default: the name of the model, or of its folder")
    add("--n-patches", type=n_patches, help="look at this many patches a scale (MagNet-Fast); default: the model's")
    add(
        "--n-points", type=n_points, help="pixels replaced a scale: a count, or a fraction as 0.5; default: the model's"
    )
    add("--device", type=device_name, default="cpu", help="where the file will run: cpu (default) or cuda; onnx: cpu")
    add("--overwrite", action="store_true", help=OVERWRITE_HELP)
    return parser


def main(argv: Sequence[str]) -> int:
    """Returns 0 once the file is there; raises MagNetError; exits with 2 on wrong arguments."""
    args = build_parser().parse_args(argv)
    if args.image is not None and not Path(args.image).exists():
        raise ArgumentError(f"--image: expected a file, but '{args.image}' does not exist; check the path")
    model = load_model(
        args.model, device=args.device, trust=args.trust, n_patches=args.n_patches, n_points=args.n_points
    )
    with wrong_values():
        record = export_model(
            model,
            args.out,
            format=args.format,
            size=args.size,
            image=args.image,
            name=args.name or Path(args.model).resolve().name,
            overwrite=args.overwrite,
            progress=True,
        )
    height, width = record.size
    share = f"{100 * record.agreement:.3f}% of the labels are those of predict"
    print(printable(f"{record.path}: images of {height}x{width}, {share}, {record.seconds:.1f} s", 4000))
    return 0
