"""Values in kernels: types they are stored in, order-preserving keys, places between pixels."""

from __future__ import annotations

import triton
import triton.language as tl

# Keys are int32: NaN (any) < -inf < ... < -0 < +0 < ... < +inf, as in csrc/common/order_key.h. For the selection -0 is
# +0, and what is not valid lies below NaN.
KEY_OF_NAN = tl.constexpr(-(2**31))
KEY_OF_INVALID = tl.constexpr(-(2**31))


@triton.jit
def multiple_of_16(x, ALIGNED: tl.constexpr):
    """An argument of the kernel as it is. ALIGNED: it is a multiple of 16, and the compiler learns that here.

    (tl.multiple_of does nothing to arguments.) One that is 1 is a constant, and stays.
    """
    if ALIGNED and isinstance(x, tl.tensor):
        return (x >> 4) << 4
    else:
        return x


@triton.jit
def widen(x):
    """Values of any type in fp32."""
    return x.to(tl.float32)


@triton.jit
def minus_zero(shape: tl.constexpr):
    """-0 in fp32, the zero that adding never changes. (-0.0 as a constant becomes +0.)"""
    return tl.full(shape, -(2**31), tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def add_tap(total, weight, at, mask):
    """``total`` and ``weight`` of what lies at ``at``, which is not read where that is 0: it may be infinite or NaN."""
    read = mask & (weight != 0.0)
    return tl.where(read, total + weight * widen(tl.load(at, mask=read, other=0.0)), total)


@triton.jit
def order_key(x):
    """The key of fp32 values; that of +0 is 0."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(x != x, KEY_OF_NAN, bits ^ ((bits >> 31) & 0x7FFFFFFF))


@triton.jit
def from_order_key(key):
    """The fp32 value of a key."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def selection_key(key, valid):
    """The key to select by, from an order key."""
    key = tl.where(key == -1, 0, key)
    return tl.where(valid, tl.maximum(key, KEY_OF_NAN + 1), KEY_OF_INVALID)


@triton.jit
def narrow(x, element: tl.constexpr):
    """fp32 values as ``element``, to nearest even."""
    return x.to(element)


@triton.jit
def blend(low, high, weight):
    """Between the values of two pixels. Where ``weight``, of the higher, is 0: the lower as it is."""
    return tl.where(weight == 0.0, low, low * (1.0 - weight) + high * weight)


@triton.jit
def bilinear_tap(index, scale, size):
    """align_corners=False: the lower of two pixels, 1 or 0 to the higher, and the weight of that.

    ``scale`` is input size / output size. The weight is below 1; one of 0 stays on the lower pixel.
    """
    source = tl.maximum(scale * (index.to(tl.float32) + 0.5) - 0.5, 0.0)
    low = tl.minimum(source.to(tl.int32), size - 1)
    weight = source - low.to(tl.float32)
    weight = tl.where(weight < 1.0, weight, 0.0)  # by rounding, beyond the last pixel
    step = tl.where((weight != 0.0) & (low < size - 1), 1, 0)
    return low, step, weight
