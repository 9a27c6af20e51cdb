"""The exception types that the model layer raises for failures a user can mend, and how messages quote.

What a message quotes may come from anyone's file: keys of a checkpoint, values of a configuration, file names. It is
shown in one line, short, and with nothing in it that a terminal would obey.
"""

from __future__ import annotations

import reprlib
from typing import Any

__all__ = ["ArgumentError", "MagNetError", "printable", "shown"]

_MOST = 2000  # characters of a message


class MagNetError(Exception):
    """A failure with a message meant for the user: what was expected, what came, and the likely fix.

    The message is kept to one printable line of bounded length, whatever it quotes (see :func:`printable`).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(" ".join(str(message).split("\n")), _MOST))


class ArgumentError(MagNetError):
    """Wrong arguments, in a command line or a configuration: the command ends with exit code 2 instead of 1."""


def printable(text: object, most: int = 200) -> str:
    """``text`` with all that does not print written as an escape, cut in the middle beyond ``most`` characters.

    Control characters, line breaks, marks that turn the direction of text, and bytes of a file name that are not UTF-8
    are among what does not print. The end is kept, as that is where messages say what to do.
    """
    # cut twice, as escapes are longer than what they stand for, and the whole text may be huge
    text = _cut(str(text), most)
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return _cut(text, most)


def _cut(text: str, most: int) -> str:
    end = most // 3
    return text if len(text) <= most else f"{text[: most - end - 5]} ... {text[len(text) - end :]}"


class _Short(reprlib.Repr):
    """``repr`` that looks at no more than it shows: values out of files may be huge, or nested without an end."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother, self.maxlong = 4, 120, 120, 40
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8


def shown(value: Any) -> str:
    """``repr(value)`` for a message, short and printable."""
    try:
        return printable(_Short().repr(value))
    except Exception:  # a value may refuse to be shown, as an int of more digits than Python writes
        return f"<{type(value).__name__}>"
