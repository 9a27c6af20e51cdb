"""``magnet train``: a segmenter and its refiners from one YAML file."""

from __future__ import annotations

from collections.abc import Sequence

from magnet.cli.config import parse_config
from magnet.devices import keep_memory_on, pick_device
from magnet.distributed import session
from magnet.training.run import run_training

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """``magnet train``: returns 0, or raises MagNetError for the command line to report."""
    config = parse_config(argv)
    keep_memory_on(pick_device(config.device))
    with session(config.device):
        folder = run_training(config)
        print(f"done: {folder}")
    return 0
