"""Losses: golden figures, the definition of hard pixels, edge cases and errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from seeded import golden, probs, randint, randn, seed_module

from magnet.networks import RefinementModule
from magnet.training.losses import cross_entropy, ohem_cross_entropy


def sample(name: str = "ops.ohem", num_classes: int = 19) -> tuple[torch.Tensor, torch.Tensor]:
    logits = randn(name, 2, num_classes, 32, 64) * 3
    target = randint(f"{name}.t", num_classes, 2, 32, 64)
    target[:, :4] = 255
    return logits, target


@pytest.mark.parametrize(
    ("figure", "options"),
    [
        ("ohem_default", {}),
        ("ohem_t05_k500", {"threshold": 0.5, "min_kept": 500}),
        ("ohem_t09_k10", {"threshold": 0.9, "min_kept": 10}),
    ],
)
def test_ohem_golden(figure, options):
    assert ohem_cross_entropy(*sample(), **options).item() == pytest.approx(float(golden("ops")[figure]), rel=1e-6)


def test_three_training_steps_golden(restore_threads):
    torch.set_num_threads(1)  # small convolutions: a second thread waits more than it works
    figures = golden("train_steps")
    module = seed_module(RefinementModule(19)).train()
    coarse, fine = (probs(f"train.{name}", 2, 19, 32, 64) for name in ("coarse", "fine"))
    target = randint("train.t", 19, 2, 32, 64)
    target[:, :4] = 255
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    for step in range(3):
        loss = ohem_cross_entropy(module(coarse, fine), target)  # the order in which the release trains
        assert loss.item() == pytest.approx(float(figures[f"loss{step}"]), rel=1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    state = module.state_dict()
    assert {f"after/{key}" for key in state} == {key for key in figures if key.startswith("after/")}
    for key, value in state.items():
        actual = np.array([value.double().sum(), value.double().abs().sum()])
        expected = figures[f"after/{key}"]
        assert np.abs(actual - expected).max() <= 1e-4 * max(expected[1], 1e-12), key


def test_ohem_keeps_the_hard_pixels_only():
    logits, target = sample("hard", 5)
    losses = F.cross_entropy(logits, target, ignore_index=255, reduction="none")[target != 255]
    probability = torch.exp(-losses)
    expected = losses[probability < 0.3].mean()
    torch.testing.assert_close(ohem_cross_entropy(logits, target, threshold=0.3, min_kept=0), expected)
    # more than are hard: the min_kept hardest
    many = int((probability < 0.3).sum()) + 100
    expected = losses.sort(descending=True).values[:many].mean()
    torch.testing.assert_close(ohem_cross_entropy(logits, target, threshold=0.3, min_kept=many), expected)


def test_ohem_gradient_only_at_hard_pixels():
    logits, target = sample("hard", 5)
    logits.requires_grad_()
    ohem_cross_entropy(logits, target, threshold=0.3, min_kept=0).backward()
    probability = logits.detach().softmax(1).gather(1, target.clamp(max=4)[:, None])[:, 0]
    hard = (probability < 0.3) & (target != 255)
    touched = logits.grad.abs().sum(1) > 0
    assert torch.equal(touched, hard)


def test_ohem_class_weights():
    logits, target = sample("hard", 3)
    weight = torch.tensor([1.0, 2.0, 0.5])
    valid = target != 255
    losses = F.cross_entropy(logits, target, ignore_index=255, reduction="none")[valid]
    hard = torch.exp(-losses) < 0.4
    expected = (losses * weight[target[valid]])[hard].mean()
    torch.testing.assert_close(ohem_cross_entropy(logits, target, threshold=0.4, min_kept=0, weight=weight), expected)


@pytest.mark.parametrize("loss", [ohem_cross_entropy, cross_entropy])
def test_no_pixel_counts(loss):
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.full((1, 4, 4), 255))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("n_pixels", [1, 2])
def test_ohem_of_equal_easy_pixels_is_finite(n_pixels):
    logits = torch.zeros(1, 2, 1, n_pixels)
    logits[:, 0] = 3
    target = torch.zeros(1, 1, n_pixels, dtype=torch.long)
    assert ohem_cross_entropy(logits, target).item() == pytest.approx(np.log1p(np.exp(-3)), rel=1e-5)


def test_ohem_half_precision_is_computed_in_float32():
    logits, target = sample()
    expected = ohem_cross_entropy(logits.bfloat16().float(), target)
    assert ohem_cross_entropy(logits.bfloat16(), target).item() == expected.item()


def test_ohem_accepts_uint8_labels():
    logits, target = sample()
    assert ohem_cross_entropy(logits, target.to(torch.uint8)).item() == ohem_cross_entropy(logits, target).item()


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 3.0, 0.25])])
def test_cross_entropy_is_torchs(weight):
    logits, target = sample("ce", 3)
    expected = F.cross_entropy(logits, target, weight, ignore_index=255)
    torch.testing.assert_close(cross_entropy(logits, target, weight=weight), expected)
    aux = logits.flip(2)
    expected = expected + 0.4 * F.cross_entropy(aux, target, weight, ignore_index=255)
    torch.testing.assert_close(cross_entropy((logits, aux), target, weight=weight), expected)


@pytest.mark.parametrize("loss", [ohem_cross_entropy, cross_entropy])
def test_a_pair_is_main_plus_weighted_auxiliary(loss):
    logits, target = sample("pair", 3)
    aux = 0.5 * logits.flip(2)
    options = {"threshold": 0.4, "min_kept": 0} if loss is ohem_cross_entropy else {}
    weight = torch.tensor([1.0, 2.0, 0.5])
    main, other = (loss(x, target, weight=weight, **options) for x in (logits, aux))
    assert main.item() != pytest.approx(other.item(), rel=1e-3)
    for aux_weight in (0.4, 1.0):
        value = loss((logits, aux), target, weight=weight, aux_weight=aux_weight, **options)
        torch.testing.assert_close(value, main + aux_weight * other)
    torch.testing.assert_close(loss([logits, aux], target, weight=weight, **options), main + 0.4 * other)
    torch.testing.assert_close(loss((logits, aux), target, weight=weight, aux_weight=0.0, **options), main)
    with pytest.raises(ValueError, match=r"logits: expected a tensor or a pair.*got 3"):
        loss((logits, aux, aux), target)


@pytest.mark.parametrize("loss", [ohem_cross_entropy, cross_entropy])
def test_loss_errors(loss):
    logits, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"target: expected labels of shape \(1, 4, 4\).*got \(1, 4, 5\)"):
        loss(logits, torch.zeros(1, 4, 5, dtype=torch.long))
    with pytest.raises(TypeError, match="target: expected integer labels"):
        loss(logits, target.float())
    with pytest.raises(ValueError, match=r"target: expected labels 0\.\.2 or 255.*got \[3, 7\]"):
        bad = target.clone()
        bad[0, 0, :2] = torch.tensor([7, 3])
        loss(logits, bad)
    with pytest.raises(ValueError, match="weight: expected one weight for each of 3"):
        loss(logits, target, weight=torch.ones(4))
    for bad in ([1, -1, 1], [1, float("nan"), 1], [float("inf"), 1, 1]):
        with pytest.raises(ValueError, match="weight: expected finite weights of at least 0"):
            loss(logits, target, weight=torch.tensor(bad))
    with pytest.raises(TypeError, match="weight: expected a tensor, got list"):
        loss(logits, target, weight=[1, 1, 1])
    for bad in (float("nan"), float("inf"), -0.5, True, "1"):
        with pytest.raises(ValueError, match="aux_weight: expected a finite number of at least 0"):
            loss((logits, logits), target, aux_weight=bad)
    with pytest.raises(ValueError, match="logits: expected floats"):
        loss(logits[0], target)


def test_ohem_option_errors():
    logits, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    for threshold in (0.0, 1.5, float("nan"), "0.7", True):
        with pytest.raises(ValueError, match="threshold: expected a probability"):
            ohem_cross_entropy(logits, target, threshold=threshold)
    for min_kept in (-1, 2.5, True):
        with pytest.raises(ValueError, match="min_kept: expected a count"):
            ohem_cross_entropy(logits, target, min_kept=min_kept)
