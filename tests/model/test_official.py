from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from seeded import DATA, golden, probs, seed_module, seeded_state
from torch import Tensor, nn

from magnet import MagNet, RefinementModule
from magnet.images.opencv_resize import resize_uint8
from magnet.images.read import read_image
from magnet.images.tensors import to_tensor
from magnet.walk.official import count_points, official_walk, stitch

# Figures of the release itself with ties broken by the lowest index: what an exact reproduction reaches.
AGREEMENT = {
    "full_count": 0.998,
    "full_frac": 0.999,
    "fast2": 0.984,
    "resized_input_square": 0.999,
    "coarse_only": 1.0,
}


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # fastest for tensors this small


class Stub(nn.Module):
    num_classes = 19

    def __init__(self) -> None:
        super().__init__()
        self.stub = nn.Conv2d(3, 19, 3, padding=1)
        self.load_state_dict(seeded_state(self))

    def forward(self, images: Tensor) -> Tensor:
        return 4 * self.stub(images)


def _case(name: str, **changes: object) -> tuple[MagNet, np.ndarray]:
    options: dict[str, list[str]] = {}
    for word in json.loads((DATA / "pipeline.json").read_text())[name]["args"]:
        if word.startswith("--"):
            values = options.setdefault(word[2:], [])
        else:
            values.append(word)
    scales = [tuple(map(int, size.split("-")))[::-1] for size in options["scales"][0].split(",")]
    n_points, n_patches = float(options["n_points"][0]), int(options["n_patches"][0])
    settings: dict = {
        "scales": scales,
        "patch_size": tuple(map(int, options["crop_size"]))[::-1],
        "input_size": tuple(map(int, options["input_size"]))[::-1],
        "n_points": int(n_points) if n_points > 1 else n_points,
        "n_patches": None if n_patches < 0 else n_patches,
        "kernel_size": int(options["smooth_kernel"][0]),
        "compat": "official",
    }
    refiners = [seed_module(RefinementModule(19), f"refine{i}.") for i in range(1, len(scales))]
    image = read_image(DATA / ("square_image.png" if "square" in name else "wide_image.png"))
    return MagNet(Stub(), refiners, **{**settings, **changes}), image


@pytest.mark.parametrize("name", AGREEMENT)
def test_release_pipeline(name: str) -> None:
    model, image = _case(name)
    prediction = model.predict(image, return_stages=True)
    assert (np.asarray(prediction.labels) == golden("pipeline")[f"{name}/labels"]).mean() >= AGREEMENT[name]
    stored_whole = name == "coarse_only"  # at the first scale
    ours = prediction.stages[0].probabilities if stored_whole else prediction.probabilities[:, ::2, ::2]
    theirs = golden("pipeline")[f"{name}/probs"][0].astype(np.float32)
    close = (np.abs(np.asarray(ours) - theirs) < 1e-3).all(axis=0).mean()
    assert close >= (0.97 if name == "fast2" else 0.997)


@pytest.mark.parametrize("name", ["full_count", "fast2", "resized_input_square"])
def test_batch_size_changes_nothing(name: str) -> None:
    model, image = _case(name)
    expected = model.predict(image).probabilities
    torch.testing.assert_close(model.predict(image, batch_size=3).probabilities, expected, rtol=0, atol=2e-5)


def test_float_images_match_bytes() -> None:
    model, image = _case("full_frac")
    expected = model.predict(image).probabilities
    torch.testing.assert_close(model.predict(to_tensor(image)).probabilities, expected, rtol=0, atol=0)


def test_forward_differs_only_by_the_rounding_of_the_image() -> None:
    model, image = _case("full_frac", n_patches=0)
    expected = model.predict(image).probabilities
    from magnet.images.tensors import normalize

    torch.testing.assert_close(model(normalize(to_tensor(image))[None])[0], expected, rtol=0, atol=0.05)


def test_fast_looks_at_the_least_uncertain_patches() -> None:
    model, image = _case("fast2")
    _, _, last = model.predict(image, return_stages=True).stages
    assert len(last.boxes) == 2
    assert [*model.predict(image, return_stages=True, n_patches=None).stages[1].boxes][:2] == [
        *_case("fast2")[0].predict(image, return_stages=True).stages[1].boxes
    ]


@pytest.mark.parametrize(("name", "chosen"), [("ensemble_all", [0, 1, 2, 3]), ("ensemble_two", [0, 3])])
def test_release_stitching(name: str, chosen: list[int]) -> None:
    boxes = [(0, 0, 64, 32), (0, 32, 64, 64), (64, 0, 128, 32), (64, 32, 128, 64)]
    fine, covered = stitch(probs("ops.P", 4, 5, 32, 64)[: len(chosen)], [boxes[i] for i in chosen], (64, 128))
    np.testing.assert_allclose(fine.numpy(), golden("ops")[name], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(covered[0, 0].numpy(), golden("ops")[f"{name}_mask"])


def test_stitching_overwrites_overlaps_and_divides_by_the_interiors() -> None:
    patches = torch.stack([torch.full((1, 40, 40), 1.0), torch.full((1, 40, 40), 3.0)])
    fine, covered = stitch(patches, [(0, 0, 40, 40), (10, 0, 50, 40)], (40, 50))
    assert fine[0, 0, 20].tolist() == [1.0] * 10 + [3.0] * 10 + [1.5] * 10 + [3.0] * 20
    assert covered[0, 0, 20].nonzero().flatten().tolist() == list(range(10, 40))


def test_patches_smaller_than_their_rims_cover_nothing() -> None:
    fine, covered = stitch(torch.ones(1, 2, 16, 16), [(0, 0, 16, 16)], (16, 16))
    assert fine.min() == 1 and not covered.any()


@pytest.mark.parametrize(
    ("n_points", "share", "expected"),
    [
        (300, 1.0, 300),
        (10**9, 1.0, 1000),
        (600, 0.5, 500),
        (400, 0.5, 400),
        (0.9, 0.25, 225),
        (1.0, 1.0, 1000),
        (1, 0.5, 500),
        (0, 1.0, 0),
    ],
)
def test_points_of_the_release(n_points: float, share: float, expected: int) -> None:
    assert count_points(n_points, 1000, share) == expected


def test_walk_takes_the_release_refiner_of_each_scale() -> None:
    model, image = _case("full_frac")
    assert model.refiner_at(1) is model.refiners[0] and model.refiner_at(2) is model.refiners[1]
    shared = MagNet(
        model.segmenter,
        model.refiners[0],
        **{name: getattr(model, name) for name in ("scales", "patch_size", "n_points", "compat")},
    )
    assert shared.refiner_at(1) is shared.refiner_at(2) is model.refiners[0]
    *_, last = official_walk(shared, shared.settings, shared.plan(image.shape[:2]), image)
    assert last.maps is not None and last.maps.shape == (1, 19, 128, 256)


def test_resize_matches_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    sizes = [tuple(rng.integers(1, 200, 4)) for _ in range(60)]
    sizes += [(100, 140, 50, 70), (64, 64, 48, 48), (1, 9, 7, 4), (30, 40, 30, 80), (600, 4, 530, 9)]
    for h, w, height, width in sizes:
        image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        expected = cv2.resize(image, (int(width), int(height)), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(resize_uint8(image, (int(height), int(width))), expected)


def test_resize_by_hand() -> None:
    image = np.array([[[0], [10]], [[100], [255]]], np.uint8)
    assert resize_uint8(image, (1, 1)).tolist() == [[[91]]]  # 365 / 4
    assert resize_uint8(image, (2, 2)) is image
    assert resize_uint8(image, (2, 4))[0, :, 0].tolist() == [0, 3, 8, 10]  # 2.5 and 7.5, rounded up


def test_patch_must_fit_into_the_first_scale_too() -> None:
    with pytest.raises(ValueError, match=r"patch_size: expected at most \(32, 64\)"):
        _case("full_frac", patch_size=(40, 64))
