"""Argument checks shared by all operators: one clear error, raised before any kernel runs, alike on every backend."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

_MOST_BYTES = 2**56  # no process can address more, and products are far from an overflow
FLOAT_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# Asked for once: torch 2.11 cannot trace the question. Any other device that tensors lie on has autocast.
_WITHOUT_AUTOCAST = frozenset(
    name for name in ("meta", "lazy", "vulkan", "hip", "fpga", "ve") if not torch.amp.is_autocast_available(name)
)


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        if value.is_nested:  # has no shape
            return f"a nested {value.dtype} tensor on {value.device}"
        return f"a {value.dtype} tensor of shape {tuple(value.shape)} on {value.device}"
    if hasattr(value, "shape") and hasattr(value, "dtype") and value.shape != ():  # an array: not all its values
        return f"a {value.dtype} {type(value).__name__} of shape {tuple(value.shape)}"
    return f"{value!r} ({type(value).__name__})"


def as_int(value: object) -> object:
    """numpy's ints as Python's; anything else as it is."""
    if isinstance(value, (int, torch.SymInt)) or not isinstance(value, numbers.Integral):
        return value
    return int(value)


def check_dense(name: str, x: Tensor) -> None:
    """``x`` must be neither sparse nor nested."""
    if x.is_nested:
        raise TypeError(f"{name}: expected a dense tensor, got a nested one; pad it with torch.nested.to_padded_tensor")
    if x.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got one of {x.layout}; convert it with {name}.to_dense()")


def check_map(name: str, x: Tensor, *, min_channels: int = 1) -> None:
    """``x`` must be a floating-point (N, C, H, W) tensor with at least ``min_channels`` channels."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{name}: expected a torch.Tensor (N, C, H, W), got {_describe(x)}; convert it with torch.as_tensor"
        )
    check_dense(name, x)
    if x.dtype not in FLOAT_TYPES:
        raise TypeError(
            f"{name}: expected float32, float16, bfloat16 or float64, got {_describe(x)}; "
            f"convert it with {name}.float()"
        )
    if x.dim() != 4:
        raise ValueError(
            f"{name}: expected 4 dimensions (N, C, H, W), got {_describe(x)}; add the missing ones with unsqueeze"
        )
    if x.shape[1] < min_channels:
        hint = "two classes are the least that have a top-two margin" if min_channels == 2 else "no channels to work on"
        raise ValueError(f"{name}: expected at least {min_channels} channels (C), got {_describe(x)}; {hint}")


def check_score(score: Tensor) -> None:
    """``score`` must be a floating-point (N, 1, H, W) tensor."""
    check_map("score", score)
    if score.shape[1] != 1:
        raise ValueError(
            f"score: expected one channel (N, 1, H, W), got {_describe(score)}; "
            "reduce the classes first, see confidence()"
        )


def promoted(first: Tensor, second: Tensor, *, fixed: bool = False) -> tuple[Tensor, Tensor]:
    """Two maps in the wider of their types where autocast is on, as torch promotes them; elsewhere as they are.

    ``fixed``: ``first`` is written to, so that its type stays.
    """
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.dtype == second.dtype:
        return first, second
    if first.dtype not in FLOAT_TYPES or second.dtype not in FLOAT_TYPES or not _autocast(first.device.type):
        return first, second
    dtype = torch.promote_types(first.dtype, second.dtype)
    if fixed and dtype != first.dtype:
        return first, second
    return first.to(dtype), second.to(dtype)


def _autocast(device_type: str) -> bool:
    return device_type not in _WITHOUT_AUTOCAST and torch.is_autocast_enabled(device_type)


def check_pair(coarse: Tensor, fine: Tensor, *, min_channels: int = 2, may_upsample: bool = False) -> None:
    """``coarse`` and ``fine`` must agree in shape, type and device; ``coarse`` may be smaller where it is upsampled."""
    check_map("coarse", coarse, min_channels=min_channels)
    check_map("fine", fine, min_channels=min_channels)
    if coarse.dtype != fine.dtype:
        raise TypeError(
            f"fine: expected the type of coarse, {coarse.dtype}, got {_describe(fine)}; "
            "convert it with fine.to(coarse.dtype)"
        )
    if coarse.device != fine.device:
        raise ValueError(
            f"fine: expected the device of coarse, {coarse.device}, got {_describe(fine)}; "
            "move it with fine.to(coarse.device)"
        )
    if coarse.shape[:2] != fine.shape[:2]:
        raise ValueError(
            f"fine: expected N and C of coarse, {tuple(coarse.shape[:2])}, got {_describe(fine)}; "
            "both must hold the same images and classes"
        )
    if coarse.shape[2:] == fine.shape[2:]:
        return
    if not may_upsample:
        raise ValueError(
            f"fine: expected the shape of coarse, {tuple(coarse.shape)}, got {_describe(fine)}; "
            "resize one with torch.nn.functional.interpolate"
        )
    if coarse.shape[2] > fine.shape[2] or coarse.shape[3] > fine.shape[3] or 0 in coarse.shape[2:]:
        raise ValueError(
            f"coarse: expected a map no larger than fine, {tuple(fine.shape[2:])} (H, W), and not empty, "
            f"got {_describe(coarse)}; "
            "are coarse and fine swapped?"
        )


def check_in_place(name: str, x: Tensor) -> None:
    """``x`` is written to: no two of its elements may share memory."""
    sizes = [(stride, size) for stride, size in zip(x.stride(), x.shape, strict=True) if size != 1]
    if 0 in x.shape or _nest(sizes):
        return
    # symbols cannot be searched: while they are traced, other layouts are refused
    if not torch.compiler.is_compiling() and not _overlaps_itself(sorted(sizes, reverse=True)):
        return
    expanded = any(stride == 0 for stride, _ in sizes)
    came = "an expanded tensor" if expanded else f"{_describe(x)} of strides {x.stride()}, which overlaps itself"
    raise ValueError(
        f"{name}: expected memory that can be written to, got {came}; make it whole with {name}.contiguous()"
    )


def _memory_of(x: Tensor) -> int:
    """The same number for tensors whose memory is the same; fake tensors have none, but a storage."""
    storage = x.untyped_storage()
    return storage._cdata if isinstance(x, torch._subclasses.FakeTensor) else storage.data_ptr()


def check_apart(name: str, x: Tensor, other_name: str, other: Tensor, hint: str) -> None:
    """``x`` is written to while ``other`` is read: they must not share memory."""
    if torch.compiler.is_compiling() or x.numel() == 0 or other.numel() == 0:
        return
    storage = _memory_of(x)
    if storage == 0 or storage != _memory_of(other):
        return
    distance = int(x.storage_offset() - other.storage_offset())
    if x.dtype == other.dtype and x.shape == other.shape and x.stride() == other.stride():
        axes = sorted(zip(x.stride(), x.shape, strict=True), reverse=True)
        shared = _reaches(distance, axes, [_MOST_TRIES])
    else:
        ends = [sum((n - 1) * s for n, s in zip(t.shape, t.stride(), strict=True)) for t in (x, other)]
        shared = -ends[0] <= distance <= ends[1]
    if shared:
        raise ValueError(f"{name}: expected memory of its own, got memory shared with {other_name}; {hint}")


_MOST_TRIES = 10_000  # strides that nest take a few


def _nest(axes: Sequence[tuple[int, int]]) -> bool:
    """Whether every step along one of these (stride, size) passes all that smaller strides reach.

    It sorts nothing, so that it can be traced where sizes are symbols.
    """
    for i, (stride, _) in enumerate(axes):
        inner = [(s, n) for j, (s, n) in enumerate(axes) if s < stride or (s == stride and j > i)]
        if stride <= sum((n - 1) * s for s, n in inner):
            return False
    return True


def _overlaps_itself(axes: Sequence[tuple[int, int]]) -> bool:
    """Whether two elements of a tensor of these (stride, size), largest stride first and no size 1, share memory."""
    left = [_MOST_TRIES]
    for i, (stride, size) in enumerate(axes):
        rest = axes[i + 1 :]
        reach = sum((n - 1) * s for s, n in rest)
        if stride > reach:
            continue
        # the elements differ along this axis, and along none before it
        if stride == 0 or any(_reaches(k * stride, rest, left) for k in range(1, min(size - 1, reach // stride) + 1)):
            return True
    return False


def _reaches(distance: int, axes: Sequence[tuple[int, int]], left: list[int]) -> bool:
    """Whether two elements of a tensor of these (stride, size), largest stride first, lie ``distance`` apart.

    ``left`` counts the tries that remain: where there are none, the answer is yes.
    """
    axes = [(stride, size) for stride, size in axes if stride > 0 and size > 1]
    if not axes:
        return distance == 0
    if distance % math.gcd(*(stride for stride, _ in axes)):
        return False
    (stride, size), rest = axes[0], axes[1:]
    reach = sum((n - 1) * s for s, n in rest)
    first, last = max(-((reach - distance) // stride), 1 - size), min((distance + reach) // stride, size - 1)
    for k in range(first, last + 1):
        left[0] -= 1
        if left[0] < 0 or _reaches(distance - k * stride, rest, left):
            return True
    return False


def check_kernel_size(kernel_size: int) -> int:
    """An odd int from 1 to 15."""
    kernel_size = as_int(kernel_size)  # type: ignore[assignment]
    if (
        isinstance(kernel_size, bool)
        or not isinstance(kernel_size, int)
        or not 1 <= kernel_size <= 15
        or kernel_size % 2 == 0
    ):
        raise ValueError(
            f"kernel_size: expected an odd int from 1 to 15 (1 = no median), got {_describe(kernel_size)}; "
            "use 3, 5 or 11"
        )
    return kernel_size


def check_mask(mask: Tensor | None, fine: Tensor) -> Tensor | None:
    """Bring a mask (N, 1, H, W), (N, H, W) or (H, W), N may be 1, to (N, 1, H, W) without a copy."""
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(
            f"mask: expected a bool tensor, True where fine is valid, got {_describe(mask)}; "
            "convert it with mask.bool()"
        )
    check_dense("mask", mask)
    if mask.device != fine.device:
        raise ValueError(
            f"mask: expected the device of fine, {fine.device}, got {_describe(mask)}; "
            "move it with mask.to(fine.device)"
        )
    n, _, h, w = fine.shape
    whole = mask[None, None] if mask.dim() == 2 else mask[:, None] if mask.dim() == 3 else mask
    if whole.dim() != 4 or whole.shape[0] not in (1, n) or whole.shape[1] != 1 or whole.shape[2:] != fine.shape[2:]:
        raise ValueError(
            f"mask: expected ({n}, 1, {h}, {w}), ({n}, {h}, {w}), either with 1 in place of {n}, or ({h}, {w}), got "
            f"{_describe(mask)}; resize or reshape it"
        )
    return whole.expand(n, 1, h, w)


def check_points(points: Tensor, coarse: Tensor) -> None:
    """``points`` must be (N, K) int64 flat indices on the device of ``coarse``; -1 replaces nothing."""
    if not isinstance(points, Tensor) or points.dtype != torch.int64:
        raise TypeError(
            f"points: expected an int64 tensor of flat indices y * W + x, got {_describe(points)}; see select_points()"
        )
    check_dense("points", points)
    if points.dim() != 2 or points.shape[0] != coarse.shape[0]:
        raise ValueError(
            f"points: expected (N, K) with N = {coarse.shape[0]}, got {_describe(points)}; one row of indices an image"
        )
    if points.device != coarse.device:
        raise ValueError(
            f"points: expected the device of coarse, {coarse.device}, got {_describe(points)}; "
            "move it with points.to(coarse.device)"
        )


def check_boxes(boxes: Tensor, device: torch.device) -> None:
    """``boxes`` must be (P, 5) floats (image index, x0, y0, x1, y1) on ``device`` or on the CPU."""
    if not isinstance(boxes, Tensor) or boxes.dtype not in FLOAT_TYPES:
        raise TypeError(
            f"boxes: expected a floating-point tensor (image index, x0, y0, x1, y1), got {_describe(boxes)}; "
            "convert it with boxes.float()"
        )
    check_dense("boxes", boxes)
    if boxes.dim() != 2 or boxes.shape[1] != 5:
        raise ValueError(
            f"boxes: expected (P, 5): image index, x0, y0, x1, y1 in pixels, got {_describe(boxes)}; "
            "put the image index first"
        )
    if boxes.device != device and boxes.device.type != "cpu":
        wanted = "cpu" if device.type == "cpu" else f"{device} or cpu"
        raise ValueError(f"boxes: expected device {wanted}, got {_describe(boxes)}; move it with boxes.cpu()")


def check_size(name: str, size: object) -> tuple[int, int]:
    """Two positive ints (H, W)."""
    pair = tuple(as_int(v) for v in size) if isinstance(size, (tuple, list)) else None
    if (
        pair is None
        or len(pair) != 2
        or any(isinstance(v, bool) or not isinstance(v, (int, torch.SymInt)) or v < 1 for v in pair)
    ):
        raise ValueError(f"{name}: expected two positive ints (H, W), got {_describe(size)}; sizes are (height, width)")
    return pair  # type: ignore[return-value]


def check_result(name: str, value: object, shape: Sequence[int], dtype: torch.dtype) -> None:
    """The bytes of a result of this shape must be countable; ``value`` is what argument ``name`` was given."""
    if torch.compiler.is_compiling():  # sizes may be symbols
        return
    size = dtype.itemsize
    for n in shape:
        size *= max(n, 1)  # tables are as long as the sides, though there be no image
    if size > _MOST_BYTES:
        raise ValueError(
            f"{name}: expected a result of at most 2**56 bytes, got {value!r}, which makes {tuple(shape)} of {dtype}; "
            "pass a smaller one"
        )


def check_box_values(boxes: Tensor, batch_size: int) -> None:
    """Image indices must be whole and lie in the batch, coordinates finite and below 2**24, as float32 counts."""
    if boxes.shape[0] == 0:
        return
    image, corners = boxes.detach()[:, 0], boxes.detach()[:, 1:]
    wrong = ~((image >= 0) & (image < batch_size) & (image == image.floor()))
    if bool(wrong.any()):
        raise ValueError(
            f"boxes: expected image indices from 0 to {batch_size - 1} in column 0, got {image[wrong][0].item()}; "
            "a box is (image index, x0, y0, x1, y1)"
        )
    wrong = ~(corners.abs() < 2.0**24)
    if bool(wrong.any()):
        raise ValueError(
            f"boxes: expected finite coordinates below 2**24 pixels, got {corners[wrong][0].item()}; "
            "a box is (image index, x0, y0, x1, y1) in pixels"
        )


def check_filled(name: str, x: Tensor) -> None:
    """``x`` (N, C, H, W) must have pixels; N may be 0."""
    if 0 in x.shape[2:]:
        raise ValueError(
            f"{name}: expected at least one pixel (H, W >= 1), got {_describe(x)}; there is nothing to sample"
        )


def check_batch_size(batch_size: int) -> int:
    """An int >= 0."""
    batch_size = as_int(batch_size)  # type: ignore[assignment]
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, torch.SymInt)) or batch_size < 0:
        raise ValueError(
            f"batch_size: expected an int >= 0 (the number of images), got {_describe(batch_size)}; "
            "image indices in boxes count up to it"
        )
    return batch_size


def count_points(n_points: int | float, height: int, width: int) -> int:
    """Resolve ``n_points`` to a count: an int is a count (capped at H*W), a float in (0, 1] a fraction
    of H*W, rounded down."""
    total = height * width
    n_points = as_int(n_points)  # type: ignore[assignment]
    if not isinstance(n_points, (int, float, torch.SymInt)) and isinstance(n_points, numbers.Real):
        n_points = float(n_points)  # numpy's floats of other sizes
    if isinstance(n_points, (int, torch.SymInt)) and not isinstance(n_points, bool) and n_points >= 0:
        return torch.sym_min(n_points, total) if isinstance(total, torch.SymInt) else min(n_points, total)
    if isinstance(n_points, float) and 0.0 < n_points <= 1.0:
        share = total * n_points
        return int(share) if isinstance(share, float) else torch.sym_int(share)  # int() would fix a symbolic size
    raise ValueError(
        "n_points: expected an int >= 0 (a count) or a float in (0, 1] (a fraction of the pixels), "
        f"got {_describe(n_points)}; "
        "use e.g. 65536 or 0.25"
    )
