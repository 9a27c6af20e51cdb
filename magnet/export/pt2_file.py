"""Programs as .pt2 files of torch.export: for Python with torch and ``magnet_kernels``."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor

from magnet.export.exporters import quiet
from magnet.export.metadata import METADATA

__all__ = ["run_pt2", "write_pt2"]


def write_pt2(program: torch.export.ExportedProgram, metadata: str, path: Path) -> None:
    """Write a program and its description."""
    content = io.BytesIO()  # torch's own writer ends the process where a disk is full
    with quiet():
        torch.export.save(program, content, extra_files={METADATA: metadata})
    path.write_bytes(content.getbuffer())


@torch.inference_mode()
def run_pt2(path: Path, images: Tensor) -> Tensor:
    """The labels that a file gives."""
    labels: Tensor = torch.export.load(path).module()(images)[0]
    return labels
