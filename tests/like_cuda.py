"""What torch does otherwise on a GPU than on a CPU, done on a CPU."""

from __future__ import annotations

import numbers
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
_DIVISIONS = (aten.div.Tensor, aten.div.Scalar, aten.div_.Tensor, aten.div_.Scalar)


class DividesLikeCuda(TorchDispatchMode):
    """Divides by numbers as torch does on CUDA: times the reciprocal, rounded to the type that it computes in."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DIVISIONS and isinstance(args[1], numbers.Number) and args[0].is_floating_point():
            wide = torch.promote_types(args[0].dtype, torch.float32)
            reciprocal = float(torch.tensor(1.0, dtype=wide) / torch.tensor(args[1], dtype=wide))
            return args[0].mul_(reciprocal) if func in _DIVISIONS[2:] else args[0] * reciprocal
        return func(*args, **(kwargs or {}))


class TakesLikeCuda(TorchDispatchMode):
    """``most``: bytes of the largest tensor that was made. CUDA sums integers and bools in an int64 copy of them."""

    most = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket in (aten.sum, aten.count_nonzero) and not args[0].is_floating_point():
            self.most = max(self.most, args[0].numel() * torch.int64.itemsize)
        if isinstance(result, Tensor) and all(not isinstance(x, Tensor) or result._base is not x for x in args):
            self.most = max(self.most, result.numel() * result.element_size())
        return result
