"""Builds the compiled kernels (csrc/build_kernels.py); everything else is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

if "dist_info" in sys.argv:  # name and requirements, which pip asks for first: no reason to import torch twice
    setup()
else:
    sys.path.insert(0, str(Path(__file__).parent / "csrc"))
    import build_kernels

    setup(**build_kernels.arguments())
