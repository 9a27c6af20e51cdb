"""What both stages share: device, optimiser, learning rate, averaged weights, loss, checkpoints, log."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from magnet.checkpoints import save_safetensors
from magnet.data import IGNORE_INDEX
from magnet.errors import MagNetError
from magnet.losses import cross_entropy, ohem_cross_entropy
from magnet.training.config import OptimConfig

__all__ = ["Average", "Loss", "Optimiser", "RunLog", "autocast", "pick_device", "save_weights", "to_device"]


def pick_device(device: str) -> torch.device:
    """The device of the name; "auto" takes CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise MagNetError(f"device: expected auto, cpu or cuda, got '{device}'") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise MagNetError("device: cuda was asked for, but torch finds no usable GPU; use --device cpu")
    return picked


def autocast(device: torch.device, amp: str) -> AbstractContextManager[Any]:
    """bfloat16 convolutions where ``amp`` is "bf16"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=amp == "bf16")


Network = TypeVar("Network", bound=nn.Module)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network, weights in channels_last, which convolutions are fastest in."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


class Optimiser:
    """Optimiser and learning rate of a run of ``iterations`` steps."""

    def __init__(self, parameters: Sequence[nn.Parameter], config: OptimConfig, iterations: int) -> None:
        self.config, self.iterations, self.step_index = config, iterations, 0
        self.parameters = list(parameters)
        groups = [  # norms and biases are not decayed
            {"params": [p for p in self.parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in self.parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser: torch.optim.Optimizer
        if config.name == "sgd":
            self.optimiser = torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
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

    def step(self, loss: Tensor) -> None:
        """Backward and one step."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.config.clip > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.optimiser.step()
        self.step_index += 1


class Average:
    """A copy of a network whose weights follow it slowly (exponential moving average); with ``decay`` 0, itself."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False) if decay > 0 else network
        self._updates = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        if self.decay <= 0:
            return
        self._updates += 1
        decay = min(self.decay, self._updates / (self._updates + 10))  # the random start is soon forgotten
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


class Loss:
    """Cross-entropy (all pixels, or the hard ones) plus a soft Dice loss."""

    def __init__(
        self, kind: str, class_weights: Sequence[float], dice: float, num_classes: int, device: torch.device
    ) -> None:
        if class_weights and len(class_weights) != num_classes:
            raise MagNetError(
                f"class_weights: expected one for each of {num_classes} classes, got {len(class_weights)}"
            )
        self.kind, self.dice = kind, dice
        self.weight = torch.tensor(list(class_weights), device=device) if class_weights else None

    def __call__(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        if self.kind == "ohem" and isinstance(logits, Tensor):
            loss = ohem_cross_entropy(logits, target, ignore_index=IGNORE_INDEX, weight=self.weight)
        else:
            loss = cross_entropy(logits, target, ignore_index=IGNORE_INDEX, weight=self.weight)
        if self.dice > 0:
            loss = loss + self.dice * dice_loss(logits if isinstance(logits, Tensor) else logits[0], target)
        return loss


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - soft Dice over the batch, mean over the classes that the labels hold."""
    valid = target != IGNORE_INDEX
    num_classes = logits.shape[1]
    truth = F.one_hot(target.masked_fill(~valid, 0), num_classes).permute(0, 3, 1, 2) * valid[:, None]
    probabilities = logits.float().softmax(dim=1) * valid[:, None]
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    counts = truth.sum(dim=(0, 2, 3))
    dice = (2 * overlap + 1) / (probabilities.sum(dim=(0, 2, 3)) + counts + 1)
    present = counts > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def save_weights(network: nn.Module, path: Path, **metadata: object) -> None:
    """Write a state dict as safetensors under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(path, network.state_dict(), {key: json.dumps(value) for key, value in metadata.items()})


class RunLog:
    """One JSON object a line, flushed as it is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._start = time.perf_counter()

    def write(self, **values: object) -> None:
        values["seconds"] = round(time.perf_counter() - self._start, 1)
        self._file.write(json.dumps(values) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
