"""Cases of all subjects by their part of the time, and what was found."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from faults import configurations, findings, images, models, signals
from faults.process import Worker

PROCESSES = 2
SHOWN = 5  # findings of a subject

Case = Callable[[Worker, random.Random, Path], list[str]]


def operators(worker: Worker, rng: random.Random, folder: Path) -> list[str]:
    answer = worker.ask("operator", str(rng.random()))
    return findings.of_answer(answer) + ([answer["wrong"]] if "wrong" in answer else [])


# cases of each subject in a share: the same ones on every machine, so that whether it passes is no matter of speed
SHARE = {
    "reading": 1500,
    "segmenting": 30,
    "labelling": 100,
    "weights": 100,
    "settings_of_models": 80,
    "checkpoints": 500,
    "settings_of_training": 1200,
    "files_of_settings": 250,
    "descriptions": 120,
    "command_lines": 1200,
    "operators": 2000,
    "interrupted_predict": 2,
    "interrupted_scenes": 2,
    "interrupted_train": 2,
}


def subjects(model: Path) -> dict[str, tuple[int, Case]]:
    """Each with its part of the time."""
    return {
        "reading": (3, images.reading),
        "segmenting": (3, images.segmenting(model)),
        "labelling": (2, images.labelling),
        "weights": (2, models.weights(model)),
        "settings_of_models": (2, models.settings(model)),
        "checkpoints": (1, models.checkpoints),
        "settings_of_training": (3, configurations.settings),
        "files_of_settings": (2, configurations.files),
        "descriptions": (2, configurations.descriptions),
        "command_lines": (3, configurations.command_lines(model)),
        "operators": (2, operators),
        "interrupted_predict": (4, signals.predicting(model)),
        "interrupted_scenes": (2, signals.drawing),
        "interrupted_train": (4, signals.training),
    }


class Campaign:
    """Cases of a seed, in PROCESSES threads that each have a worker."""

    def __init__(self, seed: int, folder: Path) -> None:
        import tiny_model

        self.seed, self.folder = seed, folder
        self.model = tiny_model.save_tiny_model(folder / "model", num_classes=3)
        self.counts: Counter[str] = Counter()
        self.found: list[str] = []
        self._lock = threading.Lock()

    def one(self, name: str, case: Case, number: int, worker: Worker, *, keep: bool = False) -> list[str]:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}.{number}.", dir=self.folder))
        found = case(worker, random.Random(f"{self.seed} {name} {number}"), folder)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self.counts[name] += 1
            self.found += [f"{name} --seed {self.seed} --case {number}: {text}" for text in found]
        return found

    def run(self, seconds: float | None, chosen: dict[str, tuple[int, Case]]) -> None:
        """Each subject in its part of the time, and once at least; without ``seconds``, its cases of a share."""
        threads = [threading.Thread(target=self._work, args=(i, seconds, chosen)) for i in range(PROCESSES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, which: int, seconds: float | None, chosen: dict[str, tuple[int, Case]]) -> None:
        worker, whole = Worker(), sum(part for part, _ in chosen.values())
        order = list(chosen.items())
        for name, (part, case) in order[which:] + order[:which]:
            begin, number = time.monotonic(), which
            while (
                number < SHARE[name]
                if seconds is None
                else number == which or time.monotonic() - begin < seconds * part / whole
            ):
                try:
                    self.one(name, case, number, worker)
                except Exception as error:  # of the campaign itself
                    with self._lock:
                        self.found.append(f"{name} --case {number}: the campaign failed: {error!r}")
                number += PROCESSES
        worker.close()

    def report(self) -> int:
        for name, count in self.counts.items():
            found = [text for text in self.found if text.startswith(f"{name} ")]
            for text in found[:SHOWN]:
                print(text)
            print(f"{name:24} {count:7} cases {len(found):5} findings")
        print(f"{sum(self.counts.values())} cases, {len(self.found)} findings, seed {self.seed}")
        return 1 if self.found else 0
