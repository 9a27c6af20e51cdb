"""``magnet data``: hands over to its commands, each in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence

from magnet.cli import data_check, data_import
from magnet.cli.arguments import Parser

__all__ = ["main"]

_COMMANDS = {"check": data_check.main, "import": data_import.main}


def main(argv: Sequence[str]) -> int:
    """The exit code of the command that the first word names; exits with 2 where that is none."""
    if argv and argv[0] in _COMMANDS:
        return _COMMANDS[argv[0]](argv)
    parser = Parser(
        prog="magnet data",
        description="Labelled images: check them, and import labels of other tools.",
        epilog="'magnet data COMMAND --help' shows the options of a command.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    commands.add_parser("check", help="counts, sizes, classes, and all that is wrong")
    commands.add_parser("import", help="COCO, Pascal VOC, colour masks or GeoJSON as a data folder")
    parser.parse_args(argv[:1])
    raise AssertionError(argv)  # the parser takes no other word
