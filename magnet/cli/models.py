"""The model that a command line names, on the device that it asks for."""

from __future__ import annotations

from typing import Any

import torch

from magnet.cli.arguments import wrong_values
from magnet.devices import check_device, pick_amp, to_device
from magnet.errors import MagNetError
from magnet.model.magnet import MagNet

__all__ = ["load_model"]


def load_model(name: str, *, device: str | None = None, amp: str = "none", **changes: Any) -> MagNet:
    """A model by folder or name, on the device that was asked for or the best there is; None changes nothing."""
    if device in (None, "auto"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device("--device", device)
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MagNetError(f"--device: '{device}' cannot be used here ({reason}); leave it out") from error
    wanted = {key: value for key, value in changes.items() if value is not None}
    with wrong_values():
        model = MagNet.from_pretrained(name, amp=pick_amp(place, amp), **wanted)
    return to_device(model, place)
