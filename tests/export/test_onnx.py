"""ONNX files in onnxruntime: the labels of ``predict``, and ties where ONNX itself must break them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import magnet
import magnet_kernels as mk
from magnet.data.scenes import generate_scene
from magnet.export.metadata import METADATA
from magnet.export.onnx_file import write_onnx

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def run(path: Path, *inputs: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return session.run(None, dict(zip(names, (one.numpy() for one in inputs), strict=True)))


@pytest.mark.slow
def test_labels_are_those_of_predict(tmp_path: Path) -> None:
    """Of a trained model, with all that a walk may do: chosen patches, other sizes, colours that are matched."""
    trained = magnet.MagNet.from_pretrained("scenes")
    model = magnet.MagNet(
        trained.segmenter,
        trained.refiners[0],
        scales=[(64, 128), (128, 256)],
        patch_size=(64, 128),
        input_size=(48, 96),
        n_points=8000,
        n_patches=3,
        kernel_size=5,
        follow_image=True,
        match_colours=True,
        colour_statistics=((0.4, 0.5, 0.6), (0.2, 0.2, 0.3)),
    )
    size = (200, 300)
    record = magnet.export_model(model, tmp_path, format="onnx", size=size)
    assert record.path == tmp_path / "model_200x300.onnx" and record.agreement >= 0.9999
    image = torch.from_numpy(generate_scene((256, 512), seed=5)[0]).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(image, size, mode="area")
    labels, probabilities = run(record.path, image)
    expected = model.predict(image[0])
    assert labels.shape == (1, *size) and labels.dtype == np.uint8
    assert (torch.from_numpy(labels[0]).long() == expected.labels).double().mean() > 0.9999
    close = (torch.from_numpy(probabilities[0]) - expected.probabilities).abs().amax(0) < 1e-4
    assert close.double().mean() > 0.999  # a point that is all but tied may be another


class Stage(torch.nn.Module):
    """All scores are equal."""

    def forward(self, coarse: Tensor, patches: Tensor) -> Tensor:
        boxes = torch.tensor([[0.0, 4, 2, 20, 14]])
        return mk.refine_stage(coarse, patches, boxes, (16, 24), n_points=37, kernel_size=1)


def test_ties_go_to_the_lowest_index_and_nothing_is_of_another_domain(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    coarse = torch.full((1, 4, 16, 24), 0.25)
    patches = torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1, 1).expand(1, 4, 12, 16).contiguous()
    program = torch.export.export(Stage(), (coarse, patches))
    path = tmp_path / "stage.onnx"
    write_onnx(program, json.dumps({"a": 1}), path, (12, 16), names=(["coarse", "patches"], ["refined"]))
    (refined,) = run(path, coarse, patches)
    assert np.array_equal(refined, Stage()(coarse, patches).numpy())
    assert (refined[0, 0] == 1).sum() == 37 and (refined[0, 0, 2:4, 4:20] == 1).all()
    model = onnx.load(path)
    assert {node.domain for node in model.graph.node} == {""}
    assert json.loads({one.key: one.value for one in model.metadata_props}[METADATA]) == {"a": 1}
