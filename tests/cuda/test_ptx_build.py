"""Building what the emulator needs: only what has changed, by several processes at once, with the compiler's words."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ptx import build, cuda_runner

pytestmark = pytest.mark.ptx


@pytest.fixture
def sources(tmp_path, monkeypatch) -> Path:
    """A folder of sources in the place of the engine's."""
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setattr(build, "OUTPUT", tmp_path / "out")
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "one.h").write_text("constexpr int kOne = 1;\n")
    (folder / "a.cpp").write_text('#include "one.h"\nextern "C" int a() { return kOne; }\n')
    (folder / "b.cpp").write_text('extern "C" int b() { return 2; }\n')
    return folder


def built(folder: Path) -> dict[str, int]:
    library = build.engine()
    return {path.name: path.stat().st_mtime_ns for path in (library, *(folder / "out/engine").glob("*.o"))}


def test_builds_only_what_changed(sources, tmp_path):
    first = built(tmp_path)
    assert first.keys() == {"libemulator.so", "a.o", "b.o"}
    assert built(tmp_path) == first
    (sources / "b.cpp").write_text('extern "C" int b() { return 3; }\n')
    second = built(tmp_path)
    assert {name for name in first if second[name] != first[name]} == {"libemulator.so", "b.o"}
    (sources / "one.h").write_text("constexpr int kOne = 11;\n")
    third = built(tmp_path)
    assert all(third[name] != second[name] for name in second)  # a header is everybody's
    assert ctypes.CDLL(str(build.engine())).a() == 11


def test_builds_at_the_same_time(sources):
    with ThreadPoolExecutor(4) as pool:
        libraries = list(pool.map(lambda _: build.engine(), range(4)))
    assert len({*libraries}) == 1
    assert ctypes.CDLL(str(libraries[0])).b() == 2


def test_a_failing_build_gives_the_compilers_message_and_leaves_nothing(sources, tmp_path):
    (sources / "broken.cpp").write_text("int f() { return undeclared; }\n")
    for _ in range(2):
        with pytest.raises(build.BuildError, match=r"broken\.cpp:1:\d+: error: .*undeclared"):
            build.engine()
    (sources / "broken.cpp").write_text("int f() { return 4; }\n")
    assert "broken.o" in built(tmp_path)


def test_folders_are_made_anew(tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("1")

    def make() -> list[str]:
        folder = build.made(
            tmp_path / "folder", [source], lambda path: ["cp", str(source), str(path / source.read_text())]
        )
        return sorted(path.name for path in folder.iterdir())

    assert make() == ["1"]
    source.write_text("2")
    assert make() == ["2"]


def test_of_a_folder_some_files_are_kept(tmp_path):
    (tmp_path / "a.txt").write_text("")

    def command(path: Path) -> list[str]:
        return ["touch", str(path / "a.o"), str(path / "a.ii"), str(path / "a.ptx")]

    folder = build.made(tmp_path / "folder", [tmp_path / "a.txt"], command, keep=[".o", ".ptx"])
    assert sorted(path.name for path in folder.iterdir()) == ["a.o", "a.ptx"]


def test_no_compiler_is_told(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(build.NoCompiler, match="C\\+\\+ compiler"):
        build.engine()


def same_ptx(first: str, second: str) -> bool:
    one, other = map(cuda_runner._emulated, (first, second))
    return one == other or cuda_runner._renumbered(one) == cuda_runner._renumbered(other)


def test_kernels_are_alike_by_what_they_do():
    text = ".visible .entry f(){\n\t.reg .b32 %r<3>;\n\tadd.s32 %r2, %r1, 1;\n\tst.u32 [%rd1], %r2;\n}\n"
    begins_early = text.replace("\tadd", "\t.loc 1 2 3\n\tgriddepcontrol.wait;\n\tadd") + '\n\t.file 1 "f.cu"\n'
    assert same_ptx(text, begins_early)
    assert same_ptx(text, text.replace("%r2", "%r7").replace("%r<3>", "%r<8>"))
    assert not same_ptx(text, text.replace("add.s32", "sub.s32"))
    assert not same_ptx(text, text.replace("[%rd1], %r2", "[%rd1], %r1"))
    assert not same_ptx(text, text.replace("%r1, 1", "%r1, 2"))
