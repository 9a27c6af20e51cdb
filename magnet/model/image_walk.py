"""The walk of a MagNet over one image: its stages, and what they end in."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from magnet.errors import shown
from magnet.images.inputs import floats_of, pixels_of, size_of
from magnet.images.rasters.read_input import InputImage
from magnet.images.rasters.scenes import read_scene, tell_ground
from magnet.images.tensors import normalize
from magnet.model.prediction import Prediction
from magnet.model.walker import Walker
from magnet.walk.maps import labels_at, upsample
from magnet.walk.plan import plan_walk
from magnet.walk.settings import WalkSettings
from magnet.walk.stage import Stage, WalkStage
from magnet.walk.views import JoinedViews, TensorViews

__all__ = ["ImageWalk", "predictions"]


class ImageWalk:
    """The stages of one image, one after the other, and then its prediction.

    Args:
        model: a MagNet.
        settings: of the walk.
        image: as :meth:`magnet.MagNet.predict` takes it; a file is read at once.
        page: of a TIFF of several.
        probabilities: make them at the last scale; without it its stage may have labels alone.

    Attributes:
        plan: the sizes of the walk.
        size: (H, W) of the pixels that were read.
    """

    def __init__(
        self, model: Walker, settings: WalkSettings, image: Any, probabilities: bool, page: int | None = None
    ) -> None:
        self._model = model
        self._settings, self._probabilities = settings, probabilities
        path = image if isinstance(image, (str, os.PathLike)) else None
        if path is not None:
            image = read_scene(path, model.inputs, lambda size: plan_walk(settings, size).scales[-1], page)
        elif page is not None:
            raise ValueError(f"page: expected None, as the image is no path, got {shown(page)}; leave it out")
        self._pixels: np.ndarray | Tensor | None = pixels_of(image, model.inputs)
        self.size = size_of(self._pixels)
        self.plan = plan_walk(settings, self.size)
        if model.inputs.extent == "ground" and self.size != self.plan.scales[-1]:
            warnings.warn(
                f"extent: expected an image of the last scale, {self.plan.scales[-1]} (H, W), as the model was trained "
                f"on ground at a fixed size of its pixels, got {self.size}, which is resized whole; use "
                "predict_raster(), or from_pretrained(folder, extent='scene')",
                stacklevel=3,
            )
        self._image_size = image.size if isinstance(image, InputImage) else self.size
        if path is not None and model.inputs.extent is None:
            tell_ground(path, self._image_size, settings.scales[-1])
        self._prediction: Prediction | None = None

    @property
    def prediction(self) -> Prediction:
        """What the walk ended in; without its stages.

        Raises:
            RuntimeError: it has not come to its end.
        """
        if self._prediction is None:
            raise RuntimeError("prediction: expected a walk that came to its end; iterate over all of its stages first")
        return self._prediction

    def __iter__(self) -> Iterator[WalkStage]:
        """The stages, coarse first; once. The time of a :class:`magnet.Prediction` is that spent in here."""
        start = time.perf_counter()
        source = self._begin()
        seconds = time.perf_counter() - start
        stages = self._model._stages(self._settings, self.plan, source, labels_only=self._makes_labels())
        while True:
            start = time.perf_counter()
            stage = next(stages, None)
            if stage is None:
                break
            last = stage
            seconds += time.perf_counter() - start
            yield stage
            del stage
        self._end(last, 0, seconds + time.perf_counter() - start)

    @torch.inference_mode()
    def _begin(self) -> np.ndarray | Tensor:
        """What the walk sees: normalised (1, 3, H, W); with compat "official" the pixels. Once."""
        pixels, self._pixels = self._pixels, None
        if pixels is None:
            raise RuntimeError("walk: expected to be iterated over once; start another one")
        model, settings = self._model, self._settings
        if settings.compat == "official":
            return pixels
        return normalize(model.matched(floats_of(pixels, model.device)[None], settings))

    @torch.inference_mode()
    def _end(self, last: WalkStage, number: int, seconds: float) -> None:
        """Make the prediction of the last stage, of several images of that number, after so many seconds."""
        start = time.perf_counter()
        result = None
        if last.maps is None:
            assert last.labels is not None
            labels = last.labels[number].long()
        else:
            result = upsample(last.maps[number : number + 1], self.plan.scales[-1])[0]
            labels = labels_at(result, self.size)
            result = result if self._probabilities else None
        self._prediction = Prediction(labels, result, None, seconds + time.perf_counter() - start, self._image_size)

    def _makes_labels(self) -> bool:
        """Whether the walk can end in the labels that are asked for without probabilities."""
        classes = self._model.num_classes
        few = classes is not None and classes <= 256  # labels are bytes
        paper = self._settings.compat == "paper"
        return not self._probabilities and paper and few and self.size == self.plan.scales[-1]


def predictions(walks: Sequence[ImageWalk], *, return_stages: bool, probabilities: bool) -> list[Prediction]:
    """Walk over images of one plan to the end, the patches of all of them together.

    Args:
        walks: of one model, its settings and one plan; of several images with compat "paper".
        return_stages: keep the stages with the predictions.
        probabilities: keep them, too.

    Returns:
        A prediction of each. Of several the time of each is its share.
    """
    kept: list[list[Stage]] = [[] for _ in walks]
    for stage in walks[0] if len(walks) == 1 else _together(walks):
        for number, stages in enumerate(kept if return_stages else ()):
            stages.append(stage.of(number))
        del stage  # not kept while the next one is made
    found = [walk.prediction for walk in walks]
    for prediction, stages in zip(found, kept, strict=True):
        prediction.stages = stages if return_stages else None
        if not probabilities:  # the stages needed them
            prediction.probabilities = None
    return found


def _together(walks: Sequence[ImageWalk]) -> Iterator[WalkStage]:
    """The stages of several images, and then their predictions."""
    start = time.perf_counter()
    views = JoinedViews([TensorViews(torch.as_tensor(walk._begin())) for walk in walks])
    model, settings, plan = walks[0]._model, walks[0]._settings, walks[0].plan
    stages = model._stages(settings, plan, views, labels_only=all(walk._makes_labels() for walk in walks))
    for stage in stages:
        last = stage
        yield stage
        del stage
    seconds = (time.perf_counter() - start) / len(walks)
    for number, walk in enumerate(walks):
        walk._end(last, number, seconds)
