"""When two results count as the same: each function raises AssertionError with what differs.

They take (theirs, expected, arguments); arguments are those of the call, an in-place call's as they were before it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TIES = 64 / (1024 * 2048)  # of the pixels: those whose score is exactly, or but for rounding, the last one chosen


def _all(theirs: Any, expected: Any) -> list[tuple[Tensor, Tensor]]:
    if isinstance(expected, Tensor):
        return [(theirs, expected)]
    return list(zip(theirs, expected, strict=True))


def identical(theirs: Any, expected: Any, arguments: tuple[Any, ...]) -> None:
    for a, b in _all(theirs, expected):
        assert a.dtype == b.dtype and a.shape == b.shape, f"{a.dtype} {tuple(a.shape)}, not {b.dtype} {tuple(b.shape)}"
        wrong = a != b
        if bool(wrong.any()):  # a sum of bools takes 8 bytes for each on a GPU: more than the maps, and so one by one
            different = sum(int(part.sum()) for part in wrong.flatten().split(2**26))
            raise AssertionError(f"{different} of {b.numel()} values differ")


def close(atol: float) -> Any:
    def compare(theirs: Any, expected: Any, arguments: tuple[Any, ...]) -> None:
        for a, b in _all(theirs, expected):
            assert a.shape == b.shape, f"{tuple(a.shape)}, not {tuple(b.shape)}"
            if b.dtype == torch.bool:
                assert torch.equal(a, b), "covered pixels differ"
                continue
            worst = float((a.float() - b.float()).abs().max())
            assert worst <= atol, f"differ by {worst:.3g}, more than {atol:g}"  # NaN fails too

    return compare


def few_pixels(theirs: Any, expected: Any, arguments: tuple[Any, ...]) -> None:
    """Maps or labels, equal but for a few pixels: those about as good as the last one chosen."""
    _few(theirs, expected, 0.0)


def few_pixels_within(atol: float) -> Any:
    """The same for maps whose values are made by arithmetic, which rounds."""
    return lambda theirs, expected, arguments: _few(theirs, expected, atol)


def _few(theirs: Tensor, expected: Tensor, atol: float) -> None:
    assert theirs.shape == expected.shape, f"{tuple(theirs.shape)}, not {tuple(expected.shape)}"
    if theirs.is_floating_point():
        assert bool(torch.isfinite(theirs).all()), "values are not finite"
        wrong = ((theirs - expected).abs() > atol).any(dim=1) if atol else (theirs != expected).any(dim=1)
    else:
        wrong = theirs != expected
    different, allowed = int(wrong.sum()), max(8, int(TIES * wrong.numel()))
    assert different <= allowed, f"{different} pixels differ, more than {allowed}"


def as_many_replaced(theirs: Tensor, expected: Tensor, arguments: tuple[Any, ...]) -> None:
    """All scores are equal: which pixels are taken is anybody's choice, how many is not."""
    coarse, fine = arguments[:2]
    here, there = _replaced(theirs, coarse), _replaced(expected, coarse)
    assert int(here.sum()) == int(there.sum()), f"{int(here.sum())} pixels replaced, not {int(there.sum())}"
    assert bool((torch.where(here[:, None], fine, coarse) == theirs).all()), "a value is neither coarse's nor fine's"


def mostly_the_same_points(theirs: Tensor, expected: Tensor, arguments: tuple[Any, ...]) -> None:
    """Scores made in half precision tie and round: most of the pixels replaced must still be the same ones."""
    coarse = arguments[0]
    here, there = _replaced(theirs, coarse), _replaced(expected, coarse)
    common = int((here & there).sum()) / max(1, int(there.sum()))
    assert common >= 0.5, f"only {common:.0%} of the points are the same"
    assert bool((theirs == expected).all(dim=1)[here == there].all()), "a replaced value differs"


def _replaced(refined: Tensor, coarse: Tensor) -> Tensor:
    return (refined != coarse).any(dim=1)


def same_scores(theirs: Tensor, expected: Tensor, arguments: tuple[Any, ...]) -> None:
    """Points in any order, and any of equal scores."""
    score = arguments[0].flatten(1)
    assert theirs.shape == expected.shape, f"{tuple(theirs.shape)}, not {tuple(expected.shape)}"
    theirs = theirs.long()
    assert bool(((theirs >= 0) & (theirs < score.shape[1])).all()), "a point is outside the map"
    ordered = theirs.sort(dim=1).values
    assert not bool((ordered[:, 1:] == ordered[:, :-1]).any()), "a point is listed twice"
    a, b = (score.gather(1, points).sort(dim=1).values for points in (theirs, expected))
    assert torch.equal(a, b), "the scores at the points differ"
