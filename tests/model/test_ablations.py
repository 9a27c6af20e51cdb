"""The variants of the ablations differ from the model in what they say, and in nothing else."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from tiny_model import save_tiny_model

import magnet

FOLDER = Path(__file__).parents[2] / "benchmarks" / "ablations"


@pytest.fixture
def ablations(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("variants")


def test_a_variant_keeps_the_other_settings_of_the_model(ablations: ModuleType, tmp_path: Path) -> None:
    model = magnet.MagNet.from_pretrained(save_tiny_model(tmp_path / "tiny"), batch_size=3, n_patches=2)
    fewer = ablations.build(model, ablations.Variant("points", "few", settings={"n_points": 7}))
    assert fewer.settings == model.settings.changed(n_points=7, n_patches=None)
    assert fewer.segmenter is model.segmenter and fewer.class_names == model.class_names
    some = ablations.build(model, ablations.Variant("patches", "some", settings={"n_patches": 5}))
    assert some.n_patches == 5


def test_a_variant_of_fewer_scales_has_their_refiners(ablations: ModuleType) -> None:
    refiners = [magnet.RefinementModule(3), magnet.RefinementModule(3)]
    scales = [(16, 16), (32, 32), (64, 64)]
    network = magnet.build_segmenter("compact", 3)
    model = magnet.MagNet(network, refiners, scales=scales, patch_size=(16, 16), n_points=9, batch_size=3).eval()
    direct = ablations.build(model, ablations.Variant("scales", "1 > 3", scales=(0, 2), settings={"kernel_size": 5}))
    assert direct.scales == (scales[0], scales[2]) and list(direct.refiners) == [refiners[1]]
    assert (direct.kernel_size, direct.settings.batch_size, direct.n_points) == (5, 3, 9)
    assert model.scales == tuple(scales) and len(model.refiners) == 2
