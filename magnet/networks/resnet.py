"""Residual networks (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016)."""

from __future__ import annotations

from torch import Tensor, nn

from magnet.networks.folding import ConvNorm, conv_bn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution, padding 1, no bias."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution, no bias."""
    return nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels, momentum=momentum)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels, momentum=momentum)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(conv_bn(x, self.conv1, self.bn1))
        return self.relu(conv_bn(x, self.conv2, self.bn2).add_(shortcut))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; the stride is on the 3x3. Output: 4 * ``channels``."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_channels, channels)
        self.bn1 = nn.BatchNorm2d(channels, momentum=momentum)
        self.conv2 = conv3x3(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels, momentum=momentum)
        self.conv3 = conv1x1(channels, channels * self.expansion)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion, momentum=momentum)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(conv_bn(x, self.conv1, self.bn1))
        x = self.relu(conv_bn(x, self.conv2, self.bn2))
        return self.relu(conv_bn(x, self.conv3, self.bn3).add_(shortcut))


def make_layer(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    n_blocks: int,
    stride: int = 1,
    momentum: float = 0.1,
) -> nn.Sequential:
    """``n_blocks`` residual blocks; the first takes the stride and, where shapes change, a projected shortcut."""
    out_channels = channels * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = ConvNorm(
            conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels, momentum=momentum)
        )
    blocks = [block(in_channels, channels, stride, downsample, momentum)]
    blocks += [block(out_channels, channels, momentum=momentum) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """The convolutional part of ResNet-50 or ResNet-101 (any depth built of bottlenecks), stride 32.

    Args:
        n_blocks: bottlenecks in each of the four layers: (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) is ResNet-101.
        channels: of the images.
    """

    def __init__(self, n_blocks: tuple[int, int, int, int], channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = make_layer(Bottleneck, 64, 64, n_blocks[0])
        self.layer2 = make_layer(Bottleneck, 256, 128, n_blocks[1], stride=2)
        self.layer3 = make_layer(Bottleneck, 512, 256, n_blocks[2], stride=2)
        self.layer4 = make_layer(Bottleneck, 1024, 512, n_blocks[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, channels, H, W) -> features of 256, 512, 1024 and 2048 channels at strides 4, 8, 16 and 32."""
        x = self.maxpool(self.relu(conv_bn(images, self.conv1, self.bn1)))
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return c2, c3, c4, self.layer4(c4)
