"""What a file says of itself: how its input is made, what its outputs mean, and what it needs."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import torch

from magnet.bounds import Size
from magnet.export.program import INPUT, OUTPUTS
from magnet.images.tensors import normalization
from magnet.model.magnet import MagNet
from magnet.walk.settings import SHOWN
from magnet_kernels import __version__

__all__ = ["METADATA", "describe"]

METADATA = "magnet_model.json"  # its name inside a file

_NEEDS = {
    "pt2": "torch, and magnet_kernels imported before torch.export.load: it holds the operators magnet_kernels::*",
    "aoti": "libtorch, and the library magnet_kernels/_cpu.abi3.so loaded first: it holds the operators "
    "magnet_kernels::* (in Python: import magnet_kernels)",
    "onnx": "a runtime of ONNX operators, as onnxruntime; no operator is of another domain",
}


def describe(model: MagNet, size: Size, format: str) -> str:
    """The description of a model exported for images of ``size`` (H, W), as JSON."""
    channels = model.inputs.channels
    mean, std = normalization(channels)
    settings = asdict(model.settings)
    content: dict[str, Any] = {
        "library": "magnet-kernels",
        "version": __version__,
        "torch": torch.__version__,
        "format": format,
        "needs": _NEEDS[format],
        "input": {
            "name": INPUT,
            "shape": [1, channels, *size],
            "type": "float32",
            "values": "RGB, 0 to 1 (of 8 bits: divided by 255)" if channels == 3 else "0 to 1",
        },
        "normalization": {"mean": mean, "std": std, "inside": True},
        "outputs": {
            OUTPUTS[0]: "(1, H, W) the class of each pixel of the image",
            OUTPUTS[1]: "(1, C, h, w) float32 class probabilities at the last scale",
        },
        "num_classes": model.num_classes,
        "class_names": model.class_names,
        "colours": model.colours,
        "inputs": model.inputs.changed(),
        "settings": {name: settings[name] for name in SHOWN},
        "info": model.info or {},
    }
    return json.dumps(content, default=str)
