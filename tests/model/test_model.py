"""MagNet as a module: its arguments and settings, modes, and networks of the wrong output."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import pytest
import torch
from torch import Tensor, nn
from walked import SCALES, Local, build, image_of, unit

from magnet import MagNet, MagNetError, RefinementModule
from magnet.walk.plan import count_patches
from magnet.walk.settings import FIELDS, SettingsGiven

pytestmark = pytest.mark.usefixtures("one_thread")


def test_runs_in_evaluation_mode_and_restores_the_modes() -> None:
    model, image = build(), image_of()
    expected = model.eval()(image)
    model.train()
    model.segmenter.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    refined = model(image)
    torch.testing.assert_close(refined, expected, rtol=0, atol=0)
    assert model.training and model.refiners[0].bn0.training and not model.segmenter.training
    assert not refined.requires_grad
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_modes_are_restored_after_an_error() -> None:
    model = build(refiner=None).train()
    model.segmenter.num_classes = None
    model.num_classes = 4
    with pytest.raises(ValueError, match="segmenter: expected logits of 4 classes, got 3"):
        model(image_of())
    assert model.training


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scales": []}, "scales: expected a list"),
        ({"scales": 3}, "scales: expected a list"),
        ({"scales": [12, 16]}, r"scales\[0\]: expected two positive ints"),
        ({"scales": [(12, 16), (24, 0)]}, r"scales\[1\]: expected two positive ints"),
        ({"scales": [(i, i) for i in range(12, 77)]}, r"^scales: expected at most 32 sizes, got 65$"),
        ({"scales": [(12, 16), (10**9, 10**9)]}, r"^scales\[1\]: expected at most 2\*\*32 pixels, got \(1000000000, "),
        ({"scales": [(10**400, 1)]}, r"^scales\[0\]: expected at most 2\*\*32 pixels, got \(1000"),
        ({"scales": [[1, 2, 3] * 10**5]}, r"^scales\[0\]: expected two positive ints \(H, W\), got .{0,60}$"),
        ({"input_size": (1 << 15, 1 << 14)}, r"^input_size: expected at most 2\*\*28 pixels, got \(32768, 16384\)$"),
        (
            {"scales": [(12, 16), (2048, 2048)], "patch_size": (1, 2)},
            r"^patch_size: expected at most 1048576 patches in a scale, got \(1, 2\), which makes 2097152 of ",
        ),
        ({"colours": [(0, 0, float("inf"))] * 3}, "^colours: expected RGB"),
        ({"colours": ["x" * 10**5] * 3}, "^colours: expected RGB .{0,300}$"),
        ({"class_names": list(range(10**5))}, "^class_names: expected a list of texts, got .{0,60}$"),
        ({"n_patches": list(range(10**5))}, "^n_patches: expected one number for each .{0,140}$"),
        ({"scales": SCALES[::-1]}, r"scales: expected sizes \(H, W\) from coarse to fine, but \(24, 32\) follows"),
        ({"scales": [(12, 16), (12, 16)]}, "follows"),
        ({"scales": [(12, 16), (24, 12)]}, "follows"),
        ({"patch_size": 12}, "patch_size: expected two"),
        ({"patch_size": (25, 16)}, r"patch_size: expected at most \(24, 32\)"),
        ({"input_size": (0, 16)}, "input_size: expected two"),
        ({"n_points": 0.0}, "n_points: expected an int >= 0"),
        ({"n_points": 1.5}, "n_points"),
        ({"n_points": True}, "n_points"),
        ({"n_points": -1}, "n_points"),
        ({"n_points": float("nan")}, "n_points"),
        ({"n_patches": -1}, "n_patches: expected None"),
        ({"n_patches": 2.0}, "n_patches"),
        ({"n_patches": True}, "n_patches"),
        ({"n_patches": [1, 2, 3]}, "n_patches: expected one number for each scale after the first, 2, got 3"),
        ({"n_patches": [1, -2]}, "n_patches"),
        ({"kernel_size": 4}, "kernel_size: expected an odd int"),
        ({"kernel_size": 17}, "kernel_size"),
        ({"compat": "release"}, "compat: expected 'paper' or 'official'"),
        ({"batch_size": 0}, "batch_size: expected a positive int"),
        ({"amp": "fp8"}, "amp: expected"),
        ({"class_names": ["a", "b"]}, "class_names: expected one for each of 3 classes"),
        ({"class_names": "abc"}, "class_names: expected a list"),
        ({"colours": [(0, 0, 0)] * 2}, "colours: expected one for each of 3"),
        ({"colours": [(0, 0, 300)] * 3}, "colours: expected RGB"),
        ({"refiner": RefinementModule(4)}, "refiner: expected 3 classes"),
        ({"refiner": [RefinementModule(3)] * 3}, "refiner: expected one module, or one for each scale"),
        ({"refiner": [3]}, "refiner: expected a module"),
        ({"refiner": 3}, "refiner: expected a module"),
    ],
)
def test_bad_arguments(changes: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build(**changes)


@pytest.mark.parametrize(
    ("name", "value"), [("n_points", 0.0), ("n_patches", -1), ("kernel_size", 2), ("batch_size", 0), ("amp", "x")]
)
def test_settings_are_checked_when_changed(name: str, value: object) -> None:
    model, image = build(), unit(image_of())
    for change in (model.with_settings, lambda **changes: model.predict(image, **changes)):
        with pytest.raises(ValueError, match=f"^{name}: "):
            change(**{name: value})
    with pytest.raises(TypeError, match=r"^settings: expected some of scales, .*, got nothing_such"):
        model.with_settings(nothing_such=1)
    before = getattr(model, name)
    with pytest.raises(AttributeError, match=rf"^{name}: .* take model\.with_settings\({name}=\.\.\.\), or pass it"):
        setattr(model, name, before)
    assert getattr(model, name) == getattr(model.settings, name) == before
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(model.settings, name, before)


def test_settings_that_are_missing_are_named() -> None:
    with pytest.raises(TypeError, match=r"^settings: expected scales, .* got no patch_size, n_points; pass"):
        MagNet(Local(), None, scales=SCALES)


def test_a_model_of_other_settings_shares_the_networks() -> None:
    model, image = build(class_names=["a", "b", "c"]), image_of()
    fast = model.with_settings(n_patches=0, batch_size=2)
    assert model.settings.n_patches is None and fast.settings.n_patches == 0 and fast.class_names == ["a", "b", "c"]
    assert fast.segmenter is model.segmenter and fast.refiners is model.refiners
    assert fast.state_dict().keys() == model.state_dict().keys()
    assert not torch.equal(fast(image), model(image))
    expected = model.predict(unit(image), n_patches=0).probabilities
    torch.testing.assert_close(fast(image)[0], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="refiner: expected one module, or one for each"):
        build([RefinementModule(3), RefinementModule(3)]).with_settings(scales=[*SCALES, (60, 70)])


def test_segmenter_must_be_a_module_of_several_classes() -> None:
    arguments: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 1}
    with pytest.raises(TypeError, match="segmenter: expected a module"):
        MagNet("compact", None, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 2 classes"):
        MagNet(Local(1), None, **arguments)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"images: expected \(N, 3, H, W\)"),
        (torch.zeros(1, 1, 8, 8), r"images: expected \(N, 3, H, W\)"),
        (torch.zeros(0, 3, 8, 8), r"images: expected \(N, 3, H, W\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "images: expected a floating-point"),
        ("x.png", "images: expected a floating-point"),
    ],
)
def test_forward_refuses(images: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        build()(images)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_other_floats_are_taken(dtype: torch.dtype) -> None:
    model, image = build(), image_of()
    found = model(image.to(dtype))
    assert found.dtype == torch.float32 and torch.equal(found, model(image.to(dtype).float()))


def test_networks_of_the_wrong_output_are_named() -> None:
    class Small(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[..., ::2, ::2]

    arguments: dict = {"scales": SCALES, "patch_size": (12, 16), "n_points": 1}
    with pytest.raises(ValueError, match=r"segmenter: expected logits .*\(1, C, 12, 16\), got \(1, 3, 6, 8\)"):
        MagNet(Small(), None, **arguments)(image_of())

    class Fewer(nn.Module):
        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return fine[:, :2]

    with pytest.raises(ValueError, match="refiner: expected logits of 3 classes, got 2"):
        MagNet(Local(), Fewer(), **arguments)(image_of())


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    model = build(progress=True)
    model(image_of(n=2))
    assert "0/50" in capsys.readouterr().err
    model.with_settings(progress=False)(image_of())
    assert capsys.readouterr().err == ""
    assert count_patches(model.settings, model.plan((8, 8))) == 25


def test_settings_can_be_seen_and_checked() -> None:
    """By help(), editors and type checkers, although they come as keywords of any name."""
    assert tuple(SettingsGiven.__annotations__) == FIELDS
    parameters = inspect.signature(MagNet).parameters
    assert list(parameters)[:2] == ["segmenter", "refiner"] and set(FIELDS) < set(parameters)
    assert parameters["kernel_size"].default == 3 and parameters["scales"].default is inspect.Parameter.empty
    assert set(FIELDS) < set(dir(build()))


def test_a_model_pickled_by_an_older_version_is_told() -> None:
    state = build().__dict__.copy()
    del state["settings"]
    with pytest.raises(MagNetError, match=r"^model: expected a MagNet that this version pickled, got one of an older"):
        MagNet.__new__(MagNet).__setstate__(state)
    copied = pickle.loads(pickle.dumps(build()))
    assert copied.settings == build().settings


def test_a_walk_gives_no_probabilities_that_were_not_asked_for() -> None:
    walk = build().walk(torch.rand(3, 30, 60), probabilities=False)
    assert len(list(walk)) == len(SCALES) and walk.prediction.probabilities is None
