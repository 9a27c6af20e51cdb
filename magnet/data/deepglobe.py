"""DeepGlobe land cover, in the layout it is distributed in."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from magnet.data.dataset import IGNORE_INDEX, Colour
from magnet.data.labelled_files import FilePair, LabelledFiles, holds, images_in, pair_by_name
from magnet.data.labels import ClassColours
from magnet.data.lists import listed_pairs, read_list
from magnet.data.splits import check_split_name, seeded_split
from magnet.errors import MagNetError

__all__ = ["DEEPGLOBE_CLASSES", "DEEPGLOBE_SPLIT", "DEEPGLOBE_UNKNOWN", "DeepGlobe"]

DEEPGLOBE_CLASSES: dict[str, Colour] = {
    "urban": (0, 255, 255),
    "agriculture": (255, 255, 0),
    "rangeland": (255, 0, 255),
    "forest": (0, 255, 0),
    "water": (0, 0, 255),
    "barren": (255, 255, 255),
}
DEEPGLOBE_UNKNOWN: Colour = (0, 0, 0)
DEEPGLOBE_SPLIT = (207 / 803, 142 / 803)  # val and test; the sizes most papers use, though not the same images


class DeepGlobe(LabelledFiles):
    """One split of DeepGlobe land cover: 803 labelled tiles of 2448x2448, 50 cm a pixel.

    Layout: ``train/<id>_sat.jpg`` and ``train/<id>_mask.png``, an RGB image in exactly the colours of urban (0, 255,
    255), agriculture (255, 255, 0), rangeland (255, 0, 255), forest (0, 255, 0), water (0, 0, 255), barren (255, 255,
    255) and unknown (0, 0, 0). The folders ``valid`` and ``test`` of the challenge have no masks, so all splits are
    parts of ``train``: of list files, or ``seeded_split``. Source: Demir et al., DeepGlobe 2018, http://deepglobe.org.

    Args:
        root: folder of ``train``.
        split: "train", "val" or "test".
        unknown: "ignore" = 255, which leaves six classes 0..5, the ones the challenge scores; "class" = class 0, in
            front of the six, as in the public MagNet release.
        unmatched: what other colours mean: "error", "ignore" (255, reported with their counts), or "binarize" (each
            channel to 0 below 128 and to 255 from there, as the challenge advises).
        file: a list to take instead of the seeded split: ids (``<id>`` or ``<id>_sat.jpg``), or lines
            ``image<TAB>label`` relative to ``root``.
        val: fraction of the tiles to validate on.
        test: fraction of the tiles to test on.
        seed: seed of the split.

    Raises:
        MagNetError: missing folders or files, an empty split.
    """

    def __init__(
        self,
        root: Path,
        split: str,
        *,
        unknown: Literal["ignore", "class"] = "ignore",
        unmatched: Literal["error", "ignore", "binarize"] = "error",
        file: Path | None = None,
        val: float = DEEPGLOBE_SPLIT[0],
        test: float = DEEPGLOBE_SPLIT[1],
        seed: int = 0,
        strict: bool = True,
    ) -> None:
        classes = {"unknown": DEEPGLOBE_UNKNOWN, **DEEPGLOBE_CLASSES} if unknown == "class" else DEEPGLOBE_CLASSES
        code = {colour: number for number, colour in enumerate(classes.values())}
        code.setdefault(DEEPGLOBE_UNKNOWN, IGNORE_INDEX)
        pairs, without_labels, without_image = _find(root, split, file, val, test, seed)
        super().__init__(
            split,
            file or root,
            list(classes),
            ClassColours(code, unmatched),
            pairs,
            colours=list(classes.values()),
            without_labels=without_labels,
            without_image=without_image,
            strict=strict,
        )


def _find(
    root: Path, split: str, file: Path | None, val: float, test: float, seed: int
) -> tuple[list[FilePair], list[Path], list[Path]]:
    lines = read_list(file) if file else []
    if file and any(line.labels for line in lines):
        return listed_pairs(root, file)
    check_split_name(split)
    folder = root / "train"
    if not folder.is_dir():
        raise MagNetError(
            f"data: expected the folder '{folder}', which does not exist; set data.root to the folder of DeepGlobe's "
            f"train/ ('{root}' holds {holds(root)})"
        )
    images, labels = images_in(folder, "_sat"), images_in(folder, "_mask")
    for files, name in ((images, "<id>_sat.jpg"), (labels, "<id>_mask.png")):
        if not files:
            raise MagNetError(
                f"data: '{folder}' holds no {name}, but {holds(folder)}; unpack the training tiles of DeepGlobe there "
                "(only they have masks), or describe the data in a YAML file (data.format yaml)"
            )
    if file:
        chosen = [Path(line.first).stem.removesuffix("_sat") for line in lines]
        absent = [folder / f"{name}_sat.jpg" for name in chosen if name not in images]
    else:
        chosen, absent = seeded_split(sorted({*images, *labels}), split, val=val, test=test, seed=seed), []
    part = set(chosen)
    pairs, without_labels, without_image = pair_by_name(
        {name: images[name] for name in images if name in part},
        {name: labels[name] for name in labels if name in part and (name in images or not file)},
    )
    return pairs, without_labels, [*absent, *without_image]
