"""What must be reached, as data: on two threads of a CPU against competitors, and on a GPU against memory."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT = "1x19x1024x2048 float32"
N_POINTS = 65536


@dataclass(frozen=True)
class Target:
    """Median time of ``rival`` divided by ours must reach ``ratio`` for ``case`` at the default shape."""

    case: str
    rival: str
    ratio: float


TARGETS = (
    Target("confidence", "reference", 10),
    Target("confidence", "compile", 1),
    Target("median_blur 3x3", "reference", 100),
    Target("median_blur 3x3", "opencv", 1 / 1.5),
    Target("median_blur 5x5", "opencv", 1 / 2),
    Target("median_blur 11x11", "reference", 20),
    Target("select_points", "reference", 5),
    Target("refine_step_", "reference", 14),
    Target("refine_step_", "compile", 1.8),
    Target("refine_step", "reference", 6),
    Target("refine_step", "compile", 1.2),
)
MOST_COPIES = 1.6  # of our times, in those of a plain copy of as many bytes: what is above is named
MOST_SCORE_MAPS = 3.0  # memory of refine_step_ beyond its inputs
MOST_DISPATCH_US = 60.0  # CPU time of a call of refine_step beside its kernel
LEAST_REFINER_TRAINING = 3.0  # on a GPU: steps a second of refiner training against the release's way
MOST_DATA_WAIT = 0.10  # of the time of a training step, with two loader workers


def target_of(case: str, shape: str, rival: str) -> Target | None:
    """The target of a comparison, if it has one."""
    if shape != DEFAULT:
        return None
    return next((target for target in TARGETS if (target.case, target.rival) == (case, rival)), None)


# On a GPU, measured by gpu_check.sh.
GPU_SHAPE = "1x19x1024x2048"
GPU_CASE = f"refine_step_ {GPU_SHAPE} {{}} K={N_POINTS}"
GPU_3_PERCENT = f"refine_step_ {GPU_SHAPE} float32 K=62914"
GPU_90_PERCENT = f"refine_step_ {GPU_SHAPE} float32 K=1887436"
GPU_SELECT = f"select_points 1x1x1024x2048 float32 K={N_POINTS}"  # no figure: CUB's selection is its rival
GPU_LABELS = f"refine_stage labels {GPU_SHAPE} float32 K={N_POINTS}"

# MB that must move in place (docs/performance.md): both maps, then the chosen pixels' values read again, once the
# choice is known, and written. No case is asked to be faster than its bytes: at most so many times the bytes' ratio.
MB_3_PERCENT, MB_90_PERCENT = 340, 605
MOST_BY_BYTES = 1.15


@dataclass(frozen=True)
class GpuTarget:
    """One figure of the compiled CUDA backend's kernel time.

    ``kind`` is "microseconds" (at most ``limit``), "fraction" of the measured copy bandwidth on the bytes that must
    move (at least), "times as fast" as the best of the variants whose name starts with ``other`` (at least), "times the
    case" ``other`` (at most) or "times the variant" ``other`` (less than). It is for GPUs whose name has ``gpu`` in it.
    """

    case: str
    kind: str
    limit: float
    other: str = ""
    gpu: str = ""

    @property
    def at_least(self) -> bool:
        return self.kind in ("fraction", "times as fast")


GPU_TARGETS = (
    GpuTarget(GPU_CASE.format("float32"), "microseconds", 115, gpu="H200"),
    GpuTarget(GPU_CASE.format("bfloat16"), "microseconds", 70, gpu="H200"),
    GpuTarget(GPU_CASE.format("float32"), "fraction", 0.70, gpu="H200"),
    GpuTarget(GPU_CASE.format("bfloat16"), "fraction", 0.70, gpu="H200"),
    GpuTarget(GPU_CASE.format("float32"), "fraction", 1 / 1.25, gpu="H100"),
    GpuTarget(GPU_CASE.format("bfloat16"), "fraction", 1 / 1.25, gpu="H100"),
    GpuTarget("refine_step_ 1x19x8192x8192 float32 K=2013265", "fraction", 0.80),
    GpuTarget(GPU_CASE.format("float32"), "times as fast", 60, "eager"),
    GpuTarget(GPU_CASE.format("float32"), "times as fast", 2.5, "compile"),
    GpuTarget(f"{GPU_3_PERCENT} flat", "times the case", MOST_BY_BYTES, GPU_3_PERCENT),
    GpuTarget(GPU_90_PERCENT, "times the case", MOST_BY_BYTES * MB_90_PERCENT / MB_3_PERCENT, GPU_3_PERCENT),
    GpuTarget(GPU_LABELS, "times the variant", 0.60, "separate"),
    GpuTarget(GPU_LABELS, "times the variant", 0.60, "stitched before"),
)
