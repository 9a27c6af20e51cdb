"""checked_input: the input of an exported program, refused where it is another than that it was exported for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def checked_input(x: Tensor, shape: Sequence[int], device: str) -> Tensor:
    """A contiguous copy of a float32 tensor of ``shape`` on a ``device`` of this kind ("cpu", ...), else ValueError."""
    if x.dtype != torch.float32 or list(x.shape) != list(shape) or x.device.type != device:
        dtype = str(x.dtype).removeprefix("torch.")
        raise ValueError(
            f"input: expected float32 of shape {tuple(shape)} on {device}, got {dtype} of shape {tuple(x.shape)} on "
            f"{x.device.type}; bring it to these, or export the model for images of that size"
        )
    return x.new_empty(x.shape).copy_(x)
