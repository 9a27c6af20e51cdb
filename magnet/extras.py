"""Libraries that only some commands need: imported when they are used, and named by the extra that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from magnet.errors import MagNetError

__all__ = ["need"]


def need(module: str, extra: str) -> ModuleType:
    """Import ``module``, which ``pip install 'magnet-kernels[EXTRA]'`` brings.

    Raises:
        MagNetError: it cannot be imported; the message says why, and how to install it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library that it needs is missing or damaged
        name, reason = module.partition(".")[0], " ".join(str(error).split())
        raise MagNetError(
            f"{name}: expected to be installed for this, but it cannot be imported ({reason}); "
            f"pip install 'magnet-kernels[{extra}]'"
        ) from error
