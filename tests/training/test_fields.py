"""Training on rasters: fields read by window, the same samples whoever draws them, bounded memory."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from live import environment_of_a_program
from map_data import PLACE, map_folder, map_pixels
from PIL import Image
from raster_files import write_tiff
from safetensors.torch import load_file
from tiny_data import tiny_config, tiny_folder

from magnet.cli.config import parse_config
from magnet.data import DataFolder, ScaleCache, open_split
from magnet.data.config import DataConfig
from magnet.errors import ArgumentError, MagNetError
from magnet.images.rasters.input_settings import InputSettings
from magnet.model.magnet import MagNet
from magnet.training import fields as fields_module
from magnet.training.chains import ChainSamples
from magnet.training.config import AugmentConfig
from magnet.training.fields import Fields, as_fields
from magnet.training.loader import Loader
from magnet.training.loop import _parts
from magnet.training.run import run_training
from magnet.training.segmenter import SampleSource, SegmenterSamples
from magnet.walk.fields import lay_out

SIZES = [(32, 48), (64, 96)]
SCALE = SIZES[-1]


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # the work is too small for more


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"train": ((300, 400), (150, 220), (64, 96)), "val": ((200, 260),), "test": ((200, 260),)}
    return map_folder(tmp_path_factory.mktemp("fields") / "maps", sizes)


def fields_of(folder: Path, split: str = "train", **settings: Any) -> Fields:
    files = DataFolder(folder, split)
    files.inputs = InputSettings(**settings)
    found = as_fields(files, SIZES, SCALE)
    assert isinstance(found, Fields)
    return found


def whole(folder: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """An image and its labels as Pillow decodes them."""
    image, labels = (np.asarray(Image.open(folder / part / f"{stem}.tif")) for part in ("images", "labels"))
    return image, np.where(labels == 9, 255, labels)


def place_of(fields: Fields, index: int) -> tuple[str, int, int]:
    stem, x, y = fields.name(index).rsplit("_", 2)
    return stem, int(x), int(y)


def test_scenes_stay_the_data_set_that_they_are(tmp_path: Path, folder: Path) -> None:
    scenes = DataFolder(tiny_folder(tmp_path / "scenes"), "train")
    assert as_fields(scenes, SIZES, SCALE) is scenes
    maps = DataFolder(folder, "train")
    assert as_fields(maps, SIZES, (400, 500)) is maps  # all of them are smaller
    maps.inputs = InputSettings(extent="scene")
    assert as_fields(maps, SIZES, SCALE) is maps


def test_fields_are_a_layout_without_those_that_have_no_label(folder: Path) -> None:
    fields = fields_of(folder)
    wanted = {"map2"}  # as large as the last scale: a scene
    for stem in ("map0", "map1"):
        labels = whole(folder, stem)[1]
        layout = lay_out((labels.shape[0], labels.shape[1]), SCALE, overlap=0, step=2)
        for one in layout:
            x0, y0, x1, y1 = one.own
            if (labels[y0:y1, x0:x1] != 255).any():
                wanted.add(f"{stem}_{one.box[0]}_{one.box[1]}")
    assert sorted(fields.name(i) for i in range(len(fields))) == sorted(wanted)
    assert len(wanted) < 1 + sum(len(lay_out(size, SCALE, overlap=0)) for size in ((300, 400), (150, 220)))
    assert [fields.name(i) for i in range(len(fields))] == [fields_of(folder).name(i) for i in range(len(fields))]


def test_without_a_generator_each_labelled_pixel_is_in_one_field(folder: Path) -> None:
    fields = fields_of(folder)
    counts = {stem: np.zeros(whole(folder, stem)[1].shape, int) for stem in ("map0", "map1")}
    for index in range(len(fields)):
        if not fields.by_window(index):
            continue
        stem, x, y = place_of(fields, index)
        image, labels = fields.load(index)
        expected, ids = whole(folder, stem)
        np.testing.assert_array_equal(image, expected[y : y + 64, x : x + 96])
        there = labels != 255
        np.testing.assert_array_equal(labels[there], ids[y : y + 64, x : x + 96][there])
        counts[stem][y : y + 64, x : x + 96] += there
    for stem, count in counts.items():
        np.testing.assert_array_equal(count, whole(folder, stem)[1] != 255)


def test_a_field_is_seen_at_each_scale_on_its_own_level(folder: Path) -> None:
    fields = fields_of(folder)
    cache = ScaleCache(fields, SIZES)
    cache.preload()
    rng = np.random.default_rng(0)
    import rasterio

    for index in range(0, len(fields), 3):
        if not fields.by_window(index):
            continue
        stem = place_of(fields, index)[0]
        opened = cache.open(index, rng)
        assert opened.scales == [0, 1]
        x0, y0, x1, y1 = opened._view._box  # type: ignore[union-attr]
        assert (y1 - y0, x1 - x0) == SCALE and (x0 % 2, y0 % 2) == (0, 0)
        expected, ids = whole(folder, stem)
        for scale, step in ((1, 1), (0, 2)):
            image, labels = opened.get(scale)
            np.testing.assert_array_equal(labels, ids[y0:y1, x0:x1][step // 2 :: step, step // 2 :: step])
            if step == 2:
                with rasterio.open(folder / "images" / f"{stem}.tif", OVERVIEW_LEVEL=0) as file:
                    expected = np.moveaxis(file.read(), 0, -1)
            np.testing.assert_array_equal(image, expected[y0 // step : y1 // step, x0 // step : x1 // step])


def test_draws_reach_all_of_a_raster_and_stay_within_it(folder: Path) -> None:
    fields = fields_of(folder)
    reached = np.zeros((150, 220), bool)
    corners = set()
    for index in range(len(fields)):
        if not fields.name(index).startswith("map1_"):
            continue
        for seed in range(60):
            view = fields.view(index, np.random.default_rng(seed))
            assert view is not None
            x0, y0, x1, y1 = view._box
            assert 0 <= x0 <= 220 - 96 and 0 <= y0 <= 150 - 64 and (x1 - x0, y1 - y0) == (96, 64)
            reached[y0:y1, x0:x1] = True
            corners.add((x0, y0))
    assert reached[whole(folder, "map1")[1] != 255].all() and len(corners) > 100


def test_where_the_image_holds_no_value_labels_are_ignored(tmp_path: Path) -> None:
    pixels, labels = map_pixels((200, 300))
    labels[:] = 1
    pixels[:, :150] = 0
    for name, overviews in (("with", (2, 4, 8)), ("without", ())):
        write_tiff(tmp_path / "l.tif", labels[..., None], **PLACE)
        write_tiff(tmp_path / f"{name}.tif", pixels, overviews=overviews, nodata=0, **PLACE)
        (tmp_path / "train.txt").write_text(f"{name}.tif\tl.tif\n")
        config = DataConfig(root=str(tmp_path), format="list", classes=["a", "b"])
        config.lists.train = "train.txt"
        fields = as_fields(open_split(config, "train")[0], SIZES, SCALE)
        assert isinstance(fields, Fields)
        drawn = [fields.view(i, np.random.default_rng(i)) for i in range(len(fields))]
        left = [fields.name(i) for i in range(len(fields)) if place_of(fields, i)[1] + 96 < 140]
        assert bool(left) == (name == "without")  # a coarse level tells that fields are empty
        for view in drawn:
            assert view is not None
            for (height, width), step in zip(SIZES, (2, 1), strict=True):
                image, ids = view.at((height, width))
                seen = view._box[0] + step * np.arange(width) + step // 2 >= 150  # the pixel of each centre
                np.testing.assert_array_equal(ids, np.tile(np.where(seen, 1, 255), (height, 1)))
                assert (image[:, seen] > 0).all() and (step == 2 or (image[:, ~seen] == 0).all())
        shares = [(view.at(SCALE)[1] != 255).mean() for view in drawn if view is not None]
        assert np.mean([share > 0.2 for share in shares]) > (0.5 if left else 0.9)


def test_a_raster_smaller_than_a_field_is_one_field_with_a_rim(tmp_path: Path) -> None:
    map_folder(tmp_path / "maps", {"train": ((40, 200),)})
    fields = fields_of(tmp_path / "maps", extent="ground")
    assert {place_of(fields, i)[2] for i in range(len(fields))} == {0}
    expected, ids = whole(tmp_path / "maps", "map0")
    for index in range(len(fields)):
        view = fields.view(index, np.random.default_rng(index))
        assert view is not None
        x0 = view._box[0]
        image, labels = view.at(SCALE)
        assert (image[40:] == 0).all() and (labels[40:] == 255).all()
        np.testing.assert_array_equal(image[:40], expected[:, x0 : x0 + 96])
        np.testing.assert_array_equal(labels[:40], ids[:, x0 : x0 + 96])


@pytest.mark.parametrize(("resolution", "ratio"), [("1m", 2.0), ("0.25m", 0.5), ("0.75m", 1.5)])
def test_rasters_of_other_pixels_are_seen_at_the_resolution(folder: Path, resolution: str, ratio: float) -> None:
    fields = fields_of(folder, resolution=resolution)
    expected, ids = whole(folder, "map0")
    h, w = round(64 * ratio), round(96 * ratio)
    for index in range(len(fields)):
        if not fields.name(index).startswith("map0_"):
            continue
        _, x, y = place_of(fields, index)
        image, labels = fields.load(index)
        assert image.shape == (64, 96, 3) and labels.shape == SCALE
        rows, columns = (((np.arange(n) + 0.5) * ratio).astype(int) for n in SCALE)
        part = ids[y : y + h, x : x + w][np.ix_(rows, columns)]
        there = labels != 255
        np.testing.assert_array_equal(labels[there], part[there])
        shown = np.asarray(Image.fromarray(expected[y : y + h, x : x + w]).resize((96, 64), Image.Resampling.BILINEAR))
        assert np.abs(image.astype(int) - shown).mean() < 12  # an overview in between is rounded, and filters differ
    model = fields._files.inputs.resolution
    assert model == resolution


def test_a_resolution_needs_rasters_that_have_one(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ArgumentError, match=r"^data\.resolution: expected the side of a pixel as '0\.5m' or"):
        open_split(DataConfig(root=str(folder), resolution="fine"), "train")
    scenes = DataFolder(tiny_folder(tmp_path / "scenes"), "train")
    scenes.inputs = InputSettings(extent="ground", resolution="0.5m")
    with pytest.raises(MagNetError, match="resolution: expected a raster whose pixels have a known size"):
        as_fields(scenes, SIZES, SCALE)


def test_a_resolution_that_makes_no_difference_is_told(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scenes = DataFolder(tiny_folder(tmp_path / "scenes"), "train")
    scenes.inputs = InputSettings(resolution="0.5m")
    assert as_fields(scenes, SIZES, SCALE) is scenes
    assert len(caplog.messages) == 1 and "none of the images of the split 'train'" in caplog.messages[0]
    for settings, key in (({"extent": "scene", "resolution": "1m"}, "resolution"), ({"extent": "ground"}, "extent")):
        config = DataConfig(root=str(folder), **settings)  # type: ignore[arg-type]
        config.generated.train, config.generated.val = int(key == "extent"), 1
        with pytest.raises(ArgumentError, match=rf"^data\.{key}: expected none"):
            open_split(config, "train")


def test_pictures_past_pillows_limit_are_no_ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvips")
    scenes = DataFolder(tiny_folder(tmp_path / "scenes"), "train")
    scenes.inputs = InputSettings(extent="ground")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    told = r"expected a TIFF, to read a part of an? (image|labels) past Pillow's size limit|read a part of labels past"
    with pytest.raises(MagNetError, match=told):
        scenes.open(0)


def test_jpeg_2000_is_read_by_window_too(tmp_path: Path) -> None:
    pixels, labels = map_pixels((256, 384))
    lossless = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
    write_tiff(tmp_path / "a.jp2", pixels, **lossless, **PLACE)
    write_tiff(tmp_path / "l.jp2", labels[..., None], **lossless, **PLACE)
    (tmp_path / "train.txt").write_text("a.jp2\tl.jp2\n")
    config = DataConfig(root=str(tmp_path), format="list", classes=["a", "b"])
    config.lists.train = "train.txt"
    fields = as_fields(open_split(config, "train")[0], SIZES, SCALE)
    assert isinstance(fields, Fields)
    for index in range(0, len(fields), 4):
        view = fields.view(index, np.random.default_rng(index))
        assert view is not None
        x0, y0, x1, y1 = view._box
        image, ids = view.at(SCALE)
        np.testing.assert_array_equal(image, pixels[y0:y1, x0:x1])
        np.testing.assert_array_equal(ids, labels[y0:y1, x0:x1])


def test_maps_without_a_label_where_there_is_an_image_are_an_error(tmp_path: Path) -> None:
    path = map_folder(tmp_path / "maps", {"train": ((400, 600),)}, overviews=())
    pixels, labels = map_pixels((400, 600))
    pixels[:] = 0
    pixels[:40, :40] = 200
    labels[:200], labels[200:] = 255, 1
    write_tiff(path / "images" / "map0.tif", pixels, overviews=(2, 4, 8), nodata=0, **PLACE)
    write_tiff(path / "labels" / "map0.tif", labels[..., None], nodata=255, **PLACE)
    with pytest.raises(MagNetError, match=r"data: no field of the split 'train' of '.*maps' has a labelled pixel"):
        fields_of(path)


def test_colour_statistics_are_of_pixels_that_hold_a_value(tmp_path: Path) -> None:
    path = map_folder(tmp_path / "maps", {"train": ((128, 192),)}, overviews=())
    pixels, labels = map_pixels((128, 192))
    labels[:] = 1
    pixels[30:, :100] = 0
    write_tiff(path / "images" / "map0.tif", pixels, nodata=0, **PLACE)
    write_tiff(path / "labels" / "map0.tif", labels[..., None], **PLACE)
    fields = fields_of(path)
    cache = ScaleCache(fields, SIZES)
    shares = []
    for index in range(len(fields)):
        seen, image = cache.seen(index), cache.get(index, 0)[0]
        valid = cache.get(index, 0)[1] != 255
        np.testing.assert_array_equal(seen, image[valid][None])
        shares.append(valid.mean())
    assert min(shares) < 0.9 and len(fields) == 4


def samples_of(stage: str, fields: Any) -> SegmenterSamples | ChainSamples:
    cache = ScaleCache(fields, SIZES)
    cache.preload()
    augment = AugmentConfig(noise=0.1, rotate=10)
    if stage == "segmenter":
        return SegmenterSamples(SampleSource([cache], []), SIZES[0], augment)
    return ChainSamples([cache], SIZES[0], augment, (16, 24))


@pytest.mark.parametrize("stage", ["segmenter", "refiner"])
def test_samples_do_not_depend_on_who_draws_them(folder: Path, stage: str) -> None:
    def batches(first: int, workers: int) -> list[Any]:
        loader = Loader(samples_of(stage, fields_of(folder)), (5, 1), _parts(4, 1), first, 5, workers=workers)
        made = [loader.next()[0] for _ in range(first, 5)]
        loader.close()
        return made

    alone = batches(0, 0)
    for other in (batches(0, 2), batches(0, 3), [*alone[:2], *batches(2, 1)]):
        for mine, theirs in zip(alone, other, strict=True):
            for a, b in zip(mine[0], theirs[0], strict=True):
                assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    again = pickle.loads(pickle.dumps(samples_of(stage, fields_of(folder))))
    drawn = [one.draw(np.random.default_rng(3)) for one in (again, samples_of(stage, fields_of(folder)))]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True) if isinstance(a, torch.Tensor))


def test_only_tiles_that_a_sample_needs_are_decoded(tmp_path: Path) -> None:
    map_folder(tmp_path / "maps", {"train": ((1024, 1536),)})
    fields = fields_of(tmp_path / "maps")
    rng = np.random.default_rng(0)
    for scale in (0, 1):
        fields._opened.clear()
        view = fields.view(7, rng)
        assert view is not None
        labels, image = view._opened.label_tiles_read, view._opened.raster.tiles_read
        assert labels <= 2 * 3 * 4  # of 24 x 16 tiles of 64; at most four places are tried
        assert not image  # all pixels of this image hold a value: nobody asks
        view.at(SIZES[scale])
        assert set(image) == {1 - scale} and image.total() <= (2 * 3 if scale else 2 * 2)


def test_few_rasters_are_kept_open_and_little_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields_module, "_CACHE_BYTES", 100_000)
    map_folder(tmp_path / "maps", {"train": ((300, 400), (300, 400), (300, 400), (300, 400))})
    fields = fields_of(tmp_path / "maps")
    rng = np.random.default_rng(0)
    for _ in range(100):
        fields.load(int(rng.integers(len(fields))), rng)
        assert len(fields._opened) <= 2
        assert all(one.raster._kept_bytes <= 100_000 for one in fields._opened.values())  # type: ignore[attr-defined]


def test_a_mixture_is_each_by_itself(tmp_path: Path, folder: Path) -> None:
    fields = fields_of(folder)
    scene = next(i for i in range(len(fields)) if fields.name(i) == "map2")
    image, labels = DataFolder(folder, "train").load(2)
    got = fields.load(scene, np.random.default_rng(1))
    np.testing.assert_array_equal(got[0], image)
    np.testing.assert_array_equal(got[1], labels)
    cache = ScaleCache(fields, SIZES)
    cache.preload()
    assert {index for index, _ in cache._kept} == {scene}  # what is read by window is not kept


def test_pictures_may_be_seen_in_fields(tmp_path: Path) -> None:
    scenes = DataFolder(tiny_folder(tmp_path / "scenes", size=(130, 200)), "train")
    scenes.inputs = InputSettings(extent="ground")
    fields = as_fields(scenes, SIZES, SCALE)
    assert isinstance(fields, Fields) and len(fields) > len(scenes)
    for index in range(len(fields)):
        stem, x, y = place_of(fields, index)
        number = next(i for i in range(len(scenes)) if scenes.name(i) == stem)
        image, labels = scenes.load(number)
        got = fields.load(index)
        np.testing.assert_array_equal(got[0], image[y : y + 64, x : x + 96])
        there = got[1] != 255
        np.testing.assert_array_equal(got[1][there], labels[y : y + 64, x : x + 96][there])


def run(folder: Path, out: Path, **sections: str) -> Path:
    return run_training(parse_config(tiny_config(folder, out, **sections)))


def test_a_run_on_maps_is_the_same_with_any_workers_and_counts_fields_as_images(tmp_path: Path, folder: Path) -> None:
    length = {"segmenter.iterations": "0", "segmenter.epochs": "0.5", "data.resolution": "0.5m"}
    model = run(folder, tmp_path / "a", **length)
    other = run(folder, tmp_path / "b", **length, **{"data.workers": "2"})
    for name in ("segmenter/last.safetensors", "refiner/last.safetensors"):
        mine, theirs = (load_file(path.parent / name) for path in (model, other))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    steps = [json.loads(line) for line in (model.parent / "log.jsonl").read_text().splitlines()]
    last = max(line["step"] for line in steps if line.get("stage") == "segmenter" and "step" in line)
    assert last == round(0.5 * len(fields_of(folder)) / 2 + 0.25)
    counts = json.loads((model.parent / "labels.json").read_text())
    wanted = [whole(folder, f"map{i}")[1] for i in range(3)]
    assert counts["train"]["pixels"] == [sum(int((ids == i).sum()) for ids in wanted) for i in (0, 1)]
    assert counts["train"]["undeclared"] == 0
    trained = MagNet.from_pretrained(model)
    assert trained.inputs.resolution == "0.5m"
    record = trained.predict_raster(folder / "images" / "map0.tif", tmp_path / "out")
    assert record.size == (300, 400)


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from tiny_data import tiny_config
from magnet.cli.config import parse_config
from magnet.training.run import run_training
words = tiny_config(Path(sys.argv[1]), Path(sys.argv[2]), **{{
    "walk.scales": "[[64,64],[256,256]]", "walk.patch_size": "[64,64]", "segmenter.val_images": "2",
    "data.accept": "[ignored]"}})
run_training(parse_config(words))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
"""


def sparse_map(folder: Path, side: int) -> Path:
    """A map of ``side`` x ``side`` pixels, most of whose tiles are not in the files."""
    import rasterio
    from rasterio.windows import Window

    for part, bands in (("images", 3), ("labels", 1)):
        (folder / part).mkdir(parents=True)
        profile = {"driver": "GTiff", "height": side, "width": side, "count": bands, "dtype": "uint8", **PLACE}
        profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "nodata": 255}
        with rasterio.open(folder / part / "a.tif", "w", SPARSE_OK=True, **profile) as file:
            rng = np.random.default_rng(0)
            for corner in np.linspace(0, side - 1024, 4).astype(int) // 512 * 512:
                block = rng.integers(0, 2 if bands == 1 else 255, (bands, 1024, 1024), dtype=np.uint8)
                file.write(block, window=Window(int(corner), int(corner), 1024, 1024))
    (folder / "classes.txt").write_text("0 a\n1 b\n")
    for split in ("train", "val"):
        (folder / f"{split}.txt").write_text("a\n")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_raster_takes_little_more_memory_than_a_small_one(tmp_path: Path) -> None:
    peaks = []
    for side in (2048, 20000):
        program = PROGRAM.format(tests=str(Path(__file__).parent.parent))
        done = subprocess.run(
            [sys.executable, "-c", program, str(sparse_map(tmp_path / f"{side}", side)), str(tmp_path / f"out{side}")],
            capture_output=True,
            text=True,
            env=environment_of_a_program(),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 400, peaks  # MiB; decoded, the pair has 1600 MB
