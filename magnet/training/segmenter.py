"""First stage: one segmenter, trained on whole images at the first scale and on patches of every later scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from magnet.data import ScaleCache
from magnet.errors import MagNetError
from magnet.images import to_tensor
from magnet.metrics import confusion_matrix, iou_per_class, mean_iou
from magnet.networks import build_segmenter
from magnet.sliding import sliding_window
from magnet.training.augment import random_sample
from magnet.training.config import TrainConfig
from magnet.training.loop import Average, Loss, Optimiser, RunLog, autocast, save_weights, to_device

__all__ = ["SampleSource", "train_segmenter", "validate_segmenter"]


class SampleSource:
    """Draws (image, scale) evenly over the images that are large enough for the scale."""

    def __init__(self, caches: Sequence[ScaleCache], weights: Sequence[float]) -> None:
        count = len(caches[0].sizes)
        if weights and (len(weights) != count or min(weights) < 0 or sum(weights) <= 0):
            raise MagNetError(f"segmenter.scale_weights: expected {count} weights, one a scale, got {list(weights)}")
        self.caches = list(caches)
        self.items: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        for c, cache in enumerate(self.caches):
            for index in range(len(cache)):
                for scale in cache.scales_of(index):
                    self.items[scale].append((c, index))
        for scale, items in enumerate(self.items):
            if not items:
                h, w = caches[0].sizes[scale]
                raise MagNetError(
                    f"walk.scales: no training image is as large as scale {scale} ({h}x{w}); drop the scale"
                )
        p = np.asarray(weights or [1.0] * count, dtype=np.float64)
        self.p = p / p.sum()

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        scale = int(rng.choice(len(self.p), p=self.p))
        cache, index = self.items[scale][int(rng.integers(len(self.items[scale])))]
        image, labels = self.caches[cache].get(index, scale)
        return image, labels, scale


def validate_segmenter(
    network: nn.Module, cache: ScaleCache, size: tuple[int, int], num_images: int, device: torch.device, amp: str
) -> dict[str, object]:
    """Class-mean IoU at the last scale's resolution of each scale's own prediction, patches side by side."""
    count = min(num_images, len(cache)) if num_images else len(cache)
    num_classes = cache.dataset.num_classes
    matrices: dict[int, Tensor] = {}
    for index in range(count):
        scales = cache.scales_of(index)
        labels = torch.from_numpy(cache.get(index, scales[-1])[1])
        for scale in scales:
            pixels = to_tensor(cache.get(index, scale)[0])[None].to(device)
            with autocast(device, amp):
                probabilities = sliding_window(lambda x: network(x).float().softmax(dim=1), pixels, size)
            up = F.interpolate(probabilities, size=labels.shape, mode="bilinear", align_corners=False)
            matrix = confusion_matrix(up.argmax(dim=1)[0].cpu(), labels, num_classes)
            matrices[scale] = matrices.get(scale, torch.zeros_like(matrix)) + matrix
    return {
        "miou": [round(mean_iou(matrices[s]) * 100, 2) for s in sorted(matrices)],
        "iou_last": [round(v * 100, 1) for v in iou_per_class(matrices[max(matrices)]).tolist()],
    }


def start_from(network: nn.Module, model: str) -> int:
    """Copy the segmenter of a saved model into ``network`` where shapes agree; returns how many tensors were copied.

    Raises:
        MagNetError: no such model, or none of its tensors fits.
    """
    from magnet.model import MagNet

    source = MagNet.from_pretrained(model).segmenter.state_dict()
    own = network.state_dict()
    fitting = {key: value for key, value in source.items() if key in own and own[key].shape == value.shape}
    if not any(value.is_floating_point() for value in fitting.values()):
        raise MagNetError(
            f"segmenter.init: nothing of '{model}' fits {type(network).__name__}; choose a model of the same network"
        )
    network.load_state_dict({**own, **fitting})
    return len(fitting)


def train_segmenter(
    config: TrainConfig,
    train: Sequence[ScaleCache],
    val: ScaleCache,
    device: torch.device,
    folder: Path,
    log: RunLog,
) -> nn.Module:
    """Train and return the network (the best one on the validation images); checkpoints go to ``folder``."""
    stage = config.segmenter
    num_classes = val.dataset.num_classes
    torch.manual_seed(config.seed)
    network = build_segmenter(stage.network, num_classes)
    if stage.init:
        start_from(network, stage.init)
    network = to_device(network, device).train()
    average = Average(network, stage.optim.ema)
    optimiser = Optimiser(list(network.parameters()), stage.optim, stage.iterations)
    loss_of = Loss(stage.loss, stage.class_weights, stage.dice, num_classes, device)
    source = SampleSource(train, stage.scale_weights)
    best, recent = -1.0, 0.0

    def validate(step: int) -> None:
        nonlocal best
        average.network.eval()
        scores = validate_segmenter(average.network, val, config.input_size, stage.val_images, device, config.amp)
        miou = scores["miou"]
        assert isinstance(miou, list)
        score = sum(miou) / len(miou)
        log.write(stage="segmenter", step=step, loss=round(recent, 4), **scores)
        tqdm.write(f"step {step}: loss {recent:.4f}, val mIoU by scale {miou}")
        save_weights(average.network, folder / "last.safetensors", step=step, score=score)
        if score > best:
            best = score
            save_weights(average.network, folder / "best.safetensors", step=step, score=score)
        network.train()

    progress = tqdm(range(stage.iterations), desc="segmenter", mininterval=2)
    for step in progress:
        samples = []
        for item in range(stage.batch_size):
            rng = np.random.default_rng((config.seed, 1, step, item))
            image, labels, _ = source.draw(rng)
            samples.append(random_sample(rng, image, labels, config.input_size, stage.augment))
        images = torch.stack([s[0] for s in samples]).to(device, memory_format=torch.channels_last)
        target = torch.stack([s[1] for s in samples]).to(device)
        with autocast(device, config.amp):
            logits = network(images)
        loss = loss_of(logits, target)
        if not torch.isfinite(loss):
            raise MagNetError(f"training: the loss became {float(loss)} at step {step}; lower segmenter.optim.lr")
        optimiser.step(loss)
        average.update(network)
        recent = 0.95 * recent + 0.05 * float(loss) if step else float(loss)
        progress.set_postfix(loss=f"{recent:.4f}")
        if step % 20 == 0:
            log.write(stage="segmenter", step=step, loss=round(recent, 4), lr=optimiser.rate())
        if stage.val_every and (step + 1) % stage.val_every == 0 and step + 1 < stage.iterations:
            validate(step + 1)
    validate(stage.iterations)
    return average.network
