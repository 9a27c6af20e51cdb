"""Order-preserving integer keys: a total order of floats in which NaN and signed zero cannot break a comparison."""

from __future__ import annotations

import torch
from torch import Tensor


def order_keys(x: Tensor) -> Tensor:
    """Map floats to ints of the same order: NaN below -inf, -0 just below +0. int64 for float64, else int32."""
    if x.dtype == torch.float64:
        bits, shift, low = x.view(torch.int64), 63, torch.iinfo(torch.int64).max
    else:
        bits, shift, low = x.float().view(torch.int32), 31, torch.iinfo(torch.int32).max
    keys = bits ^ ((bits >> shift) & low)
    return keys.masked_fill(x.isnan(), torch.iinfo(keys.dtype).min)
