"""Where networks run, and in which precision."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from magnet.bounds import DEVICES
from magnet.errors import ArgumentError, MagNetError
from magnet_kernels import keep_freed_memory

__all__ = [
    "Network",
    "autocast",
    "check_amp",
    "check_device",
    "keep_memory_on",
    "pick_device",
    "predictor",
    "send",
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


def send(values: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; to a GPU by pinned memory, so that the host does not wait for what that computes."""
    if values.device.type != "cpu" or device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


Network = TypeVar("Network", bound=nn.Module)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network, weights in channels_last, which convolutions are fastest in."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def keep_memory_on(device: torch.device) -> None:
    """Let this command keep the memory that its networks free, where they run on the CPU."""
    if device.type == "cpu":
        keep_freed_memory()


def check_device(argument: str, text: str) -> None:
    """Raises ArgumentError for anything but auto, cpu, cuda and cuda:N, as for "meta", on which nothing is computed."""
    if not re.fullmatch(DEVICES, text):
        raise ArgumentError(f"{argument}: expected auto, cpu, cuda or cuda:N, got '{text}'")
