"""Commands that are interrupted at random moments, and then run again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from faults import findings
from faults.process import LIMIT, Worker
from PIL import Image

ENDS = {signal.SIGINT: (130, -2), signal.SIGTERM: (143, -15), signal.SIGKILL: (-9,)}


def _start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "magnet", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        preexec_fn=_heard,
    )


def _heard() -> None:
    """SIGINT as a terminal gives it: where these tests run in the background it is ignored, by what they start too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _torn(folder: Path) -> list[str]:
    """Results that are only half there."""
    torn = []
    for path in folder.rglob("*.png"):
        if any(findings.LEFTOVER.fullmatch(part) for part in path.parts):
            continue  # was still being made
        try:
            with Image.open(path) as image:
                image.load()
        except Exception as error:
            torn.append(f"torn: {path}: {error}")
    return torn


def _interrupted(rng: random.Random, words: list[str], out: Path) -> list[str]:
    kind = rng.choice(tuple(ENDS))
    process = _start(words)
    time.sleep(rng.uniform(1, 7))  # before that Python itself may still start, and shows its own traceback
    process.send_signal(kind)
    try:
        _, errors = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [f"{kind.name} is not heard"]
    found = [] if "Traceback" not in errors else [f"{kind.name}: a traceback: {errors[-1500:]}"]
    if process.returncode not in (0, *ENDS[kind]):
        found.append(f"{kind.name}: exit code {process.returncode}: {errors[-500:]}")
    return found + (_torn(out) if out.exists() else [])


def _again(words: list[str], out: Path) -> list[str]:
    process = _start(words)
    _, errors = process.communicate(timeout=4 * LIMIT)
    found = [] if process.returncode == 0 else [f"run again: exit code {process.returncode}: {errors[-500:]}"]
    return found + findings.leftovers(out) + _torn(out)


def predicting(model: Path) -> Callable[[Worker, random.Random, Path], list[str]]:
    def case(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
        images, out = folder / "images", folder / "out"
        images.mkdir()
        for number in range(12):
            pixels = np.random.default_rng(number).integers(0, 256, (96, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"x{number}.png")
        before = findings.state_of(images)
        words = ["predict", str(images), "--model", str(model), "--out", str(out), "--device", "cpu"]
        words += ["--save", "labels,overlay,sheet,full_labels"]
        found = _interrupted(rng, words, out) + _again(words, out) + findings.of_folder(before, images)
        made = len(list(out.glob("*_labels.png")))
        return found if made == 24 else [*found, f"{made} labels of 12 images in 2 kinds"]

    return case


def drawing(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    out = folder / "drawn"
    words = ["scenes", "--out", str(out), "--train", "3", "--val", "1", "--test", "1", "--size", "256", "256"]
    return _interrupted(rng, words, out) + _again(words, out)


def training(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    import tiny_data

    data = tiny_data.tiny_folder(folder / "data")
    before = findings.state_of(data)
    words = ["train", *tiny_data.tiny_config(data, folder / "runs")]
    found = _interrupted(rng, words, folder / "runs")
    run = folder / "runs" / "tiny"
    words += ["--resume", "true"] if run.exists() else []
    return found + _again(words, folder / "runs") + findings.of_folder(before, data)
