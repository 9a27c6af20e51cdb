"""Reading images, and turning them into what the networks see.

Whatever a file holds becomes 8-bit RGB, upright as its EXIF tag says: grey and palette colours are expanded, CMYK is
converted, 16-bit grey is scaled by its full range, 16-bit colour keeps its high byte (what Pillow decodes of it), and
what is transparent is laid over black. Files that Pillow would decode wrongly or without a known range are refused.
"""

from __future__ import annotations

import math
import os
import struct
import threading
import warnings
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

from magnet.errors import MagNetError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BACKGROUND = (0, 0, 0)  # under what is transparent
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
_OPENING = threading.Lock()
_DAMAGE = (  # what decoders raise
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
)


class CorruptImageError(MagNetError):
    """A file that cannot be read as an image: corrupt, truncated, no image, or of pixels without a known meaning."""


class LargeImageError(MagNetError):
    """An image past Pillow's size limit, which is read by window (``magnet.windows``), not as a whole."""


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, upright as its EXIF tag says.

    Raises:
        CorruptImageError: the file is not an image, or is corrupt or truncated.
        LargeImageError: it has more pixels than Pillow reads at once (``PIL.Image.MAX_IMAGE_PIXELS``).
        MagNetError: it does not exist. All of these are MagNetErrors.
    """
    try:
        with _open_image(path) as image:
            if _past_limit(image):
                raise _too_large(path, f"{image.width * image.height} pixels")
            return rgb_array(image)
    except LargeImageError:
        raise
    except MagNetError as error:
        raise type(error)(f"{error}: '{path}'") from None
    except FileNotFoundError:
        raise MagNetError(f"image: expected a file, but '{path}' does not exist; check the path") from None
    except Image.DecompressionBombError as error:
        raise _too_large(path, error) from error
    except _DAMAGE as error:
        raise unreadable(path, error) from error


def _open_image(path: str | os.PathLike[str]) -> Image.Image:
    """``Image.open`` without its warning of many pixels; one at a time, as all threads share the warning filters."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path)


def _past_limit(image: Image.Image) -> bool:
    return image.width * image.height > (math.inf if Image.MAX_IMAGE_PIXELS is None else Image.MAX_IMAGE_PIXELS)


def is_large(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an image past Pillow's size limit; False for what cannot be opened."""
    try:
        with _open_image(path) as image:
            return _past_limit(image)
    except Image.DecompressionBombError:
        return True
    except _DAMAGE:
        return False


def _too_large(path: str | os.PathLike[str], reason: object) -> LargeImageError:
    return LargeImageError(
        f"image: '{path}' has more pixels than Pillow reads at once ({reason}); give its path to magnet predict or "
        "MagNet.predict, or read windows of it with magnet.windows.open_image"
    )


def unreadable(path: str | os.PathLike[str], error: object) -> CorruptImageError:
    """The error for a file that a decoder could not make sense of."""
    reason = " ".join(str(error).split())
    return CorruptImageError(
        f"image: expected a readable image, but '{path}' is corrupt or not an image ({reason}); replace the file"
    )


def rgb_array(image: Image.Image) -> np.ndarray:
    """A PIL image of any kind as (H, W, 3) uint8 RGB, upright as its EXIF tag says; see the module for the rules.

    Raises:
        CorruptImageError: pixels of 32 bits, whose range is not known, or a TIFF that Pillow decodes wrongly.
    """
    _check_tiff(image)
    return flatten(ImageOps.exif_transpose(image))


def flatten(image: Image.Image) -> np.ndarray:
    """A PIL image of any mode as (H, W, 3) uint8 RGB, without turning it; errors as :func:`rgb_array`."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.array(image)  # convert() would clip all above 255
        if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise CorruptImageError(
                f"image: expected 8 or 16 bits a channel, got 32 (mode {image.mode}); scale the values to 0..255"
            )
        return np.repeat(full_range(values)[..., None], 3, axis=2)
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, BACKGROUND)
        image.paste(rgba, mask=rgba.getchannel("A"))
    return np.array(image.convert("RGB"))


def full_range(grey: np.ndarray) -> np.ndarray:
    """16-bit grey values 0..65535 -> uint8, rounded to nearest."""
    return ((grey.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8)


def _check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow opens and decodes into noise: some TIFFs that keep their channels in separate planes."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    bits, extra = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))), tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    separate = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2 and tags.get(TiffImagePlugin.SAMPLESPERPIXEL) != 1
    deep = bits > 8 and tags.get(TiffImagePlugin.COMPRESSION, 1) == 1
    alpha = image.mode in ("LA", "La") or (image.mode == "RGBA" and tuple(extra) != (2,))
    if separate and (deep or alpha):
        raise CorruptImageError(
            f"image: expected a TIFF of interleaved channels, got separate planes of {bits} bits (mode {image.mode}), "
            "which Pillow cannot decode; save it with interleaved channels (planar configuration 1)"
        )


def to_tensor(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div_(255)


def normalize(images: Tensor) -> Tensor:
    """RGB (..., 3, H, W) in [0, 1] -> ImageNet mean 0, standard deviation 1."""
    mean = images.new_tensor(IMAGENET_MEAN).view(3, 1, 1)
    std = images.new_tensor(IMAGENET_STD).view(3, 1, 1)
    return (images - mean) / std


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (N, C, H, W) to ``size`` (H, W), antialiased when shrinking."""
    if images.shape[-2:] == tuple(size):
        return images
    shrinks = size[0] < images.shape[-2] or size[1] < images.shape[-1]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=shrinks)
