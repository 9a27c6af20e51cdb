"""A small segmentation network that trains in minutes on a CPU."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from magnet.checks import check_channels
from magnet.errors import shown
from magnet.networks.limits import MOST_CHANNELS, check_num_classes

__all__ = ["Compact"]


class _ConvNormAct(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(x + self.norm2(self.conv2(y)), inplace=True)


class _GlobalContext(nn.Module):
    """Adds a projection of the mean over the whole map to every pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(x.mean(dim=(2, 3), keepdim=True))


class _Up(nn.Module):
    """Brings a deep map to the size of a shallow one and joins them."""

    def __init__(self, deep: int, shallow: int, out_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, out_channels, 1, bias=False)
        self.lateral = nn.Conv2d(shallow, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.fuse = _ConvNormAct(out_channels, out_channels)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        up = F.interpolate(self.reduce(deep), size=shallow.shape[-2:], mode="bilinear", align_corners=False)
        return self.fuse(F.relu(self.norm(up + self.lateral(shallow)), inplace=True))


class Compact(nn.Module):
    """A residual U-Net with a full-resolution skip, for thin structures, and context down to 1/32.

    Args:
        num_classes: channels of the output, 1 to 10,000.
        widths: channels at 1/1, 1/2, 1/4, 1/8, 1/16 and 1/32 of the input size.
        channels: of the images, 1 to 16.

    Input (N, channels, H, W), any H and W of at least 1; output logits (N, num_classes, H, W), float32 also under
    autocast. About 1.6 M parameters with the default widths.
    """

    def __init__(
        self, num_classes: int, widths: tuple[int, ...] = (16, 32, 64, 96, 128, 128), channels: int = 3
    ) -> None:
        super().__init__()
        self.num_classes = check_num_classes(num_classes)
        self.in_channels = check_channels(channels)
        if len(widths) < 2 or min(widths) < 1 or sum(widths) > MOST_CHANNELS:
            raise ValueError(
                "widths: expected at least two positive channel counts, "
                f"{MOST_CHANNELS} in all at most, got {shown(tuple(widths))}"
            )
        self.stem = _ConvNormAct(channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_ConvNormAct(a, b, stride=2), _Residual(b)) for a, b in itertools.pairwise(widths)
        )
        self.context = _GlobalContext(widths[-1])
        self.up = nn.ModuleList(
            _Up(deep, shallow, shallow) for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.stem(x)]
        for stage in self.down:
            skips.append(stage(skips[-1]))
        y = self.context(skips.pop())
        for stage in self.up:
            y = stage(y, skips.pop())
        return self.head(y).float()
