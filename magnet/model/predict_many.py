"""Segmenting many images, one after the other or several together: ``MagNet.predict_many``."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any

from magnet.checks import check_count
from magnet.errors import MagNetError, shown
from magnet.images.rasters.open import page_number
from magnet.model.image_walk import ImageWalk, predictions
from magnet.model.prediction import Prediction
from magnet.model.walker import Walker
from magnet.notices import sum_up
from magnet.walk.ahead import Ahead, readers
from magnet.walk.plan import images_per_pass, plan_walk
from magnet.walk.settings import WalkSettings

__all__ = ["check_many", "predict_many"]

_LOG = logging.getLogger("magnet")


def check_many(settings: WalkSettings, sources: Any, page: Any, on_error: Any, together: Any) -> None:
    """
    Raises:
        TypeError, ValueError: an argument of :meth:`magnet.MagNet.predict_many` is not as it must be.
    """
    if isinstance(sources, str | os.PathLike) or not isinstance(sources, Iterable):
        raise TypeError(f"sources: expected a list or an iterator of images, got {shown(sources)}; for one use predict")
    page_number(page)
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error: expected 'raise' or 'skip', got {shown(on_error)}; give one of the two")
    if together is not None and check_count("images_per_pass", together) > 1 and settings.compat == "official":
        raise ValueError(f"images_per_pass: expected 1 with compat='official', got {together}; use compat='paper'")


def predict_many(
    model: Walker,
    settings: WalkSettings,
    sources: Iterable[Any],
    *,
    page: int | None,
    return_stages: bool,
    probabilities: bool,
    on_error: str,
    together: int | None,
) -> Generator[Prediction | None]:
    """See :meth:`magnet.MagNet.predict_many`."""
    most = together or _most_together(model, settings)
    with contextlib.ExitStack() as stack:
        stack.callback(sum_up)  # however it ends
        pool = stack.enter_context(readers())
        calls = (
            partial(_opened, model, settings, number, source, probabilities or return_stages, page)
            for number, source in enumerate(sources)
        )
        opened = Ahead(pool, calls, most + 1)  # the next ones to be walked over, and one more
        for group in _groups(opened, most, on_error):
            walks = [walk for walk in group if walk is not None]
            found = iter(predictions(walks, return_stages=return_stages, probabilities=probabilities) if walks else ())
            kept = [None if walk is None else next(found) for walk in group]
            del walks, group
            while kept:  # whoever takes them has them alone
                yield kept.pop(0)


def _groups(opened: Iterable[Future[ImageWalk]], most: int, on_error: str) -> Iterator[list[ImageWalk | None]]:
    """Images that follow each other and have one plan, None for those that are skipped. Errors are raised in turn."""
    group: list[ImageWalk | None] = []
    plan, count = None, 0
    for number, future in enumerate(opened):
        walk, error = None, None
        try:
            walk = future.result()
        except Exception as raised:
            error = raised
        skipped = isinstance(error, MagNetError) and on_error == "skip"
        if group and ((error and not skipped) or (walk is not None and plan not in (None, walk.plan))):
            yield group
            group, plan, count = [], None, 0
        if skipped:
            _LOG.warning(f"sources[{number}]: skipped: {error}")
        elif error is not None:
            raise error
        group.append(walk)
        if walk is not None:
            plan, count = walk.plan, count + 1
        if count == most:  # nor wait for the next one to be read
            yield group
            group, plan, count = [], None, 0
    if group:
        yield group


def _opened(
    model: Walker, settings: WalkSettings, number: int, source: Any, probabilities: bool, page: int | None
) -> ImageWalk:
    """A walk whose image was read; wrong values are told with the number of the source."""
    try:
        return ImageWalk(model, settings, source, probabilities, page)
    except (TypeError, ValueError) as error:
        raise type(error)(f"sources[{number}]: {error}") from error


def _most_together(model: Walker, settings: WalkSettings) -> int:
    plan = plan_walk(settings.changed(follow_image=False), settings.scales[-1])
    return images_per_pass(settings, plan, model.device)
