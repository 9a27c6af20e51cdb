"""PEP 517 backend: setuptools, building against the torch that is already in the environment.

pip builds in an isolated environment that has no torch. Listing torch as a build requirement would download a second
one, perhaps of another version; instead this borrows the one that the installing interpreter sees: in its environment,
or in the site-packages of the system or the user. uv builds with an interpreter of its own, which knows of no other.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  the hooks of PEP 517 and PEP 660 that need no torch

_NO_TORCH = """
magnet-kernels builds against the torch of the environment it is installed into, and {python} sees none.
Install torch 2.11 or newer first (https://pytorch.org shows the command for your machine), then repeat.
If it is there (uv, PYTHONPATH and the like hide it from an isolated build), build without isolation, where torch is:
    pip install 'setuptools>=77' wheel 'pybind11>=2.13' ninja
    pip install --no-build-isolation .
With uv, both commands start with "uv pip install". To build alone, the last is "python -m build --no-isolation".
"""


def _installing_path() -> list[str]:
    """Where the interpreter that installs looks for packages, without what an isolated build hides from this one."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONNOUSERSITE")}
    command = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path[1:]))"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True)
        return json.loads(run.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _borrow_torch() -> None:
    # last, so that the isolated environment's own packages come first
    sys.path.extend(folder for folder in _installing_path() if folder not in sys.path)
    importlib.invalidate_caches()
    if importlib.util.find_spec("torch") is None:
        raise SystemExit(_NO_TORCH.format(python=sys.executable))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _borrow_torch()
    return build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _borrow_torch()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    _borrow_torch()
    return build_meta.build_sdist(sdist_directory, config_settings)


def get_requires_for_build_sdist(config_settings=None):
    return []


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
