"""Triton's interpreter without what it repeats: a third of its time on kernels that call many functions."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any


class _Nothing:
    def restore(self) -> None:
        pass


class _OnceALaunch:
    """Puts the interpreter's functions into triton.language once a launch, not again in each function of the kernel."""

    def __init__(self, patch: Callable[[FunctionType], Any], modules: tuple[object, ...]) -> None:
        self._patch, self._modules = patch, modules
        self._scopes: list[Any] = []
        self._patched: set[int] = set()

    def __call__(self, function: FunctionType) -> Any:
        seen = {id(value) for value in function.__globals__.values() if any(value is m for m in self._modules)}
        first = not self._scopes
        if first or not seen <= self._patched:
            self._scopes.append(self._patch(function))
            self._patched |= seen
        return self if first else _Nothing()

    def restore(self) -> None:
        """At the end of the launch."""
        while self._scopes:
            self._scopes.pop().restore()
        self._patched.clear()


def speed_up() -> None:
    """Where this version of Triton has what is needed; elsewhere the interpreter stays as it is."""
    try:
        from triton import language
        from triton.runtime import interpreter
    except ImportError:
        return
    if hasattr(interpreter, "_patch_lang") and hasattr(interpreter, "_LangPatchScope"):
        interpreter._patch_lang = _OnceALaunch(interpreter._patch_lang, (language, language.core))
