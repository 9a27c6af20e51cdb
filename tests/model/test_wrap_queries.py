"""magnet.wrap and mask classification: queries become probabilities of classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from wrapped import Queries, QueryNet, images_of, plain_probabilities

import magnet
from magnet.networks.wrap import mask_log_probabilities

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("size, divisor", [((16, 24), 1), ((13, 18), 8), ((2, 3), 4)])
def test_queries(size: tuple[int, int], divisor: int) -> None:
    net, images = QueryNet(), images_of(*size)
    logits = magnet.wrap(net, divisor=divisor)(images)
    assert logits.shape == (2, 3, *size)
    full = [-(-side // divisor) * divisor for side in size]
    below, right = (n - side for n, side in zip(full, size, strict=True))
    result = net(F.pad(images, (0, right, 0, below), mode="replicate"))
    masks = F.interpolate(result.masks_queries_logits, full, mode="bilinear", align_corners=False)
    expected = plain_probabilities(result.class_queries_logits, masks[..., : size[0], : size[1]])
    torch.testing.assert_close(logits.exp().double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits.softmax(dim=1).double(), expected, rtol=1e-5, atol=1e-6)


def test_queries_by_hand() -> None:
    """Two queries, two classes, one pixel: class probabilities 1/2, 1/4 and 1/8, 1/8; masks 1/2 and 4/5."""
    classes = torch.tensor([[[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]]]).log()
    masks = torch.tensor([0.0, torch.tensor(4.0).log()]).view(1, 2, 1, 1)
    scores = torch.tensor([0.5 * 0.5 + 0.8 * 0.125, 0.5 * 0.25 + 0.8 * 0.125])
    expected = scores / scores.sum()
    torch.testing.assert_close(mask_log_probabilities(classes, masks).exp().flatten(), expected)
    result = Queries(class_queries_logits=classes, masks_queries_logits=masks)
    net = nn.Identity()
    net.forward = lambda _: result  # type: ignore[method-assign]
    torch.testing.assert_close(magnet.wrap(net)(images_of(1, 1, n=1)).softmax(1).flatten(), expected)


def test_queries_where_rounding_would_leave_nothing() -> None:
    """All masks far below 0 and "no object" nearly certain: the definition in float32 would be 0 / 0."""
    classes = torch.tensor([[[0.0, -2.0, 150.0], [-3.0, 0.0, 140.0]]])
    masks = torch.full((1, 2, 2, 2), -200.0)
    classes.requires_grad_(), masks.requires_grad_()
    logits = mask_log_probabilities(classes, masks)
    torch.testing.assert_close(logits.exp().double(), plain_probabilities(classes, masks), rtol=1e-5, atol=1e-6)
    logits[:, 0].sum().backward()
    assert classes.grad.isfinite().all() and masks.grad.isfinite().all()


def test_queries_without_a_class() -> None:
    """A class of probability 0 has a finite logarithm, and comes back as 0."""
    classes = torch.tensor([[[0.0, -1000.0, 0.0]]])
    logits = mask_log_probabilities(classes, torch.zeros(1, 1, 2, 2))
    assert logits.isfinite().all()
    first, second = logits.softmax(dim=1)[0, :, 0, 0].tolist()
    assert first == 1 and second < 1e-37
