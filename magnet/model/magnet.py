"""MagNet: from a coarse prediction of the whole image to a fine one, scale by scale.

Source: Huynh, Tran, Luu, Hoai, "Progressive Semantic Segmentation", CVPR 2021.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from magnet.checks import check_count, check_size
from magnet.conventions import can_look, check_logits, check_normalized
from magnet.errors import shown
from magnet.images.large import open_image
from magnet.images.match_colours import match_channels
from magnet.images.read import IMAGENET_MEAN, IMAGENET_STD, normalize, rgb_array, to_tensor
from magnet.walk import official, settings
from magnet.walk import paper as walk
from magnet.walk.plan import Plan, plan_walk
from magnet.walk.points_by import CHOICES

if TYPE_CHECKING:
    from magnet.model.prediction import Prediction, Stage

__all__ = ["MagNet"]

Compat = Literal["paper", "official"]
Size = Sequence[int]
_PIXELS_PER_PASS = 1 << 18  # 128 channels of so many pixels take 128 MB in float32


class MagNet(nn.Module):
    """Progressive semantic segmentation with any segmenter.

    The whole image is predicted small; then, at each later scale, patches are predicted at higher magnification,
    refined against what is known so far, and written over the pixels where the coarse answer is unsure and the fine
    one is sure.

    The scales are sizes that every image is resized to, so an image of another aspect is squeezed: give scales of the
    aspect that the images have, or ``follow_image=True``. Patches are spread evenly, the last one flush with the
    border, and overlaps averaged.

    Args:
        segmenter: maps normalised images (N, 3, h, w) to logits (N, C, h, w).
        refiner: a module (fine, coarse) -> logits that serves all scales, a list with one for each scale after the
            first (a list of one serves all), or None: fine predictions are used as they are.
        scales: sizes (H, W) from coarse to fine, 1 to 32, each of at most 2**32 pixels.
        patch_size: (H, W) of the patches cut at each scale after the first, no larger than these scales.
        input_size: (H, W) that the networks see, at most 2**28 pixels; None: ``patch_size``.
        n_points: pixels replaced at each scale: an int is a count, a float in (0, 1] a fraction of the pixels of the
            patches that were looked at.
        n_patches: None is MagNet, which looks at all patches; a number is MagNet-Fast, which looks at the most
            uncertain ones; 0 leaves the coarse prediction. Or a list of these, one for each scale after the first.
        kernel_size: of the median filter on the scores, odd, 1 to 15.
        follow_image: let the scales follow each image: its aspect is kept, and no scale is larger than the image, so
            that small images have fewer of them; magnification from scale to scale stays (see ``magnet.walk.plan``).
        points_by: how the pixels to replace are chosen: "score" is the paper's, unsure before and sure now;
            "uncertainty" asks only where the map was unsure; "random" takes any. All pixels: ``n_points=1.0``.
        compat: "paper" is the method as published; "official" gives the numbers of the public release, quirks
            included (see ``magnet.walk.official``).
        batch_size: patches in one forward pass of the networks; None: 1 to 16, fewer the larger they are, which keeps
            memory in bounds.
        amp: "bf16" runs the networks under bfloat16 autocast; maps and scores stay in float32.
        progress: show a progress bar; None: on a terminal, once the walk has taken two seconds.
        colour_statistics: mean and standard deviation of R, G and B in [0, 1] over the training images, ((3), (3)),
            kept with the model.
        match_colours: bring the mean and deviation of each image's channels to ``colour_statistics`` first, for images
            of another camera, lighting or staining than those trained on.
        class_names: one name for each class, kept with the model.
        colours: one RGB triple (0..255) for each class, kept with the model.

    ``n_points``, ``n_patches``, ``kernel_size``, ``follow_image``, ``points_by``, ``match_colours``,
    ``batch_size``, ``amp`` and ``progress`` may be changed later.

    Raises:
        TypeError, ValueError: an argument is not as above, or segmenter and refiner differ in their classes.
    """

    _looked_at: frozenset[str] = frozenset()  # whose numbers were checked; of the class for models pickled without it

    def __init__(
        self,
        segmenter: nn.Module,
        refiner: nn.Module | Sequence[nn.Module] | None,
        *,
        scales: Sequence[Size],
        patch_size: Size,
        input_size: Size | None = None,
        n_points: int | float,
        n_patches: int | Sequence[int | None] | None = None,
        kernel_size: int = 3,
        follow_image: bool = False,
        points_by: str = "score",
        compat: Compat = "paper",
        batch_size: int | None = None,
        amp: Literal["none", "bf16"] = "none",
        progress: bool | None = None,
        colour_statistics: Sequence[Sequence[float]] | None = None,
        match_colours: bool = False,
        class_names: Sequence[str] | None = None,
        colours: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if compat not in ("paper", "official"):
            raise ValueError(f"compat: expected 'paper' or 'official', got {shown(compat)}")
        self.compat = compat
        self.scales = settings.check_scales(scales)
        self.patch_size = settings.check_patch_size(patch_size, self.scales, official=compat == "official")
        self.input_size = settings.check_input_size(self.patch_size if input_size is None else input_size)
        self.n_points = n_points
        self.n_patches = n_patches
        self.kernel_size = kernel_size
        self.follow_image = follow_image
        self.points_by = points_by
        self.batch_size = batch_size
        self.amp = amp
        self.progress = progress
        self.colour_statistics = settings.check_colour_statistics(colour_statistics)
        self.match_colours = match_colours
        self.info: dict[str, Any] | None = None  # what save_pretrained keeps beside the settings

        refiners = settings.check_refiners(refiner, len(self.scales))
        self.num_classes = settings.find_num_classes(segmenter, refiners)
        self.class_names = settings.check_class_names(class_names, self.num_classes)
        self.colours = settings.check_colours(colours, self.num_classes)
        self.segmenter = segmenter
        self.refiners = nn.ModuleList(refiners)

    # Settings that may change between images are checked whenever they are set.
    @property
    def n_points(self) -> int | float:
        return self._n_points

    @n_points.setter
    def n_points(self, value: int | float) -> None:
        self._n_points = settings.check_n_points(value)

    @property
    def n_patches(self) -> int | list[int | None] | None:
        return self._n_patches

    @n_patches.setter
    def n_patches(self, value: int | Sequence[int | None] | None) -> None:
        self._n_patches = settings.check_n_patches(value, len(self.scales))

    @property
    def kernel_size(self) -> int:
        return self._kernel_size

    @kernel_size.setter
    def kernel_size(self, value: int) -> None:
        self._kernel_size = settings.check_kernel_size(value)

    @property
    def follow_image(self) -> bool:
        return self._follow_image

    @follow_image.setter
    def follow_image(self, value: bool) -> None:
        self._follow_image = settings.check_paper_only("follow_image", value, False, (False, True), self.compat)

    @property
    def points_by(self) -> str:
        return self._points_by

    @points_by.setter
    def points_by(self, value: str) -> None:
        self._points_by = settings.check_paper_only("points_by", value, "score", CHOICES, self.compat)

    @property
    def match_colours(self) -> bool:
        return self._match_colours

    @match_colours.setter
    def match_colours(self, value: bool) -> None:
        value = settings.check_paper_only("match_colours", value, False, (False, True), self.compat)
        if value and self.colour_statistics is None:
            raise ValueError(
                "match_colours: expected a model that keeps colour_statistics, got one without; train it again, or "
                "pass colour_statistics=(mean, deviation) of R, G and B in [0, 1] over its training images"
            )
        self._match_colours = value

    @property
    def batch_size(self) -> int | None:
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int | None) -> None:
        self._batch_size = None if value is None else check_count("batch_size", value)

    @property
    def patches_per_pass(self) -> int:
        """``batch_size``, or what stands for None."""
        if self.batch_size is not None:
            return self.batch_size
        pixels = _PIXELS_PER_PASS * (8 if self.device.type == "cuda" else 1)
        return min(max(pixels // (self.input_size[0] * self.input_size[1]), 1), 16)

    @property
    def amp(self) -> str:
        return self._amp

    @amp.setter
    def amp(self, value: str) -> None:
        if value not in ("none", "bf16"):
            raise ValueError(f"amp: expected 'none' or 'bf16', got {shown(value)}")
        self._amp = value

    @property
    def device(self) -> torch.device:
        """Where the networks are; images are moved there."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def patches_at(self, scale: int) -> int | None:
        """How many patches are looked at in ``scale`` (1 is the first after the coarse one); None: all."""
        return self.n_patches[scale - 1] if isinstance(self.n_patches, list) else self.n_patches

    def plan(self, size: Size) -> Plan:
        """The sizes that the walk takes for an image of ``size`` (H, W)."""
        return plan_walk(self, check_size("size", size, most=None))

    def refiner_at(self, scale: int) -> nn.Module | None:
        """The refiner of ``scale``; None where there is none."""
        return self.refiners[min(scale, len(self.refiners)) - 1] if len(self.refiners) else None

    def matched(self, images: Tensor) -> Tensor:
        """RGB (N, 3, H, W) in [0, 1] -> the same, in the colours of the training images if ``match_colours``."""
        if not self.match_colours or self.colour_statistics is None:
            return images
        return match_channels(images, *self.colour_statistics)

    def segment(self, images: Tensor) -> Tensor:
        """Class probabilities (N, C, h, w), float32, of normalised images (N, 3, h, w), without any refinement."""
        with self._autocast():
            logits = self.segmenter(images.contiguous(memory_format=self._memory_format))
        self._check_logits("segmenter", logits, (images.shape[0], *images.shape[2:]))
        if self._is_first("segmenter", logits):
            check_logits("segmenter", logits)
        return logits.float().softmax(dim=1)

    def merge(self, fine: Tensor, coarse: Tensor, scale: int) -> Tensor:
        """What the refiner of ``scale`` makes of two probability maps (N, C, h, w); ``fine`` where there is none."""
        refiner = self.refiner_at(scale)
        if refiner is None:
            return fine
        with self._autocast():
            logits = refiner(
                fine.contiguous(memory_format=self._memory_format), coarse.contiguous(memory_format=self._memory_format)
            )
        self._check_logits("refiner", logits, (fine.shape[0], *fine.shape[2:]), fine.shape[1])
        if self._is_first(f"refiner {min(scale, len(self.refiners))}", logits):
            check_logits("refiner", logits)
        return logits.float().softmax(dim=1)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) images of any size, normalised -> (N, C, *scales[-1]) class probabilities, float32.

        With ``follow_image`` their size is that of the last scale of :meth:`plan`.

        Runs in evaluation mode and records no gradients, whatever mode the modules are in. Under torch.compile and
        torch.export, where call ``eval()`` first, the images of a batch are worked on together, not one by one.

        Raises:
            TypeError, ValueError: ``images`` is no such tensor, or a network's output does not fit. On the first batch
                it is also told from the numbers whether images are normalised and outputs are logits.
            MagNetError: a network gave NaN or infinity; names the scale. Not looked for in traced models.
        """
        settings.check_images(images)
        if self._is_first("images", images):
            check_normalized(images)
        if self.match_colours:
            mean, std = (images.new_tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
            images = normalize(self.matched(images * std + mean))
        if torch.compiler.is_compiling():
            if self.compat != "paper" or any(module.training for module in self.modules()):
                raise RuntimeError(
                    "MagNet: expected evaluation mode and compat='paper' to be traced; call eval() first, or call the "
                    "model itself"
                )
            return walk.traced_walk(self, images)
        with self._evaluating(), self._bar(len(images), images.shape[-2:]) as bar:
            first = self._walk(images[:1], bar, None)
            if len(images) == 1:
                return first
            refined = first.new_empty(len(images), *first.shape[1:])
            refined[0] = first[0]
            for i in range(1, len(images)):
                refined[i] = self._walk(images[i : i + 1], bar, None)[0]
            return refined

    def predict(
        self,
        image: str | os.PathLike[str] | Image.Image | np.ndarray | Tensor,
        *,
        return_stages: bool = False,
        probabilities: bool = True,
        on_map: Callable[[Tensor], None] | None = None,
    ) -> Prediction:
        """Segment one image.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 RGB array, or a (3, H, W) tensor: uint8, or floats in [0, 1].
                A file past Pillow's size limit is shrunk to the last scale while it is read, strip by strip.
            return_stages: keep what each scale saw and did, for pictures; this keeps the map of every scale.
            probabilities: False returns labels alone, the same ones, and where the image has the size of the last scale
                no probabilities are made there, which saves time and memory.
            on_map: called with the map (1, C, h, w) that each later scale starts from, coarse first; it must not
                change them. It sees every scale but the last, and nothing is kept.

        Returns:
            A :class:`magnet.Prediction`; labels at the size of the image (of a file past Pillow's size limit: at the
            last scale; see ``Prediction.labels_in``), probabilities at the last scale, None where they were not asked
            for.

        Raises:
            MagNetError: the file is missing, corrupt or not an image; or a network gave NaN or infinity (names the
                scale).
            TypeError, ValueError: ``image`` is none of the above, or a network's output does not fit.
        """
        from magnet.model.prediction import Prediction

        image_size = None
        if isinstance(image, (str, os.PathLike)):
            opened = open_image(image)
            image, image_size = opened.at_most(self.plan(opened.size).scales[-1]), opened.size
        pixels = _pixels(image)
        size = _size_of(pixels)
        start = time.perf_counter()
        stages: list[Stage] | None = [] if return_stages else None
        with torch.inference_mode(), self._evaluating(), self._bar(1, size) as bar:
            source = (
                pixels if self.compat == "official" else normalize(self.matched(_floats(pixels, self.device)[None]))
            )
            if self._makes_labels(size) and not (probabilities or return_stages):
                result = None
                made = walk.paper_walk(self, cast(Tensor, source), bar, None, labels_only=True, on_map=on_map)
                labels = made[0].long()
            else:
                result = self._walk(source, bar, stages, on_map)[0]
                labels = walk.labels_at(result, size)
        seconds = time.perf_counter() - start
        kept = result if probabilities else None
        return Prediction(labels, kept, stages, seconds, image_size or size)

    def _makes_labels(self, size: tuple[int, int]) -> bool:
        """Whether the walk can end in labels of ``size`` without probabilities."""
        few = self.num_classes is not None and self.num_classes <= 256  # labels are bytes
        return self.compat == "paper" and few and size == self.plan(size).scales[-1]

    def _walk(
        self,
        image: Tensor | np.ndarray,
        bar: Any,
        stages: list[Stage] | None,
        on_map: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        if self.compat == "official":
            return official.official_walk(self, image, bar, stages, on_map=on_map)
        return walk.paper_walk(self, cast(Tensor, image), bar, stages, on_map=on_map)

    def _is_first(self, what: str, values: Tensor) -> bool:
        """Whether the numbers of ``what`` can be looked at, and were not before."""
        if not can_look(values) or what in self._looked_at:  # in this order: a compiled graph must not depend on it
            return False
        self._looked_at |= {what}
        return True

    @property
    def _memory_format(self) -> torch.memory_format:
        # channels_last convolutions are faster; the release's numbers were made without them
        return torch.contiguous_format if self.compat == "official" else torch.channels_last

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.amp == "none":
            return contextlib.nullcontext()  # an autocast around the call stays in force
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _check_logits(self, name: str, logits: Tensor, expected: tuple[int, ...], classes: int | None = None) -> None:
        classes = classes or self.num_classes
        n, *size = expected
        if not isinstance(logits, Tensor) or logits.ndim != 4 or (logits.shape[0], *logits.shape[2:]) != expected:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"{name}: expected logits (N, C, H, W) at the size of its input, ({n}, C, {size[0]}, {size[1]}), "
                f"got {got}; interpolate its output to the input size"
            )
        if logits.shape[1] < 2 or (classes is not None and logits.shape[1] != classes):
            raise ValueError(
                f"{name}: expected logits of {classes or 'at least 2'} classes, got {logits.shape[1]}; "
                "build segmenter and refiner with the same num_classes"
            )
        for argument, given in (("class_names", self.class_names), ("colours", self.colours)):
            if given is not None and len(given) != logits.shape[1]:
                raise ValueError(
                    f"{argument}: expected one for each of the {name}'s {logits.shape[1]} classes, got {len(given)}"
                )

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode for the time of the walk."""
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def _bar(self, images: int, size: Size) -> Any:
        hidden = None if self.progress is None else not self.progress
        total = images * walk.count_patches(self, plan_walk(self, (size[0], size[1])))
        return tqdm(
            total=total, desc="MagNet", unit="patch", leave=False, disable=hidden, delay=2 if hidden is None else 0
        )

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        half: bool = False,
        info: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``, made if it is not there.

        Args:
            folder: where to; an earlier model there is replaced, each file whole or not at all.
            half: store the larger weights in half precision; they are float32 again when loaded.
            info: more to keep in ``config.json``, such as licence and origin of the training data.
            overwrite: also replace files of these names that are not of a model of this library.

        Raises:
            MagNetError: the folder cannot be written to, holds such files, or a network is none of this library's.
        """
        from magnet.model.pretrained import save_pretrained

        save_pretrained(self, folder, half=half, info=info, overwrite=overwrite)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **changes: Any) -> MagNet:
        """Load a model that :meth:`save_pretrained` wrote, in evaluation mode, on the CPU.

        Args:
            folder: the folder, or the name of a model that comes with the library.
            changes: arguments of this class that replace the stored ones, such as ``n_patches=4``; ``num_classes=``
                asks for a model of that many classes.

        Raises:
            MagNetError: a file is missing, truncated or does not fit; names it and the likely fix.
            TypeError, ValueError: a change is no such argument, or not valid.
        """
        from magnet.model.pretrained import from_pretrained

        return from_pretrained(cls, folder, changes)

    def extra_repr(self) -> str:
        sizes = ("scales", "patch_size", "input_size")
        choices = ("n_points", "n_patches", "kernel_size", "follow_image", "points_by", "match_colours", "compat")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in (*sizes, *choices))


def _pixels(image: Any) -> np.ndarray | Tensor:
    """What :meth:`MagNet.predict` takes, paths aside -> (H, W, 3) uint8 or (3, H, W) float tensor in [0, 1]."""
    if isinstance(image, Image.Image):
        return rgb_array(image)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(
                f"image: expected an (H, W, 3) uint8 RGB array, got shape {image.shape} of {image.dtype}; "
                "convert it, or pass a (3, H, W) tensor"
            )
        return image
    if isinstance(image, Tensor):
        if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
            raise ValueError(
                f"image: expected one (3, H, W) tensor, got shape {tuple(image.shape)}; "
                "call the model itself on a batch of normalised images"
            )
        if image.dtype == torch.uint8:
            return image.permute(1, 2, 0).cpu().numpy()
        if not image.is_floating_point():
            raise TypeError(f"image: expected uint8 or floats in [0, 1], got {image.dtype}; convert it")
        image = image.detach().float()
        low, high = image.aminmax()
        if not (low >= 0 and high <= 1):  # also catches NaN
            raise ValueError(
                f"image: expected values in [0, 1], got {low.item():.3g} to {high.item():.3g}; "
                "divide by 255, or call the model itself on normalised images"
            )
        return image
    raise TypeError(
        "image: expected a path, a PIL image, an (H, W, 3) uint8 array or a (3, H, W) tensor, "
        f"got {type(image).__name__}"
    )


def _floats(pixels: np.ndarray | Tensor, device: torch.device) -> Tensor:
    return (to_tensor(pixels) if isinstance(pixels, np.ndarray) else pixels).to(device)


def _size_of(pixels: np.ndarray | Tensor) -> tuple[int, int]:
    height, width = pixels.shape[:2] if isinstance(pixels, np.ndarray) else pixels.shape[1:]
    return int(height), int(width)
