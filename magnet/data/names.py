"""Whether two lists of class names can be meant for each other: counts go by number, people read names."""

from __future__ import annotations

from collections.abc import Sequence

from magnet.errors import MagNetError

__all__ = ["compare_names", "plain_name"]


def compare_names(expected: Sequence[str] | None, names: Sequence[str], of_expected: str, of_names: str) -> str | None:
    """Compare the class names of what counts with those of what is counted.

    Upper case, blanks, ``_`` and ``-`` make no difference.

    Args:
        expected: names of the first, as a model; None = unknown.
        names: names of the second, as data.
        of_expected: what the first is, for messages.
        of_names: what the second is.

    Returns:
        What to tell where names differ that may still mean the same; None where there is nothing to tell.

    Raises:
        MagNetError: another number of classes, or a name that stands at another number.
    """
    if expected is None:
        return None
    if len(expected) != len(names):
        raise MagNetError(
            f"classes: {of_expected} has {len(expected)} ({_shown(expected)}), but {of_names} {len(names)} "
            f"({_shown(names)}); give both the same classes"
        )
    first, second = [plain_name(name) for name in expected], [plain_name(name) for name in names]
    moved = [i for i, name in enumerate(first) if name != second[i] and (name in second or second[i] in first)]
    if moved:
        i = moved[0]
        raise MagNetError(
            f"classes: {of_expected} has them in another order than {of_names}: class {i} is '{expected[i]}' there and "
            f"'{names[i]}' here ({_shown(expected)}; {_shown(names)}), so results would stand under wrong names; list "
            "the classes in the first order, and map the label values accordingly"
        )
    other = [i for i, name in enumerate(first) if name != second[i]]
    if not other:
        return None
    told = ", ".join(f"{i} is '{expected[i]}' there and '{names[i]}' here" for i in other[:4])
    more = f" and {len(other) - 4} more" if len(other) > 4 else ""
    return (
        f"classes: {of_expected} names them otherwise than {of_names}: {told}{more}; make sure that the same numbers "
        "mean the same classes"
    )


def plain_name(name: str) -> str:
    """What of a name makes a difference: upper case, blanks at its ends, and which of blank, ``_`` and ``-`` do not."""
    return "".join(" " if letter in "_- " else letter for letter in name.casefold().strip())


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
