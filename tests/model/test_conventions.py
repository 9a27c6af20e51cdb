"""What networks return and images hold is told from the numbers: once, and never missed."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from seeded import rand, seed_module
from torch import Tensor, nn

import magnet
from magnet import MagNet, MagNetError, RefinementModule
from magnet.conventions import not_finite
from magnet.evaluation.modes import WALKS, predict, walk
from magnet.images.tensors import normalize
from magnet.walk import memory

SCALES = [(12, 16), (24, 32), (48, 64)]


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # fastest for tensors this small


class Ending(nn.Module):
    """A segmenter of one convolution that ends in a function."""

    def __init__(self, end: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        super().__init__()
        self.num_classes = 3
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        seed_module(self, "local.")
        self.end = end

    def forward(self, images: Tensor) -> Tensor:
        return self.end(6 * self.conv(images))


class Merged(nn.Module):
    """A refiner that returns what a function makes of the two maps."""

    def __init__(self, end: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.end = end

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.end(fine, coarse)


def build(segmenter: nn.Module, refiner: nn.Module | None = None, **changes: object) -> MagNet:
    settings: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 0.4, **changes}
    return MagNet(segmenter, refiner, **settings)


def image() -> Tensor:
    return normalize(rand("conventions.image", 1, 3, 48, 64))


def log_of(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(1e-9).log()


@pytest.mark.parametrize("compat", ["paper", "official"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_probabilities_are_no_logits(dtype: torch.dtype, compat: str) -> None:
    def end(x: Tensor) -> Tensor:
        return x.softmax(1).to(dtype)

    with pytest.raises(
        ValueError, match=r"^segmenter: expected logits, got probabilities .*; leave the softmax .* out"
    ):
        build(Ending(end), compat=compat)(image())


def test_the_mend_that_is_named_mends() -> None:
    wrapped = magnet.wrap(Ending(lambda x: x.softmax(1)), output=lambda p: p.clamp_min(1e-9).log())
    wrapped.num_classes = 3  # type: ignore[assignment]
    torch.testing.assert_close(build(wrapped)(image()), build(Ending())(image()), rtol=0, atol=1e-4)


def test_a_refiner_returns_logits_too() -> None:
    with pytest.raises(ValueError, match=r"^refiner: expected logits, got probabilities"):
        build(Ending(), Merged(lambda fine, coarse: (fine + coarse) / 2))(image())
    build(Ending(), Merged(lambda fine, coarse: log_of((fine + coarse) / 2)))(image())


def test_every_refiner_is_looked_at() -> None:
    good, bad = Merged(lambda fine, coarse: log_of(fine)), Merged(lambda fine, coarse: fine)
    with pytest.raises(ValueError, match=r"^refiner: expected logits, got probabilities"):
        build(Ending(), nn.ModuleList([good, bad]))(image())


def test_a_sigmoid_that_is_hardly_trained_is_told_too() -> None:
    with pytest.warns(UserWarning, match=r"^segmenter: expected logits, got values between 0\.4.* sigmoid"):
        build(Ending(lambda x: torch.sigmoid(0.01 * x)))(image())


@pytest.mark.parametrize(("argument", "given"), [("class_names", ["a"]), ("colours", [(0, 0, 0)] * 4)])
def test_names_and_colours_are_those_of_the_classes(argument: str, given: list) -> None:
    network = Ending()
    del network.num_classes  # the output alone can tell
    with pytest.raises(ValueError, match=rf"^{argument}: expected one for each of the segmenter's 3 classes, got"):
        build(network, **{argument: given})(image())


def test_a_sigmoid_is_told_once() -> None:
    model = build(Ending(torch.sigmoid))
    with pytest.warns(
        UserWarning, match=r"^segmenter: expected logits, got values between 0\.\d+ and .* sigmoid"
    ) as all_:
        model(image())
        model(image())
    assert len(all_) == 1


@pytest.mark.parametrize(
    "end",
    [
        lambda x: x,
        lambda x: x.log_softmax(1),
        lambda x: x.relu(),
        lambda x: 0 * x,
        lambda x: 0.01 * x,
        lambda x: x - 100,
        lambda x: torch.cat([torch.where(x[:, :2] < 0, -torch.inf, x[:, :2]), x[:, 2:]], dim=1),  # what cannot be
    ],
)
def test_logits_of_any_kind_pass(end: Callable[[Tensor], Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(Ending(end))(image())


def test_they_are_looked_at_once_a_model() -> None:
    seen: list[int] = []
    model = build(Ending(lambda x: x))
    model(image())
    model.segmenter.end = lambda x: seen.append(1) or x.softmax(1)  # type: ignore[assignment]
    model(image())  # no second look, which would wait for a GPU
    assert seen
    fresh = build(Ending())
    state = {key: value for key, value in fresh.__dict__.items() if key != "_looked_at"}  # of an older version
    older = copy.deepcopy(fresh)
    older.__dict__ = state
    older(image())


def test_a_model_is_copied_and_pickled_as_before() -> None:
    model = build(magnet.build_segmenter("compact", 3), RefinementModule(3))
    expected = model(image())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(image()), expected)


def test_the_refinement_module_takes_probabilities() -> None:
    module, logits = RefinementModule(3).eval(), 9 * (rand("conventions.maps", 1, 3, 8, 8) - 0.5)
    with pytest.warns(
        UserWarning, match=r"^coarse: expected probabilities, got values between -4.* and 4.*, as of"
    ) as all_:
        module(logits.softmax(1), logits)
        module(logits, logits)
    assert len(all_) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RefinementModule(3).eval()(logits.softmax(1), logits.softmax(1))
        maps = logits.softmax(1)[None]
        torch.func.vmap(RefinementModule(3).eval())(maps, 9 * maps)  # where numbers cannot be looked at


# images


def test_images_of_0_to_255_are_not_normalised() -> None:
    images = 255 * rand("conventions.image", 1, 3, 48, 64)
    message = r"^images: expected normalised images, .* got 0\.\d+ to 25\d; use magnet\.images\.normalize"
    with pytest.raises(ValueError, match=message):
        build(Ending())(images)


def test_images_of_0_to_1_are_told_once() -> None:
    model, images = build(Ending()), rand("conventions.image", 1, 3, 48, 64)
    with pytest.warns(
        UserWarning, match=r"^images: expected normalised images, .* as before the normalisation"
    ) as all_:
        model(images)
        model(images)
    assert len(all_) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = build(Ending())
        model(normalize(images))
        build(Ending()).predict(images[0])  # which normalises


# memory


@pytest.mark.parametrize("compat", ["paper", "official"])
def test_scales_beyond_the_memory_are_refused_before_they_are_made(
    compat: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(Ending(), compat=compat)
    # the last scale: 3 channels of 48 x 64 pixels, and 16 patches of 3 channels of 12 x 16, of 4 bytes
    needed = 4 * (3 * 48 * 64 + 16 * 3 * 12 * 16)
    expected = model(image())
    monkeypatch.setattr(memory, "machine_memory", lambda: needed)
    assert torch.equal(model(image()), expected)
    monkeypatch.setattr(memory, "machine_memory", lambda: needed - 1)
    with pytest.raises(
        MagNetError, match=r"^scales: expected scales that fit .* of scales\[2\], \(48, 64\), take 0 GiB"
    ):
        model(image())
    model.with_settings(n_patches=15)(image())


def test_the_machine_has_memory() -> None:
    total = memory.machine_memory()
    assert total is None or total > 1 << 28


def test_a_scale_of_four_billion_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: 1 << 35)
    model = build(Ending(), scales=[(12, 16), (1 << 16, 1 << 16)], patch_size=(256, 256), input_size=(12, 16))
    with pytest.raises(
        MagNetError, match=r"memory of 32 GiB, .* scales\[1\], \(65536, 65536\), take 48 GiB; use smaller"
    ):
        model(image())


# NaN and infinity


def spoil(value: float, call: int) -> Callable[[Tensor], Tensor]:
    """One number of the network's output at its ``call``-th call is ``value``."""
    calls = iter(range(10**6))

    def end(x: Tensor) -> Tensor:
        x = x.clone()
        if next(calls) == call:
            x[-1, 1, 5, 7] = value
        return x

    return end


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("call", "place"),
    [(0, r"scales\[0\], \(12, 16\)"), (1, r"scales\[1\], \(24, 32\)"), (20, r"scales\[2\], \(48, 64\)")],
)
@pytest.mark.parametrize("how", ["forward", "labels", "official"])
def test_nan_is_an_error_that_names_the_scale(value: float, call: int, place: str, how: str) -> None:
    model = build(Ending(spoil(value, call)), batch_size=1, compat="official" if how == "official" else "paper")
    with pytest.raises(MagNetError, match=rf"^networks: expected finite logits, got NaN or infinity at {place}; try"):
        if how == "labels":
            model.predict(rand("conventions.image", 3, 48, 64), probabilities=False)
        else:
            model(image())


def test_the_weight_that_is_not_finite_is_named() -> None:
    model = build(Ending(), RefinementModule(3))
    with torch.no_grad():
        model.refiners[0].conv2.weight[3, 0, 1, 1] = float("inf")
    with pytest.raises(MagNetError, match=r"at scales\[1\], .*; the weight 'refiners\.0\.conv2\.weight' is not finite"):
        model(image())


@pytest.mark.parametrize("mode", ["coarse", "sliding", "full", "magnet", "fast"])
def test_no_mode_of_the_evaluation_takes_nan(mode: str) -> None:
    model = build(Ending(spoil(float("nan"), 0))).eval()
    pixels = (255 * rand("conventions.image", 48, 64, 3)).byte().numpy()
    with torch.inference_mode(), pytest.raises(MagNetError, match="expected finite logits, got NaN or infinity"):
        if mode in WALKS:
            list(walk(model, pixels, mode, 2))
        else:
            predict(model, pixels, mode)


def test_what_is_not_finite_is_found() -> None:
    state = {
        "fine": torch.full((4,), 3e38),  # whose sum overflows
        "half": torch.full((4096,), 60000.0, dtype=torch.float16),
        "whole": torch.tensor(3),
        "empty": torch.empty(0),
        "eight": torch.ones(3).to(torch.float8_e4m3fn),
        "nan": torch.tensor([0.0, torch.nan]),
        "inf": torch.tensor([torch.inf, -torch.inf]),
        "eight nan": torch.tensor([torch.nan]).to(torch.float8_e4m3fn),
    }
    assert not_finite(state) == ["nan", "inf", "eight nan"]
