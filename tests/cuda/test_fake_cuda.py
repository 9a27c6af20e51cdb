"""CUDA tensors without a GPU: fake ones, which have all but values, meet the checks, and tracing sees operators."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import magnet_kernels as mk
from magnet import MagNet, RefinementModule, build_segmenter

pytestmark = pytest.mark.skipif(torch.version.cuda is None, reason="needs a torch built for CUDA, but no GPU")
BOXES = [[0.0, 0, 0, 4, 4], [0.0, 4, 4, 9, 8]]


def boxes() -> Tensor:
    return torch.tensor(BOXES)


def maps(*shape: int, **options: Any) -> Tensor:
    return torch.zeros(*(shape or (1, 3, 8, 9)), **options)


# Calls on tensors of the default device, right ones and wrong ones of every operator.
RIGHT: dict[str, Callable[[], Any]] = {
    "confidence": lambda: mk.confidence(maps(), from_logits=True),
    "median_blur": lambda: mk.median_blur(maps(), 5),
    "uncertainty_score": lambda: mk.uncertainty_score(maps(), maps(), mask=maps(8, 9) > 0),
    "select_points": lambda: mk.select_points(maps(1, 1, 8, 9), 7),
    "replace_points": lambda: mk.replace_points(maps(), maps(), torch.zeros(1, 2, dtype=torch.int64)),
    "replace_points_": lambda: mk.replace_points_(maps(), maps(), torch.zeros(1, 2, dtype=torch.int64)),
    "refine_step": lambda: mk.refine_step(maps(), maps(), n_points=0.5, return_points=True),
    "refine_step, half size": lambda: mk.refine_step(maps(1, 3, 4, 5), maps(), n_points=5, return_points=True),
    "refine_step, out": lambda: mk.refine_step(maps(), maps(), n_points=5, out=maps()),
    "refine_step_": lambda: mk.refine_step_(maps(), maps(), n_points=5, return_points=True),
    "channels_last": lambda: mk.refine_step(maps().to(memory_format=torch.channels_last), maps(), n_points=5),
    "bfloat16": lambda: mk.refine_step(maps().bfloat16(), maps().bfloat16(), n_points=5),
    "upsample_confidence": lambda: mk.upsample_confidence(maps(), (16, 19)),
    "crop_patches": lambda: mk.crop_patches(maps(), boxes(), (3, 2)),
    "stitch_patches": lambda: mk.stitch_patches(maps(2, 3, 4, 4), boxes(), (8, 9)),
    "patch_uncertainty": lambda: mk.patch_uncertainty(maps(), boxes()),
    "refine_stage": lambda: mk.refine_stage(maps(), maps(2, 3, 4, 4), boxes(), (16, 19), n_points=5),
    "labels_only": lambda: mk.refine_stage(maps(), maps(2, 3, 4, 4), boxes(), (16, 19), n_points=5, labels_only=True),
}
WRONG: dict[str, Callable[[], Any]] = {
    "ints": lambda: mk.confidence(maps().int()),
    "one class": lambda: mk.confidence(maps(1, 1, 8, 9)),
    "three dimensions": lambda: mk.confidence(maps(3, 8, 9)),
    "even kernel": lambda: mk.median_blur(maps(), 4),
    "large kernel": lambda: mk.median_blur(maps(), 17),
    "two kernels": lambda: mk.median_blur(maps(), (3, 3)),  # type: ignore[arg-type]
    "types of a pair": lambda: mk.uncertainty_score(maps(), maps().half()),
    "shapes of a pair": lambda: mk.uncertainty_score(maps(), maps(1, 3, 8, 8)),
    "classes of a pair": lambda: mk.refine_step(maps(), maps(1, 4, 8, 9), n_points=5),
    "larger coarse": lambda: mk.refine_step(maps(1, 3, 16, 18), maps(), n_points=5),
    "smaller coarse in place": lambda: mk.refine_step_(maps(1, 3, 4, 5), maps(), n_points=5),
    "another device": lambda: mk.refine_step(maps(), maps(device="meta"), n_points=5),
    "float mask": lambda: mk.refine_step(maps(), maps(), n_points=5, mask=maps(1, 1, 8, 9)),
    "small mask": lambda: mk.refine_step(maps(), maps(), n_points=5, mask=maps(1, 1, 4, 9) > 0),
    "negative count": lambda: mk.refine_step(maps(), maps(), n_points=-1),
    "more than all": lambda: mk.refine_step(maps(), maps(), n_points=1.5),
    "no number": lambda: mk.select_points(maps(1, 1, 8, 9), "all"),  # type: ignore[arg-type]
    "score of classes": lambda: mk.select_points(maps(), 5),
    "shape of out": lambda: mk.refine_step(maps(), maps(), n_points=5, out=maps(1, 3, 8, 8)),
    "type of out": lambda: mk.refine_step(maps(), maps(), n_points=5, out=maps().half()),
    "expanded out": lambda: mk.refine_step(maps(), maps(), n_points=5, out=maps(1, 1, 1, 1).expand(1, 3, 8, 9)),
    "expanded coarse": lambda: mk.refine_step_(maps(1, 1, 1, 1).expand(1, 3, 8, 9), maps(), n_points=5),
    "coarse over itself": lambda: mk.refine_step_(
        maps(999).as_strided((1, 3, 8, 9), (72, 9, 9, 1)), maps(), n_points=5
    ),
    "out over itself": lambda: mk.refine_step(
        maps(), maps(), n_points=5, out=maps(999).as_strided((1, 3, 8, 9), (99, 30, 5, 2))
    ),
    "points into memory over itself": lambda: mk.replace_points_(
        maps(999).as_strided((1, 3, 8, 9), (99, 30, 5, 2)), maps(), torch.zeros(1, 2, dtype=torch.int64)
    ),
    "out with gradient": lambda: mk.refine_step(maps(), maps(), n_points=5, out=maps(requires_grad=True)),
    "gradient into out": lambda: mk.refine_step(maps(), maps(requires_grad=True), n_points=5, out=maps()),
    "mask of other images": lambda: mk.refine_step(maps(), maps(), n_points=5, mask=maps(2, 8, 9) > 0),
    "fine as out": lambda: mk.refine_step(maps(), fine := maps(), n_points=5, out=fine),
    "memory of fine": lambda: mk.refine_step_((both := maps(2, 3, 8, 9))[:1], both[:1], n_points=5),
    "part of coarse": lambda: mk.replace_points_(
        (both := maps(3, 3, 8, 9))[:2], both[1:], torch.zeros(2, 1, dtype=torch.int64)
    ),
    "float points": lambda: mk.replace_points(maps(), maps(), maps(1, 2)),
    "points of two images": lambda: mk.replace_points(maps(), maps(), torch.zeros(2, 2, dtype=torch.int64)),
    "size of one": lambda: mk.upsample_confidence(maps(), 16),  # type: ignore[arg-type]
    "boxes of four": lambda: mk.crop_patches(maps(), boxes()[:, 1:], (3, 2)),
    "int boxes": lambda: mk.patch_uncertainty(maps(), boxes().int()),
    "no size": lambda: mk.crop_patches(maps(), boxes(), (0, 2)),
    "empty map": lambda: mk.crop_patches(maps(1, 3, 0, 9), boxes(), (3, 2)),
    "boxes and patches": lambda: mk.stitch_patches(maps(3, 3, 4, 4), boxes(), (8, 9)),
    "size of all": lambda: mk.upsample_confidence(maps(), (10**12, 10**12)),
    "crops of all": lambda: mk.crop_patches(maps(), boxes(), (10**12, 10**12)),
    "map of all": lambda: mk.stitch_patches(maps(2, 3, 4, 4), boxes(), (10**12, 10**12)),
    "images of all": lambda: mk.stitch_patches(maps(2, 3, 4, 4), boxes(), (8, 9), batch_size=10**18),
    "stage of all": lambda: mk.refine_stage(maps(), maps(2, 3, 4, 4), boxes(), (10**12, 10**12), n_points=5),
    "stage, classes": lambda: mk.refine_stage(maps(), maps(2, 4, 4, 4), boxes(), (16, 19), n_points=5),
    "stage, type": lambda: mk.refine_stage(maps(), maps(2, 3, 4, 4).half(), boxes(), (16, 19), n_points=5),
    "stage, size": lambda: mk.refine_stage(maps(), maps(2, 3, 4, 4), boxes(), (4, 19), n_points=5),
    "no such backend": lambda: mk.confidence(maps(), backend="gpu"),
    "cpu kernel": lambda: mk.confidence(maps(device="meta"), backend="cpu"),
}


def in_fake_cuda(call: Callable[[], Any]) -> Any:
    with FakeTensorMode(), torch.device("cuda"):
        return call()


def described(result: Any) -> Any:
    if isinstance(result, Tensor):
        strides = [stride for stride, size in zip(result.stride(), result.shape, strict=True) if size > 1]
        return tuple(result.shape), result.dtype, strides
    return [described(part) for part in result]


@pytest.mark.parametrize("name", RIGHT)
def test_results_are_on_the_gpu_and_shaped_as_on_the_cpu(name: str) -> None:
    fake = in_fake_cuda(RIGHT[name])
    parts = fake if isinstance(fake, (tuple, list)) else [fake]
    assert all(part.device.type == "cuda" for part in parts)
    assert described(fake) == described(RIGHT[name]())


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_gets_the_same_words_as_on_the_cpu(name: str) -> None:
    with pytest.raises((TypeError, ValueError, RuntimeError)) as on_cpu:
        WRONG[name]()
    with pytest.raises(on_cpu.type) as on_gpu:
        in_fake_cuda(WRONG[name])
    here, there = "(on|device of coarse,|device of patches,) cpu", r"\1 cuda:0"
    assert str(on_gpu.value) == re.sub(here, there, str(on_cpu.value))


def test_boxes_may_lie_on_the_cpu_and_nowhere_else() -> None:
    def call() -> Any:
        with pytest.raises(ValueError, match=r"^boxes: expected device cuda:0 or cpu, got .* on meta; move it with "):
            mk.crop_patches(maps(), boxes().to("meta"), (3, 2))
        return mk.crop_patches(maps(), torch.tensor(BOXES, device="cpu"), (3, 2))

    assert in_fake_cuda(call).device.type == "cuda"


# --- tracing: what a graph for a GPU holds is the operators themselves, not what stands in for them


class Step(nn.Module):
    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return mk.refine_step(coarse, fine, n_points=5)


class Stage(nn.Module):
    def forward(self, coarse: Tensor, patches: Tensor, boxes: Tensor) -> Tensor:
        return mk.refine_stage(coarse, patches, boxes, (16, 19), n_points=5)


def small_model() -> MagNet:
    model = MagNet(
        build_segmenter("compact", 3),
        RefinementModule(3),
        scales=[(16, 32), (32, 64)],
        patch_size=(16, 32),
        n_points=50,
        n_patches=3,
    )
    return model.eval()


def operators(module: nn.Module, *inputs: Tensor) -> list[str]:
    graph = torch.export.export(module, inputs).graph
    targets = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    return [target.split(".")[1] for target in targets if target.startswith("magnet_kernels")]


def test_exports_a_step() -> None:
    assert in_fake_cuda(lambda: operators(Step(), maps(), maps())) == ["refine_step"]


def test_exports_a_stage() -> None:
    assert in_fake_cuda(lambda: operators(Stage(), maps(), maps(2, 3, 4, 4), boxes())) == ["refine_stage"]


def test_exports_a_model() -> None:
    found = in_fake_cuda(lambda: operators(small_model(), maps(2, 3, 40, 70)))
    assert set(found) == {"upsample_confidence", "patch_uncertainty", "crop_patches", "refine_stage"}


def test_a_model_runs() -> None:
    def call() -> Tensor:
        return small_model()(maps(2, 3, 40, 70))

    refined = in_fake_cuda(call)
    assert refined.device.type == "cuda" and refined.shape == (2, 3, 32, 64)
