"""Installing: without a compiler, without torch, and what the build records."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _pip_install(target: Path, source: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-v",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(target),
        str(source),
    ]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what a release holds, so that the build leaves this tree alone."""
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("csrc", "magnet", "magnet_kernels"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "_build_record.json")
        )
    for name in ("setup.py", "build_backend.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def test_without_a_compiler_the_package_is_pure_python_and_says_so(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    pytest.importorskip("pybind11")
    target = tmp_path / "target"
    install = _pip_install(target, source, CXX=str(tmp_path / "no-such-compiler"))
    assert install.returncode == 0, install.stderr
    assert "installing without compiled kernels" in install.stdout + install.stderr
    assert not list(target.glob("magnet_kernels/*.so"))
    script = (
        "import warnings; warnings.simplefilter('ignore'); import json, torch, magnet, magnet_kernels as mk;"
        "x = torch.rand(1, 3, 4, 5); y = magnet.refine_step(x, x.flip(1), n_points=3);"
        "print(json.dumps([mk.__file__, mk.available_backends()['refine_step'], list(y.shape)]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(target)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stderr
    file, backends, shape = json.loads(run.stdout)
    assert Path(file).is_relative_to(target)
    assert "no-such-compiler" in backends["cpu"] and backends["reference"] == "ok"
    assert shape == [1, 3, 4, 5]


def test_name_and_requirements_are_told_without_torch(source: Path, tmp_path: Path) -> None:
    """pip asks for them before it builds; torch takes seconds, and Triton has no use without a torch for GPUs."""
    pytest.importorskip("setuptools", minversion="77")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('torch was imported')\n")
    command = [sys.executable, "setup.py", "-q", "dist_info", "--output-dir", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=source, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    told = next(tmp_path.glob("*.dist-info/METADATA")).read_text().splitlines()
    needed = [line for line in told if line.startswith("Requires-Dist: ") and "extra ==" not in line]
    assert "Requires-Dist: torch>=2.11" in needed and not any("triton" in line for line in needed)
    assert any(line.startswith("Requires-Dist: triton") and 'extra == "test"' in line for line in told)


def _isolated(tmp_path: Path, python: str, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as pip runs a hook: in an isolated environment that holds setuptools alone, here a stand-in."""
    package = tmp_path / "isolated" / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "build_meta.py").write_text("def build_wheel(*arguments): raise SystemExit('built')\n")
    path = os.pathsep.join((str(package.parent), str(ROOT)))
    variables = {**os.environ, "PYTHONPATH": path, "PYTHONNOUSERSITE": "1", **environment}
    return subprocess.run([python, "-S", "-c", script], capture_output=True, text=True, env=variables, cwd=tmp_path)


def test_without_torch_the_build_asks_for_it(tmp_path: Path) -> None:
    script = "import build_backend as b; b._installing_path = lambda: []; b.build_wheel('.')"
    run = _isolated(tmp_path, sys.executable, script)
    assert run.returncode == 1
    assert "Install torch 2.11 or newer first" in run.stderr
    assert "pip install --no-build-isolation ." in run.stderr
    assert "Traceback" not in run.stderr


def _folder_of_packages(prefix: Path) -> Path:
    return prefix / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


@pytest.mark.skipif(sys.platform == "win32", reason="folders of POSIX")
@pytest.mark.parametrize("where", ["environment", "user"])
def test_torch_is_borrowed_from_where_the_interpreter_looks(where: str, tmp_path: Path) -> None:
    prefix, user = tmp_path / "environment", tmp_path / "user"
    command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(prefix)]
    subprocess.run(command, check=True, timeout=100)
    torch = _folder_of_packages({"environment": prefix, "user": user}[where]) / "torch"
    torch.mkdir(parents=True)
    (torch / "__init__.py").write_text("")
    script = "import build_backend as b; b._borrow_torch(); import torch; print(torch.__file__); b.build_wheel('.')"
    run = _isolated(tmp_path, str(prefix / "bin" / "python"), script, PYTHONUSERBASE=str(user))
    assert run.stdout.strip() == str(torch / "__init__.py"), run.stderr
    assert run.stderr.strip() == "built"


def test_what_is_to_be_typed_names_what_an_index_has() -> None:
    """The distribution itself is on none, so that its extras cannot be installed by name."""
    suffixes = (".py", ".md", ".yaml", ".toml")
    files = [path for name in ("magnet", "magnet_kernels", "docs") for path in (ROOT / name).rglob("*")]
    files += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "setup.py", "build_backend.py")]
    wrong = [path for path in files if path.suffix in suffixes and "install 'magnet-kernels" in path.read_text()]
    assert not wrong


def test_the_package_imports_without_optional_packages() -> None:
    """Neither torchvision nor OpenCV is needed anywhere, and importing never touches a GPU."""
    script = (
        "import sys\n"
        "for name in ('torchvision', 'cv2', 'scipy', 'matplotlib'): sys.modules[name] = None\n"
        "import torch, magnet, magnet_kernels\n"
        "import magnet.model.magnet, magnet.networks, magnet.cli.main\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_wheel_may_hold_the_host_module_of_further_pythons(tmp_path: Path) -> None:
    pybind11 = pytest.importorskip("pybind11")
    import build_host

    include = [str(ROOT / "csrc"), pybind11.get_include()]
    source = str(ROOT / "csrc" / "host" / "module.cpp")
    built = build_host.compile_for(sys.executable, [source], include, ["-O0", "-std=c++20"], "c++", tmp_path)
    asked = subprocess.run(
        [sys.executable, "-c", "import _host; print(_host.build_info()['instruction_set'])"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert built.parent == tmp_path and asked.stdout.strip() in ("baseline", "avx2", "avx512")
    with pytest.raises(OSError):
        build_host.compile_for(str(tmp_path / "no-python"), [source], include, [], "c++", tmp_path)
