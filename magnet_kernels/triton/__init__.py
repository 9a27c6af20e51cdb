"""The operators in Triton: for GPUs where nothing was compiled.

Imported only where asked for: ``import magnet_kernels`` does not import triton. One file per operator, with its
kernels, the function that launches them, and what the launch depends on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

implementations: dict[str, Callable[..., Any]] = {}
_import_error: str | None = None

try:
    import triton
except ImportError as error:
    _import_error = (
        "triton is not installed; pip install triton, where there is a GPU"
        if error.name == "triton"
        else f"triton cannot be imported: {error}"
    )
except Exception as error:  # a broken installation must not take the other backends with it
    _import_error = f"triton cannot be imported: {type(error).__name__}: {error}"
else:
    try:
        from magnet_kernels.triton.confidence import confidence
        from magnet_kernels.triton.crop_patches import crop_patches
        from magnet_kernels.triton.median_blur import median_blur
        from magnet_kernels.triton.patch_uncertainty import patch_uncertainty
        from magnet_kernels.triton.refine_stage import refine_stage, refine_stage_labels
        from magnet_kernels.triton.refine_step import refine_step, refine_step_, refine_step_out
        from magnet_kernels.triton.replace_points import replace_points, replace_points_
        from magnet_kernels.triton.select_points import select_points
        from magnet_kernels.triton.stitch_patches import stitch_patches
        from magnet_kernels.triton.uncertainty_score import uncertainty_score
        from magnet_kernels.triton.upsample_confidence import upsample_confidence
    except Exception as error:  # a version of triton that lacks something
        version = getattr(triton, "__version__", "?")
        _import_error = f"the kernels do not load with triton {version}: {type(error).__name__}: {error}"
    else:
        implementations = {
            function.__name__: function
            for function in (
                confidence,
                crop_patches,
                median_blur,
                patch_uncertainty,
                refine_stage,
                refine_stage_labels,
                refine_step,
                refine_step_,
                refine_step_out,
                replace_points,
                replace_points_,
                select_points,
                stitch_patches,
                uncertainty_score,
                upsample_confidence,
            )
        }

_OLDEST = (8, 0)


@functools.cache
def reason(device: int | None = None) -> str | None:
    """None where Triton can be used here, on a GPU (None: the current one), else why not."""
    if _import_error is not None:
        return _import_error
    if triton.knobs.runtime.interpret:
        return "TRITON_INTERPRET is set, and these kernels are for GPUs, not for Triton's interpreter; unset it"
    if not torch.cuda.is_available():
        return "no GPU"
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip is None and capability < _OLDEST:
        return f"the GPU is of compute capability {capability[0]}.{capability[1]}, older than {_OLDEST[0]}.{_OLDEST[1]}"
    return None
