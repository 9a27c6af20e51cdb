"""The walk from coarse to fine as the paper describes it (``compat="paper"``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magnet.conventions import Finite
from magnet.images.read import resize
from magnet.walk.grid import Box, as_boxes, count_grid, patch_grid
from magnet.walk.memory import check_memory
from magnet.walk.plan import Plan, plan_walk
from magnet.walk.points_by import refine_by
from magnet_kernels import crop_patches, patch_uncertainty, refine_stage, upsample_confidence

if TYPE_CHECKING:
    from magnet.model.magnet import MagNet
    from magnet.model.prediction import Stage

_STRIP = 256  # rows of labels made at a time


def paper_walk(
    model: MagNet,
    image: Tensor,
    bar: Any,
    stages: list[Stage] | None,
    *,
    labels_only: bool = False,
    on_map: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """(1, 3, H, W) normalised -> (1, C, *scales[-1]) probabilities, or (1, *scales[-1]) uint8 labels.

    ``bar`` counts patches; ``stages`` are appended. ``labels_only`` makes no probabilities of the last scale, so that
    there can be no ``stages``. ``on_map`` is called with the map (1, C, h, w) that each later scale starts from.

    Raises:
        MagNetError: a network gave NaN or infinity, or a scale takes more memory than the machine has; names the scale.
    """
    image = image.to(model.device)
    plan = plan_walk(model, (image.shape[-2], image.shape[-1]))
    finite = Finite(model)
    known = _look_at_whole(model, plan, image)
    finite.look(known, "scales[0]", plan.scales[0])
    check_memory(model, plan, known)
    bar.update()
    if stages is not None:
        stages.append(make_stage(plan.scales[0], known))
    for scale, size in enumerate(plan.scales[1:], start=1):
        if on_map is not None:
            on_map(known)
        boxes, patches = _look(model, plan, known, resize(image, size), scale, bar)
        finite.look(patches, f"scales[{scale}]", size)  # the map would not show it: NaN there replaces nothing
        n_points = model.n_points if isinstance(model.n_points, int) else int(count_covered(boxes) * model.n_points)
        last = labels_only and scale == len(plan.scales) - 1
        if model.points_by != "score":
            known, points = refine_by(
                model.points_by,
                upsample(known, size).clone(),
                patches,
                as_boxes(boxes),
                n_points=n_points,
                kernel_size=model.kernel_size,
                seed=scale,
            )
            known = known.argmax(dim=1).byte() if last else known
        else:
            known, points = refine_stage(
                known,
                patches,
                as_boxes(boxes),
                size,
                n_points=n_points,
                kernel_size=model.kernel_size,
                labels_only=last,
                return_points=True,
            )
        if stages is not None:
            stages.append(make_stage(size, known, points[points >= 0], boxes))
    finite.finish()
    if len(plan.scales) > 1:
        return known
    return labels_at(known[0], plan.scales[0])[None].byte() if labels_only else upsample(known, plan.scales[0])


def traced_walk(model: MagNet, images: Tensor) -> Tensor:
    """``paper_walk`` of a whole batch (N, 3, H, W) as one graph, for torch.compile and torch.export.

    Nothing in it depends on values, and N may be symbolic. The patches of all images go through the networks together.
    """
    if model.points_by != "score":
        raise ValueError(f"points_by: expected 'score' to trace the model, got {model.points_by!r}")
    images = images.to(model.device)
    plan = plan_walk(model, (images.shape[-2], images.shape[-1]))
    known = _look_at_whole(model, plan, images)
    for scale, size in enumerate(plan.scales[1:], start=1):
        grid, n_patches = patch_grid(size, plan.patch_size), model.patches_at(scale)
        count = len(grid) if n_patches is None else min(n_patches, len(grid))
        n_points = model.n_points
        if not isinstance(n_points, int):
            if 0 < count < len(grid):
                raise ValueError(
                    f"n_points: expected an int (a count) to trace a model whose n_patches is {n_patches}, got "
                    f"{n_points!r}: which pixels the patches cover is not known then"
                )
            n_points = int(count_covered(grid[:count]) * n_points)
        boxes, patches = _look_traced(model, plan, known, resize(images, size), scale, grid, count)
        known, _ = refine_stage(
            known,
            patches,
            boxes.flatten(0, 1),
            size,
            n_points=n_points,
            kernel_size=model.kernel_size,
            return_points=True,
        )
    return known if len(plan.scales) > 1 else upsample(known, plan.scales[0])


def _look_traced(
    model: MagNet, plan: Plan, known: Tensor, images: Tensor, scale: int, grid: Sequence[Box], count: int
) -> tuple[Tensor, Tensor]:
    """As ``_look``, of ``count`` patches of each image: boxes (N, count, 5), and patches (N * count, C, h, w)."""
    size, n = plan.scales[scale], images.shape[0]
    some = 0 < count < len(grid)
    if some or (model.refiner_at(scale) is not None and plan.input_size != plan.patch_size):
        known = upsample(known, size)
    corners = torch.tensor(grid, dtype=torch.float64).expand(n, len(grid), 4)
    image = torch.arange(n, dtype=torch.float64)[:, None, None].expand(n, len(grid), 1)
    boxes = torch.cat([image, corners], dim=2)
    if some:
        boxes = boxes.to(known.device)
        uncertainty = patch_uncertainty(known, boxes.flatten(0, 1)).view(n, len(grid))
        chosen = uncertainty.argsort(dim=1, descending=True, stable=True)[:, :count].sort(dim=1).values
        boxes = boxes.gather(1, chosen[..., None].expand(n, count, 5))
    boxes = boxes[:, :count]
    smaller = min(plan.input_size[0], plan.patch_size[0]), min(plan.input_size[1], plan.patch_size[1])
    (h, w), classes = known.shape[-2:], known.shape[1]
    there = boxes * boxes.new_tensor([1, w / size[1], h / size[0], w / size[1], h / size[0]])
    patches = []
    for first in range(0, count, model.patches_per_pass):
        some_boxes = slice(first, min(first + model.patches_per_pass, count))
        # boxes of whole pixels are copied exactly
        crops = crop_patches(images, boxes[:, some_boxes].flatten(0, 1), plan.patch_size)
        fine = model.segment(resize(crops, plan.input_size))
        if model.refiner_at(scale) is not None:
            fine = model.merge(
                fine, crop_patches(known, there[:, some_boxes].float().flatten(0, 1), plan.input_size), scale
            )
        patches.append(resize(fine, smaller).unflatten(0, (n, some_boxes.stop - first)))
    if not patches:
        return boxes, known.new_empty(0, classes, *smaller)
    return boxes, torch.cat(patches, dim=1).flatten(0, 1)


def make_stage(size: tuple[int, int], known: Tensor, points: Tensor | None = None, boxes: Sequence[Box] = ()) -> Stage:
    """What one scale leaves for pictures: its map (1, C, H, W), the points replaced, and the patches looked at."""
    from magnet.model.prediction import Stage

    return Stage(scale=size, probabilities=known[0], points=points, boxes=list(boxes))


def _look_at_whole(model: MagNet, plan: Plan, images: Tensor) -> Tensor:
    """(N, 3, H, W) -> probabilities (N, C, h, w) of the first scale, at the size that is seen or its own if smaller."""
    (h, w), (height, width) = plan.whole, plan.scales[0]
    seen = model.segment(whole_image(images, plan.scales[0], plan.whole))
    return resize(seen, (min(h, height), min(w, width))).contiguous()


def whole_image(image: Tensor, scale: tuple[int, int], input_size: tuple[int, int]) -> Tensor:
    """The whole image at ``input_size``, showing no more than its first scale does."""
    if input_size[0] > scale[0] or input_size[1] > scale[1]:
        image = resize(image, scale)
    return resize(image, input_size)


def upsample(known: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a map (N, C, H, W) to ``size``."""
    if known.shape[-2:] == tuple(size):
        return known
    return upsample_confidence(known, size)[0]  # faster than F.interpolate, although half of it is not used


def most_uncertain(known: Tensor, grid: Sequence[Box], n_patches: int | None) -> list[int]:
    """Indices, ascending, of the patches of highest mean uncertainty; ties to the lowest index. None: all."""
    if n_patches is None or n_patches >= len(grid):
        return list(range(len(grid)))
    if n_patches == 0:
        return []
    uncertainty = patch_uncertainty(known, as_boxes(grid, known.device))
    return sorted(uncertainty.argsort(descending=True, stable=True)[:n_patches].tolist())


def _look(model: MagNet, plan: Plan, known: Tensor, image: Tensor, scale: int, bar: Any) -> tuple[list[Box], Tensor]:
    """The patches of a scale: boxes, and refined probabilities (P, C, h, w), h and w ``patch_size`` or smaller.

    ``known`` is the map of the scale before, ``image`` has the size of this one.
    """
    size, n_patches = plan.scales[scale], model.patches_at(scale)
    grid = patch_grid(size, plan.patch_size)
    # What is cut out of a map in its own resolution need not be upsampled as a whole.
    resized = model.refiner_at(scale) is not None and plan.input_size != plan.patch_size
    if resized or (n_patches is not None and 0 < n_patches < len(grid)):
        known = upsample(known, size)
    boxes = [grid[i] for i in most_uncertain(known, grid, n_patches)]
    smaller = min(plan.input_size[0], plan.patch_size[0]), min(plan.input_size[1], plan.patch_size[1])
    patches = known.new_empty(len(boxes), known.shape[1], *smaller)
    for first in range(0, len(boxes), model.patches_per_pass):
        batch = boxes[first : first + model.patches_per_pass]
        # shrunk with antialiasing; enlarged when they are stitched
        patches[first : first + len(batch)] = resize(_patches(model, plan, known, image, batch, scale), smaller)
        bar.update(len(batch))
    return boxes, patches


def _patches(model: MagNet, plan: Plan, known: Tensor, image: Tensor, boxes: Sequence[Box], scale: int) -> Tensor:
    """Refined probabilities (P, C, *input_size) of patches of one scale."""
    crops = torch.cat([image[..., y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])
    fine = model.segment(resize(crops, plan.input_size))
    if model.refiner_at(scale) is None:
        return fine
    (h, w), (height, width) = known.shape[-2:], image.shape[-2:]
    there = [(x0 * w / width, y0 * h / height, x1 * w / width, y1 * h / height) for x0, y0, x1, y1 in boxes]
    return model.merge(fine, crop_patches(known, as_boxes(there, known.device), plan.input_size), scale)


def count_covered(boxes: Sequence[Box]) -> int:
    """How many pixels lie in at least one of the boxes."""
    xs, ys = (sorted({v for box in boxes for v in (box[axis], box[axis + 2])}) for axis in (0, 1))
    cells: set[tuple[int, int]] = set()  # between all edges
    for x0, y0, x1, y1 in boxes:
        rows, columns = range(ys.index(y0), ys.index(y1)), range(xs.index(x0), xs.index(x1))
        cells.update((row, column) for row in rows for column in columns)
    return sum((ys[row + 1] - ys[row]) * (xs[column + 1] - xs[column]) for row, column in cells)


def count_patches(model: MagNet, plan: Plan) -> int:
    """How often the segmenter looks at one image, the first scale included."""
    total = 1
    for scale, size in enumerate(plan.scales[1:], start=1):
        n_patches, all_patches = model.patches_at(scale), count_grid(size, plan.patch_size)
        total += all_patches if n_patches is None else min(n_patches, all_patches)
    return total


def labels_at(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) -> (h, w) int64 labels at ``size``: resized bilinearly, without a second map."""
    classes, height, width = probabilities.shape
    if classes <= 256 and height <= size[0] and width <= size[1]:  # a stage that no patches come to
        nothing = probabilities.new_empty(0, classes, 1, 1), torch.empty(0, 5)
        return refine_stage(probabilities[None], *nothing, size, n_points=0, labels_only=True)[0].long()
    if (height, width) == tuple(size):
        return probabilities.max(dim=0).indices  # three times as fast as argmax
    labels = torch.empty(size, dtype=torch.int64, device=probabilities.device)
    y = ((torch.arange(size[0], device=probabilities.device) + 0.5) * (height / size[0]) - 0.5).clamp(0, height - 1)
    above = y.long()
    weight = (y - above)[:, None]
    below = (above + 1).clamp(max=height - 1)
    for start in range(0, size[0], _STRIP):
        rows = slice(start, start + _STRIP)
        strip = torch.lerp(probabilities[:, above[rows]], probabilities[:, below[rows]], weight[rows])
        labels[rows] = upsample(strip[None], (strip.shape[1], size[1]))[0].max(dim=0).indices
    return labels
