"""Damaged model folders and checkpoints: refused in one line, or the very weights that were saved."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults import damage, findings, values
from faults.process import Worker


def weights(model: Path) -> Callable[[Worker, random.Random, Path], list[str]]:
    """model.safetensors or config.json with other bytes."""

    def case(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
        victim = _copied(model, folder) / rng.choice(("model.safetensors", "model.safetensors", "config.json"))
        victim.write_bytes(rng.choice(damage.ALL)(victim.read_bytes(), rng))
        answer = worker.ask("load_model", str(victim.parent))
        found = findings.of_answer(answer)
        if victim.suffix == ".safetensors" and "digest" in answer:
            whole = worker.ask("load_model", str(model))
            if answer["digest"] != whole["digest"]:
                found.append("other weights, in silence")
        return found + _answers(answer)

    return case


def settings(model: Path) -> Callable[[Worker, random.Random, Path], list[str]]:
    """config.json whose values are others: each is refused, or makes a model that segments."""

    def case(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
        path = _copied(model, folder) / "config.json"
        config = json.loads(path.read_text())
        for _ in range(rng.choice((1, 1, 2))):
            _change(config, rng)
        path.write_text(json.dumps(config))
        answer = worker.ask("load_model", str(path.parent))
        return findings.of_answer(answer) + _answers(answer)

    return case


def checkpoints(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    """A .pth of torch with other bytes."""
    import torch

    path = folder / "x.pth"
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    state = {f"layer{i}.weight": torch.rand(3, 4, generator=generator) for i in range(rng.randint(1, 4))}
    torch.save(state if rng.random() < 0.7 else {"state_dict": state, "epoch": 3}, path)
    path.write_bytes(rng.choice(damage.ALL)(path.read_bytes(), rng))
    return findings.of_answer(worker.ask("read_checkpoint", str(path)))


def _copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "model"))


def _answers(answer: dict[str, Any]) -> list[str]:
    return (
        ["a model that segments wrongly: no finite answer of the image's size"] if answer.get("good") is False else []
    )


def _change(config: dict[str, Any], rng: random.Random) -> None:
    """One value, at any depth, becomes another; or its key goes, or gets another name."""
    place: Any = config
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner and rng.random() < 0.7):
            break
        place = inner
    if isinstance(place, dict) and rng.random() < 0.2:
        value = place.pop(key)
        if rng.random() < 0.5:
            place[f"{key}_"] = value
    else:
        place[key] = rng.choice(values.ODD)
