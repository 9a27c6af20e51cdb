"""What a walk sees of its images: all of each, small, and patches of it at each scale."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from magnet.bounds import Size
from magnet.images.tensors import resize
from magnet.walk.maps import whole_image
from magnet.walk.plan import Plan
from magnet_kernels import crop_patches

__all__ = ["TensorViews", "Views"]


class Views(Protocol):
    """N images, normalised, on the device of the networks."""

    def whole(self, plan: Plan) -> Tensor:
        """(N, 3, *plan.whole): all of each image."""

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        """(P, 3, *patch_size) of the images at the size ``scale``.

        Args:
            scale: (H, W) that the boxes are in pixels of.
            boxes: (P, 5) float32, image and x0, y0, x1, y1: whole pixels, of the patch's size.
            patch_size: (H, W).
        """


class TensorViews:
    """Images that are there as one tensor (N, 3, H, W)."""

    def __init__(self, images: Tensor) -> None:
        self._images = images
        self._resized = images

    def whole(self, plan: Plan) -> Tensor:
        return whole_image(self._images, plan.scales[0], plan.whole)

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        if tuple(self._resized.shape[-2:]) != tuple(scale):  # once a scale
            self._resized = resize(self._images, scale)
        return crop_patches(self._resized, boxes, patch_size)  # boxes of whole pixels are copied exactly
