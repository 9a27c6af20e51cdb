"""MagNet (Progressive Semantic Segmentation, CVPR 2021): training and inference on top of ``magnet_kernels``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from magnet.checkpoints.fit import load_official
    from magnet.errors import MagNetError
    from magnet.export import export_model
    from magnet.images.rasters import open_raster
    from magnet.model.magnet import MagNet
    from magnet.model.prediction import Prediction
    from magnet.networks import RefinementModule, build_refiner, build_segmenter
    from magnet.networks.segmenter import Segmenter
    from magnet.networks.wrap import wrap
    from magnet_kernels import __version__, keep_freed_memory, refine_step, refine_step_

# Loaded on first use, torch included, so that the command line answers at once.
_LAZY = {
    "MagNet": "magnet.model",
    "MagNetError": "magnet.errors",
    "Prediction": "magnet.model",
    "RefinementModule": "magnet.networks",
    "Segmenter": "magnet.networks.segmenter",
    "__version__": "magnet_kernels",
    "build_refiner": "magnet.networks",
    "build_segmenter": "magnet.networks",
    "export_model": "magnet.export",
    "keep_freed_memory": "magnet_kernels",
    "load_official": "magnet.checkpoints",
    "open_raster": "magnet.images.rasters",
    "refine_step": "magnet_kernels",
    "refine_step_": "magnet_kernels",
    "wrap": "magnet.networks.wrap",
}

__all__ = [
    "MagNet",
    "MagNetError",
    "Prediction",
    "RefinementModule",
    "Segmenter",
    "__version__",
    "build_refiner",
    "build_segmenter",
    "export_model",
    "keep_freed_memory",
    "load_official",
    "open_raster",
    "refine_step",
    "refine_step_",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in ("evaluation", "images"):  # which messages name
        return importlib.import_module(f"magnet.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'magnet' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LAZY[name]), name)
    return value
