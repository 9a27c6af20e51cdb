"""checked_input: the input of an exported program, refused where it is another than that it was exported for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def checked_input(x: Tensor, shape: Sequence[int], device: str) -> Tensor:
    """A contiguous copy of a dense float32 tensor of ``shape`` on a ``device`` of this kind, or ValueError."""
    check_input(x, shape, device)
    return x.new_empty(x.shape).copy_(x)


def check_input(x: Tensor, shape: Sequence[int], device: str) -> None:
    """Raise ValueError unless ``x`` is a dense float32 tensor of ``shape`` on a ``device`` of this kind.

    Compiled code reads memory: layouts that have none of their own (sparse, nested, mkldnn's), and the device "meta",
    are refused, too.
    """
    dtype = str(x.dtype).removeprefix("torch.")
    if x.is_nested:  # its sizes are not numbers
        got = f"a nested tensor of {dtype} on {x.device.type}"
    elif x.layout != torch.strided:
        layout = str(x.layout).removeprefix("torch.").removeprefix("_")
        got = f"{dtype} of shape {tuple(x.shape)} on {x.device.type} in the layout {layout}, which is not dense"
    elif x.dtype != torch.float32 or list(x.shape) != list(shape) or x.device.type != device:
        got = f"{dtype} of shape {tuple(x.shape)} on {x.device.type}"
    else:
        return
    raise ValueError(
        f"input: expected float32 of shape {tuple(shape)} on {device}, got {got}; bring it to these, or export the "
        "model for images of that size"
    )
