"""Operators of progressive refinement: confidence, median, score, selection, replacement, and all of them as one step.

Every operator is ``torch.ops.magnet_kernels.<name>``, with a plain-torch reference and compiled kernels behind it.
"""

from __future__ import annotations

from magnet_kernels import _backends
from magnet_kernels._backends import available_backends
from magnet_kernels._freed_memory import keep_freed_memory
from magnet_kernels._loader import build_info
from magnet_kernels._version import __version__
from magnet_kernels.ops.checked_input import checked_input as _checked_input  # noqa: F401  for exported programs
from magnet_kernels.ops.confidence import confidence
from magnet_kernels.ops.crop_patches import crop_patches
from magnet_kernels.ops.median_blur import median_blur
from magnet_kernels.ops.patch_uncertainty import patch_uncertainty
from magnet_kernels.ops.refine_stage import refine_stage
from magnet_kernels.ops.refine_step import refine_step, refine_step_
from magnet_kernels.ops.replace_points import replace_points, replace_points_
from magnet_kernels.ops.select_points import select_points
from magnet_kernels.ops.stitch_patches import stitch_patches
from magnet_kernels.ops.uncertainty_score import uncertainty_score
from magnet_kernels.ops.upsample_confidence import upsample_confidence

_backends.load()

__all__ = [
    "__version__",
    "available_backends",
    "build_info",
    "confidence",
    "crop_patches",
    "keep_freed_memory",
    "median_blur",
    "patch_uncertainty",
    "refine_stage",
    "refine_step",
    "refine_step_",
    "replace_points",
    "replace_points_",
    "select_points",
    "stitch_patches",
    "uncertainty_score",
    "upsample_confidence",
]
