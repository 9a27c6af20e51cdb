"""Scenes written as a data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from magnet.files import atomic_path, check_output_dir
from magnet.scenes.classes import SCENE_CLASSES
from magnet.scenes.generate import generate_scene


def write_dataset(
    folder: str | os.PathLike[str],
    counts: Mapping[str, int],
    size: tuple[int, int] = (1024, 2048),
    seed: int = 0,
    progress: bool = False,
) -> Path:
    """Write scenes as a data set folder that ``magnet train`` reads.

    Args:
        folder: gets ``images/*.png``, ``labels/*.png``, ``classes.txt`` and one ``<split>.txt`` of file stems a split.
        counts: scenes of each split, as ``{"train": 40, "val": 4, "test": 8}``. No two scenes share a seed.
        size: (H, W) of every scene.
        seed: the first scene's seed; the others follow it.

    Raises:
        MagNetError: the folder cannot be written to. ValueError: a count is negative, or ``size`` too small.
    """
    from tqdm import tqdm

    for split, count in counts.items():
        if count < 0:
            raise ValueError(f"counts: expected 0 or more scenes for '{split}', got {count}")
    root = check_output_dir(folder)
    for name in ("images", "labels"):
        check_output_dir(root / name)
    bar = tqdm(total=sum(counts.values()), desc="scenes", unit="scene", disable=not progress)
    number = seed
    for split, count in counts.items():
        stems = []
        for _ in range(count):
            image, labels = generate_scene(size, number)
            stem = f"scene_{number:06d}"
            for kind, array in (("images", image), ("labels", labels)):
                with atomic_path(root / kind / f"{stem}.png") as path:
                    Image.fromarray(array).save(path, compress_level=1)
            stems.append(stem)
            number += 1
            bar.update()
        with atomic_path(root / f"{split}.txt") as path:
            path.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    with atomic_path(root / "classes.txt") as path:
        path.write_text("".join(f"{i} {c.name}\n" for i, c in enumerate(SCENE_CLASSES)), encoding="utf-8")
    bar.close()
    return root
