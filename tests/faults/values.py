"""Values that settings do not expect."""

from __future__ import annotations

ODD = (
    None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 10**18, 2**64, -(2**63), 0.0, -0.0, 0.5, 1.5, -0.5, 1e-300, 1e300,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "nan", "text", "../..", "/", "\x00", "\x1b[31m", "ä" * 300,
    [], [0], [1, 2], [-1, -1], [[1, 2]], [[0, 0]], [10**9, 10**9], [[8, 8], [16, 16]], {}, {"a": 1},
    [None], ["x"], [[[]]],
)  # fmt: skip
