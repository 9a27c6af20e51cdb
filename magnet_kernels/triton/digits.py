"""The search for the K-th highest key of an image, digit by digit."""

from __future__ import annotations

import triton
import triton.language as tl

# A key has four digits of 8 bits. With more bits there were fewer launches, but where the compiler counts by votes of a
# warp, each thread keeps 1/32 of the bins in registers and goes through all of them for each of its keys.
#
# Workspace of an image: counts of each digit; then for the second, the third, the fourth and the end the digits before
# it, as the leading bits of the key, and how many of the keys that begin so are wanted.
BITS = tl.constexpr(8)
BINS = tl.constexpr(2**8)
DIGITS_OF_A_KEY = tl.constexpr(4)
STATE = tl.constexpr(4 * 2**8)
WORKSPACE = tl.constexpr(4 * 2**8 + 4 * 2)
# Pixels of a block, besides those with its highest digit, whose digits are counted without a histogram.
FEW = tl.constexpr(4)


@triton.jit
def first_digit(key):
    """0 for the lowest keys: keys have a sign."""
    return (key >> (32 - BITS)) + BINS // 2


@triton.jit
def count_digits(histogram, digit):
    """Adds the digits of a block, in any shape, to the counts of its image; negative ones are not counted.

    That is no mask of its own: what is reshaped for a histogram may be reordered, and so a mask, reshaped apart,
    would be that of other pixels.

    A histogram takes hundreds of instructions, where the compiler counts by votes of a warp. Blocks without digits,
    with a single one (flat areas) or few pixels besides those of the highest do without: one addition for each digit,
    so that equal ones do not queue at one address.
    """
    digit = tl.reshape(digit, [digit.numel])
    highest = tl.max(digit, axis=0)
    if highest >= 0:
        both = tl.sum(tl.where(digit >= 0, 1 << 16, 0) + (digit == highest).to(tl.int32), axis=0)
        equal = both & 0xFFFF
        if (both >> 16) - equal <= FEW:
            while highest >= 0:
                tl.atomic_add(histogram + highest, equal, sem="relaxed")
                digit = tl.where(digit == highest, -1, digit)
                highest = tl.max(digit, axis=0)
                equal = tl.sum((digit == highest).to(tl.int32), axis=0)
        else:
            counts = tl.histogram(digit, BINS, mask=digit >= 0)
            tl.atomic_add(histogram + tl.arange(0, BINS), counts, mask=counts != 0, sem="relaxed")


@triton.jit
def next_digit(workspace, n_points, block, DIGITS: tl.constexpr):
    """(the first DIGITS digits of the K-th highest key, how many of the keys that begin so are wanted).

    The last digit from its counts, those before it from the state, where block 0 leaves the result.
    """
    bins = tl.arange(0, BINS)
    counts = tl.load(workspace + (DIGITS - 1) * BINS + bins)
    if DIGITS == 1:
        prefix = 0
        wanted = n_points
    else:
        prefix = tl.load(workspace + STATE + (DIGITS - 2) * 2)
        wanted = tl.load(workspace + STATE + (DIGITS - 2) * 2 + 1)
    no_lower = tl.sum(counts, axis=0) - tl.cumsum(counts, axis=0) + counts  # keys whose digit is no lower
    digit = tl.sum((no_lower >= wanted).to(tl.int32), axis=0) - 1
    wanted -= tl.sum(tl.where(bins > digit, counts, 0), axis=0)
    prefix = digit - BINS // 2 if DIGITS == 1 else (prefix << BITS) | digit
    if block == 0:
        tl.store(workspace + STATE + (DIGITS - 1) * 2, prefix)
        tl.store(workspace + STATE + (DIGITS - 1) * 2 + 1, wanted)
    return prefix, wanted
