"""What both stages share: device, mixed precision, optimiser, learning rate, averaged weights, loss, checkpoints."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from magnet.checkpoints.safetensors_files import save_safetensors
from magnet.training.config import OptimConfig

__all__ = ["Average", "Optimiser", "save_weights"]


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
        with torch.no_grad():  # a copy of a TorchScript program is computed
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


def save_weights(network: nn.Module, path: Path, **metadata: object) -> None:
    """Write a state dict as safetensors under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_safetensors(path, network.state_dict(), {key: json.dumps(value) for key, value in metadata.items()})
