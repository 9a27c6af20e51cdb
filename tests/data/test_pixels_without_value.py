"""Where an image holds no value its labels are ignored, whatever the file: read whole, by window, and counted."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from map_data import PLACE
from PIL import Image
from raster_files import smooth, write_tiff

from magnet import MagNet, build_segmenter
from magnet.data import FileLists
from magnet.data.check import check_split
from magnet.data.sheet import label_sheet
from magnet.evaluation.run import run_evaluation
from magnet.images.rasters.input_settings import InputSettings

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
SIZE = (96, 128)
KINDS = ("nodata", "alpha", "mask", "png", "png palette", "webp", "pgw")


def _labels() -> np.ndarray:
    """Three classes, the third of which lies only where no image holds a value."""
    labels = (np.arange(SIZE[1]) // 64 % 2).astype(np.uint8) * np.ones(SIZE, np.uint8)
    labels[:20, :50] = 2
    return labels


def write_pair(folder: Path, kind: str, *, labels_tiff: bool = False) -> FileLists:
    pixels, valid = np.maximum(smooth(*SIZE), 1), np.ones(SIZE, bool)
    valid[:24, :60] = False
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    both, name = np.dstack([pixels, alpha]), "a.tif"
    if kind == "nodata":
        write_tiff(folder / name, np.where(valid[..., None], pixels, 0).astype(np.uint8), nodata=0, **PLACE)
    elif kind == "alpha":
        write_tiff(folder / name, both, photometric="rgb", colours=["red", "green", "blue", "alpha"], **PLACE)
    elif kind == "mask":
        write_tiff(folder / name, pixels, mask=alpha, options={"GDAL_TIFF_INTERNAL_MASK": "YES"}, **PLACE)
    elif kind == "webp":
        Image.fromarray(both).save(folder / (name := "a.webp"), lossless=True)
    elif kind == "png palette":
        entries = np.where(valid, 1 + pixels[..., 0] % 3, 0).astype(np.uint8)
        image = Image.fromarray(entries, "P")
        image.putpalette([0, 0, 0, 250, 9, 9, 9, 250, 9, 9, 9, 250])
        image.save(folder / (name := "a.png"), transparency=0)
    else:
        Image.fromarray(both).save(folder / (name := "a.png"))
        if kind == "pgw":
            (folder / "a.pgw").write_text("0.5\n0\n0\n-0.5\n100\n200\n")
    if labels_tiff:
        write_tiff(folder / "l.tif", _labels()[..., None], **(PLACE if name == "a.tif" else {}))
    else:
        Image.fromarray(_labels()).save(folder / "l.png")
    (folder / "train.txt").write_text(f"{name}\tl.{'tif' if labels_tiff else 'png'}\n")
    return FileLists(folder, "train", file=folder / "train.txt", class_names=["a", "b", "c"])


@pytest.mark.parametrize("labels_tiff", [False, True])
@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_check_counts_what_evaluation_counts(
    tmp_path: Path, kind: str, by_parts: bool, labels_tiff: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_pair(tmp_path, kind, labels_tiff=labels_tiff)
    if by_parts:
        monkeypatch.setattr("magnet.data.labelled_files._WHOLE", (64, 64))
    report = check_split(files)
    assert not report.wrong
    wanted = _labels()
    wanted[:24, :60] = 255
    assert report.counts.pixels == [int((wanted == i).sum()) for i in range(3)]
    assert report.counts.pixels[2] == 0 and report.counts.images_with == [1, 1, 0]
    assert report.counts.ignored == 24 * 60
    assert [note for note in report.notes if "': 11.7% of its pixels hold no value, and are ignored" in note]
    np.testing.assert_array_equal(files.load(0)[1], wanted)
    sizes: Any = {"scales": [(32, 32), SIZE], "patch_size": (32, 32), "n_points": 0.4}
    model = MagNet(build_segmenter("compact", 3), None, class_names=["a", "b", "c"], **sizes)
    for extent in ("scene", "ground"):
        files.inputs = InputSettings(extent=extent)
        confusion = run_evaluation(model, files, modes=["coarse"], boundary_width=0).confusion["coarse"]
        assert confusion.sum(axis=1).tolist() == report.counts.pixels


def test_the_sheet_shows_no_label_there(tmp_path: Path) -> None:
    """Its pixels are those of a sheet whose labels are ignored there."""
    files = write_pair(tmp_path, "png")
    shown = np.asarray(label_sheet([files]))
    ignored = _labels()
    ignored[:24, :60] = 255
    Image.fromarray(ignored).save(tmp_path / "l.png")
    np.testing.assert_array_equal(shown, np.asarray(label_sheet([files])))


def test_turned_pictures_and_their_validity(tmp_path: Path) -> None:
    """A picture with an EXIF turn: what is transparent is turned with it, or not."""
    pixels, labels = smooth(*SIZE), np.zeros(SIZE, np.uint8)
    labels[:, 70:] = 1
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:10, :20] = 0
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(labels).save(tmp_path / "l.png")
    (tmp_path / "train.txt").write_text("a.png\tl.png\n")
    files = FileLists(tmp_path, "train", file=tmp_path / "train.txt", class_names=["a", "b"])
    np.testing.assert_array_equal(files.load(0)[1] == 255, alpha[::-1, ::-1] == 0)
    files.exif = "ignore"
    np.testing.assert_array_equal(files.load(0)[1] == 255, alpha == 0)


def test_what_cannot_be_known_without_rasterio_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_pair(tmp_path, "nodata")
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> object:
        if name.split(".")[0] == "rasterio":
            raise ImportError("No module named 'rasterio'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    np.testing.assert_array_equal(files.load(0)[1], _labels())
    assert "may hold pixels without a value, which are taken as all others" in caplog.text
