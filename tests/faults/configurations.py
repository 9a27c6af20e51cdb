"""Configurations and command lines: wrong ones end with 2 and one line, before a folder is made."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from faults import damage, findings, values
from faults.process import Worker

BAD_YAML = (
    "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
    "walk: !!python/object/apply:os.system ['touch never']\n",
    "walk: &w\n  scales: *w\n",
    "walk:\n" + " " * 1 + "[" * 3000 + "]" * 3000 + "\n",
    "name: a\nname: b\n",
    "- 1\n- 2\n",
    "text",
    "\x00\x01",
    "a: b: c",
    "{" * 5000,
    "name: !!binary aGVsbG8=\n",
    "name: 2026-11-28\n",
    "? [1, 2]\n: 3\n",
    "<<: {name: x}\n",
)
KEYS = (
    "name", "out", "seed", "device", "amp", "data.folders", "data.workers", "data.cache_mb", "data.corrupt",
    "data.format", "walk.scales", "walk.patch_size", "walk.input_size", "walk.n_points", "walk.n_patches",
    "walk.kernel_size",
    "segmenter.iterations", "segmenter.epochs", "segmenter.batch_size", "segmenter.val_every", "segmenter.optim.lr",
    "segmenter.optim.weight_decay", "segmenter.optim.momentum", "segmenter.optim.warmup", "segmenter.optim.clip",
    "segmenter.optim.ema", "segmenter.optim.steps", "segmenter.augment.zoom", "segmenter.augment.flip",
    "refiner.iterations", "refiner.batch_size", "refiner.val_chains", "refiner.val_every", "refiner.optim.lr",
    "segmenter.class_weights", "refiner.scale_weights", "segmenter.dice", "refiner.gamma", "nothing", "walk", "data",
)  # fmt: skip
OPTIONS = (
    "--model", "--out", "--save", "--n-patches", "--n-points", "--kernel-size", "--corrupt", "--amp", "--device",
    "--follow-image", "--points-by", "--data", "--config", "--stage", "--json", "--count", "--size", "--seed",
    "--resume", "--flips", "--debug", "--overwrite", "--help", "--nothing", "-x", "--",
)  # fmt: skip
COMMANDS = ("doctor", "demo", "predict", "train", "eval", "data", "convert", "export", "scenes", "nothing", "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def settings(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    """``magnet train`` on data that there is not, so that it ends before any work, with odd values of a few keys."""
    data = folder / "data"
    data.mkdir()
    words = ["train", "--out", str(folder / "runs"), "--data.folders", f"[{data}]", "--walk.scales", "[[8,8],[16,16]]"]
    words += ["--walk.patch_size", "[8,8]"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        words += [f"--{rng.choice(KEYS)}", _text(rng.choice(values.ODD)).replace("\x00", "")]
    answer = worker.ask("command", words)
    found = findings.of_command(answer, (1, 2))
    return found + _nothing_made(folder, {"data"})


def files(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    """``--config`` of damaged and malicious YAML."""
    path = folder / "run.yaml"
    good = "name: x\nwalk:\n  scales: [[8, 8], [16, 16]]\n  patch_size: [8, 8]\ndata:\n  folders: [missing]\n"
    if rng.random() < 0.4:
        path.write_text(rng.choice(BAD_YAML))
    else:
        path.write_bytes(rng.choice(damage.ALL)(good.encode(), rng))
    answer = worker.ask("command", ["train", "--config", str(path), "--out", str(folder / "runs")])
    return findings.of_command(answer, (1, 2)) + _nothing_made(folder, {"run.yaml"})


def descriptions(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    """``magnet data check`` of a damaged description, classes.txt or list."""
    import sample_data
    import tiny_data

    if rng.random() < 0.5:
        sample_data.yaml_sample(folder / "data")
        victim = root = folder / "data" / "data.yaml"
    else:
        root = tiny_data.tiny_folder(folder / "data", size=(8, 8), counts=(1, 1, 1))
        victim = root / rng.choice(("classes.txt", "train.txt", "val.txt"))
    data = rng.choice(BAD_YAML).encode() if rng.random() < 0.2 else rng.choice(damage.ALL)(victim.read_bytes(), rng)
    victim.write_bytes(data)
    before = findings.state_of(folder)
    answer = worker.ask("command", ["data", "check", str(root)])
    return findings.of_command(answer) + findings.of_folder(before, folder)


def command_lines(model: Path) -> Callable[[Worker, random.Random, Path], list[str]]:
    """Any words at all. What works may work, in its folder; nothing is made elsewhere."""

    def case(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
        words = [rng.choice(COMMANDS)] if rng.random() < 0.95 else []
        if words == ["doctor"] and rng.random() < 0.9:  # takes seconds, and has few options
            words = ["predict"]
        for _ in range(rng.randint(0, 5)):
            odd = _text(rng.choice(values.ODD)).replace("\x00", "")
            words.append(rng.choice((*OPTIONS, odd, str(folder / "missing"), str(model))))
        if words and words[0] in ("demo", "scenes", "train") and "--help" not in words:
            words.append("--nothing")  # would work for minutes
        answer = worker.ask("command", words)
        return findings.of_command(answer)

    return case


def _nothing_made(folder: Path, given: set[str]) -> list[str]:
    return [f"made before the arguments were checked: {p.name}" for p in folder.iterdir() if p.name not in given]
