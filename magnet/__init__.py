"""MagNet (Progressive Semantic Segmentation, CVPR 2021): training and inference on top of ``magnet_kernels``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from magnet_kernels import __version__, refine_step, refine_step_

if TYPE_CHECKING:
    from magnet.checkpoints import load_official
    from magnet.errors import MagNetError
    from magnet.model import MagNet
    from magnet.networks import RefinementModule, build_segmenter
    from magnet.prediction import Prediction

# Loaded on first use, so that `import magnet` and the command line start at once.
_LAZY = {
    "MagNet": "magnet.model",
    "MagNetError": "magnet.errors",
    "Prediction": "magnet.prediction",
    "RefinementModule": "magnet.networks",
    "build_segmenter": "magnet.networks",
    "load_official": "magnet.checkpoints",
}

__all__ = [
    "MagNet",
    "MagNetError",
    "Prediction",
    "RefinementModule",
    "__version__",
    "build_segmenter",
    "load_official",
    "refine_step",
    "refine_step_",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'magnet' has no attribute {name!r}")
