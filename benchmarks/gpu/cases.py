"""All cases, the most important ones first: where time runs out, the last ones are left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import competitors as c
import torch
import torch.nn.functional as F
from targets import N_POINTS
from torch import Tensor

import magnet_kernels as mk
from gpu import arithmetic as a
from gpu import compare, cub_topk, inputs
from gpu.arithmetic import Shape
from gpu.case import Case
from gpu.inputs import CLUSTERED, FLAT, SCATTERED

FLOAT, BFLOAT = torch.float32, torch.bfloat16
SHAPE: Shape = (1, 19, 1024, 2048)
SMOKE = 64  # sizes are divided by it to try the program out


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled when first called: most cases are never run with it."""
    return lambda *arguments: c.compiled(function)(*arguments)


@dataclass(frozen=True)
class Cases:
    """Makes cases for one device; ``divide`` makes everything smaller."""

    device: str
    divide: int = 1

    def shape(self, shape: Shape) -> Shape:
        return (*shape[:2], shape[2] // self.divide, shape[3] // self.divide)

    def count(self, n_points: int | float, shape: Shape) -> int:
        """A fraction of the pixels of an image, or so many of the undivided one's."""
        if isinstance(n_points, float):
            return int(n_points * shape[2] * shape[3])
        return n_points // self.divide**2

    def map(self, shape: Shape, seed: int, dtype: torch.dtype, logits: bool = False, kind: str = CLUSTERED) -> Tensor:
        make = inputs.logits if logits else inputs.probabilities
        return make(shape, seed, self.device, kind).to(dtype)

    def both(self, size: tuple[int, int], patch: tuple[int, int], step: int = 1) -> tuple[Tensor, Tensor]:
        """Boxes of a grid on the host, and where the maps are."""
        boxes = inputs.grid_boxes(size, patch, self.device, step)
        return boxes.cpu(), boxes

    def score(self, shape: Shape, seed: int, kind: str) -> Tensor:
        """A score map (N, 1, H, W)."""
        if kind == FLAT:
            return torch.full((shape[0], 1, *shape[2:]), 0.37, device=self.device)
        small = (shape[0], min(shape[1], 3), *shape[2:])
        pair = (self.map(small, seed + i, FLOAT, kind=kind) for i in (0, 1))
        return mk.uncertainty_score(*pair, backend="reference")

    # --- refine_step

    def refine_(
        self,
        shape: Shape = SHAPE,
        dtype: torch.dtype = FLOAT,
        n_points: int | float = N_POINTS,
        scores: str = CLUSTERED,
        logits: bool = False,
        layout: torch.memory_format = torch.contiguous_format,
        compile: bool = False,
    ) -> Case:
        shape, item = self.shape(shape), dtype.itemsize
        k = self.count(n_points, shape)
        name = "refine_step_" + (" from_logits" if logits else "")
        name += " channels_last" if layout == torch.channels_last else ""

        def make(seed: int) -> tuple[Any, ...]:
            pair = (
                self.map(shape, 2 * seed + i, dtype, logits, scores).contiguous(memory_format=layout) for i in (0, 1)
            )
            return (*pair, k)

        def ours(backend: str) -> Callable[..., Any]:
            return lambda coarse, fine, k: mk.refine_step_(
                coarse, fine, n_points=k, from_logits=logits, backend=backend
            )

        rivals = {"eager": c.plain_refine_logits_ if logits else c.plain_refine_}
        if compile:
            rivals["compile"] = c.fused_refine_logits_ if logits else c.fused_refine_
            if not logits and scores != FLAT:
                rivals["compile, where"] = c.fused_where_refine_
        exact = compare.identical if not logits else compare.few_pixels
        rival = compare.few_pixels if dtype == FLOAT else compare.mostly_the_same_points
        return Case(
            name, "refine_step_", shape, dtype,
            a.refine_bytes(shape, item, k, in_place=True), 2 * a.map_bytes(shape, item), make, ours, exact, rivals,
            same_rival=compare.as_many_replaced if scores == FLAT else rival,
            n_points=k, scores=scores, in_place=True,
        )  # fmt: skip

    def refine(self, half: bool, dtype: torch.dtype = FLOAT, compile: bool = False) -> Case:
        """Out of place; from a coarse map of the full or of half the size."""
        shape, item = self.shape(SHAPE), dtype.itemsize
        k = self.count(N_POINTS, shape)
        size = (shape[2] // 2, shape[3] // 2) if half else shape[2:]

        def make(seed: int) -> tuple[Any, ...]:
            coarse = self.map((*shape[:2], *size), 2 * seed, dtype)
            return coarse, self.map(shape, 2 * seed + 1, dtype), k

        def ours(backend: str) -> Callable[..., Any]:
            return lambda coarse, fine, k: mk.refine_step(coarse, fine, n_points=k, backend=backend)

        rivals: dict[str, Callable[..., Any]] = {"eager": c.plain_refine_upsampled if half else c.plain_refine}
        if compile and not half:
            rivals["compile"] = c.fused_refine
        moved = a.refine_bytes(shape, item, k, in_place=False, coarse_size=size)
        within = 1e-5 if dtype == FLOAT else 8e-3
        return Case(
            "refine_step" + (" half-size coarse" if half else ""), "refine_step", shape, dtype,
            moved, moved, make, ours,
            compare.few_pixels_within(within) if half else compare.identical, rivals,
            same_rival=compare.few_pixels_within(within) if half else compare.few_pixels, n_points=k,
        )  # fmt: skip

    # --- refine_stage

    def stage(self, labels: bool, dtype: torch.dtype = FLOAT, logits: bool = False) -> Case:
        """From a map of half the size and patches laid side by side to the map, or to its labels."""
        shape, item = self.shape(SHAPE), dtype.itemsize
        k = self.count(N_POINTS, shape)
        small = (*shape[:2], shape[2] // 2, shape[3] // 2)
        cut = (shape[2] // 4, shape[3] // 4)
        patches = (16, shape[1], *cut)
        name = "refine_stage" + (" from_logits" if logits else "") + (" labels" if labels else "")

        def make(seed: int) -> tuple[Any, ...]:
            fine = self.map(shape, 2 * seed + 1, dtype, logits)
            boxes = inputs.grid_boxes(shape[2:], cut, self.device)
            tiles = c.plain_crop(fine, boxes, cut)
            stitched = fine if not logits else fine.softmax(dim=1)
            return self.map(small, 2 * seed, dtype), tiles, boxes.cpu(), boxes, stitched

        def ours(backend: str) -> Callable[..., Any]:
            return lambda coarse, tiles, boxes, *_: mk.refine_stage(
                coarse, tiles, boxes, shape[2:], n_points=k, from_logits=logits, labels_only=labels, backend=backend
            )

        def finish(coarse: Tensor, fine: Tensor, covered: Tensor | None, backend: str) -> Tensor:
            wide = F.interpolate(coarse, shape[2:], mode="bilinear", align_corners=False)
            mk.refine_step_(wide, fine, n_points=k, mask=covered, backend=backend)
            return wide.argmax(dim=1).to(torch.uint8) if labels else wide

        def separate(backend: str) -> Callable[..., Any]:
            def run(coarse: Tensor, tiles: Tensor, _: Tensor, boxes: Tensor, __: Tensor) -> Tensor:
                tiles = tiles.softmax(dim=1) if logits else tiles
                fine, covered = mk.stitch_patches(tiles, boxes, shape[2:], backend=backend)
                return finish(coarse, fine, covered, backend)

            return run

        def stitched_before(backend: str) -> Callable[..., Any]:
            return lambda coarse, tiles, _, boxes, fine: finish(coarse, fine, None, backend)

        def eager(coarse: Tensor, tiles: Tensor, boxes: Tensor, *_: Tensor) -> Tensor:
            tiles = tiles.softmax(dim=1) if logits else tiles
            refined = c.plain_refine_upsampled(coarse, c.plain_stitch(tiles, boxes, shape[2:])[0], k)
            return refined.argmax(dim=1).to(torch.uint8) if labels else refined

        within = 0.0 if labels else 1e-5 if dtype == FLOAT else 8e-3
        return Case(
            name, "refine_stage_labels" if labels else "refine_stage", shape, dtype,
            a.stage_bytes(small, patches, shape, item, labels=labels),
            a.map_bytes(small, item) + a.map_bytes(patches, item) + a.map_bytes(shape, item), make, ours,
            compare.few_pixels_within(within), {"eager": eager} if dtype == FLOAT else {},
            combined={"separate": separate, "stitched before": stitched_before}, n_points=k,
        )  # fmt: skip

    # --- the other operators

    def confidence(
        self, shape: Shape = SHAPE, dtype: torch.dtype = FLOAT, logits: bool = False, compile: bool = False
    ) -> Case:
        shape = self.shape(shape)
        rivals = {"eager": c.plain_confidence_of_logits if logits else c.plain_confidence}
        if compile:
            rivals["compile"] = compiled(c.chain_confidence_of_logits if logits else c.chain_confidence)
        return Case(
            "confidence" + (" from_logits" if logits else ""), "confidence", shape, dtype,
            a.confidence_bytes(shape, dtype.itemsize), a.map_bytes(shape, dtype.itemsize),
            lambda seed: (self.map(shape, seed, dtype, logits),),
            lambda backend: lambda x: mk.confidence(x, from_logits=logits, backend=backend),
            compare.close(2e-6 if logits else 0), rivals, same_rival=compare.close(2e-6 if dtype == FLOAT else 1e-2),
        )  # fmt: skip

    def median(self, kernel_size: int, compile: bool = False) -> Case:
        shape = self.shape((1, 1, *SHAPE[2:]))
        rivals: dict[str, Callable[..., Any]] = {"eager": lambda x: c.plain_median(x, kernel_size)}
        if compile:
            rivals["compile"] = compiled(c.network_median3)
        return Case(
            f"median_blur {kernel_size}x{kernel_size}", "median_blur", shape, FLOAT,
            a.median_bytes(shape, 4), a.map_bytes(shape, 4),
            lambda seed: (inputs.logits(shape, seed, self.device, SCATTERED),),
            lambda backend: lambda x: mk.median_blur(x, kernel_size, backend=backend),
            compare.identical, rivals,
        )  # fmt: skip

    def uncertainty(
        self, shape: Shape = SHAPE, dtype: torch.dtype = FLOAT, logits: bool = False, compile: bool = False
    ) -> Case:
        shape = self.shape(shape)

        def eager(coarse: Tensor, fine: Tensor) -> Tensor:
            return c.plain_score(*((x.softmax(dim=1) for x in (coarse, fine)) if logits else (coarse, fine)))

        rivals: dict[str, Callable[..., Any]] = {"eager": eager}
        if compile:
            rivals["compile"] = compiled(c.chain_score_of_logits if logits else c.chain_score)
        return Case(
            "uncertainty_score" + (" from_logits" if logits else ""), "uncertainty_score", shape, dtype,
            a.score_bytes(shape, dtype.itemsize), 2 * a.map_bytes(shape, dtype.itemsize),
            lambda seed: tuple(self.map(shape, 2 * seed + i, dtype, logits) for i in (0, 1)),
            lambda backend: lambda x, y: mk.uncertainty_score(x, y, from_logits=logits, backend=backend),
            compare.close(4e-6 if logits else 0), rivals, same_rival=compare.close(4e-6 if dtype == FLOAT else 2e-2),
        )  # fmt: skip

    def select(self, n_points: int | float, scores: str = CLUSTERED) -> Case:
        """CUB's selection is given its best: any order, any of equal scores; and once ours: ascending, the lowest."""
        shape = self.shape(SHAPE)
        k = self.count(n_points, shape)
        return Case(
            "select_points", "select_points", (1, 1, *shape[2:]), FLOAT,
            a.select_bytes(shape, k), a.pixels(shape) * 4,
            lambda seed: (self.score(shape, 2 * seed, scores), k),
            lambda backend: lambda score, k: mk.select_points(score, k, backend=backend),
            compare.identical,
            {"eager": c.plain_select, "CUB": cub_topk.topk, "CUB, same points": cub_topk.topk_ordered},
            same_rival=compare.same_scores, same_of={"CUB, same points": compare.identical},
            n_points=k, scores=scores,
        )  # fmt: skip

    def select_small(self) -> Case:
        """Many images of 64 x 64, as patches are: what CUB's batched selection is for."""
        side = cub_topk.BATCHED_SIDE if self.divide == 1 else 8
        shape, k = (256, 1, side, side), side * side // 8
        return Case(
            "select_points", "select_points", shape, FLOAT,
            a.select_bytes(shape, k), a.pixels(shape) * 4,
            lambda seed: (self.score((shape[0], 3, *shape[2:]), 2 * seed, CLUSTERED), k),
            lambda backend: lambda score, k: mk.select_points(score, k, backend=backend),
            compare.identical, {"eager": c.plain_select, "CUB, batched": cub_topk.batched_topk},
            same_rival=compare.same_scores, n_points=k,
        )  # fmt: skip

    def replace(self, in_place: bool, n_points: int | float = N_POINTS, scores: str = CLUSTERED) -> Case:
        shape = self.shape(SHAPE)
        k = self.count(n_points, shape)

        def make(seed: int) -> tuple[Any, ...]:
            points = mk.select_points(self.score(shape, 2 * seed, scores), k, backend="reference")
            return self.map(shape, 2 * seed, FLOAT), self.map(shape, 2 * seed + 1, FLOAT), points

        name = "replace_points_" if in_place else "replace_points"
        operator = mk.replace_points_ if in_place else mk.replace_points
        return Case(
            name, name, shape, FLOAT,
            a.replace_bytes(shape, 4, k, in_place), 2 * a.map_bytes(shape, 4), make,
            lambda backend: lambda coarse, fine, points: operator(coarse, fine, points, backend=backend),
            compare.identical, {"eager": c.plain_replace_ if in_place else c.plain_replace},
            n_points=k, scores=scores, in_place=in_place,
        )  # fmt: skip

    def upsample(self, dtype: torch.dtype = FLOAT, compile: bool = False) -> Case:
        shape = self.shape(SHAPE)
        small, item = (*shape[:2], shape[2] // 2, shape[3] // 2), dtype.itemsize
        rivals: dict[str, Callable[..., Any]] = {"eager": c.plain_upsample_confidence}
        if compile:
            rivals["compile"] = compiled(c.chain_upsample_confidence)
        within = 1e-5 if dtype == FLOAT else 1.6e-2
        return Case(
            "upsample_confidence x2", "upsample_confidence", shape, dtype,
            a.upsample_bytes(small, shape, item), a.map_bytes(small, item),
            lambda seed: (self.map(small, seed, dtype), shape[2:]),
            lambda backend: lambda x, size: mk.upsample_confidence(x, size, backend=backend),
            compare.close(within), rivals,
        )  # fmt: skip

    # Ours gets boxes on the host: those on a GPU must be fetched first, which no graph can hold.

    def crop(self, dtype: torch.dtype = FLOAT, resized: bool = False) -> Case:
        """The patches of a grid, as they are; or resampled to half the size, which plain slices do otherwise."""
        shape = self.shape(SHAPE)
        cut = (shape[2] // 4, shape[3] // 4)
        size = (cut[0] // 2, cut[1] // 2) if resized else cut
        return Case(
            "crop_patches" + (" to half size" if resized else ""), "crop_patches", shape, dtype,
            a.crop_bytes(a.pixels(shape), 16, size, shape[1], dtype.itemsize), a.map_bytes(shape, dtype.itemsize),
            lambda seed: (self.map(shape, seed, dtype), *self.both(shape[2:], cut), size),
            lambda backend: lambda x, boxes, _, size: mk.crop_patches(x, boxes, size, backend=backend),
            compare.close(1e-6 if dtype == FLOAT else 8e-3),
            {} if resized else {"eager": lambda x, _, boxes, size: c.plain_crop(x, boxes, size)},
        )  # fmt: skip

    def stitch(self, step: int, dtype: torch.dtype = FLOAT) -> Case:
        """Patches side by side, or with ``step`` 2 overlapping by half."""
        shape = self.shape(SHAPE)
        cut = (shape[2] // 4, shape[3] // 4)
        count = (4 * step - step + 1) ** 2

        def make(seed: int) -> tuple[Any, ...]:
            of_host, of_device = self.both(shape[2:], cut, step)
            return c.plain_crop(self.map(shape, seed, dtype), of_device, cut), of_host, of_device, shape[2:]

        return Case(
            "stitch_patches" + (" overlapping" if step > 1 else ""), "stitch_patches", shape, dtype,
            a.stitch_bytes(shape, count, cut, dtype.itemsize),
            a.map_bytes((count, shape[1], *cut), dtype.itemsize) + a.map_bytes(shape, dtype.itemsize), make,
            lambda backend: lambda patches, boxes, _, size: mk.stitch_patches(patches, boxes, size, backend=backend),
            compare.close(1e-6 if dtype == FLOAT else 8e-3),
            {"eager": lambda patches, _, boxes, size: c.plain_stitch(patches, boxes, size)},
        )  # fmt: skip

    def box_uncertainty(self, dtype: torch.dtype = FLOAT) -> Case:
        shape = self.shape(SHAPE)
        cut = (shape[2] // 4, shape[3] // 4)
        return Case(
            "patch_uncertainty", "patch_uncertainty", shape, dtype,
            a.patch_uncertainty_bytes(shape, dtype.itemsize, 49), a.map_bytes(shape, dtype.itemsize),
            lambda seed: (self.map(shape, seed, dtype), *self.both(shape[2:], cut, 2)),
            lambda backend: lambda x, boxes, _: mk.patch_uncertainty(x, boxes, backend=backend),
            compare.close(1e-5), {"eager": lambda x, _, boxes: c.plain_patch_uncertainty(x, boxes)},
            same_rival=compare.close(1e-5 if dtype == FLOAT else 1e-2),
        )  # fmt: skip


def all_cases(device: str, divide: int = 1) -> list[Case]:
    """Every case, those with a figure to reach first."""
    m = Cases(device, divide)
    huge: Shape = (1, 19, 8192, 8192)
    return [
        m.refine_(compile=True),
        m.refine_(dtype=BFLOAT, compile=True),
        m.refine_(n_points=0.03),
        m.refine_(n_points=0.03, scores=FLAT),
        m.refine_(n_points=0.9, compile=True),
        m.refine_(huge, n_points=0.03),
        m.stage(labels=True),
        m.stage(labels=False),
        m.stage(labels=True, dtype=BFLOAT),
        m.stage(labels=True, logits=True),
        m.refine(half=False, compile=True),
        m.refine(half=True),
        m.refine_(logits=True, compile=True),
        m.refine_(logits=True, dtype=BFLOAT),
        m.confidence(compile=True),
        m.uncertainty(compile=True),
        m.median(3, compile=True),
        m.median(5),
        m.median(11),
        m.select(N_POINTS),
        m.select_small(),
        m.replace(True),
        m.upsample(compile=True),
        m.crop(),
        m.stitch(1),
        m.stitch(2),
        m.box_uncertainty(),
        *(m.refine_(n_points=share) for share in (0.01, 0.1, 0.3, 0.5, 0.75)),
        *(m.refine_(n_points=share, scores=SCATTERED) for share in (0.03, 0.3, 0.9)),
        m.refine_(n_points=0.9, scores=FLAT),
        *(m.refine_((1, classes, *SHAPE[2:]), dtype) for classes in (2, 7, 150) for dtype in (FLOAT, BFLOAT)),
        *(m.refine_((1, 19, *size), n_points=0.03) for size in ((512, 1024), (2048, 4096), (4096, 4096))),
        *(m.refine_((1, 19, *size), BFLOAT, 0.03) for size in ((512, 1024), (2048, 4096), (8192, 8192))),
        m.refine_((8, 19, 512, 1024), n_points=0.03),
        m.refine_((1, 150, 4096, 4096), BFLOAT, 0.03),
        m.refine_((1, 150, 8192, 8192), BFLOAT, 0.03),
        m.refine_(layout=torch.channels_last),
        m.refine_((1, 150, *SHAPE[2:]), logits=True),
        m.confidence(dtype=BFLOAT),
        m.confidence(logits=True, compile=True),
        *(m.confidence((1, classes, *SHAPE[2:])) for classes in (2, 7, 150)),
        m.uncertainty(dtype=BFLOAT),
        m.uncertainty(logits=True),
        *(m.select(share) for share in (0.01, 0.9)),
        m.select(0.03, FLAT),
        m.select(0.03, SCATTERED),
        m.replace(True, 0.9),
        m.replace(True, 0.03, SCATTERED),
        m.replace(False),
        m.upsample(BFLOAT),
        m.crop(BFLOAT),
        m.crop(resized=True),
        m.stitch(1, BFLOAT),
        m.box_uncertainty(BFLOAT),
    ]  # fmt: skip
