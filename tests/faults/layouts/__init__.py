"""Wrong layouts of data sets that people bring, and what ``magnet data check`` says to mend each.

Each builder writes a data set with one fault below a folder that is there, and returns the words after
``magnet data check``. ``told`` are parts of what must be shown: what was found, and what is wanted in its place.
"""

from __future__ import annotations

from faults.layouts import described, folder_labels, folders, released  # noqa: F401  each adds its own to the table
from faults.layouts.table import LAYOUTS, Layout

__all__ = ["LAYOUTS", "Layout"]
