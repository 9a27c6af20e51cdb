"""The refinement module of MagNet (Huynh et al., "Progressive Semantic Segmentation", CVPR 2021, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.conventions import can_look, check_probabilities
from magnet.networks.folding import conv_bn
from magnet.networks.limits import check_num_classes
from magnet.networks.resnet import Bottleneck, conv1x1, conv3x3, make_layer

MOMENTUM = 0.01  # of the running statistics, as in the release


class RefinementModule(nn.Module):
    """Merges a fine prediction with what is known so far: two probability maps in, logits out, at the same size.

    Keys and shapes are those of the public release's refinement checkpoints.

    Args:
        num_classes: number of classes C of both maps.
    """

    _looked_at = False  # whether the numbers of the maps were: once, on the first batch

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = check_num_classes(num_classes)
        self.bn0 = nn.BatchNorm2d(2 * num_classes, momentum=MOMENTUM)
        self.conv1 = conv3x3(2 * num_classes, 64)
        self.bn1 = nn.BatchNorm2d(64, momentum=MOMENTUM)
        self.conv2 = conv3x3(64, 64)
        self.bn2 = nn.BatchNorm2d(64, momentum=MOMENTUM)
        self.residual = make_layer(Bottleneck, 64, 32, n_blocks=2, momentum=MOMENTUM)
        self.seg_conv = conv1x1(128, num_classes)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(N, C, H, W) probabilities, twice -> (N, C, H, W) logits. Logits in their place are warned of, once.

        Raises:
            ValueError: the maps differ in shape, or do not have ``num_classes`` channels.
        """
        if fine.shape != coarse.shape:
            raise ValueError(
                f"coarse: expected the shape of fine, {tuple(fine.shape)}, got {tuple(coarse.shape)}; "
                "crop and resize the coarse map to the fine one"
            )
        if fine.ndim != 4 or fine.shape[1] != self.num_classes:
            raise ValueError(
                f"fine: expected (N, {self.num_classes}, H, W) probabilities, got shape {tuple(fine.shape)}; "
                "build the refinement module with the segmenter's num_classes"
            )
        if can_look(fine) and not self._looked_at:  # in this order: a compiled graph must not depend on it
            self._looked_at = True
            check_probabilities("fine", fine)
            check_probabilities("coarse", coarse)
        x = self.bn0(torch.cat([fine, coarse], dim=1))
        x = F.relu(conv_bn(x, self.conv1, self.bn1), inplace=True)
        x = F.relu(conv_bn(x, self.conv2, self.bn2), inplace=True)
        return self.seg_conv(self.residual(x))
