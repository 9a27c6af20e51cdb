"""Object-contextual representations on HRNet (Yuan et al., "Segmentation Transformer: OCR", ECCV 2020)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from magnet.networks.folding import ConvNorm
from magnet.networks.hrnet import HRNet, resize
from magnet.networks.resnet import conv1x1


def _conv1x1_bn(*channels: int) -> nn.Sequential:
    """A chain of 1x1 convolution, batch normalisation, ReLU through the given channels."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [conv1x1(before, after), nn.Sequential(nn.BatchNorm2d(after), nn.ReLU(inplace=True))]
    return nn.Sequential(*layers)


def class_centres(features: Tensor, logits: Tensor) -> Tensor:
    """Mean feature of each class, every pixel weighted by its softmax over the pixels: (N, C, classes, 1)."""
    weights = logits.flatten(2).softmax(dim=-1)
    return torch.matmul(weights, features.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(-1)


class ObjectAttention(nn.Module):
    """Every pixel attends to the class centres."""

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.scale = key_channels**-0.5
        self.f_pixel = _conv1x1_bn(channels, key_channels, key_channels)
        self.f_object = _conv1x1_bn(channels, key_channels, key_channels)
        self.f_down = _conv1x1_bn(channels, key_channels)
        self.f_up = _conv1x1_bn(key_channels, channels)

    def forward(self, features: Tensor, centres: Tensor) -> Tensor:
        query = self.f_pixel(features).flatten(2).transpose(1, 2)  # (N, pixels, keys)
        key = self.f_object(centres).flatten(2)  # (N, keys, classes)
        value = self.f_down(centres).flatten(2).transpose(1, 2)  # (N, classes, keys)
        attention = (torch.matmul(query, key) * self.scale).softmax(dim=-1)
        context = torch.matmul(attention, value).transpose(1, 2).unflatten(2, features.shape[-2:])
        return self.f_up(context)


class ContextHead(nn.Module):
    """Joins the features with what each pixel's classes look like in this image."""

    def __init__(self, channels: int, key_channels: int, dropout: float) -> None:
        super().__init__()
        self.object_context_block = ObjectAttention(channels, key_channels)
        self.conv_bn_dropout = nn.Sequential(*_conv1x1_bn(2 * channels, channels), nn.Dropout2d(dropout))

    def forward(self, features: Tensor, centres: Tensor) -> Tensor:
        context = self.object_context_block(features, centres)
        return self.conv_bn_dropout(torch.cat([context, features], dim=1))


class HRNetOCR(HRNet):
    """HRNet with an object-contextual head and an auxiliary head; keys as in the public release.

    Args:
        num_classes: number of classes C.
        channels, layer1_blocks, n_modules, n_blocks, in_channels: see :class:`HRNet`.
    """

    has_aux = True

    def __init__(
        self,
        num_classes: int,
        channels: Sequence[int],
        layer1_blocks: int,
        n_modules: Sequence[int],
        n_blocks: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__(channels, layer1_blocks, n_modules, n_blocks, in_channels)
        self.num_classes = num_classes
        width = sum(channels)
        self.conv3x3_ocr = ConvNorm(nn.Conv2d(width, 512, 3, padding=1), nn.BatchNorm2d(512), nn.ReLU(inplace=True))
        self.ocr_distri_head = ContextHead(512, key_channels=256, dropout=0.05)
        self.cls_head = nn.Conv2d(512, num_classes, 1)
        self.aux_head = ConvNorm(
            nn.Conv2d(width, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.Conv2d(width, num_classes, 1)
        )

    def heads(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, in_channels, H, W) -> main and auxiliary logits, each (N, C, H, W)."""
        features = self.features(images)
        aux = self.aux_head(features)
        features = self.conv3x3_ocr(features)
        main = self.cls_head(self.ocr_distri_head(features, class_centres(features, aux)))
        return resize(main, images), resize(aux, images)

    def forward(self, images: Tensor, *, heads: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(N, in_channels, H, W) normalised -> (N, C, H, W) logits; with ``heads``, the pair (main, auxiliary)."""
        main, aux = self.heads(images)
        return (main, aux) if heads else (main + 0.4 * aux) / 1.4


def hrnet18_ocr(num_classes: int, channels: int = 3) -> HRNetOCR:
    """HRNet-W18-small-v2 with OCR, for images of ``channels``."""
    return HRNetOCR(num_classes, (18, 36, 72, 144), 2, n_modules=(1, 3, 2), n_blocks=2, in_channels=channels)


def hrnet48_ocr(num_classes: int, channels: int = 3) -> HRNetOCR:
    """HRNet-W48 with OCR, for images of ``channels``."""
    return HRNetOCR(num_classes, (48, 96, 192, 384), 4, n_modules=(1, 4, 3), n_blocks=4, in_channels=channels)
