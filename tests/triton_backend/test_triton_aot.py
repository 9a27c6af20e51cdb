"""Every Triton kernel compiled ahead of time, without a GPU: registers, spills, shared memory, for every architecture.

The launches are those of the operators themselves: subprocesses run them (outside the interpreter) with a function that
notes what would be launched, and compile that. Budgets stand beside the kernels. Triton keeps cubins: the next run is
quick.
"""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed")

from live import ROOT, environment_of_a_program
from triton_sources import source_of

pytestmark = pytest.mark.slow

FOLDER = ROOT / "magnet_kernels" / "triton"
ARCHITECTURES = (80, 86, 89, 90, 100, 120)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
SIZES = ((128, 512), (127, 509))  # with loads of 16 bytes and without
PROCESSES = 2
BUDGET = re.compile(r"# Budget: (\d+) registers, no spills; (\d+) KiB shared memory\.\n@triton\.jit[^\n]*\ndef (\w+)\(")
REORDERED = re.compile(r"tt\.reshape .* allow_reorder")
KERNEL = re.compile(r"@triton\.jit[^\n]*\ndef (\w+_kernel)\(")


def calls(dtype: torch.dtype, height: int, width: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(operator, arguments): together they launch every kernel, in the ways that are compiled differently."""
    shape = (2, 19, height, width)
    planes, pixels = torch.rand(shape).to(dtype), torch.rand(shape).to(dtype).to(memory_format=torch.channels_last)
    small = torch.rand(2, 19, height // 2, width // 2).to(dtype)
    mask = torch.ones(2, 1, height, width, dtype=torch.bool)
    points, boxes = torch.zeros(2, 500, dtype=torch.int64), torch.tensor([[0, 1.5, 2, 400, 100.0]])
    yield "confidence", (planes, False)
    yield "upsample_confidence", (small, height, width, True)
    yield "refine_step", (planes, planes, None, 500, 3, False)
    yield "refine_step", (planes, planes, mask, 500, 3, True)
    yield "refine_step", (small, planes, mask, 500, 1, True)
    yield "refine_step", (pixels, pixels, mask, 500, 3, True)
    yield "median_blur", (planes, 3)
    yield "median_blur", (planes, 7)
    yield "select_points", (planes[:, :1], None, 500)
    yield "replace_points", (planes, planes, points)
    yield "crop_patches", (planes, boxes, 64, 64, True)
    yield "stitch_patches", (planes[:1], boxes, height, width, 1)
    yield "patch_uncertainty", (planes, boxes, True)
    if dtype == torch.float32:  # what depends little on the type
        yield "confidence", (pixels, True)
        yield "confidence", (planes[..., 1:-1, 1::2], True)
        yield "upsample_confidence", (pixels, height, width, False)
        yield "uncertainty_score", (planes, planes, None, 1, True)
        yield "refine_step_", (planes, planes.clone(), mask, 500, 5, False)
        yield "median_blur", (planes, 5)
        yield "median_blur", (planes, 15)
        yield "replace_points", (pixels, planes, points)
        yield "crop_patches", (pixels, boxes, 64, 64, True)
        yield "stitch_patches", (pixels[:1], boxes, height, width, 1)
        yield "patch_uncertainty", (pixels, boxes, True)
        yield "patch_uncertainty", (planes, boxes.repeat(9, 1), False)


# --- in the subprocess


def compile_all(part: int) -> list[dict[str, Any]]:
    """Resources of each kernel that the calls launch; of every PROCESSES-th of them."""
    import triton
    from triton.backends.compiler import GPUTarget

    from magnet_kernels.triton import implementations, launch

    found: dict[str, tuple[Any, dict[str, Any]]] = {}

    def record(kernel, programs, arguments, options, constants):
        source = source_of(kernel, arguments, constants)
        found.setdefault(f"{source.hash()} {options}", (source, options))

    launch.run = record
    for dtype in DTYPES.values():
        for size in SIZES:
            for operator, arguments in calls(dtype, *size):
                implementations[operator](*arguments)
    jobs = [(*job, architecture) for job in found.values() for architecture in ARCHITECTURES]
    result = []
    for source, options, architecture in jobs[part::PROCESSES]:
        kernel = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
        result.append(
            {
                "kernel": source.fn.__name__,
                "types": sorted({t for t in source.signature.values() if t.startswith("*")}),
                "architecture": architecture,
                "constants": str({k: v for k, v in source.constants.items()})[:300],
                "shared": kernel.metadata.shared,
                "reshaped": kernel.asm["ttgir"].count("tt.reshape "),
                "reordered": len(REORDERED.findall(kernel.asm["ttgir"])),
                **resources(kernel.asm["cubin"]),
            }
        )
    return result


def resources(cubin: bytes) -> dict[str, int]:
    import triton

    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [program, "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name.lower(): int(re.search(rf"{name}:(\d+)", text)[1]) for name in ("REG", "STACK", "LOCAL")}


# --- the tests


@functools.cache
def compiled() -> list[dict[str, Any]]:
    environment = environment_of_a_program(Path(__file__).resolve().parent.parent, OMP_NUM_THREADS="1")
    environment.pop("TRITON_INTERPRET", None)
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(part)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for part in range(PROCESSES)
    ]
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors.decode()[-3000:]
    return [one for output, _ in outputs for one in json.loads(output)]


def budgets() -> dict[str, tuple[int, int]]:
    """Kernel: the most registers a thread, the most shared memory in KiB."""
    text = "".join(path.read_text() for path in sorted(FOLDER.glob("*.py")))
    return {name: (int(registers), int(shared)) for registers, shared, name in BUDGET.findall(text)}


def test_every_kernel_states_a_budget():
    names = {name for path in FOLDER.glob("*.py") for name in KERNEL.findall(path.read_text())}
    assert names == set(budgets())


def test_every_kernel_is_compiled():
    assert {one["kernel"] for one in compiled()} == set(budgets())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_registers_spills_and_shared_memory(architecture):
    allowed = budgets()
    of_it = [one for one in compiled() if one["architecture"] == architecture]
    assert of_it
    for one in of_it:
        registers, shared = allowed[one["kernel"]]
        assert one["reg"] <= registers, one
        assert one["stack"] == 0 and one["local"] == 0, f"spills: {one}"
        assert one["shared"] <= shared * 1024, one


def test_no_two_tensors_are_reordered():
    """Elements that belong together in two tensors, reshaped apart, would not any more; of one tensor none are lost."""
    assert not [one for one in compiled() if one["reordered"] > 1]
    assert "median_kernel" in {one["kernel"] for one in compiled() if one["reshaped"]}, "reshapes are seen"


@pytest.mark.parametrize("name", DTYPES)
def test_maps_of_every_type_are_compiled(name):
    kernels = {one["kernel"] for one in compiled() if f"*{name}" in one["types"]}
    assert {"confidence_kernel", "score_kernel", "median_kernel", "median_rank_kernel", "replace_kernel"} <= kernels
    assert {"crop_kernel", "stitch_kernel", "box_kernel", "list_kernel", "key_kernel"} <= kernels


if __name__ == "__main__":
    print(json.dumps(compile_all(int(sys.argv[1]))))
