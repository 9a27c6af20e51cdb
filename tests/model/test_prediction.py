"""Predictions of one image: what is taken, labels with and without probabilities, stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from seeded import probs
from walked import SCALES, build, image_of, unit

from magnet import MagNetError
from magnet.images.tensors import normalize, to_tensor
from magnet.walk.maps import labels_at

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("scales", [SCALES, SCALES[-1:]])
@pytest.mark.parametrize("n_patches", [None, 3])
@pytest.mark.parametrize("size", [(50, 62), (40, 70)])
def test_labels_without_probabilities(
    scales: list[tuple[int, int]], n_patches: int | None, size: tuple[int, int]
) -> None:
    """The same labels, whether they come from the map of the last scale or in its place."""
    model, image = build(scales=scales, n_patches=n_patches), unit(image_of(*size))
    expected = model.predict(image)
    ours = model.predict(image, probabilities=False)
    assert ours.probabilities is None and ours.labels.dtype == torch.int64
    assert torch.equal(ours.labels, expected.labels)
    with pytest.raises(ValueError, match="probabilities=False"):
        _ = ours.uncertainty
    kept = model.predict(image, probabilities=False, return_stages=True)
    assert kept.probabilities is None and torch.equal(kept.labels, expected.labels)
    assert len(kept.stages) == len(scales)


def test_labels_without_probabilities_as_the_release_does() -> None:
    model, image = build(compat="official", scales=[(24, 32), (48, 64)]), unit(image_of())
    ours = model.predict(image, probabilities=False)
    assert ours.probabilities is None and torch.equal(ours.labels, model.predict(image).labels)


def test_predict_takes_all_kinds_of_images(tmp_path: Path) -> None:
    array = (unit(image_of(33, 47)) * 255).byte().permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "image.png")
    model = build()
    expected = model(normalize(to_tensor(array))[None])[0]
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    for image in (
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        Image.fromarray(array),
        array,
        tensor,
        tensor / 255,
    ):
        prediction = model.predict(image)
        torch.testing.assert_close(prediction.probabilities, expected, rtol=0, atol=1e-6)
        assert prediction.labels.shape == (33, 47)
        assert prediction.stages is None
        assert prediction.seconds > 0


def test_stages_are_kept_apart() -> None:
    model = build()
    prediction = model.predict(unit(image_of()), return_stages=True)
    assert [tuple(stage.scale) for stage in prediction.stages] == SCALES
    assert [tuple(stage.probabilities.shape[1:]) for stage in prediction.stages] == SCALES
    assert torch.equal(prediction.stages[-1].probabilities, prediction.probabilities)
    assert [len(stage.boxes) for stage in prediction.stages] == [0, 4, 20]


@pytest.mark.parametrize("size", [(50, 62), (33, 47), (600, 97), (1, 1)])
def test_labels_at_the_size_of_the_image(size: tuple[int, int]) -> None:
    maps = probs("model.labels", 1, 4, 50, 62)
    whole = F.interpolate(maps, size, mode="bilinear", align_corners=False)[0]
    labels = labels_at(maps[0], size)
    assert labels.shape == size
    top = whole.topk(2, dim=0).values
    assert (labels == whole.argmax(dim=0))[top[0] - top[1] > 1e-5].all()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4), np.uint8), r"expected an \(H, W, 3\) uint8"),
        (np.zeros((4, 4, 3), np.float32), r"expected an \(H, W, 3\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), r"expected an \(H, W, 3\) uint8"),
        (torch.zeros(1, 3, 4, 4), r"one \(3, H, W\) tensor"),
        (torch.zeros(4, 4, 3), r"one \(3, H, W\) tensor"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "uint8 or floats"),
        (torch.full((3, 4, 4), 2.0), r"values in \[0, 1\], got 2 to 2"),
        (torch.full((3, 4, 4), torch.nan), r"values in \[0, 1\]"),
        (7, "expected a path"),
    ],
)
def test_predict_refuses(image: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"image: .*{message}"):
        build().predict(image)  # type: ignore[arg-type]


def test_predict_names_the_bad_file(tmp_path: Path) -> None:
    with pytest.raises(MagNetError, match="does not exist"):
        build().predict(tmp_path / "absent.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(MagNetError, match=r"broken\.png"):
        build().predict(tmp_path / "broken.png")
