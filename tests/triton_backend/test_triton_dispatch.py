"""When Triton kernels run: automatic and forced choice, and falling back once, with the cause, where they fail."""

from __future__ import annotations

import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from live import environment_of_a_program

from magnet_kernels import _backends, _triton, confidence


def test_importing_the_package_does_not_import_triton():
    script = "import sys, torch\nprint('triton' in sys.modules)\nimport magnet_kernels\nprint('triton' in sys.modules)"
    command = [sys.executable, "-P", "-W", "ignore", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, env=environment_of_a_program(), check=True)
    before, after = run.stdout.split()
    assert before == after


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ({"cuda", "triton", "reference"}, "cuda"),
        ({"triton", "reference"}, "triton"),
        ({"reference"}, "reference"),
    ],
)
def test_the_order_on_a_gpu(monkeypatch, live, expected):
    monkeypatch.setattr(_backends, "_FORCED", "auto")
    monkeypatch.setattr(_backends, "why_not", lambda operator, backend, _: None if backend in live else "not here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    dispatched = object()
    chosen = _backends._choose("confidence", "auto", torch.device("cuda", 0), dispatched)
    choices = {
        "cuda": dispatched,
        "triton": torch.ops.magnet_kernels_triton.confidence.default,
        "reference": _backends._REFERENCES["confidence"],
    }
    assert chosen is choices[expected]


def test_forced_where_it_cannot_run_says_why():
    with pytest.raises(
        RuntimeError, match=r"^backend: 'triton' was asked for but cannot run confidence: .+; use backend="
    ):
        confidence(torch.rand(1, 3, 4, 5), backend="triton")


class _CompilationError(Exception):
    pass


_CompilationError.__module__ = "triton.compiler.errors"


@pytest.fixture
def failing(monkeypatch):
    """Makes Triton's kernels raise an error, as on a GPU; gives the operator's implementation."""

    def make(error: Exception):
        def fails(*arguments):
            raise error

        package = SimpleNamespace(implementations={"confidence": fails}, reason=lambda device: None)
        monkeypatch.setattr(_triton, "_package", lambda: package)
        monkeypatch.setattr(_triton, "_failures", {})
        return _triton._implementation("confidence", _backends._REFERENCES["confidence"])

    return make


def test_what_does_not_compile_falls_back_once_and_says_so(failing, recwarn):
    run = failing(_CompilationError("at 7:11:\nsome line\nptxas has no sm_999"))
    assert _triton.reason("confidence") is None
    x = torch.rand(2, 3, 4, 5)
    expected = _backends._REFERENCES["confidence"](x, False)
    for _ in range(3):
        assert torch.equal(run(x, False), expected)
    assert len(recwarn) == 1, "one warning"
    message = str(recwarn[0].message)
    assert "confidence" in message and "ptxas has no sm_999" in message and "reference" in message
    assert "ptxas has no sm_999" in _triton.reason("confidence")


@pytest.mark.parametrize(
    "words",
    [
        "Failed to find C compiler. Please specify via CC environment variable.",
        "Triton Error [CUDA]: device kernel image is invalid",
        "Triton Error [CUDA]: no kernel image is available for execution on the device",
        "Triton Error [CUDA]: the provided PTX was compiled with an unsupported toolchain.",
    ],
)
def test_what_cannot_be_built_or_loaded_is_of_that_kind(failing, words):
    run = failing(RuntimeError(words))
    with pytest.warns(UserWarning, match=re.escape(words)):
        run(torch.rand(1, 3, 4, 5), False)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        ValueError("boxes: expected"),
        RuntimeError("CUDA error: x"),
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
        RuntimeError("Triton Error [CUDA]: unspecified launch failure"),
    ],
)
def test_other_errors_are_raised(failing, error):
    run = failing(error)
    with pytest.raises(type(error), match=re.escape(str(error))):
        run(torch.rand(1, 3, 4, 5), False)
    assert _triton.reason("confidence") is None


def test_the_drivers_out_of_memory_is_that_of_torch(failing):
    run = failing(RuntimeError("Triton Error [CUDA]: out of memory"))
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        run(torch.rand(1, 3, 4, 5), False)
    assert _triton.reason("confidence") is None
