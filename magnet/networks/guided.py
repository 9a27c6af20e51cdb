"""A refiner that also sees the image: merges two predictions where edges and texture say which of them is right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from magnet.checks import check_channels
from magnet.networks.limits import check_num_classes
from magnet.networks.unet import UNet

__all__ = ["GuidedRefinement"]

_LEAST = 1e-4  # of a probability whose logarithm is taken


class GuidedRefinement(nn.Module):
    """Merges a fine prediction with what is known so far, guided by the image; logits out, at the same size.

    Not in the paper, whose module (``RefinementModule``) sees the two predictions alone. A small U-Net corrects the
    mean of their logarithms, so that it begins as a plain average.

    Args:
        num_classes: number of classes C of both maps.
        channels: of the image, 1 to 16.
        widths: channels at 1/1, 1/2, 1/4, ... of the input size.

    Attributes:
        sees_image: what tells the walk and training to pass the image.
    """

    sees_image = True

    def __init__(self, num_classes: int, channels: int = 3, widths: tuple[int, ...] = (24, 32, 64, 96, 128)) -> None:
        super().__init__()
        self.num_classes = check_num_classes(num_classes)
        self.in_channels = check_channels(channels)
        self.unet = UNet(2 * num_classes + channels, num_classes, widths)

    def forward(self, fine: Tensor, coarse: Tensor, image: Tensor) -> Tensor:
        """(N, C, H, W) probabilities, twice, and the normalised image (N, channels, H, W) -> (N, C, H, W) logits.

        Raises:
            ValueError: shapes do not fit together.
        """
        if fine.shape != coarse.shape or fine.ndim != 4 or fine.shape[1] != self.num_classes:
            raise ValueError(
                f"fine, coarse: expected (N, {self.num_classes}, H, W) probabilities of one shape, got "
                f"{tuple(fine.shape)} and {tuple(coarse.shape)}; crop and resize the coarse map to the fine one"
            )
        if image.shape != (fine.shape[0], self.in_channels, *fine.shape[2:]):
            raise ValueError(
                f"image: expected ({fine.shape[0]}, {self.in_channels}, {fine.shape[2]}, {fine.shape[3]}), the part of "
                f"the image that the maps show, got {tuple(image.shape)}; crop and resize it as the maps"
            )
        start = (fine.clamp(min=_LEAST).log() + coarse.clamp(min=_LEAST).log()) / 2
        return start + self.unet(torch.cat([fine, coarse, image], dim=1))  # type: ignore[no-any-return]
