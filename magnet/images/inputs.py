"""What users pass as images: checked, and as pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from magnet.devices import send
from magnet.images.rasters.arrays import ArrayRaster
from magnet.images.rasters.declared_range import tell_range_of_whole
from magnet.images.rasters.input_settings import InputSettings
from magnet.images.rasters.read_input import InputImage
from magnet.images.read import rgb_array
from magnet.images.tensors import to_tensor

__all__ = ["check_images", "floats_of", "pixels_of", "size_of"]


def check_images(images: Any, channels: int = 3) -> None:
    """Normalised images (N, channels, H, W)."""
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(
            f"images: expected a floating-point tensor of normalised images (N, {channels}, H, W), got {got}; "
            "use magnet.images.normalize, or predict() for other kinds of images"
        )
    if images.ndim != 4 or images.shape[1] != channels or images.numel() == 0:
        raise ValueError(
            f"images: expected (N, {channels}, H, W), none of them 0, got {tuple(images.shape)}; "
            "use images[None] for a single one"
        )


def pixels_of(image: Any, inputs: InputSettings) -> np.ndarray | Tensor:
    """What ``MagNet.predict`` takes, paths aside, as networks see it; an :class:`InputImage` is that already.

    Returns:
        (H, W, C) uint8, or a (C, H, W) float tensor in [0, 1].
    """
    if isinstance(image, InputImage):
        return image.pixels if image.pixels.dtype == np.uint8 else to_tensor(image.pixels)
    if isinstance(image, Image.Image):
        if inputs.plain:
            return rgb_array(image)
        image = np.asarray(ImageOps.exif_transpose(image))
    if isinstance(image, Tensor) and (image.dtype == torch.uint8 or not (inputs.plain or image.is_floating_point())):
        _check_layout(image, inputs.channels if inputs.plain else None)
        image = image.permute(1, 2, 0).cpu().numpy()
    if isinstance(image, np.ndarray):
        if not inputs.plain:
            return _converted(image, inputs)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(
                f"image: expected an (H, W, 3) uint8 RGB array, got shape {image.shape} of {image.dtype}; "
                "convert it, or pass a (3, H, W) tensor"
            )
        return image
    if isinstance(image, Tensor):
        _check_layout(image, inputs.channels)
        if not image.is_floating_point():
            raise TypeError(f"image: expected uint8 or floats in [0, 1], got {image.dtype}; convert it")
        image = image.detach().float()
        low, high = image.aminmax()
        if not (low >= 0 and high <= 1):  # also catches NaN
            raise ValueError(
                f"image: expected values in [0, 1], got {low.item():.3g} to {high.item():.3g}; "
                "divide by 255, or call the model itself on normalised images"
            )
        return image
    raise TypeError(
        f"image: expected a path, a PIL image, an (H, W, {inputs.channels}) array or a ({inputs.channels}, H, W) "
        f"tensor, got {type(image).__name__}"
    )


def _check_layout(image: Tensor, channels: int | None) -> None:
    """(channels, H, W); None: any number of bands."""
    if image.ndim != 3 or image.numel() == 0 or channels not in (None, image.shape[0]):
        raise ValueError(
            f"image: expected one ({channels or 'bands'}, H, W) tensor, got shape {tuple(image.shape)}; "
            "call the model itself on a batch of normalised images"
        )


def _converted(image: np.ndarray, inputs: InputSettings) -> np.ndarray | Tensor:
    """An (H, W) or (H, W, bands) array, whose bands and values are taken as those of a file are."""
    try:
        raster = ArrayRaster(image, "image")
    except ValueError as error:
        raise ValueError(str(error).replace("source:", "image:", 1)) from None
    pixels, valid = raster.read_level(0, (0, 0, raster.size[1], raster.size[0]))
    convert = inputs.of(raster)
    tell_range_of_whole(raster.name, inputs.chosen, convert, pixels, valid)
    seen = convert.seen(pixels, valid)
    return seen if seen.dtype == np.uint8 else to_tensor(seen)


def floats_of(pixels: np.ndarray | Tensor, device: torch.device) -> Tensor:
    return send(to_tensor(pixels) if isinstance(pixels, np.ndarray) else pixels, device)


def size_of(pixels: np.ndarray | Tensor) -> tuple[int, int]:
    height, width = pixels.shape[:2] if isinstance(pixels, np.ndarray) else pixels.shape[1:]
    return int(height), int(width)
