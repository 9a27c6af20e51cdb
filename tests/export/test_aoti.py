"""Packages of AOTInductor: run in Python, and in a C++ program without Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from code_blocks import ROOT
from PIL import Image
from tiny_model import one_layer_model
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import magnet
import magnet_kernels
from magnet.data.scenes import generate_scene
from magnet.export.metadata import METADATA
from magnet.export.program import trace

SIZE = (48, 80)
LIBRARY = Path(magnet_kernels.__file__).parent / "_cpu.abi3.so"


def cmake() -> str:
    found = shutil.which("cmake", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert found, "cmake is part of the extra [test]"
    return found


def refuses_another_input(package: Callable[[Tensor], list[Tensor]]) -> None:
    """Its own operator, not torch's checks, which are off unless the environment asks for them."""
    assert "AOTI_RUNTIME_CHECK_INPUTS" not in os.environ
    image = torch.rand(1, 3, *SIZE)
    labels = package(image)[0]
    assert torch.equal(package(image.to(memory_format=torch.channels_last))[0], labels)
    for wrong in (image[..., :-9], image[..., ::2, :], image.double(), image.half(), image.mul(255).byte(), image[0]):
        expected = r"^input: expected float32 of shape \(1, 3, 48, 80\) on cpu, got "
        with pytest.raises(RuntimeError, match=expected + str(wrong.dtype).removeprefix("torch.") + " of shape "):
            package(wrong)
    for wrong in (image.to("meta"), image.to_sparse(), image.to_mkldnn()):  # there is nothing at their address
        with pytest.raises(RuntimeError, match=r"input: expected float32 of shape \(1, 3, 48, 80\) on cpu, got "):
            package(wrong)
    with pytest.raises(RuntimeError, match="FakeTensor"):
        package(FakeTensorMode().from_tensor(image))


def test_a_program_to_be_compiled_looks_at_its_input_first() -> None:
    model = one_layer_model(scales=[(16, 32), (32, 64)], n_patches=3)
    for checked in (True, False):
        graph = trace(model, SIZE, checked=checked).graph
        users = next(node for node in graph.nodes if node.name == "image").users
        assert [user.target is torch.ops.magnet_kernels.checked_input.default for user in users] == [checked]


@pytest.mark.slow
def test_a_package_runs_in_cpp_without_python(tmp_path: Path) -> None:
    if not LIBRARY.exists() or shutil.which("c++") is None:
        pytest.skip("nothing is compiled here")
    model = one_layer_model(scales=[(16, 32), (32, 64)], n_patches=3)
    record = magnet.export_model(model, tmp_path, format="aoti", size=SIZE)
    assert record.path == tmp_path / "model_48x80_aoti.pt2" and record.agreement >= 0.9999

    package = torch._inductor.aoti_load_package(str(record.path))
    refuses_another_input(package)
    described = json.loads(package.get_metadata()[METADATA])
    assert described["input"]["shape"] == [1, 3, *SIZE]

    build = tmp_path / "build"
    prefix = f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}"
    for words in (["-S", str(ROOT / "examples" / "cpp"), "-B", str(build), prefix], ["--build", str(build)]):
        done = subprocess.run([cmake(), *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    image = Image.fromarray(generate_scene((256, 512), seed=5)[0]).resize(SIZE[::-1])
    image.save(tmp_path / "image.ppm")
    files = [LIBRARY, record.path, tmp_path / "image.ppm", tmp_path / "labels.pgm"]
    program = [str(build / "segment"), *map(str, files)]
    done = subprocess.run(program, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    labels = np.asarray(Image.open(tmp_path / "labels.pgm"))
    expected = model.predict(np.asarray(image)).labels.numpy()
    assert labels.shape == SIZE and (labels == expected).mean() > 0.9999
    assert len(np.unique(expected)) > 1

    linked = subprocess.run(["ldd", program[0], str(LIBRARY)], capture_output=True, text=True).stdout
    assert "libtorch_cpu" in linked and "libpython" not in linked

    Image.new("RGB", (SIZE[1] - 9, SIZE[0])).save(tmp_path / "narrow.ppm")
    for place, wrong, told in [
        (
            3,
            "narrow.ppm",
            "(1, 3, 48, 80) on cpu, got float32 of shape (1, 3, 48, 71)",
        ),  # else read past its end
        (2, "nothing.pt2", "nothing.pt2"),
        (1, "nothing.so", "nothing.so"),
    ]:
        words = [*program[:4], str(tmp_path / "none.pgm")]
        words[place] = str(tmp_path / wrong)
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 1 and told in done.stderr and "frame #" not in done.stderr, done.stderr
        assert not (tmp_path / "none.pgm").exists()
