"""One page of a TIFF of several as a scene: predicted as the picture that it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from raster_files import noise
from walked import EXACT, FIELD, build

from magnet import MagNet, build_segmenter
from magnet.cli.main import main
from magnet.errors import MagNetError

pytestmark = pytest.mark.usefixtures("one_thread")


def _stack(path: Path, count: int = 5, turned: int = 1) -> tuple[Path, list[np.ndarray]]:
    """Pages of one size, compressed, but for the last, which is grey and smaller; all with an orientation tag."""
    import tifffile

    pages = [noise(*FIELD, seed=i) for i in range(count - 1)] + [noise(30, 40, 1, seed=9)[..., 0]]
    with tifffile.TiffWriter(path) as file:
        for one in pages:
            kind = "rgb" if one.ndim == 3 else "minisblack"
            tag = [(274, "H", 1, turned, True)]
            file.write(one, photometric=kind, metadata=None, compression="zlib", extratags=tag)
    return path, pages


@pytest.mark.parametrize("turned", [1, 6])
@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_page_is_predicted_as_the_picture_that_it_is(tmp_path: Path, number: int, turned: int) -> None:
    path, pages = _stack(tmp_path / "x.tif", turned=turned)
    page = pages[number] if pages[number].ndim == 3 else np.repeat(pages[number][..., None], 3, axis=2)
    page = page if turned == 1 else np.ascontiguousarray(np.rot90(page, -1))
    model = build(**EXACT)
    found, expected = model.predict(path, page=number), model.predict(page)
    assert found.image_size == page.shape[:2]
    assert torch.equal(found.labels, expected.labels)
    assert found.probabilities is not None and torch.equal(found.probabilities, expected.probabilities)


@pytest.mark.parametrize("number", [0, 2])
def test_a_page_is_seen_with_its_own_values(tmp_path: Path, number: int) -> None:
    path, pages = _stack(tmp_path / "x.tif")
    model = build(**EXACT, value_range=(0, 200))
    assert torch.equal(model.predict(path, page=number).labels, model.predict(pages[number]).labels)


def test_several_pages_are_counted_and_offered(tmp_path: Path) -> None:
    path, _ = _stack(tmp_path / "x.tif")
    model = build(**EXACT)
    with pytest.raises(MagNetError, match=r"a TIFF of 4 pages of one size, .*page=N, --page N"):
        model.predict(path)
    for wrong in (5, -1):
        with pytest.raises(MagNetError, match="page: expected 0 to 4"):
            model.predict(path, page=wrong)
    with pytest.raises(TypeError, match="page: expected an int or None"):
        model.predict(path, page="2")
    with pytest.raises(ValueError, match="page: expected None, as the image is no path"):
        model.predict(noise(*FIELD), page=1)
    Image.fromarray(noise(*FIELD)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"page: expected None, as '.*x.png' is no TIFF"):
        model.predict(tmp_path / "x.png", page=1)


def test_a_page_past_the_limit_is_no_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = _stack(tmp_path / "x.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", FIELD[0] * FIELD[1] - 1)
    with pytest.raises(MagNetError, match="page: expected a file within Pillow's size limit"):
        build(**EXACT).predict(path, page=2)


def test_the_command_takes_a_page_of_a_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, pages = _stack(tmp_path / "x.tif")
    made = MagNet(build_segmenter("compact", 3), None, scales=[(32, 32), FIELD], patch_size=(32, 32), n_points=0.4)
    made.save_pretrained(tmp_path / "model")
    given = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--save", "labels"]
    assert main(["predict", str(path), *given, "--page", "2"]) == 0
    labels = np.asarray(Image.open(tmp_path / "out" / "x_page2_labels.png"))
    expected = MagNet.from_pretrained(tmp_path / "model").predict(pages[2], probabilities=False).labels
    assert np.array_equal(labels, expected.numpy())
    capsys.readouterr()
    assert main(["predict", str(path), *given]) != 0
    assert "has 4 pages" in capsys.readouterr().err
    assert main(["predict", str(path), *given, "--page", "7"]) != 0
    assert "page: expected 0 to 4" in capsys.readouterr().err
    Image.fromarray(noise(*FIELD)).save(tmp_path / "y.png")
    assert main(["predict", str(tmp_path / "y.png"), *given, "--page", "1"]) == 1
    assert "page: expected None" in capsys.readouterr().err
