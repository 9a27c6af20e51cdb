"""Images as files, arrays and pictures."""

from magnet.images.large import open_image
from magnet.images.match_colours import channel_statistics
from magnet.images.read import IMAGE_SUFFIXES, read_image, rgb_array
from magnet.images.tensors import normalize, resize, to_tensor

__all__ = [
    "IMAGE_SUFFIXES",
    "channel_statistics",
    "normalize",
    "open_image",
    "read_image",
    "resize",
    "rgb_array",
    "to_tensor",
]
