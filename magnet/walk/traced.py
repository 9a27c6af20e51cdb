"""The paper's walk as one graph, for torch.compile and torch.export."""

from __future__ import annotations

from torch import Tensor

from magnet.walk.grid import count_covered, patch_grid
from magnet.walk.look import look, look_at_whole
from magnet.walk.maps import upsample
from magnet.walk.networks import Networks
from magnet.walk.plan import Plan
from magnet.walk.settings import WalkSettings
from magnet.walk.views import TensorViews
from magnet_kernels import refine_stage

__all__ = ["traced_points", "traced_walk"]


def traced_points(settings: WalkSettings, plan: Plan) -> list[int]:
    """How many points each later scale replaces.

    Raises:
        ValueError: the walk of these settings is no graph.
    """
    if settings.points_by != "score":
        raise ValueError(f"points_by: expected 'score' to trace the model, got {settings.points_by!r}")
    return [_count_points(settings, plan, scale) for scale in range(1, len(plan.scales))]


def traced_walk(networks: Networks, settings: WalkSettings, plan: Plan, images: Tensor) -> Tensor:
    """``paper_walk`` of a batch (N, 3, H, W) to its last map (N, C, *scales[-1]).

    Nothing in it depends on values, and N may be symbolic: a pass of the networks takes ``batch_size`` patches of each
    image.
    """
    counts = traced_points(settings, plan)
    views = TensorViews(images.to(networks.device))
    coarse = look_at_whole(networks, settings, plan, views)
    for scale, size in enumerate(plan.scales[1:], start=1):
        boxes, patches = look(networks, settings, plan, coarse, views, scale)
        coarse, _ = refine_stage(
            coarse,
            patches,
            boxes.flatten(0, 1),
            size,
            n_points=counts[scale - 1],
            kernel_size=settings.kernel_size,
            return_points=True,
        )
    return coarse if len(plan.scales) > 1 else upsample(coarse, plan.scales[0])


def _count_points(settings: WalkSettings, plan: Plan, scale: int) -> int:
    if isinstance(settings.n_points, int):
        return settings.n_points
    grid, n_patches = patch_grid(plan.scales[scale], plan.patch_size), settings.patches_at(scale)
    count = len(grid) if n_patches is None else min(n_patches, len(grid))
    if 0 < count < len(grid):
        raise ValueError(
            f"n_points: expected an int (a count) to trace a model whose n_patches is {n_patches}, got "
            f"{settings.n_points!r}, as which pixels the patches cover is not known then; give a count, "
            "as n_points=65536 (--n-points 65536), or look at all patches"
        )
    return int(count_covered(grid[:count]) * settings.n_points)
