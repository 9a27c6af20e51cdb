"""On what the figures were measured. Settings of the card are read, never changed."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

import magnet_kernels
from gpu import cub_topk

ROOT = Path(__file__).parents[2]
ASKED = "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit,temperature.gpu"


def said(*command: str) -> str | None:
    """What a program printed, None where it is not there or failed."""
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def commit() -> str:
    """The commit measured, "+ changes" where files differ from it; GPU_CHECK_COMMIT where there is no repository."""
    name = said("git", "rev-parse", "HEAD")
    if name is None:
        return os.environ.get("GPU_CHECK_COMMIT", "unknown: no repository")
    changed = said("git", "status", "--porcelain", "--untracked-files=no")
    return f"{name} + changes" if changed else name


def clocks() -> dict[str, str]:
    """As found at this moment."""
    values = said("nvidia-smi", "-i", "0", f"--query-gpu={ASKED}", "--format=csv,noheader")
    if values is None:
        return {}
    return dict(zip(ASKED.split(","), (v.strip() for v in values.splitlines()[0].split(",")), strict=False))


def environment(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "commit": commit(),
        "time": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "build": magnet_kernels.build_info(),
        "backends": magnet_kernels.available_backends(),
        "cores": os.cpu_count(),
    }
    try:
        import triton

        found["triton"] = triton.__version__
    except ImportError:
        found["triton"] = "not there"
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": getattr(properties, "L2_cache_size", None),
            "cub": cub_topk.why_not() or cub_topk.version(),
            "as_found_before": clocks(),
        }
    else:
        found["gpu"] = "NONE: this ran on a CPU and says nothing about any GPU"
    return found
