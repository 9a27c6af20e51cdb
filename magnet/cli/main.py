"""The ``magnet`` command: hands over to one module a subcommand, and turns every error into one readable line.

Exit codes: 0 done, 1 failed while working, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from magnet.cli.arguments import Parser
from magnet.errors import ArgumentError, MagNetError, printable
from magnet.notices import sum_up

__all__ = ["main"]


class _Command(NamedTuple):
    module: str  # holds main(argv) -> exit code
    help: str


_COMMANDS = {
    "doctor": _Command(
        "magnet.cli.doctor", "what is built, which backend is live for each operator and why, a self-test"
    ),
    "demo": _Command("magnet.cli.demo", "refine a generated high-resolution scene, offline, and draw what happened"),
    "predict": _Command("magnet.cli.predict", "segment images"),
    "train": _Command("magnet.cli.train", "train a segmenter and its refiner on a folder of images and labels"),
    "eval": _Command("magnet.cli.evaluate", "coarse and refined mIoU, time and memory on labelled images"),
    "tune": _Command("magnet.cli.tune", "how many pixels a model is to replace, by labelled images"),
    "data": _Command("magnet.cli.data", "check labelled images, and import labels of other tools"),
    "export": _Command("magnet.cli.export", "write a model as one file for other programs: pt2, AOTInductor or ONNX"),
    "convert": _Command("magnet.cli.convert", "turn checkpoints of the public release into a model folder"),
    "scenes": _Command("magnet.cli.scenes", "write generated scenes with exact labels as a data folder"),
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


class _Stops:
    """While entered, SIGINT (Ctrl-C), SIGTERM and SIGHUP unwind the process, so that temporary files are removed.

    Attributes:
        number: the signal that came, or 0. What it raises may arrive as another error: a module of C that is just
            being loaded turns KeyboardInterrupt into an ImportError.
    """

    def __init__(self) -> None:
        self.number = 0
        self._previous: dict[signal.Signals, Any] = {}
        self._hook = sys.unraisablehook

    def __enter__(self) -> _Stops:
        if threading.current_thread() is threading.main_thread():  # only it may set handlers
            for name in ("SIGINT", "SIGTERM", "SIGHUP"):
                number = getattr(signal, name, None)
                # ignored signals, as under nohup, stay so
                if number and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._previous[number] = signal.signal(number, self._stop)
            sys.unraisablehook = self._again
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def check(self) -> None:
        """Raise for a signal that came and that a module of C, as it was loaded, went on in spite of."""
        if self.number:
            self._stop(self.number, None)

    def _stop(self, number: int, _: object) -> NoReturn:
        self.number = number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _again(self, unraisable: Any) -> None:
        """A signal in a finaliser, which Python would print and forget, comes again a moment later."""
        if self.number and issubclass(unraisable.exc_type, KeyboardInterrupt | SystemExit):
            timer = threading.Timer(0.02, os.kill, (os.getpid(), self.number))
            timer.daemon = True
            timer.start()
        else:
            self._hook(unraisable)


def _describe(error: BaseException) -> str:
    """An error as one line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        where = os.fsdecode(error.filename) if error.filename else _full_output()
        text = f"{where}: {error.strerror}" if where else error.strerror
    text = " ".join(text.split())
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in text or "out of memory" in text.lower():
        text = "out of memory; use smaller images, fewer patches in a batch, or a smaller model"
    if isinstance(error, (KeyError, IndexError, AttributeError, AssertionError)) or not text:
        text = f"{type(error).__name__}: {text}".rstrip(": ")  # no sentence for users: say what it is
    text = printable(text, 2000)
    if _is_meant(error, text):
        return text
    network, reason = _whose_network(error), text
    if network:
        return (
            f"model: {network}, a network that is not this library's, failed ({reason}); mend its arguments, or how "
            "it is wrapped (--debug shows the traceback)"
        )
    return f"{text}; this is a bug in magnet: --debug shows the traceback to report"


def _whose_network(error: BaseException) -> str:
    """The class of the wrapped network in whose own code an error arose; "" where it arose elsewhere."""
    found = ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        if module == "magnet.networks.wrap" and frame.f_code.co_name == "forward":
            found = type(frame.f_locals["self"].model).__name__
        elif module.startswith(("magnet.", "magnet_kernels.")):  # its result was being read, or it is one of ours
            found = ""
    return found


def _full_output() -> str:
    """ "standard output" where that is what cannot be written to: an error of it has no file name."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        return "standard output"
    return ""


def _is_meant(error: BaseException, text: str) -> bool:
    """Whether an error is one that the program, or the system, tells of: the rest should never reach a user."""
    if isinstance(error, (MagNetError, OSError, ImportError)) or text.startswith("out of memory;"):
        return True
    return isinstance(error, (ValueError, TypeError)) and ": expected " in text  # the operators' own


def _interrupted() -> int:
    print("magnet: interrupted", file=sys.stderr)
    return 128 + signal.SIGINT


def _finish(code: int) -> int:
    """Write what is left of the output, so that Python does not try in vain when it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OSError as error:  # the reader went away, as in `magnet doctor | head`, or the disk is full
        if not isinstance(error, BrokenPipeError) and code == 0:
            print(f"magnet: error: standard output: {error.strerror or error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    if isinstance(sys.stdout, io.TextIOWrapper):  # file names need not be of its encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    return _finish(_run(words, debug))


def _run(words: list[str], debug: bool) -> int:
    stops = _Stops()
    try:
        # the command's own options are its own business, --help included
        at = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
        command = _parser().parse_args(words[: at + 1]).command
        with stops:
            try:
                module = importlib.import_module(_COMMANDS[command].module)
                stops.check()
                return int(module.main(words[at + 1 :]) or 0)
            finally:  # before an error, which is the last that is said
                sum_up()
    except SystemExit as stop:  # argparse: 0 after --help, 2 for wrong arguments
        if stop.code is None or isinstance(stop.code, int):
            return stop.code or 0
        print(f"magnet: error: {stop.code}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if debug:
            raise
        return _interrupted()
    except BrokenPipeError:
        return 1
    except Exception as error:
        if debug:
            raise
        if stops.number:
            return _interrupted() if stops.number == signal.SIGINT else 128 + stops.number
        print(f"magnet: error: {_describe(error)}", file=sys.stderr)
        return 2 if isinstance(error, ArgumentError) else 1


if __name__ == "__main__":
    sys.exit(main())
