"""Processes that work together, as torchrun starts them, but without torchrun, which would end the others for us."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from live import ROOT

TESTS = Path(__file__).parent


def environment(**more: str) -> dict[str, str]:
    """For a process of the tests: it finds the package under test and the tests, and takes one thread."""
    paths = [str(ROOT), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **more}


def places(count: int) -> list[dict[str, str]]:
    """What torchrun adds to the environment of each of ``count`` processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(count)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **shared} for rank in range(count)]


def start_two(*words: str) -> list[subprocess.Popen[str]]:
    """Two Python processes with the arguments ``words``."""
    return [
        subprocess.Popen(
            [sys.executable, *words],
            env=environment(**place),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in places(2)
    ]
