"""Training on images of any bands and values, and what the model keeps of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from band_data import band_folder, read_bands
from PIL import Image
from raster_files import write_tiff
from tiny_data import tiny_config, tiny_folder

from magnet.cli.config import parse_config
from magnet.cli.evaluate import main as evaluate
from magnet.cli.predict import main as predict
from magnet.cli.train import main as train
from magnet.data import LabelledFiles, open_split
from magnet.data.percentiles import measured_range
from magnet.errors import MagNetError
from magnet.evaluation.metrics import confusion_matrix, iou_per_class
from magnet.images.rasters.input_settings import InputSettings
from magnet.model.magnet import MagNet
from magnet.networks import build_refiner, build_segmenter
from magnet.training import loop
from magnet.training.augment import ColourChange, cut, magnified, random_sample
from magnet.training.backbone import load_backbone
from magnet.training.config import AugmentConfig
from magnet.training.run import run_training

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
RUN = {"segmenter.iterations": "2", "refiner.iterations": "2"}
FIVE = {"data.channels": "5", "data.value_range": "[0, 3000]"}


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)


def run(folder: Path, out: Path, **keys: str) -> MagNet:
    return MagNet.from_pretrained(run_training(parse_config(tiny_config(folder, out, **{**RUN, **keys}))))


def splits(folder: Path, split: str = "train", **keys: str) -> list[LabelledFiles]:
    config = parse_config(tiny_config(folder, folder, **keys)).data
    return open_split(config, split, extra=True)  # type: ignore[return-value]


def images(folder: Path, split: str = "train") -> list[Path]:
    return [folder / "images" / f"{stem}.tif" for stem in (folder / f"{split}.txt").read_text().split()]


def test_five_bands_of_16_bits_from_the_file_to_the_prediction(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    keys = {"data.bands": "[5,4,3,2,1]", "data.extent": "scene"}
    model = run(folder, tmp_path / "out", **FIVE, **keys)
    assert model.inputs == InputSettings(channels=5, bands=(5, 4, 3, 2, 1), value_range=(0, 3000), extent="scene")
    path = images(folder, "test")[0]
    (pixels,) = read_bands([path])
    seen = torch.from_numpy(np.moveaxis(np.clip(pixels[..., ::-1] / 3000, 0, 1), -1, 0).astype(np.float32).copy())
    probabilities = model(((seen - 0.5) / 0.25)[None])[0]
    found = model.predict(path)
    assert torch.allclose(found.probabilities, probabilities, atol=1e-6)
    assert torch.equal(found.labels, found.probabilities.max(dim=0).indices)
    assert len(model.colour_statistics[0]) == 5
    words = ["--model", str(tmp_path / "out" / "tiny" / "model"), "--out", str(tmp_path / "results"), "--device", "cpu"]
    assert predict([str(path), *words, "--save", "labels,overlay,sheet"]) == 0
    labels = np.asarray(Image.open(tmp_path / "results" / f"{path.stem}_labels.png"))
    assert np.array_equal(labels, found.labels.numpy())


def test_one_band_of_bytes(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data", 1, np.uint8, 255)
    model = run(folder, tmp_path / "out", **{"data.channels": "1"})
    (pixels,) = read_bands(images(folder, "test")[:1])
    seen = torch.from_numpy(pixels[..., 0]).float()[None] / 255
    found = model.predict(images(folder, "test")[0])
    assert torch.equal(found.probabilities, model(((seen - 0.5) / 0.25)[None])[0])


def test_it_learns_what_a_single_band_shows(tmp_path: Path) -> None:
    """The last band tells the classes apart; it would be lost where three were read."""
    folder = tiny_folder(tmp_path / "data")
    rng = np.random.default_rng(0)
    for image in sorted((folder / "images").iterdir()):
        labels = np.asarray(Image.open(folder / "labels" / f"{image.stem}.png"))
        pixels = rng.integers(0, 3000, (*labels.shape, 4)).astype(np.uint16)
        pixels[..., 3] = np.where(labels == 1, 2500, 500)
        write_tiff(image.with_suffix(".tif"), pixels)
        image.unlink()
    keys = {"data.channels": "4", "data.value_range": "[0, 3000]", "segmenter.iterations": "80"}
    model = run(folder, tmp_path / "out", **keys, **{"segmenter.optim.ema": "0.5"})
    labels = np.array(Image.open(folder / "labels" / f"{images(folder, 'test')[0].stem}.png"))
    found = model.predict(images(folder, "test")[0], n_patches=0).labels.numpy()
    assert iou_per_class(confusion_matrix(torch.from_numpy(found), torch.from_numpy(labels), 2))[1] > 0.6


def test_percentiles_are_measured_once_over_the_training_images(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    model = run(folder, tmp_path / "out", **{"data.channels": "5", "data.value_range": "percentile"})
    values = np.concatenate([one.reshape(-1, 5) for one in read_bands(images(folder))])
    low, high = np.percentile(values, (2, 98), axis=0, method="inverted_cdf")
    assert model.value_range == tuple(zip(low.tolist(), high.tolist(), strict=True))
    stored = json.loads((tmp_path / "out" / "tiny" / "config.json").read_text())
    assert stored["data"]["value_range"] == [list(pair) for pair in model.value_range]


def test_images_count_alike_and_invalid_pixels_not_at_all(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data", 2, nodata=0)
    small = np.full((64, 96, 2), 0, np.uint16)
    small[:10, :10] = 9000
    write_tiff(images(folder)[0], small, nodata=0)
    low, high = measured_range(splits(folder, **{"data.channels": "2", "data.value_range": "percentile"}))[0]
    assert low < 3000 and high == 9000  # a quarter of the weight, though a hundredth of the pixels


def test_percentiles_of_a_grey_set_for_three_channels(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data", 1)
    datasets = splits(folder, **{"data.value_range": "percentile"})
    low, high = measured_range(datasets)
    assert 0 < low < high < 3000  # type: ignore[operator]


def test_a_run_goes_on_with_the_range_that_it_began_with(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    keys = {"data.channels": "5", "data.value_range": "percentile"}
    words = tiny_config(folder, tmp_path / "out", **{**RUN, **keys})
    assert train([*words, "--stage", "segmenter"]) == 0
    before = json.loads((tmp_path / "out" / "tiny" / "config.json").read_text())["data"]["value_range"]
    for path in images(folder):
        (pixels,) = read_bands([path])
        write_tiff(path, pixels * 2)
    model = MagNet.from_pretrained(run_training(parse_config([*words, "--stage", "refiner"])))
    assert [list(pair) for pair in model.value_range] == before
    assert train([*words, "--resume"]) == 0
    assert MagNet.from_pretrained(tmp_path / "out" / "tiny" / "model").value_range == model.value_range
    other = [*words, "--stage", "refiner", "--data.value_range", "[0,500]", "--overwrite"]
    with pytest.raises(MagNetError, match=r"data.value_range: expected \(\(.* as the run .* began with"):
        train(other)


def test_a_resumed_run_without_a_state_is_the_same_run(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    keys = {"data.channels": "5", "data.value_range": "percentile"}
    words = tiny_config(folder, tmp_path / "out", **{**RUN, **keys})
    assert train(words) == 0
    (tmp_path / "out" / "tiny" / "refiner" / "state.safetensors").unlink()
    assert train([*words, "--resume"]) == 0


def test_evaluation_sees_files_as_the_model_does(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    run(folder, tmp_path / "out", **FIVE)
    model = tmp_path / "out" / "tiny" / "model"
    words = ["--model", str(model), "--data", str(folder), "--modes", "coarse,sliding,magnet,fast,full"]
    assert evaluate([*words, "--out", str(tmp_path / "report"), "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "report" / "metrics.json").read_text())
    confusion = np.zeros((2, 2), np.int64)
    for path in images(folder, "test"):
        labels = np.asarray(Image.open(folder / "labels" / f"{path.stem}.png"))
        found = MagNet.from_pretrained(model).predict(path, n_patches=None).labels.numpy()
        for row in range(2):
            confusion[row] += np.bincount(found[labels == row], minlength=2)
    accuracy = 100 * confusion.trace() / confusion.sum()
    assert content["results"]["magnet"]["pixel_accuracy"] == pytest.approx(accuracy, abs=0.01)
    for more, told in (
        (["--data.channels", "2", "--data.bands", "[1,2]"], "data: has images of 2 channels, but the model sees 5"),
        (["--data.channels", "5", "--data.value_range", "[[0,1],[0,2]]"], "data.value_range: expected one pair"),
    ):
        with pytest.raises(MagNetError, match=told):
            evaluate([*words[:4], *more, "--device", "cpu"])
    rgb = tiny_folder(tmp_path / "rgb")
    with pytest.raises(MagNetError, match="bands: expected 5, as many as the network has channels"):
        evaluate(["--model", str(model), "--data", str(rgb), "--device", "cpu"])


def test_reports_draw_images_of_five_bands(tmp_path: Path) -> None:
    folder = band_folder(tmp_path / "data")
    torch.manual_seed(0)  # not trained: what that leads to differs from processor to processor, and may change no pixel
    model = MagNet(
        build_segmenter("compact", 2, channels=5).eval(),
        build_refiner("merge", 2).eval(),
        scales=[(32, 48), (64, 96)],
        patch_size=(32, 48),
        n_points=0.5,
        channels=5,
        value_range=(0, 3000),
    )
    model.save_pretrained(tmp_path / "model")
    words = ["--model", str(tmp_path / "model"), "--data", str(folder), "--out", str(tmp_path / "report")]
    assert evaluate([*words, "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "report" / "metrics.json").read_text())
    changed = {record["name"] for record in content["per_image"] if record["gain"]}
    pictures = list((tmp_path / "report").glob("*/*.jpg"))
    assert len(pictures) == len(changed) > 0
    for picture in pictures:
        with Image.open(picture) as opened:
            assert np.asarray(opened).std() > 10


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"data.channels": "4"}, "bands: expected to be told which 4 of the 5 bands"),
        ({"data.channels": "6"}, "bands: expected 6, as many as .* has only the 5 bands"),
        ({"data.channels": "5"}, "value_range: expected to be told which values are black and white"),
        (
            {"data.channels": "2", "data.bands": "[1,6]", "data.value_range": "dtype"},
            "bands: expected numbers from 1 to 5",
        ),
        ({"data.channels": "2", "data.bands": "[1]"}, "data.bands: expected 2, one for each channel, got 1"),
        ({"data.value_range": "[5,5]"}, "data.value_range: expected low < high"),
        ({"data.resolution": "5"}, "data.resolution: expected the side of a pixel"),
        (
            {"data.folders": "[]", "data.generated.train": "2", "data.generated.val": "1", "data.channels": "1"},
            "data.channels: expected 3, without bands and value_range, where data.generated",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_training(tmp_path: Path, keys: dict[str, str], told: str) -> None:
    folder = band_folder(tmp_path / "data")
    with pytest.raises(MagNetError, match=told):
        run(folder, tmp_path / "out", **keys)
    assert not (tmp_path / "out" / "tiny" / "segmenter").exists()


def test_augmentation_treats_each_channel_alike() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (40, 60), np.uint8)
    for image in (rng.integers(0, 256, (40, 60, 5), np.uint8), rng.random((40, 60, 5), np.float32)):
        geometry = {"angle": 0.3, "zoom": 1.4, "flip": (True, True)}
        window = (45, 33), (-3, 8), (20, 24)
        whole, ids = cut(image, labels, (18, 25), (16, 24), **geometry)  # type: ignore[arg-type]
        pixels, target = magnified(image, labels, *window)
        assert whole.shape == (5, 16, 24) and pixels.shape == (20, 24, 5) and pixels.dtype == image.dtype
        for channel in range(5):
            alone = image[..., channel : channel + 1]
            one, same = cut(alone, labels, (18, 25), (16, 24), **geometry)  # type: ignore[arg-type]
            assert torch.equal(whole[channel], one[0]) and torch.equal(ids, same)
            assert np.array_equal(pixels[..., channel], magnified(alone, labels, *window)[0][..., 0])
        outside = pixels[:3].astype(np.float64) / (255 if image.dtype == np.uint8 else 1)
        assert np.abs(outside - 0.5).max() <= 0.5 / 255 and (target[:3] == 255).all()


@pytest.mark.parametrize("crop", ["centred", "random"])
def test_samples_of_any_channels_are_normalised(crop: str) -> None:
    image = np.random.default_rng(0).random((40, 60, 2), np.float32)
    labels = np.zeros((40, 60), np.uint8)
    none = dict.fromkeys(("flip", "brightness", "contrast", "saturation", "tint", "gamma"), 0.0)
    config = AugmentConfig(**none, crop=crop)  # type: ignore[arg-type]
    found, _ = random_sample(np.random.default_rng(0), image, labels, (40, 60), config)
    expected = (torch.from_numpy(image).permute(2, 0, 1) - 0.5) / 0.25
    assert torch.allclose(found, expected, atol=1e-5)


def test_saturation_and_tint_are_of_colours_alone() -> None:
    none = dict.fromkeys(("flip", "brightness", "contrast", "saturation", "tint", "gamma"), 0.0)
    change = ColourChange(np.random.default_rng(0), AugmentConfig(**{**none, "saturation": 0.5, "tint": 0.5}))
    for channels in (1, 2, 4, 5):
        image = torch.rand(channels, 6, 7)
        assert torch.allclose(change(image), image, atol=1e-6)
    assert not torch.allclose(change(torch.rand(3, 6, 7) * 0.5), torch.rand(3, 6, 7) * 0.5, atol=1e-2)
    bright = ColourChange(np.random.default_rng(0), AugmentConfig(**{**none, "brightness": 0.5}))
    image = torch.rand(5, 6, 7) * 0.4
    ratio = bright(image) / image
    assert torch.allclose(ratio, ratio.flatten()[0], atol=1e-4) and abs(float(ratio.flatten()[0]) - 1) > 0.01


def test_loader_processes_read_the_same_bands(tmp_path: Path) -> None:
    """Which are forked after the images were read here."""
    folder = band_folder(tmp_path / "data")
    here, there = (
        run(folder, tmp_path / workers, **FIVE, **{"data.workers": workers, "data.cache_mb": "0"})
        for workers in ("0", "2")
    )
    other = there.state_dict()
    assert all(torch.equal(value, other[key]) for key, value in here.state_dict().items())


def test_pictures_show_three_of_the_channels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[str, np.ndarray] = {}

    class Board(loop.Board):
        live = True

        def pictures(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
            shown.update(pictures)

    monkeypatch.setattr(loop, "Board", Board)
    folder = band_folder(tmp_path / "data")
    run(folder, tmp_path / "out", **FIVE)
    (pixels,) = read_bands(images(folder, "val")[:1])
    expected = np.rint(np.clip(pixels[..., :3] / 3000, 0, 1) * 255)
    assert np.abs(shown["segmenter/p4"][:, :96].astype(int) - expected).max() <= 1
    assert shown["refiner/0_p4"].shape == (32, 5 * 52 - 4, 3)


@pytest.mark.parametrize("channels", [1, 5])
def test_imagenet_weights_are_adapted(tmp_path: Path, channels: int, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    state = {
        key: value
        for key, value in build_segmenter("hrnet18+ocr", 2).state_dict().items()
        if key.split(".")[0] not in ("conv3x3_ocr", "ocr_distri_head", "cls_head", "aux_head")
    }
    torch.save(state, tmp_path / "w.pth")
    network = build_segmenter("hrnet18+ocr", 2, channels=channels)
    load_backbone(network, tmp_path / "w.pth")
    assert f"adapted to {channels} channels" in capsys.readouterr().out
    assert torch.equal(network.state_dict()["conv2.weight"], state["conv2.weight"])
    grey = torch.rand(1, 1, 16, 16)
    expected = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), state["conv1.weight"], padding=1)
    found = network.conv1(grey.expand(-1, channels, -1, -1))
    assert torch.allclose(found, expected, atol=1e-5)
