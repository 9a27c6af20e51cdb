"""Reading images, and turning them into what the networks see."""

from __future__ import annotations

import os
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from magnet.errors import MagNetError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an image file as (H, W, 3) uint8 RGB, upright as its EXIF tag says.

    Raises:
        MagNetError: the file is missing, is not an image, or is corrupt or truncated.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return rgb_array(image)
    except MagNetError as error:
        raise MagNetError(f"{error}: '{path}'") from None
    except FileNotFoundError:
        raise MagNetError(f"image: expected a file, but '{path}' does not exist; check the path") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise MagNetError(
            f"image: '{path}' has more pixels than Pillow reads at once ({error}); tile it first"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise MagNetError(
            f"image: expected a readable image, but '{path}' is corrupt or not an image ({error}); replace the file"
        ) from error


def rgb_array(image: Image.Image) -> np.ndarray:
    """A PIL image of any kind as (H, W, 3) uint8 RGB, upright as its EXIF tag says; 16-bit greys are scaled to 8 bits.

    Raises:
        MagNetError: pixels of 32 bits, whose range is not known.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        values = np.array(image)  # convert() would clip all above 255
        if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 0xFFFF:
            raise MagNetError(
                f"image: expected 8 or 16 bits a channel, got 32 (mode {image.mode}); scale the values to 0..255"
            )
        image = Image.fromarray(((values.astype(np.uint32) * 255 + 0x7FFF) // 0xFFFF).astype(np.uint8))
    return np.array(image.convert("RGB"))


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
