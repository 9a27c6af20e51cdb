"""The other end of ``worker``: a process that is asked, and put to an end where it does not answer."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT = 60.0  # seconds a job may take, of which each takes less than one


class Worker:
    """Answers jobs; a job that never answers, or ends the process, is told and costs nothing else."""

    def __init__(self, *, limit: float = LIMIT) -> None:
        self.limit = limit
        self._process: subprocess.Popen[str] | None = None

    def ask(self, job: str, argument: Any) -> dict[str, Any]:
        """The answer of ``worker``, or {"hang": seconds}, or {"died": exit code}."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([job, argument]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._died()
        if not select.select([self._answers], [], [], self.limit)[0]:
            self.close()
            return {"hang": self.limit}
        line = self._answers.readline()
        return json.loads(line) if line else self._died()

    def _start(self) -> None:
        read, write = os.pipe()
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MAGNET_CACHE": ""}
        words = [sys.executable, str(Path(__file__).with_name("worker.py")), str(write)]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, pass_fds=[write], env=environment, text=True, errors="surrogateescape"
        )
        os.close(write)
        self._answers = os.fdopen(read)

    def _died(self) -> dict[str, Any]:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        return {"died": code}

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._answers.close()
            self._process = None
