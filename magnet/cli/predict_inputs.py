"""The inputs of ``magnet predict``: files, and the images in folders. The folder of a zarr array is one image."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from magnet.cli.predict_rasters import RASTER_SUFFIXES
from magnet.errors import ArgumentError, MagNetError
from magnet.files.outputs import results_in
from magnet.images.rasters.pages import page_stem
from magnet.images.rasters.zarrs import is_zarr_folder
from magnet.images.read import IMAGE_SUFFIXES

__all__ = ["Input", "find_inputs"]

_LOG = logging.getLogger("magnet")
_NAMED = 5  # folders in a message


class Input(NamedTuple):
    """A file to segment, or the folder of a zarr array.

    path: of it. name: relative to its root, which is the folder that was given, or that of a file that was, with
    "/" between folders; results lie in the same folders below that of all results. page: the one that was asked for;
    it is part of the name, as "stack.tif#page=1", as each page is an input of its own.
    """

    path: Path
    name: str
    page: int | None = None

    @property
    def folder(self) -> str:
        """The folder of the file relative to its root; "" for the root itself."""
        return self.name.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """What its results are named by."""
        return page_stem(self.path, self.page)


def find_inputs(paths: Iterable[str], out: Path, *, recursive: bool = False, page: int | None = None) -> list[Input]:
    """Files, and the images in folders, in order, each once.

    A link to nothing is among the images of its folder, so that it is told. Files and folders whose names begin with a
    dot are left out, as what macOS leaves beside images (``._x.png``); given by name they are taken.

    Args:
        paths: as they were given.
        out: folder of the results, which is not searched.
        recursive: also the images in the folders below those that were given.
        page: which one is meant of each file; None: each is one picture.

    Raises:
        MagNetError: nothing there, a folder without images, or two images whose results would have the same name.
    """
    found: dict[Path, Input] = {}
    for text in paths:
        path = Path(text)
        if path.is_dir() and not is_zarr_folder(path):
            inside = _images_below(path, out) if recursive else _images_in(path, path, results_in(path))
            if not inside:
                told = ", and neither do the folders in it; check the path" if recursive else _below(path)
                raise MagNetError(f"image: the folder '{path}' holds no images ({', '.join(IMAGE_SUFFIXES)}){told}")
            for one in inside:
                found.setdefault(one.path, one)
        elif path.is_file() or path.is_dir():
            found.setdefault(path, Input(path, path.name))
        else:
            kind = "is a pipe, a socket or a device" if path.exists() else "does not exist"
            raise ArgumentError(f"image: expected a file or a folder, but '{path}' {kind}; check the path")
    named = found.values() if page is None else [_page_of(one, page) for one in found.values()]
    return _without_twins(named)


def _page_of(one: Input, page: int) -> Input:
    return Input(one.path, f"{one.name}#page={page}", page)


def _without_twins(inputs: Iterable[Input]) -> list[Input]:
    """The inputs, each file once, where no two have results of the same name."""
    stems: dict[tuple[str, str], Input] = {}
    for one in inputs:
        other = stems.setdefault((one.folder, one.stem), one)
        if other.path.resolve() != one.path.resolve():
            raise ArgumentError(
                f"image: the results of '{other.path}' and '{one.path}' would have the same names; predict them into "
                "two folders"
            )
    return list(stems.values())


def _images_below(root: Path, out: Path) -> list[Input]:
    """The images of a folder and of those below it. Results that are found on the way are left out."""
    inside: list[Input] = []
    written: set[Path] = set()
    for folder in _folders_below(root, out):
        written |= results_in(folder)
        inside += _images_in(folder, root, written)
    return inside


def _folders_below(root: Path, out: Path) -> Iterator[Path]:
    """A folder and those below it, each once.

    Links to folders are followed last, and only to what was not found at its own place: so a link to a folder above it
    makes no circle, and an image has one name wherever links lead.
    """
    seen = {_identity(out)} if out.is_dir() else set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        if _identity(folder) in seen:
            continue
        seen.add(_identity(folder))
        yield folder
        inside = [one for one in sorted(folder.iterdir()) if not one.name.startswith(".") and one.is_dir()]
        inside = [one for one in inside if not is_zarr_folder(one)]
        folders += reversed([one for one in inside if not one.is_symlink()])
        links += [one for one in inside if one.is_symlink()]


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _images_in(folder: Path, root: Path, written: set[Path]) -> list[Input]:
    """The images in a folder, not below it, but for the results of ours among them."""
    inside = sorted(folder.iterdir())
    images = [path for path in inside if _is_image(path) and path not in written]
    left_out = sum(path in written and _is_image(path) for path in inside)
    pipes = [
        path for path in inside if _has_suffix(path) and path.exists() and not path.is_file() and not path.is_dir()
    ]
    if pipes:
        _LOG.warning(
            f"image: left out of the folder '{folder}': {len(pipes)} pipes or devices, as '{pipes[0]}'; copy "
            "what comes from them to files"
        )
    if left_out:
        _LOG.warning(
            f"image: left out of the folder '{folder}': {left_out} results that magnet wrote there; give them by "
            "name to segment them"
        )
    return [Input(path, path.relative_to(root).as_posix()) for path in images]


def _has_suffix(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *RASTER_SUFFIXES) and not path.name.startswith(".")


def _is_image(path: Path) -> bool:
    if path.is_dir():
        return not path.name.startswith(".") and is_zarr_folder(path)
    return _has_suffix(path) and (path.is_file() or (path.is_symlink() and not path.exists()))


def _below(path: Path) -> str:
    """What to do about a folder without images: name the folders in it that have some."""
    folders = sorted(p for p in path.iterdir() if p.is_dir())
    full = [p for p in folders if any(_is_image(inside) for inside in p.iterdir())]
    if not full:
        return "; check the path"
    names = ", ".join(f"'{p}'" for p in full[:_NAMED])
    more = f" and {len(full) - _NAMED} more" if len(full) > _NAMED else ""
    return f", but the folders in it do: {names}{more}; give those, or --recursive for all that is below"
