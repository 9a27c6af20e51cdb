"""Which backend runs: reports, automatic and forced choice, and errors that say why."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from live import environment_of_a_program, live
from seeded import probs
from tolerances import assert_same

import magnet_kernels
from magnet_kernels import _backends, available_backends, build_info, confidence, median_blur, refine_step

PACKAGE = Path(magnet_kernels.__file__).parent
OPERATORS = available_backends()


def test_every_operator_is_reported():
    names = set(OPERATORS)
    assert {
        "confidence",
        "median_blur",
        "uncertainty_score",
        "select_points",
        "replace_points",
        "replace_points_",
        "refine_step",
        "refine_step_",
        "refine_step_out",
        "upsample_confidence",
        "crop_patches",
        "stitch_patches",
        "patch_uncertainty",
        "refine_stage",
        "refine_stage_labels",
    } <= names
    for name, backends in OPERATORS.items():
        assert hasattr(torch.ops.magnet_kernels, name), "each is a torch operator"
        assert list(backends) == ["cuda", "triton", "cpu", "reference"]
        assert backends["reference"] == "ok"
        assert all(isinstance(reason, str) and reason for reason in backends.values())


def test_every_public_operator_is_exported():
    for name in OPERATORS:
        if not name.endswith(("_out", "_labels")):  # reached through out= and labels_only=
            assert callable(getattr(magnet_kernels, name)) and name in magnet_kernels.__all__


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_compiled_build_has_a_cpu_kernel_of_every_operator(operator):
    if build_info()["cpu_library"] != "ok":
        pytest.skip(f"the CPU library is not there: {build_info()['cpu_library']}")
    assert OPERATORS[operator]["cpu"] == "ok"


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_torch_operator_runs_what_is_reported(operator):
    registered = torch._C._dispatch_has_kernel_for_dispatch_key(f"magnet_kernels::{operator}", "CPU")
    assert registered == (OPERATORS[operator]["cpu"] == "ok")


@pytest.mark.parametrize("operator", OPERATORS)
def test_forced_backends_that_are_absent_say_why(operator):
    for backend, reason in OPERATORS[operator].items():
        if reason != "ok":
            with pytest.raises(RuntimeError, match=r"^backend: ") as caught:
                _backends.choose(operator, backend, torch.device("cpu"), lambda: None)
            for word in (operator, backend, reason, "backend='auto'"):
                assert word in str(caught.value)


def test_forced_through_the_public_functions():
    x = torch.rand(1, 3, 4, 5)
    for backend, reason in OPERATORS["confidence"].items():
        if reason != "ok":
            with pytest.raises(RuntimeError, match=r"asked for but cannot run confidence"):
                confidence(x, backend=backend)
        elif backend in ("cpu", "reference"):
            assert_same(confidence(x, backend=backend), confidence(x))


def test_a_cpu_kernel_cannot_run_on_another_device():
    with pytest.raises(RuntimeError, match=r"cannot run"):
        confidence(torch.zeros(1, 3, 4, 5, device="meta"), backend="cpu")


@pytest.mark.parametrize("backend", ["gpu", "CPU", "", None, 3])
def test_unknown_backends_are_named(backend):
    with pytest.raises(ValueError, match=r"^backend: expected 'auto' or one of cuda, triton, cpu, reference, got"):
        median_blur(torch.zeros(1, 1, 4, 4), backend=backend)


def test_backends_agree_bit_for_bit():
    coarse, fine = (probs(f"agree.{name}", 1, 19, 41, 67) for name in ("coarse", "fine"))
    expected, expected_points = refine_step(coarse, fine, n_points=300, return_points=True, backend="reference")
    for backend in ("auto", *live("refine_step")):
        refined, points = refine_step(coarse, fine, n_points=300, return_points=True, backend=backend)
        assert_same(points.cpu(), expected_points)
        assert_same(refined.cpu(), expected)


def test_meta_tensors_give_shapes():
    x = torch.zeros(2, 3, 4, 5, device="meta")
    refined, points = refine_step(x, x, n_points=7, return_points=True)
    assert refined.shape == x.shape and points.shape == (2, 7)


SCRIPT = """
import torch, magnet_kernels as mk
x, y = torch.rand(1, 3, 6, 7), torch.rand(1, 3, 6, 7)
try:
    a = mk.refine_step(x, y, n_points=9, return_points=True)
    b = mk.refine_step(x, y, n_points=9, return_points=True, backend="reference")
    print("equal" if all(map(torch.equal, a, b)) else "different", mk.available_backends()["refine_step"]["cpu"])
except Exception as error:
    print(type(error).__name__, error)
"""


NOTHING_INSTALLED = "import importlib.metadata; importlib.metadata.distributions = lambda **_: iter(())\n"


def run_script(*folders: Path, before: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = environment_of_a_program(*folders, **variables)
    command = [sys.executable, "-P", "-c", before + SCRIPT]  # -P: what lies in the current folder is not imported
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("reference", "equal"),
        ("cuda", "RuntimeError backend: 'cuda' was asked for but cannot run refine_step: "),
        ("fast", "ValueError backend: expected 'auto' or one of cuda, triton, cpu, reference, got 'fast'"),
        ("", "equal"),
        ("auto", "equal"),
    ],
)
def test_environment_variable(value, answer):
    if value == "cuda" and "cuda" in live("refine_step"):
        pytest.skip("CUDA is here")
    run = run_script(MAGNET_BACKEND=value)
    assert run.stdout.startswith(answer), run.stdout + run.stderr


def copy_of_the_package(folder: Path) -> None:
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "*.dylib", "__pycache__", "_build_record.json")
    shutil.copytree(PACKAGE, folder / "magnet_kernels", ignore=ignored)


def test_without_a_compiled_library_the_reference_runs_and_says_so(tmp_path):
    copy_of_the_package(tmp_path)
    run = run_script(tmp_path, before=NOTHING_INSTALLED)
    assert run.stdout.startswith("equal the compiled library is not there"), run.stdout + run.stderr
    assert "runs on its plain-torch reference" in run.stderr
    forced = run_script(tmp_path, before=NOTHING_INSTALLED, MAGNET_BACKEND="cpu")
    assert forced.stdout.startswith("RuntimeError") and "the compiled library is not there" in forced.stdout


def test_sources_that_hide_an_installed_package_say_so(tmp_path):
    sources, site = tmp_path / "sources", tmp_path / "site"
    sources.mkdir()
    copy_of_the_package(sources)
    for folder, name in (
        (sources / "magnet_kernels.egg-info", "PKG-INFO"),
        (site / "magnet_kernels-1.dist-info", "METADATA"),
    ):
        folder.mkdir(parents=True)  # the first as pip leaves it beside sources
        (folder / name).write_text("Name: magnet-kernels\nVersion: 1\n")
    (site / "magnet_kernels").mkdir()
    (site / "magnet_kernels" / "_cpu.abi3.so").touch()
    run = run_script(sources, site)
    said = f"the sources in {sources} hide the package that is installed in {site}; start Python in another folder"
    assert run.stdout.startswith(f"equal {said}"), run.stdout + run.stderr
    assert said in run.stderr and "reinstall" not in run.stderr


def test_a_broken_library_leaves_the_reference_in_charge(tmp_path):
    copy_of_the_package(tmp_path)
    (tmp_path / "magnet_kernels" / "_cpu.abi3.so").write_bytes(b"not a library")
    run = run_script(tmp_path)
    assert run.stdout.startswith("equal _cpu.abi3.so does not load"), run.stdout + run.stderr
    assert "runs on its plain-torch reference" in run.stderr


MAKES_TENSORS = ("arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "tensor", "zeros")


def made_on_the_cpu(tree: ast.AST) -> Iterator[int]:
    """Lines of calls with ``backend=backend``, whatever backend that is, of tensors made there without a device."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        named = [k.value for k in call.keywords if k.arg == "backend"]
        if any(isinstance(value, ast.Name) for value in named):
            for made in (a for a in call.args if isinstance(a, ast.Call) and isinstance(a.func, ast.Attribute)):
                if made.func.attr in MAKES_TENSORS and "device" not in [k.arg for k in made.keywords]:
                    yield made.lineno


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.stem)
def test_tests_of_each_backend_put_their_maps_on_its_device(path):
    """What only a GPU would show otherwise."""
    functions = [f for f in ast.parse(path.read_text()).body if isinstance(f, ast.FunctionDef) and f.decorator_list]
    wrong = [line for f in functions if "each_" in ast.unparse(f.decorator_list[0]) for line in made_on_the_cpu(f)]
    assert not wrong, f"{path.name}: lines {wrong}"
