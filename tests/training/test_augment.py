"""Training samples: what is cut from where, what is ignored, and what is left as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from magnet.data import IGNORE_INDEX
from magnet.images.tensors import normalize, to_tensor
from magnet.training.augment import ColourChange, magnified, random_sample
from magnet.training.config import AugmentConfig

PLAIN = {"flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "tint": 0.0, "gamma": 0.0}


def chart(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose red and green tell y and x (0..255 over the whole), and labels that tell the quarter."""
    y = (np.arange(height) + 0.5) / height
    x = (np.arange(width) + 0.5) / width
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.round(255 * y)[:, None]
    image[..., 1] = np.round(255 * x)[None, :]
    labels = 2 * (y >= 0.5)[:, None].astype(np.uint8) + (x >= 0.5)[None, :].astype(np.uint8)
    return image, labels


def test_a_window_of_the_magnified_image_is_that_of_the_whole_image_resized():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), np.uint8)
    labels = rng.integers(0, 5, (40, 60), np.uint8)
    for whole in ((40, 60), (80, 120), (52, 79), (20, 30), (13, 21)):
        resized = np.asarray(Image.fromarray(image).resize(whole[::-1], Image.Resampling.BILINEAR))
        y, x = 3, 5
        pixels, target = magnified(image, labels, whole, (y, x), (9, 14))
        # Pillow rounds the window to its own grid of weights: a step or two of 255
        assert np.abs(pixels.astype(int) - resized[y : y + 9, x : x + 14]).max() <= 2
        rows = ((np.arange(y, y + 9) + 0.5) * 40 / whole[0]).astype(int)
        columns = ((np.arange(x, x + 14) + 0.5) * 60 / whole[1]).astype(int)
        np.testing.assert_array_equal(target, labels[rows][:, columns])
    same, target = magnified(image, labels, (40, 60), (0, 0), (40, 60))
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(target, labels)


def test_outside_the_image_is_the_mean_colour_and_ignored():
    image, labels = chart(20, 30)
    pixels, target = magnified(image, labels, (20, 30), (-4, 25), (30, 10))
    np.testing.assert_array_equal(pixels[4:24, :5], image[:, 25:])
    np.testing.assert_array_equal(target[4:24, :5], labels[:, 25:])
    target[4:24, :5] = IGNORE_INDEX
    assert (target == IGNORE_INDEX).all()
    assert normalize(to_tensor(pixels))[:, :4].abs().max() < 0.01  # what the network sees there
    pixels, target = magnified(image, labels, (20, 30), (50, 50), (4, 6))
    assert pixels.shape == (4, 6, 3) and (target == IGNORE_INDEX).all()


@pytest.mark.parametrize("rotate", [0.0, 25.0])
def test_random_crops_keep_image_and_labels_together(rotate):
    image, labels = chart(96, 128)
    config = AugmentConfig(**{**PLAIN, "flip": 0.0}, crop="random", zoom=(0.5, 2.1), rotate=rotate)
    for seed in range(30):
        pixels, target = random_sample(np.random.default_rng(seed), image, labels, (48, 64), config, base=(48, 64))
        assert pixels.shape == (3, 48, 64) and target.shape == (48, 64) and target.dtype == torch.int64
        red, green = (pixels[i] * (0.229, 0.224)[i] + (0.485, 0.456)[i] for i in (0, 1))
        seen = 2 * (red >= 0.5).long() + (green >= 0.5).long()
        inside = target != IGNORE_INDEX
        away = ((red - 0.5).abs() > 0.03) & ((green - 0.5).abs() > 0.03) & inside  # from where the quarters meet
        assert inside.any() and torch.equal(seen[away], target[away])


def test_random_crops_reach_every_zoom_and_every_place():
    image, labels = chart(96, 128)
    config = AugmentConfig(**PLAIN, crop="random", zoom=(0.5, 2.1))
    shares, corners, padded = [], [], 0
    for seed in range(300):
        pixels, target = random_sample(np.random.default_rng(seed), image, labels, (48, 64), config, base=(48, 64))
        inside = target != IGNORE_INDEX
        if inside.all():
            red = pixels[0] * 0.229 + 0.485
            shares.append(float(red[-1, 0] - red[0, 0]) * 48 / 47)
            corners.append(float(red[0, 0]))
        else:
            padded += 1
            rows, columns = inside.any(1).sum(), inside.any(0).sum()
            assert int(inside.sum()) == int(rows) * int(columns) >= 24 * 32  # the image, whole
    # drawn evenly: zooms of 0.5 to 1, which pad, are 5 of 16; at zoom z a patch shows 1 / z of the image
    assert 60 < padded < 130
    assert 0.47 < min(shares) < 0.51 and 0.95 < max(shares) <= 1.01
    assert min(corners) < 0.03 and max(corners) > 0.4  # the corner lies anywhere in what is left


def test_a_finer_copy_keeps_the_detail():
    fine = np.zeros((128, 128, 3), np.uint8)
    fine[:, ::2] = 255  # stripes that the small copy cannot hold
    coarse = np.asarray(Image.fromarray(fine).resize((64, 64), Image.Resampling.BILINEAR))
    config = AugmentConfig(**PLAIN, crop="random", zoom=(2.0, 2.0))
    spread = []
    for image in (fine, coarse):
        labels = np.zeros(image.shape[:2], np.uint8)
        pixels, _ = random_sample(np.random.default_rng(1), image, labels, (32, 32), config, base=(64, 64))
        spread.append(float(pixels.std()))
    assert spread[0] > 1 and spread[1] < 0.5


def test_flips():
    image, labels = chart(16, 24)
    config = AugmentConfig(**{**PLAIN, "flip": 1.0}, flip_vertical=1.0, crop="random")
    pixels, target = random_sample(np.random.default_rng(0), image, labels, (16, 24), config)
    np.testing.assert_array_equal(target.numpy(), labels[::-1, ::-1])
    torch.testing.assert_close(pixels, normalize(to_tensor(image)).flip(1, 2))


@pytest.mark.parametrize("crop", ["centred", "random"])
def test_without_changes_the_sample_is_the_image_bit_for_bit(crop):
    rng = np.random.default_rng(3)
    image, labels = rng.integers(0, 256, (16, 24, 3), np.uint8), rng.integers(0, 3, (16, 24), np.uint8)
    pixels, target = random_sample(rng, image, labels, (16, 24), AugmentConfig(**PLAIN, crop=crop))
    assert torch.equal(pixels, normalize(to_tensor(image)))
    np.testing.assert_array_equal(target.numpy(), labels)


@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "tint", "gamma", "noise"])
def test_any_change_of_colour_is_applied(change):
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    config = AugmentConfig(**{**PLAIN, change: 0.5})
    assert not torch.allclose(ColourChange(np.random.default_rng(0), config)(image), image, atol=0.01)
    assert ColourChange(np.random.default_rng(0), AugmentConfig(**PLAIN))(image) is image
