"""Many images: what predict gives of each, in order, read ahead, with nothing left behind."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from walked import EXACT, build, pixels_of

from magnet import MagNetError, Prediction
from magnet.model.image_walk import ImageWalk

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [(48, 64), (48, 64), (30, 70), (90, 64), (48, 64)]


def sources(tmp_path: Path) -> list[Any]:
    """Arrays, files and tensors, of several sizes."""
    arrays = [np.roll(pixels_of(*size), i) for i, size in enumerate(SIZES)]
    Image.fromarray(arrays[1]).save(tmp_path / "1.png")
    return [arrays[0], tmp_path / "1.png", arrays[2], torch.from_numpy(arrays[3]).permute(2, 0, 1), arrays[4]]


def same(one: Prediction | None, other: Prediction) -> bool:
    assert one is not None
    assert one.image_size == other.image_size and (one.stages is None) == (other.stages is None)
    assert (one.probabilities is None) == (other.probabilities is None)
    for mine, theirs in zip(one.stages or (), other.stages or (), strict=True):
        assert list(mine.boxes) == list(theirs.boxes) and torch.equal(mine.probabilities, theirs.probabilities)
        assert (mine.points is None) == (theirs.points is None)
        assert mine.points is None or torch.equal(mine.points, theirs.points)
    equal = one.probabilities is None or torch.equal(one.probabilities, other.probabilities)  # type: ignore[arg-type]
    return equal and torch.equal(one.labels, other.labels)


def ours() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("magnet-")]


@pytest.mark.parametrize("options", [{}, {"return_stages": True}, {"probabilities": False}, {"n_patches": 2}])
@pytest.mark.parametrize("follow_image", [False, True])
def test_each_is_what_predict_gives(tmp_path: Path, options: dict, follow_image: bool) -> None:
    model, images = build(**EXACT, follow_image=follow_image), sources(tmp_path)
    got = list(model.predict_many(iter(images), **options))
    assert len(got) == len(images) and not ours()
    assert all(same(one, model.predict(image, **options)) for one, image in zip(got, images, strict=True))


@pytest.mark.parametrize("options", [{}, {"return_stages": True}, {"probabilities": False}, {"n_patches": 2}])
@pytest.mark.parametrize("follow_image", [False, True])
def test_images_share_passes_and_differ_in_nothing_else(tmp_path: Path, options: dict, follow_image: bool) -> None:
    model = build(**{**EXACT, "batch_size": 1}, follow_image=follow_image, match_colours=True, colour_statistics=STATS)
    images = sources(tmp_path)
    got = list(model.predict_many(images, images_per_pass=3, **options))
    assert all(same(one, model.predict(image, **options)) for one, image in zip(got, images, strict=True))


STATS = ([0.4, 0.5, 0.3], [0.2, 0.1, 0.2])


def test_passes_are_filled_by_images_of_one_plan(tmp_path: Path) -> None:
    counts: list[int] = []
    model = build(**{**EXACT, "batch_size": 8}, n_patches=2)
    model.segmenter.register_forward_hook(lambda _, given, __: counts.append(len(given[0])))
    list(model.predict_many(sources(tmp_path), images_per_pass=4))
    assert counts == [4, 8, 8, 1, 2, 2]
    counts.clear()
    arrays = [pixels_of(*size) for size in SIZES]  # with follow_image only the first two have one plan
    list(model.predict_many(arrays, images_per_pass=4, follow_image=True))
    assert counts[:3] == [2, 4, 4]


def test_the_release_is_walked_one_by_one(tmp_path: Path) -> None:
    model = build(compat="official", scales=[(24, 32), (48, 64)])
    images = sources(tmp_path)
    got = list(model.predict_many(images))
    assert all(same(one, model.predict(image)) for one, image in zip(got, images, strict=True))
    with pytest.raises(ValueError, match="images_per_pass: expected 1 with compat='official', got 2"):
        model.predict_many(images, images_per_pass=2)


@pytest.mark.parametrize("together", [1, 3])
def test_a_bad_file_is_named_in_its_turn_or_skipped(
    tmp_path: Path, together: int, caplog: pytest.LogCaptureFixture
) -> None:
    model, images = build(**{**EXACT, "batch_size": 1}), sources(tmp_path)
    (tmp_path / "bad.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    images[2:2] = [tmp_path / "bad.png", tmp_path / "gone.png"]
    made = model.predict_many(images, images_per_pass=together)
    assert [next(made) is not None for _ in range(2)] == [True, True]
    with pytest.raises(MagNetError, match=r"bad\.png"):
        next(made)
    assert not ours()
    with caplog.at_level(logging.WARNING, "magnet"):
        got = list(model.predict_many(images, images_per_pass=together, on_error="skip"))
    assert [one is None for one in got] == [False, False, True, True, False, False, False]
    told = [one.getMessage() for one in caplog.records]
    assert ["bad.png" in told[0], "gone.png" in told[1], len(told)] == [True, True, 2]
    assert all(same(one, model.predict(image)) for one, image in zip(got, images, strict=True) if one)


def test_wrong_images_are_numbered_and_wrong_arguments_told_at_once() -> None:
    model = build(**EXACT)
    with pytest.raises(ValueError, match=r"sources\[1\]: image: expected an \(H, W, 3\) uint8"):
        list(model.predict_many([pixels_of(48, 64), np.zeros((3, 3))], on_error="skip"))
    for given, kind, message in (
        ({"sources": "a.png"}, TypeError, "sources: expected a list or an iterator of images, got 'a.png'"),
        ({"sources": Path("a.png")}, TypeError, "sources: expected a list"),
        ({"sources": 3}, TypeError, "sources: expected a list"),
        ({"on_error": "ignore"}, ValueError, "on_error: expected 'raise' or 'skip', got 'ignore'"),
        ({"images_per_pass": 0}, ValueError, "images_per_pass: expected a positive int"),
        ({"n_points": -1}, ValueError, "n_points: "),
        ({"points": 1}, TypeError, "settings: expected some of"),
    ):
        with pytest.raises(kind, match=message):
            model.predict_many(**{"sources": [], **given})  # type: ignore[call-overload]
    assert list(model.predict_many([])) == []


def test_the_next_image_is_read_while_one_is_walked_over_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model, taken, opened = build(**EXACT), [0], [0]
    plain = ImageWalk.__init__

    def counted(self: ImageWalk, *given: Any) -> None:
        plain(self, *given)
        opened[0] += 1

    monkeypatch.setattr(ImageWalk, "__init__", counted)

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken[0] += 1
            yield pixels_of(48, 64)

    waited: list[bool] = []

    def wait_for_next(*_: object) -> None:
        deadline = time.monotonic() + 60
        while opened[0] < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        waited.append(opened[0] >= 2)

    model.segmenter.register_forward_hook(wait_for_next)
    made = model.predict_many(endless())
    assert taken[0] == 0
    for number in range(1, 5):
        next(made)
        assert number < taken[0] <= number + 2
    assert all(waited) and ours()
    made.close()
    assert not ours()


def test_an_error_of_a_network_or_of_the_sources_ends_the_threads() -> None:
    model = build(**EXACT)
    with pytest.raises(ZeroDivisionError):
        list(model.predict_many(pixels_of(48, 64) for i in range(5) if 3 // (3 - i)))
    assert not ours()

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    model.segmenter.register_forward_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        list(model.predict_many([pixels_of(48, 64)] * 5))
    assert not ours()


def test_a_page_of_each_is_what_predict_gives_of_it(tmp_path: Path) -> None:
    model, paths = build(**EXACT), [tmp_path / f"{name}.tif" for name in "ab"]
    for i, path in enumerate(paths):
        pages = [Image.fromarray(np.roll(pixels_of(48, 64), 7 * i + page)) for page in range(3)]
        pages[0].save(path, save_all=True, append_images=pages[1:])
    for page in (0, 2):
        got = list(model.predict_many(paths, page=page))
        assert all(same(one, model.predict(path, page=page)) for one, path in zip(got, paths, strict=True))
    with pytest.raises(MagNetError, match=r"page: expected 0 to 2, the pages of .*a\.tif', got 3"):
        list(model.predict_many(paths, page=3))
    with pytest.raises(ValueError, match=r"sources\[0\]: page: expected None, as the image is no path"):
        list(model.predict_many([pixels_of(48, 64)], page=0))
    with pytest.raises(TypeError, match="page: expected an int or None"):
        model.predict_many(paths, page="1")  # type: ignore[call-overload]


@pytest.mark.parametrize("closed", [False, True])
def test_how_many_files_there_is_a_notice_of_is_told_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, closed: bool
) -> None:
    for name in "abcd":
        Image.fromarray(np.dstack([pixels_of(48, 64), np.zeros((48, 64), np.uint8)])).save(tmp_path / f"{name}.png")
    found = build(**EXACT).predict_many(sorted(tmp_path.iterdir()))
    assert next(found) is not None
    if closed:
        found.close()
    else:
        assert len(list(found)) == 3
    told = [one for one in caplog.messages if "without a value" in one or "no value" in one]
    assert "other files of this folder are counted, not named" in told[0] and len(told) == 2
    counts = (2, 3) if closed else (4,)  # one or two are read ahead
    assert any(told[1].startswith(f"image: {n} images of '{tmp_path}' hold pixels without a value") for n in counts)
