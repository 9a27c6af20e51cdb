"""What both stages share: device, mixed precision, optimiser, learning rate, averaged weights, loss, checkpoints."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.checkpoints.fit import save_safetensors
from magnet.cli.arguments import check_device
from magnet.data import IGNORE_INDEX
from magnet.distributed import all_reduce_sum, global_sum
from magnet.errors import ArgumentError, MagNetError
from magnet.training.config import OptimConfig, RefinerConfig, SegmenterConfig
from magnet.training.losses import cross_entropy, ohem_cross_entropy

__all__ = [
    "Average",
    "Loss",
    "Optimiser",
    "autocast",
    "check_amp",
    "pick_device",
    "predictor",
    "save_weights",
    "to_device",
]


def pick_device(device: str) -> torch.device:
    """The device of the name; "auto" takes CUDA where there is one."""
    check_device("device", device)
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    picked = torch.device(device)
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise MagNetError("device: cuda was asked for, but torch finds no usable GPU; use --device cpu")
    return picked


def autocast(device: torch.device, amp: str) -> AbstractContextManager[Any]:
    """Convolutions in bfloat16 where ``amp`` is "bf16", in float16 where it is "fp16"."""
    return torch.autocast(device.type, torch.float16 if amp == "fp16" else torch.bfloat16, enabled=amp != "none")


def check_amp(device: torch.device, amp: str) -> None:
    """Try a convolution, forward and backward, in the precision that ``amp`` names.

    Raises:
        MagNetError: this torch or this processor cannot do it.
    """
    if amp == "none":
        return
    layer = nn.Conv2d(3, 4, 3).to(device)
    try:
        with autocast(device, amp):
            result = layer(torch.zeros(1, 3, 8, 8, device=device))
        result.float().sum().backward()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise MagNetError(
            f"amp: torch cannot compute convolutions in {amp} on this {device.type} ({reason}); use --amp none"
        ) from error


def predictor(network: nn.Module, device: torch.device, amp: str) -> Callable[[Tensor], Tensor]:
    """Normalised images (N, 3, h, w) -> probabilities (N, C, h, w) float32 of a segmenter."""

    def predict(images: Tensor) -> Tensor:
        with autocast(device, amp):
            return network(images).float().softmax(dim=1)  # type: ignore[no-any-return]

    return predict


Network = TypeVar("Network", bound=nn.Module)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network, weights in channels_last, which convolutions are fastest in."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Optimiser:
    """Optimiser, learning rate and gradients of a run of ``iterations`` steps.

    A step is ``zero``, ``backward`` for each part of the batch, ``clip`` and ``step``.

    Args:
        parameters: what is trained.
        config: optimiser.
        iterations: steps of the whole run, which the learning rate depends on.
        device: where the parameters are.
        fp16: scale the loss, so that gradients do not vanish in float16.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        config: OptimConfig,
        iterations: int,
        device: torch.device = torch.device("cpu"),  # noqa: B008 (immutable)
        *,
        fp16: bool = False,
    ) -> None:
        self.scaler = torch.amp.GradScaler(device.type, enabled=fp16)
        self.config, self.iterations, self.step_index = config, iterations, 0
        self.parameters = list(parameters)
        decay = config.weight_decay
        groups = [  # norms and biases are not decayed, unless asked for
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": decay * config.decay_norms},
        ]
        self.optimiser: torch.optim.Optimizer
        if config.name == "sgd":
            self.optimiser = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
        else:
            self.optimiser = torch.optim.AdamW(groups, lr=config.lr)

    def rate(self) -> float:
        done = self.step_index / max(self.iterations, 1)
        c = self.config
        if done < c.warmup:
            return c.lr * (self.step_index + 1) / (c.warmup * self.iterations + 1)
        done = (done - c.warmup) / max(1 - c.warmup, 1e-9)
        if c.schedule == "cosine":
            return c.lr * 0.5 * (1 + math.cos(math.pi * done))
        if c.schedule == "poly":
            return c.lr * (1 - done) ** 0.9
        if c.schedule == "step":
            return c.lr * 0.1 ** sum(done >= s for s in c.steps)
        return c.lr

    def zero(self) -> None:
        """Forget the gradients of the last step."""
        self.optimiser.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``."""
        self.scaler.scale(loss).backward()

    def clip(self) -> Tensor:
        """Limit the gradients' norm as configured; returns what it was, a scalar."""
        self.scaler.unscale_(self.optimiser)
        if self.config.clip > 0:
            return torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        return torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])

    def step(self) -> None:
        """One step with the gradients there are; with float16, none where they overflowed."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step_index += 1


class Average:
    """A copy of a network whose weights follow it slowly (exponential moving average); with ``decay`` 0, itself."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False) if decay > 0 else network
        self.updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        if self.decay <= 0:
            return
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))  # the random start is soon forgotten
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


class Loss:
    """Cross-entropy (all pixels, or the hard ones) plus a soft Dice loss."""

    def __init__(
        self,
        kind: str,
        class_weights: Sequence[float],
        dice: float,
        num_classes: int,
        device: torch.device,
        *,
        aux_weight: float = 0.4,
        ohem_threshold: float = 0.7,
        ohem_min_kept: int = 100_000,
    ) -> None:
        self.dice = dice
        self._pixels: Callable[..., Tensor] = cross_entropy
        if kind == "ohem":
            self._pixels = partial(ohem_cross_entropy, threshold=ohem_threshold, min_kept=ohem_min_kept)
        self._aux_weight = aux_weight
        self.weight = torch.tensor(list(class_weights), device=device) if class_weights else None

    @classmethod
    def of(cls, stage: SegmenterConfig | RefinerConfig, num_classes: int, device: torch.device) -> Loss:
        """The loss of a stage. Raises ArgumentError where its class weights are not one for each class."""
        weights = stage.class_weights
        if weights and len(weights) != num_classes:
            name = "segmenter" if isinstance(stage, SegmenterConfig) else "refiner"
            raise ArgumentError(
                f"{name}.class_weights: expected one for each of {num_classes} classes, got {len(weights)}; give each "
                "class a weight, or leave the key out"
            )
        return cls(
            stage.loss,
            stage.class_weights,
            stage.dice,
            num_classes,
            device,
            aux_weight=stage.aux_weight if isinstance(stage, SegmenterConfig) else 0.0,
            ohem_threshold=stage.ohem_threshold,
            ohem_min_kept=stage.ohem_min_kept,
        )

    def __call__(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Of logits (N, C, H, W) or, with an auxiliary head, of the pair (main, auxiliary); Dice is of main alone.

        With several processes, of their images together: all must call, and all get the same.
        """
        loss = self._pixels(
            logits,
            target,
            ignore_index=IGNORE_INDEX,
            weight=self.weight,
            aux_weight=self._aux_weight,
            all_ranks=True,
        )
        if self.dice > 0:
            main = logits if isinstance(logits, Tensor) else logits[0]
            loss = loss + self.dice * dice_loss(main, target, all_ranks=True)
        return loss

    def weight_of(self, target: Tensor) -> Tensor:
        """What the mean over the pixels of ``target`` divides by, a scalar: their number, or the sum of their weights.

        A mean over several parts is the sum of the parts' means, each times its share of this.
        """
        valid = target != IGNORE_INDEX
        if self.weight is None:
            return valid.sum().float()
        return (self.weight.float()[target.masked_fill(~valid, 0)] * valid).sum()


def dice_loss(logits: Tensor, target: Tensor, *, all_ranks: bool = False) -> Tensor:
    """1 - soft Dice over the batch (with ``all_ranks``, of all processes), mean over the classes that labels hold."""
    valid = target != IGNORE_INDEX
    num_classes = logits.shape[1]
    truth = F.one_hot(target.masked_fill(~valid, 0), num_classes).permute(0, 3, 1, 2) * valid[:, None]
    probabilities = logits.float().softmax(dim=1) * valid[:, None]
    overlap, mass = (probabilities * truth).sum(dim=(0, 2, 3)), probabilities.sum(dim=(0, 2, 3))
    counts = truth.sum(dim=(0, 2, 3))
    if all_ranks:
        overlap, mass = global_sum(torch.stack((overlap, mass)))
        counts = all_reduce_sum(counts)
    dice = (2 * overlap + 1) / (mass + counts + 1)
    present = counts > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def save_weights(network: nn.Module, path: Path, **metadata: object) -> None:
    """Write a state dict as safetensors under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(path, network.state_dict(), {key: json.dumps(value) for key, value in metadata.items()})
