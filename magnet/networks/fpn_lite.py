"""A light feature pyramid over any encoder (after FPNLite of TensorFlow's detection models: FPN, separable)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from magnet.networks.folding import ConvNorm, conv_bn
from magnet.networks.limits import check_num_classes
from magnet.networks.timm_encoder import TimmEncoder, resized

__all__ = ["FPNLite"]


class _Separable(nn.Sequential):
    """3x3 convolution in depth, 1x1 over the channels, batch normalisation, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        depth, over, norm, relu = self
        return relu(conv_bn(depth(x), over, norm))  # type: ignore[no-any-return]


class FPNLite(nn.Module):
    """Every level of an encoder brought to one width, summed from the deepest up, and a 1x1 classifier at the finest.

    Args:
        num_classes: number of classes C.
        channels: of the images, as the encoder's.
        encoder: gives the levels, however many.
        width: channels of the pyramid.
    """

    def __init__(self, num_classes: int, channels: int = 3, *, encoder: TimmEncoder, width: int = 64) -> None:
        super().__init__()
        self.num_classes = check_num_classes(num_classes)
        self.in_channels = channels
        self.encoder = encoder
        self.laterals = nn.ModuleList(
            ConvNorm(nn.Conv2d(level, width, 1, bias=False), nn.BatchNorm2d(width)) for level in encoder.widths
        )
        self.smooth = nn.ModuleList(_Separable(width) for _ in encoder.widths)
        self.head = nn.Conv2d(width, num_classes, 1)
        for part in (self.laterals, self.smooth):
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) normalised images -> (N, C, H, W) logits, float32 also under autocast.

        Raises:
            ValueError: the encoder takes no images of this size.
        """
        maps, seen = self.encoder(images)
        levels = [lateral(one) for lateral, one in zip(self.laterals, maps, strict=True)]
        y = self.smooth[-1](levels[-1])
        for level, smooth in zip(levels[-2::-1], list(self.smooth)[-2::-1], strict=True):
            y = smooth(F.interpolate(y, level.shape[-2:], mode="bilinear", align_corners=False) + level)
        return resized(self.head(y).float(), seen, images.shape[2:])
