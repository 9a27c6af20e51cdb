"""One table of operators, each with a call, for the tests of how all of them get on with torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from live import on_live_backends, on_live_devices
from seeded import probs, rand
from torch import Tensor

import magnet_kernels as mk
from magnet_kernels import _library

H, W = 9, 12
Maps = dict[str, Tensor]


def inputs(device: str = "cpu", dtype: torch.dtype = torch.float32, name: str = "pytorch") -> Maps:
    coarse, fine = (probs(f"{name}.{part}", 2, 5, H, W).to(device, dtype) for part in ("coarse", "fine"))
    boxes = torch.tensor([[0, 1.0, 2.0, 8.0, 7.0], [1, 0.0, 0.0, 12.0, 9.0]], device=device)
    points = torch.tensor([[0, 5, 60], [3, 107, -1]], device=device)
    mask = (rand(f"{name}.mask", 2, 1, H, W) > 0.3).to(device)
    return {"coarse": coarse, "fine": fine, "boxes": boxes, "points": points, "mask": mask}


def _out(m: Maps, **options: Any) -> Any:
    coarse = m["coarse"][..., ::2, ::2]
    out = torch.empty(2, 5, H, W, dtype=coarse.dtype, device=coarse.device)
    return mk.refine_step(coarse, m["fine"], n_points=30, mask=m["mask"], out=out, return_points=True, **options)


# the registered operator, and a call of its public function
CALLS: dict[str, Callable[..., Any]] = {
    "confidence": lambda m, **o: mk.confidence(m["coarse"], **o),
    "median_blur": lambda m, **o: mk.median_blur(m["coarse"], 5, **o),
    "uncertainty_score": lambda m, **o: mk.uncertainty_score(m["coarse"], m["fine"], mask=m["mask"], **o),
    "select_points": lambda m, **o: mk.select_points(m["coarse"][:, :1], 0.3, mask=m["mask"], **o),
    "replace_points": lambda m, **o: mk.replace_points(m["coarse"], m["fine"], m["points"], **o),
    "replace_points_": lambda m, **o: mk.replace_points_(m["coarse"].clone(), m["fine"], m["points"], **o),
    "refine_step": lambda m, **o: mk.refine_step(
        m["coarse"], m["fine"], n_points=30, mask=m["mask"], return_points=True, **o
    ),
    "refine_step_": lambda m, **o: mk.refine_step_(m["coarse"].clone(), m["fine"], n_points=0.9, mask=m["mask"], **o),
    "refine_step_out": _out,
    "refine_stage": lambda m, **o: mk.refine_stage(
        m["coarse"], m["fine"], m["boxes"], (11, 13), n_points=30, return_points=True, **o
    ),
    "refine_stage_labels": lambda m, **o: mk.refine_stage(
        m["coarse"], m["fine"], m["boxes"], (11, 13), n_points=30, return_points=True, labels_only=True, **o
    ),
    "upsample_confidence": lambda m, **o: mk.upsample_confidence(m["coarse"], (20, 30), **o),
    "crop_patches": lambda m, **o: mk.crop_patches(m["coarse"], m["boxes"], (4, 6), **o),
    "stitch_patches": lambda m, **o: mk.stitch_patches(m["coarse"], m["boxes"], (12, 16), batch_size=2, **o),
    "patch_uncertainty": lambda m, **o: mk.patch_uncertainty(m["coarse"], m["boxes"], **o),
}
WITH_GRADIENTS = [name for name in CALLS if _library._DEFINITIONS[name].backward is not None]
WRITES = [name for name in CALLS if name.endswith(("_", "_out"))]
each_device = on_live_devices("refine_step")
each_operator = pytest.mark.parametrize("name", CALLS)
each_with_gradients = pytest.mark.parametrize("name", WITH_GRADIENTS)


def results(name: str, maps: Maps, **options: Any) -> list[Tensor]:
    result = CALLS[name](maps, **options)
    return list(result) if isinstance(result, tuple) else [result]


def each_live_backend_of_each_operator() -> pytest.MarkDecorator:
    marks = [mark for name in CALLS for mark in [on_live_backends(name).mark]]
    pairs = []
    for name, mark in zip(CALLS, marks, strict=True):
        pairs += [pytest.param(name, p.values[0], marks=p.marks, id=f"{name}-{p.values[0]}") for p in mark.args[1]]
    return pytest.mark.parametrize(("name", "backend"), pairs)


each_pair = each_live_backend_of_each_operator()


def gradients(name: str, device: str) -> list[Tensor]:
    """Of coarse and fine, by backward()."""
    m = inputs(device)
    maps = [m[part].requires_grad_() for part in ("coarse", "fine")]
    loss(name, m).backward()
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in maps]


def loss(name: str, maps: Maps) -> Tensor:
    result = results(name, maps)[0]
    weights = torch.linspace(0, 1, result.numel(), device=result.device).view(result.shape)
    return (result * result * weights).sum()
