"""``magnet tune``: every choice has the figures of an evaluation, the best is told, and kept where asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_data import tiny_config, tiny_folder
from torch import Tensor, nn

import magnet
from magnet.cli.arguments import n_points
from magnet.cli.main import main
from magnet.cli.tune import _tell
from magnet.data import DataFolder
from magnet.evaluation import evaluate
from magnet.evaluation.tuning import Choice, best_of, tune
from magnet.model.magnet import MagNet

SIZES = {"scales": [(32, 48), (64, 96)], "patch_size": (32, 48)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tiny_folder(tmp_path / "data")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = MagNet(magnet.build_segmenter("compact", 2), None, n_points=0.5, **SIZES)
    made.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_every_choice_has_the_figures_of_an_evaluation(model: Path, data: Path) -> None:
    loaded, images = MagNet.from_pretrained(model), DataFolder(data, "val")
    found = tune(loaded, images, fractions=(0.2, 1.0))
    tried = [(one.n_points, one.points_by) for one in found]
    assert tried == [(0, ""), (0.2, "score"), (0.2, "uncertainty"), (1.0, "score"), (0.5, "score")]
    assert [one.own for one in found] == [False] * 4 + [True]
    for one in found:
        if one.points_by:
            changed = loaded.with_settings(n_points=one.n_points, points_by=one.points_by)
            assert one.mean_iou == evaluate(changed, images, modes=["magnet"])["magnet"]["mean_iou"]
    assert found[0].mean_iou == evaluate(loaded, images, modes=["coarse"])["coarse"]["mean_iou"]


def test_patches_of_magnet_fast_stay_what_they_are(model: Path, data: Path) -> None:
    loaded, images = MagNet.from_pretrained(model, n_patches=1), DataFolder(data, "val")
    own = next(one for one in tune(loaded, images, fractions=(0.5,)) if one.own)
    assert own.mean_iou == evaluate(loaded, images, modes=["fast"], n_patches=1)["fast"]["mean_iou"]


def test_one_pixel_is_not_all_of_them(model: Path, data: Path) -> None:
    loaded, images = MagNet.from_pretrained(model, n_points=1), DataFolder(data, "val")
    found = tune(loaded, images, fractions=(1.0,), limit=1)
    assert [(repr(one.n_points), one.own) for one in found[1:]] == [("1.0", False), ("1", True)]
    all_pixels = loaded.with_settings(n_points=1.0, points_by="uncertainty")
    assert [one.own for one in tune(all_pixels, images, fractions=(0.5, 1.0), limit=1)] == [False] * 3 + [True]


def test_other_names_of_classes_are_told_once(model: Path, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded, images = MagNet.from_pretrained(model), DataFolder(data, "val")
    loaded.class_names = ["what", "ever"]
    assert len(tune(loaded, images, fractions=(0.2, 1.0), limit=1)) > 2
    assert [record.message.partition(":")[0] for record in caplog.records] == ["classes"]


class Fooled(nn.Module):
    """Right on the whole image, and of the other opinion, less surely, on what it sees close."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean(dim=1, keepdim=True) * 8
        detail = (images[..., 1:] - images[..., :-1]).abs().mean()  # of which a shrunk image has less
        return torch.cat([-bright, bright], dim=1) * (1.0 if detail < self.limit else -0.2)

    limit = 0.5


def test_a_network_that_fails_close_up_is_told_of(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Fooled()
    images = DataFolder(data, "val")
    details: list[float] = []
    probe = MagNet(Seen(details), None, n_points=1.0, **SIZES).eval()
    probe.predict(images.load(0)[0])
    network.limit = (details[0] + min(details[1:])) / 2
    assert details[0] < min(details[1:])
    wrong = MagNet(network, None, n_points=1.0, **SIZES).eval()
    monkeypatch.setattr(MagNet, "from_pretrained", lambda *_, **__: wrong)
    assert main(["tune", "--model", "theirs", "--data", str(data), "--fractions", "0.1,1"]) == 0
    out = capsys.readouterr().out
    assert "best: " in out and "--n-points 0.1 " in out
    assert "no choice is above the coarse prediction" in out


class Seen(nn.Module):
    """Notes how much detail each batch has."""

    def __init__(self, details: list[float]) -> None:
        super().__init__()
        self.details = details

    def forward(self, images: Tensor) -> Tensor:
        self.details.append(float((images[..., 1:] - images[..., :-1]).abs().mean()))
        return torch.cat([images[:, :1], -images[:, :1]], dim=1)


def test_of_equal_choices_the_own_one_stays() -> None:
    first, own = Choice(0.1, "score", 50.0, 1.0), Choice(0.5, "score", 50.0, 1.0, own=True)
    assert best_of([Choice(0, "", 60.0, 1.0), first, own]) is own
    assert best_of([first, Choice(0.25, "score", 50.0, 1.0)]) is first


def test_the_best_is_written_and_the_weights_stay(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned"
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    words = ["--model", str(model), "--data", str(data), "--fractions", "0.2,1"]
    assert main(["tune", *words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    best = best_of(tune(MagNet.from_pretrained(model), DataFolder(data, "val"), fractions=(0.2, 1.0)))
    assert ("best: the model's own choice" if best.own else f"best: {best.mean_iou:.2f}") in printed
    written = MagNet.from_pretrained(out)
    assert (written.n_points, written.points_by) == (best.n_points, best.points_by)
    kept, was = written.segmenter.state_dict(), MagNet.from_pretrained(model).segmenter.state_dict()
    assert all(torch.equal(kept[name], was[name]) for name in was)
    assert before == {path.name: path.read_bytes() for path in model.iterdir()}
    assert main(["tune", *words, "--out", str(out)]) == 0  # the same again
    capsys.readouterr()
    other = tmp_path / "other"
    torch.manual_seed(1)
    MagNet(magnet.build_segmenter("compact", 2), None, n_points=0.5, **SIZES).save_pretrained(other)
    kept_files = {path.name: path.read_bytes() for path in other.iterdir()}
    assert main(["tune", *words, "--out", str(other)]) == 1
    told = capsys.readouterr()
    assert "is of another model" in told.err and "mean IoU" not in told.out  # before any work
    assert kept_files == {path.name: path.read_bytes() for path in other.iterdir()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--fractions", "0.5,2"], "--fractions: expected fractions in (0, 1], got '0.5,2'; give some as 0.1,0.25,1"),
        (["--split", "vall"], "--split: expected a list of"),
        (["--bogus", "3"], "unrecognized arguments: --bogus 3"),
        (["--out", "MODEL"], "is the model itself, which stays as it is; choose another folder"),
    ],
)
def test_what_cannot_be_is_told(
    words: list[str], told: str, model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(model) if word == "MODEL" else word for word in words]
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(main(["tune", "--model", str(model), "--data", str(data), *words]))
    assert stopped.value.code in (1, 2) and told in capsys.readouterr().err


def test_a_recipe_gives_data_and_model(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny_config(data, tmp_path / "runs")
    del words[words.index("--out") : words.index("--out") + 2]  # --out is of the command
    made = MagNet(magnet.build_segmenter("compact", 2), None, n_points=0.5, **SIZES)
    made.save_pretrained(tmp_path / "runs" / "tiny" / "model")
    (tmp_path / "run.yaml").write_text(f"out: {tmp_path / 'runs'}\n")
    assert main(["tune", "--config", str(tmp_path / "run.yaml"), *words, "--fractions", "0.5"]) == 0
    assert "0.5  score" in capsys.readouterr().out


def test_all_pixels_are_told_as_the_command_line_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    _tell([Choice(0, "", 40.0, 1.0), Choice(0.5, "score", 50.0, 1.0, own=True), Choice(1.0, "score", 60.0, 1.0)])
    words = capsys.readouterr().out.split()
    assert n_points(words[words.index("--n-points") + 1]) == 1.0  # "1" would be one pixel
    assert isinstance(n_points(words[words.index("--n-points") + 1]), float)
    assert "--n-patches" not in words
    _tell([Choice(0, "", 40.0, 1.0), Choice(5, "score", 50.0, 1.0, own=True), Choice(0.1, "score", 60.0, 1.0)], [4, 6])
    assert "--n-points 0.1 --points-by score --n-patches 4,6 with" in capsys.readouterr().out


def test_one_scale_has_nothing_to_tune(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"scales": [(32, 48)], "patch_size": (32, 48), "n_points": 0.5}
    MagNet(magnet.build_segmenter("compact", 2), None, **one).save_pretrained(tmp_path / "one")  # type: ignore[arg-type]
    assert main(["tune", "--model", str(tmp_path / "one"), "--data", str(data)]) != 0
    assert "has one scale" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "tune"])
def test_a_model_that_was_trained_elsewhere_is_asked_for(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run.yaml"
    walk = "{scales: [[32, 48], [64, 96]], patch_size: [32, 48]}"
    run.write_text(f"name: tiny\nwalk: {walk}\ndata: {{folders: [{data}]}}\n")
    assert main([command, "--config", str(run), "--out", "report"]) == 2
    told = capsys.readouterr().err
    assert "--config: expected the trained model of 'tiny' in 'runs/tiny/model', where there is none" in told
    assert "give --model OUT/tiny/model" in told and told.count("\n") == 1
