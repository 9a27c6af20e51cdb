"""The one exception type that the model layer raises for failures a user can mend."""

from __future__ import annotations


class MagNetError(Exception):
    """A failure with a message meant for the user: what was expected, what came, and the likely fix."""
