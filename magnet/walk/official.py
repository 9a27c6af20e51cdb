"""The inference of the public release (VinAIResearch/MagNet), number for number: ``compat="official"``.

Where it differs from the paper: images are resized by OpenCV's rules without antialiasing; the last pixels of a scale
may belong to no patch; MagNet-Fast takes the *least* uncertain patches and works on them without a ten-pixel rim;
overlapping patches overwrite each other in the order of their uncertainty, and the sum is then divided by the number of
interiors over it; coarse crops are half a pixel off (RoIAlign without alignment); scores are smoothed at the size of
the network's input; ``n_points`` above 1 counts over the whole scale, capped at the pixels of the patches looked at,
else it is a fraction of these pixels.

``MagNet.predict`` is exact. ``MagNet.forward`` is given floats, so it resizes those and skips the rounding to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magnet.conventions import Finite
from magnet.images.opencv_resize import resize_uint8
from magnet.images.tensors import normalize, to_tensor
from magnet.walk.grid import Box, as_boxes, patch_grid
from magnet.walk.maps import upsample
from magnet.walk.memory import check_memory
from magnet.walk.networks import Networks
from magnet.walk.passes import in_passes
from magnet.walk.plan import Plan
from magnet.walk.settings import WalkSettings
from magnet.walk.stage import WalkStage
from magnet_kernels import confidence, crop_patches, median_blur, replace_points_, select_points

__all__ = ["official_walk"]

RIM = 10  # pixels at each side of a patch that do not count as covered


@torch.inference_mode()
def official_walk(
    networks: Networks, settings: WalkSettings, plan: Plan, image: np.ndarray | Tensor
) -> Iterator[WalkStage]:
    """The stages of the release's walk over one image, coarse first.

    Args:
        networks: segmenter and refiners, in evaluation mode.
        settings: of the walk.
        plan: its sizes.
        image: (H, W, 3) uint8 RGB, (3, H, W) floats in [0, 1], or (1, 3, H, W) normalised floats.

    Raises:
        MagNetError: a network gave NaN or infinity, or a scale takes more memory than the machine has; names the scale.
    """
    if isinstance(image, Tensor) and image.ndim == 3:
        image = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    first = patch_grid(plan.scales[0], plan.patch_size, flush=False)[:1]
    finite = Finite(networks)
    seen = _network_input(networks, plan, _resize(image, plan.scales[0]), first)
    coarse = in_passes(networks, plan.input_size, lambda some: networks.segment(some, settings.inference), seen)
    finite.look(coarse, "scales[0]", plan.scales[0])
    check_memory(settings, plan, coarse)
    if _ends(settings, plan, 0):
        finite.finish()
    yield WalkStage(plan.scales[0], coarse)
    for scale, size in enumerate(plan.scales[1:], start=1):
        if settings.patches_at(scale) == 0:
            return
        coarse, chosen, points = _step(networks, settings, plan, coarse, _resize(image, size), scale, finite)
        if _ends(settings, plan, scale):
            finite.finish()
        yield WalkStage(size, coarse, None, points, as_boxes(chosen)[None])


def _ends(settings: WalkSettings, plan: Plan, scale: int) -> bool:
    """Whether no scale comes after this one."""
    return scale == len(plan.scales) - 1 or settings.patches_at(scale + 1) == 0


def _step(
    networks: Networks,
    settings: WalkSettings,
    plan: Plan,
    coarse: Tensor,
    image: np.ndarray | Tensor,
    scale: int,
    finite: Finite,
) -> tuple[Tensor, list[Box], Tensor]:
    """One scale: the refined map (1, C, H, W), the boxes looked at, and the flat indices (1, K) of the points."""
    height, width = size = plan.scales[scale]
    n_patches, per_pass = settings.patches_at(scale), settings.patches_per_pass(networks.device)
    coarse = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    uncertainty = 1 - confidence(coarse)
    grid = patch_grid(size, plan.patch_size, flush=False)
    boxes = as_boxes(grid, coarse.device)
    mean = crop_patches(uncertainty, boxes, plan.input_size, aligned=False).mean(dim=(1, 2, 3))
    order = mean.argsort(stable=True)[:n_patches].tolist()
    chosen = [grid[i] for i in order]

    def refined(batch: Tensor) -> Tensor:
        seen = _network_input(networks, plan, image, [grid[i] for i in batch.tolist()])
        crops = crop_patches(coarse, boxes[batch.to(boxes.device)], plan.input_size, aligned=False)
        return networks.merge(networks.segment(seen, settings.inference), crops, seen, scale, settings.inference)

    passes = torch.tensor(order).split(per_pass)
    patches = [in_passes(networks, plan.input_size, refined, batch) for batch in passes]
    looked_at = torch.cat(patches)
    finite.look(looked_at, f"scales[{scale}]", size)
    fine, covered = stitch(looked_at, chosen, size)

    sure = confidence(fine)
    if n_patches is not None:
        sure = sure.masked_fill(covered, 0.0)  # so that in MagNet-Fast nearly all scores are 0
    score = F.interpolate(sure * uncertainty, plan.input_size, mode="nearest")
    score = F.interpolate(median_blur(score, settings.kernel_size), size, mode="nearest")
    share = len(chosen) / len(grid)
    points = select_points(score, count_points(settings.n_points, height * width, share))
    if n_patches is not None:
        points = points[:, covered.flatten()[points[0]]]
    return replace_points_(coarse, fine, points), chosen, points


def count_points(n_points: int | float, n_pixels: int, share: float) -> int:
    """How many points are replaced in a scale of which ``share`` of the patches is looked at."""
    if n_points > 1:
        return int(min(int(n_points), n_pixels * share))
    return int(n_pixels * n_points * share)


def stitch(patches: Tensor, boxes: Sequence[Box], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(P, C, h, w) -> the map (1, C, *size), 0 where no patch lies, and where it is covered, (1, 1, *size) bool."""
    x0, y0, x1, y1 = boxes[0]
    fine = patches.new_zeros(1, patches.shape[1], *size)
    count = patches.new_zeros(1, 1, *size)
    patches = upsample(patches, (y1 - y0, x1 - x0))
    for patch, (x0, y0, x1, y1) in zip(patches, boxes, strict=True):
        fine[0, :, y0:y1, x0:x1] = patch
        count[..., y0 + RIM : max(y1 - RIM, 0), x0 + RIM : max(x1 - RIM, 0)] += 1
    return fine.div_(count.clamp(min=1)), count > 0


def _resize(image: np.ndarray | Tensor, size: tuple[int, int]) -> np.ndarray | Tensor:
    """Linear without antialiasing, as OpenCV does for 8 bits and for floats."""
    return resize_uint8(image, size) if isinstance(image, np.ndarray) else _resize_floats(image, size)


def _resize_floats(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def _network_input(networks: Networks, plan: Plan, image: np.ndarray | Tensor, boxes: Sequence[Box]) -> Tensor:
    """Patches of an image -> (P, 3, *input_size), normalised, on the device of the networks."""
    size, device = plan.input_size, networks.device
    if isinstance(image, np.ndarray):
        parts = [resize_uint8(image[y0:y1, x0:x1], size) for x0, y0, x1, y1 in boxes]
        return normalize(torch.stack([to_tensor(part) for part in parts]).to(device))
    crops = [image[..., y0:y1, x0:x1] for x0, y0, x1, y1 in boxes]
    return torch.cat([_resize_floats(crop, size) for crop in crops]).to(device)
