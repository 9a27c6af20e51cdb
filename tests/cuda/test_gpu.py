"""What only a GPU can show of the CUDA kernels: streams, graphs, several devices, memory running out, no waiting."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch
from live import environment_of_a_program, live
from seeded import probs
from tolerances import assert_same

from magnet_kernels import refine_stage, refine_step, refine_step_

pytestmark = pytest.mark.skipif("cuda" not in live("refine_step"), reason="needs a GPU and the CUDA kernels")

SHAPE = (1, 19, 257, 509)


def maps(
    name: str, shape: tuple[int, int, int, int] = SHAPE, device: str = "cuda"
) -> tuple[torch.Tensor, torch.Tensor]:
    coarse, fine = (probs(f"gpu.{name}.{part}", *shape).to(device) for part in ("coarse", "fine"))
    return coarse, fine


def expected(coarse: torch.Tensor, fine: torch.Tensor, **options: object) -> tuple[torch.Tensor, torch.Tensor]:
    refined, points = refine_step(coarse.cpu(), fine.cpu(), return_points=True, backend="reference", **options)
    return refined, points


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Any synchronisation with the device is an error; inputs are copied to it, and results looked at, outside."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_synchronisation_is_noticed():
    coarse, _ = maps("sync", (1, 2, 8, 8))
    with pytest.raises(RuntimeError, match="synchroniz"), no_waiting():
        coarse.sum().item()


def test_no_host_synchronisation():
    coarse, fine = maps("sync")
    small = coarse[..., :100, :200].contiguous()
    boxes = torch.tensor([[0, 0.0, 0.0, 509.0, 257.0]])
    before = coarse.clone()
    with no_waiting():
        refined, points = refine_step(coarse, fine, n_points=4000, return_points=True)
        refine_step_(coarse, fine, n_points=0.3, kernel_size=5)
        labels = refine_stage(small, fine, boxes, SHAPE[2:], n_points=4000, labels_only=True)
    right, right_points = expected(before, fine, n_points=4000)
    assert_same(points.cpu(), right_points)
    assert_same(refined.cpu(), right)
    assert labels.shape == (1, *SHAPE[2:])


def test_at_most_four_kernels():
    coarse, fine = maps("count")
    refine_step_(coarse, fine, n_points=4000)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        refine_step_(coarse, fine, n_points=4000)
        torch.cuda.synchronize()
    kernels = [event.name for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    assert 1 <= len(kernels) <= 4, kernels


def test_captured_in_a_graph_and_replayed_on_other_values():
    coarse, fine = maps("graph")
    static_coarse, static_fine = coarse.clone(), fine.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        refine_step(static_coarse, static_fine, n_points=4000)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        refined, points = refine_step(static_coarse, static_fine, n_points=4000, return_points=True)
    for name in ("graph", "other", "graph"):
        coarse, fine = maps(name)
        static_coarse.copy_(coarse)
        static_fine.copy_(fine)
        graph.replay()
        right, right_points = expected(coarse, fine, n_points=4000)
        assert_same(points.cpu(), right_points)
        assert_same(refined.cpu(), right)


def test_several_threads_and_streams_at_once():
    inputs = [maps(f"thread{i}", (1, 7, 200 + 31 * i, 333)) for i in range(6)]
    torch.cuda.synchronize()
    results: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[] for _ in inputs]

    def work(i: int) -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                results[i].append(refine_step(*inputs[i], n_points=3000 + i, return_points=True))
            torch.cuda.current_stream().synchronize()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, (coarse, fine) in enumerate(inputs):
        right, right_points = expected(coarse, fine, n_points=3000 + i)
        assert len(results[i]) == 20
        for refined, points in results[i]:
            assert_same(points.cpu(), right_points)
            assert_same(refined.cpu(), right)


def test_a_device_that_is_not_the_current_one():
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    coarse, fine = maps("device", device="cuda:1")
    assert torch.cuda.current_device() == 0
    refined, points = refine_step(coarse, fine, n_points=4000, return_points=True)
    assert torch.cuda.current_device() == 0 and refined.device == coarse.device
    right, right_points = expected(coarse, fine, n_points=4000)
    assert_same(points.cpu(), right_points)
    assert_same(refined.cpu(), right)


def test_memory_running_out_changes_nothing():
    coarse, fine = maps("memory", (1, 2, 2048, 4096))
    before = coarse.clone()
    refine_step_(before.clone(), fine, n_points=100)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**20) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            refine_step_(coarse, fine, n_points=100)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert_same(coarse, before)
    right, _ = expected(coarse, fine, n_points=100)
    assert_same(refine_step_(coarse, fine, n_points=100).cpu(), right)


def test_memory_in_place_is_points_and_one_workspace():
    coarse, fine = maps("workspace", (1, 2, 2048, 2048))
    refine_step_(coarse, fine, n_points=0.5)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = torch.cuda.memory_allocated()
    refine_step_(coarse, fine, n_points=0.5)
    pixels = 2048 * 2048
    assert torch.cuda.max_memory_allocated() - start <= pixels * 8 * 0.5 + pixels * 4 * 3.2 + 2**20


def test_runs_repeat_bit_for_bit():
    coarse, fine = maps("repeat", (2, 19, 512, 513))
    first = refine_step(coarse, fine, n_points=0.4, return_points=True)
    for _ in range(20):
        for a, b in zip(refine_step(coarse, fine, n_points=0.4, return_points=True), first, strict=True):
            assert_same(a, b)


def test_an_import_does_not_touch_the_gpu():
    script = (
        "import torch, magnet, magnet_kernels\n"
        "assert not torch.cuda.is_initialized()\n"
        "maps = open('/proc/self/maps').read()\n"
        "assert '/dev/nvidia' not in maps\n"
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, env=environment_of_a_program())
    assert run.returncode == 0, run.stderr
