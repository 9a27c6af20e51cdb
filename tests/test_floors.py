"""The floors of the house: imports go down, inside a folder they make no circle, and none hides in a function.

The same of csrc: operators on the top floor include what they share below, never the other way round.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
# from the ground up; what is on one floor does not know each other. Files of magnet/ itself are the ground.
FLOORS = (
    ("magnet_kernels",),
    ("magnet",),
    ("magnet.files",),
    ("magnet.images", "magnet.checkpoints"),
    ("magnet.walk", "magnet.data", "magnet.pages"),
    ("magnet.networks",),
    ("magnet.model",),
    ("magnet.evaluation", "magnet.export"),
    ("magnet.training",),
    ("magnet.cli",),
)
DOORS = ("magnet", "magnet.__main__")  # what users import and start knows everything
# the operators stand on the references; the compiled backends beside each other know neither operators nor each other
KERNELS = (("magnet_kernels",), ("magnet_kernels.reference",), ("magnet_kernels.triton", "magnet_kernels.ops"))
# slow, and not needed by every command
IN_FUNCTIONS = {
    ("magnet.__main__", "magnet.cli.main"),
    ("magnet.cli.main", "magnet_kernels._version"),
    ("magnet.cli.arguments", "magnet.walk.points_by"),
    ("magnet.cli.arguments", "magnet.walk.settings"),
}

BY_NAME = {
    "magnet",
    "magnet.cli.main",
    "magnet.data",
    "magnet.extras",
    "magnet.networks",
    "magnet.networks.factory",
    "magnet_kernels._loader",
    "magnet_kernels._triton",
}


class Import(NamedTuple):
    importer: str
    imported: str
    in_function: bool
    for_types: bool


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_module(path): path for name in ("magnet", "magnet_kernels") for path in sorted((ROOT / name).rglob("*.py"))}


def _imports_of(module: str) -> Iterator[Import]:
    def visit(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            types = for_types or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
            names: list[str] = []
            if isinstance(child, ast.ImportFrom):
                assert child.module and not child.level, f"{module}: imports are written out in full"
                full = [f"{child.module}.{alias.name}" for alias in child.names]
                names = [name if name in FILES else child.module for name in full]
            elif isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            for name in dict.fromkeys(names):
                if name in FILES and name != module:
                    yield Import(module, name, inside, types)
            yield from visit(child, inside, types)

    yield from visit(ast.parse(FILES[module].read_text(encoding="utf-8")), False, False)


IMPORTS = [one for module in FILES for one in _imports_of(module)]


def _floor(module: str, floors: tuple[tuple[str, ...], ...]) -> tuple[int, str]:
    """The number of a module's floor and the part of it, the longest name that fits."""
    found = [
        (len(part), i, part) for i, floor in enumerate(floors) for part in floor if f"{module}.".startswith(f"{part}.")
    ]
    return max(found)[1:]


def _upwards(floors: tuple[tuple[str, ...], ...], imports: list[Import]) -> list[str]:
    wrong = []
    for one in imports:
        (own, part), (other, of) = _floor(one.importer, floors), _floor(one.imported, floors)
        if other > own or (other == own and of != part) or one.imported in DOORS:
            wrong.append(f"{one.importer} -> {one.imported}")
    return wrong


def _circle(imports: list[Import]) -> list[str]:
    """Modules that import each other, all of them; empty where there is no circle."""
    below: dict[str, set[str]] = {module: set() for module in FILES}
    for one in imports:
        below[one.importer].add(one.imported)
    while leaves := [module for module, others in below.items() if not others]:
        for leaf in leaves:
            del below[leaf]
        for others in below.values():
            others.difference_update(leaves)
    return sorted(below)


def test_imports_go_down() -> None:
    known = [one for one in IMPORTS if one.importer not in DOORS and one.importer.startswith("magnet.")]
    assert len(known) > 500
    assert _upwards(FLOORS, known) == []
    assert not [
        one for one in IMPORTS if one.importer.startswith("magnet_kernels") and one.imported.startswith("magnet.")
    ]


def test_no_import_of_the_kernels_goes_up() -> None:
    # the package's own file gathers the operators, and the backends are named by it
    doors = ("magnet_kernels", "magnet_kernels.ops", "magnet_kernels.triton")
    known = [one for one in IMPORTS if one.importer.startswith("magnet_kernels") and one.importer not in doors]
    assert len(known) > 100
    assert _upwards(KERNELS, known) == []


def test_there_is_no_circle() -> None:
    assert _circle([one for one in IMPORTS if one.importer not in DOORS]) == []


def test_no_import_dodges_a_circle() -> None:
    hidden = {(one.importer, one.imported) for one in IMPORTS if one.in_function}
    assert hidden == IN_FUNCTIONS
    assert {one.importer for one in IMPORTS if one.for_types} == {"magnet", "magnet.data"}  # which load on first use


# of csrc, from the ground up; a file belongs to the longest name that fits
C_FLOORS = (
    ("common",),
    ("binding", "cpu.simd"),
    ("cpu.parts", "cuda.parts"),
    ("cpu", "cuda", "host"),
)
C_FILES = {
    path.relative_to(ROOT / "csrc").as_posix().replace("/", "."): path
    for path in sorted((ROOT / "csrc").rglob("*.*"))
    if path.suffix in (".h", ".cuh", ".cpp", ".cu")
}
INCLUDES = [
    Import(file, included.replace("/", "."), False, False)
    for file, path in C_FILES.items()
    for included in re.findall(r'^#include "([^"]+)"', path.read_text(encoding="utf-8"), re.M)
]


def test_no_include_goes_up() -> None:
    assert len(INCLUDES) > 150
    assert {one.imported for one in INCLUDES} <= set(C_FILES)
    # host/ hands the functions of one pixel to the tests, and asks which instructions there are
    assert _upwards(C_FLOORS, [one for one in INCLUDES if not one.importer.startswith("host.")]) == []
    assert _upwards(C_FLOORS, [Import("cuda.parts.margin.cuh", "cuda.confidence.cuh", False, False)])
    assert _upwards(C_FLOORS, [Import("cpu.parts.median.h", "cuda.parts.map.cuh", False, False)])


def test_includes_make_no_circle() -> None:
    below: dict[str, set[str]] = {file: set() for file in C_FILES}
    for one in INCLUDES:
        if one.importer != one.imported:
            below[one.importer].add(one.imported)
    while leaves := [file for file, others in below.items() if not others]:
        for leaf in leaves:
            del below[leaf]
        for others in below.values():
            others.difference_update(leaves)
    assert sorted(below) == []


def test_nothing_is_imported_by_its_name() -> None:
    """But what loads on first use: public names, commands, networks, compiled libraries, Triton's kernels;
    libraries of extras; and what a user names."""
    by_name = {
        module for module, path in FILES.items() if re.search(r"import_module\(|__import__\(", path.read_text("utf-8"))
    }
    assert by_name == BY_NAME


def test_few_entries_on_the_ground() -> None:
    entries = [path for path in (ROOT / "magnet").iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 25, sorted(path.name for path in entries)


@pytest.mark.parametrize(
    ("importer", "imported", "wrong"),
    [
        ("magnet.walk.paper", "magnet.model.magnet", True),
        ("magnet.walk.paper", "magnet", True),
        ("magnet.errors", "magnet.__main__", True),
        ("magnet.data.open", "magnet.training.config", True),
        ("magnet.data.open", "magnet.walk.plan", True),
        ("magnet.errors", "magnet.files.atomic", True),
        ("magnet.model.magnet", "magnet.walk.paper", False),
        ("magnet.walk.paper", "magnet.walk.look", False),
        ("magnet.cli.predict", "magnet.errors", False),
    ],
)
def test_what_goes_up_is_found(importer: str, imported: str, wrong: bool) -> None:
    assert bool(_upwards(FLOORS, [Import(importer, imported, False, False)])) == wrong


def test_a_circle_is_found() -> None:
    back = Import("magnet.errors", "magnet.cli.main", True, False)
    assert "magnet.errors" in _circle([*IMPORTS, back]) and "magnet.cli.main" in _circle([*IMPORTS, back])
