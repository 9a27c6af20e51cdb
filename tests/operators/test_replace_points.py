"""replace_points and replace_points_: the values of fine at the points, of coarse elsewhere."""

from __future__ import annotations

import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from live import DEVICES, EMULATED, gradcheck, on_live_backends, on_live_devices
from strategies import DTYPES, LAYOUTS, WRITABLE, MapSpec, pairs, surroundings
from tolerances import assert_same
from torch.library import opcheck

from magnet_kernels import replace_points, replace_points_

each_backend = on_live_backends("replace_points")
each_backend_in_place = on_live_backends("replace_points_")


def random_points(shape: tuple[int, int, int, int], k: int, seed: int = 0, gaps: bool = True) -> torch.Tensor:
    """(N, k) distinct ascending indices, some rows ending in -1."""
    g = torch.Generator().manual_seed(seed)
    total = shape[2] * shape[3]
    rows = [torch.randperm(total, generator=g)[:k].sort().values for _ in range(shape[0])]
    points = torch.stack(rows) if rows else torch.zeros(0, k, dtype=torch.int64)
    if gaps and k:
        for image in range(0, shape[0], 2):
            points[image, k - k // 3 :] = -1
    return points


@each_backend
def test_smoke(backend):
    coarse = torch.zeros(1, 2, 2, 2, device=DEVICES[backend])
    fine = torch.arange(8.0, device=DEVICES[backend]).view(1, 2, 2, 2)
    result = replace_points(coarse, fine, torch.tensor([[1, 2, -1]], device=coarse.device), backend=backend)
    assert result.flatten().tolist() == [0, 1, 2, 0, 0, 5, 6, 0]
    assert coarse.abs().sum() == 0


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "k"), [((0, 3, 4, 5), 2), ((2, 1, 4, 5), 0), ((1, 2, 0, 5), 0), ((1, 7, 1, 1), 1)])
def test_cardinality(backend, dtype, shape, k):
    x = torch.rand(shape, device=DEVICES[backend]).to(dtype)
    points = random_points(shape, k).to(x.device)
    result = replace_points(x, x + 1, points, backend=backend)
    assert result.shape == shape and result.dtype == dtype
    assert result.data_ptr() != x.data_ptr() or not x.numel()


BASE = torch.zeros(2, 3, 4, 5)
POINTS = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize("function", [replace_points, replace_points_])
@pytest.mark.parametrize(
    ("changes", "error", "argument"),
    [
        ({"coarse": 1}, TypeError, "coarse"),
        ({"coarse": BASE.long()}, TypeError, "coarse"),
        ({"coarse": BASE[0]}, ValueError, "coarse"),
        ({"fine": BASE.half()}, TypeError, "fine"),
        ({"fine": BASE[:, :2]}, ValueError, "fine"),
        ({"fine": torch.zeros(2, 3, 8, 10)}, ValueError, "fine"),
        ({"points": [[1, 2], [3, 4]]}, TypeError, "points"),
        ({"points": POINTS.int()}, TypeError, "points"),
        ({"points": POINTS.float()}, TypeError, "points"),
        ({"points": POINTS[0]}, ValueError, "points"),
        ({"points": POINTS[:1]}, ValueError, "points"),
        ({"points": POINTS.to("meta")}, ValueError, "points"),
    ],
)
def test_bad_input(function, changes, error, argument):
    arguments = {"coarse": BASE, "fine": BASE, "points": POINTS, **changes}
    with pytest.raises(error, match=rf"^{argument}: expected .*, got "):
        function(**arguments)


@each_backend
@pytest.mark.parametrize("function", [replace_points, replace_points_])
@pytest.mark.parametrize("point", [20, -2, 2**40, -(2**40)])
def test_points_outside_the_map(backend, function, point):
    device = DEVICES[backend]
    coarse, fine = torch.zeros(2, 3, 4, 5, device=device), torch.ones(2, 3, 4, 5, device=device)
    points = torch.tensor([[0, 5, -1], [1, 2, point]], device=device)
    if device != "cpu" or backend in EMULATED:  # would have to wait for the points to report them
        expected = oracle.replace(coarse.cpu(), fine.cpu(), torch.tensor([[0, 5, -1], [1, 2, -1]]))
        assert_same(function(coarse, fine, points, backend=backend).cpu(), expected)
        return
    with pytest.raises(IndexError, match=r"points: expected flat indices from -1 to 19"):
        function(coarse, fine, points, backend=backend)
    assert coarse.abs().sum() == 0, "nothing is written"


@pytest.mark.parametrize("dim", [0, 1, 2, 3])
def test_in_place_needs_memory_of_its_own(dim):
    coarse = torch.zeros(2, 3, 4, 5).narrow(dim, 0, 1).expand(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"^coarse: expected memory that can be written to"):
        replace_points_(coarse, BASE, POINTS)


@each_backend
@given(data=st.data(), specs=pairs(min_channels=1))
def test_equals_the_oracle_bit_for_bit(backend, data, specs):
    coarse, fine = (spec.make(DEVICES[backend]) for spec in specs)
    shape = specs[0].shape
    points = random_points(shape, data.draw(st.integers(0, shape[2] * shape[3])), specs[0].seed).to(coarse.device)
    before = coarse.clone()
    result = replace_points(coarse, fine, points, backend=backend)
    assert_same(result.cpu(), oracle.replace(coarse.cpu(), fine.cpu(), points))
    assert_same(coarse, before)
    assert result.stride() == torch.empty_like(coarse).stride(), "the layout follows coarse"


@each_backend_in_place
@given(data=st.data(), specs=pairs(min_channels=1, coarse_layouts=WRITABLE))
def test_in_place_equals_the_oracle_bit_for_bit(backend, data, specs):
    coarse, fine = (spec.make(DEVICES[backend]) for spec in specs)
    shape = specs[0].shape
    points = random_points(shape, data.draw(st.integers(0, shape[2] * shape[3])), specs[0].seed).to(coarse.device)
    expected, fine_before = oracle.replace(coarse.cpu(), fine.cpu(), points), fine.clone()
    strides, address = coarse.stride(), coarse.data_ptr()
    around = surroundings(coarse, specs[0].layout)
    assert replace_points_(coarse, fine, points, backend=backend) is coarse
    assert (coarse.stride(), coarse.data_ptr()) == (strides, address)
    assert_same(coarse.cpu(), expected)
    assert_same(fine, fine_before)
    assert surroundings(coarse, specs[0].layout) == around, "memory between the elements of a slice is untouched"


@each_backend
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.many_blocks
def test_large_enough_for_every_code_path(backend, layout, dtype):
    shape = (2, 19, 61, 67)
    coarse = MapSpec(shape, dtype, "normal", layout, 1).make(DEVICES[backend])
    fine = MapSpec(shape, dtype, "special", "contiguous", 2).make(DEVICES[backend])
    for k in (1, 700, shape[2] * shape[3]):
        points = random_points(shape, k)
        expected = oracle.replace(coarse.cpu(), fine.cpu(), points)
        assert_same(replace_points(coarse, fine, points.to(fine.device), backend=backend).cpu(), expected)


@each_backend
def test_points_in_any_order_and_repeated(backend):
    coarse, fine = torch.zeros(1, 2, 2, 3, device=DEVICES[backend]), torch.ones(1, 2, 2, 3, device=DEVICES[backend])
    points = torch.tensor([[5, -1, 0, 5, 0, -1]], device=coarse.device)
    result = replace_points(coarse, fine, points, backend=backend)
    assert result[0, 0].flatten().tolist() == [1, 0, 0, 0, 0, 1]


@each_backend
@pytest.mark.parametrize("in_place", [False, True])
def test_points_of_any_strides(backend, in_place):
    points = random_points((2, 3, 6, 7), 9)
    wide = torch.full((9, 5), 3, dtype=torch.int64)
    wide[:, ::3] = points.T
    coarse, fine = torch.rand(2, 3, 6, 7), torch.rand(2, 3, 6, 7)
    expected = oracle.replace(coarse, fine, points)
    coarse, fine = coarse.to(DEVICES[backend]), fine.to(DEVICES[backend])
    function = replace_points_ if in_place else replace_points
    assert_same(function(coarse, fine, wide[:, ::3].T.to(coarse.device), backend=backend).cpu(), expected)


@each_backend
def test_gradcheck(backend):
    coarse, fine = (torch.rand(2, 2, 3, 3, dtype=torch.float64, device=DEVICES[backend]).requires_grad_() for _ in "cf")
    points = random_points((2, 2, 3, 3), 6).to(coarse.device)
    assert gradcheck(lambda c, f: replace_points(c, f, points, backend=backend), coarse, fine)
    clone = lambda c, f: replace_points_(c.clone(), f, points, backend=backend)  # noqa: E731
    assert gradcheck(clone, coarse, fine)


@each_backend
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_place", [False, True])
def test_gradient_goes_to_one_of_both(backend, dtype, in_place):
    shape = (2, 3, 4, 5)
    coarse, fine = (torch.rand(shape, device=DEVICES[backend]).to(dtype).requires_grad_() for _ in "cf")
    points = random_points(shape, 7).to(coarse.device)
    weight = torch.rand(shape, device=coarse.device).to(dtype)
    start = coarse.clone() if in_place else coarse
    result = (replace_points_ if in_place else replace_points)(start, fine, points, backend=backend)
    result.backward(weight)
    zeros = torch.zeros(shape, dtype=dtype)
    assert_same(fine.grad.cpu(), oracle.replace(zeros, weight.cpu(), points))
    assert_same(coarse.grad.cpu(), oracle.replace(weight.cpu(), zeros, points))


@each_backend
def test_writing_in_place_to_a_leaf_is_an_error(backend):
    """As for torch's own in-place operators: otherwise its gradient would be wrong in silence."""
    coarse = torch.rand(2, 3, 4, 5, device=DEVICES[backend], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"leaf"):
        replace_points_(coarse, torch.rand(2, 3, 4, 5, device=coarse.device), POINTS.to(coarse.device), backend=backend)


@on_live_devices("replace_points")
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_opcheck(device, layout):
    coarse, fine = (MapSpec((2, 3, 4, 5), torch.float32, "normal", layout, seed).make(device) for seed in (1, 2))
    points = random_points((2, 3, 4, 5), 7).to(device)
    opcheck(torch.ops.magnet_kernels.replace_points_.default, (coarse.clone(), fine, points))
    coarse, fine = (x.requires_grad_() for x in (coarse, fine))
    opcheck(torch.ops.magnet_kernels.replace_points.default, (coarse, fine, points))
