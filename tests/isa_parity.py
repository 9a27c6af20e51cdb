"""Compares every operator's CPU kernel with the reference. A program, run under MAGNET_CPU_ISA."""

from __future__ import annotations

import itertools

import torch
from strategies import DTYPES, MapSpec
from tolerances import assert_close, assert_same

import magnet_kernels as mk


def maps(shape, dtype, content, layout, count=2):
    return [MapSpec(shape, dtype, content, layout, seed).make() for seed in range(count)]


def check(layout: str, dtype: torch.dtype, content: str) -> None:
    coarse, fine = maps((2, 7, 19, 53), dtype, content, layout)
    mask = MapSpec((1, 1, 19, 53), torch.float32, "normal", "contiguous", 3).make() > -0.5

    def both(function, **options):
        return function(backend="cpu", **options), function(backend="reference", **options)

    assert_same(*both(lambda backend: mk.confidence(coarse, backend=backend)))
    if content != "special":
        assert_close(*both(lambda backend: mk.confidence(coarse, from_logits=True, backend=backend)))
    for kernel_size in (1, 3, 5, 7, 11, 15):
        assert_same(*both(lambda backend, k=kernel_size: mk.median_blur(coarse, k, backend=backend)))
    score = both(lambda backend: mk.uncertainty_score(coarse, fine, kernel_size=5, mask=mask, backend=backend))
    assert_same(*score)
    for k in (1, 100, 900):
        assert_same(*both(lambda backend, k=k: mk.select_points(coarse[:, :1], k, mask=mask, backend=backend)))
    points = mk.select_points(score[1], 77)
    assert_same(*both(lambda backend: mk.replace_points(coarse, fine, points, backend=backend)))
    for valid, in_place in itertools.product((None, mask), (False, True)):
        results = []
        for backend in ("cpu", "reference"):
            function = mk.refine_step_ if in_place else mk.refine_step
            start = coarse.clone()
            results.append(function(start, fine, n_points=77, mask=valid, return_points=True, backend=backend))
        assert_same(results[0][1], results[1][1])
        assert_same(results[0][0], results[1][0])
    if content == "special":
        return
    upsampled = both(lambda backend: mk.upsample_confidence(coarse, (40, 71), backend=backend))
    assert_close(upsampled[0][0], upsampled[1][0])
    assert_same(upsampled[0][1], mk.confidence(upsampled[0][0], backend="reference"))
    boxes = torch.tensor([[0, 3.0, 2.0, 40.0, 17.0], [1, 0.0, 0.0, 53.0, 19.0], [1, 7.3, 4.1, 30.9, 12.2]])
    for aligned in (False, True):
        assert_close(
            *both(lambda backend, a=aligned: mk.crop_patches(coarse, boxes, (9, 20), aligned=a, backend=backend))
        )
    assert_close(*both(lambda backend: mk.patch_uncertainty(coarse, boxes, backend=backend)))
    patches = torch.cat([coarse, fine])[:3]
    stitched = both(lambda backend: mk.stitch_patches(patches, boxes, (19, 53), batch_size=2, backend=backend))
    assert_close(stitched[0][0], stitched[1][0])
    assert_same(stitched[0][1], stitched[1][1])
    for labels_only, n_points in itertools.product((False, True), (200, 1.0)):
        options = {"n_points": n_points, "labels_only": labels_only, "return_points": True}
        stage = both(lambda backend, o=options: mk.refine_stage(coarse, patches, boxes, (19, 53), backend=backend, **o))
        assert_same(stage[0][1], stage[1][1])
        assert_close(stage[0][0], stage[1][0]) if not labels_only else assert_same(stage[0][0], stage[1][0])


def check_long_rows(layout: str, dtype: torch.dtype) -> None:
    """Rows of several blocks, maps of several chunks of points, of which most neighbours are chosen together."""
    shape = (2, 5, 6, 1100)
    coarse, fine = maps(shape, dtype, "probabilities", layout)
    half = MapSpec((2, 5, 3, 550), dtype, "probabilities", layout, 2).make()
    total = shape[2] * shape[3]

    def both(function, **options):
        return function(backend="cpu", **options), function(backend="reference", **options)

    upsampled = both(lambda backend: mk.upsample_confidence(half, shape[2:], backend=backend))
    assert_close(upsampled[0][0], upsampled[1][0])
    for k in (total // 20, total - 30):
        for start in (coarse.clone(), half):
            refined = mk.refine_step(start, fine, n_points=k, return_points=True, backend="cpu")
            wide = start if start is not half else upsampled[0][0]
            assert_same(refined[0], mk.replace_points(wide, fine, refined[1], backend="reference"))
        written = mk.refine_step_(coarse.clone(), fine, n_points=k, backend="cpu")
        assert_same(written, mk.refine_step(coarse, fine, n_points=k, backend="reference"))
        runs = (torch.arange(total) // 40 % 3 > 0).nonzero()[:k, 0]
        runs[::97] = -1
        for points in (runs, runs.flip(0), runs[torch.randperm(len(runs))], runs.repeat(2)[: total - 1]):
            points = points.repeat(2, 1)
            assert_same(*both(lambda backend, p=points: mk.replace_points(coarse, fine, p, backend=backend)))


if __name__ == "__main__":
    torch.set_num_threads(2)
    cases = list(
        itertools.product(("contiguous", "channels_last", "sliced"), DTYPES, ("probabilities", "special", "ties"))
    )
    for case in cases:
        check(*case)
    for layout, dtype, _ in cases[::3]:
        check_long_rows(layout, dtype)
    print(f"{len(cases)} cases equal")
