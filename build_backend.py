"""PEP 517 backend: setuptools, building against the torch that is already in the environment.

pip builds in an isolated environment that has no torch. Listing torch as a build requirement would download a second
one, perhaps of another version; instead this borrows the one of the environment that pip installs into.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the hooks of PEP 517 and PEP 660 that need no torch

_NO_TORCH = """
magnet-kernels builds against the torch of the environment it is installed into, and there is none.
Install torch 2.11 or newer first (https://pytorch.org shows the command for your machine), then repeat.
"""


def _borrow_torch() -> None:
    for folder in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        if folder not in sys.path:
            sys.path.append(folder)  # last, so that the isolated environment's own packages come first
    importlib.invalidate_caches()
    if importlib.util.find_spec("torch") is None:
        raise SystemExit(_NO_TORCH)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _borrow_torch()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _borrow_torch()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def get_requires_for_build_wheel(config_settings=None):
    return []


def get_requires_for_build_editable(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    _borrow_torch()
    return build_meta.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory, config_settings=None):
    _borrow_torch()
    return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)
