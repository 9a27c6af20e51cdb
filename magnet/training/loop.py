"""The loop that both stages share: draw, learn, log, validate, save, and go on where it stopped.

With several processes (:mod:`magnet.distributed`, torchrun) each runs this loop on its own part of every step's items:
``_parts`` shares them out, ``_wrap`` averages the gradients, ``_shares`` sums the weights of the parts of a batch,
``_stopped`` makes all stop at the same step, and only the main process writes files.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from magnet.checkpoints.safetensors_files import save_safetensors
from magnet.distributed import (
    all_reduce_sum,
    any_rank,
    barrier,
    is_main,
    local_batch,
    rank,
    shard,
    world_size,
)
from magnet.errors import MagNetError
from magnet.files.atomic import remove_leftovers
from magnet.model.progress import progress_of
from magnet.training import state
from magnet.training.board import Board
from magnet.training.config import RefinerConfig, SegmenterConfig, TrainConfig
from magnet.training.loader import Loader
from magnet.training.optimiser import Average, Optimiser, save_weights
from magnet.training.parallel import average_buffers, no_sync, wrap
from magnet.training.resume import StageState
from magnet.training.run_folder import STATE
from magnet.training.runlog import RunLog
from magnet.training.signals import Interrupted, StopSignal
from magnet.training.sync_batch_norm import sync_batch_norm
from magnet.training.task import Progress, Task

__all__ = ["check_parts", "train"]

LOG_EVERY = 20  # steps between lines of the log


def train(task: Task, config: TrainConfig, device: torch.device, folder: Path, log: RunLog) -> nn.Module:
    """Train ``task.network`` and return the network that was validated: it, or the average of its weights.

    Files of ``folder``: ``best.safetensors`` and ``last.safetensors`` (weights), ``state.safetensors`` (to resume).

    Args:
        task: the stage.
        config: the run; its ``iterations`` are counted out.
        device: where ``task.network`` is.
        folder: of the stage.
        log: of the run.

    Raises:
        MagNetError: a bad sample, a loss that is not finite, a state that does not fit.
        SystemExit: a signal asked to stop, and the state is saved; the code is 128 + the signal's number.
    """
    with StopSignal() as stop:
        return _Trainer(task, config, device, folder, log, stop).run()


class _Trainer:
    def __init__(
        self, task: Task, config: TrainConfig, device: torch.device, folder: Path, log: RunLog, stop: StopSignal
    ) -> None:
        self.task, self.config, self.device, self.folder, self.log, self.stop = task, config, device, folder, log, stop
        self.settings = task.settings
        self.network = task.network
        if config.sync_bn and world_size() > 1:
            sync_batch_norm(self.network, device)
        self.average = Average(self.network, self.settings.optim.ema)
        self.optimiser = Optimiser(
            list(self.network.parameters()),
            self.settings.optim,
            self.settings.iterations,
            device,
            fp16=config.amp == "fp16",
        )
        self.stage = StageState(task, config, device, self.optimiser, self.average, Progress())
        self.before = _Before(self.network, device)
        self.parts = _parts(self.settings.batch_size, self.settings.accumulate)

    @property
    def progress(self) -> Progress:
        return self.stage.progress

    def run(self) -> nn.Module:
        self._start()
        if self._done():
            tqdm.write(f"{self.task.name}: was trained to its end, after {self.progress.step} steps")
            return self.average.network
        board = Board(
            self.folder.parent / "tensorboard" / self.task.name if self.config.tensorboard and is_main() else None,
            self.progress.step,
        )
        loader = Loader(
            self.task.samples,
            (self.config.seed, self.task.number),
            self.parts,
            self.progress.step,
            self.settings.iterations,
            workers=self.config.data.workers,
            pin=self.device.type == "cuda",
            stopped=lambda: self.stop.number > 0 and world_size() == 1,
        )
        bar = progress_of(
            None,
            shown=None if is_main() else False,
            desc=self.task.name,
            unit="step",
            total=self.settings.iterations,
            initial=self.progress.step,
            mininterval=2,
        )
        try:
            self._loop(loader, board, bar)
        except Interrupted:  # in a validation, which the resumed run does anew, or in a long wait for samples
            self._stop()
        finally:
            bar.close()  # before an error is printed, which needs a line of its own
            loader.close()
            board.close()
        return self.average.network

    # the loop

    def _loop(self, loader: Loader, board: Board, bar: tqdm[NoReturn]) -> None:
        network = self._wrap()
        progress, settings = self.progress, self.settings
        watch = _Watch()
        self.network.train()
        if self._due():
            self._validate(board)
        while not self._done():
            step = progress.step
            batches, waited = loader.next()
            watch.waited += waited
            rate = self.optimiser.rate()
            loss, norm = self._step(network, batches, step)
            progress.recent = 0.95 * progress.recent + 0.05 * loss if step else loss
            progress.step = step + 1
            if step % LOG_EVERY == 0:
                values = {"loss": round(progress.recent, 4), "lr": self.optimiser.rate()}
                timing = {"grad_norm": round(norm, 4), "data_wait": round(watch.lap(), 4)}
                self.log.write(stage=self.task.name, step=step, **values, **timing)
                board.scalars("train", step, {"loss": loss, "lr": rate, **timing})
            if self._due():
                with watch.paused():
                    self._validate(board)
            every = self.config.checkpoint_every
            if self._done() or (every and progress.step % every == 0):
                self._save()
            if self._stopped():
                self._stop()
            bar.set_postfix(loss=f"{progress.recent:.4f}", refresh=False)
            bar.update()
        if progress.step < settings.iterations:
            tqdm.write(
                f"{self.task.name}: ended after {progress.step} steps, as {progress.stale} validations gave no better "
                f"score than {progress.best:.4f}"
            )

    def _step(self, network: nn.Module, batches: Sequence[Any], step: int) -> tuple[float, float]:
        """One optimiser step; returns its loss, and the norm of its gradient before clipping."""
        self.before.note()
        self.optimiser.zero()
        targets = [
            {
                term: labels.to(self.device, non_blocking=True).long()
                for term, labels in self.task.targets(batch).items()
            }
            for batch in batches
        ]
        shares = self._shares(targets)
        terms = _terms(targets)
        total = torch.zeros((), device=self.device)
        for number, (batch, target) in enumerate(zip(batches, targets, strict=True)):
            with no_sync(network, wait=number + 1 < len(batches)):
                logits = self.task.forward(network, batch, step)
                losses = [self.task.loss(logits[term], labels) for term, labels in target.items()]
                if shares is not None:
                    losses = [loss * shares[number][term] for loss, term in zip(losses, target, strict=True)]
                # the mean over the terms of the whole batch, some of which a part may lack
                loss = torch.stack(losses).sum() / len(terms)
                self.optimiser.backward(loss)
            total += loss.detach()
        norm = self.optimiser.clip()
        loss_value, norm_value = torch.stack((total, norm.to(total.dtype))).tolist()
        # with float16 a gradient that overflows is part of finding the scale; the optimiser leaves such a step out
        if not math.isfinite(loss_value) or not (math.isfinite(norm_value) or self.optimiser.scaler.is_enabled()):
            self._fail(batches, step, loss_value, norm_value)
        self.optimiser.step()
        average_buffers(self.network)
        self.average.update(self.network)
        return loss_value, norm_value

    def _shares(self, targets: Sequence[Mapping[int, Tensor]]) -> list[dict[int, Tensor]] | None:
        """The weight of each part's mean in the mean over the batch, for each term; None where there is one part."""
        if len(targets) == 1:
            return None
        terms = _terms(targets)
        nothing = torch.zeros((), device=self.device)
        weights = torch.stack(
            [
                torch.stack([self.task.loss.weight_of(part[term]) if term in part else nothing for term in terms])
                for part in targets
            ]
        )
        weights = all_reduce_sum(weights)
        weights = weights / weights.sum(dim=0).clamp(min=torch.finfo(weights.dtype).tiny)
        return [dict(zip(terms, row, strict=True)) for row in weights]

    def _wrap(self) -> nn.Module:
        network = wrap(self.network, self.device, partly_used=self.task.partly_used)
        return torch.compile(network) if self.config.compile else network  # type: ignore[return-value]

    def _done(self) -> bool:
        progress, settings = self.progress, self.settings
        enough = 0 < settings.patience <= progress.stale
        return progress.validated == progress.step and (progress.step >= settings.iterations or enough)

    def _due(self) -> bool:
        """Whether it is time for a validation, which has not been done yet."""
        step, every = self.progress.step, self.settings.val_every
        now = step >= self.settings.iterations or (every > 0 and step % every == 0)
        return step > self.progress.validated and now

    def _validate(self, board: Board) -> None:
        progress, kept = self.progress, self.average.network
        kept.eval()
        # several processes that validate together must not leave each other waiting
        with self.stop.interruptible() if world_size() == 1 else contextlib.nullcontext():
            result = self.task.validate(kept)
            pictures = self.task.pictures(kept) if board.live else {}
        self.network.train()
        better = result.score > progress.best
        progress.best, progress.stale = (result.score, 0) if better else (progress.best, progress.stale + 1)
        progress.validated = progress.step
        self.log.write(stage=self.task.name, step=progress.step, loss=round(progress.recent, 4), **result.scores)
        tqdm.write(f"step {progress.step}: loss {progress.recent:.4f}, {result.text}")
        board.scalars("val", progress.step, {"score": result.score, **result.scores})
        board.pictures(progress.step, pictures)
        if is_main():
            for name in ("last", "best") if better else ("last",):
                save_weights(kept, self.folder / f"{name}.safetensors", step=progress.step, score=result.score)

    # stopping

    def _stopped(self) -> bool:
        return any_rank(self.stop.number > 0)

    def _stop(self) -> NoReturn:
        self._save()
        if is_main():
            print(
                f"magnet: stopped after {self.progress.step} of {self.settings.iterations} steps of the "
                f"{self.task.name}, with the state saved; give the same command with --resume to go on",
                file=sys.stderr,
            )
        barrier()  # the first process that ends makes torchrun end the others
        raise SystemExit(128 + (self.stop.number or 15))

    def _fail(self, batches: Sequence[Any], step: int, loss: float, norm: float) -> NoReturn:
        self.before.restore()
        name, rate = self.task.name, self.optimiser.rate()
        path = self.folder / ("failed_batch.safetensors" if is_main() else f"failed_batch_{rank()}.safetensors")
        self._save()
        tensors = {
            f"{number}.{key}": value
            for number, batch in enumerate(batches)
            for key, value in batch._asdict().items()
            if isinstance(value, Tensor)
        }
        images = [image for batch in batches for image in batch.names]
        details = {"stage": name, "step": step, "lr": rate, "loss": str(loss), "images": images}
        save_safetensors(path, tensors, {key: json.dumps(value) for key, value in details.items()})
        barrier()  # the first process that ends makes torchrun end the others
        what = f"the loss became {loss}" if not math.isfinite(loss) else f"the gradient's norm became {norm}"
        raise MagNetError(
            f"training: {what} at step {step} of the {name} (lr {rate:.3g}); its batch is in '{path}', the state "
            f"before it in '{self.folder / STATE}'; lower {name}.optim.lr and go on with --resume, or look at the batch"
        )

    # the training state

    def _start(self) -> None:
        """Go on from the saved state, or forget what another run left."""
        path = self.folder / STATE
        if is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.folder)
        if self.config.resume and path.is_file():
            self.stage.restore(path)
            self.log.begin(self.task.name, self.progress.step, self.progress.seconds)
            return
        if self.config.resume:
            tqdm.write(f"{self.task.name}: no training state in '{self.folder}', starts from the beginning")
        if is_main():
            # of an earlier run: a later --resume must not take them for this one's, nor a refiner of another segmenter
            for stage in {self.task.name, "refiner"}:
                (self.folder.parent / stage / STATE).unlink(missing_ok=True)
        else:
            self.stage.own_generators()
        self.log.begin(self.task.name, 0)

    def _save(self) -> None:
        self.progress.seconds = self.log.seconds
        self.stage.save(self.folder / STATE)


class _Before:
    """What a forward pass changes although no step is taken: running statistics and random generators."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._device = device
        self._buffers = list(network.buffers())
        self._copies = [buffer.clone() for buffer in self._buffers]
        self._random = state.random_state(device)

    @torch.no_grad()
    def note(self) -> None:
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)
        self._random = state.random_state(self._device)

    @torch.no_grad()
    def restore(self) -> None:
        for buffer, copy in zip(self._buffers, self._copies, strict=True):
            buffer.copy_(copy)
        state.restore_random_state(self._device, *self._random)


class _Watch:
    """The share of the training time that was spent waiting for data."""

    def __init__(self) -> None:
        self.waited = 0.0
        self._start = time.perf_counter()

    def lap(self) -> float:
        """The share since the last lap."""
        now = time.perf_counter()
        share = self.waited / max(now - self._start, 1e-9)
        self.waited, self._start = 0.0, now
        return share

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside is not training time."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start


def _terms(targets: Sequence[Mapping[int, Tensor]]) -> list[int]:
    """The terms that any part of a batch has."""
    return sorted({term for part in targets for term in part})


def check_parts(settings: SegmenterConfig | RefinerConfig, stage: str) -> None:
    """Raise MagNetError where the processes cannot share a batch evenly, or a part of it would be empty."""
    own = local_batch(f"{stage}.batch_size", settings.batch_size)
    if settings.accumulate > own:
        raise MagNetError(
            f"{stage}.accumulate: expected at most the {own} images of a step that each of {world_size()} processes "
            f"has, got {settings.accumulate}"
        )


def _parts(batch_size: int, accumulate: int) -> list[list[int]]:
    """Numbers of this process's items of a step, in ``accumulate`` parts of about the same size."""
    return [shard(part.tolist()) for part in np.array_split(np.arange(batch_size), accumulate)]
