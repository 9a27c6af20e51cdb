"""An extension of Griffe: roles in docstrings, as :class:`magnet.MagNet`, become links to what is on a page."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):`(?P<name>[\w.]+)`")


class Roles(griffe.Extension):
    """``:meth:`name``` without a dot names a member of the class that it stands in, or of its module."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of whatever was read."""
        if obj.docstring is not None:
            scope = obj if obj.is_class or obj.parent is None else obj.parent
            obj.docstring.value = _ROLE.sub(lambda match: _link(match["name"], scope.path), obj.docstring.value)


def _link(name: str, scope: str) -> str:
    target = name if "." in name else f"{scope}.{name}"
    return f'<autoref identifier="{target}" optional>`{name}`</autoref>'
