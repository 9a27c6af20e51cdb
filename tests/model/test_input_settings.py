"""Networks of 1 to 16 channels, and how files become what they see: kept with a model, and used by it."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from map_data import PLACE, map_folder
from PIL import Image
from raster_files import noise, smooth, write_tiff
from torch import Tensor, nn

import magnet
from magnet.data import DataFolder
from magnet.data.check import check_split
from magnet.errors import MagNetError
from magnet.images import channel_statistics, normalize, to_tensor
from magnet.images.rasters.input_settings import InputSettings
from magnet.networks import SEGMENTERS
from magnet.notices import gathered
from magnet.training.fields import Fields

CLASSES = 4


def model_of(channels: int = 3, **settings: Any) -> magnet.MagNet:
    torch.manual_seed(3)
    return magnet.MagNet(
        magnet.build_segmenter("compact", CLASSES, channels=channels),
        magnet.RefinementModule(CLASSES),
        **{
            "channels": channels,
            "scales": [(32, 48), (64, 96)],
            "patch_size": (32, 48),
            "n_points": 0.5,
            "batch_size": 1,
            **settings,
        },
    ).eval()


def scaled(pixels: np.ndarray, low: float, high: float) -> Tensor:
    """(H, W, C) of any type -> (C, H, W) in [0, 1], as a plain computation."""
    share = np.clip((pixels.astype(np.float64) - low) / (high - low), 0, 1)
    return torch.from_numpy(np.moveaxis(share, -1, 0).astype(np.float32).copy())


def expected(model: magnet.MagNet, seen: Tensor) -> Tensor:
    """Probabilities for an image in [0, 1], normalised here."""
    mean, std = (torch.tensor([v] * len(seen)).view(-1, 1, 1) for v in (0.5, 0.25))
    if len(seen) == 3:
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return model(((seen - mean) / std)[None])[0]


@pytest.mark.parametrize("channels", [1, 3, 5, 16])
@pytest.mark.parametrize("name", SEGMENTERS)
def test_networks_are_built_for_any_number_of_channels(name: str, channels: int) -> None:
    with torch.device("meta"):
        network = magnet.build_segmenter(name, CLASSES, channels=channels).eval()
        assert network(torch.zeros(2, channels, 64, 64)).shape == (2, CLASSES, 64, 64)
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == network.in_channels == channels


@pytest.mark.parametrize("channels", [0, 17, True, 3.0, "3", None])
def test_what_is_no_number_of_channels(channels: Any) -> None:
    for build in (
        lambda: magnet.build_segmenter("compact", CLASSES, channels=channels),
        lambda: InputSettings(channels=channels),
        lambda: magnet.wrap(nn.Conv2d(3, 2, 1), channels=channels),
    ):
        with pytest.raises(ValueError, match="channels: expected an int of 1 to 16"):
            build()


def test_networks_of_three_channels_are_what_they_were() -> None:
    torch.manual_seed(0)
    before = magnet.build_segmenter("compact", CLASSES).state_dict()
    torch.manual_seed(0)
    after = magnet.build_segmenter("compact", CLASSES, channels=3).state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 16])
def test_normalization(channels: int) -> None:
    images = torch.rand(2, channels, 5, 6)
    mean, std = (
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else ([0.5] * channels, [0.25] * channels)
    )
    assert torch.equal(
        normalize(images), (images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    )


def test_floats_are_taken_as_they_are() -> None:
    image = np.random.default_rng(0).random((4, 5, 6), np.float32)
    found = to_tensor(image)
    assert torch.equal(found, torch.from_numpy(image).permute(2, 0, 1))
    found.zero_()
    assert image.any()  # a copy


def test_settings_are_kept_with_the_model(tmp_path: Path) -> None:
    given = {"bands": (5, 4, 3, 2, 1), "value_range": (0, 3000), "extent": "ground", "resolution": "0.5m"}
    model = model_of(5, **given)
    model.save_pretrained(tmp_path)
    loaded = magnet.MagNet.from_pretrained(tmp_path)
    assert loaded.inputs == model.inputs == InputSettings(channels=5, **given)
    assert (loaded.channels, loaded.bands, loaded.extent) == (5, (5, 4, 3, 2, 1), "ground")
    assert loaded.segmenter.in_channels == 5
    image = torch.rand(5, 64, 96)
    assert torch.equal(loaded.predict(image).probabilities, model.predict(image).probabilities)
    other = magnet.MagNet.from_pretrained(tmp_path, value_range="dtype", bands=(1, 2, 3, 4, 5))
    assert other.inputs == InputSettings(**{"channels": 5, **given, "value_range": "dtype", "bands": (1, 2, 3, 4, 5)})
    assert "channels=5" in repr(model) and pickle.loads(pickle.dumps(model)).inputs == model.inputs


def test_a_pair_for_each_channel_is_kept(tmp_path: Path) -> None:
    model_of(2, value_range=[(0, 10), (5, 20)]).save_pretrained(tmp_path)
    assert magnet.MagNet.from_pretrained(tmp_path).value_range == ((0.0, 10.0), (5.0, 20.0))


def test_models_of_8_bit_rgb_are_stored_as_before(tmp_path: Path) -> None:
    """So that they are read by versions without these settings, and folders of those are read here."""
    model_of().save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert not {"channels", "bands", "value_range", "extent", "resolution"} & set(stored)
    assert magnet.MagNet.from_pretrained(tmp_path).inputs == InputSettings()
    assert magnet.MagNet.from_pretrained("scenes").inputs.plain


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("channels", 4, "1 mis-shaped: segmenter.stem.0.weight"),
        ("channels", "five", "channels: expected an int of 1 to 16, got 'five'"),
        ("bands", [0, 1], "bands: expected 1 to 16 numbers"),
        ("extent", "sky", "extent: expected 'scene', 'ground' or None, got 'sky'"),
        ("resolution", "0.5 feet", "resolution: expected the side of a pixel"),
        ("value_range", [3, 1], "value_range: expected low < high"),
    ],
)
def test_damaged_settings_are_named(tmp_path: Path, key: str, value: Any, match: str) -> None:
    model_of(5).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(MagNetError, match=match):
        magnet.MagNet.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"channels": 3}, "channels: expected 5, as many as the segmenter sees .in_channels., got 3; pass channels=5"),
        ({"bands": (1, 2)}, "bands: expected 5, one for each channel, got 2"),
        ({"value_range": [(0, 1), (0, 2)]}, "value_range: expected one pair .low, high., or 5"),
        ({"extent": "Ground"}, "extent: expected 'scene', 'ground' or None, got 'Ground'"),
        ({"resolution": "0.5"}, "resolution: expected the side of a pixel"),
        ({"compat": "official"}, "channels: expected 3 with compat='official'"),
        ({"colour_statistics": ([0.5] * 3, [0.2] * 3)}, "colour_statistics: expected .* each of the 5 channels, got 3"),
    ],
)
def test_settings_that_do_not_fit(given: dict[str, Any], match: str) -> None:
    arguments = {"channels": 5, "scales": [(32, 48)], "patch_size": (32, 48), "n_points": 1, **given}
    with pytest.raises(ValueError, match=match.replace(".in_channels.", r"\(its in_channels\)")):
        magnet.MagNet(magnet.build_segmenter("compact", CLASSES, channels=5), None, **arguments)


def test_anyones_segmenter_must_agree() -> None:
    settings: dict[str, Any] = {"scales": [(32, 48)], "patch_size": (32, 48), "n_points": 1}
    with pytest.raises(ValueError, match="channels: expected 4, as many as the segmenter sees"):
        magnet.MagNet(nn.Conv2d(4, 2, 1), None, **settings)
    assert magnet.MagNet(nn.Conv2d(4, 2, 1), None, channels=4, **settings)(torch.randn(1, 4, 32, 48)).shape[1] == 2
    wrapped = magnet.wrap(nn.Conv2d(4, 2, 1), channels=4, mean=None, std=None)
    seen: list[Tensor] = []
    wrapped.model.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    image = torch.rand(4, 32, 48)
    magnet.MagNet(wrapped, None, channels=4, **settings).predict(image)
    assert torch.allclose(seen[0][0], image, atol=1e-6)  # in [0, 1], as mean and std of None ask for
    with pytest.raises(ValueError, match="mean: expected 4 numbers, one for each channel, got 3"):
        magnet.wrap(nn.Conv2d(4, 2, 1), channels=4)
    with pytest.raises(ValueError, match=r"images: expected \(N, 4, H, W\)"):
        wrapped(torch.rand(1, 3, 32, 48))


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError, match="bands: expected no change of how a model sees files"):
        model_of().bands = (3, 2, 1)


def test_a_file_of_five_bands(tmp_path: Path) -> None:
    pixels = noise(64, 96, 5, np.uint16)
    path = write_tiff(tmp_path / "five.tif", pixels)
    model = model_of(5, value_range=(1000, 40_000))
    plain = expected(model, scaled(pixels, 1000, 40_000))
    found = model.predict(path)
    assert torch.equal(found.probabilities, plain) and found.image_size == (64, 96)
    assert torch.equal(found.labels, plain.max(dim=0).indices)
    for image in (pixels, torch.from_numpy(pixels.astype(np.int32)).permute(2, 0, 1), scaled(pixels, 1000, 40_000)):
        assert torch.equal(model.predict(image).probabilities, plain)


def test_bands_are_taken_in_their_order(tmp_path: Path) -> None:
    pixels = noise(64, 96, 6)
    path = write_tiff(tmp_path / "six.tif", pixels)
    model = model_of(4, bands=(6, 1, 3, 3))
    plain = expected(model, scaled(pixels[..., [5, 0, 2, 2]], 0, 255))
    assert torch.allclose(model.predict(path).probabilities, plain, atol=1e-6)
    assert torch.allclose(model.predict(pixels).probabilities, plain, atol=1e-6)
    record = model.predict_raster(path, tmp_path / "out")
    assert np.array_equal(np.asarray(Image.open(record.outputs["labels"])), plain.argmax(dim=0).numpy())


def test_a_range_for_each_channel(tmp_path: Path) -> None:
    pixels = noise(64, 96, 2, np.uint16)
    model = model_of(2, value_range=[(0, 65535), (30_000, 40_000)])
    seen = torch.cat([scaled(pixels[..., :1], 0, 65535), scaled(pixels[..., 1:], 30_000, 40_000)])
    path = write_tiff(tmp_path / "two.tif", pixels)
    assert torch.equal(model.predict(path).probabilities, expected(model, seen))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_bytes(tmp_path: Path, suffix: str) -> None:
    grey = smooth(64, 96, 1)
    path = tmp_path / f"grey{suffix}"
    Image.fromarray(grey[..., 0]).save(path)
    model = model_of(1)
    plain = model(((torch.from_numpy(grey).permute(2, 0, 1).float() / 255 - 0.5) / 0.25)[None])[0]
    for image in (path, grey, grey[..., 0], Image.fromarray(grey[..., 0])):
        assert torch.equal(model.predict(image).probabilities, plain)


def test_grey_pictures_are_turned_as_they_say(tmp_path: Path) -> None:
    grey = smooth(96, 64, 1)[..., 0]
    image = Image.fromarray(grey)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    model = model_of(1)
    upright = np.rot90(grey, -1).copy()
    assert torch.equal(model.predict(tmp_path / "turned.png").labels, model.predict(upright).labels)


def test_16_bits_are_not_darkened(tmp_path: Path) -> None:
    """Without a range they were 0 to 65535, and reflectances of 0 to 3000 nearly black."""
    grey = (smooth(64, 96, 1).astype(np.uint32) * 3000 // 255).astype(np.uint16)
    Image.fromarray(grey[..., 0]).save(tmp_path / "deep.png")
    write_tiff(tmp_path / "deep.tif", grey)
    model = model_of(1, value_range=(0, 3000))
    plain = expected(model, scaled(grey, 0, 3000))
    with gathered() as told:
        for name in ("deep.png", "deep.tif"):
            assert torch.equal(model.predict(tmp_path / name).probabilities, plain)
    assert not told
    colour = model_of(3, value_range=(0, 3000))
    assert torch.equal(
        colour.predict(tmp_path / "deep.tif").probabilities, expected(colour, scaled(grey, 0, 3000).expand(3, -1, -1))
    )


UNFIT = pytest.mark.parametrize(
    ("values", "told"),
    [((20_000, 60_000), "of which .*% lie outside of the declared range"), ((10, 400), "comes out nearly black")],
)


@UNFIT
def test_values_that_do_not_fit_the_range_are_told(tmp_path: Path, values: tuple[int, int], told: str) -> None:
    pixels = np.random.default_rng(0).integers(*values, (64, 96, 2)).astype(np.uint16)
    path = write_tiff(tmp_path / "x.tif", pixels)
    model = model_of(2, value_range=(0, 10_000))
    for image, name in ((path, str(path)), (pixels, "image")):
        with gathered() as notices:
            model.predict(image)
        assert len(notices) == 1 and notices[0].path == name
        assert re.search(told, str(notices[0]))


def _in_fields(folder: Path, use: str, value_range: Any) -> list[str]:
    """What the check of data notes of a raster that is seen in fields; prediction and training warn."""
    files = DataFolder(folder, "train")
    files.inputs = InputSettings(channels=2, value_range=value_range, extent="ground")
    if use == "predict":
        model_of(2, value_range=value_range).predict_raster(files.pairs[0].image, folder / "out", overwrite=True)
    elif use == "train":
        Fields(files, [True], [(32, 48), (64, 96)], (64, 96))
    else:
        assert files.by_parts(0)
        return check_split(files).notes
    return []


@UNFIT
@pytest.mark.parametrize("use", ["predict", "train", "check"])
def test_values_that_do_not_fit_the_range_are_told_of_fields(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, use: str, values: tuple[int, int], told: str
) -> None:
    folder = map_folder(tmp_path / "maps", {"train": ((150, 220),)})
    path = folder / "images" / "map0.tif"
    pixels = np.random.default_rng(0).integers(*values, (150, 220, 2)).astype(np.uint16)
    pixels[:50] = 65_535  # nodata does not count
    write_tiff(path, pixels, nodata=65_535, overviews=(2, 4), **PLACE)
    for value_range in (values, "dtype", "percentile"):
        notes = _in_fields(folder, use, value_range)
        assert not caplog.messages and not [note for note in notes if "range" in note]
    notes = _in_fields(folder, use, (0, 10_000)) + caplog.messages
    (found,) = (note for note in notes if "range" in note)
    assert re.search(told, found) and f"'{path}'" in found


def test_bytes_are_refused_where_a_range_is_of_16_bits(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "bytes.tif", noise(64, 96, 2))
    model = model_of(2, value_range=(0, 3000))
    for image in (path, noise(64, 96, 2)):
        with pytest.raises(MagNetError, match=r"value_range: expected pixels of up to 3000, but .* uint8 pixels"):
            model.predict(image)
    with pytest.raises(MagNetError, match="value_range: expected pixels of up to 3000"):
        model.predict_raster(path, tmp_path / "out")


def test_sound_files_that_are_no_8_bit_rgb_are_not_called_corrupt(tmp_path: Path) -> None:
    """The error names what they are, and who sees them."""
    (tmp_path / "a.vrt").write_text("<?xml version='1.0'?>\n<VRTDataset rasterXSize='5' rasterYSize='5'></VRTDataset>")
    np.save(tmp_path / "a.npy", noise(64, 96))
    zarr.create_array(tmp_path / "a.zarr", data=noise(64, 96))
    write_tiff(tmp_path / "five.tif", noise(64, 96, 5))
    write_tiff(tmp_path / "float.tif", noise(64, 96, 1).astype(np.float32))
    declare = r"declare the bands and values that the networks see \(bands=, value_range=; --bands"
    model = model_of()
    for name, message in (
        ("a.vrt", "is a VRT, which names other files and is not followed; .*gdal_translate"),
        ("a.npy", r"is an array of NumPy; give it to predict_raster .*, or pass the array itself \(numpy.load\)"),
        ("a.zarr", "is an array of zarr; give it to predict_raster"),
        ("five.tif", f"5 bands of 8 bits .*save the three bands .*, or {declare}"),
        ("float.tif", f"32 float bits .*, or {declare}"),
    ):
        path = tmp_path / name
        for use in (lambda path=path: model.predict(path), lambda path=path: list(model.predict_many([path]))):
            with pytest.raises(MagNetError, match=message) as error:
                use()
            assert "corrupt" not in str(error.value) and "replace" not in str(error.value)
    with pytest.raises(MagNetError, match="is a VRT"):
        model.predict_raster(tmp_path / "a.vrt", tmp_path / "out")
    # what the messages say is a way
    assert model.predict(np.load(tmp_path / "a.npy")).labels.shape == (64, 96)
    for name in ("a.npy", "a.zarr"):
        assert model.predict_raster(tmp_path / name, tmp_path / name[2:]).size == (64, 96)
    assert model_of(bands=(3, 2, 1)).predict(tmp_path / "five.tif").labels.shape == (64, 96)
    assert model_of(value_range=(0, 255)).predict(tmp_path / "float.tif").labels.shape == (64, 96)


def test_images_and_labels_of_other_bands_are_no_damage_to_the_check_of_data(tmp_path: Path) -> None:
    folder = map_folder(tmp_path / "maps", {"train": ((64, 96), (64, 96))})
    write_tiff(folder / "images" / "map0.tif", noise(64, 96, 5))
    write_tiff(folder / "labels" / "map1.tif", noise(64, 96, 5) % 2)
    files = DataFolder(folder, "train")
    files.inputs = InputSettings(extent="scene")
    wrong = check_split(files).wrong
    (message,) = wrong["bands and values"]
    assert "map0.tif" in message and "data.bands, data.value_range" in message
    (message,) = wrong["unreadable"]
    assert "labels: expected" in message and "map1.tif" in message and "5 bands" in message
    assert "bands=" not in message  # of labels there are none to declare


def test_other_bands_are_refused_and_listed(tmp_path: Path) -> None:
    four = write_tiff(tmp_path / "four.tif", noise(64, 96, 4))
    with pytest.raises(MagNetError, match=r"bands: expected to be told which 3 of the 4 bands 1 \w+, 2 \w+.*--bands"):
        model_of().predict_raster(four, tmp_path / "out")
    with pytest.raises(MagNetError, match=r"bands: expected to be told which 1 of the 4 bands.*bands=\(1,\)"):
        model_of(1).predict(four)
    with pytest.raises(MagNetError, match=r"bands: expected to be told which 2 of the 4 bands.*bands=\(1, 2\)"):
        model_of(2).predict(four)
    with pytest.raises(MagNetError, match=r"bands: expected 5, as many as .* but '.*four.tif' has only the 4 bands"):
        model_of(5).predict(four)
    with pytest.raises(MagNetError, match=r"value_range: expected to be told which values .* uint16"):
        model_of(2).predict(write_tiff(tmp_path / "deep.tif", noise(64, 96, 2, np.uint16)))


def test_tensors_of_other_channels_are_refused() -> None:
    model = model_of(5)
    with pytest.raises(ValueError, match=r"images: expected \(N, 5, H, W\)"):
        model(torch.rand(1, 3, 64, 96))
    with pytest.raises(ValueError, match=r"image: expected one \(5, H, W\) tensor"):
        model.predict(torch.rand(3, 64, 96))
    with pytest.raises(MagNetError, match="bands: expected 5"):
        model.predict(noise(64, 96, 3))
    with pytest.raises(TypeError, match=r"image: expected a path, a PIL image, an \(H, W, 5\) array"):
        model.predict(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"image: expected an .* array, got shape"):
        model.predict(np.zeros((5, 64, 96), np.uint8))  # channels first


def test_pixels_without_a_value_are_black(tmp_path: Path) -> None:
    pixels = noise(64, 96, 2, np.uint16) // 2 + 1
    pixels[10:20, 30:40] = 0
    path = write_tiff(tmp_path / "x.tif", pixels, nodata=0)
    model = model_of(2, value_range=(-20_000, 40_000))
    seen = scaled(pixels, -20_000, 40_000)
    seen[:, 10:20, 30:40] = 0
    assert torch.equal(model.predict(path).probabilities, expected(model, seen))


def test_a_file_past_the_limit_is_read_at_the_last_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = smooth(128, 192, 5)
    path = write_tiff(tmp_path / "x.tif", pixels)
    model = model_of(5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100 * 100)
    found = model.predict(path)
    with magnet.open_raster(path) as raster:
        small = raster.read((0, 0, 192, 128), (64, 96))[0]
    assert found.image_size == (128, 192) and found.labels.shape == (64, 96)
    assert torch.equal(found.probabilities, model.predict(small).probabilities)


def test_colours_of_all_channels_are_matched() -> None:
    rng = np.random.default_rng(0)
    images = [rng.random((20, 30, 5), np.float32) ** 2 for _ in range(3)]
    statistics = channel_statistics(images)
    assert np.allclose(statistics[0], np.mean([image.mean((0, 1)) for image in images], axis=0), atol=1e-4)
    model = model_of(5, colour_statistics=statistics, match_colours=True)
    matched = model.matched(torch.rand(1, 5, 64, 96))
    assert torch.allclose(matched.mean((0, 2, 3)), torch.tensor(statistics[0]), atol=1e-4)
    assert torch.allclose(matched.std((0, 2, 3), correction=0), torch.tensor(statistics[1]), atol=1e-4)
    with pytest.raises(ValueError, match=r"colour_statistics: expected .* each of the 5 channels"):
        model.predict(torch.rand(5, 64, 96), colour_statistics=([0.5] * 3, [0.1] * 3))
    image = torch.rand(1, 5, 64, 96)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_forward = model((image - 0.5) / 0.25)
    assert torch.allclose(by_forward[0], model.predict(image[0]).probabilities, atol=1e-5)


def test_batches_and_graphs_of_five_channels() -> None:
    model = model_of(5)
    images = torch.randn(2, 5, 64, 96).clamp(-2, 2)
    both = model(images)
    assert torch.equal(both[1:], model(images[1:]))  # batch_size=1
    exported = torch.export.export(model, (images,)).module()
    assert torch.allclose(exported(images), both, atol=1e-5)


def test_the_resolution_of_the_model_counts(tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "map.tif", smooth(128, 192, 3), crs="EPSG:32632", transform=(0.5, 0, 5e5, 0, -0.5, 5e6)
    )
    kept = model_of(resolution="1m").predict_raster(path, tmp_path / "a", overlap=0)
    given = model_of().predict_raster(path, tmp_path / "b", overlap=0, resolution="1m")
    other = model_of(resolution="1m").predict_raster(path, tmp_path / "c", overlap=0, resolution="0.5m")
    assert kept.fields == given.fields == 1 and other.fields == 4
    assert kept.outputs["labels"].read_bytes() == given.outputs["labels"].read_bytes()
