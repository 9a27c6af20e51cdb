"""A feature pyramid segmenter (after Lin et al., "Feature Pyramid Networks", CVPR 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.networks.resnet import ResNet
from magnet.networks.timm_encoder import TimmEncoder, resized

_FINEST = 4  # stride of the finest level: finer ones of 256 channels would cost more than all others


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class FPN(nn.Module):
    """ResNet-50, a top-down pyramid, and one 3x3 classifier over its four levels; keys as in the public release.

    Args:
        num_classes: number of classes C.
        channels: of the images.
        encoder: in place of ResNet-50. Its levels from stride 4 on, however many, are those of the pyramid.
    """

    def __init__(self, num_classes: int, channels: int = 3, *, encoder: TimmEncoder | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = channels
        widths: tuple[int, ...] = (256, 512, 1024, 2048)
        self.encoder = encoder
        if encoder is None:
            self.resnet_backbone = ResNet((3, 4, 6, 3), channels)
        else:
            widths = encoder.widths[sum(stride < _FINEST for stride in encoder.strides[:-1]) :]
        self._levels = len(widths)
        self.toplayer = nn.Conv2d(widths[-1], 256, 1)
        for number, width in enumerate(widths[-2::-1], start=1):
            self.add_module(f"latlayer{number}", nn.Conv2d(width, 256, 1))
        for step, width in ((1, 256), (2, 128)):
            for level in range(1, self._levels + 1):
                self.add_module(f"smooth{level}_{step}", nn.Conv2d(256, width, 3, padding=1))
        self.classify = nn.Conv2d(self._levels * 128, num_classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) normalised images -> (N, C, H, W) logits.

        Raises:
            ValueError: the encoder takes no images of this size.
        """
        size = seen = images.shape[2:]
        if self.encoder is None:
            maps = self.resnet_backbone(images)
        else:
            maps, seen = self.encoder(images)
        pyramid = [self.toplayer(maps[-1])]
        for number, features in enumerate(maps[-2 : -self._levels - 1 : -1], start=1):
            pyramid.append(_resize(pyramid[-1], features) + self.get_submodule(f"latlayer{number}")(features))
        levels = []
        for level, features in enumerate(pyramid, start=1):
            smooth1, smooth2 = (self.get_submodule(f"smooth{level}_{step}") for step in (1, 2))
            levels.append(_resize(smooth2(smooth1(features)), pyramid[-1]))
        return resized(self.classify(torch.cat(levels, dim=1)), seen, size)
