"""Passes of the networks where memory runs out: halved, told of once, and refused at a single image."""

from __future__ import annotations

import gc
import logging
import weakref

import pytest
import torch
from torch import Tensor, nn
from walked import EXACT, Local, build, image_of, unit

from magnet import MagNet, MagNetError
from magnet.walk.passes import in_passes, is_out_of_memory

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"
ERRORS = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), RuntimeError(CPU), MemoryError()]


class Limited(Local):
    """Memory does for ``most`` images."""

    def __init__(self, most: int, error: BaseException) -> None:
        super().__init__()
        self.most, self.error, self.seen = most, error, []  # type: ignore[var-annotated]

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        if len(images) > self.most:
            raise self.error
        return super().forward(images)


def limited(most: int, error: BaseException, batch_size: int = 8) -> tuple[MagNet, Limited]:
    network = Limited(most, error)
    model = build(None, **{**EXACT, "batch_size": batch_size})
    model.segmenter = network
    return model, network


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_pass_that_does_not_fit_is_halved_and_told_of_once(
    most: int, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    model, _ = limited(most, error)
    expected = build(None, **EXACT).predict(unit(image_of(48, 64)))
    with caplog.at_level(logging.WARNING, "magnet"):
        for _ in range(2):
            got = model.predict(unit(image_of(48, 64)))
            torch.testing.assert_close(got.probabilities, expected.probabilities, rtol=0, atol=1e-5)
    (told,) = [one.getMessage() for one in caplog.records]
    first = 8 if most == 5 else 4  # of the second scale there are 4 patches, of the third 16
    assert told.startswith(
        f"batch_size: a pass of {first} images of 12x16 pixels (HxW) does not fit into the memory of"
    )
    assert model.most_at_once is not None and most / 2 < model.most_at_once <= most


def test_passes_stay_small_once_one_did_not_fit() -> None:
    model, network = limited(3, ERRORS[0])
    model.predict(unit(image_of(48, 64)))
    network.seen.clear()
    model.predict(unit(image_of(48, 64)))
    assert max(network.seen) <= 3  # nothing is tried in vain


def test_where_a_refiner_does_not_fit_nothing_is_lost() -> None:
    class Refiner(nn.Module):
        num_classes = 3

        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            if len(fine) > 2:
                raise ERRORS[0]
            return fine + 2 * coarse

    class Plain(nn.Module):
        num_classes = 3

        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return fine + 2 * coarse

    image = unit(image_of(48, 64))
    got = build(Refiner(), **EXACT).predict(image)
    assert torch.equal(got.labels, build(Plain(), **{**EXACT, "batch_size": 2}).predict(image).labels)


@pytest.mark.parametrize("error", ERRORS)
def test_a_single_image_that_does_not_fit_is_an_error(error: BaseException) -> None:
    model, _ = limited(0, error)
    with pytest.raises(MagNetError, match=r"memory: expected one image of 12x16 pixels .* use a smaller"):
        model.predict(unit(image_of(48, 64)))


def test_the_walk_of_the_release_halves_its_passes_too() -> None:
    model, network = limited(2, ERRORS[0])
    official = {"compat": "official", "scales": [(24, 32), (48, 64)]}
    network.most = 100
    expected = model.with_settings(**official).predict(unit(image_of(48, 64)))
    network.most = 2
    got = model.with_settings(**official).predict(unit(image_of(48, 64)))
    torch.testing.assert_close(got.probabilities, expected.probabilities, rtol=0, atol=1e-5)


def test_other_errors_are_what_they_were() -> None:
    model, network = limited(0, RuntimeError("expected scalar type"))
    with pytest.raises(RuntimeError, match="scalar type"):
        model.predict(unit(image_of(48, 64)))
    assert network.seen == [1] and model.most_at_once is None


def test_what_a_failed_pass_took_is_free_when_the_next_is_tried() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def run(rows: Tensor) -> Tensor:
        assert not [one for one in alive if one() is not None]
        taken = rows.clone()
        alive.append(weakref.ref(taken))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("no memory")
        return rows

    gc.disable()
    try:
        rows = torch.arange(8.0)
        assert torch.equal(in_passes(build(**EXACT), (1, 1), run, rows), rows)
    finally:
        gc.enable()


def test_which_errors_are_of_memory() -> None:
    assert all(is_out_of_memory(error) for error in ERRORS)
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not is_out_of_memory(RuntimeError("shape mismatch")) and not is_out_of_memory(ValueError(CPU))
