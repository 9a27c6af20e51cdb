"""The host module for further Pythons, so that one wheel of the stable ABI serves them all. For setup.py.

pybind11 has no stable ABI of Python: a wheel holds this small module once for each Python, and everything else once.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

_ASK = """
import json, sysconfig
print(json.dumps([sysconfig.get_path("include"), sysconfig.get_config_var("EXT_SUFFIX")]))
"""


def compile_for(python: str, sources: list[str], include: list[str], flags: list[str], compiler: str, to: Path) -> Path:
    """Compile the module for the interpreter ``python`` into the folder ``to``.

    Raises:
        OSError, subprocess.CalledProcessError: ``python`` does not start, or the compiler fails.
    """
    asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True)
    headers, suffix = json.loads(asked.stdout)
    target = to / f"_host{suffix}"
    folders = [f"-I{folder}" for folder in (headers, *include)]
    subprocess.run([*compiler.split(), "-shared", "-fPIC", *flags, *folders, *sources, "-o", str(target)], check=True)
    return target
