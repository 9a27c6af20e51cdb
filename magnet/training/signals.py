"""Stopping a training cleanly: what is running is finished or given up at a place where the state can be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from magnet.distributed import world_size

__all__ = ["Interrupted", "StopSignal"]


class Interrupted(BaseException):
    """Raised by the signal handler in work that may be given up anywhere. No error: nothing must catch it as one."""


class StopSignal:
    """Notes SIGTERM, SIGINT (Ctrl-C) and SIGHUP while it is entered; a second signal ends a
    process that works alone at once.

    Signals that are ignored, as under nohup, stay so. In other threads than the main one, where Python sets no
    handlers, nothing changes.

    Attributes:
        number: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._may_interrupt = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGINT", "SIGHUP"):
                number = getattr(signal, name, None)
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        # torchrun repeats a signal that its processes may have had already, and ends those that take long
        if self.number and world_size() == 1:
            raise SystemExit(128 + number)
        self.number = number
        if self._may_interrupt:
            raise Interrupted

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside, a signal raises :class:`Interrupted` at once, where otherwise it is only noted."""
        self._may_interrupt = True
        try:
            if self.number:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False
