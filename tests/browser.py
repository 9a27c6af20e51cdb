"""A browser without a window, driven over its DevTools protocol by a pipe: nothing but Chromium itself is needed.

``apt-get install chromium`` brings one; MAGNET_BROWSER names another (any Chromium or Chrome).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Browser", "find_browser", "start_browser"]

_KEYS = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35}


def find_browser() -> str | None:
    """The program, or None where there is none."""
    names = (os.environ.get("MAGNET_BROWSER", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


class Browser:
    """One page of a browser.

    Attributes:
        events: what the browser told since the page was opened, as (method, parameters).
    """

    def __init__(self, to: Any, back: Any) -> None:
        self._to, self._back = to, back
        self._count = 0
        self._rest = b""
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; returns its result."""
        self._count += 1
        call = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            call["sessionId"] = self._session
        self._to.write(json.dumps(call).encode() + b"\0")
        self._to.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append((answer.get("method", ""), answer.get("params", {})))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._back.fileno(), 1 << 16)
            assert more, "the browser ended"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def open(self, path: Path, *, script: bool = True, dark: bool = False) -> None:
        """Load a file, and wait until it is there."""
        self.send("Emulation.setScriptExecutionDisabled", value=not script)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            answer = self._read()
            self.events.append((answer.get("method", ""), answer.get("params", {})))

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the middle of an element, as a mouse does: on what lies there on top."""
        element = f"document.querySelector({selector!r})"
        self.value(f"{element}.scrollIntoView({{block: 'center'}})")
        x, y = self.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({element}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key, as Tab or ArrowLeft."""
        code = _KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def asked_for(self) -> list[str]:
        """What the page asked for beyond itself and what lies within it."""
        urls = [told["request"]["url"] for method, told in self.events if method == "Network.requestWillBeSent"]
        return [url for url in urls[1:] if not url.startswith("data:")]

    def complaints(self) -> list[Any]:
        """Errors of scripts, refusals of the policy, dialogs."""
        methods = ("Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening")
        return [told for method, told in self.events if method in methods]


@contextlib.contextmanager
def start_browser(program: str) -> Iterator[Browser]:
    """Start a browser, and end it."""
    to_read, to_write = os.pipe()
    back_read, back_write = os.pipe()
    # the last of the browser's processes may still write its profile, which no test is of, while it is removed
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        words = [program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage"]
        words += ["--remote-debugging-pipe", f"--user-data-dir={folder}", "--window-size=1200,900"]
        # the browser reads from 3 and writes to 4
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{back_write}', "browser", *words]
        process = subprocess.Popen(
            shell,
            pass_fds=(to_read, back_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_read)
        os.close(back_write)
        try:
            with os.fdopen(to_write, "wb") as to, os.fdopen(back_read, "rb", buffering=0) as back:
                yield Browser(to, back)
        finally:
            process.terminate()
            process.wait(20)
            with contextlib.suppress(ProcessLookupError):  # those that it started
                os.killpg(process.pid, signal.SIGKILL)
