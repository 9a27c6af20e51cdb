"""A pyramid scene parsing segmenter (after Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.networks.folding import ConvNorm
from magnet.networks.resnet import ResNet
from magnet.networks.timm_encoder import TimmEncoder, resized


class PyramidPooling(nn.Module):
    """Averages over 1x1, 2x2, 3x3 and 6x6 bins, joined with the features themselves and squeezed."""

    def __init__(self, in_channels: int, out_channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(in_channels, in_channels, 1, bias=False))
            for size in bins
        )
        self.bottleneck = nn.Conv2d((len(bins) + 1) * in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        pooled = [F.interpolate(stage(x), size, mode="bilinear", align_corners=False) for stage in self.stages]
        return F.relu(self.bottleneck(torch.cat([*pooled, x], dim=1)), inplace=True)


class UpBlock(nn.Module):
    """Twice the size, then 3x3 convolution, batch normalisation and PReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvNorm(
            nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


class PSPNet(nn.Module):
    """ResNet-101, pyramid pooling and three upsampling blocks, with an auxiliary head; keys as in the public release.

    Args:
        num_classes: number of classes C.
        channels: of the images.
        encoder: in place of ResNet-101, of which the deepest level counts, at any stride.
    """

    has_aux = True

    def __init__(self, num_classes: int, channels: int = 3, *, encoder: TimmEncoder | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_channels = channels
        self.encoder = encoder
        if encoder is None:
            self.feats, width = ResNet((3, 4, 23, 3), channels), 2048
        else:
            width = encoder.widths[-1]
        self.psp = PyramidPooling(width, width // 2)
        self.drop_1 = nn.Dropout2d(0.3)
        self.up_1 = UpBlock(width // 2, 256)
        self.up_2 = UpBlock(256, 64)
        self.up_3 = UpBlock(64, 64)
        self.drop_2 = nn.Dropout2d(0.15)
        self.final = nn.Conv2d(64, num_classes, 1)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) -> main and auxiliary logits, each (N, C, H, W)."""
        size = seen = images.shape[2:]
        if self.encoder is None:
            features = self.feats(images)[-1]
        else:
            maps, seen = self.encoder(images)
            features = maps[-1]
        x = self.drop_1(self.psp(features))
        for up in (self.up_1, self.up_2, self.up_3):
            x = self.drop_2(up(x))
        return resized(self.final(x), seen, size), resized(self.classifier(features), seen, size)

    def forward(self, images: Tensor, *, heads: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(N, channels, H, W) normalised images -> (N, C, H, W) logits; with ``heads``, the pair (main, auxiliary)."""
        main, aux = self.heads(images)
        return (main, aux) if heads else (main + 0.4 * aux) / 1.4
