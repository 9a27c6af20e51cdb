"""Networks of any library by name: "package.module:callable" and its arguments, imported where they are asked for."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from magnet.checkpoints.errors import listed
from magnet.errors import ArgumentError, MagNetError, printable, shown

__all__ = [
    "call_factory",
    "check_args",
    "check_factory",
    "check_trust",
    "find_factory",
    "install_missing",
    "without_weights",
]

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
# arguments by which libraries load weights of their own, which one that is given weights must not do: it might download
_WEIGHTS = ("weights", "weights_backbone", "backbone_weights", "encoder_weights")
_PRETRAINED = ("pretrained", "pretrained_backbone", "use_pretrained_backbone")

_NO_MODULE = re.compile(r"No module named '([\w.]+)'")

_LAZY, _META, _OTHER = "lazy layers, whose sizes are open", "tensors without values", "state that is no tensor"
_KEPT = {  # what of a network's state a file of weights cannot hold, and what mends it
    _LAZY: "sizes, or call it once",
    _META: "its weights, on the CPU",
    _OTHER: "tensors alone, as buffers",
}


def check_factory(name: Any) -> str:
    """The name of a callable.

    Raises:
        TypeError, ValueError: it is none.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"factory: expected a text as 'package.module:callable', got {shown(name)}; a function itself goes to "
            "magnet.wrap, called"
        )
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"factory: expected a module and a callable in it, as 'segmentation_models_pytorch:Unet', got {shown(name)}"
            "; put a colon between them"
        )
    return name


def check_args(args: Any) -> dict[str, Any]:
    """Keyword arguments as JSON gives them back: what is built is what a folder of it will build.

    Raises:
        TypeError: they are no such mapping.
    """
    if args is None:
        return {}
    try:
        if not isinstance(args, Mapping) or not all(isinstance(name, str) for name in args):
            raise TypeError(f"got {shown(args)}")
        return json.loads(json.dumps(dict(args), allow_nan=False))  # type: ignore[no-any-return]
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"args: expected keyword arguments of texts, numbers, lists and dicts, as JSON can hold them ({error}); "
            "write a function that takes such and builds the network, and name that"
        ) from error


def check_trust(name: str, trust: bool, asked_by: str) -> None:
    """Refuse to import code of somebody else that only a file asks for.

    Args:
        name: of the factory.
        trust: whether the caller said that it may.
        asked_by: the argument and the file, as "model: 'runs/city'".

    Raises:
        ArgumentError: it may not.
    """
    if trust is not True:
        module, _, attribute = name.partition(":")
        raise ArgumentError(
            f"{asked_by} is built by {name}: to load it imports the module {module} and calls {attribute}, code that "
            "is not this library's and could do anything; if you trust who made it, pass trust=True (--trust)"
        )


def find_factory(name: str) -> Callable[..., Any]:
    """Import what a name stands for.

    Raises:
        MagNetError: there is no such module, it does not load, or has nothing of that name.
    """
    module, _, attributes = check_factory(name).partition(":")
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever somebody's module raises
        fix = install_missing(error) or "mend that first"
        raise MagNetError(
            f"factory: '{module}' cannot be imported ({_reason(error)}); {fix}, or, if it is a file of yours, name its "
            "folder in PYTHONPATH"
        ) from error
    for attribute in attributes.split("."):
        found = getattr(found, attribute, None)
    if not callable(found):
        raise MagNetError(f"factory: expected '{attributes}' to be a callable of '{module}'; check the name")
    return found  # type: ignore[no-any-return]


def call_factory(name: str, factory: Callable[..., Any], args: Mapping[str, Any]) -> nn.Module:
    """The network that a factory makes, in single precision.

    Raises:
        MagNetError: it raises, or makes no module, or one whose state a file of weights cannot hold.
    """
    try:
        network = factory(**args)
    except (Exception, SystemExit) as error:  # of any kind: it is code of somebody else
        fix = install_missing(error) or "mend the arguments"
        raise MagNetError(
            f"args: {name} could not build a network of {shown(dict(args))} ({_reason(error)}); {fix}"
        ) from error
    if not isinstance(network, nn.Module):
        raise MagNetError(
            f"factory: expected {name} to return a torch.nn.Module, got {type(network).__name__}; name a class of a "
            "network, or a function that returns one"
        )
    for state, keys in _not_to_keep(network).items():
        if keys:
            raise MagNetError(
                f"factory: expected {name} to return a network with its weights as plain tensors, got {state} "
                f"({listed(keys)}); let a function of yours build it with {_KEPT[state]}, and name that"
            )
    return network.float()


def _not_to_keep(network: nn.Module) -> dict[str, list[str]]:
    """Keys of the state that a file of weights cannot hold, by what they are."""
    found: dict[str, list[str]] = {kind: [] for kind in _KEPT}
    for key, value in network.state_dict().items():
        if not isinstance(value, Tensor):
            found[_OTHER].append(key)
        elif is_lazy(value):
            found[_LAZY].append(key)
        elif value.is_meta:
            found[_META].append(key)
    return found


def without_weights(factory: Callable[..., Any] | None, args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a network whose weights come from elsewhere: none that loads or downloads some by itself.

    ``factory`` is asked what arguments it has; None: those that are given are all that count.
    """
    taken: Mapping[str, Any] = {}
    if factory is not None:
        with contextlib.suppress(TypeError, ValueError):  # of a callable that does not say
            taken = inspect.signature(factory).parameters
    quiet = {name: None for name in _WEIGHTS if name in taken or name in args}
    return {**args, **quiet, **{name: False for name in _PRETRAINED if name in taken or name in args}}


def install_missing(error: BaseException) -> str | None:
    """What mends that a package is not there; None where another thing is wrong.

    Libraries that import a package where it is needed tell of it in an ImportError of their own, some without a name.
    """
    while isinstance(error, ImportError):
        found = _NO_MODULE.search(str(error))
        module = error.name if isinstance(error, ModuleNotFoundError) else found and found[1]
        if module:
            top = module.partition(".")[0]
            return f"install the package that has '{top}', which is missing, as a rule by 'pip install {top}'"
        if error.__cause__ is None and error.__context__ is None:
            return None
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return None


def _reason(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 400)
