"""What nvcc says of the CUDA kernels, without a GPU: registers, spills and the width of loads, for every architecture.

Needs nvcc, and cuobjdump (of the toolkit or of the triton package) for the disassembly; skips where they are not.
"""

from __future__ import annotations

import re

import pytest
from gpu.machine_code import Instruction, cuobjdump, disassembly, in_flight, instructions, loops
from gpu.resources import KERNEL, budgets, parse

import build_nvcc

pytestmark = [pytest.mark.cuda_static, pytest.mark.slow]

SOURCES = sorted((build_nvcc.ROOT / "csrc" / "cuda").rglob("*.cu"))
ARCHITECTURES = [build_nvcc.number(word) for word in build_nvcc.ARCHITECTURES.split(";")]


@pytest.fixture(scope="session")
def compiled() -> dict[str, build_nvcc.Compiled]:
    """Every source by its stem. Compiling takes minutes, unless an installation from this folder has just done so."""
    try:
        wanted = build_nvcc.all_architectures()
    except build_nvcc.NvccError as error:
        pytest.skip(str(error))
    return {one.source.stem: one for one in build_nvcc.compile_objects(SOURCES, wanted)}


def test_every_kernel_states_a_budget():
    assert SOURCES
    for path in sorted((build_nvcc.ROOT / "csrc" / "cuda").rglob("*.cu*")):
        text = path.read_text()
        assert path.name == "device.cuh" or "__global__" not in text, f"{path.name}: use MAGNET_KERNEL"
        assert path.name == "device.cuh" or text.count("MAGNET_KERNEL(") == len(KERNEL.findall(text)), path.name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("stem", [source.stem for source in SOURCES])
def test_registers_and_spills(compiled, stem, architecture):
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    allowed = budgets()
    kernels = [kernel for kernel in parse(compiled[stem].report) if kernel.architecture == architecture]
    assert kernels
    for kernel in kernels:
        assert kernel.kernel in allowed, f"{kernel.symbol} was not made by MAGNET_KERNEL"
        assert kernel.registers <= allowed[kernel.kernel], kernel
        assert kernel.stack == 0, kernel
        assert kernel.spills == 0, kernel


def code_of(compiled: build_nvcc.Compiled, architecture: str) -> dict[str, str]:
    """Symbol: machine code as text."""
    if (program := cuobjdump()) is None:
        pytest.skip("cuobjdump was not found (it comes with the CUDA toolkit and with the triton package)")
    return disassembly(program, compiled.object, architecture)


@pytest.mark.parametrize("architecture", ["80", "90", "100"])
@pytest.mark.parametrize(
    ("stem", "kernels", "maps"),
    [
        ("uncertainty_score", r"score_planesIfLb0ELi4ELi(\d+)E", 2),
        ("uncertainty_score", r"score_planesINS_8BFloat16ELb0ELi8ELi(\d+)E", 2),
        ("confidence", r"confidence_planesIfLb0ELi4ELi(\d+)E", 1),
        ("confidence", r"confidence_planesINS_8BFloat16ELb0ELi8ELi(\d+)E", 1),
    ],
)
def test_maps_are_read_in_16_bytes(compiled, stem, kernels, maps, architecture):
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    code = code_of(compiled[stem], architecture)
    found = {symbol: int(match[1]) for symbol in code if (match := re.search(kernels, symbol))}
    assert len(found) == 8, f"the specialised class counts and 0, the generic one: {found}"
    for symbol, classes in found.items():
        wide = len(re.findall(r"LDG\.E\S*\.128", code[symbol]))
        planes = min(classes or 4, 4)  # of each map, at least, before the first is used
        assert wide >= planes * maps, f"{symbol}: {wide} loads of 16 bytes"


@pytest.mark.parametrize("architecture", ["80", "90", "100"])
@pytest.mark.parametrize(("labels", "doubled"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_patches_of_their_boxes_size_are_read_in_16_bytes(compiled, labels, doubled, architecture):
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    code = code_of(compiled["refine_stage"], architecture)
    (text,) = (text for symbol, text in code.items() if f"stage_scoresIfLb0ELb{labels}ELb{doubled}E" in symbol)
    wide = [loop for loop in loops(instructions(text)) if any(one.loaded == 16 for one in loop)]
    assert max(map(in_flight, wide), default=0) >= 5 * 16


@pytest.mark.parametrize("architecture", ["80", "90", "100"])
def test_patches_are_stitched_in_16_bytes(compiled, architecture):
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    code = code_of(compiled["stitch_patches"], architecture)
    (text,) = (text for symbol, text in code.items() if "stitch_planesIfE" in symbol)
    wide = [loop for loop in loops(instructions(text)) if any(one.loaded == 16 for one in loop)]
    flights = sorted(map(in_flight, wide))
    assert len(flights) == 2 and flights[0] >= 4 * 16 and flights[1] >= 8 * 16, "of several patches, and of one"


@pytest.mark.parametrize("architecture", ["90", "100", "120"])
@pytest.mark.parametrize("stem", ["median_blur", "refine_step", "replace_points", "select_points"])
def test_kernels_that_begin_early_wait_before_they_touch_memory_or_end(compiled, stem, architecture):
    """One that began while the kernel before it still ran would read what is not there yet, and one that ended then
    would let the next begin; no emulator shows that."""
    if architecture not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{architecture}")
    code = code_of(compiled[stem], architecture)
    code = {symbol: text for symbol, text in code.items() if "median_by_rank" not in symbol}  # starts in order
    assert code
    for symbol, text in code.items():
        names = [one.name for one in instructions(text)]
        assert "ACQBULK" in names, f"{symbol} does not wait"
        before = names[: names.index("ACQBULK")]
        wrong = [name for name in before if re.match(r"(LDG?|STG?|ATOMG?|REDG?|RED|LDGSTS|UBLK\w*|EXIT)(\.|$)", name)]
        assert not wrong, f"{symbol}: {wrong} before it waits"


@pytest.mark.parametrize("architecture", ["8.6", "12.0"])
def test_from_ptx_of_an_older_architecture_comes_the_same_machine_code(compiled, tmp_path, architecture):
    number = build_nvcc.number(architecture)
    if number not in build_nvcc.known_architectures():
        pytest.skip(f"this nvcc does not know sm_{number}")
    together = compiled["crop_patches"]
    (alone,) = build_nvcc.compile_objects([together.source], [architecture], tmp_path)
    assert f"compute_{number}" not in {path.stem.split(".")[-1] for path in together.ptx.iterdir()}
    assert f".target sm_{number}\n" in alone.ptx.joinpath("crop_patches.ptx").read_text()

    def code(one: build_nvcc.Compiled) -> dict[str, list[Instruction]]:
        return {symbol: instructions(text) for symbol, text in code_of(one, number).items()}

    assert code(together) == code(alone) != {}
