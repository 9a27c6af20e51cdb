"""Models as files for other programs: torch.export, AOTInductor and ONNX."""

from __future__ import annotations

from magnet.export.write import FORMATS, ExportRecord, export_model

__all__ = ["FORMATS", "ExportRecord", "export_model"]
