"""Compiled kernels as backends of the operators, for tensors of the CPU: "cuda_sm_80", "cuda_sm_90", "triton_sm_90".

Each is a namespace of operators written here. A call makes the memory of its tensors the device's, draws a schedule
(seed, blocks at once, how lanes diverge, number of multiprocessors, what fresh memory holds), and runs the operator of
the library or of the Triton package with its launches emulated.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
from ptx import build, cuda_runner, emulator, torch_memory
from torch import Tensor

import build_nvcc
from magnet_kernels import _backends, _dispatcher, _library

TRITON_ARCHITECTURE = 90
CUDA = {f"cuda_sm_{one}": one for one in cuda_runner.ARCHITECTURES}
TRITON = {f"triton_sm_{TRITON_ARCHITECTURE}": TRITON_ARCHITECTURE}
NAMES = (*CUDA, *TRITON)

_one_at_a_time = threading.RLock()  # the engine, and what a schedule sets, are the process's


class Schedules:
    """Draws how the launches of a call run. The same call of the same test gets the same, however often it is tried."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.fixed: random.Random | None = None  # draws instead, for who repeats cases in ways of their own
        self.races = 2  # 1: not in global memory
        self.approximate = 0  # the same in all of a test: a GPU errs in the same way every time
        self._calls: Counter[str] = Counter()

    def begin(self, test: str) -> None:
        """A test starts."""
        self.races = 2
        self.approximate = random.Random(f"{self.seed} {test}").randrange(2)
        self._calls.clear()

    def random(self, operator: str, arguments: tuple[Any, ...]) -> random.Random:
        if self.fixed is not None:
            return self.fixed
        key = f"{operator} {[tuple(x.shape) if isinstance(x, Tensor) else x for x in arguments]}"
        if not hypothesis.currently_in_test_context():  # which repeats a call to see it fail again
            self._calls[key] += 1
        return random.Random(f"{self.seed} {self._calls[key]} {key}")


SCHEDULES = Schedules()


def _options(r: random.Random, same_values: int) -> emulator.Options:
    return emulator.Options(
        seed=r.randrange(2**40),
        resident=r.choice([1, 2, 4, 7]),
        divergence=r.choice([0, 8, 64]),
        quantum=r.choice([1, 8, 64, 1000]),
        races=SCHEDULES.races,
        approximate=SCHEDULES.approximate,
        same_values=same_values,
    )


@contextmanager
def device_memory(*values: Any) -> Iterator[None]:
    """The memory of the tensors among ``values`` is the device's, and so is all memory that is allocated meanwhile."""
    mine = []
    for value in values:
        if not isinstance(value, Tensor):
            continue
        storage = value.untyped_storage()
        begin, size = storage.data_ptr(), storage.nbytes()
        if size and not emulator.LIBRARY.emulator_registered(begin):
            emulator.LIBRARY.emulator_register(begin, size)
            mine.append(begin)
    torch_memory.active(True)
    try:
        yield
    finally:
        torch_memory.active(False)
        for begin in mine:
            emulator.LIBRARY.emulator_forget(begin)


@functools.cache
def kernels() -> cuda_runner.Kernels:
    """The CUDA operators, built and loaded."""
    library = cuda_runner.build_library()
    _library.mirror(cuda_runner.NAMESPACE)
    return cuda_runner.Kernels(*library)


@functools.cache
def triton_runner() -> Any:
    from ptx.triton_runner import Runner

    return Runner(TRITON_ARCHITECTURE)


def _cuda_operator(operator: str, architecture: int) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        r = SCHEDULES.random(operator, arguments)
        with _one_at_a_time:
            library = kernels()
            library.architecture = architecture
            _set(library.options, _options(r, 0))
            library.multiprocessors(r.choice([1, 2, 4, 16, 132]))
            torch_memory.fill(r.choice([0xFF, 0x7F, 0x00, 0xA5, 0x3F]))
            with device_memory(*arguments):
                return _dispatcher.overload(cuda_runner.NAMESPACE, operator)(*arguments)

    return run


def _triton_operator(operator: str) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        r = SCHEDULES.random(operator, arguments)
        with _one_at_a_time, triton_launches(r), device_memory(*arguments):
            return package().implementations[operator](*arguments)

    return run


def package() -> Any:
    return importlib.import_module("magnet_kernels.triton")


@contextmanager
def triton_launches(r: random.Random) -> Iterator[None]:
    """Launches of Triton's kernels are emulated."""
    from magnet_kernels.triton import launch

    runner, former = triton_runner(), (launch.run, launch.multiprocessors)
    _set(runner.options, _options(r, 1))
    count = r.choice([1, 2, 4, 16, 132])
    torch_memory.fill(r.choice([0xFF, 0x7F, 0x00, 0xA5, 0x3F]))
    launch.run, launch.multiprocessors = runner, lambda device: count
    try:
        yield
    finally:
        launch.run, launch.multiprocessors = former


def _set(options: emulator.Options, to: emulator.Options) -> None:
    """In place: the stand-in holds its address."""
    for name, _ in emulator.Options._fields_:
        setattr(options, name, getattr(to, name))


@functools.cache
def why_not(backend: str) -> str | None:
    """None where a backend can be emulated, and its operators are defined; else the reason."""
    try:
        build.compiler()
        if backend in CUDA:
            build_nvcc.find()
    except (build.NoCompiler, build_nvcc.NvccError) as error:
        return str(error)
    if backend in TRITON and (importlib.util.find_spec("triton") is None or not package().implementations):
        return "triton is not installed"
    if backend in CUDA:
        kernels()  # raises where they do not compile
    namespace = f"magnet_kernels_{backend}"
    _backends.register_namespace(backend, namespace)
    for operator in _backends._REFERENCES:
        if backend in TRITON:
            _library.implement(namespace, operator, _triton_operator(operator), "CPU")
        elif _dispatcher.has_kernel(cuda_runner.NAMESPACE, operator, "CPU"):
            _library.implement(namespace, operator, _cuda_operator(operator, CUDA[backend]), "CPU")
    return None


def live(operator: str) -> list[str]:
    """The backends that can be emulated here and have this operator."""
    return [one for one in NAMES if why_not(one) is None and _backends.why_not(operator, one) is None]


def twins() -> frozenset[str]:
    """CUDA backends whose PTX is, by all that is emulated, that of a later one."""
    if why_not(next(iter(CUDA))) is not None:
        return frozenset()
    *others, last = CUDA.items()
    return frozenset(name for name, architecture in others if kernels().alike(architecture, last[1]))


def launched() -> dict[str, dict[str, int]]:
    """{backend: {kernel: launches}} so far."""
    found: dict[str, dict[str, int]] = {}
    if kernels.cache_info().currsize:
        for (architecture, kernel), count in kernels().launched.items():
            found.setdefault(f"cuda_sm_{architecture}", {})[kernel] = count
    if triton_runner.cache_info().currsize:
        found[f"triton_sm_{TRITON_ARCHITECTURE}"] = dict(triton_runner().launched)
    return found
