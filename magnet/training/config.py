"""Everything a training run depends on, as one YAML file gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "GeneratedConfig",
    "OptimConfig",
    "RefinerConfig",
    "SegmenterConfig",
    "TrainConfig",
    "WalkConfig",
]


@dataclass
class GeneratedConfig:
    """Scenes made by ``magnet.scenes`` instead of files.

    Args:
        train: number of scenes to train on; 0 = read data folders instead.
        val: number of scenes to validate on.
        test: number of scenes to evaluate on.
        size: (H, W) of a scene.
        seed: seed of the first one; the splits follow each other and never share a seed.
    """

    train: int = 0
    val: int = 0
    test: int = 0
    size: tuple[int, int] = (1024, 2048)
    seed: int = 0


@dataclass
class DataConfig:
    """Where the images are.

    Args:
        root: folder that ``folders`` are relative to; empty = MAGNET_DATA of the environment, or the current folder.
        folders: data folders. The first is validated and evaluated on; the others only add training images.
        generated: scenes made by the program instead.
        cache_mb: memory for decoded images.
    """

    root: str = ""
    folders: list[str] = field(default_factory=list)
    generated: GeneratedConfig = field(default_factory=GeneratedConfig)
    cache_mb: int = 4096


@dataclass
class WalkConfig:
    """The walk from coarse to fine that is trained for. Sizes are (H, W).

    Args:
        scales: sizes the image is resized to, coarse to fine.
        patch_size: size of a patch cut at the later scales.
        input_size: size the network sees; empty = patch_size.
        n_points: pixels replaced at each scale: a count, or a fraction of the pixels.
        n_patches: patches looked at in each scale by MagNet-Fast: one number, or one for each later scale.
        kernel_size: median filter of the score.
    """

    scales: list[tuple[int, int]]
    patch_size: tuple[int, int]
    input_size: tuple[int, int] | None = None
    n_points: int | float = 0.5
    n_patches: int | list[int] = 4
    kernel_size: int = 3


@dataclass
class AugmentConfig:
    """Random changes of the training images.

    Args:
        flip: probability of a left-right flip.
        flip_vertical: probability of an upside-down flip.
        rotate: largest rotation in degrees.
        zoom: least and largest magnification.
        brightness: largest relative change of brightness.
        contrast: largest relative change of contrast.
        saturation: largest relative change of saturation.
        tint: largest relative change of one colour channel.
        gamma: largest change of the exponent, in powers of two.
        noise: largest standard deviation of pixel noise, image in [0, 1].
    """

    flip: float = 0.5
    flip_vertical: float = 0.0
    rotate: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    tint: float = 0.05
    gamma: float = 0.3
    noise: float = 0.0


@dataclass
class OptimConfig:
    """Args:
    name: "adamw" or "sgd" (momentum 0.9).
    lr: highest learning rate.
    weight_decay: weight decay.
    schedule: how the rate falls: "cosine" and "poly" (power 0.9) to 0, "step" by 10 at ``steps``, or "constant".
    steps: fractions of the run at which "step" falls.
    warmup: fraction of the run during which the rate rises from 0.
    clip: largest norm of the gradient; 0 = no limit.
    ema: decay of the averaged weights that are validated and kept; 0 = the weights themselves.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    weight_decay: float = 1e-2
    schedule: Literal["cosine", "poly", "step", "constant"] = "cosine"
    steps: list[float] = field(default_factory=lambda: [0.6, 0.85])
    warmup: float = 0.05
    clip: float = 1.0
    ema: float = 0.99


@dataclass
class SegmenterConfig:
    """The first stage: one network, trained on the whole image and on patches of every later scale.

    Args:
        network: name for ``magnet.build_segmenter``.
        init: a model to start from: its folder, or the name of a bundled one. Layers of another shape start anew.
        iterations: optimiser steps.
        batch_size: images a step.
        scale_weights: how often each scale is drawn; empty = evenly.
        class_weights: weight of each class in the cross-entropy; empty = equal.
        loss: "ce" or "ohem".
        dice: weight of a soft Dice loss added to it.
        augment: random changes of the images.
        optim: optimiser.
        val_every: steps between validations; 0 = only at the end.
        val_images: images validated on; 0 = all.
    """

    network: str = "compact"
    init: str = ""
    iterations: int = 2000
    batch_size: int = 8
    scale_weights: list[float] = field(default_factory=list)
    class_weights: list[float] = field(default_factory=list)
    loss: Literal["ce", "ohem"] = "ce"
    dice: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    val_every: int = 500
    val_images: int = 0


@dataclass
class RefinerConfig:
    """The second stage: refinement modules between the predictions of the frozen segmenter.

    Args:
        iterations: optimiser steps.
        batch_size: chains a step. A chain is a whole image and, inside it, one patch of each later scale.
        crop: (H, W) of the part of each patch that the loss is taken on; empty = the whole patch.
        per_scale: one module for each later scale instead of one for all.
        pairs: the coarse input: "first" = the first scale's prediction, "accumulated" = what inference feeds.
        class_weights: weight of each class in the cross-entropy; empty = equal.
        loss: "ce" or "ohem" (threshold 0.7).
        dice: weight of a soft Dice loss added to it.
        augment: random changes of colour, and flips.
        optim: optimiser.
        val_every: steps between validations; 0 = only at the end.
        val_chains: chains validated on.
    """

    iterations: int = 600
    batch_size: int = 4
    crop: tuple[int, int] | None = None
    per_scale: bool = False
    pairs: Literal["first", "accumulated"] = "accumulated"
    class_weights: list[float] = field(default_factory=list)
    loss: Literal["ce", "ohem"] = "ce"
    dice: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    val_every: int = 200
    val_chains: int = 24


@dataclass
class TrainConfig:
    """A whole run.

    Args:
        name: name of the model.
        walk: scales, patch and input size, points.
        data: where the images are.
        out: folder for checkpoints, log and model.
        stage: "segmenter", "refiner", or "all".
        seed: seed of everything random; the same seed on the CPU gives the same weights.
        device: "auto", "cpu" or "cuda".
        amp: "bf16" computes convolutions in bfloat16.
        half: store the model's larger weights in half precision.
        info: texts kept with the model, such as origin and licence of the data.
        segmenter: first stage.
        refiner: second stage.
    """

    name: str
    walk: WalkConfig
    data: DataConfig = field(default_factory=DataConfig)
    out: str = "runs"
    stage: Literal["segmenter", "refiner", "all"] = "all"
    seed: int = 0
    device: str = "auto"
    amp: Literal["none", "bf16"] = "none"
    half: bool = False
    info: dict[str, str] = field(default_factory=dict)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    refiner: RefinerConfig = field(default_factory=RefinerConfig)

    @property
    def input_size(self) -> tuple[int, int]:
        return self.walk.input_size or self.walk.patch_size

    @property
    def network_sizes(self) -> list[tuple[int, int]]:
        """(H, W) of the whole image at each scale, at the pixel density that the network sees there."""
        (ih, iw), (ph, pw) = self.input_size, self.walk.patch_size
        return [self.input_size] + [(round(h * ih / ph), round(w * iw / pw)) for h, w in self.walk.scales[1:]]
