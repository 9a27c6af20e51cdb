"""Everything a training run depends on, as one YAML file gives it, and what each value may be.

The fields' types are checked where a configuration is read (``magnet.cli.config``) and before a run
(``magnet.training.checks``); what concerns several fields is in the latter.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from magnet.bounds import (
    MAX_COUNT,
    MAX_INT,
    MAX_SCALE_PIXELS,
    MAX_SCALES,
)
from magnet.data.config import DataConfig
from magnet.data.kinds import Device, Flag, Name, Note, ScaleSize, Text, Weight, number, said, whole
from magnet.walk.settings import WalkSettings

__all__ = [
    "AugmentConfig",
    "OptimConfig",
    "RefinerConfig",
    "SegmenterConfig",
    "TrainConfig",
    "WalkConfig",
    "WrapConfig",
    "with_steps",
]

_Loss = Literal["ce", "ohem"]
_Count = Annotated[int, whole(0, MAX_COUNT)]
_ClassWeights = Annotated[list[Weight], said(description="weights of 0 to 1000000, one a class")]
_Threshold = Annotated[float, number(0, 1, above=True, description="a probability above 0, up to 1")]
_Kept = Annotated[int, whole(0, MAX_COUNT, description=f"a count of pixels, 0 to {MAX_COUNT}")]
_Batch = Annotated[int, whole(1, 2**16)]
_Iterations = Annotated[int, whole(0, MAX_COUNT, "0 = counted by epochs")]
_Epochs = Annotated[float, number(0, 1e6, "0 = counted by iterations")]
_Every = Annotated[int, whole(0, MAX_COUNT, "0 = only at the end")]
_Patience = Annotated[int, whole(0, MAX_COUNT, "0 = never stop early")]
_Output = Annotated[
    Text | Annotated[int, whole(-1000, 1000)], said(description="a key or attribute name, or a whole number")
]
_Channels = Annotated[
    list[Annotated[float, number(-1000, 1000)]], said(description="a list of numbers, one a channel, or [] for none")
]
_Args = Annotated[dict[Text, Any], said(description="names and values, as {classes: 5}")]
_Probability = Annotated[float, number(0, 1, description="a probability, 0 to 1")]
_Change = Annotated[float, number(0, 10, "0 = no change")]


@dataclass
class WalkConfig:
    """The walk from coarse to fine that is trained for, as a file gives it. Sizes are (H, W).

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
        flips: let it average the segmenter's answers over mirrored images: "horizontal", or "both" directions.
    """

    scales: Annotated[
        list[ScaleSize],
        Field(
            min_length=1,
            max_length=MAX_SCALES,
            description=f"1 to {MAX_SCALES} sizes [height, width], coarse to fine, of 1 to {MAX_SCALE_PIXELS} pixels",
        ),
    ]
    patch_size: ScaleSize
    input_size: ScaleSize | None = None
    n_points: Annotated[
        Annotated[int, whole(0, MAX_INT)] | Annotated[float, number(0, 1, above=True)],
        said(description="a count of pixels, or a fraction above 0, up to 1, as 0.5"),
    ] = 0.5
    n_patches: Annotated[
        Annotated[int, whole(0, MAX_COUNT)] | list[_Count],
        said(description="a count of patches, or a list of one for each later scale"),
    ] = 4
    kernel_size: Annotated[int, whole(1, 15, description="an odd number from 1 to 15 (1 = no median)")] = 3
    points_by: Literal["score", "uncertainty", "random"] = "score"
    follow_image: Flag = False
    match_colours: Flag = False
    flips: Literal["none", "horizontal", "both"] = "none"

    def settings(self, **others: Any) -> WalkSettings:
        """What the section says as the settings of a walk, with ``others`` beside or in place of its own.

        Raises:
            TypeError, ValueError: they do not fit together; begins with the setting's name.
        """
        return WalkSettings(**{**vars(self), **others})


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

    flip: _Probability = 0.5
    flip_vertical: _Probability = 0.0
    rotate: Annotated[float, number(0, 180, "180 = any angle")] = 0.0
    crop: Literal["centred", "random"] = "centred"
    zoom: Annotated[
        tuple[Annotated[float, number(0.01, 100)], Annotated[float, number(0.01, 100)]],
        said(description="two magnifications of 0.01 to 100, least and largest"),
    ] = (1.0, 1.0)
    brightness: _Change = 0.2
    contrast: _Change = 0.2
    saturation: _Change = 0.2
    tint: _Change = 0.05
    gamma: _Change = 0.3
    noise: _Change = 0.0


@dataclass
class OptimConfig:
    """How a stage is optimised.

    Args:
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
    lr: Annotated[float, number(0, 1000, above=True)] = 2e-3
    momentum: Annotated[float, number(0, 1, below=True)] = 0.9
    weight_decay: Annotated[float, number(0, 1000)] = 1e-2
    decay_norms: Flag = False
    schedule: Literal["cosine", "poly", "step", "constant"] = "cosine"
    steps: Annotated[list[_Probability], said(description="fractions of the run, 0 to 1")] = field(
        default_factory=lambda: [0.6, 0.85]
    )
    warmup: Annotated[float, number(0, 1, description="a fraction of the run, 0 to 1")] = 0.05
    clip: Annotated[float, number(0, 1e12, "0 = no limit")] = 1.0
    ema: Annotated[float, number(0, 1, below=True, description="a decay from 0 to below 1")] = 0.99


@dataclass
class WrapConfig:
    """What a network of ``segmenter.factory`` takes and returns, see ``magnet.wrap``.

    Args:
        output: what to take of its result, a key, attribute or index; "auto" finds the logits.
        divisor: its images' sides are padded to multiples of this.
        mean: that it expects to be subtracted from images in [0, 1]; empty = that of the folder of weights, else
            ImageNet's; [] = nothing.
        std: that it expects the rest to be divided by; empty = that of the folder of weights, else ImageNet's; [] =
            nothing.
        binary: it has one logit a pixel, of class 1; class 0 is the rest.
        activation: what it ends in: "none", "softmax" or "sigmoid"; "auto" notices a softmax.
        aux: its auxiliary output, a key, attribute or index; empty = none that is trained.
    """

    output: _Output = "auto"
    divisor: Annotated[int, whole(1, 2**16)] = 1
    mean: _Channels | None = None
    std: _Channels | None = None
    binary: Flag = False
    activation: Literal["auto", "none", "softmax", "sigmoid"] = "auto"
    aux: _Output | None = None

    def options(self) -> dict[str, Any]:
        """The section as ``magnet.Segmenter`` takes it: what is not said is left out."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return {name: None if name in ("mean", "std") and value == [] else value for name, value in given.items()}


@dataclass
class SegmenterConfig:
    """The first stage: one network, trained on the whole image and on patches of every later scale.

    Args:
        network: name for ``magnet.build_segmenter``. That of a bundled recipe gives way to ``factory``.
        encoder: a network of timm that gives the features of "fpn", "psp" or "fpn-lite", as "timm:resnet34", with
            random weights or those of ``weights``; empty = the network's own.
        factory: what makes a network of another library, instead of ``network``, as
            "segmentation_models_pytorch:Unet": it is imported and called, for which the command needs --trust.
        args: keyword arguments of the factory.
        wrap: what its network takes and returns.
        train: train it; false = it is finished, and only refiners are trained: ``weights`` are all of it with a
            factory, else ``init`` is.
        init: a model to start from: its folder, or the name of a bundled one. Layers of another shape start anew.
        weights: ImageNet weights to start the backbone from: a .safetensors, .pth or .pt file in torchvision's layout
            of ResNet-50 (fpn) or ResNet-101 (psp), or in HRNet's (hrnet18+ocr, hrnet48+ocr), or with an encoder in
            timm's. With a factory, weights of its whole network: such a file, or a folder of a model of transformers;
            layers of another shape start anew.
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

    network: Text = "compact"
    encoder: Text = ""
    factory: Text = ""
    args: _Args = field(default_factory=dict)
    wrap: WrapConfig = field(default_factory=WrapConfig)
    train: Flag = True
    init: Text = ""
    weights: Text = ""
    iterations: _Iterations = 0
    epochs: _Epochs = 0
    batch_size: _Batch = 8
    accumulate: _Batch = 1
    scale_weights: Annotated[list[Weight], said(description="weights of 0 to 1000000, one a scale")] = field(
        default_factory=list
    )
    class_weights: _ClassWeights = field(default_factory=list)
    loss: _Loss = "ce"
    ohem_threshold: _Threshold = 0.7
    ohem_min_kept: _Kept = 100_000
    aux_weight: Weight = 0.4
    dice: Weight = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    val_every: _Every = 500
    patience: _Patience = 0
    val_images: _Count = 0


@dataclass
class RefinerConfig:
    """The second stage: refinement modules between the predictions of the frozen segmenter.

    Args:
        network: "merge" = the paper's module, which sees the two predictions; "guided" = a small U-Net that sees the
            image, too.
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

    network: Literal["merge", "guided"] = "merge"
    iterations: _Iterations = 0
    epochs: _Epochs = 0
    batch_size: _Batch = 4
    accumulate: _Batch = 1
    crop: ScaleSize | None = None
    per_scale: Flag = False
    pairs: Literal["first", "accumulated"] = "accumulated"
    class_weights: _ClassWeights = field(default_factory=list)
    loss: _Loss = "ce"
    ohem_threshold: _Threshold = 0.7
    ohem_min_kept: _Kept = 100_000
    dice: Weight = 0.0
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    val_every: _Every = 200
    patience: _Patience = 0
    val_chains: Annotated[int, whole(1, MAX_COUNT)] = 24


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
        amp: "bf16" or "fp16" computes convolutions in that type; "fp16" scales the loss to keep small gradients; "auto"
            is "bf16" on GPUs and on processors that compute in it, "none" elsewhere.
        compile: compile the trained network with torch.compile.
        sync_bn: batch normalisation over the images of all processes, where there are several.
        resume: continue a stage from its last training state in the run's folder, and leave out finished stages.
        overwrite: replace what another run, or anybody, left in the run's folder under the names of this run's files.
        trust: import and run the code that segmenter.factory names, which could do anything; on the command line alone.
        checkpoint_every: steps between saved training states; 0 = only when stopped and at the end of a stage.
        tensorboard: write scalars and pictures for TensorBoard to the run's folder (needs the package tensorboard).
        half: store the model's larger weights in half precision.
        info: texts kept with the model, such as origin and licence of the data.
        segmenter: first stage.
        refiner: second stage.
    """

    name: Name
    walk: WalkConfig
    data: DataConfig = field(default_factory=DataConfig)
    out: Text = "runs"
    stage: Literal["segmenter", "refiner", "all"] = "all"
    seed: Annotated[int, whole(0, MAX_INT)] = 0
    device: Device = "auto"
    amp: Literal["none", "bf16", "fp16", "auto"] = "none"
    compile: Flag = False
    sync_bn: Flag = True
    resume: Flag = False
    overwrite: Flag = False
    trust: Flag = False
    checkpoint_every: Annotated[int, whole(0, MAX_COUNT, "0 = only when stopped and at the end")] = 200
    tensorboard: Flag = False
    half: Flag = False
    info: dict[Note, Note] = field(default_factory=dict)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    refiner: RefinerConfig = field(default_factory=RefinerConfig)

    def as_file(self) -> dict[str, Any]:
        """The values as a file for ``--config`` has them: without the network that a factory stands in place of, and
        without trust, which is given on the command line alone."""
        values = asdict(replace(self, trust=False))
        if self.segmenter.factory:
            del values["segmenter"]["network"]
        return values

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
