"""One of several processes that test_distributed.py starts: checks what they compute together against the whole.

Called as ``distributed_worker.py FOLDER ARGUMENT...`` with the environment that torchrun sets. Each process writes
FOLDER/checks<rank>.json; the arguments are those of a training, whose run goes to FOLDER/two. Its first stage is
stopped by a signal to one process, and resumed.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from magnet import distributed
from magnet.cli.config import parse_config
from magnet.cli.evaluate import evaluate
from magnet.data import DataFolder
from magnet.model.magnet import MagNet
from magnet.training.config import TrainConfig
from magnet.training.loader import Loader
from magnet.training.losses import cross_entropy, dice_loss, ohem_cross_entropy
from magnet.training.parallel import average_buffers, wrap
from magnet.training.run import run_training
from magnet.training.sync_batch_norm import sync_batch_norm

CPU = torch.device("cpu")


def batch() -> tuple[Tensor, Tensor]:
    """Images and labels of a global batch whose images differ in how much is ignored; one has nothing to learn."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(5, 3, 9, 11, generator=generator) * 2 + 1
    labels = torch.randint(0, 4, (5, 9, 11), generator=generator)
    labels[0, :8] = 255
    labels[1] = 255
    labels[3, :, :4] = 255
    return images, labels


def network(sync: bool) -> nn.Module:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Tanh(), nn.Conv2d(6, 4, 1))
    return sync_batch_norm(net, CPU) if sync else net


def losses() -> dict[str, Callable[..., Tensor]]:
    weight = torch.tensor([1.0, 0.2, 3.0, 0.5])
    return {
        "ce": lambda x, y, **o: cross_entropy(x, y, **o),
        "ce weighted": lambda x, y, **o: cross_entropy(x, y, weight=weight, **o),
        "ohem threshold": lambda x, y, **o: ohem_cross_entropy(x, y, threshold=0.3, min_kept=5, **o),
        "ohem ranked": lambda x, y, **o: ohem_cross_entropy(x, y, threshold=0.1, min_kept=60, weight=weight, **o),
        "ohem all": lambda x, y, **o: ohem_cross_entropy(x, y, threshold=0.1, min_kept=10**6, **o),
        "dice": lambda x, y, **o: dice_loss(x, y, **o),
    }


def gradients(net: nn.Module, loss: Tensor) -> Tensor:
    net.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def check_losses() -> dict[str, float]:
    """Largest difference of loss, gradients and statistics between the shared batch and the whole one."""
    images, labels = batch()
    mine = distributed.shard(range(len(images)))
    results = {}
    for name, loss_of in losses().items():
        whole = network(sync=False)
        expected = loss_of(whole(images), labels)
        expected_gradient = gradients(whole, expected)
        part = network(sync=True)
        shared = wrap(part, CPU)
        loss = loss_of(shared(images[mine]), labels[mine], all_ranks=True)
        difference = (gradients(part, loss) - expected_gradient).abs().max()
        results[f"loss {name}"] = float((loss - expected).detach().abs())
        results[f"gradient {name}"] = float(difference / expected_gradient.abs().max())
    for key, value in whole.state_dict().items():
        results[f"state {key}"] = float((part.state_dict()[key] - value).abs().max())
    return results


def check_empty_part() -> float:
    """A process without images takes part all the same."""
    images, labels = batch()
    whole, part = network(sync=False), network(sync=True)
    expected = gradients(whole, ohem_cross_entropy(whole(images), labels, min_kept=50))
    mine = slice(0, 5) if distributed.is_main() else slice(0, 0)
    shared = wrap(part, CPU)
    loss = ohem_cross_entropy(shared(images[mine]), labels[mine], min_kept=50, all_ranks=True)
    return float((gradients(part, loss) - expected).abs().max())


def check_collectives() -> dict[str, object]:
    rank, world = distributed.rank(), distributed.world_size()
    print(f"rank {rank} says hello")  # heard of rank 0 only
    big = torch.tensor([2**53 + rank, rank])
    kept = big.clone()
    net = nn.BatchNorm2d(2)
    net.running_mean.fill_(float(rank))
    average_buffers(net)
    return {
        "world": world,
        "sum": distributed.all_reduce_sum(big).tolist(),
        "unchanged": bool((big == kept).all()),
        "gathered": distributed.gather_objects([f"{i} of {rank}" for i in distributed.shard(range(5))]),
        "uneven": distributed.gather_objects([rank] * rank),
        "any": [distributed.any_rank(rank == 1), distributed.any_rank(False)],
        "kth": [float(distributed.global_kth_smallest(torch.arange(4.0) * 2 + rank, k)) for k in (0, 3, 7)],
        "averaged": net.running_mean.tolist(),
    }


def caught(work: Callable[[], object]) -> str:
    try:
        work()
    except distributed.MagNetError as error:
        return str(error)
    return "no error"


def check_errors(folder: Path) -> dict[str, object]:
    rank = distributed.rank()
    distributed.check_same("settings", {"batch": 2})
    distributed.check_shared("--out", folder)
    own = folder / "only rank 0" if rank else folder  # as on a machine with a disk of its own
    return {
        "batch": [distributed.local_batch("segmenter.batch_size", 6), caught(lambda: distributed.local_batch("b", 5))],
        "same": caught(lambda: distributed.check_same("images", 10 + rank)),
        "shared": caught(lambda: distributed.check_shared("--out", own)),
    }


def scores(model: Path, data: str) -> dict[str, object]:
    """What must be the same for any number of processes that evaluate."""
    result = evaluate(MagNet.from_pretrained(model), DataFolder(data, "test"), modes=("coarse", "magnet"))
    return {mode: {key: r[key] for key in ("mean_iou", "iou", "boundary_iou")} for mode, r in result.items()}


def sharpen(weights: Path) -> None:
    """Make a segmenter sure of its classes: of probabilities that are nearly even, float32 keeps few digits."""
    distributed.barrier()
    if distributed.is_main():
        state = load_file(weights)
        save_file({k: 50 * v if k.startswith("head.") else v for k, v in state.items()}, weights)
    distributed.barrier()


def stop_and_resume(config: TrainConfig) -> object:
    """The first stage in two runs; returns the exit code of the first one, which a signal to rank 1 ends."""
    draw, calls = Loader.next, []

    def counted(self: Loader) -> object:
        calls.append(self)
        if len(calls) == 8 and distributed.rank() == 1:
            signal.raise_signal(signal.SIGTERM)
        return draw(self)

    code: object = None
    Loader.next = counted
    try:
        run_training(config, "segmenter")
    except SystemExit as stop:
        code = stop.code
    Loader.next = draw
    run_training(dataclasses.replace(config, resume=True), "segmenter")
    return code


def main() -> None:
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    with distributed.session("cpu", timeout=60):
        result = {
            "collectives": check_collectives(),
            "errors": check_errors(folder),
            "losses": check_losses(),
            "empty part": check_empty_part(),
        }
        config = dataclasses.replace(parse_config(arguments), out=str(folder / "two"))
        result["stopped"] = stop_and_resume(config)
        sharpen(folder / "two" / config.name / "segmenter" / "best.safetensors")
        run_training(config, "refiner")
        distributed.barrier()  # rank 0 writes the model last
        result["scores"] = scores(folder / "two" / config.name / "model", config.data.folders[0])
        (folder / f"checks{distributed.rank()}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
