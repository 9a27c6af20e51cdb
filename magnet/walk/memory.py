"""Whether a walk can fit into the machine's memory, told before it is taken.

A system that promises memory to all who ask ends the process that then uses it, without a word.
A GPU's allocator raises.
"""

from __future__ import annotations

import os

from torch import Tensor

from magnet.errors import MagNetError
from magnet.walk.grid import count_grid
from magnet.walk.plan import Plan
from magnet.walk.settings import WalkSettings

__all__ = ["check_memory", "machine_memory"]

_BYTES = 4  # of a float32


def machine_memory() -> int | None:
    """Bytes of memory that the machine has; None where it does not tell."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_memory(settings: WalkSettings, plan: Plan, coarse: Tensor) -> None:
    """Refuse a scale whose image and patches alone are more than the machine's memory.

    Args:
        settings: of the walk.
        plan: of the walk.
        coarse: the maps (N, C, h, w) of the first scale.

    Raises:
        MagNetError: names the scale, what it takes and what there is.
    """
    total = machine_memory() if coarse.device.type == "cpu" else None
    if total is None:
        return
    (ph, pw), (ih, iw) = plan.patch_size, plan.input_size
    for scale, (height, width) in enumerate(plan.scales[1:], start=1):
        some, every = settings.patches_at(scale), count_grid((height, width), (ph, pw))
        count = every if some is None else min(some, every)
        needed = _BYTES * len(coarse) * (3 * height * width + count * coarse.shape[1] * min(ph, ih) * min(pw, iw))
        if needed > total:
            raise MagNetError(
                f"scales: expected scales that fit into the memory of {total / 2**30:.0f} GiB, but the image and the "
                f"patches of scales[{scale}], {(height, width)}, take {needed / 2**30:.0f} GiB; use smaller scales, or "
                "n_patches for fewer patches"
            )
