"""High-resolution networks (Wang et al., "Deep High-Resolution Representation Learning", TPAMI 2020).

Branches at strides 1, 2, 4, ... of the stem run side by side and exchange what they know after every module. As in the
public release of MagNet, the stem keeps the image's resolution, and the keys are the release's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.networks.folding import ConvNorm, conv_bn
from magnet.networks.resnet import BasicBlock, Bottleneck, conv1x1, conv3x3, make_layer

MOMENTUM = 0.01


def conv_norm(in_channels: int, out_channels: int, *, stride: int = 1, relu: bool = True) -> ConvNorm:
    """3x3 convolution, batch normalisation and, with ``relu``, ReLU."""
    layers: list[nn.Module] = [
        conv3x3(in_channels, out_channels, stride),
        nn.BatchNorm2d(out_channels, momentum=MOMENTUM),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return ConvNorm(*layers)


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, with aligned corners: how these networks resize everything inside."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


def exchange_path(source: int, target: int, channels: Sequence[int]) -> nn.Module | None:
    """From branch ``source`` to branch ``target``: 1x1 (upsampled by the caller) if finer, strided 3x3s if coarser."""
    if source == target:
        return None
    if source > target:
        return ConvNorm(
            conv1x1(channels[source], channels[target]), nn.BatchNorm2d(channels[target], momentum=MOMENTUM)
        )
    keep = [conv_norm(channels[source], channels[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*keep, conv_norm(channels[source], channels[target], stride=2, relu=False))


class ExchangeModule(nn.Module):
    """Basic blocks on every branch, then every branch receives the sum of all, brought to its size.

    Args:
        channels: channels of each branch, finest first.
        n_blocks: basic blocks on each branch.
    """

    def __init__(self, channels: Sequence[int], n_blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(make_layer(BasicBlock, c, c, n_blocks, momentum=MOMENTUM) for c in channels)
        count = len(channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList([exchange_path(source, target, channels) for source in range(count)])  # type: ignore[misc]
            for target in range(count)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for target, paths in enumerate(self.fuse_layers):
            total = features[target]
            for source, path in enumerate(paths):  # type: ignore[arg-type, var-annotated]
                if source != target:
                    message = path(features[source])
                    total = total + (resize(message, total) if source > target else message)
            fused.append(F.relu(total))
        return fused


class HRNet(nn.Module):
    """The backbone: (N, in_channels, H, W) -> (N, sum(channels), H, W).

    Args:
        channels: channels of the four branches, finest first.
        layer1_blocks: bottlenecks in the first layer.
        n_modules: exchange modules in stages 2, 3 and 4.
        n_blocks: basic blocks on each branch of a module.
        in_channels: of the images.
    """

    def __init__(
        self,
        channels: Sequence[int],
        layer1_blocks: int,
        n_modules: Sequence[int],
        n_blocks: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv1 = conv3x3(in_channels, 64)
        self.bn1 = nn.BatchNorm2d(64, momentum=MOMENTUM)
        self.conv2 = conv3x3(64, 64)
        self.bn2 = nn.BatchNorm2d(64, momentum=MOMENTUM)
        self.layer1 = make_layer(Bottleneck, 64, 64, layer1_blocks, momentum=MOMENTUM)

        def stage(number: int) -> nn.Sequential:
            return nn.Sequential(*(ExchangeModule(channels[:number], n_blocks) for _ in range(n_modules[number - 2])))

        # a transition opens one branch, from the coarsest there is; a branch that goes on as it is holds None
        self.transition1 = nn.ModuleList(
            [conv_norm(256, channels[0]), nn.Sequential(conv_norm(256, channels[1], stride=2))]
        )
        self.stage2 = stage(2)
        self.transition2 = nn.ModuleList(
            [None, None, nn.Sequential(conv_norm(channels[1], channels[2], stride=2))]  # type: ignore[list-item]
        )
        self.stage3 = stage(3)
        self.transition3 = nn.ModuleList(
            [None, None, None, nn.Sequential(conv_norm(channels[2], channels[3], stride=2))]  # type: ignore[list-item]
        )
        self.stage4 = stage(4)

    def features(self, images: Tensor) -> Tensor:
        """(N, in_channels, H, W) normalised images -> (N, sum(channels), H, W), at the finest one's size."""
        x = F.relu(conv_bn(images, self.conv1, self.bn1), inplace=True)
        x = F.relu(conv_bn(x, self.conv2, self.bn2), inplace=True)
        x = self.layer1(x)
        branches = self.stage2([transition(x) for transition in self.transition1])
        branches = self.stage3([*branches, self.transition2[-1](branches[-1])])
        branches = self.stage4([*branches, self.transition3[-1](branches[-1])])
        return torch.cat([branches[0], *(resize(x, branches[0]) for x in branches[1:])], dim=1)
