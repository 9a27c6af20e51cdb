"""Where networks run, and in which precision."""

from __future__ import annotations

import functools
import logging
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
    "check_device",
    "computes_bf16",
    "keep_memory_on",
    "pick_amp",
    "pick_device",
    "predictor",
    "resolve_amp",
    "send",
    "to_device",
]

_LOG = logging.getLogger("magnet")

# by oneDNN, which computes the convolutions: AVX-512 or newer. Asked once, as a compiled graph could not ask
_CPU_BF16 = torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


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


def computes_bf16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 have a fast way there. A CPU without one is right, but many times slower."""
    return device.type != "cpu" or _CPU_BF16


@functools.cache
def _tell_slow_bf16() -> None:
    """Tell, once a process, that bfloat16 was asked of a CPU without it."""
    _LOG.warning(
        "amp: networks are many times slower in bf16 than in float32 on this processor, which does not compute in "
        "bfloat16, as those with AVX-512 do; use amp='auto' or 'none' (--amp auto)"
    )


def resolve_amp(device: torch.device, amp: str) -> str:
    """The precision of the name: "auto" is "bf16" where the device computes in it, else "none".

    A CPU without bfloat16 that is asked for it by name is told of.
    """
    fast = computes_bf16(device)
    if amp == "auto":
        return "bf16" if fast else "none"
    if amp == "bf16" and not fast and not torch.compiler.is_compiling():
        _tell_slow_bf16()
    return amp


def pick_amp(device: torch.device, amp: str) -> str:
    """:func:`resolve_amp`, of which a convolution is tried, forward and backward.

    Raises:
        MagNetError: this torch or this processor cannot do it.
    """
    amp = resolve_amp(device, amp)
    if amp == "none":
        return amp
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
    return amp


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
