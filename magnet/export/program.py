"""The whole walk of a model over one image of one size, as a program of torch.export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from magnet.bounds import Size
from magnet.errors import ArgumentError, MagNetError
from magnet.export.exporters import quiet, reason
from magnet.images.tensors import normalize
from magnet.model.magnet import MagNet
from magnet.walk.maps import labels_at
from magnet.walk.traced import traced_points
from magnet_kernels.ops.checked_input import checked_input

__all__ = ["INPUT", "OUTPUTS", "check_settings", "frozen", "trace"]

INPUT, OUTPUTS = "image", ("labels", "probabilities")


class _Walk(nn.Module):
    """(1, channels, H, W) in [0, 1] -> labels (1, H, W), uint8 where that does, and probabilities (1, C, h, w)."""

    def __init__(self, model: MagNet, shape: list[int] | None) -> None:
        super().__init__()
        self.model, self.shape, self.device = model, shape, model.device.type

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        if self.shape is not None:
            image = checked_input(image, self.shape, self.device)
        probabilities = self.model(normalize(image))
        labels = labels_at(probabilities[0], (image.shape[-2], image.shape[-1]))[None]
        return labels.to(torch.uint8) if probabilities.shape[1] <= 256 else labels, probabilities


def check_settings(model: MagNet, size: Size) -> None:
    """Raise ArgumentError where a model's settings cannot be traced for images of ``size`` (H, W)."""
    if model.settings.compat != "paper":
        raise ArgumentError(
            f"compat: expected 'paper' to export a model, got {model.settings.compat!r}, whose walk is no graph; use "
            "a model with compat='paper'"
        )
    try:
        traced_points(model.settings, model.plan(size))
    except ValueError as error:
        raise ArgumentError(error) from error


@contextlib.contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Without gradients of its weights: a program keeps whether they have some, and who runs it would record them."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def trace(model: MagNet, size: Size, *, checked: bool = False) -> torch.export.ExportedProgram:
    """The program of a model for images of ``size`` (H, W), on the device of the model.

    With ``checked`` its first operator refuses any other input: of the program's own checks AOTInductor compiles none,
    and torch.export makes none of some types.

    Raises:
        MagNetError: the networks cannot be traced.
    """
    image = torch.full((1, model.inputs.channels, *size), 0.5, device=model.device)
    try:
        with quiet():
            shape = list(image.shape) if checked else None
            return torch.export.export(_Walk(model, shape).eval(), (image,))
    except Exception as error:
        raise MagNetError(
            f"model: expected networks that torch.export can trace, got an error ({reason(error)}); export the "
            "networks alone with torch.export, and find there what it cannot trace"
        ) from error
