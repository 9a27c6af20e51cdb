"""``magnet demo``: refine a generated high-resolution scene, measure the gain, and draw it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image

from magnet.bounds import AMP
from magnet.cli.arguments import AMP_HELP, Parser, count, device_name
from magnet.cli.models import load_model
from magnet.data.scenes import SCENE_CLASSES, generate_scene
from magnet.devices import keep_memory_on
from magnet.evaluation.metrics import confusion_matrix, iou_per_class, mean_iou
from magnet.files.atomic import save_image
from magnet.files.outputs import OVERWRITE_HELP, Outputs
from magnet.images.draw import picture_sheet

__all__ = ["DemoResult", "main", "run_demo"]

SIZE = (1024, 2048)
SEED = 2021  # far from the seeds that the shipped model was trained on


@dataclass
class DemoResult:
    """What the demo found: mean IoU and IoU of each class in percent (NaN: absent), seconds, and the picture."""

    coarse: float
    refined: float
    coarse_classes: list[float]
    refined_classes: list[float]
    seconds: float
    coarse_seconds: float
    sheet: Path


def run_demo(
    out: str | Path,
    *,
    seed: int = SEED,
    model: str = "scenes",
    size: tuple[int, int] = SIZE,
    amp: str = "none",
    device: str | None = None,
    overwrite: bool = False,
    report: Callable[[str], None] = print,
) -> DemoResult:
    """Generate a scene, segment it with a model trained on such scenes, and write one picture sheet.

    Args:
        out: folder for ``magnet_demo_<seed>.png``; checked before the work starts.
        seed: the scene.
        model: name or folder of a model for the classes of ``magnet.data.scenes``.
        size: (H, W) of the scene.
        amp: "bf16" runs the networks in bfloat16, "auto" does so where the device computes in it.
        device: "cpu" or "cuda"; None: the best there is.
        overwrite: replace a picture of that name that is not of the same scene, size and model.
        report: called with each line of text.

    Raises:
        MagNetError: the folder cannot be written to or holds such a picture, or the model cannot be loaded or has
            other classes.
    """
    path = Path(out) / f"magnet_demo_{seed}.png"
    source = f"seed {seed} at {size[0]}x{size[1]} with the model '{model}'"
    with Outputs(out, "magnet demo", overwrite=overwrite) as outputs:
        outputs.check([(path, source)])
        result, sheet = _refine(path, seed, model, size, amp, device, report)
        with outputs.write(path, source) as temporary:
            save_image(sheet, temporary)
    report("")
    report(f"picture   {path}")
    return result


def _refine(
    path: Path,
    seed: int,
    model: str,
    size: tuple[int, int],
    amp: str,
    device: str | None,
    report: Callable[[str], None],
) -> tuple[DemoResult, Image]:
    """The work of the demo: what it found, and the picture for ``path``."""
    net = load_model(model, device=device, amp=amp, num_classes=len(SCENE_CLASSES))
    keep_memory_on(net.device)
    image, truth = generate_scene(size, seed)
    report(f"scene     seed {seed}, {size[0]} x {size[1]} pixels, {len(SCENE_CLASSES)} classes, exact labels")

    start = time.perf_counter()
    net.predict(image, n_patches=0)
    coarse_seconds = time.perf_counter() - start
    prediction = net.predict(image, return_stages=True)
    assert prediction.stages
    first, last = prediction.stages[0], prediction.stages[-1]
    coarse, refined = first.labels(size).cpu(), prediction.labels.cpu()

    names = [c.name for c in SCENE_CLASSES]
    target = torch.from_numpy(truth)
    found = [confusion_matrix(labels, target, len(names)) for labels in (coarse, refined)]
    means = [mean_iou(matrix) * 100 for matrix in found]
    classes = [(iou_per_class(matrix) * 100).tolist() for matrix in found]

    small = net.input_size
    patches = sum(stage.n_patches for stage in prediction.stages)
    report(f"coarse    {means[0]:5.1f} mIoU  in {coarse_seconds:5.2f} s  the whole image at {small[0]} x {small[1]}")
    report(
        f"refined   {means[1]:5.1f} mIoU  in {prediction.seconds:5.2f} s  {len(prediction.stages)} scales, "
        f"{patches} patches, {_told(net.n_points)} replaced a scale"
    )
    report(f"gain      {means[1] - means[0]:+5.1f} mIoU")
    report("")
    report(f"{'IoU':12}{'coarse':>8}{'refined':>9}")
    for name, before, after in zip(names, *classes, strict=True):
        if before == before:  # not NaN: the scene has some
            report(f"{name:12}{before:8.1f}{after:9.1f}")

    sheet = picture_sheet(
        image,
        coarse.numpy(),
        refined.numpy(),
        uncertainty=first.uncertainty.cpu().numpy(),
        points=last.points_mask().numpy(),
        truth=truth,
        colours=[c.colour for c in SCENE_CLASSES],
        class_names=names,
        scores=(means[0], means[1]),
    )
    result = DemoResult(means[0], means[1], classes[0], classes[1], prediction.seconds, coarse_seconds, path)
    return result, sheet


def _told(n_points: int | float) -> str:
    return f"{n_points} points" if isinstance(n_points, int) else f"{100 * n_points:g}% of the pixels"


def main(argv: Sequence[str]) -> int:
    """Returns 0, or raises MagNetError, or exits with 2 on wrong arguments."""
    parser = Parser(
        prog="magnet demo",
        description="Refine a generated street scene with exact labels: coarse and refined mIoU, and one picture.",
    )
    parser.add_argument("--out", default="magnet_demo", help="folder for the picture (magnet_demo)")
    parser.add_argument("--seed", type=count, default=SEED, help=f"the scene ({SEED})")
    parser.add_argument("--model", default="scenes", help="another model for the classes of the scenes")
    parser.add_argument("--amp", choices=AMP, default="none", help=f"{AMP_HELP}, the default")
    parser.add_argument("--device", type=device_name, help="cpu or cuda; default: cuda where there is one")
    parser.add_argument("--overwrite", action="store_true", help=OVERWRITE_HELP)
    args = parser.parse_args(argv)
    run_demo(args.out, seed=args.seed, model=args.model, amp=args.amp, device=args.device, overwrite=args.overwrite)
    return 0
