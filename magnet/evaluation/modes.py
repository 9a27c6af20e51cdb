"""The ways to segment an image with one network that are compared."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from magnet.bounds import Size
from magnet.conventions import Finite
from magnet.evaluation.meter import free_memory, peak_memory, reset_peak_memory
from magnet.images.rasters.read_input import InputImage
from magnet.images.tensors import normalize, resize, to_tensor
from magnet.model.image_walk import ImageWalk
from magnet.model.magnet import MagNet
from magnet.walk.maps import labels_at, whole_image
from magnet.walk.plan import Plan
from magnet.walk.sliding import sliding_window
from magnet_kernels._freed_memory import return_freed_memory

__all__ = [
    "ALL_MODES",
    "MODES",
    "WALKS",
    "NotEnoughMemory",
    "density",
    "foresee_memory",
    "patches_of",
    "predict",
    "predict_pixels",
    "walk",
]

MODES = ("coarse", "sliding", "magnet", "fast")  # evaluated unless others are asked for
ALL_MODES = (*MODES, "full")
WALKS = ("magnet", "fast")  # those that go from scale to scale


class NotEnoughMemory(Exception):
    """One forward pass over the whole image does not fit into memory."""


def walk(model: MagNet, image: np.ndarray, mode: str, n_patches: int | Sequence[int | None]) -> ImageWalk:
    """The walk over one image in a mode of ``WALKS``, or in "coarse": no patches.

    Args:
        model: a MagNet.
        image: (H, W, C) as the networks see it, uint8 or float32 in [0, 1].
        mode: "magnet": every patch of every scale; "fast": ``n_patches`` of each scale.
        n_patches: of "fast".
    """
    seen = InputImage(image, None, (image.shape[0], image.shape[1]), 1)
    return model.walk(seen, probabilities=False, n_patches=patches_of(mode, n_patches), progress=False)


def patches_of(mode: str, n_patches: int | Sequence[int | None]) -> int | Sequence[int | None] | None:
    """The setting ``n_patches`` of a walk in a mode of ``WALKS``, or in "coarse"; ``n_patches`` is that of "fast"."""
    return {"magnet": None, "fast": n_patches, "coarse": 0}[mode]


def predict(model: MagNet, image: np.ndarray, mode: str) -> Tensor:
    """Segment one image in one of the modes that are no walk.

    Args:
        model: in evaluation mode.
        image: (H, W, C) as the networks see it, uint8 or float32 in [0, 1].
        mode: "coarse": the first scale alone; "sliding": the network on patches of the last scale, as it sees them
            there, overlaps averaged, without refinement; "full": the same magnification in one pass over the whole
            image.

    Returns:
        (H, W) int64 labels at the size of the image, on the model's device.

    Raises:
        NotEnoughMemory: in mode "full".
    """
    size = (image.shape[0], image.shape[1])
    if mode == "coarse" and model.compat == "official":
        coarse = walk(model, image, mode, 0)
        deque(coarse, maxlen=0)
        return coarse.prediction.labels
    return predict_pixels(model, model.matched(to_tensor(image).to(model.device)[None]), mode, model.plan(size), size)


def predict_pixels(model: MagNet, pixels: Tensor, mode: str, plan: Plan, size: Size) -> Tensor:
    """As :func:`predict`, of pixels (1, 3, h, w) in [0, 1] of an image, whose colours are matched, at any size.

    Args:
        model: in evaluation mode.
        pixels: of the image.
        mode: as of :func:`predict`.
        plan: of the walk over the image.
        size: (H, W) of the labels.
    """
    if mode == "coarse":
        probabilities = model.segment(whole_image(normalize(pixels), plan.scales[0], plan.whole))
    elif mode == "sliding":
        seen, window = density(plan)
        probabilities = sliding_window(model.segment, resize(pixels, seen), window)
    else:
        probabilities = _one_pass(model, resize(normalize(pixels), density(plan)[0]))
    finite = Finite(model)
    finite.look(probabilities, f"mode '{mode}'", probabilities.shape[-2:])
    finite.finish()
    return labels_at(probabilities[0], size)


def density(plan: Plan) -> tuple[Size, Size]:
    """The whole image at the density of pixels at which the network sees patches of the last scale, and a patch."""
    if len(plan.scales) == 1:
        return plan.whole, plan.whole
    (h, w), (ih, iw), (ph, pw) = plan.scales[-1], plan.input_size, plan.patch_size
    return (max(ih, round(h * ih / ph)), max(iw, round(w * iw / pw))), plan.input_size


def _one_pass(model: MagNet, image: Tensor) -> Tensor:
    try:
        return model.segment(image)
    except torch.cuda.OutOfMemoryError as error:
        total = torch.cuda.get_device_properties(image.device).total_memory / 2**30
        raise NotEnoughMemory(f"{_pass(image.shape[-2:])} needs more than the {total:.0f} GiB of the GPU") from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise NotEnoughMemory(f"{_pass(image.shape[-2:])} needs more memory than the system gives") from error


def _pass(size: Sequence[int]) -> str:
    return f"out of memory: one pass over {size[0]}x{size[1]} pixels (HxW)"


def foresee_memory(model: MagNet, size: Size) -> None:
    """Raise ``NotEnoughMemory`` where mode "full" would take more memory of the CPU than there is.

    A system that promises memory to all who ask ends the process that then uses it, so the need is foreseen from a
    pass over about a sixteenth of the pixels. On a GPU there is nothing to foresee: its allocator raises.

    Args:
        model: in evaluation mode.
        size: (H, W) of an image.
    """
    if model.device.type != "cpu":
        return
    (height, width), (h, w) = density(model.plan(size))
    times = max(1, math.isqrt(height * width // (16 * h * w)))  # a size that the network takes, as its input is
    share = times**2 * h * w / (height * width)
    if share > 0.25:
        return  # not much larger than what the network has seen
    image = torch.zeros(1, model.inputs.channels, h * times, w * times)
    reset_peak_memory(image.device)
    before = peak_memory(image.device)
    model.segment(image)
    needed = (peak_memory(image.device) - before) / share
    return_freed_memory()  # of this pass: it is free
    free = free_memory()
    if needed > free:
        raise NotEnoughMemory(
            f"{_pass((height, width))} needs about {needed / 1024:.1f} GiB, and {free / 1024:.1f} GiB are free"
        )
