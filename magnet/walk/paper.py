"""The walk from coarse to fine as the paper describes it (``compat="paper"``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from magnet.conventions import Finite
from magnet.walk.grid import Box, as_boxes, count_covered
from magnet.walk.look import look, look_at_whole
from magnet.walk.maps import labels_at, upsample
from magnet.walk.memory import check_memory
from magnet.walk.networks import Networks
from magnet.walk.plan import Plan
from magnet.walk.points_by import refine_by
from magnet.walk.settings import WalkSettings
from magnet.walk.stage import WalkStage
from magnet.walk.views import TensorViews, Views
from magnet_kernels import refine_stage

__all__ = ["paper_walk"]


@torch.inference_mode()
def paper_walk(
    networks: Networks, settings: WalkSettings, plan: Plan, images: Tensor | Views, *, labels_only: bool = False
) -> Iterator[WalkStage]:
    """The stages of the walk over normalised images, coarse first.

    Args:
        networks: segmenter and refiners, in evaluation mode.
        settings: of the walk.
        plan: its sizes, for images of this size.
        images: (N, 3, H, W), or what is seen of them.
        labels_only: make labels (N, *scales[-1]) of the last scale, and no probabilities.

    Raises:
        MagNetError: a network gave NaN or infinity, or a scale takes more memory than the machine has; names the scale.
    """
    views = TensorViews(images.to(networks.device)) if isinstance(images, Tensor) else images
    last = len(plan.scales) - 1
    finite = Finite(networks)
    coarse = look_at_whole(networks, settings, plan, views)
    finite.look(coarse, "scales[0]", plan.scales[0])
    check_memory(settings, plan, coarse)
    if last == 0:
        finite.finish()
        if labels_only:
            labels = [labels_at(one, plan.scales[0]).byte() for one in coarse]
            yield WalkStage(plan.scales[0], None, torch.stack(labels))
            return
    yield WalkStage(plan.scales[0], coarse)
    for scale, size in enumerate(plan.scales[1:], start=1):
        boxes, patches = look(networks, settings, plan, coarse, views, scale)
        finite.look(patches, f"scales[{scale}]", size)  # the map would not show it: NaN there replaces nothing
        only = labels_only and scale == last
        coarse, points = _refine(settings, coarse, patches, boxes, scale, size, only)
        del patches  # as large as the maps: whoever takes the stage may need the memory
        if scale == last:
            finite.finish()
        yield WalkStage(size, None if only else coarse, coarse if only else None, points, boxes)


def _refine(
    settings: WalkSettings,
    coarse: Tensor,
    patches: Tensor,
    boxes: Tensor,
    scale: int,
    size: tuple[int, int],
    labels_only: bool,
) -> tuple[Tensor, Tensor]:
    """The maps (N, C, *size), or labels (N, *size), after a scale, and the points (N, K) that were replaced."""
    counts = _count_points(settings, boxes)
    if settings.points_by == "score" and len(set(counts)) == 1:
        return refine_stage(  # type: ignore[return-value]
            coarse,
            patches,
            boxes.float().flatten(0, 1),
            size,
            n_points=counts[0],
            kernel_size=settings.kernel_size,
            labels_only=labels_only,
            return_points=True,
        )
    # one image after the other: their points differ in number, or are chosen in another way
    maps: list[Tensor] = []
    points: list[Tensor] = []
    for one, own, n_points in zip(range(len(coarse)), boxes, counts, strict=True):
        looked_at = patches[one * len(own) : (one + 1) * len(own)]
        alone = as_boxes([(x0, y0, x1, y1) for _, x0, y0, x1, y1 in own.tolist()])
        if settings.points_by == "score":
            refined, chosen = refine_stage(
                coarse[one : one + 1],
                looked_at,
                alone,
                size,
                n_points=n_points,
                kernel_size=settings.kernel_size,
                labels_only=labels_only,
                return_points=True,
            )
        else:
            refined, chosen = refine_by(
                settings.points_by,
                upsample(coarse[one : one + 1], size).clone(),
                looked_at,
                alone,
                n_points=n_points,
                kernel_size=settings.kernel_size,
                seed=scale,
            )
            refined = refined.argmax(dim=1).byte() if labels_only else refined
        maps.append(refined)
        points.append(chosen)
    most = max(chosen.shape[1] for chosen in points)
    filled = [F.pad(chosen, (0, most - chosen.shape[1]), value=-1) for chosen in points]
    return torch.cat(maps) if len(maps) > 1 else maps[0], torch.cat(filled)


def _count_points(settings: WalkSettings, boxes: Tensor) -> list[int]:
    """How many points are replaced in each image, given the patches (N, P, 5) that were looked at."""
    n, share = len(boxes), settings.n_points
    if isinstance(share, int):
        return [share] * n
    if boxes.shape[1] == 0:
        return [0] * n
    if boxes.device.type == "cpu" and bool((boxes[:, :, 1:] == boxes[:1, :, 1:]).all()):
        return [int(count_covered(_corners(boxes[0])) * share)] * n
    return [int(count_covered(_corners(own)) * share) for own in boxes]


def _corners(boxes: Tensor) -> Sequence[Box]:
    return [(int(x0), int(y0), int(x1), int(y1)) for _, x0, y0, x1, y1 in boxes.tolist()]
