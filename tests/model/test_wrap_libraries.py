"""magnet.wrap on the libraries themselves, where they are installed: tiny random networks, nothing downloaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from wrapped import images_of, plain_probabilities

import magnet

pytestmark = pytest.mark.usefixtures("one_thread")


class AsTuple(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        return self.net(images, return_dict=False)


def segformer(transformers: Any) -> nn.Module:
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        num_labels=5,
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config).eval()


def mask2former(transformers: Any) -> nn.Module:
    backbone = transformers.SwinConfig(
        image_size=32, embed_dim=12, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=16,
        encoder_layers=1, decoder_layers=2, num_attention_heads=2, dim_feedforward=16, num_queries=9, num_labels=5,
    )  # fmt: skip
    return transformers.Mask2FormerForUniversalSegmentation(config).eval()


def run_magnet(segmenter: nn.Module) -> None:
    scales = [(48, 64), (96, 128)]
    model = magnet.MagNet(segmenter, None, scales=scales, patch_size=(48, 64), n_points=0.3)
    probabilities = model(images_of(96, 128, n=1))
    assert probabilities.shape == (1, 5, 96, 128)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(1, 96, 128))


def test_transformers_segformer() -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    net, images = segformer(transformers), images_of(45, 70)
    segmenter = magnet.wrap(net, divisor=32)
    with torch.no_grad():
        padded = F.pad(images, (0, 26, 0, 19), mode="replicate")
        logits = net(padded).logits
        assert logits.shape == (2, 5, 16, 24)
        expected = F.interpolate(logits, (64, 96), mode="bilinear", align_corners=False)[..., :45, :70]
        torch.testing.assert_close(segmenter(images), expected)
        torch.testing.assert_close(magnet.wrap(AsTuple(net), divisor=32)(images), expected)
    run_magnet(segmenter)


def test_transformers_mask2former() -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    torch.manual_seed(0)
    net, images = mask2former(transformers), images_of(45, 70)
    segmenter = magnet.wrap(net, divisor=32)
    with torch.no_grad():
        result = net(F.pad(images, (0, 26, 0, 19), mode="replicate"))
        masks = F.interpolate(result.masks_queries_logits, (64, 96), mode="bilinear", align_corners=False)
        expected = plain_probabilities(result.class_queries_logits, masks)[..., :45, :70]
        torch.testing.assert_close(segmenter(images).exp().double(), expected, rtol=1e-4, atol=1e-6)
        with pytest.raises(ValueError, match="expected to tell logits from the masks of queries"):
            magnet.wrap(AsTuple(net), divisor=32)(images)
    run_magnet(segmenter)


@pytest.mark.parametrize("name, encoder", [("Unet", "efficientnet-b0"), ("FPN", "tu-resnet18")])
def test_segmentation_models_pytorch(name: str, encoder: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", exc_type=ImportError)
    torch.manual_seed(0)
    net, images = getattr(smp, name)(encoder, encoder_weights=None, classes=5).eval(), images_of(45, 70)
    segmenter = magnet.wrap(net, divisor=32)
    with torch.no_grad():
        expected = net(F.pad(images, (0, 26, 0, 19), mode="replicate"))[..., :45, :70]
        torch.testing.assert_close(segmenter(images), expected)
    run_magnet(segmenter)


def test_torchvision() -> None:
    models = pytest.importorskip("torchvision.models.segmentation", exc_type=ImportError)
    torch.manual_seed(0)
    net = models.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5).eval()
    images = images_of(45, 70)
    with torch.no_grad():
        torch.testing.assert_close(magnet.wrap(net)(images), net(images)["out"])
    run_magnet(magnet.wrap(net))
