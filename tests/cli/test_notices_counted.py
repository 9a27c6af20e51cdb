"""What is told of the first file of a folder is counted, and every command says the count at its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_model import save_tiny_model

from magnet import notices
from magnet.cli.main import main

pytestmark = pytest.mark.usefixtures("one_thread")


def _data(folder: Path, model: Path, count: int = 3) -> Path:
    """A data folder whose images are transparent in a corner."""
    import json

    names = json.loads((model / "config.json").read_text())["class_names"]
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        pixels = rng.integers(0, 256, (64, 128, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[:9, :9, 3] = 0
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        labels = (np.arange(128) // 16 * np.ones((64, 1))).astype(np.uint8)
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    (folder / "classes.txt").write_text("".join(f"{i} {name}\n" for i, name in enumerate(names)))
    (folder / "val.txt").write_text("".join(f"{i}\n" for i in range(count)))
    return folder


@pytest.mark.parametrize("command", ["predict", "predict of one that fails", "eval"])
def test_commands_end_with_the_count(tmp_path: Path, command: str, caplog: pytest.LogCaptureFixture) -> None:
    model = save_tiny_model(tmp_path / "model")
    data = _data(tmp_path / "data", model)
    for one in sorted((data / "images").iterdir()):
        if command == "eval":
            frames = [Image.open(one).convert("RGB")] * 2
            frames[0].save(one, save_all=True, append_images=[frames[0].rotate(180)])
    if command == "eval":
        words = ["eval", "--model", str(model), "--data", str(data), "--modes", "coarse", "--split", "val"]
        kind = "hold several pictures"
    else:
        words = ["predict", str(data / "images"), "--model", str(model), "--out", str(tmp_path / "out")]
        kind = "hold pixels without a value"
        if command.endswith("fails"):
            (data / "images" / "z.png").write_bytes(b"no picture")
    assert main(words) == int(command.endswith("fails"))
    assert [one for one in caplog.messages if one.startswith(f"image: 3 images of '{data / 'images'}' {kind}")]


def test_files_that_come_after_the_count_are_added_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def tell(*names: str) -> list[str]:
        caplog.clear()
        for name in names:
            notices.tell("are odd", tmp_path / name, "is odd", "mend it")
        notices.sum_up()
        return list(caplog.messages)

    assert len(tell("a", "b", "a")) == 2 and caplog.messages[1] == f"image: 2 images of '{tmp_path}' are odd"
    assert tell() == []
    assert tell("a") == []
    assert tell("c") == [f"image: 3 images of '{tmp_path}' are odd"]
    assert tell("d", "e", "e") == [f"image: 5 images of '{tmp_path}' are odd"]
