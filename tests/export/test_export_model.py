"""``magnet export`` and ``magnet.export_model``: what files of torch.export say of themselves, and wrong arguments."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
from live import environment_of_a_program
from PIL import Image
from tiny_model import one_layer_model, save_tiny_model

import magnet
from magnet.cli import main as cli
from magnet.data.scenes import generate_scene
from magnet.errors import ArgumentError
from magnet.export import write


def export(model: magnet.MagNet, out: Path, **options: Any) -> magnet.export.ExportRecord:
    return magnet.export_model(model, out, **{"format": "pt2", "size": (40, 70), **options})


def test_the_command_writes_a_program_that_describes_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_tiny_model(tmp_path / "street")
    Image.fromarray(generate_scene((256, 512), seed=5)[0]).resize((160, 80)).save(tmp_path / "image.png")
    words = ["export", "--model", str(folder), "--format", "pt2", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--image", str(tmp_path / "image.png")]) == 0
    path = tmp_path / "out" / "street_80x160.pt2"
    told = capsys.readouterr()
    assert told.out.startswith(f"{path}: images of 80x160, 100.000% of the labels are those of predict")
    begun, traced = told.err.splitlines()
    assert begun == "exporting as pt2: half a minute to some minutes, more with many patches"
    assert traced == "traced, now it is written and tried"

    found = {"magnet_model.json": ""}
    program = torch.export.load(path, extra_files=found).module()
    described = json.loads(found["magnet_model.json"])
    assert described["input"]["shape"] == [1, 3, 80, 160] and described["normalization"]["mean"][0] == 0.485
    assert described["class_names"][:2] == ["class 0", "class 1"] and described["colours"][1] == [20, 235, 10]
    assert described["version"] == magnet.__version__ and "import" in described["needs"]
    assert described["settings"]["scales"] == [[32, 64], [64, 128]]
    assert described["settings"]["flips"] == "none"

    image = torch.rand(3, 80, 160, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        labels, probabilities = program(image[None])
    expected = magnet.MagNet.from_pretrained(folder).predict(image)
    assert labels.dtype == torch.uint8 and torch.equal(labels[0].long(), expected.labels)
    torch.testing.assert_close(probabilities[0], expected.probabilities, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(one_layer_model(), tmp_path_factory.mktemp("exported")).path


def test_a_program_needs_the_operators_and_torch_says_which(exported: Path) -> None:
    """Python's own is not needed: the compiled library alone has what loading and running takes."""
    library = Path(magnet.__file__).parent.parent / "magnet_kernels" / "_cpu.abi3.so"
    if not library.exists():
        pytest.skip("the CPU kernels are not built here")
    code = f"""if True:
        import sys, torch
        try:
            torch.export.load({str(exported)!r})
        except RuntimeError:
            print("refused")
        torch.ops.load_library({str(library)!r})
        labels, _ = torch.export.load({str(exported)!r}).module()(torch.full((1, 3, 40, 70), 0.5))
        print(tuple(labels.shape), any(name.startswith("magnet") for name in sys.modules))
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stdout == "refused\n(1, 40, 70) False\n", done.stderr
    assert "torch.ops.magnet_kernels.checked_input" in done.stderr and "import" in done.stderr
    with zipfile.ZipFile(exported) as file:  # readable without torch, too
        (name,) = [one for one in file.namelist() if one.endswith("magnet_model.json")]
        assert "magnet_kernels imported before" in json.loads(file.read(name))["needs"]


def test_a_program_refuses_other_images_and_records_no_gradients(tmp_path: Path) -> None:
    model = one_layer_model()
    program = torch.export.load(export(model, tmp_path).path).module()
    assert all(weight.requires_grad for weight in model.parameters())
    image = torch.rand(1, 3, 40, 70)
    assert not program(image)[1].requires_grad
    for wrong in (image.half(), image.double(), image.mul(255).byte(), image > 0.5, image.to("meta")):
        with pytest.raises(ValueError, match=r"^input: expected float32 of shape \(1, 3, 40, 70\) on cpu, got "):
            program(wrong)
    for wrong in (image[0], image[..., :-1]):
        with pytest.raises((AssertionError, ValueError, RuntimeError), match=r"image\.size|^input: "):  # torch's, first
            program(wrong)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "street")
    code = f"""if True:
        import resource, sys
        from magnet.cli import main
        limits = 10_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]  # of a file, in bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        words = ["--model", {str(folder)!r}, "--format", "pt2", "--size", "40x70", "--out", {str(tmp_path / "out")!r}]
        sys.exit(main.main(["export", *words]))
    """
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of_a_program())
    assert done.returncode == 1, done.stderr
    told = done.stderr.splitlines()[-1]
    assert told.startswith("magnet: error: out: '") and "could not be written to (File too large)" in told
    assert not [path for path in tmp_path.rglob("*") if "40x70" in path.name]


def test_only_its_own_file_is_replaced(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = one_layer_model()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("begun")

    monkeypatch.setattr(write, "trace", fail)
    with pytest.raises(RuntimeError, match="begun"):  # its own, of the same model and size
        export(model, exported.parent)
    other = exported.parent / "other_40x70.pt2"
    other.write_bytes(b"mine")
    with pytest.raises(magnet.MagNetError, match=r"^out: .*other_40x70.pt2' is there already, and is not a result of"):
        export(model, exported.parent, name="other")
    with pytest.raises(RuntimeError, match="begun"):
        export(model, exported.parent, name="other", overwrite=True)
    assert other.read_bytes() == b"mine"
    with pytest.raises(magnet.MagNetError, match=r"^out: .*model_40x70.pt2' is there already, and was made from"):
        export(model.with_settings(flips="both"), exported.parent)
    with torch.no_grad():  # all folders of trained models are called "model"
        next(model.parameters()).add_(1)
    with pytest.raises(magnet.MagNetError, match=r"^out: .*model_40x70.pt2' is there already, and was made from"):
        export(model, exported.parent)


def test_labels_that_differ_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "run_pt2", lambda path, images: torch.zeros(1, 40, 70, dtype=torch.uint8))
    with pytest.raises(magnet.MagNetError, match=r"^format: expected the labels of predict\(\) on 99.99% of"):
        export(one_layer_model(), tmp_path)
    assert not list(tmp_path.glob("*.pt2"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "tflite"}, "format: expected one of pt2, aoti, onnx, got 'tflite'"),
        ({"size": (0, 3)}, "size: expected"),
        ({"name": "a/b"}, "name: expected the beginning of a file name, got 'a/b'"),
        ({"image": torch.rand(4, 8, 8)}, r"image: expected one \(3, H, W\) tensor"),
        ({"image": "nowhere.png"}, "image: "),
    ],
)
def test_wrong_arguments(
    options: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((ValueError, magnet.MagNetError), match=f"^{told}"):
        export(one_layer_model(), tmp_path / "out", progress=True, **options)
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err == ""  # nothing was said to begin


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"compat": "official"}, "compat: expected 'paper' to export a model, got 'official'"),
        ({"points_by": "random"}, "points_by: expected 'score' to trace"),
        (
            {"n_patches": 2, "n_points": 0.5},
            r"n_points: expected an int \(a count\) to trace.*give a count, as.*--n-po",
        ),
    ],
)
def test_what_cannot_be_traced_says_so_before_any_work(
    settings: dict[str, Any], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArgumentError, match=f"^{told}"):  # exit code 2
        export(one_layer_model(**settings), tmp_path / "out", progress=True)
    assert not (tmp_path / "out").exists() and capsys.readouterr().err == ""


class Branches(torch.nn.Module):
    """What it does depends on values."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, [0, 1, 2, 0]] if images.mean() > 0 else images[:, [1, 2, 0, 0]]


def test_networks_that_cannot_be_traced_say_so(tmp_path: Path) -> None:
    model = magnet.MagNet(Branches(), None, scales=[(16, 32), (32, 64)], patch_size=(16, 32), n_points=20)
    with pytest.raises(magnet.MagNetError, match=r"^model: expected networks that torch.export can trace, got an err"):
        export(model, tmp_path)


def test_a_missing_package_or_compiler_is_told_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(magnet.MagNetError, match=r"^format: an ONNX file needs a package .*onnxscript.*extra \[onnx\]"):
        export(one_layer_model(), tmp_path / "out", format="onnx")
    with (
        torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(magnet.MagNetError, match=r"^format: expected a C\+\+ compiler for aoti, got none that runs"),
    ):
        export(one_layer_model(), tmp_path / "out", format="aoti")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(magnet.MagNetError, match=r"^out: expected a folder that can be written to, got '.*file'"):
        export(one_layer_model(), tmp_path / "file")
