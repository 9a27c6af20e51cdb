"""confidence, median_blur and uncertainty_score against torch, torch.compile and OpenCV."""

from __future__ import annotations

import pytest
import torch
from competitors import (
    chain_confidence,
    chain_confidence_of_logits,
    chain_score,
    compiled,
    network_median3,
    plain_confidence,
    plain_confidence_of_logits,
    plain_median,
    plain_score,
    why_not_compiled,
)
from harness import Case, cached, close, describe, nbytes, pair, parametrize, timed
from report import OURS
from torch import Tensor

from magnet_kernels import confidence, median_blur, uncertainty_score

pytest.importorskip("pytest_benchmark", reason="benchmarks need pytest-benchmark: pip install '.[benchmark]'")
SHAPE = (1, 19, 1024, 2048)


def confidence_case(
    name: str = "confidence", logits: bool = False, rivals: str = "reference compile", **options
) -> Case:
    def prepare():
        x = pair(SHAPE, **options)[0]
        x = cached(("log", SHAPE, *options.values()), x.log) if logits else x
        return (x,), nbytes(x) + x.numel() // x.shape[1] * 4

    plain = plain_confidence_of_logits if logits else plain_confidence
    chain = chain_confidence_of_logits if logits else chain_confidence
    variants = {
        OURS: lambda x: confidence(x, from_logits=logits),
        "reference": plain,
        "compile": lambda x: compiled(chain)(x),
    }
    exact = options.get("dtype", torch.float32) == torch.float32 and not logits
    kept = {name: variants[name] for name in (OURS, *rivals.split())}
    return Case(name, "confidence", prepare, kept, close(0 if exact else 1e-2 if "dtype" in options else 1e-5))


def score_map() -> Tensor:
    coarse, fine = pair(SHAPE)
    return cached("score", lambda: (1 - confidence(coarse)) * confidence(fine))


def opencv_median(x: Tensor, kernel_size: int) -> Tensor:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed: pip install '.[benchmark]'")
    cv2.setNumThreads(torch.get_num_threads())
    return torch.from_numpy(cv2.medianBlur(x[0, 0].numpy(), kernel_size))[None, None]


def median_case(kernel_size: int) -> Case:
    def prepare():
        return (score_map(),), 2 * nbytes(score_map())

    variants = {OURS: lambda x: median_blur(x, kernel_size), "reference": lambda x: plain_median(x, kernel_size)}
    if kernel_size == 3:
        variants["compile"] = lambda x: compiled(network_median3)(x)
    if kernel_size <= 5:  # OpenCV has no larger one for floats
        variants["opencv"] = lambda x: opencv_median(x, kernel_size)
    r = kernel_size // 2

    def same(theirs: Tensor, ours: Tensor) -> None:
        inside = (..., slice(r, -r), slice(r, -r))  # OpenCV repeats the border, we pad with zeros
        close(0)(theirs[inside], ours[inside])

    label = lambda x: describe(pair(SHAPE)[0])  # noqa: E731
    return Case(f"median_blur {kernel_size}x{kernel_size}", "median_blur", prepare, variants, same, label=label)


def score_case() -> Case:
    def prepare():
        coarse, fine = pair(SHAPE)
        return (coarse, fine), nbytes(coarse, fine) + nbytes(coarse) // coarse.shape[1]

    variants = {
        OURS: uncertainty_score,
        "reference": plain_score,
        "compile": lambda coarse, fine: compiled(chain_score)(coarse, fine),
    }
    return Case("uncertainty_score", "uncertainty_score", prepare, variants, close(1e-6))


CASES = [
    confidence_case("confidence"),
    confidence_case("confidence of logits", logits=True),
    confidence_case("confidence", rivals="reference", dtype=torch.bfloat16),
    confidence_case("confidence", rivals="reference", layout=torch.channels_last),
    *map(median_case, (3, 5, 11)),
    score_case(),
]


@parametrize(CASES)
def test_scores(case, variant, benchmark, report):
    if variant == "compile" and (reason := why_not_compiled()):
        report.notes.add(reason)
        pytest.skip(reason)
    timed(case, variant, benchmark, report)
