"""Nothing of the user's is replaced unasked; a command's own results are, and two commands do not mix."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from live import environment_of_a_program
from PIL import Image
from safetensors.torch import save_file
from tiny_data import tiny_folder
from tiny_model import save_tiny_model

import magnet
from magnet.cli import main as cli
from magnet.errors import MagNetError, printable
from magnet.files import locks
from magnet.files.atomic import atomic_path, errors_name, remove_leftovers, save_image
from magnet.files.locks import LOCK, folder_lock
from magnet.files.outputs import RECORD, Outputs
from magnet.model.pretrained import CONFIG, WEIGHTS


def write(folder: Path, name: str, content: str, source: str = "a", **options: bool) -> None:
    """What a command does: check, then write one result."""
    with Outputs(folder, "test", **options) as out:
        out.check([(folder / name, source)])
        with out.write(folder / name, source) as temporary:
            temporary.write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


# the record


def test_a_result_is_replaced_by_what_wrote_it_alone(tmp_path: Path) -> None:
    write(tmp_path, "r.txt", "1")
    write(tmp_path, "r.txt", "22")
    assert (tmp_path / "r.txt").read_text() == "22" and names(tmp_path) == [RECORD, "r.txt"]
    with pytest.raises(MagNetError, match=r"^--out: '.*r\.txt' is there already, and was made from a; choose .*--over"):
        write(tmp_path, "r.txt", "3", source="b")
    with (
        Outputs(tmp_path, "another") as out,
        pytest.raises(MagNetError, match=r"r\.txt' is there already, and is not a result of 'another'"),
    ):
        out.check([(tmp_path / "r.txt", "a")])
    assert (tmp_path / "r.txt").read_text() == "22"
    write(tmp_path, "r.txt", "3", source="b", overwrite=True)
    write(tmp_path, "r.txt", "4", source="b")
    assert (tmp_path / "r.txt").read_text() == "4"


def test_a_result_that_was_edited_is_the_users(tmp_path: Path) -> None:
    write(tmp_path, "r.txt", "1")
    (tmp_path / "r.txt").write_text("corrected")
    with pytest.raises(MagNetError, match="was changed since 'test' wrote it"):
        write(tmp_path, "r.txt", "2")
    (tmp_path / "r.txt").write_text("2")  # of the same size
    os.utime(tmp_path / "r.txt", (1e9, 1e9))
    with pytest.raises(MagNetError, match="was changed since 'test' wrote it"):
        write(tmp_path, "r.txt", "2")


def test_without_the_record_a_file_is_somebodys(tmp_path: Path) -> None:
    write(tmp_path, "r.txt", "1")
    (tmp_path / RECORD).unlink()
    (tmp_path / "q.txt").write_text("")
    with (
        Outputs(tmp_path, "test") as out,
        pytest.raises(
            MagNetError, match=r"r\.txt' is there already, and is not a result of 'test' \(and so are 1 more"
        ),
    ):
        out.check([(tmp_path / name, "a") for name in ("r.txt", "q.txt", "new.txt")])


def test_what_comes_between_the_check_and_the_writing_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    with Outputs(tmp_path, "test") as out:
        out.check([(path, "a")])
        path.write_text("mine")
        with pytest.raises(MagNetError, match="is not a result"), out.write(path, "a"):
            pass
    assert path.read_text() == "mine"


def test_links_and_folders_are_not_results(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "r.txt").symlink_to(tmp_path / "mine")
    with pytest.raises(MagNetError, match="is not a result"):
        write(tmp_path, "r.txt", "1")
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(MagNetError, match=r"d\.txt' is there already, and is a folder; choose another folder$"):
        write(tmp_path, "d.txt", "1", overwrite=True)
    (tmp_path / "other").write_text("kept")
    (tmp_path / RECORD).symlink_to(tmp_path / "other")  # nor is what a link of the record's name leads to
    with pytest.raises(OSError, match=RECORD):
        write(tmp_path, "new.txt", "1")
    assert (tmp_path / "mine").read_text() == (tmp_path / "other").read_text() == "kept"


def test_targets_are_compared_with_inputs_and_with_each_other(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with Outputs(tmp_path, "test", overwrite=True) as out:
        with pytest.raises(MagNetError, match=r"result '.*link/a\.png' would replace the input '.*in/a\.png'"):
            out.check([(tmp_path / "link" / "a.png", "a")], [tmp_path / "in" / "a.png"])
        with pytest.raises(MagNetError, match=r"the results of one and of two would both be '.*in/\.\./b'"):
            out.check([(tmp_path / "b", "one"), (tmp_path / "in" / ".." / "b", "two")])


@pytest.mark.parametrize("end", ["", "\n", '\n{"file": "r.t', '\n[]\n{"file": 3}\nnull\n\x00\xff\n'])
def test_a_damaged_record_loses_no_whole_line(tmp_path: Path, end: str) -> None:
    write(tmp_path, "r.txt", "1")
    record = tmp_path / RECORD
    record.write_text(record.read_text().rstrip() + end)
    write(tmp_path, "r.txt", "2")
    write(tmp_path, "r.txt", "3")
    assert (tmp_path / "r.txt").read_text() == "3"


def test_the_record_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(120):
        write(tmp_path, "r.txt", str(number))
    assert len((tmp_path / RECORD).read_text().splitlines()) < 110
    write(tmp_path, "r.txt", "last")
    assert names(tmp_path) == [RECORD, "r.txt"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from magnet.files.outputs import Outputs
folder = Path(sys.argv[1])
replace = Path.replace
def killed(self, target):
    if sys.argv[2] == "after":
        replace(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = killed
with Outputs(folder, "test") as out, out.write(folder / "r.txt", "a") as temporary:
    temporary.write_text("killed")
"""


@pytest.mark.parametrize(("moment", "left"), [("before", "old"), ("after", "killed")])
def test_killed_at_the_move_it_goes_on(tmp_path: Path, moment: str, left: str) -> None:
    write(tmp_path, "r.txt", "old")
    command = [sys.executable, "-P", "-c", _KILLED, str(tmp_path), moment]
    killed = subprocess.run(command, check=False, env=environment_of_a_program())
    assert killed.returncode == -signal.SIGKILL and (tmp_path / "r.txt").read_text() == left
    assert LOCK in names(tmp_path) and len(names(tmp_path)) == 4
    write(tmp_path, "r.txt", "new")
    assert (tmp_path / "r.txt").read_text() == "new" and names(tmp_path) == [RECORD, "r.txt"]


# locks


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    with folder_lock(tmp_path):
        told = rf"^--out: '.*' is being written to by process {os.getpid()} on \S+ since \d{{4}}-.*\(.*\); wait until"
        with pytest.raises(MagNetError, match=told), folder_lock(tmp_path):
            pass
        with pytest.raises(MagNetError, match=told), Outputs(tmp_path, "test"):
            pass
    assert names(tmp_path) == []
    with folder_lock(tmp_path):
        pass


def test_a_lock_ends_with_its_process_not_with_the_workers(tmp_path: Path) -> None:
    """A forked worker that outlives a process which was killed does not keep its lock."""
    with folder_lock(tmp_path):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        with folder_lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_where_there_are_no_locks_it_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_warned", False)
    for _ in range(2):
        write(tmp_path, "r.txt", "1")
    assert capsys.readouterr().err.count("has no locks") == 1
    assert names(tmp_path) == [RECORD, "r.txt"]


def test_leftovers_of_the_living_stay(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "r.txt") as temporary:
        temporary.write_text("1")
        remove_leftovers(tmp_path)
    assert (tmp_path / "r.txt").read_text() == "1"


def test_leftovers_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".r.0123456789abcdef"
    left.mkdir()
    monkeypatch.setattr(locks, "fcntl", None)
    remove_leftovers(tmp_path, alone=False)  # somebody may be writing in it
    assert left.is_dir()
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_training_in_a_folder_that_is_trained_in(tmp_path: Path) -> None:
    from tiny_data import tiny_config

    from magnet.cli.config import parse_config
    from magnet.training.run import run_training

    config = parse_config(tiny_config(tmp_path / "absent", tmp_path))
    (tmp_path / "tiny").mkdir()
    with folder_lock(tmp_path / "tiny"), pytest.raises(MagNetError, match=r"tiny' is being written to by process"):
        run_training(config)
    (tmp_path / "tiny" / "config.json").write_text('{"format": 1, "segmenter": "compact"}')  # of a model, say
    with pytest.raises(MagNetError, match=r"config\.json' is there already, and is not of a training run"):
        run_training(config)
    assert names(tmp_path / "tiny") == ["config.json"]


# errors of writing


def full() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def test_errors_of_writing_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    for error in (full(), OSError("12 requested and 3 written"), PermissionError(errno.EACCES, "no")):
        with pytest.raises(OSError, match=r"r\.txt") as told, errors_name(path):
            raise error
        assert told.value.filename == str(path) and type(told.value) is type(error)
    with pytest.raises(PermissionError) as inside, atomic_path(path) as temporary:
        raise PermissionError(errno.EACCES, "no", str(temporary))
    assert inside.value.filename == str(path) and names(tmp_path) == []
    with pytest.raises(FileNotFoundError) as other, atomic_path(path):
        (tmp_path / "no input").read_bytes()
    assert other.value.filename == str(tmp_path / "no input")


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system of its own."""
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_a_picture_is_never_cut_short_by_a_full_disk(tmp_path: Path, suffix: str) -> None:
    """Pillow's own writing of a JPEG file leaves the first half and says nothing."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    with small_disk(tmp_path / "disk", "32k") as disk:
        with (
            pytest.raises(OSError, match="No space left on device") as told,
            atomic_path(disk / f"x{suffix}") as temporary,
        ):
            save_image(Image.fromarray(noise), temporary)
        assert told.value.filename == str(disk / f"x{suffix}") and names(disk) == []


def test_predicting_onto_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_tiny_model(tmp_path / "model")
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with small_disk(tmp_path / "disk", "32k") as disk:
        for kind in ("overlay", "probabilities"):
            words = ["predict", tmp_path / "a.png", "--model", model, "--out", disk, "--save", f"labels,{kind}"]
            assert run(*words) == 1
            told = capsys.readouterr().err
            assert told.startswith(f"magnet: error: {disk}/a_{kind}.") and told.endswith(": No space left on device\n")
            assert names(disk) == [RECORD, "a_labels.png"]


@pytest.mark.parametrize("command", ["--version", "predict a.png --model MODEL --out out"])
def test_a_full_disk_under_the_output_is_told(command: str, model: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with open("/dev/full", "w") as sink:
        command = [sys.executable, "-P", "-m", "magnet", *command.replace("MODEL", str(model)).split()]
        environment = environment_of_a_program(PYTHONUNBUFFERED="")
        done = subprocess.run(command, stdout=sink, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "magnet: error: standard output: No space left on device\n")


# names


def test_names_that_are_no_text_are_shown() -> None:
    assert printable("a\x1b[31m\nb\udcffé 漢") == r"a\x1b[31m\nb\udcffé 漢"


# commands


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def picture(path: Path, seed: int = 0) -> bytes:
    path.unlink(missing_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (70, 110, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_predict_keeps_images_and_ground_truth(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for name in ("a.png", "a_labels.png", "x.png", "x_full.png"):
        picture(data / name)
    before = contents(data)
    common = ["--model", model]

    def told() -> str:
        error = capsys.readouterr().err
        assert error.startswith("magnet: error: --out: ") and error.count("\n") == 1
        return error

    for extra in ([], ["--overwrite"]):
        assert run("predict", data, *common, "--out", data, *extra) == 2
        assert "is a folder of the images" in told()
        assert run("predict", data / "a.png", data / "a_labels.png", *common, "--out", data, *extra) == 2
        assert "a_labels.png' would replace the input" in told()
        both = [data / "x.png", data / "x_full.png", *common, "--out", out, "--save", "labels,full_labels", *extra]
        assert run("predict", *both) == 2
        assert "would both be" in told()
    assert run("predict", data / "a.png", *common, "--out", data) == 1
    assert "a_labels.png' is there already, and is not a result of 'magnet predict'" in told()
    assert contents(data) == before

    monkeypatch.chdir(data)
    for _ in range(2):  # the same command again
        assert run("predict", "a.png", *common, "--out", ".", "--save", "overlay") == 0
    capsys.readouterr()
    assert run("predict", *sorted(data.glob("*.[pj]*g")), *common, "--out", data, "--save", "coarse") == 1
    assert "a_overlay.jpg' is a result of an earlier 'magnet predict' into the same folder" in told()
    other = save_tiny_model(tmp_path / "other", 3)
    assert run("predict", "a.png", "--model", other, "--out", ".", "--save", "overlay") == 1
    assert "a_overlay.jpg' is there already, and was made from '" in told()
    assert run("predict", "a.png", "--model", other, "--out", ".", "--save", "overlay", "--overwrite") == 0
    assert {name: content for name, content in contents(data).items() if name in before} == before


def test_predict_takes_names_that_are_no_text(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    strange = [os.fsdecode(b"\xff\xfe new\nline\x1b[31m.png"), "漢" * 80 + ".png"]
    for name in strange:
        picture(data / "p.png")
        (data / "p.png").rename(data / name)
    (data / "bad\x07.png").write_text("no image")
    (data / "._plain.png").write_text("of a Mac")
    for _ in range(2):
        assert run("predict", data, "--model", model, "--out", out, "--save", "labels") == 1
        captured = capfd.readouterr()
        assert "\x1b" not in captured.out and "\x07" not in captured.err and "Traceback" not in captured.err
        assert "bad\\x07.png" in captured.err and "1 of 3 images could not be read" in captured.err
        assert names(out) == sorted([RECORD, *(f"{Path(name).stem}_labels.png" for name in strange)])


def test_results_in_a_folder_of_images_are_left_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    picture(data / "a.png")
    assert run("predict", data / "a.png", "--model", model, "--out", data) == 0
    assert run("predict", data, "--model", model, "--out", out) == 0
    assert sorted(path.name for path in out.glob("[!.]*")) == ["a_labels.png", "a_overlay.jpg"]
    assert caplog.messages == [
        f"image: left out of the folder '{data}': 2 results that magnet wrote there; give them by name to segment them"
    ]
    picture(data / "a_labels.png")  # somebody's own now
    assert run("predict", data, "--model", model, "--out", tmp_path / "other") == 0
    assert (tmp_path / "other" / "a_labels_labels.png").is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this system's folders")
def test_pipes_in_a_folder_of_images_are_left_out_and_told(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    picture(data / "a.png")
    os.mkfifo(data / "b.png")
    assert run("predict", data, "--model", model, "--out", out) == 0
    assert caplog.messages == [
        f"image: left out of the folder '{data}': 1 pipes or devices, as '{data / 'b.png'}'; "
        "copy what comes from them to files"
    ]
    assert not list(out.glob("b*"))


def test_folders_of_images_further_down_are_named(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val", "empty"):
        (tmp_path / "d" / name).mkdir(parents=True)
    picture(tmp_path / "d" / "train" / "a.png")
    picture(tmp_path / "d" / "val" / "b.png")
    assert run("predict", tmp_path / "d", "--model", model, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert f"but the folders in it do: '{tmp_path / 'd' / 'train'}', '{tmp_path / 'd' / 'val'}'; give those" in told
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "gone.png").symlink_to(tmp_path / "nowhere.png")  # told, not left out
    assert run("predict", tmp_path / "e", "--model", model, "--out", tmp_path / "out") == 1
    assert "gone.png" in capsys.readouterr().err


def test_scenes_keep_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny_folder(tmp_path / "data")
    before = contents(data)
    words = ["--train", 1, "--val", 0, "--test", 0, "--size", 256, 256]
    assert run("scenes", "--out", data, *words) == 1
    assert (
        "train.txt' is there already, and is not a result of 'magnet scenes' (and so are 3 more"
        in capsys.readouterr().err
    )
    assert contents(data) == before
    for _ in range(2):
        assert run("scenes", "--out", tmp_path / "own", *words) == 0
    made = contents(tmp_path / "own")
    assert run("scenes", "--out", tmp_path / "own", *words[:-2], 256, 300) == 1
    assert "scene_000000.png' is there already, and was made from seed 0 at 256x256" in capsys.readouterr().err
    assert contents(tmp_path / "own") == made
    assert run("scenes", "--out", tmp_path / "own", *words[:-2], 256, 300, "--overwrite") == 0
    assert run("scenes", "--out", tmp_path / "many", "--train", 10**6, "--val", 1) == 1
    assert "counts: expected at most 1000000 scenes together" in capsys.readouterr().err


def test_eval_keeps_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = tiny_folder(tmp_path / "data", counts=(1, 1, 2)), save_tiny_model(tmp_path / "model", 2)
    words = ["eval", "--model", model, "--data", data, "--modes", "coarse,magnet", "--limit", 1, "--boundary-width", 0]
    out = tmp_path / "out"
    (out / "gained").mkdir(parents=True)
    mine = out / "gained" / "01_mine_+1.00.jpg"
    mine.write_text("mine")
    assert run(*words, "--out", out) == 1
    assert "01_mine_+1.00.jpg' is there already, and is not a result of 'magnet eval'" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    mine.rename(out / "gained" / "mine.txt")
    for _ in range(2):
        assert run(*words, "--out", out) == 0
    capsys.readouterr()
    assert run(*words, "--out", out, "--split", "val") == 1
    told = capsys.readouterr().err
    assert "metrics.json' is there already, and was made from an evaluation of the model" in told
    assert (out / "gained" / "mine.txt").read_text() == "mine"
    file = tmp_path / "r.json"
    file.write_text('{"a": 1}')
    assert run(*words, "--out", file) == 1
    assert "r.json' is there already, and is not an evaluation of the same input" in capsys.readouterr().err
    assert run(*words, "--out", file, "--overwrite") == 0
    assert run(*words, "--out", file) == 0
    assert run(*words, "--out", file, "--split", "val") == 1
    assert json.loads(file.read_text())["split"] == "test"


def test_eval_takes_no_patches_as_told(tmp_path: Path) -> None:
    """0 is a number: MagNet-Fast is then the coarse prediction, whatever the model and the configuration say."""
    data = tiny_folder(tmp_path / "data", counts=(1, 1, 2))
    net = magnet.MagNet.from_pretrained(save_tiny_model(tmp_path / "tiny", 2))
    out = tmp_path / "r.json"
    config = tmp_path / "c.yaml"
    config.write_text("name: c\nwalk: {scales: [[32, 64], [64, 128]], patch_size: [32, 64], n_patches: 3}\n")
    common = [
        "--modes",
        "coarse,fast",
        "--out",
        out,
        "--overwrite",
        "--boundary-width",
        0,
        "--data",
        data,
        "--limit",
        1,
    ]
    for own, words, expected in (
        (2, ["--n-patches", 0], 0),
        (0, [], 0),
        (2, ["--config", config, "--n-patches", 0], 0),
        (2, ["--config", config], 3),
    ):
        net.with_settings(n_patches=own).save_pretrained(tmp_path / "model")
        assert run("eval", "--model", tmp_path / "model", *words, *common) == 0
        content = json.loads(out.read_text())
        assert content["n_patches"] == expected
        same = content["results"]["fast"]["iou"] == content["results"]["coarse"]["iou"]
        assert same or expected


def test_data_check_keeps_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, other = tiny_folder(tmp_path / "data", counts=(1, 1, 1)), tiny_folder(tmp_path / "other", counts=(1, 1, 1))
    before = contents(data)
    assert run("data", "check", data, "--json", data / "classes.txt") == 2
    assert "classes.txt' would replace the input" in capsys.readouterr().err
    assert contents(data) == before
    (tmp_path / ".c.0123456789abcdef").mkdir()  # of a process that was killed
    for _ in range(2):
        assert run("data", "check", data, "--json", tmp_path / "c.json") == 0
    assert names(tmp_path) == ["c.json", "data", "other"]
    assert run("data", "check", other, "--json", tmp_path / "c.json") == 1
    assert run("data", "check", other, "--json", tmp_path / "c.json", "--overwrite") == 0


def test_models_replace_models_alone(tmp_path: Path) -> None:
    net = magnet.MagNet.from_pretrained(save_tiny_model(tmp_path / "model", 2))
    net.save_pretrained(tmp_path / "model")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "README.md").write_text("in no one's way")
    (theirs / CONFIG).write_text('{"architectures": ["Segformer"]}')
    with pytest.raises(MagNetError, match=r"config\.json' is there already, and is not of a model .*overwrite=True"):
        net.save_pretrained(theirs)
    (theirs / CONFIG).unlink()
    save_file(net.state_dict(), theirs / WEIGHTS, {"format": "pt"})
    with pytest.raises(MagNetError, match=r"model\.safetensors' is there already, and is not of a model"):
        net.save_pretrained(theirs)
    net.save_pretrained(theirs, overwrite=True)
    (theirs / CONFIG).unlink()  # killed before it was written
    net.save_pretrained(theirs)
    assert names(theirs) == ["README.md", CONFIG, WEIGHTS]


def test_convert_keeps_models_of_other_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter, refiner = magnet.build_segmenter("compact", 2), magnet.RefinementModule(2)
    out = tmp_path / "out"
    words = ["--num-classes", 2, "--network", "compact", "--scales", "32x64", "64x128", "--patch-size", "32x64"]
    words += ["--n-points", 100, "--out", out]
    save_file(segmenter.state_dict(), tmp_path / "b.safetensors")
    save_file(refiner.state_dict(), tmp_path / "r.safetensors")
    words += ["--refiners", tmp_path / "r.safetensors", "--backbone", tmp_path / "b.safetensors"]
    for _ in range(2):
        assert run("convert", *words, "--report", tmp_path / "report.json") == 0, capsys.readouterr().err
    save_file({key: value + 0 for key, value in segmenter.state_dict().items()}, tmp_path / "c.safetensors")
    before = contents(out)
    capsys.readouterr()
    assert run("convert", *words[:-1], tmp_path / "c.safetensors") == 1
    assert "config.json' is there already, and is of another model" in capsys.readouterr().err
    assert run("convert", *words, "--report", tmp_path / "r.safetensors", "--overwrite") == 2
    assert "would replace the input" in capsys.readouterr().err
    assert contents(out) == before
    assert run("convert", *words[:-1], tmp_path / "c.safetensors", "--overwrite") == 0


# signals

_SERVER = """
import os, signal, sys, json
import torch, torch._dynamo
torch.set_num_threads(1)
from magnet.cli import main as cli, predict, evaluate
from magnet.model import magnet as model
import magnet.cli.scenes
signal.signal(signal.SIGINT, signal.default_int_handler)
for line in sys.stdin:  # a command, seconds, signal -> exit code
    words, seconds, number = json.loads(line)
    child = os.fork()
    if child == 0:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1), os.dup2(log, 2)
        code = cli.main(words)
        sys.stderr.flush()
        os._exit(code)
    import time
    began, sent = time.monotonic(), False
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if number and not sent and time.monotonic() - began >= seconds:
            os.kill(child, number)
            sent = True
        time.sleep(0.002)
    print(json.dumps([ended[1], time.monotonic() - began]), flush=True)
"""


@pytest.mark.slow
def test_stopped_at_any_moment_nothing_half_is_left(tmp_path: Path, model: Path) -> None:
    """What a stopped command left is whole, and the same command ends with the result of one that was never stopped."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(2):
        picture(data / f"{number}.png", number)
    labelled = tiny_folder(tmp_path / "labelled", counts=(1, 1, 1))
    two = save_tiny_model(tmp_path / "two", 2)
    commands = {
        "predict": ["predict", data, "--model", model, "--save", "labels,overlay,probabilities"],
        "scenes": ["scenes", "--train", 1, "--val", 0, "--test", 1, "--size", 256, 256],
        "eval": ["eval", "--model", two, "--data", labelled, "--modes", "coarse,magnet"],
    }
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment_of_a_program(OMP_NUM_THREADS="1"),
    ) as server:

        def start(words: list[object], seconds: float = 0.0, number: int = 0) -> tuple[int, float]:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.write(json.dumps([[str(word) for word in words], seconds, number]) + "\n")
            server.stdin.flush()
            status, took = json.loads(server.stdout.readline())
            assert "Traceback" not in (tmp_path / "log.txt").read_text()
            return os.waitstatus_to_exitcode(status), took

        def whole(folder: Path) -> dict[str, bytes]:
            unlike = ("metrics.json", "report.md", RECORD)  # they hold times
            return {name: content for name, content in contents(folder).items() if name not in unlike}

        rng = np.random.default_rng(3)
        for name, words in commands.items():
            code, took = start([*words, "--out", tmp_path / name])
            assert code == 0, (tmp_path / "log.txt").read_text()
            expected, out = whole(tmp_path / name), tmp_path / f"{name}_stopped"
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                code, _ = start([*words, "--out", out], rng.uniform(0.02, took), number)
                allowed = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
                assert code in (allowed, 0), (tmp_path / "log.txt").read_text()
                if number != signal.SIGKILL and out.is_dir():
                    assert not [p for p in out.rglob(".*") if p.name != RECORD]
                found = whole(out) if out.is_dir() and number != signal.SIGKILL else {}
                assert all(expected[file] == content for file, content in found.items())
            assert start([*words, "--out", out])[0] == 0, (tmp_path / "log.txt").read_text()
            assert whole(out) == expected
            assert not [p for p in out.rglob(".*") if p.name != RECORD]


_INTERRUPTED_IMPORT = """
import runpy, signal, sys
chosen = sys.argv.pop(1)
class Interrupt:
    def find_spec(self, name, *_):
        if name == chosen:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
runpy.run_module("magnet", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "module", ["magnet.cli.main", "argparse", "magnet.cli.predict", "numpy", "torch._C", "magnet.walk.paper"]
)
def test_interrupted_while_it_is_loaded(module: str, tmp_path: Path, model: Path) -> None:
    picture(tmp_path / "a.png")
    words = ["predict", str(tmp_path / "a.png"), "--model", str(model), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-P", "-c", _INTERRUPTED_IMPORT, module, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment_of_a_program())
    assert (done.returncode, done.stderr) == (130, "magnet: interrupted\n")
    assert not (tmp_path / "out").exists() or names(tmp_path / "out") == []
