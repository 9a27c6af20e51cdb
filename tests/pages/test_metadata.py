"""CITATION.cff and .pre-commit-config.yaml agree with the project; the repository holds nothing that was compiled."""

from __future__ import annotations

import re
import subprocess

import pytest
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


def test_nothing_compiled_is_in_the_repository() -> None:
    """What a compiler left behind would be in every clone for good."""
    if not (ROOT / ".git").exists():
        pytest.skip("no clone")
    git = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "README.md" in listed
    assert [name for name in listed if re.search(r"\.(o|obj|a|so|pyd|dll|dylib|lib|pyc|whl|cubin|ptx)$", name)] == []
