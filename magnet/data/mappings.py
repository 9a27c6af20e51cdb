"""The class of each value of label files: of data sets that are known, or as a YAML file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from magnet.data.cityscapes import LABEL_ID_TO_TRAIN_ID
from magnet.errors import ArgumentError, shown
from magnet.files.yaml_text import read_yaml

__all__ = ["MAPPINGS", "read_mapping"]

MAPPINGS: dict[str, dict[int, int]] = {"cityscapes": LABEL_ID_TO_TRAIN_ID, "none": {}}


def read_mapping(name: str) -> dict[int, Any]:
    """A mapping by the name of a data set, "none" for none, or from a YAML file with the key ``mapping``.

    Raises:
        ArgumentError: there is no such file, or it has no mapping.
    """
    if name in MAPPINGS:
        return dict(MAPPINGS[name])
    known = ", ".join(MAPPINGS)
    if not Path(name).exists():
        raise ArgumentError(f"--mapping: expected a YAML file or one of {known}, got {shown(name)}; check the path")
    content = read_yaml(Path(name), "--mapping", "give a description of data that has one")
    mapping = content.get("mapping") if isinstance(content, dict) else None
    if not isinstance(mapping, dict) or not mapping or not all(type(one) is int for one in mapping):
        raise ArgumentError(
            f"--mapping: expected a YAML file with `mapping: {{7: 0, 8: 1}}`, the class of each label value, but "
            f"'{name}' has none; add it"
        )
    return mapping
