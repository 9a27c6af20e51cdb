"""Builds the compiled kernels (csrc/) against the torch in this environment; everything else is in pyproject.toml."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from glob import glob
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = Path(__file__).parent
RECORD = ROOT / "magnet_kernels" / "_build_record.json"
STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # torch 2.11: one build serves every later one
CXX_FLAGS = ["-O3", "-g0", "-std=c++20", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-unknown-pragmas"]


def why_not_compile() -> str | None:
    """None where a C++ program compiles here, else the reason."""
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return "no C++ compiler was found when magnet-kernels was installed (install g++ 11 or newer, then reinstall)"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.cpp")
        source.write_text("#include <concepts>\n#include <vector>\nint main() { return 0; }\n")
        command = [*compiler.split(), "-std=c++20", "-c", str(source), "-o", os.devnull]
        try:
            probe = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            return f"the C++ compiler {compiler!r} did not start: {error}"
    if probe.returncode:
        return f"the C++ compiler {compiler!r} cannot compile C++20: {probe.stderr.strip().splitlines()[-1:]}"
    return None


def extensions() -> list[Extension]:
    import pybind11

    kernels = CppExtension(
        "magnet_kernels._cpu",
        sorted(glob("csrc/cpu/*.cpp")),
        include_dirs=[str(ROOT / "csrc")],
        extra_compile_args=[*CXX_FLAGS, STABLE_ABI],
        py_limited_api=True,
    )
    host = Extension(
        "magnet_kernels._host",
        sorted(glob("csrc/host/*.cpp")),
        include_dirs=[str(ROOT / "csrc"), pybind11.get_include()],
        extra_compile_args=CXX_FLAGS,
        language="c++",
    )
    return [kernels, host]


reason = why_not_compile()
if reason:
    notice = f"magnet-kernels: installing without compiled kernels: {reason}"
    print(
        f"\n{'*' * 100}\n{notice}\nEverything works, many times slower. 'magnet doctor' tells.\n{'*' * 100}\n",
        file=sys.stderr,
    )
RECORD.write_text(
    json.dumps(
        {"built_with_torch": torch.__version__, "built_with_python": platform.python_version(), "cpu_skipped": reason}
    )
)

setup(
    ext_modules=[] if reason else extensions(),
    cmdclass={} if reason else {"build_ext": BuildExtension},
)
