"""``magnet doctor``: tells the truth about backends, and finds a kernel that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from live import environment_of_a_program

import magnet_kernels
from magnet.cli import doctor
from magnet.cli import main as cli
from magnet_kernels import available_backends


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    for operator in available_backends():
        assert f"  {operator} " in shown
    for text in ("versions", "build", torch.__version__, "self-test"):
        assert text in shown


def test_json_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["versions"]["magnet"] == magnet_kernels.__version__
    assert {name: record["backends"] for name, record in report["operators"].items()} == available_backends()
    assert report["self_test"]["ok"] is True
    live = {name for name, reasons in available_backends().items() if reasons["cpu"] == "ok"}
    tested = {check["operator"] for check in report["self_test"]["checks"] if check["backend"] == "cpu"}
    assert tested == live


def test_every_operator_has_a_check() -> None:
    assert set(doctor._cases(doctor._inputs("cpu"))) == set(available_backends())


def test_checks_run_on_the_reference() -> None:
    """Whatever is compiled here, the cases themselves are valid calls."""
    for cases in doctor._cases(doctor._inputs("cpu")).values():
        for name, call in cases:
            assert doctor._differ(call("reference"), call("reference")) is None, name


OK, GONE = "ok", "not built"


@pytest.mark.parametrize(
    ("cpu", "cuda", "triton", "device", "forced", "live"),
    [
        (OK, GONE, GONE, "cpu", None, "cpu"),
        (GONE, OK, OK, "cpu", None, "reference"),
        (OK, OK, OK, "cuda", None, "cuda"),
        (OK, GONE, OK, "cuda", None, "triton"),
        (OK, GONE, GONE, "cuda", None, "reference"),
        (OK, OK, OK, "cpu", "reference", "reference"),
        (OK, OK, OK, "cpu", "auto", "cpu"),
        (GONE, OK, OK, "cpu", "cpu", None),
        (OK, OK, OK, "cpu", "cuda", None),
        (OK, OK, OK, "cpu", "fastest", None),
    ],
)
def test_live_backend(cpu: str, cuda: str, triton: str, device: str, forced: str | None, live: str | None) -> None:
    reasons = {"cuda": cuda, "triton": triton, "cpu": cpu, "reference": OK}
    found = doctor._live(reasons, device, forced)
    assert found["backend"] == live
    if (live == "reference" and forced is None) or (forced == "cpu" and live is None):
        assert GONE in found["reason"]
    if live is None:
        assert f"MAGNET_BACKEND={forced}" in found["reason"]


def test_a_wrong_kernel_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = magnet_kernels.select_points

    def wrong(score: torch.Tensor, n_points: int, *, backend: str) -> torch.Tensor:
        points = right(score, n_points, backend="reference")
        return points if backend == "reference" else points.clone().index_fill_(1, torch.tensor([5]), 0)

    reasons = {"select_points": {"cuda": GONE, "triton": GONE, "cpu": OK, "reference": OK}}
    monkeypatch.setattr(doctor.mk, "select_points", wrong)
    monkeypatch.setattr(doctor.mk, "available_backends", lambda: reasons)
    assert cli.main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "WRONG select_points on cpu (cpu, ties): 2 of 666 values differ" in captured.out
    assert "self-test failed" in captured.err and len(captured.err.splitlines()) == 1


def test_a_forced_backend_that_cannot_run_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAGNET_BACKEND", "nonsense")
    assert cli.main(["doctor"]) == 1
    assert (
        capsys.readouterr().err == "magnet: error: MAGNET_BACKEND=nonsense: operators cannot run, see above; unset it\n"
    )


def test_a_library_that_does_not_load_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "_cuda.abi3.so does not load: undefined symbol: a; reinstall"
    info = {**magnet_kernels.build_info(), "failed_to_load": {"_cuda.abi3.so": said}}
    monkeypatch.setattr(doctor.mk, "build_info", lambda: info)
    assert cli.main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "failed_to_load       _cuda.abi3.so" in captured.out
    assert captured.err == f"magnet: error: {said}\n"


def test_a_kernel_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, backend: str, **__: Any) -> torch.Tensor:
        if backend == "cpu":
            raise RuntimeError("illegal\ninstruction")
        return torch.zeros(1)

    reasons = {"confidence": {"cuda": GONE, "triton": GONE, "cpu": OK, "reference": OK}}
    monkeypatch.setattr(doctor.mk, "confidence", broken)
    monkeypatch.setattr(doctor.mk, "available_backends", lambda: reasons)
    checks = doctor.self_test(["cpu"])
    assert checks and all(check["error"] == "RuntimeError: illegal instruction" for check in checks)


@pytest.mark.parametrize(
    ("got", "expected", "told"),
    [
        (torch.tensor([1.0]), torch.tensor([1.0 + 1e-6]), None),
        (torch.tensor([1.0]), torch.tensor([1.1]), "differs by up to 0.1"),
        (torch.tensor([float("nan")]), torch.tensor([1.0]), "differs by up to nan"),
        (torch.tensor([1]), torch.tensor([2]), "1 of 1 values differ"),
        (torch.tensor([1.0]), torch.tensor([1.0, 1.0]), r"(1,) of torch.float32, expected (2,) of torch.float32"),
        ((torch.ones(1), torch.tensor([True])), (torch.ones(1), torch.tensor([False])), "1 of 1 values differ"),
    ],
)
def test_differences(got: Any, expected: Any, told: str | None) -> None:
    assert doctor._differ(got, expected) == told


def test_a_forced_backend_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "magnet", "doctor", "--json"],
        env=environment_of_a_program(MAGNET_BACKEND="reference"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    report = json.loads(done.stdout)
    assert report["forced_backend"] == "reference"
    assert {record["live"]["cpu"]["backend"] for record in report["operators"].values()} == {"reference"}
