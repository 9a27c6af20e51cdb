"""Values in kernels: types they are stored in, order-preserving keys, places between pixels."""

from __future__ import annotations

import triton
import triton.language as tl

# Keys are int32: NaN (any) < -inf < ... < -0 < +0 < ... < +inf, as in csrc/common/order_key.h. For the selection -0 is
# +0, and what is not valid lies below NaN.
KEY_OF_NAN = tl.constexpr(-(2**31))
KEY_OF_INVALID = tl.constexpr(-(2**31))


@triton.jit
def widen(x):
    """Values of any type in fp32."""
    return x.to(tl.float32)


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
def bilinear_tap(index, scale, size):
    """align_corners=False: the lower of two pixels, 1 or 0 to the higher, and the weight of that.

    ``scale`` is input size / output size. A weight of 0 stays on the lower pixel.
    """
    source = tl.maximum(scale * (index.to(tl.float32) + 0.5) - 0.5, 0.0)
    low = tl.minimum(source.to(tl.int32), size - 1)
    weight = tl.minimum(source - low.to(tl.float32), 1.0)
    step = tl.where((weight != 0.0) & (low < size - 1), 1, 0)
    return low, step, weight
