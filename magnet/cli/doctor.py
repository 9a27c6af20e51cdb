"""``magnet doctor``: what is installed and built, which backend runs each operator and why, and whether it is right."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

import magnet_kernels as mk
from magnet.cli.arguments import Parser
from magnet.devices import computes_bf16
from magnet.model.pretrained import shipped_models

__all__ = ["examine", "main", "self_test"]

_PACKAGES = ("torch", "triton", "numpy", "pillow", "safetensors", "tqdm", "pydantic", "pyyaml")
_COMPILED = {"cpu": ("cpu",), "cuda": ("cuda", "triton")}  # by device, best first
_TOLERANCE = 1e-5  # float32 sums in another order; whatever is copied or chosen must be equal


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _gpu(index: int) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    return f"{torch.cuda.get_device_name(index)} (compute capability {major}.{minor})"


def _devices() -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def _live(reasons: dict[str, str], device: str, forced: str | None) -> dict[str, str | None]:
    """The backend that runs an operator on a device, and why; backend None: calls are errors."""
    if forced:
        if forced not in (*reasons, "auto"):
            return {"backend": None, "reason": f"MAGNET_BACKEND={forced} is not a backend"}
        if forced != "auto":
            right_place = forced == "reference" or forced in _COMPILED[device]
            why = reasons[forced] if reasons[forced] != "ok" or right_place else f"it does not run on {device}"
            if why != "ok":
                return {"backend": None, "reason": f"MAGNET_BACKEND={forced}, but {why}"}
            return {"backend": forced, "reason": f"MAGNET_BACKEND={forced}"}
    missing: list[str] = []
    for backend in _COMPILED[device]:
        if reasons.get(backend) == "ok":
            how = "made by Triton at the first call" if backend == "triton" else "compiled"
            return {"backend": backend, "reason": "; ".join([how, *missing])}
        missing.append(f"{backend}: {reasons.get(backend, 'not known')}")
    return {"backend": "reference", "reason": "; ".join(missing)}


def _inputs(device: str) -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g).to(device)

    coarse, fine = ((rand(2, 7, 37, 53) * 4).softmax(1) for _ in range(2))
    boxes = torch.tensor([[0, 0, 0, 31, 20], [1, 11.5, 3, 52.5, 36], [1, 4, 9, 20, 30]], device=device)
    return {
        "coarse": coarse,
        "fine": fine,
        "half": (rand(2, 7, 18, 26) * 4).softmax(1),
        "logits": rand(2, 7, 37, 53) * 8 - 4,
        "score": rand(2, 1, 37, 53).mul_(50).floor_(),  # many ties
        "mask": rand(2, 1, 37, 53) < 0.4,
        "boxes": boxes,
        "grid": torch.tensor([[0, 0, 0, 30, 20], [0, 23, 0, 53, 20], [1, 5, 17, 35, 37.0]], device=device),
        "patches": rand(3, 7, 20, 30),
        "points": torch.stack([torch.arange(0, 1900, 19), torch.arange(3, 1903, 19)]).to(device),
    }


def _cases(i: dict[str, Any]) -> dict[str, list[tuple[str, Callable[[str], Any]]]]:
    """Operator -> (name of the case, call on a backend)."""
    return {
        "confidence": [
            ("probabilities", lambda b: mk.confidence(i["coarse"], backend=b)),
            ("logits", lambda b: mk.confidence(i["logits"], from_logits=True, backend=b)),
            ("channels_last", lambda b: mk.confidence(i["coarse"].to(memory_format=torch.channels_last), backend=b)),
            ("bfloat16", lambda b: mk.confidence(i["coarse"].bfloat16(), backend=b)),
        ],
        "median_blur": [
            (f"{k} x {k}", lambda b, k=k: mk.median_blur(i["score"], k, backend=b))  # type: ignore[misc]
            for k in (3, 5, 11)
        ],
        "uncertainty_score": [
            ("mask", lambda b: mk.uncertainty_score(i["coarse"], i["fine"], mask=i["mask"], backend=b)),
            ("logits", lambda b: mk.uncertainty_score(i["logits"], i["fine"], from_logits=True, backend=b)),
        ],
        "select_points": [("ties", lambda b: mk.select_points(i["score"], 333, backend=b))],
        "replace_points": [
            ("copy", lambda b: mk.replace_points(i["coarse"], i["fine"], i["points"], backend=b)),
        ],
        "replace_points_": [
            ("in place", lambda b: mk.replace_points_(i["coarse"].clone(), i["fine"], i["points"], backend=b)),
        ],
        "refine_step": [
            ("count", lambda b: _refine(i["coarse"], i["fine"], backend=b, n_points=400)),
            ("mask", lambda b: _refine(i["coarse"], i["fine"], backend=b, n_points=0.5, mask=i["mask"])),
            ("half-size coarse", lambda b: _refine(i["half"], i["fine"], backend=b, n_points=400)),
            (
                "logits, 5 x 5",
                lambda b: _refine(i["logits"], i["fine"], backend=b, n_points=99, from_logits=True, kernel_size=5),
            ),
        ],
        "refine_step_": [
            (
                "in place",
                lambda b: mk.refine_step_(i["coarse"].clone(), i["fine"], n_points=400, return_points=True, backend=b),
            ),
        ],
        "refine_step_out": [
            (
                "out",
                lambda b: mk.refine_step(
                    i["coarse"], i["fine"], n_points=400, out=torch.empty_like(i["coarse"]), backend=b
                ),
            ),
        ],
        "refine_stage": [
            ("overlaps", lambda b: _stage(i, backend=b)),
            ("logits", lambda b: _stage(i, backend=b, from_logits=True)),
        ],
        "refine_stage_labels": [("labels", lambda b: _stage(i, backend=b, labels_only=True))],
        "upsample_confidence": [("to fine", lambda b: mk.upsample_confidence(i["half"], (37, 53), backend=b))],
        "crop_patches": [
            ("aligned", lambda b: mk.crop_patches(i["coarse"], i["boxes"], (16, 24), backend=b)),
            ("not aligned", lambda b: mk.crop_patches(i["coarse"], i["boxes"], (16, 24), aligned=False, backend=b)),
        ],
        "stitch_patches": [
            ("overlaps", lambda b: mk.stitch_patches(i["patches"], i["grid"], (37, 53), batch_size=2, backend=b)),
        ],
        "patch_uncertainty": [("boxes", lambda b: mk.patch_uncertainty(i["coarse"], i["boxes"], backend=b))],
    }


def _refine(coarse: Tensor, fine: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    refined, points = mk.refine_step(coarse, fine, return_points=True, **options)
    return refined, points


def _stage(i: dict[str, Any], **options: Any) -> tuple[Tensor, Tensor]:
    """All covered pixels are replaced, so that no choice hangs on how a backend rounds the upsampled map."""
    patches = i["patches"] if options.get("from_logits") else i["patches"].softmax(1)
    result, points = mk.refine_stage(
        i["half"], patches, i["grid"], (37, 53), n_points=1.0, return_points=True, **options
    )
    return result, points


def _differ(got: Any, expected: Any) -> str | None:
    """None where two results agree, else how they differ."""
    if isinstance(expected, tuple):
        return next((d for d in map(_differ, got, expected) if d), None)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"{tuple(got.shape)} of {got.dtype}, expected {tuple(expected.shape)} of {expected.dtype}"
    if not expected.is_floating_point():
        wrong = int((got != expected).sum())
        return f"{wrong} of {got.numel()} values differ" if wrong else None
    worst = (got.double() - expected.double()).abs().max().item() if got.numel() else 0.0
    return None if worst <= _TOLERANCE else f"differs by up to {worst:.3g}"  # NaN: differs


def self_test(devices: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Run every live compiled backend of every operator against the reference, on small inputs.

    Returns:
        One record a check: operator, backend, device, case, ok, and error (None or text).
    """
    records = []
    for device in devices or _devices():
        cases = _cases(_inputs(device))
        for operator, reasons in mk.available_backends().items():
            for backend in _COMPILED[device]:
                if reasons.get(backend) != "ok":
                    continue
                for case, call in cases.get(operator, []):
                    try:
                        error = _differ(call(backend), call("reference"))
                    except Exception as raised:  # a broken kernel may raise anything; the report must go on
                        error = f"{type(raised).__name__}: {' '.join(str(raised).split())}"
                    records.append(
                        {
                            "operator": operator,
                            "backend": backend,
                            "device": device,
                            "case": case,
                            "ok": error is None,
                            "error": error,
                        }
                    )
    return records


def examine() -> dict[str, Any]:
    """Everything ``magnet doctor`` reports, as plain values."""
    forced = os.environ.get("MAGNET_BACKEND") or None
    backends = mk.available_backends()
    start = time.perf_counter()
    checks = self_test()
    return {
        "versions": {
            "magnet": mk.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES},
        },
        "machine": {
            "platform": platform.platform(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "cpu_bfloat16": "fast" if computes_bf16(torch.device("cpu")) else "slow",
            "threads": torch.get_num_threads(),
            "gpus": [_gpu(k) for k in range(torch.cuda.device_count())],
        },
        "build": mk.build_info(),
        "forced_backend": forced,
        "operators": {
            operator: {
                "backends": reasons,
                "live": {device: _live(reasons, device, forced) for device in _devices()},
            }
            for operator, reasons in backends.items()
        },
        "models": _models(),
        "self_test": {
            "ok": all(check["ok"] for check in checks),
            "seconds": round(time.perf_counter() - start, 3),
            "checks": checks,
        },
    }


def _models() -> list[str]:

    return shipped_models()


def _text(report: dict[str, Any]) -> str:
    lines = []
    for title in ("versions", "machine", "build"):
        lines.append(title)
        for key, value in report[title].items():
            shown = ", ".join(map(str, value)) or "none" if isinstance(value, (list, dict)) else value
            lines.append(f"  {key:20} {'-' if shown is None else shown}")
        lines.append("")
    lines.append("operators" + (f" (MAGNET_BACKEND={report['forced_backend']})" if report["forced_backend"] else ""))
    for operator, record in report["operators"].items():
        for device, live in record["live"].items():
            lines.append(f"  {operator:20} {device:5} {live['backend'] or 'NONE':10} {live['reason']}")
    absent: dict[str, list[str]] = {}
    for operator, record in report["operators"].items():
        for backend, reason in record["backends"].items():
            if reason != "ok":
                absent.setdefault(f"{backend}: {reason}", []).append(operator)
    if absent:
        lines += ["", "not available"]
        count = len(report["operators"])
        lines += [
            f"  {why} ({'all operators' if len(who) == count else ', '.join(who)})" for why, who in absent.items()
        ]
    lines += ["", "models that come with the library", f"  {', '.join(report['models']) or 'none'}", ""]
    test = report["self_test"]
    wrong = [check for check in test["checks"] if not check["ok"]]
    lines.append(
        f"self-test: {len(test['checks']) - len(wrong)} of {len(test['checks'])} checks agree with the reference "
        f"({test['seconds']:.1f} s)"
        if test["checks"]
        else "self-test: nothing to compare, every operator runs on the reference"
    )
    for c in wrong:
        lines.append(f"  WRONG {c['operator']} on {c['backend']} ({c['device']}, {c['case']}): {c['error']}")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Returns 0, or 1 where what was built does not load, operators cannot run or the self-test fails.

    Exits with 2 on wrong arguments.
    """
    parser = Parser(
        prog="magnet doctor",
        description="What is built, which backend is live for each operator and why, and a self-test.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    report = examine()
    print(json.dumps(report, indent=2) if args.json else _text(report))
    errors = list(report["build"]["failed_to_load"].values())
    if not report["self_test"]["ok"]:
        errors.append("the self-test failed; reinstall, or set MAGNET_BACKEND=reference")
    if any(live["backend"] is None for record in report["operators"].values() for live in record["live"].values()):
        errors.append(f"MAGNET_BACKEND={report['forced_backend']}: operators cannot run, see above; unset it")
    for error in errors:
        print(f"magnet: error: {error}", file=sys.stderr)
    return 1 if errors else 0
