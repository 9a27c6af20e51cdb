"""What setup.py hands to setuptools: the compiled kernels, built against the torch in this environment.

Imported from the repository's root, which holds all paths.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path
from typing import Any

import torch
from setuptools import Extension
from torch.utils.cpp_extension import BuildExtension, CppExtension

import build_host
import build_nvcc

ROOT = Path(__file__).parent.parent

STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # torch 2.11: one build serves every later one
CXX_FLAGS = ["-O3", "-g0", "-std=c++20", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-unknown-pragmas"]
# Set to interpreters, as PATH is: a wheel for every Python from 3.11 on, with the host module for this one and these.
OTHER_PYTHONS = os.environ.get("MAGNET_WHEEL_PYTHONS")


def find_compiler() -> str | None:
    return os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def why_not_compile() -> str | None:
    """None where a C++ program compiles here, else the reason."""
    compiler = find_compiler()
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


def why_not_cuda() -> str | None:
    """None where the CUDA kernels are to be built, else the reason. MAGNET_CUDA=0 forbids it, 1 insists on it."""
    wish = os.environ.get("MAGNET_CUDA", "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"MAGNET_CUDA: expected 0, 1 or nothing, got {wish!r}")
    if wish == "0":
        return "MAGNET_CUDA=0 was set when magnet-kernels was installed"
    try:
        build_nvcc.architectures()
    except build_nvcc.NvccError as error:
        if wish == "1":
            raise SystemExit(f"MAGNET_CUDA=1, but {error}") from None
        return str(error)
    return None


def sources(device: str, ending: str = "cpp") -> list[str]:
    return sorted(glob(f"csrc/{device}/**/*.{ending}", recursive=True))


def extensions(with_cuda: bool) -> list[Extension]:
    import pybind11

    include = str(ROOT / "csrc")
    kernels = CppExtension(
        "magnet_kernels._cpu",
        sources("cpu"),
        include_dirs=[include],
        extra_compile_args=[*CXX_FLAGS, STABLE_ABI],
        py_limited_api=True,
    )
    host = Extension(
        "magnet_kernels._host",
        sources("host"),
        include_dirs=[include, pybind11.get_include()],
        extra_compile_args=CXX_FLAGS,
        language="c++",
    )
    if not with_cuda:
        return [kernels, host]
    toolkit = build_nvcc.toolkit()
    cuda = CppExtension(
        "magnet_kernels._cuda",
        sources("cuda"),
        include_dirs=[include],
        extra_compile_args=[*CXX_FLAGS, STABLE_ABI, "-DUSE_CUDA"],
        library_dirs=[str(folder) for folder in (toolkit / "lib64", toolkit / "lib") if folder.is_dir()],
        libraries=["cudart_static", "dl", "pthread", "rt"],
        py_limited_api=True,
        optional=os.environ.get("MAGNET_CUDA") != "1",
    )
    return [kernels, host, cuda]


class BuildKernels(BuildExtension):
    """Compiles csrc/cuda/*.cu by nvcc. A failure there costs the CUDA library alone, unless MAGNET_CUDA=1."""

    def build_extensions(self) -> None:
        with ThreadPoolExecutor() as beside:  # one file for each Python, compiled while ninja is busy with the kernels
            host = next(ext for ext in self.extensions if ext.name == "magnet_kernels._host")
            self.host = beside.submit(self.build_host, host)
            super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        if ext.name == "magnet_kernels._host":
            return self.host.result()
        if ext.name != "magnet_kernels._cuda":
            return super().build_extension(ext)
        kernels = [Path(source) for source in sources("cuda", "cu")]
        try:
            compiled = build_nvcc.compile_objects(kernels, record["cuda_architectures"])
            ext.extra_objects = [str(one.object) for one in compiled]
            super().build_extension(ext)
        except Exception as error:
            if not ext.optional:
                raise
            lines = str(error).strip().splitlines()
            record["cuda_skipped"] = f"the CUDA kernels did not compile: {lines[-1] if lines else repr(error)}"
            say(f"installing without CUDA kernels:\n{error}")
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        write_record(ROOT)
        if not self.inplace:
            write_record(Path(self.build_lib))

    def build_host(self, ext: Extension) -> None:
        folder, compiler = Path(self.get_ext_fullpath(ext.name)).parent, find_compiler()
        folder.mkdir(parents=True, exist_ok=True)
        others = [python for python in (OTHER_PYTHONS or "").split(os.pathsep) if python]
        for python in [sys.executable, *others]:
            try:
                build_host.compile_for(python, ext.sources, ext.include_dirs, CXX_FLAGS, compiler, folder)
            except (OSError, subprocess.CalledProcessError) as error:
                if python == sys.executable:
                    raise
                raise SystemExit(
                    f"MAGNET_WHEEL_PYTHONS: expected interpreters with their headers, but no host module was made for "
                    f"{python!r} ({error}); check the path, or install that Python's headers"
                ) from None


def say(words: str) -> None:
    print(f"\n{'*' * 100}\nmagnet-kernels: {words}\n{'*' * 100}\n", file=sys.stderr)


def write_record(root: Path) -> None:
    (root / "magnet_kernels" / "_build_record.json").write_text(json.dumps(record))


no_compiler = why_not_compile()
no_cuda = no_compiler or why_not_cuda()
record = {
    "built_with_torch": torch.__version__,
    "built_with_python": platform.python_version(),
    "cpu_skipped": no_compiler,
    "cuda_skipped": no_cuda,
    "cuda_architectures": [] if no_cuda else build_nvcc.architectures(),
}


def arguments() -> dict[str, Any]:
    """Of setuptools.setup(). Writes the record of the build, and says what is left out."""
    if no_compiler:
        say(
            f"installing without compiled kernels: {no_compiler}\n"
            "Everything works, many times slower. 'magnet doctor' tells."
        )
    write_record(ROOT)
    return {
        "ext_modules": [] if no_compiler else extensions(with_cuda=no_cuda is None),
        "cmdclass": {} if no_compiler else {"build_ext": BuildKernels},
        "options": {} if OTHER_PYTHONS is None or no_compiler else {"bdist_wheel": {"py_limited_api": "cp311"}},
    }
