"""A small segmentation network that trains in minutes on a CPU."""

from __future__ import annotations

from magnet.checks import check_channels
from magnet.networks.limits import check_num_classes
from magnet.networks.unet import UNet

__all__ = ["Compact"]


class Compact(UNet):
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
        super().__init__(check_channels(channels), check_num_classes(num_classes), widths)
        self.num_classes = num_classes
        self.in_channels = channels
