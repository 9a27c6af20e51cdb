"""refine_step_: in place, and how little memory it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, environment_of_a_program, gradcheck, live, on_live_backends, on_live_devices
from refine_arguments import BAD_ARGUMENTS, BASE, pair
from strategies import DTYPES, WRITABLE, MapSpec, kernel_sizes, lay_out, masks, pairs, point_counts, surroundings
from tolerances import assert_same
from torch.library import opcheck

from magnet_kernels import refine_step, refine_step_

each_backend = on_live_backends("refine_step_")


@each_backend
def test_smoke(backend):
    coarse, fine = pair(DEVICES[backend])
    expected = refine_step(coarse, fine, n_points=20, backend=backend)
    assert refine_step_(coarse, fine, n_points=20, backend=backend) is coarse
    assert_same(coarse, expected)


@pytest.mark.parametrize(("changes", "error", "argument"), BAD_ARGUMENTS)
def test_bad_input(changes, error, argument):
    arguments = {"coarse": BASE, "fine": BASE, "n_points": 3, **changes}
    with pytest.raises(error, match=rf"^{argument}: expected .*, got "):
        refine_step_(**arguments)


@pytest.mark.parametrize(
    "bad", [{"n_points": 1.5}, {"kernel_size": 4}, {"mask": torch.ones(3, 3)}, {"backend": "gpu"}, {"fine": None}]
)
def test_an_error_loses_nothing(bad):
    coarse, fine = pair()
    before = coarse.clone()
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        refine_step_(**{"coarse": coarse, "fine": fine, "n_points": 20, **bad})
    assert_same(coarse, before)


def test_a_smaller_coarse_has_no_place():
    with pytest.raises(
        ValueError, match=r"^coarse: expected the size of fine, \(4, 5\) .*use refine_step, which upsamples"
    ):
        refine_step_(torch.zeros(2, 3, 2, 2), BASE, n_points=3)


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_needs_memory_of_its_own(dim):
    coarse = BASE.clone().narrow(dim, 0, 1).expand(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"^coarse: expected memory that can be written to"):
        refine_step_(coarse, BASE, n_points=3)


@each_backend
@given(data=st.data(), specs=pairs(max_channels=8, coarse_layouts=WRITABLE), kernel_size=kernel_sizes(7))
def test_equals_the_oracle_bit_for_bit(backend, data, specs, kernel_size):
    coarse, fine = (spec.make(DEVICES[backend]) for spec in specs)
    shape = specs[0].shape
    mask = data.draw(masks(shape))
    mask = mask and mask.make(DEVICES[backend])
    n_points = data.draw(point_counts(shape))
    scores = oracle.score(coarse, fine, kernel_size, mask)
    start, fine_before = coarse.cpu().clone(), fine.clone()
    strides, address = coarse.stride(), coarse.data_ptr()
    around = surroundings(coarse, specs[0].layout)
    options = {"n_points": n_points, "kernel_size": kernel_size, "mask": mask, "backend": backend}
    refined, points = refine_step_(coarse, fine, return_points=True, **options)
    assert refined is coarse and (coarse.stride(), coarse.data_ptr()) == (strides, address)
    assert_same(points.cpu(), oracle.select(scores, oracle.count(n_points, *shape[2:]), mask))
    assert_same(coarse.cpu(), oracle.replace(start, fine.cpu(), points))
    assert_same(fine, fine_before)
    assert surroundings(coarse, specs[0].layout) == around, "memory between the elements of a slice is untouched"


@on_live_backends("refine_step_", but_not="reference")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 11])
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, dtype, kernel_size):
    shape = (2, 19, 61, 131)
    for index, layout in enumerate(WRITABLE):
        content = ("probabilities", "special", "ties")[index % 3]
        coarse = MapSpec(shape, dtype, content, layout, index).make(DEVICES[backend])
        fine = MapSpec(shape, dtype, "probabilities", WRITABLE[-index], index + 50).make(DEVICES[backend])
        mask = (torch.rand(shape[2:]) < 0.7).to(coarse.device) if index % 2 else None
        options = {"n_points": 0.3, "kernel_size": kernel_size, "mask": mask, "return_points": True}
        expected, expected_points = refine_step(coarse, fine, backend="reference", **options)
        refined, points = refine_step_(coarse, fine, backend=backend, **options)
        assert_same(points, expected_points)
        assert_same(refined, expected)


@each_backend
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits(backend, dtype):
    coarse, fine = (
        MapSpec((2, 7, 23, 37), dtype, "normal", "contiguous", s).make(DEVICES[backend]) * 3 for s in (1, 2)
    )
    options = {"n_points": 150, "from_logits": True, "return_points": True, "backend": backend}
    expected, expected_points = refine_step(coarse, fine, **options)
    refined, points = refine_step_(coarse, fine, **options)
    assert_same(points, expected_points)
    assert_same(refined, expected)


@each_backend
def test_several_steps_in_a_row(backend):
    """As inference uses it: coarse is refined again and again."""
    coarse, _ = pair(DEVICES[backend], (1, 5, 30, 40))
    plain = coarse.clone()
    for step in range(4):
        fine = MapSpec((1, 5, 30, 40), torch.float32, "probabilities", "contiguous", step).make(DEVICES[backend])
        refine_step_(coarse, fine, n_points=200, backend=backend)
        plain = refine_step(plain, fine, n_points=200, backend="reference")
        assert_same(coarse, plain)


@each_backend
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_gradcheck(backend, layout):
    coarse, fine = (lay_out(x.double(), layout).requires_grad_() for x in pair(DEVICES[backend], (2, 3, 4, 5)))
    run = lambda c, f: refine_step_(c.clone(), f, n_points=8, backend=backend)  # noqa: E731
    assert gradcheck(run, coarse, fine)


@each_backend
def test_writing_to_a_leaf_is_an_error(backend):
    coarse, fine = pair(DEVICES[backend])
    with pytest.raises(RuntimeError, match=r"leaf"):
        refine_step_(coarse.requires_grad_(), fine, n_points=5, backend=backend)


@on_live_devices("refine_step_")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
@pytest.mark.parametrize("masked", [False, True])
def test_opcheck(device, layout, masked):
    coarse, fine = (lay_out(x, layout) for x in pair(device, (2, 3, 6, 7)))
    mask = (torch.rand(2, 1, 6, 7) < 0.7).to(device) if masked else None
    opcheck(torch.ops.magnet_kernels.refine_step_.default, (coarse, fine, mask, 9, 3, masked))


MEASURE = Path(__file__).resolve().parent.parent / "memory.py"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of resident memory from /proc")
@pytest.mark.parametrize("case", ["contiguous", "channels_last", "logits", "mask", "half", "median11"])
def test_memory(case):
    """At most 3 score maps (float32, one channel) beyond the inputs and the points that it returns."""
    if "cpu" not in live("refine_step_"):
        pytest.skip("measures the compiled CPU kernel, which is not live here")
    environment = environment_of_a_program(MALLOC_MMAP_THRESHOLD_="65536", MAGNET_BACKEND="cpu")
    run = subprocess.run([sys.executable, str(MEASURE), case], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    maps = float(run.stdout.split()[0])
    assert 0 <= maps <= 3, f"refine_step_ took {maps:.2f} score maps"
