"""A feature pyramid segmenter on ResNet-50 (after Lin et al., "Feature Pyramid Networks", CVPR 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.networks.resnet import ResNet


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class ResNetFPN(nn.Module):
    """ResNet-50, a top-down pyramid, and one 3x3 classifier over its four levels; keys as in the public release.

    Args:
        num_classes: number of classes C.
        channels: of the images.
    """

    def __init__(self, num_classes: int, channels: int = 3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = channels
        self.resnet_backbone = ResNet((3, 4, 6, 3), channels)
        self.toplayer = nn.Conv2d(2048, 256, 1)
        self.latlayer1 = nn.Conv2d(1024, 256, 1)
        self.latlayer2 = nn.Conv2d(512, 256, 1)
        self.latlayer3 = nn.Conv2d(256, 256, 1)
        for step, width in ((1, 256), (2, 128)):
            for level in range(1, 5):
                self.add_module(f"smooth{level}_{step}", nn.Conv2d(256, width, 3, padding=1))
        self.classify = nn.Conv2d(4 * 128, num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) normalised images -> (N, C, H, W) logits."""
        c2, c3, c4, c5 = self.resnet_backbone(images)
        p5 = self.toplayer(c5)
        p4 = _resize(p5, c4) + self.latlayer1(c4)
        p3 = _resize(p4, c3) + self.latlayer2(c3)
        p2 = _resize(p3, c2) + self.latlayer3(c2)
        levels = []
        for level, features in enumerate((p5, p4, p3, p2), start=1):
            smooth1, smooth2 = (self.get_submodule(f"smooth{level}_{step}") for step in (1, 2))
            levels.append(_resize(smooth2(smooth1(features)), p2))
        return _resize(self.classify(torch.cat(levels, dim=1)), images)
