"""Encoders by name where timm is not there: what is checked before it is imported, and what is told."""

from __future__ import annotations

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import save_tiny_model

from magnet.errors import MagNetError
from magnet.model.magnet import MagNet
from magnet.networks import build_segmenter


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)


@pytest.mark.usefixtures("without_timm")
def test_the_package_to_install_is_named(tmp_path: Path) -> None:
    message = (
        r"^encoder: 'timm:resnet18' needs a package that cannot be used \(.*timm.*\); pip install 'timm>=1' \(the e"
    )
    with pytest.raises(MagNetError, match=message):
        build_segmenter("fpn", 3, encoder="timm:resnet18")
    save_tiny_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["segmenter"] = {"network": "fpn", "encoder": "timm:resnet18"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(MagNetError, match=message):
        MagNet.from_pretrained(tmp_path)


def test_a_torchvision_of_another_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    with pytest.raises(
        MagNetError, match=r"^encoder: 'timm:resnet18' needs timm, which does not load .*nms .*install the torchvision"
    ):
        build_segmenter("fpn", 3, encoder="timm:resnet18")


@pytest.mark.parametrize(
    ("network", "encoder", "error", "message"),
    [
        ("fpn", 3, TypeError, "^encoder: expected a text as 'timm:resnet34', got 3"),
        ("fpn", "", ValueError, "^encoder: expected timm: and the name of one of its networks"),
        ("fpn", "resnet34", ValueError, "^encoder: expected timm: and the name .* got 'resnet34'"),
        ("fpn", "timm:", ValueError, "^encoder: expected timm: and the name"),
        ("fpn", "timm:hf-hub:timm/resnet18", ValueError, "^encoder: expected timm: and the name"),
        ("fpn", "timm:local-dir:/models", ValueError, "^encoder: expected timm: and the name"),
        ("fpn", "timm:../resnet18", ValueError, "^encoder: expected timm: and the name"),
        ("compact", "timm:resnet34", ValueError, "^encoder: expected none for 'compact', only for fpn, psp, fpn-lite"),
        ("fpn-lite", None, ValueError, "^encoder: expected the encoder that 'fpn-lite' works on"),
    ],
)
def test_what_is_refused_before_anything_is_imported(
    network: str, encoder: Any, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = builtins.__import__

    def refused(name: str, *rest: Any, **options: Any) -> Any:
        assert name.partition(".")[0] != "timm"
        return plain(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refused)
    with pytest.raises(error, match=message):
        build_segmenter(network, 3, encoder=encoder)
