"""CITATION.cff and .pre-commit-config.yaml agree with the project."""

from __future__ import annotations

import re

import yaml
from code_blocks import ROOT

import magnet_kernels


def test_versions_are_stated_once() -> None:
    """Those of the citation and of the checks before a commit are the project's."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == magnet_kernels.__version__
    project = (ROOT / "pyproject.toml").read_text()
    pinned = set(re.findall(r'"((?:ruff|mypy|clang-format)==[^"]+)"', project))
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    used = {one for hook in hooks for one in hook.get("additional_dependencies", [])}
    assert used == {one for one in pinned if not one.startswith("mypy")} and used
