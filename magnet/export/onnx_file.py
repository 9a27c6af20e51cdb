"""Programs as ONNX files, for runtimes without torch. The extra [onnx] makes and tries them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.errors import MagNetError
from magnet.export.exporters import quiet, reason
from magnet.export.metadata import METADATA
from magnet.export.plain import plain_operators
from magnet.export.program import INPUT, OUTPUTS
from magnet.extras import needed

__all__ = ["check_packages", "run_onnx", "write_onnx"]

_OPSET = 18  # the first whose Resize shrinks with antialiasing


def check_packages() -> None:
    """Raise MagNetError where a package is missing that ONNX files need to be made and tried."""
    with needed("onnx", "an ONNX file", argument="format"):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401


def _crop_patches(x: Any, boxes: Any, height: int, width: int, aligned: bool) -> Any:
    """``magnet_kernels::crop_patches`` as RoiAlign, with as many samples a pixel as the box asks for."""
    from onnxscript import opset18

    op: Any = opset18  # its annotations leave out the constants that it takes, more in each version

    return op.RoiAlign(
        x,
        op.Slice(boxes, [1], [5], [1]),
        op.Cast(op.Squeeze(op.Slice(boxes, [0], [1], [1]), [1]), to=7),  # 7: int64
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        mode="avg",
        output_height=height,
        output_width=width,
        sampling_ratio=0,
    )


def write_onnx(
    program: torch.export.ExportedProgram,
    metadata: str,
    path: Path,
    patch_size: Size,
    names: tuple[Sequence[str], Sequence[str]] = ([INPUT], OUTPUTS),
) -> None:
    """Write a program whose patches have ``patch_size``, with the names of its inputs and outputs, and its description.

    Raises:
        MagNetError: an operator of the networks has no translation.
    """
    table: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.magnet_kernels.crop_patches.default: _crop_patches}
    try:
        with quiet():
            plain = program.run_decompositions(plain_operators(patch_size))
            made = torch.onnx.export(
                plain,
                (),
                dynamo=True,
                opset_version=_OPSET,
                input_names=list(names[0]),
                output_names=list(names[1]),
                custom_translation_table=table,
                optimize=True,
            )
        assert made is not None
        made.model.metadata_props[METADATA] = metadata
        made.save(path, external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise MagNetError(
            f"format: expected a program that ONNX has the operators for, got an error "
            f"({reason(error)}); export pt2 or aoti"
        ) from error


def run_onnx(path: Path, images: Tensor) -> Tensor:
    """The labels that a file gives in onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run([OUTPUTS[0]], {INPUT: images.numpy()})[0])
