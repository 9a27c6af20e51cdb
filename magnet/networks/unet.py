"""The small residual U-Net behind ``compact`` and the guided refiner."""

from __future__ import annotations

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from magnet.errors import shown
from magnet.networks.folding import ConvNorm, conv_bn, folded, folds
from magnet.networks.limits import MOST_CHANNELS

__all__ = ["UNet"]


class _ConvNormAct(ConvNorm):
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
        y = F.relu(conv_bn(x, self.conv1, self.norm1), inplace=True)
        return F.relu(conv_bn(y, self.conv2, self.norm2).add_(x), inplace=True)


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
        norm: nn.Module = self.norm
        if folds(shallow, self.lateral, norm) and folds(deep, self.reduce, norm):
            low = F.conv2d(deep, folded(self.reduce, self.norm)[0])  # upsampling keeps factors of channels
            x, norm = F.conv2d(shallow, *folded(self.lateral, self.norm)), nn.Identity()
        else:
            low, x = self.reduce(deep), self.lateral(shallow)
        up = F.interpolate(low, size=shallow.shape[-2:], mode="bilinear", align_corners=False)
        return self.fuse(F.relu(norm(x.add_(up)), inplace=True))


class UNet(nn.Module):
    """Residual stages down and back up, joined at each size.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        widths: channels at 1/1, 1/2, 1/4, ... of the input size.

    Input (N, in_channels, H, W), any H and W of at least 1; output (N, out_channels, H, W), float32 also under
    autocast.
    """

    def __init__(self, in_channels: int, out_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        if len(widths) < 2 or min(widths) < 1 or sum(widths) > MOST_CHANNELS:
            raise ValueError(
                "widths: expected at least two positive channel counts, "
                f"{MOST_CHANNELS} in all at most, got {shown(tuple(widths))}"
            )
        self.stem = _ConvNormAct(in_channels, widths[0])
        self.down = nn.ModuleList(
            nn.Sequential(_ConvNormAct(a, b, stride=2), _Residual(b)) for a, b in itertools.pairwise(widths)
        )
        self.context = _GlobalContext(widths[-1])
        self.up = nn.ModuleList(
            _Up(deep, shallow, shallow) for deep, shallow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(widths[0], out_channels, 1)
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
        return self.head(y).float()  # type: ignore[no-any-return]
