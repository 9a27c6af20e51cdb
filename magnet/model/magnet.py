"""MagNet: from a coarse prediction of the whole image to a fine one, scale by scale.

Source: Huynh, Tran, Luu, Hoai, "Progressive Semantic Segmentation", CVPR 2021.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Unpack, cast, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from magnet.checks import check_size
from magnet.conventions import check_normalized
from magnet.errors import MagNetError
from magnet.files.reading import check_path
from magnet.images.inputs import check_images
from magnet.images.match_colours import OwnStatistics, match_channels
from magnet.images.rasters.channels import Channels
from magnet.images.rasters.input_settings import INPUTS, InputSettings
from magnet.images.rasters.raster import Resolution
from magnet.images.rasters.read_input import InputImage
from magnet.images.tensors import mean_and_std, normalize
from magnet.model.image_walk import ImageWalk, predictions
from magnet.model.looks import check_class_names, check_colours
from magnet.model.predict_many import check_many, predict_many
from magnet.model.predict_raster import RasterOptions, RasterRecord, predict_raster
from magnet.model.prediction import Prediction
from magnet.model.pretrained import Parts, load_parts, save_parts
from magnet.networks.segmenter import Segmenter
from magnet.walk.field_walk import WORKERS
from magnet.walk.fields import OVERLAP
from magnet.walk.maps import upsample
from magnet.walk.networks import Networks, check_refiners, check_seen_channels
from magnet.walk.official import official_walk
from magnet.walk.paper import paper_walk
from magnet.walk.plan import Plan, count_patches, plan_walk
from magnet.walk.settings import FIELDS, SHOWN, Inference, SettingsGiven, WalkSettings, check_names, check_needed
from magnet.walk.stage import WalkStage
from magnet.walk.traced import traced_walk
from magnet.walk.views import JoinedViews, Views

__all__ = ["MagNet"]

_LOOKS = ("class_names", "colours")


class MagNet(Networks):
    """Progressive semantic segmentation with any segmenter.

    The whole image is predicted small; then, at each later scale, patches are predicted at higher magnification,
    refined against what is known so far, and written over the pixels where the coarse answer is unsure and the fine
    one is sure.

    The scales are sizes that every image is resized to, so an image of another aspect is squeezed: give scales of the
    aspect that the images have, or ``follow_image=True``. Patches are spread evenly, the last one flush with the
    border, and overlaps averaged.

    Args:
        segmenter: maps normalised images (N, channels, h, w) to logits (N, C, h, w).
        refiner: a module (fine, coarse) -> logits that serves all scales, a list with one for each scale after the
            first (a list of one serves all), or None: fine predictions are used as they are. One whose attribute
            ``sees_image`` is true is called with (fine, coarse, image).
        scales: sizes (H, W) from coarse to fine, 1 to 32, each of at most 2**32 pixels.
        patch_size: (H, W) of the patches cut at each scale after the first, no larger than these scales.
        input_size: (H, W) that the networks see, at most 2**28 pixels; None: ``patch_size``.
        n_points: pixels replaced at each scale: an int is a count, a float in (0, 1] a fraction of the pixels of the
            patches that were looked at. Without a refiner few, as 0.1; with one let ``magnet tune`` choose.
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
        amp: "bf16" runs the networks under bfloat16 autocast, "auto" does so where the device computes in it; maps and
            scores stay in float32.
        progress: show a progress bar; None: on a terminal, once the walk has taken two seconds.
        colour_statistics: mean and standard deviation of each channel in [0, 1] over the training images, of RGB
            ((3), (3)), kept with the model.
        match_colours: bring the mean and deviation of each image's channels to ``colour_statistics`` first, for images
            of another camera, lighting or staining than those trained on.
        flips: "horizontal" averages the segmenter's answers over each image and its mirror image, "both" over these two
            upside down, too, which takes the segmenter twice or four times as long; "none" does not.
        class_names: one name for each class, kept with the model; None: those that a :class:`magnet.Segmenter` has.
        colours: one RGB triple (0..255) for each class, kept with the model.
        channels: of the images that the networks see, 1 to 16. This and the four below say how a file becomes that, see
            :class:`magnet.images.rasters.input_settings.InputSettings`; by default it is 8-bit RGB.
        bands: numbers of a file's bands, from 1, one for each channel.
        value_range: the values that become 0 and 1.
        extent: "scene" or "ground".
        resolution: side of a pixel of the last scale, as "0.5m".

    All but the networks, ``class_names``, ``colours`` and what says how files are seen are in :attr:`settings`, which
    does not change: :meth:`with_settings` gives a model of the same networks with others, and :meth:`predict` takes any
    for one call.

    Attributes:
        settings: a ``magnet.walk.settings.WalkSettings``. Each can be read from the model, too (``model.n_points``).
        inputs: an ``InputSettings``, kept with the model; ``from_pretrained(folder, value_range=...)`` replaces one.
        info: what :meth:`save_pretrained` keeps beside the settings.

    Raises:
        TypeError, ValueError: an argument is not as above, segmenter and refiner differ in their classes, or the
            segmenter sees images of other than ``channels``.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        refiner: nn.Module | Sequence[nn.Module] | None,
        *,
        class_names: Sequence[str] | None = None,
        colours: Sequence[Sequence[int]] | None = None,
        channels: int = 3,
        bands: Sequence[int] | None = None,
        value_range: Any = None,
        extent: str | None = None,
        resolution: Resolution | str | None = None,
        **settings: Unpack[SettingsGiven],
    ) -> None:
        check_names(settings, (*_LOOKS, *INPUTS))
        check_needed(settings)
        chosen = WalkSettings(**cast(Any, settings))
        inputs = InputSettings(
            channels=channels,
            bands=cast(Any, bands),
            value_range=value_range,
            extent=extent,
            resolution=cast(Any, resolution),
        )
        _check_together(chosen, inputs)
        super().__init__(segmenter, check_refiners(refiner, len(chosen.scales)))
        check_seen_channels(segmenter, inputs.channels)
        object.__setattr__(self, "settings", chosen)
        object.__setattr__(self, "inputs", inputs)
        if class_names is None and isinstance(segmenter, Segmenter):
            class_names = segmenter.class_names
        self.class_names = check_class_names(class_names, self.num_classes)
        self.colours = check_colours(colours, self.num_classes)
        self.info: dict[str, Any] | None = None

    settings: WalkSettings
    inputs: InputSettings

    def __getattr__(self, name: str) -> Any:
        if name in FIELDS and "settings" in self.__dict__:
            return getattr(self.__dict__["settings"], name)
        if name in INPUTS and "inputs" in self.__dict__:
            return getattr(self.__dict__["inputs"], name)
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIELDS or name == "settings":
            given = f"{name}=..." if name in FIELDS else "n_points=..."
            raise AttributeError(
                f"{name}: expected no change of a model's settings; take model.with_settings({given}), or pass it to "
                "predict() for one call"
            )
        if name in INPUTS or name == "inputs":
            raise AttributeError(
                f"{name}: expected no change of how a model sees files; build it anew with it, or pass it to "
                "from_pretrained()"
            )
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *FIELDS, *INPUTS]

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "settings" not in state:
            raise MagNetError(
                "model: expected a MagNet that this version pickled, got one of an older version; write a folder by "
                "save_pretrained there, or build it again and load its state dict"
            )
        super().__setstate__({"inputs": InputSettings(), **state})  # which there was not always

    def with_settings(self, **changes: Unpack[SettingsGiven]) -> MagNet:
        """A model of the same networks, which are shared, with other settings.

        All others stay as they are: another ``patch_size`` leaves ``input_size`` alone.

        Raises:
            TypeError, ValueError: there is no such setting, or it is not valid.
        """
        settings = self._changed(changes)
        check_refiners(list(self.refiners), len(settings.scales))
        other = copy.copy(self)
        other.__dict__ = {**self.__dict__, "_modules": dict(self._modules), "settings": settings}
        return other

    def _changed(self, changes: Mapping[str, Any]) -> WalkSettings:
        """The settings with changes, which must fit what the networks see."""
        settings = self.settings.changed(**changes)
        _check_together(settings, self.inputs)
        return settings

    @property
    def patches_per_pass(self) -> int:
        """``batch_size``, or what stands for None where the networks are."""
        return self.settings.patches_per_pass(self.device)

    def plan(self, size: Sequence[int]) -> Plan:
        """The sizes that the walk takes for an image of ``size`` (H, W)."""
        return plan_walk(self.settings, check_size("size", size, most=None))

    def matched(
        self, images: Tensor, settings: WalkSettings | None = None, seen: Tensor | OwnStatistics | None = None
    ) -> Tensor:
        """Images (N, C, H, W) in [0, 1] -> the same, in the colours of the training images if ``match_colours``.

        ``seen`` is what the colours are judged by where ``images`` are parts of it, or its statistics.
        """
        settings = settings or self.settings
        if not settings.match_colours or settings.colour_statistics is None:
            return images
        mean, std = settings.colour_statistics
        return match_channels(images, mean, std, seen)

    def segment(self, images: Tensor, inference: Inference | None = None) -> Tensor:
        """Class probabilities (N, C, h, w), float32, of normalised images (N, channels, h, w), without refinement."""
        probabilities = super().segment(images, inference or self.settings.inference)
        for argument in _LOOKS:
            given = getattr(self, argument)
            if given is not None and len(given) != probabilities.shape[1]:
                raise ValueError(
                    f"{argument}: expected one for each of the segmenter's {probabilities.shape[1]} classes, got "
                    f"{len(given)}; pass as many as there are classes"
                )
        return probabilities

    def merge(
        self, fine: Tensor, coarse: Tensor, image: Tensor, scale: int, inference: Inference | None = None
    ) -> Tensor:
        """What the refiner of ``scale`` makes of two probability maps (N, C, h, w); ``fine`` where there is none."""
        return super().merge(fine, coarse, image, scale, inference or self.settings.inference)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) images of any size, normalised -> (N, C, *scales[-1]) class probabilities, float32.

        With ``follow_image`` their size is that of the last scale of :meth:`plan`. The patches of all images go through
        the networks together, ``batch_size`` at a time; convolutions round by how many there are, so that probabilities
        equal those of one image at a time to about 1e-6, and exactly with ``batch_size=1``.

        Runs in evaluation mode and records no gradients, whatever mode the modules are in. For torch.compile and
        torch.export call ``eval()`` first; a pass of the networks then takes ``batch_size`` patches of each image.

        Raises:
            TypeError, ValueError: ``images`` is no such tensor, or a network's output does not fit. On the first batch
                it is also told from the numbers whether images are normalised and outputs are logits.
            MagNetError: a network gave NaN or infinity; names the scale. Not looked for in traced models.
        """
        check_images(images, self.inputs.channels)
        if next((p.dtype for p in self.parameters()), torch.float32) == torch.float32:
            images = images.float()
        if self._is_first("images", images):
            check_normalized(images)
        settings = self.settings
        if settings.match_colours:
            mean, std = mean_and_std(images)
            images = normalize(self.matched(images * std + mean))
        plan = plan_walk(settings, (images.shape[-2], images.shape[-1]))
        if torch.compiler.is_compiling():
            if settings.compat != "paper" or any(module.training for module in self.modules()):
                raise RuntimeError(
                    "MagNet: expected evaluation mode and compat='paper' to be traced; call eval() first, or call the "
                    "model itself"
                )
            return traced_walk(self, settings, plan, images)
        # the release's walk is one of a single image
        parts = images.split(1) if settings.compat == "official" else [images]
        maps = [_last(self._stages(settings, plan, part)).maps for part in parts]
        found = [upsample(one, plan.scales[-1]) for one in maps if one is not None]
        return found[0] if len(found) == 1 else torch.cat(found)

    def predict(
        self,
        image: str | os.PathLike[str] | Image.Image | np.ndarray | Tensor | InputImage,
        *,
        page: int | None = None,
        return_stages: bool = False,
        probabilities: bool = True,
        **changes: Unpack[SettingsGiven],
    ) -> Prediction:
        """Segment one image.

        Args:
            image: a path, a PIL image, an (H, W, 3) uint8 RGB array, or a (3, H, W) tensor: uint8, or floats in [0, 1].
                A file past Pillow's size limit is shrunk to the last scale while it is read, strip by strip.
                With other ``channels``, ``bands`` or a ``value_range``: a path of whatever :func:`magnet.open_raster`
                reads, an (H, W, bands) array or a (bands, H, W) tensor of integers, which are taken as a file is, or a
                (channels, H, W) tensor of floats in [0, 1], which is what the networks see.
            page: the number of a page of a TIFF, from 0.
            return_stages: keep what each scale saw and did, for pictures; this keeps the map of every scale.
            probabilities: False returns labels alone, the same ones, and where the image has the size of the last scale
                no probabilities are made there, which saves time and memory.
            changes: settings for this call, as ``n_patches=0``.

        Returns:
            A :class:`magnet.Prediction`; labels at the size of the image (of a file past Pillow's size limit: at the
            last scale; see ``Prediction.labels_in``), probabilities at the last scale, None where they were not asked
            for.

        Raises:
            MagNetError: the file is missing, corrupt or not an image; or a network gave NaN or infinity (names the
                scale).
            TypeError, ValueError: ``image`` is none of the above, a setting is not valid, or a network's output does
                not fit.
        """
        walk = self.walk(image, page=page, probabilities=probabilities or return_stages, **changes)
        return predictions([walk], return_stages=return_stages, probabilities=probabilities)[0]

    @overload
    def predict_many(
        self,
        sources: Iterable[str | os.PathLike[str] | Image.Image | np.ndarray | Tensor],
        *,
        page: int | None = ...,
        return_stages: bool = ...,
        probabilities: bool = ...,
        on_error: Literal["raise"] = ...,
        images_per_pass: int | None = ...,
        **changes: Unpack[SettingsGiven],
    ) -> Generator[Prediction]: ...

    @overload
    def predict_many(
        self,
        sources: Iterable[str | os.PathLike[str] | Image.Image | np.ndarray | Tensor],
        *,
        page: int | None = ...,
        return_stages: bool = ...,
        probabilities: bool = ...,
        on_error: Literal["skip"],
        images_per_pass: int | None = ...,
        **changes: Unpack[SettingsGiven],
    ) -> Generator[Prediction | None]: ...

    def predict_many(
        self,
        sources: Iterable[str | os.PathLike[str] | Image.Image | np.ndarray | Tensor],
        *,
        page: int | None = None,
        return_stages: bool = False,
        probabilities: bool = True,
        on_error: str = "raise",
        images_per_pass: int | None = None,
        **changes: Unpack[SettingsGiven],
    ) -> Generator[Prediction | None]:
        """Segment many images: a generator of their predictions, in their order.

        The next images are read, by threads, while one is walked over; no more than one beyond those of a pass, so that
        memory is bounded however many there are. Closing the generator, or an error, ends the threads.

        Args:
            sources: images as :meth:`predict` takes them; an iterator is taken from as they are needed.
            page: the number of a page of each, TIFFs all of them, from 0.
            return_stages: as for :meth:`predict`.
            probabilities: as for :meth:`predict`.
            on_error: "raise", in its turn, where a file cannot be read; or "skip" it: its prediction is None, and a
                warning names it.
            images_per_pass: images of one plan, one after the other, whose patches go through the networks together.
                With one each prediction is that of :meth:`predict`, bit for bit; with more passes are larger, and round
                otherwise, unless ``batch_size=1``. None: as many as fill a pass on a GPU, one on a CPU.
            changes: settings, as ``n_patches=0``.

        Raises:
            MagNetError, TypeError, ValueError: as :meth:`predict`; wrong arguments at once, wrong images in their turn.
        """
        settings = self.settings.changed(**changes)
        check_many(settings, sources, page, on_error, images_per_pass)
        return predict_many(
            self,
            settings,
            sources,
            page=page,
            return_stages=return_stages,
            probabilities=probabilities,
            on_error=on_error,
            together=images_per_pass,
        )

    def walk(
        self,
        image: str | os.PathLike[str] | Image.Image | np.ndarray | Tensor | InputImage,
        *,
        page: int | None = None,
        probabilities: bool = True,
        **changes: Unpack[SettingsGiven],
    ) -> ImageWalk:
        """The walk over one image, to be iterated over: its stages, coarse first, and then its ``prediction``.

        Arguments and errors are those of :meth:`predict`. Nothing keeps a stage but who takes it.
        """
        return ImageWalk(self, self._changed(changes), image, probabilities, page)

    def predict_raster(
        self,
        source: Any,
        out: str | os.PathLike[str],
        *,
        save: Sequence[str] = ("labels",),
        name: str | None = None,
        page: int | None = None,
        resolution: Resolution | str | None = None,
        overlap: float = OVERLAP,
        roi: tuple[int, int, int, int] | None = None,
        mask: Any = None,
        tissue: bool = False,
        bands: Sequence[int] | None = None,
        value_range: Any = None,
        classes: Collection[int] | None = None,
        min_confidence: float = 0.0,
        mapping: Mapping[int, int] | None = None,
        workers: int = WORKERS,
        fields_per_pass: int | None = None,
        overwrite: bool = False,
        **changes: Unpack[SettingsGiven],
    ) -> RasterRecord:
        """Segment a raster of any size at its own pixels, in bounded memory, into files.

        The raster is laid out in fields of the size of the last scale, which overlap. Each is walked over as an image
        is, its first scale at the level of that scale, and each pixel is taken from the field whose centre is nearest.
        A job that was broken off is gone on with by the same call.

        Args:
            source: what :func:`magnet.open_raster` takes, or a raster that it gave.
            out: folder of the results, made if it is not there.
            save: "labels": a cloud-optimised GeoTIFF beside a raster with a place, a pyramid beside a slide, else a
                PNG; "confidence": 0..255 for 0..1, 0 where there is no answer; "polygons": GeoJSON; "areas": CSV, a
                line a class; "ids": labels without colours. Pixels without an answer are 255.
            name: what the files are named by; None: as the source, with "_page1" behind it where a page is asked for.
            page: of a TIFF of several.
            resolution: side of a pixel of the model's last scale, as "0.5m" or "0.25um": a raster of other pixels is
                seen at this size; its labels have its own. None: the model's, else the raster's pixels as they are.
            overlap: least share of a field that it has in common with the next; 0 to 0.5.
            roi: (x0, y0, x1, y1) in pixels of the raster: the only part that is segmented.
            mask: a raster whose pixels other than 0 are the only ones that are segmented: what ``source`` may be, or a
                bool array. Where both have a place it is brought over by that, else it must have the size of the
                raster or its aspect. Or a GeoJSON file of polygons.
            tissue: segment only what is coloured, as tissue on a slide is.
            bands: numbers from 1 of the bands that the networks see; None: the model's.
            value_range: the values that become black and white, see :class:`magnet.images.rasters.channels.Channels`;
                None: the model's.
            classes: the only classes that are answers.
            min_confidence: pixels below it have no answer.
            mapping: for "ids", the class of each value of label files, as {7: 0, 8: 1}, which is turned round. None:
                that of the data which the model was trained on, where values are not classes. {}: none.
            workers: groups of fields under way at a time; the results do not depend on it.
            fields_per_pass: fields, one after the other, whose patches go through the networks together. Larger passes
                round otherwise, unless ``batch_size=1``; a job that is gone on with needs the same number. None: as
                many as fill a pass on a GPU, one on a CPU.
            overwrite: replace files that are there and were not written by this.
            changes: settings for this call, as ``n_patches=4`` or ``progress=False``.

        Returns:
            A :class:`magnet.model.predict_raster.RasterRecord`.

        Raises:
            MagNetError: the raster cannot be read, or is not known how to be seen; a result would replace a file of
                somebody else.
            TypeError, ValueError: an argument or a setting is not valid.
        """
        options = RasterOptions(
            save=save,
            resolution=resolution,
            overlap=overlap,
            roi=roi,
            mask=mask,
            tissue=tissue,
            channels=Channels(bands, value_range),  # type: ignore[arg-type]
            classes=classes,
            min_confidence=min_confidence,
            mapping=mapping,
            workers=workers,
            fields_per_pass=fields_per_pass,
        )
        settings = self._changed(changes)
        return predict_raster(
            self, source, check_path("out", out), settings, options, name=name, page=page, overwrite=overwrite
        )

    def _stages(
        self, settings: WalkSettings, plan: Plan, source: Tensor | Views | np.ndarray, *, labels_only: bool = False
    ) -> Iterator[WalkStage]:
        """The stages of either walk, in evaluation mode, with a bar."""
        images = len(source) if isinstance(source, JoinedViews) else 1
        if isinstance(source, Tensor) and source.ndim == 4:
            images = len(source)
        hidden = None if settings.progress is None else not settings.progress
        bar = tqdm(
            total=images * count_patches(settings, plan),
            desc="MagNet",
            unit="patch",
            leave=False,
            disable=hidden,
            delay=2 if hidden is None else 0,
        )
        if settings.compat == "official":
            assert isinstance(source, (Tensor, np.ndarray))
            stages = official_walk(self, settings, plan, source)
        else:
            assert not isinstance(source, np.ndarray)
            stages = paper_walk(self, settings, plan, source, labels_only=labels_only)
        with bar:
            while True:
                with self.evaluating():  # not across the yield: other walks of these networks may go on meanwhile
                    stage = next(stages, None)
                if stage is None:
                    return
                bar.update(stage.looks)
                yield stage
                del stage  # kept by who took it alone

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
            MagNetError: the folder cannot be written to, holds such files, or a network is none of this library's and
                no :class:`magnet.Segmenter`.
        """
        kept = {**(self.info or {}), **(info or {})}
        looks = {name: getattr(self, name) for name in _LOOKS}
        save_parts(self, self.settings, looks, self.inputs, folder, half=half, info=kept, overwrite=overwrite)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *, trust: bool = False, **changes: Any) -> MagNet:
        """Load a model that :meth:`save_pretrained` wrote, in evaluation mode, on the CPU.

        Args:
            folder: the folder, or the name of a model that comes with the library.
            trust: import and call what makes the segmenter where the folder names code that is not this library's (see
                :class:`magnet.Segmenter`): such code could do anything.
            changes: arguments of this class that replace the stored ones, such as ``n_patches=4``; ``num_classes=``
                asks for a model of that many classes.

        Raises:
            MagNetError: a file is missing, truncated or does not fit, or the folder asks for trust; names it and the
                likely fix.
            TypeError, ValueError: a change is no such argument, or not valid.
        """
        num_classes = changes.pop("num_classes", None)
        check_names(changes, (*_LOOKS, *INPUTS, "num_classes"))

        def build(parts: Parts) -> MagNet:
            return cls(parts.segmenter, parts.refiners, **parts.arguments)

        parts, model = load_parts(folder, num_classes, build, trust=trust)
        if changes:
            model = cls(parts.segmenter, parts.refiners, **{**parts.arguments, **changes})
        model.info = parts.info
        return model.eval()

    def extra_repr(self) -> str:
        seen = [f"{name}={value!r}" for name, value in self.inputs.changed().items()]
        return ", ".join([*(f"{name}={getattr(self.settings, name)!r}" for name in SHOWN), *seen])


def _signature() -> inspect.Signature:
    """That of ``MagNet``, its settings by name."""
    own = inspect.signature(MagNet.__init__)
    settings = [*inspect.signature(WalkSettings).parameters.values()]
    others = [one for one in own.parameters.values() if one.name != "settings"]
    return own.replace(parameters=[*others[:3], *settings, *others[3:]])


MagNet.__init__.__signature__ = _signature()  # type: ignore[attr-defined]


def _check_together(settings: WalkSettings, inputs: InputSettings) -> None:
    """Raise ValueError where the settings of the walk are of images of other channels."""
    if settings.compat == "official" and inputs.channels != 3:
        raise ValueError(
            f"channels: expected 3 with compat='official', which resizes 8-bit RGB, got {inputs.channels}; use "
            "compat='paper'"
        )
    statistics = settings.colour_statistics
    if statistics is not None and len(statistics[0]) != inputs.channels:
        raise ValueError(
            f"colour_statistics: expected a mean and a deviation of each of the {inputs.channels} channels, got "
            f"{len(statistics[0])}; magnet.images.channel_statistics makes them"
        )


def _last(stages: Iterator[WalkStage]) -> WalkStage:
    return deque(stages, maxlen=1)[0]
