"""Labels that are legal, and yet cannot be meant: told before work, by the check and by training alike."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from png_files import write_png_bits
from sample_data import cityscapes_sample, deepglobe_sample, save
from tiff_files import write_packed, write_strips
from tiny_data import tiny_config, tiny_folder

from magnet.cli import main as cli
from magnet.cli.config import parse_config
from magnet.data import Cityscapes, DataFolder, DeepGlobe, YamlData, counting, read_labels
from magnet.data.labels import ClassColours
from magnet.data.meaning import ImageLabels, LabelCounts, judge_scored, judge_trained
from magnet.data.names import compare_names
from magnet.errors import MagNetError
from magnet.evaluation import run_evaluation
from magnet.model.magnet import MagNet
from magnet.networks import RefinementModule, build_segmenter
from magnet.training.network import start_from
from magnet.training.run import run_training


@pytest.fixture(autouse=True)
def one_thread(restore_threads: None) -> None:
    torch.set_num_threads(1)  # the work is too small for more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


ONE_STEP = {"segmenter.iterations": "1", "segmenter.val_images": "1"}


def change_labels(folder: Path, change: Callable[[np.ndarray], np.ndarray], *stems: str) -> None:
    for file in sorted((folder / "labels").iterdir()):
        if not stems or file.stem in stems:
            save(change(np.array(Image.open(file))), file)


def as_mask(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 1, 255, 0).astype(np.uint8)


def counted(num_classes: int, *images: dict[int, int], undeclared: bool = True) -> LabelCounts:
    """Counts of images whose pixels have these values, which are class ids."""

    def one(pixels: dict[int, int]) -> ImageLabels:
        values = np.zeros(256, np.int64)
        values[list(pixels)] = list(pixels.values())
        return ImageLabels(values, values, undeclared)

    return LabelCounts.of([f"c{i}" for i in range(num_classes)], [one(image) for image in images])


# the judgement


def test_counts_are_those_of_the_images() -> None:
    counts = counted(3, {0: 5, 1: 2, 255: 3}, {0: 4, 255: 1}, {1: 7})
    assert counts.pixels == [9, 9, 0] and counts.images_with == [2, 2, 0]
    assert (counts.ignored, counts.undeclared, counts.values) == (4, 4, [0, 1, 255])
    assert counts.beside == [2, 1, 0]  # images with 255 and the class
    assert counted(3, {0: 5, 255: 3}, undeclared=False).undeclared == 0
    double = counts + counts
    assert double.pixels == [18, 18, 0] and double.values == [0, 1, 255] and double.beside == [4, 2, 0]
    assert LabelCounts(**json.loads(json.dumps(vars(counts)))) == counts


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        (counted(2, {0: 95, 255: 5}), r"class 1 \(c1\).*values 0, 255, and 255 is ignored.*`mapping: {0: 0, 255: 1}`"),
        (counted(2, {0: 95, 255: 5}, undeclared=False), r"class 1 \(c1\).*`mapping: {0: 0, 255: 1}`"),
        (counted(2, {0: 100}), r"class 1 \(c1\).*every label pixel is 0, as after a division by 255"),
        (counted(3, {0: 60, 1: 38, 255: 2}), r"class 2 \(c2\).*`mapping: {0: 0, 1: 1, 255: 2}`"),
        (counted(4, {0: 60, 2: 40}), r"class 1 \(c1\), 3 \(c3\), so the model cannot learn it; the label files hold"),
        (counted(2, {255: 100}), "no pixel of the training labels is of a class: there is nothing to learn"),
        (counted(2, {0: 50, 1: 29, 255: 21}), "21% of the pixels of the training labels are 255"),
    ],
)
def test_what_is_wrong_with_labels_to_train_on(counts: LabelCounts, told: str) -> None:
    verdict = judge_trained(counts)
    assert len(verdict.wrong) == 1
    with pytest.raises(MagNetError, match=told):
        raise MagNetError(verdict.wrong[0])


@pytest.mark.parametrize(
    ("counts", "doubtful"),
    [
        (counted(2, {0: 50, 1: 50}), 0),
        (counted(2, {0: 50, 1: 45, 255: 5}), 0),  # borders
        (counted(2, {0: 50, 1: 40, 255: 10}), 1),  # a street scene: one warning
        (counted(2, {0: 50, 1: 29, 255: 21}, undeclared=False), 0),  # declared
        (counted(2, {0: 96, 255: 4}, {0: 60, 1: 40}), 1),  # two ways to write a mask
        (counted(3, {0: 96, 255: 4}, {0: 60, 1: 20, 2: 20}), 0),
    ],
)
def test_what_may_be_meant_is_no_error(counts: LabelCounts, doubtful: int) -> None:
    verdict = judge_trained(counts)
    assert not verdict.wrong and len(verdict.doubtful) == doubtful


def test_what_is_declared_is_no_error() -> None:
    assert judge_trained(counted(3, {0: 60, 2: 40}), ["absent"]).wrong == []
    assert judge_trained(counted(3, {255: 60}), ["absent"]).wrong  # nothing to learn is never meant


def test_labels_to_compare_with() -> None:
    assert judge_scored(counted(3, {0: 50, 1: 50}), "val").wrong == []  # a class may be missing here
    (told,) = judge_scored(counted(2, {0: 90, 255: 10}), "val").wrong
    assert "are all of one class, 0 (c0), so its scores say nothing" in told and "`mapping: {0: 0, 255: 1}`" in told
    verdict = judge_scored(counted(2, {0: 100}), "val")
    assert not verdict.wrong and len(verdict.doubtful) == 1
    (told,) = judge_scored(counted(2, {255: 9}), "test", "they are secret").wrong
    assert told.endswith("there is nothing to compare with; they are secret")


# before training


def test_masks_of_0_and_255_end_before_work_and_the_mapping_mends_them(folder: Path, tmp_path: Path) -> None:
    change_labels(folder, as_mask)
    with pytest.raises(MagNetError, match=r"class 1 \(thing\).*`mapping: {0: 0, 255: 1}`.*data\.format yaml"):
        run_training(parse_config(tiny_config(folder, tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()
    for split in ("train", "val"):
        stems = (folder / f"{split}.txt").read_text().split()
        (folder / f"{split}.lst").write_text("".join(f"images/{s}.jpg\tlabels/{s}.png\n" for s in stems))
    (folder / "d.yaml").write_text(
        "classes: [ground, thing]\nmapping: {0: 0, 255: 1}\ntrain: {list: train.lst}\nval: {list: val.lst}\n"
    )
    keys = {"data.folders": "[]", "data.root": str(folder), "data.format": "yaml", "data.file": "d.yaml"}
    run_training(parse_config(tiny_config(folder, tmp_path / "runs", **ONE_STEP, **keys)), "segmenter")
    content = json.loads((tmp_path / "runs" / "tiny" / "labels.json").read_text())
    assert content["class_names"] == ["ground", "thing"] and min(content["train"]["pixels"]) > 0


def check(folder: Path, run: Path, *others: Path, accept: tuple[str, ...] = (), go_on: bool = False) -> None:
    """What training does with its labels before it begins."""
    train, val = [DataFolder(f, "train") for f in (folder, *others)], DataFolder(folder, "val")
    for dataset in (*train, val):
        dataset.accept = accept
    run.mkdir(exist_ok=True)
    counting.keep_counts(run, counting.check_labels(train, val, run, go_on=go_on))


def test_an_absent_class_may_be_declared(folder: Path, tmp_path: Path) -> None:
    change_labels(folder, lambda labels: labels * 0, "p0", "p1", "p2", "p3")
    with pytest.raises(MagNetError, match=r"every label pixel is 0.*data\.accept: \[absent\]"):
        check(folder, tmp_path / "run")
    check(folder, tmp_path / "run", accept=("absent",))
    assert parse_config(tiny_config(folder, tmp_path, **{"data.accept": "[absent]"})).data.accept == ["absent"]


def test_classes_of_all_folders_to_train_on_count(folder: Path, tmp_path: Path) -> None:
    other = tiny_folder(tmp_path / "other")
    change_labels(folder, lambda labels: labels * 0, "p0", "p1", "p2", "p3")
    check(folder, tmp_path / "run", other)
    words = ["data", "check", str(folder), "--split", "train"]
    assert cli.main(words) == 1
    assert cli.main([*words, "--data.root", str(tmp_path), "--data.folders", "[data,other]"]) == 0


def test_labels_are_read_once_for_a_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    check(folder, run)
    kept = (run / "labels.json").read_text()
    reads: list[str] = []
    read = counting._count
    monkeypatch.setattr(counting, "_count", lambda data, *limit: (reads.append(data.split), read(data, *limit))[1])
    check(folder, run)
    assert not reads and (run / "labels.json").read_text() == kept
    os.utime(folder / "labels" / "p0.png", (1, 1))
    check(folder, run)
    assert reads == ["train", "val"]
    (run / "labels.json").write_text("damaged")
    check(folder, run)
    assert len(reads) == 4
    (folder / "classes.txt").write_text("0 ground\n1 thing\n2 third\n")  # the same files, another meaning
    with pytest.raises(MagNetError, match=r"class 2 \(third\)"):
        check(folder, run)


def test_many_ignored_pixels_are_declared_by_a_line_of_the_class_file(folder: Path) -> None:
    def most(labels: np.ndarray) -> np.ndarray:
        labels[:20] = 255
        labels[20:22] = 1
        return labels

    change_labels(folder, most)
    assert cli.main(["data", "check", str(folder)]) == 0  # it has the line
    (folder / "classes.txt").write_text("0 ground\n1 thing\n")
    assert cli.main(["data", "check", str(folder)]) == 1
    assert cli.main(["data", "check", str(folder), "--data.accept", "[ignored]"]) == 0


# lossy files


def test_lossy_labels_are_refused_by_what_they_are(folder: Path) -> None:
    path = folder / "labels" / "p0.png"
    Image.open(path).save(path, format="JPEG")
    data = DataFolder(folder, "train")
    with pytest.raises(MagNetError, match=r"p0\.png' is JPEG.*PNG is wanted.*data\.accept: \[lossy\]"):
        data.load(0)
    with pytest.raises(MagNetError, match="is JPEG"):
        read_labels(path)
    save(np.zeros((64, 96), np.uint8), path)
    Image.open(path).save(path, format="JPEG", quality=100)
    data.accept = ["lossy"]
    assert not data.load(0)[1].any()


@pytest.mark.parametrize(
    ("suffix", "options", "lossy"),
    [
        (".webp", {"lossless": True}, ""),
        (".webp", {"lossless": False}, "WebP"),
        (".tif", {"compression": "jpeg"}, "JPEG"),
        (".tif", {"compression": "tiff_lzw"}, ""),
        (".bmp", {}, ""),
        (".jp2", {"irreversible": True}, "JPEG 2000"),
        (".jp2", {"irreversible": False}, ""),
        (".j2k", {"irreversible": True}, "JPEG 2000"),
    ],
)
def test_which_files_are_lossy(suffix: str, options: dict[str, object], lossy: str, tmp_path: Path) -> None:
    path = tmp_path / f"l{suffix}"
    Image.new("RGB", (16, 16), (0, 255, 0)).save(path, **options)
    assert ClassColours({(0, 255, 0): 1}, "ignore").read(path).lossy == lossy


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_samples_of_fewer_bits_are_ids_as_they_are(suffix: str, bits: int, tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 1 << bits, (8, 16), dtype=np.uint8)
    if suffix == "tif":
        write_packed(tmp_path / "x.tif", labels, bits)
    else:
        write_png_bits(tmp_path / "x.png", labels, bits)
    assert np.array_equal(read_labels(tmp_path / f"x.{suffix}"), labels)


def test_label_tiffs_are_whole_and_mean_what_they_hold(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 2, (8, 16, 1), dtype=np.uint8)
    path = tmp_path / "x.tif"
    write_strips(path, labels, rows=2, keep=3)
    with pytest.raises(MagNetError, match=r"expected a whole TIFF, got 3 of its 4 strips or tiles; .*x\.tif"):
        read_labels(path)
    write_strips(path, labels, tags={262: [0]})
    with pytest.raises(MagNetError, match=r"^labels: expected grey whose 0 is black, got a TIFF whose 0 is white"):
        read_labels(path)
    pages = [Image.fromarray(labels[..., 0] ^ page) for page in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(MagNetError, match=r"^labels: expected one image, got a TIFF of several pages"):
        read_labels(path)


def test_a_pgm_of_fewer_than_256_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pgm").write_bytes(b"P5 2 1 15 \x00\x01")
    with pytest.raises(MagNetError, match=r"^labels: expected samples of 8 bits, got those of a PGM of less"):
        read_labels(tmp_path / "x.pgm")
    (tmp_path / "x.pgm").write_bytes(b"P5 2 1 255 \x00\x01")
    assert read_labels(tmp_path / "x.pgm").tolist() == [[0, 1]]


# names


def test_names_are_compared() -> None:
    assert compare_names(None, ["a"], "x", "y") is None
    assert compare_names(["Traffic Light", "b"], ["traffic_light", "B"], "x", "y") is None
    told = compare_names(["a", "b"], ["a", "c"], "the model", "the data")
    assert told is not None and "1 is 'b' there and 'c' here" in told
    for names in (["b", "a"], ["c", "a"], ["b", "c"]):
        with pytest.raises(MagNetError, match="has them in another order than the data: class 0 is 'a' there"):
            compare_names(["a", "b"], names, "the model", "the data")
    with pytest.raises(MagNetError, match=r"the model has 2 \(a, b\), but the data 1 \(a\)"):
        compare_names(["a", "b"], ["a"], "the model", "the data")


def swap_names(folder: Path) -> None:
    (folder / "classes.txt").write_text("0 thing\n1 ground\n255 ignore\n")


def test_a_run_does_not_go_on_with_names_in_another_order(folder: Path, tmp_path: Path) -> None:
    words = tiny_config(folder, tmp_path / "runs", **ONE_STEP)
    run_training(parse_config(words), "segmenter")
    swap_names(folder)
    for more, stage in ((["--resume"], "segmenter"), ([], "refiner")):
        with pytest.raises(MagNetError, match=r"the run '.*tiny' has them in another order than its data"):
            run_training(parse_config([*words, *more]), stage)
    run = tmp_path / "runs" / "tiny"
    (run / "labels.json").write_text("{")
    with pytest.raises(MagNetError, match=r"labels\.json', which holds the classes of the run, is damaged"):
        check(folder, run, go_on=True)
    (run / "labels.json").unlink()
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text('{"class_names": ["ground", "thing"]}')
    with pytest.raises(MagNetError, match="has them in another order than its data"):
        check(folder, run, go_on=True)
    check(folder, run)  # a run that begins anew may have any


def test_a_model_is_not_scored_or_trained_on_with_names_in_another_order(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    network, options = build_segmenter("compact", 2), {"scales": [(32, 48), (64, 96)], "patch_size": (32, 48)}
    model = MagNet(network, RefinementModule(2), n_points=0.5, class_names=["ground", "thing"], **options)
    model.save_pretrained(tmp_path / "model")
    run_evaluation(model, DataFolder(folder, "val"), modes=["coarse"], boundary_width=0)
    start_from(network, str(tmp_path / "model"), ["ground", "thing"])
    assert not caplog.messages
    (folder / "classes.txt").write_text("0 ground\n1 car\n")
    run_evaluation(model, DataFolder(folder, "val"), modes=["coarse"], boundary_width=0)
    start_from(network, str(tmp_path / "model"), ["ground", "car"])
    assert len(caplog.messages) == 2 and all("1 is 'thing' there and 'car' here" in told for told in caplog.messages)
    swap_names(folder)
    with pytest.raises(MagNetError, match="the model has them in another order than the data"):
        run_evaluation(model, DataFolder(folder, "val"), modes=["coarse"], boundary_width=0)
    with pytest.raises(MagNetError, match=r"segmenter\.init '.*' has them in another order"):
        start_from(network, str(tmp_path / "model"), ["thing", "ground"])


def test_eval_ends_where_scores_would_say_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"scales": [(32, 48), (64, 96)], "patch_size": (32, 48), "n_points": 0.5}
    MagNet(build_segmenter("compact", 2), RefinementModule(2), **options).save_pretrained(tmp_path / "model")
    (folder / "classes.txt").write_text("0 ground\n1 thing\n")
    change_labels(folder, as_mask)
    assert cli.main(["eval", "--model", str(tmp_path / "model"), "--data", str(folder), "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert "`mapping: {0: 0, 255: 1}`" in captured.err and not captured.out


# files that are not data, and names


def test_hidden_files_are_no_data(folder: Path, tmp_path: Path) -> None:
    fork = b"\0\5\26\7Mac OS X"
    for name in ("images/._p0.jpg", "labels/._p0.png", "images/.hidden.png"):
        (folder / name).write_bytes(fork)
    assert len(DataFolder(folder, "train")) == 4 and not DataFolder(folder, "train").strays()
    deepglobe_sample(tmp_path / "g")
    (tmp_path / "g" / "train" / "._1000_sat.jpg").write_bytes(fork)
    assert len(DeepGlobe(tmp_path / "g", "train", val=0, test=0)) == 8
    cityscapes_sample(tmp_path / "c")
    city = tmp_path / "c" / "leftImg8bit" / "train"
    (city / "._aachen").mkdir()
    (city / "aachen" / "._aachen_000000_000000_leftImg8bit.png").write_bytes(fork)
    assert len(Cityscapes(tmp_path / "c", "train")) == 4


def test_names_that_are_not_utf8_end_no_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "data", counts=(3, 1, 1))
    for part, suffix in (("images", ".jpg"), ("labels", ".png")):
        os.rename(folder / part / f"p0{suffix}", os.fsencode(folder / part) + b"/p\xff0" + suffix.encode())
    (folder / "d.yaml").write_text(
        "classes: [ground, thing]\nignore: [255]\n"
        + "".join(f"{split}: {{images: images, labels: labels}}\n" for split in ("train", "val"))
    )
    data = YamlData(folder / "d.yaml", "train")
    assert [data.name(i) for i in range(len(data))] == ["p1", "p2", "p3", "p4", "p\\xff0"]
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # strict, as a terminal's
    monkeypatch.setattr(sys, "stdout", stream)
    assert cli.main(["data", "check", str(folder / "d.yaml")]) == 1
    stream.flush()
    assert b"p\\udcff0.jpg is in train and val" in stream.buffer.getvalue()
