"""Progress on stderr: lines where it is no terminal, none where the work is short, a bar where one is asked for."""

from __future__ import annotations

import time

import pytest

from magnet.model import progress


def walk(shown: bool | None) -> None:
    for _ in progress.progress_of(range(6), shown=shown, desc="a.tif", unit="field", total=6):
        time.sleep(0.02)


def test_a_log_gets_whole_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.05)
    walk(None)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("a.tif: ") and " of 6 fields, " in line and line.endswith(" left") for line in lines)


def test_lines_of_work_that_counts_itself(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    bar = progress.progress_of(None, desc="segmenter", unit="step", total=5, initial=2, mininterval=2)
    for step in range(3):
        bar.set_postfix(loss=f"{step + 0.25:.4f}", refresh=False)
        bar.update()
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("segmenter: 5 of 5 steps, ") and lines[-1].endswith(" left, loss=2.2500")


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    walk(None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shown", [False, True])
def test_what_is_asked_for(shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    walk(shown)
    assert ("6/6" in capsys.readouterr().err) is shown


def test_a_log_has_lines_whatever_the_bar_would_leave(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.0)
    assert list(progress.progress_of(iter("ab"), desc="b", unit="image", total=2, leave=True)) == ["a", "b"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("b: 2 of 2 images, ") and len(lines) <= 3
