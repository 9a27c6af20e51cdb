"""The most of everything that a command line, a configuration or a model may ask for: beyond is a slip, and would end
in memory or disk that runs out. Each is named by the message that refuses more."""

from __future__ import annotations

__all__ = [
    "AMP",
    "DEVICES",
    "MAX_CACHE_MB",
    "MAX_CHANNELS",
    "MAX_COUNT",
    "MAX_INPUT_PIXELS",
    "MAX_INT",
    "MAX_MODEL_PIXELS",
    "MAX_PATCHES",
    "MAX_SCALES",
    "MAX_SCALE_PIXELS",
    "MAX_SCENES",
    "MAX_SCENE_PIXELS",
    "MAX_SEED",
    "MIN_SCENE_SIDE",
    "Box",
    "Size",
    "check_pixels",
]

Size = tuple[int, int]  # (H, W) in pixels
Box = tuple[int, int, int, int]  # x0, y0, x1, y1

AMP = ("none", "bf16", "auto")  # of networks that do not learn
DEVICES = r"auto|cpu|cuda(:[0-9]{1,3})?"  # a pattern: where networks run
MAX_INT = 2**63 - 1  # what an int64 holds
MAX_COUNT = 10**9  # steps, images, pixels kept
MAX_SEED = 2**62  # first seeds; those that follow fit an int64, too
MAX_SCALES = 32
MAX_SCALE_PIXELS = 2**31  # of a whole image at one scale, as 46340x46340
MAX_MODEL_PIXELS = 2**32  # of a scale of a model, which may follow an image larger than those trained on
MAX_INPUT_PIXELS = 2**28  # what a network sees at once
MAX_PATCHES = 2**20  # of a scale
MAX_SCENES = 10**6  # a second each, at least
MAX_SCENE_PIXELS = 2**28  # as 16384x16384: drawing one takes some 50 bytes a pixel
MIN_SCENE_SIDE = 256
MAX_CACHE_MB = 10**8  # 100 TB
MAX_CHANNELS = 16  # of the images that a network sees


def check_pixels(size: tuple[int, int], most: int) -> tuple[int, int]:
    """``size`` (H, W); raises ValueError where it has more than ``most`` pixels."""
    if size[0] * size[1] > most:
        raise ValueError(f"size: expected (H, W) of at most {most} pixels, got {size[0]}x{size[1]}")
    return size
