"""``--save ids``: labels as the ids of a data set, by the mapping of its label files turned round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predicting import predict, save_small_model
from raster_files import write_slide, write_tiff
from walked import pixels_of

from magnet import MagNet
from magnet.data.cityscapes import LABEL_ID_TO_TRAIN_ID
from magnet.data.mappings import read_mapping
from magnet.errors import MagNetError
from magnet.model.class_ids import class_ids

MAPPING = {7: 0, 0: 1, 200: 2, 3: 255}
IDS = np.array([7, 0, 200])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model") / "plain")


@pytest.fixture(scope="module")
def mapped(plain: Path) -> Path:
    model = MagNet.from_pretrained(plain)
    model.save_pretrained(plain.parent / "mapped", info={"mapping": MAPPING})
    return plain.parent / "mapped"


def image_of(path: Path) -> Image.Image:
    return Image.open(path)


@pytest.mark.parametrize("name", ["scene.png", "raster.tif", "slide.svs"])
def test_ids_by_the_mapping_that_a_model_keeps_or_that_is_given(
    plain: Path, mapped: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    pixels = pixels_of(100, 120)
    if name == "scene.png":
        Image.fromarray(pixels).save(path)
    elif name == "raster.tif":
        write_tiff(path, pixels)
    else:
        write_slide(path, [pixels])
    ground = ("--extent", "ground") if name == "raster.tif" else ()
    (tmp_path / "data.yaml").write_text("classes: [a, b, c]\nmapping: {9: 0, 8: 1, 7: 2}\n")
    end = ".tif" if name == "slide.svs" else ".png"
    expected = {
        ("kept", mapped, ()): IDS,
        ("numbers", plain, ()): np.arange(3),
        ("none", mapped, ("--mapping", "none")): np.arange(3),
        ("given", mapped, ("--mapping", tmp_path / "data.yaml")): np.array([9, 8, 7]),
    }
    for (out, model, given), ids in expected.items():
        assert predict(model, tmp_path / out, path, *ground, "--save", "labels,ids", *given) == 0
        labels = np.asarray(image_of(next((tmp_path / out).glob("*_labels.*"))))
        found = image_of(tmp_path / out / f"{path.stem}_ids{end}")
        assert found.mode == "L" and len(np.unique(labels)) > 1
        assert np.array_equal(np.asarray(found), ids[labels])


def test_pixels_without_an_answer_stay_so(mapped: Path, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", pixels_of(100, 120))
    given = ("--extent", "ground", "--save", "labels,ids", "--roi", "0,0,60,100")
    assert predict(mapped, tmp_path / "out", path, *given) == 0
    labels, ids = (np.asarray(image_of(tmp_path / "out" / f"a_{kind}.png")) for kind in ("labels", "ids"))
    assert (labels[:, 60:] == 255).all() and np.array_equal(ids, np.append(IDS, [255] * 253)[labels])


def test_cityscapes_has_its_19_ids_back() -> None:
    ids = class_ids(read_mapping("cityscapes"), None, 19)
    assert list(ids) == list(range(19)) and all(LABEL_ID_TO_TRAIN_ID[value] == number for number, value in ids.items())
    assert (ids[0], ids[13], ids[18]) == (7, 26, 33)  # road, car, bicycle


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({7: 0, 8: 1}, "class 2 has none"),
        ({7: 0, 8: 1, 9: 2, 10: 1}, "class 1 has 8, 10, of which it is not known which"),
        ({7: 0, 8: 1, 9: 2, 10: 3}, "expected classes of the model, 0 to 2, got 3"),
        ({7: 0, 8: 1, 999: 2}, "expected the class of each label value"),
        ({"a": 0}, "expected the class of each label value"),
        ("cityscapes", "expected the class of each label value"),
    ],
)
def test_mappings_that_say_no_id_are_refused(mapping: object, message: str) -> None:
    for given in ((mapping, None), (None, {"mapping": mapping})):
        with pytest.raises(MagNetError, match=f"mapping: .*{message}"):
            class_ids(*given, 3)  # type: ignore[arg-type]


def test_255_is_an_id_of_scenes_alone(plain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.yaml").write_text("mapping: {0: 0, 128: 1, 255: 2}")
    Image.fromarray(pixels_of(60, 80)).save(tmp_path / "a.png")
    given = (tmp_path / "a.png", "--mapping", tmp_path / "m.yaml", "--save", "ids")
    assert predict(plain, tmp_path / "out", *given) == 0
    assert set(np.unique(np.asarray(image_of(tmp_path / "out" / "a_ids.png")))) <= {0, 128, 255}
    assert predict(plain, tmp_path / "ground", *given, "--extent", "ground") == 1
    assert "mapping: expected values below 255" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--mapping", "cityscapes"), "--mapping: expected --save with ids"),
        (("--mapping", "nowhere", "--save", "ids"), "--mapping: expected a YAML file or one of cityscapes, none"),
        (("--mapping", "a.png", "--save", "ids"), "--mapping: "),
        (("--mapping", "empty.yaml", "--save", "ids"), "--mapping: expected a YAML file with `mapping"),
        (("--mapping", "text.yaml", "--save", "ids"), "--mapping: expected a YAML file with `mapping"),
        (("--mapping", "cityscapes", "--save", "ids"), "mapping: expected classes of the model, 0 to 2, got 18"),
    ],
)
def test_what_cannot_be_is_told_before_any_image(
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels_of(60, 80)).save("a.png")
    Path("empty.yaml").write_text("classes: [a, b, c]")
    Path("text.yaml").write_text("mapping: {a: 1}")
    assert predict(plain, tmp_path / "out", "a.png", *given) != 0
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*_ids*"))
