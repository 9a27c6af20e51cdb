"""The ``magnet`` command: hands over to one module a subcommand, and turns every error into one readable line.

Exit codes: 0 done, 1 failed while working, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, NoReturn

from magnet.arguments import Parser

__all__ = ["main"]


class _Command(NamedTuple):
    module: str  # holds main(argv) -> exit code
    help: str


_COMMANDS = {
    "doctor": _Command("magnet.doctor", "what is built, which backend is live for each operator and why, a self-test"),
    "demo": _Command("magnet.demo", "refine a generated high-resolution scene, offline, and draw what happened"),
    "predict": _Command("magnet.predict", "segment images"),
    "train": _Command("magnet.train", "train a segmenter and its refiner on a folder of images and labels"),
    "eval": _Command("magnet.evaluate", "coarse and refined mIoU, time and memory on labelled images"),
    "data": _Command("magnet.data.command", "check labelled images: counts, sizes, classes, and all that is wrong"),
    "convert": _Command("magnet.convert", "turn checkpoints of the public release into a model folder"),
    "scenes": _Command("magnet.scenes.command", "write generated scenes with exact labels as a data folder"),
}


class _Version(argparse.Action):
    """Imports the package only when the version is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from magnet_kernels._version import __version__

        print(f"magnet {__version__}")
        parser.exit()


def _parser() -> Parser:
    parser = Parser(
        prog="magnet",
        description="Progressive semantic segmentation: from a coarse prediction to a fine one, scale by scale.",
        epilog="'magnet COMMAND --help' shows the options of a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error (anywhere on the line)")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, command in _COMMANDS.items():
        commands.add_parser(name, help=command.help, add_help=False)
    return parser


def _stop(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _clean_stops() -> Iterator[None]:
    """Ending the process, or closing its terminal, unwinds it, so that temporary files are removed."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []  # only the main thread may set handlers
    numbers = [signal.Signals[name] for name in names]
    default = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in default:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


def _describe(error: BaseException) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text or "out of memory" in text.lower():
        text = "out of memory; use smaller images, fewer patches in a batch, or a smaller model"
    if isinstance(error, (KeyError, IndexError, AttributeError, AssertionError)) or not text:
        text = f"{type(error).__name__}: {text}".rstrip(": ")  # no sentence for users: say what it is
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be of its encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    words = [word for word in words if word != "--debug"]
    try:
        # the command's own options are its own business, --help included
        at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
        command = _parser().parse_args(words[: at + 1]).command
        with _clean_stops():
            return int(importlib.import_module(_COMMANDS[command].module).main(words[at + 1 :]) or 0)
    except SystemExit as stop:  # argparse: 0 after --help, 2 for wrong arguments
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(f"magnet: error: {stop.code}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if debug:
            raise
        return 130
    except BrokenPipeError:  # the reader of our output went away, as in `magnet doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        print(f"magnet: error: {_describe(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
