"""Files that are used twice: images in more than one split, and label files of more than one image."""

from __future__ import annotations

from collections.abc import Sequence

from magnet.data.labelled_files import LabelledFiles

__all__ = ["shared_images", "shared_labels", "shared_note"]


def shared_images(datasets: Sequence[LabelledFiles]) -> list[str]:
    """Images that are in more than one split."""
    splits: dict[str, set[str]] = {}
    for dataset in datasets:
        for pair in dataset.pairs:
            splits.setdefault(str(pair.image.resolve()), set()).add(dataset.split)
    return [f"{path} is in {' and '.join(sorted(names))}" for path, names in splits.items() if len(names) > 1]


def shared_note(datasets: Sequence[LabelledFiles]) -> str:
    """One line on the images that are in more than one split; empty where none is."""
    shared = shared_images(datasets)
    if not shared:
        return ""
    more = f", and {len(shared) - 1} more are" if len(shared) > 1 else ""
    return (
        f"data: {shared[0]}{more}; scores of images that were trained on are too good: take them out of one of the "
        "splits"
    )


def shared_labels(dataset: LabelledFiles) -> list[str]:
    """Label files that several images of a split have in common, by a slip in a list, or meant for altered copies."""
    images: dict[str, list[str]] = {}
    for pair in dataset.pairs:
        for path in pair.labels:
            images.setdefault(str(path.resolve()), []).append(pair.image.name)
    return [
        f"{path} is the labels of {len(names)} images: '{names[0]}' and '{names[1]}'" + (" ..." if names[2:] else "")
        for path, names in images.items()
        if len(names) > 1
    ]
