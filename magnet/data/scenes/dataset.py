"""Scenes written as a data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from magnet.data.scenes.classes import SCENE_CLASSES
from magnet.data.scenes.generate import generate_scene
from magnet.files.atomic import save_image
from magnet.files.outputs import Outputs

_MOST = 1_000_000  # scenes: their names have six digits


def write_dataset(
    folder: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: tuple[int, int] = (1024, 2048),
    seed: int = 0,
    progress: bool = False,
    *,
    overwrite: bool = False,
) -> Path:
    """Write scenes as a data set folder that ``magnet train`` reads.

    Args:
        folder: gets ``images/*.png``, ``labels/*.png``, ``classes.txt`` and one ``<split>.txt`` of file stems a split.
        counts: scenes of each split, as ``{"train": 40, "val": 4, "test": 8}``. No two scenes share a seed.
        size: (H, W) of every scene.
        seed: the first scene's seed; the others follow it.
        overwrite: replace files of these names; without it only those that an earlier call with the same arguments
            wrote are.

    Raises:
        MagNetError: the folder cannot be written to, or holds such files. ValueError: counts are negative or
            past a million together, or ``size`` is too small.
    """
    from tqdm import tqdm

    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"counts: expected 0 or more scenes for '{split}', got {count}")
    if sum(counts.values()) > _MOST:
        raise ValueError(f"counts: expected at most {_MOST} scenes together, got {sum(counts.values())}")
    root = Path(folder)
    plan: dict[str, range] = {}  # the seeds of each split
    for split, count in counts.items():
        first = seed + sum(map(len, plan.values()))
        plan[split] = range(first, first + count)
    seeds = [number for numbers in plan.values() for number in numbers]
    height, width = size
    whole = f"{', '.join(f'{count} for {split}' for split, count in counts.items())}, from seed {seed} on"

    def source(number: int) -> str:
        return f"seed {number} at {height}x{width}"

    targets = [(path, source(number)) for number in seeds for path in _files(root, number)]
    targets += [(root / name, whole) for name in (*(f"{split}.txt" for split in plan), "classes.txt")]
    bar = tqdm(total=len(seeds), desc="scenes", unit="scene", disable=not progress)
    with Outputs(root, "magnet scenes", overwrite=overwrite, inside=("images", "labels")) as outputs, bar:
        outputs.check(targets)
        for split, numbers in plan.items():
            for number in numbers:
                for path, array in zip(_files(root, number), generate_scene(size, number), strict=True):
                    with outputs.write(path, source(number)) as temporary:
                        save_image(Image.fromarray(array), temporary, compress_level=1)
                bar.update()
            with outputs.write(root / f"{split}.txt", whole) as path:
                path.write_text("".join(f"{_stem(number)}\n" for number in numbers), encoding="utf-8")
        with outputs.write(root / "classes.txt", whole) as path:
            path.write_text("".join(f"{i} {c.name}\n" for i, c in enumerate(SCENE_CLASSES)), encoding="utf-8")
    return root


def _stem(number: int) -> str:
    return f"scene_{number:06d}"


def _files(root: Path, number: int) -> tuple[Path, Path]:
    """Image and labels of a scene."""
    return root / "images" / f"{_stem(number)}.png", root / "labels" / f"{_stem(number)}.png"
