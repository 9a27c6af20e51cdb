"""Jobs of ``magnet predict``: folders below folders, and what of a job is done already."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from live import environment_of_a_program
from output_files import contents, names, picture, run
from raster_files import noise, write_tiff
from tiny_model import save_tiny_model

from magnet.cli import predict_scenes
from magnet.cli.predict_inputs import find_inputs
from magnet.files.manifest import MANIFEST, read_manifests
from magnet.files.outputs import RECORD
from magnet.model.raster_walk import RasterWalk

pytestmark = pytest.mark.usefixtures("one_thread_in_the_module")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five images in three folders, two of them of one name, and what is left out."""
    for seed, name in enumerate(("a.png", "b.png", "x/a.png", "x/y/a.png", "x/y/c.png")):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / "data" / name, seed)
    for name in (".dot.png", ".hidden/a.png", "x/.dot.png"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        picture(tmp_path / "data" / name)
    return tmp_path / "data"


INPUTS = ["a.png", "b.png", "x/a.png", "x/y/a.png", "x/y/c.png"]
LABELS = ["a_labels.png", "b_labels.png", "x/a_labels.png", "x/y/a_labels.png", "x/y/c_labels.png"]


def words(model: Path, data: Path, out: Path, *more: object) -> list[object]:
    return ["predict", data, "--recursive", "--model", model, "--out", out, "--save", "labels", "--n-patches", 1, *more]


def times(folder: Path) -> dict[str, int]:
    """When each result was written."""
    found = {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*_labels.*")}
    return {name: found[name] for name in sorted(found)}


def made_anew(before: dict[str, int], after: dict[str, int]) -> list[str]:
    return [name for name, time in after.items() if before.get(name) != time]


def test_results_mirror_the_folders(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    assert list(times(out)) == LABELS
    for folder in ("", "x", "x/y"):
        flat = tmp_path / f"flat_{folder.replace('/', '_')}"
        assert run("predict", data / folder, "--model", model, "--out", flat, "--save", "labels", "--n-patches", 1) == 0
        for path in flat.glob("*_labels.png"):
            assert (out / folder / path.name).read_bytes() == path.read_bytes()
    assert (out / "a_labels.png").read_bytes() != (out / "x" / "a_labels.png").read_bytes()


def test_a_line_of_the_manifest(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out, "--save", "labels,overlay")) == 0
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert [line["input"] for line in lines] == INPUTS
    status = (data / "x" / "y" / "c.png").stat()
    assert (lines[4]["size"], lines[4]["time"]) == (status.st_size, status.st_mtime)
    assert lines[4]["outputs"] == ["x/y/c_labels.png", "x/y/c_overlay.jpg"] and lines[4]["seconds"] > 0
    assert len({line["job"] for line in lines}) == 1
    assert read_manifests(out) == {line["input"]: line for line in lines}


def test_what_is_done_is_not_done_again(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    assert "done before" not in capsys.readouterr().out
    before, lines = contents(out), (out / MANIFEST).read_text()
    for more in ([], ["--overwrite"], ["--workers", 3, "--device", "cpu", "--corrupt", "skip"]):
        assert run(*words(model, data, out, *more)) == 0
        assert capsys.readouterr().out == "magnet: 5 done before, 0 to do\n"
    assert contents(out) == before
    picture(data / "x" / "new.png", 9)
    assert run(*words(model, data, out)) == 0
    assert capsys.readouterr().out.startswith("magnet: 5 done before, 1 to do\n")
    assert (out / MANIFEST).read_text().startswith(lines) and len(read_manifests(out)) == 6
    # a file given by name has the same result as it had in its folder, and the same name in the manifest
    assert run("predict", data / "b.png", "--model", model, "--out", out, "--save", "labels", "--n-patches", 1) == 0
    assert capsys.readouterr().out == "magnet: 1 done before, 0 to do\n"


_KILLED = """
import os, signal, sys
from magnet.cli import main as cli, predict_scenes
real, count = predict_scenes.save_image, 0
def save_image(*given, **options):
    global count
    count += 1
    real(*given, **options)
    if count == 6:  # of the third input the first result is in its place, the second is not
        os.kill(os.getpid(), signal.SIGKILL)
predict_scenes.save_image = save_image
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_killed_job_goes_on_where_it_was(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [str(word) for word in words(model, data, out, "--save", "labels,overlay")]
    killed = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED, *command], check=False, env=environment_of_a_program(OMP_NUM_THREADS="1")
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(times(out)) == LABELS[:3] and list(read_manifests(out)) == INPUTS[:2]
    with (out / MANIFEST).open("a") as file:
        file.write('{"input": "x/a.p')  # as one that is killed while it writes
    before = times(out)
    assert run(*command) == 0
    assert "magnet: 2 done before, 3 to do\n" in capsys.readouterr().out
    assert made_anew(before, times(out)) == LABELS[2:]
    assert list(read_manifests(out)) == INPUTS and len((out / MANIFEST).read_text().splitlines()) == 5
    whole = tmp_path / "whole"
    assert run(*words(model, data, whole, "--save", "labels,overlay")) == 0
    unlike = (MANIFEST, RECORD)
    assert {k: v for k, v in contents(out).items() if k not in unlike} == {
        k: v for k, v in contents(whole).items() if k not in unlike
    }
    assert not [path for path in out.rglob(".*") if path.name != RECORD]


def test_inputs_that_changed_are_done_again(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    before = times(out)
    picture(data / "b.png", 77)
    os.utime(data / "x" / "a.png", (1, 1))
    assert run(*words(model, data, out)) == 0
    assert made_anew(before, times(out)) == ["b_labels.png", "x/a_labels.png"]
    assert sorted(read_manifests(out)) == INPUTS and len((out / MANIFEST).read_text().splitlines()) == 5


@pytest.mark.parametrize(
    "more", [["--n-points", 10], ["--save", "labels,overlay"], ["--kernel-size", 7], ["--amp", "bf16"]]
)
def test_other_options_are_another_job(model: Path, data: Path, tmp_path: Path, more: list[object]) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    first, before = contents(out), times(out)
    assert run(*words(model, data, out, *more)) == 0
    after = times(out)
    assert made_anew(before, after) == LABELS
    # and so is the first one again: its lines are gone, and its results are not the ones that are there
    assert len((out / MANIFEST).read_text().splitlines()) == 5
    assert run(*words(model, data, out)) == 0
    assert made_anew(after, times(out)) == LABELS
    assert {name: content for name, content in contents(out).items() if name in LABELS} == {
        name: first[name] for name in LABELS
    }


def test_a_job_with_other_options_that_is_broken_off(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    before = times(out)
    assert run(*words(model, data, out, "--n-patches", "1,2,3")) == 2  # the model has two scales
    real, done = predict_scenes.save_prediction, []

    def save(*given: object) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(given)
        real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(predict_scenes, "save_prediction", save)
    assert run(*words(model, data, out, "--n-points", 10)) == 130
    monkeypatch.undo()
    between = times(out)
    assert made_anew(before, between) == LABELS[:2]
    capsys.readouterr()
    assert run(*words(model, data, out)) == 0
    assert "magnet: 3 done before, 2 to do" in capsys.readouterr().out
    assert made_anew(between, times(out)) == LABELS[:2] and len((out / MANIFEST).read_text().splitlines()) == 5


def test_another_model_of_the_same_name(model: Path, data: Path, tmp_path: Path) -> None:
    out, own = tmp_path / "out", save_tiny_model(tmp_path / "own")
    assert run(*words(own, data, out)) == 0
    before = times(out)
    save_tiny_model(own, 5)
    assert run(*words(own, data, out)) == 0
    assert made_anew(before, times(out)) == LABELS


def test_results_that_were_removed_or_edited(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    before = times(out)
    (out / "x" / "a_labels.png").unlink()
    assert run(*words(model, data, out)) == 0
    assert made_anew(before, times(out)) == ["x/a_labels.png"]
    (out / "b_labels.png").write_text("the user's now")
    capsys.readouterr()
    lines = (out / MANIFEST).read_bytes()
    assert run(*words(model, data, out)) == 1
    assert "b_labels.png' is there already, and was changed since" in capsys.readouterr().err
    assert (out / "b_labels.png").read_text() == "the user's now" and (out / MANIFEST).read_bytes() == lines
    assert run(*words(model, data, out, "--overwrite")) == 0
    assert "magnet: 4 done before, 1 to do" in capsys.readouterr().out


def test_a_lost_record_or_manifest(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    before = times(out)
    (out / MANIFEST).unlink()
    assert run(*words(model, data, out)) == 0  # the record knows that the results are ours
    assert made_anew(before, times(out)) == LABELS
    (out / RECORD).unlink()
    assert run(*words(model, data, out)) == 1  # without it they may be anybody's


def test_another_folder_with_the_same_names(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(*words(model, data, out)) == 0
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("a.png", "b.png"):
        (copy / name).write_bytes((data / name).read_bytes())
        os.utime(copy / name, ns=((data / name).stat().st_mtime_ns,) * 2)
    before = contents(out)
    assert run(*words(model, copy, out)) == 1  # results of somebody else's, however alike the images are
    assert contents(out) == before


@pytest.mark.parametrize("content", ['{"text": "mine"}\n', "mine", "[1]\n\n"])
def test_a_file_that_is_no_manifest_is_kept(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text(content)
    assert run(*words(model, data, out)) == 1
    assert f"'{out / MANIFEST}' which inputs are done, but something else is there" in capsys.readouterr().err
    assert contents(out) == {MANIFEST: content.encode()}
    assert run(*words(model, data, out, "--overwrite")) == 0
    assert list(read_manifests(out)) == INPUTS


def test_a_link_is_no_manifest(model: Path, data: Path, tmp_path: Path) -> None:
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    mine.write_text("")
    (out / MANIFEST).symlink_to(mine)
    assert run(*words(model, data, out)) == 1
    assert run(*words(model, data, out, "--overwrite")) == 0
    assert mine.read_text() == "" and list(read_manifests(out)) == INPUTS


def test_images_that_cannot_be_read_are_tried_again(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    (data / "b.png").write_text("no image")
    for _ in range(2):
        assert run(*words(model, data, out)) == 1
        assert "1 of 5 images could not be read" in capsys.readouterr().err
    assert run(*words(model, data, out, "--corrupt", "skip")) == 0
    picture(data / "b.png")
    assert run(*words(model, data, out)) == 0
    assert "magnet: 4 done before, 1 to do" in capsys.readouterr().out


def test_links_make_no_circle(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for folder in (root / "b", root / "c", elsewhere / "d"):
        folder.mkdir(parents=True)
        picture(folder / "i.png")
    (root / "a_up").symlink_to(root)
    (root / "b" / "c").symlink_to(root / "c")
    (root / "c" / "b").symlink_to(root / "b")
    (root / "c" / "out").symlink_to(elsewhere)
    (root / "a_out").symlink_to(elsewhere / "d")
    (elsewhere / "back").symlink_to(root)
    found = find_inputs([str(root)], tmp_path / "results", recursive=True)
    assert [one.name for one in found] == ["b/i.png", "c/i.png", "a_out/i.png"]


def test_results_among_the_images(model: Path, data: Path, tmp_path: Path) -> None:
    """A folder of results below the images is not searched, and results of other runs are left out."""
    assert run("predict", data / "a.png", "--model", model, "--out", data / "x", "--save", "overlay") == 0
    for _ in range(2):
        assert run(*words(model, data, data / "results")) == 0
        assert list(times(data / "results")) == LABELS
    assert run(*words(model, data, tmp_path / "out")) == 0
    assert list(times(tmp_path / "out")) == LABELS
    assert run(*words(model, data, data)) == 2


def test_one_folder_has_no_two_images_of_one_name(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(data / "x" / "a.bmp")
    assert run(*words(model, data, tmp_path / "out")) == 2
    assert "would have the same names" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "x").mkdir(parents=True)
    picture(tmp_path / "data" / "x" / ".a.png")
    assert run(*words(model, tmp_path / "data", tmp_path / "out")) == 1
    assert "holds no images" in capsys.readouterr().err


def test_results_do_not_leave_their_folder(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.mkdir()
    (out / "x").symlink_to(other)
    assert run(*words(model, data, out)) == 2
    assert "is a link that leads out of it" in capsys.readouterr().err
    assert names(other) == []


def test_rasters_with_the_files_beside_them(model: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "x").mkdir(parents=True)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 400000.0, 0, -0.5, 5800000.0)}
    for folder in (data, data / "x"):
        write_tiff(folder / "tile.tif", noise(100, 150), **place)
    assert run(*words(model, data, out)) == 0
    assert list(times(out)) == ["tile_labels.tif", "x/tile_labels.tif"]
    before = times(out)
    assert run(*words(model, data, out)) == 0
    assert made_anew(before, times(out)) == []
    mask = np.full((100, 150), 255, np.uint8)
    mask[:50] = 0
    with rasterio.open(
        data / "x" / "tile.tif.msk", "w", driver="GTiff", width=150, height=100, count=1, dtype="uint8"
    ) as file:
        file.write(mask, 1)
        file.update_tags(INTERNAL_MASK_FLAGS_1="2")
    assert run(*words(model, data, out)) == 0
    assert made_anew(before, times(out)) == ["x/tile_labels.tif"]


def test_a_raster_in_a_folder_below_goes_on_within_itself(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the journal of a large raster says and what the manifest says fit together."""
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "x").mkdir(parents=True)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 400000.0, 0, -0.5, 5800000.0)}
    for folder in (data, data / "x"):
        write_tiff(folder / "tile.tif", noise(200, 150), **place)
    real, done = RasterWalk._write, []

    def write(walk: RasterWalk, group: object) -> None:
        if len(done) == 10:
            raise KeyboardInterrupt
        done.append(group)
        real(walk, group)  # type: ignore[arg-type]

    monkeypatch.setattr(RasterWalk, "_write", write)
    command = [*words(model, data, out), "--workers", 1]
    assert run(*command) == 130
    assert list(read_manifests(out)) == ["tile.tif"] and (out / "x" / ".tile.fields").is_dir()
    monkeypatch.undo()
    capsys.readouterr()
    assert run(*command) == 0
    told = capsys.readouterr().out
    assert "magnet: 1 done before, 1 to do" in told and "of them by an earlier run" in told
    assert not (out / "x" / ".tile.fields").exists()
    with rasterio.open(out / "tile_labels.tif") as one, rasterio.open(out / "x" / "tile_labels.tif") as other:
        assert np.array_equal(one.read(1), other.read(1))
