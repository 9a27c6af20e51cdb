"""Schemas are written in Python, and once more in the compiled library, for programs without Python: the same ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import magnet_kernels
from magnet_kernels import _library

LIBRARY = Path(magnet_kernels.__file__).parent / "_cpu.abi3.so"
# what a program has that loads the library alone
ALONE = f"""
import json, torch
torch.ops.load_library({str(LIBRARY)!r})
names = {{name.split(".")[0] for name in torch._C._dispatch_get_all_op_names() if name.startswith("magnet_kernels::")}}
print(json.dumps([str(schema) for name in names for schema in torch._C._jit_get_schemas_for_operator(name)]))
"""

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="the CPU kernels are not built here")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_alone_has_the_schemas_of_its_operators():
    found = set(json.loads(python(ALONE)))
    own = {
        name: str(torch._C.parse_schema(f"magnet_kernels::{definition.schema}"))
        for name, definition in _library._DEFINITIONS.items()
        if torch._C._dispatch_has_kernel_for_dispatch_key(f"magnet_kernels::{name}", "CPU")
    }
    assert len(own) > 10
    assert found == set(own.values())


def test_python_comes_after_a_library_that_was_loaded_first():
    code = f"{ALONE}import magnet_kernels as mk; print(mk.available_backends()['confidence']['cpu'])"
    assert python(code).splitlines()[-1] == "ok"


def test_a_library_of_other_sources_is_refused(monkeypatch):
    other = _library._DEFINITIONS["confidence"]._replace(schema="confidence(Tensor x) -> Tensor")
    monkeypatch.setitem(_library._DEFINITIONS, "confidence", other)
    with pytest.raises(ImportError, match=r"expected the compiled library to define confidence\(Tensor x\) -> Tensor"):
        _library._define_in("magnet_kernels", "confidence")
