"""Everything a training run depends on, as one YAML file gives it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "GeneratedConfig",
    "ListsConfig",
    "OptimConfig",
    "RefinerConfig",
    "SegmenterConfig",
    "SplitConfig",
    "TrainConfig",
    "WalkConfig",
    "with_steps",
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
class ListsConfig:
    """List files of the splits, relative to ``data.root``: lines ``image<TAB>label`` that are relative to it, too.

    Args:
        train: images to train on.
        val: images to validate on.
        test: images to evaluate on.
    """

    train: str = ""
    val: str = ""
    test: str = ""


@dataclass
class SplitConfig:
    """How deepglobe and gleason, which come without splits, are split where ``lists`` are empty.

    Args:
        val: fraction of the images to validate on; empty = that of the format.
        test: fraction of the images to evaluate on; empty = that of the format.
        seed: seed of the choice; the same on every machine.
    """

    val: float | None = None
    test: float | None = None
    seed: int = 0


@dataclass
class DataConfig:
    """Where the images are.

    Args:
        root: folder that the paths below are relative to, and the place of cityscapes, deepglobe and gleason; empty =
            MAGNET_DATA of the environment, or the current folder.
        format: "folder" (images/, labels/, classes.txt, a list a split), "cityscapes", "deepglobe", "gleason", "yaml"
            (the description ``file``), or "list" (``lists`` and ``classes``).
        folders: data folders (folder). The first is validated and evaluated on; the others only add training images.
            Empty = root itself.
        file: YAML file with the folders or lists of each split, classes and ignored values (yaml).
        lists: list files (list), or instead of the folders' own splits (cityscapes, deepglobe, gleason).
        classes: names of the classes, or one file of lines "id name" (list); empty = classes.txt.
        split: fractions and seed of the splits (deepglobe, gleason).
        unknown: whether unlabelled pixels (deepglobe) are ignored, or a class of their own, number 0.
        unmatched: what colours of no class mean (deepglobe): an error, ignored pixels, or binarized channels.
        annotator: whose labels (gleason): "majority", a number from 1 to 6, or "random" for each training sample.
        corrupt: "error" stops at a file that cannot be read; "skip" reads all at the start, names and skips those.
        accept: what would be an error, declared to be meant: "absent" (classes without a pixel in the training split),
            "ignored" (many pixels of 255 where nothing else declares that it is ignored), "lossy" (JPEG labels).
        generated: scenes made by the program instead.
        cache_mb: memory for decoded images of each data set; what does not fit is read again at every use.
        workers: processes that make training samples while the network trains; 0 = none. The samples stay the same.
    """

    root: str = ""
    format: Literal["folder", "cityscapes", "deepglobe", "gleason", "yaml", "list"] = "folder"
    folders: list[str] = field(default_factory=list)
    file: str = ""
    lists: ListsConfig = field(default_factory=ListsConfig)
    classes: list[str] = field(default_factory=list)
    split: SplitConfig = field(default_factory=SplitConfig)
    unknown: Literal["ignore", "class"] = "ignore"
    unmatched: Literal["error", "ignore", "binarize"] = "error"
    annotator: Literal["majority", "random", 1, 2, 3, 4, 5, 6] = "majority"
    corrupt: Literal["error", "skip"] = "error"
    accept: list[Literal["absent", "ignored", "lossy"]] = field(default_factory=list)
    generated: GeneratedConfig = field(default_factory=GeneratedConfig)
    cache_mb: int = 4096
    workers: int = 2


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
        points_by: how the finished model chooses them: "score" (the paper's), "uncertainty" or "random".
        follow_image: let the finished model's scales follow each image's aspect and size.
        match_colours: let it bring each image's colours to those of the training images first.
    """

    scales: list[tuple[int, int]]
    patch_size: tuple[int, int]
    input_size: tuple[int, int] | None = None
    n_points: int | float = 0.5
    n_patches: int | list[int] = 4
    kernel_size: int = 3
    points_by: Literal["score", "uncertainty", "random"] = "score"
    follow_image: bool = False
    match_colours: bool = False


@dataclass
class AugmentConfig:
    """Random changes of the training images.

    Args:
        flip: probability of a left-right flip.
        flip_vertical: probability of an upside-down flip.
        rotate: largest rotation in degrees.
        crop: "centred" = a patch is drawn, then turned and magnified about its centre; "random" = the whole image is
            magnified, and a patch cut anywhere in it. Where there is no image, the patch is padded and ignored.
        zoom: least and largest magnification; drawn evenly with crop "random", else evenly in its logarithm.
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
    crop: Literal["centred", "random"] = "centred"
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
    name: "adamw" or "sgd".
    lr: highest learning rate.
    momentum: momentum of "sgd".
    weight_decay: weight decay.
    decay_norms: decay biases and the weights of norms too, not only those of convolutions.
    schedule: how the rate falls: "cosine" and "poly" (power 0.9) to 0, "step" by 10 at ``steps``, or "constant".
    steps: fractions of the run at which "step" falls.
    warmup: fraction of the run during which the rate rises from 0.
    clip: largest norm of the gradient; 0 = no limit.
    ema: decay of the averaged weights that are validated and kept; 0 = the weights themselves.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    lr: float = 2e-3
    momentum: float = 0.9
    weight_decay: float = 1e-2
    decay_norms: bool = False
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
        weights: ImageNet weights to start the backbone from: a .safetensors, .pth or .pt file in torchvision's layout
            of ResNet-50 (fpn) or ResNet-101 (psp), or in HRNet's (hrnet18+ocr, hrnet48+ocr).
        iterations: optimiser steps; 0 = counted by ``epochs``.
        epochs: passes over the training images, instead of iterations; 0 = counted by ``iterations``.
        batch_size: images a step, over all processes.
        accumulate: parts that a step's images are cut into, one after the other, where memory is short.
        scale_weights: how often each scale is drawn; empty = evenly.
        class_weights: weight of each class in the cross-entropy; empty = equal.
        loss: "ce", or "ohem" for the hard pixels only.
        ohem_threshold: pixels whose true class is less probable than this are hard.
        ohem_min_kept: pixels of a batch that are kept at least, hard or not.
        aux_weight: weight of the loss of the auxiliary head, in networks that have one.
        dice: weight of a soft Dice loss added to it.
        augment: random changes of the images.
        optim: optimiser.
        val_every: steps between validations; 0 = only at the end.
        patience: validations without a better score after which the stage ends; 0 = never.
        val_images: images validated on; 0 = all.
    """

    network: str = "compact"
    init: str = ""
    weights: str = ""
    iterations: int = 0
    epochs: float = 0
    batch_size: int = 8
    accumulate: int = 1
    scale_weights: list[float] = field(default_factory=list)
    class_weights: list[float] = field(default_factory=list)
    loss: Literal["ce", "ohem"] = "ce"
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000
    aux_weight: float = 0.4
    dice: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    val_every: int = 500
    patience: int = 0
    val_images: int = 0


@dataclass
class RefinerConfig:
    """The second stage: refinement modules between the predictions of the frozen segmenter.

    Args:
        iterations: optimiser steps; 0 = counted by ``epochs``.
        epochs: passes over the training images, instead of iterations; 0 = counted by ``iterations``.
        batch_size: chains a step, over all processes. A chain is a whole image and, inside it, one patch of each later
            scale.
        accumulate: parts that a step's chains are cut into, one after the other, where memory is short.
        crop: (H, W) of the part of each patch that the loss is taken on; empty = the whole patch.
        per_scale: one module for each later scale instead of one for all.
        pairs: the coarse input: "first" = the first scale's prediction, "accumulated" = what inference feeds.
        class_weights: weight of each class in the cross-entropy; empty = equal.
        loss: "ce", or "ohem" for the hard pixels only.
        ohem_threshold: pixels whose true class is less probable than this are hard.
        ohem_min_kept: pixels of a batch that are kept at least, hard or not.
        dice: weight of a soft Dice loss added to it.
        augment: random changes of colour, and flips.
        optim: optimiser.
        val_every: steps between validations; 0 = only at the end.
        patience: validations without a better score after which the stage ends; 0 = never.
        val_chains: chains validated on.
    """

    iterations: int = 0
    epochs: float = 0
    batch_size: int = 4
    accumulate: int = 1
    crop: tuple[int, int] | None = None
    per_scale: bool = False
    pairs: Literal["first", "accumulated"] = "accumulated"
    class_weights: list[float] = field(default_factory=list)
    loss: Literal["ce", "ohem"] = "ce"
    ohem_threshold: float = 0.7
    ohem_min_kept: int = 100_000
    dice: float = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    val_every: int = 200
    patience: int = 0
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
        amp: "bf16" or "fp16" computes convolutions in that type; "fp16" scales the loss to keep small gradients.
        compile: compile the trained network with torch.compile.
        sync_bn: batch normalisation over the images of all processes, where there are several.
        resume: continue a stage from its last training state in the run's folder, and leave out finished stages.
        checkpoint_every: steps between saved training states; 0 = only when stopped and at the end of a stage.
        tensorboard: write scalars and pictures for TensorBoard to the run's folder (needs the package tensorboard).
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
    amp: Literal["none", "bf16", "fp16"] = "none"
    compile: bool = False
    sync_bn: bool = True
    resume: bool = False
    checkpoint_every: int = 200
    tensorboard: bool = False
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


def with_steps(config: TrainConfig, num_images: int) -> TrainConfig:
    """The configuration with both stages' ``iterations`` counted out where ``epochs`` are given.

    Args:
        config: a run.
        num_images: training images, all of which one epoch sees.
    """

    def steps(stage: SegmenterConfig | RefinerConfig) -> int:
        if stage.epochs == 0:
            return stage.iterations
        return max(1, math.ceil(stage.epochs * num_images / stage.batch_size))

    segmenter, refiner = config.segmenter, config.refiner
    return replace(
        config,
        segmenter=replace(segmenter, iterations=steps(segmenter)),
        refiner=replace(refiner, iterations=steps(refiner)),
    )
