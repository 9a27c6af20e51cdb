"""The examples of a service and of clusters run as they stand, and give the labels that ``predict`` gives."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from code_blocks import ROOT
from live import environment_of_a_program
from PIL import Image
from tiny_model import save_tiny_model

import magnet
from magnet.data.scenes import generate_scene

EXAMPLES = ROOT / "examples"
CLASSES = 8

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread_in_the_module")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in (0, 1):
        Image.fromarray(generate_scene((256, 512), seed)[0]).save(folder / f"p{seed}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def expected(images: Path, folder: Path) -> dict[str, np.ndarray]:
    model = magnet.MagNet.from_pretrained(folder).eval()
    return {name: model.predict(images / f"{name}.png").labels.numpy() for name in ("p0", "p1")}


def run(example: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, EXAMPLES / example, *arguments]
    environment = environment_of_a_program(OMP_NUM_THREADS="1", RAY_DISABLE_IMPORT_WARNING="1")
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


def post(port: int, data: bytes) -> tuple[int, dict]:
    body = json.dumps({"image": base64.b64encode(data).decode()}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_ray(images: Path, folder: Path, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("ray.data", exc_type=ImportError)
    ended = run("folder_ray.py", images, tmp_path / "labels", "--model", folder, "--workers", "1", cwd=tmp_path)
    assert ended.returncode == 1 and "2 of 3 segmented" in ended.stdout, ended.stderr
    assert f"not read: {images / 'broken.png'}" in ended.stdout
    assert sorted(path.name for path in (tmp_path / "labels").iterdir()) == ["p0.png", "p1.png"]
    for name, labels in expected.items():
        assert np.array_equal(np.asarray(Image.open(tmp_path / "labels" / f"{name}.png")), labels)


def test_ray_does_not_write_two_images_to_one_file(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", exc_type=ImportError)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "b.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / "in" / name)
    ended = run("folder_ray.py", "in", "out", cwd=tmp_path)
    assert ended.returncode == 2 and "b.png would write the same labels, b.png: rename one" in ended.stderr


def test_dask(images: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("dask.distributed", exc_type=ImportError)
    rasterio = pytest.importorskip("rasterio")
    for name in ("p0", "p1"):
        pixels = np.asarray(Image.open(images / f"{name}.png")).transpose(2, 0, 1)
        shape = {"count": 3, "height": pixels.shape[1], "width": pixels.shape[2], "dtype": "uint8"}
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 4e5, 0, -0.5, 5e6), "photometric": "rgb"}
        with rasterio.open(tmp_path / f"{name}.tif", "w", driver="GTiff", **shape, **place) as file:
            file.write(pixels)
    ended = run("rasters_dask.py", "out", "p0.tif", "p1.tif", "none.tif", "--model", folder, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "not segmented: image: expected a file, but 'none.tif' does not exist" in ended.stdout
    model = magnet.MagNet.from_pretrained(folder, progress=False).eval()
    for name in ("p0", "p1"):
        alone = model.predict_raster(tmp_path / f"{name}.tif", tmp_path / "alone").outputs["labels"]
        with rasterio.open(tmp_path / "out" / name / f"{name}_labels.tif") as file, rasterio.open(alone) as one:
            assert np.array_equal(file.read(), one.read())


def test_litserve(images: Path, folder: Path, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("litserve", exc_type=ImportError)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = environment_of_a_program(OMP_NUM_THREADS="1")
    command = [sys.executable, EXAMPLES / "serve_litserve.py", "--model", folder, "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env=environment, start_new_session=True
        )
    try:
        for _ in range(240):
            try:
                if urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200:
                    break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
        files = {name: (images / f"{name}.png").read_bytes() for name in ("p0", "broken", "p1")}
        floats = io.BytesIO()
        Image.fromarray(np.zeros((64, 64), np.float32)).save(floats, "TIFF")
        files["floats"] = floats.getvalue()
        with ThreadPoolExecutor(len(files)) as pool:
            answers = dict(pool.map(lambda name: (name, post(port, files[name])), files))
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its workers, too, which outlive a server that is terminated
        server.wait(30)
    for name, reason in (("broken", "expected a file that Pillow reads"), ("floats", "range")):
        status, answer = answers[name]
        assert status == 422 and reason in answer["detail"][0]["msg"] and "input" not in answer["detail"][0], answer
    for name, labels in expected.items():
        status, answer = answers[name]
        assert status == 200 and len(answer["classes"]) == CLASSES, (tmp_path / "log").read_text()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["labels"])))), labels)
