"""What a walk sees of its images: all of each, small, and patches of it at each scale."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.images.tensors import resize
from magnet.walk.maps import whole_image
from magnet.walk.plan import Plan
from magnet_kernels import crop_patches

__all__ = ["JoinedViews", "TensorViews", "Views"]


class Views(Protocol):
    """N images, normalised, on the device of the networks."""

    def whole(self, plan: Plan) -> Tensor:
        """(N, 3, *plan.whole): all of each image."""

    def expect(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        """Told once a scale, before its patches are asked for: which those are, in the order of asking.

        Returns:
            ``boxes`` on the CPU, where operators take them without a wait; where the walk is traced, as they are.
        """

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        """(P, 3, *patch_size) of the images at the size ``scale``: the next ones of those that are expected.

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

    def expect(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        return boxes if torch.compiler.is_compiling() else boxes.cpu()

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        if tuple(self._resized.shape[-2:]) != tuple(scale):  # once a scale
            self._resized = resize(self._images, scale)
        return crop_patches(self._resized, boxes, patch_size)  # boxes of whole pixels are copied exactly


class JoinedViews:
    """The views of one image each, as those of several images that are walked over together.

    Attributes:
        views: of each image.
    """

    def __init__(self, views: Sequence[Views]) -> None:
        self.views = views
        self._expected: deque[int] = deque()  # the image of each patch

    def __len__(self) -> int:
        return len(self.views)

    def whole(self, plan: Plan) -> Tensor:
        return torch.cat([one.whole(plan) for one in self.views])

    def expect(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        boxes = boxes.cpu()
        self._expected = deque(int(number) for number in boxes[:, 0].tolist())
        for number, one in enumerate(self.views):
            one.expect(scale, _of_one(boxes[boxes[:, 0] == number]), patch_size)
        return boxes

    def patches(self, scale: Size, boxes: Tensor, patch_size: Size) -> Tensor:
        numbers = [self._expected.popleft() for _ in range(len(boxes))]
        found, first = [], 0
        for number, run in groupby(numbers):
            end = first + len(list(run))
            found.append(self.views[number].patches(scale, _of_one(boxes[first:end]), patch_size))
            first = end
        return torch.cat(found)


def _of_one(boxes: Tensor) -> Tensor:
    """Boxes (P, 5) of one of several images as those of a single one."""
    boxes = boxes.clone()
    boxes[:, 0] = 0
    return boxes
