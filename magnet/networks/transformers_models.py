"""Networks of the library transformers: built from the values of their configuration, or from a folder of a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from magnet.errors import MagNetError, printable, shown
from magnet.files.reading import read_json
from magnet.networks.factory import call_factory, find_factory

__all__ = ["FromFolder", "build_from_config", "classes_of", "load_folder", "makes_transformers"]

_CONFIG, _PROCESSOR = "config.json", "preprocessor_config.json"
_LABELS = ("id2label", "label2id")
_OF_ALL = ("model_type", "num_labels", *_LABELS)
_LEFT_OUT = ("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")


class FromFolder(NamedTuple):
    """What a folder holds.

    network: with its weights. args: that build such a network without the folder. anew: keys of layers of another shape
    than in the folder, which were left as they are made. wrap: mean and std, of its image processor, for
    ``magnet.wrap``. seen_size: (H, W) that the processor resizes images to; None where it does not say.
    """

    network: nn.Module
    args: dict[str, Any]
    anew: tuple[str, ...]
    wrap: dict[str, Any]
    seen_size: tuple[int, int] | None


def makes_transformers(factory: Callable[..., Any]) -> bool:
    """Whether a factory is a class of transformers that is built from a configuration; one that chooses it counts."""
    return hasattr(factory, "config_class") or (hasattr(factory, "_model_mapping") and hasattr(factory, "from_config"))


def build_from_config(name: str, factory: Callable[..., Any], args: Mapping[str, Any]) -> nn.Module:
    """A network with random weights; ``args`` are values of its configuration, such as ``num_labels``.

    Raises:
        MagNetError: there is no such value, or no network of them.
    """
    model_class, config = _configured(name, factory, args, {})
    return call_factory(name, lambda **_: model_class(config), args)


def load_folder(
    name: str, factory: Callable[..., Any], args: Mapping[str, Any], folder: Path, *, strict: bool
) -> FromFolder:
    """The network of a folder that transformers' ``save_pretrained`` wrote, read offline.

    Args:
        name, factory: the class.
        args: values of the configuration that come before the folder's.
        folder: of the model, with its image processor or without.
        strict: every layer must have the shape that it has in the folder.

    Raises:
        MagNetError: a file is missing or damaged, or weights do not fit.
    """
    stored = _read(folder / _CONFIG)
    if "num_labels" in args and not any(key in args for key in _LABELS):  # as it counts the names that there are
        stored = {key: value for key, value in stored.items() if key not in _LABELS}
    model_class, config = _configured(name, factory, args, stored)
    try:
        network, told = model_class.from_pretrained(
            os.fspath(folder),
            config=config,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # of any kind: it is code of somebody else
        raise MagNetError(
            f"weights: '{folder}' could not be loaded by {name} ({_reason(error)}); get the folder again, or name the "
            "class that it is of"
        ) from error
    anew = tuple(sorted(str(key[0]) if isinstance(key, tuple) else str(key) for key in told["mismatched_keys"]))
    if told["missing_keys"] or (strict and anew):
        lacking = ", ".join([*sorted(told["missing_keys"]), *anew][:6])
        raise MagNetError(
            f"weights: '{folder}' lacks weights of {name}, or has them in another shape: {lacking}; name the class "
            "that the folder is of, and its number of classes (num_labels)"
        )
    plain = type(config)()
    values = {
        key: value for key, value in config.to_diff_dict().items() if key not in _LEFT_OUT and hasattr(plain, key)
    }
    values["model_type"] = config.model_type
    wrap, size = _of_processor(folder)
    return FromFolder(network.float(), values, anew, wrap, size)


def classes_of(network: Any) -> tuple[int, list[str] | None]:
    """How many classes the configuration says there are, and their names; None where they are numbered only."""
    count, labels = network.config.num_labels, network.config.id2label
    if not isinstance(labels, Mapping) or sorted(labels) != list(range(count)):
        return count, None
    names = [str(labels[number]) for number in range(count)]
    return count, None if names == [f"LABEL_{number}" for number in range(count)] else names


def _configured(name: str, factory: Any, args: Mapping[str, Any], stored: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class of a network, and its configuration by ``args`` over what a folder has ``stored``."""
    values = {**{key: value for key, value in stored.items() if key not in _LEFT_OUT}, **args}
    try:
        if hasattr(factory, "config_class"):
            model_class, config_class = factory, factory.config_class
        else:  # one that chooses by the kind of the configuration
            kind = values.get("model_type")
            config_class = type(find_factory("transformers:AutoConfig.for_model")(kind))
            model_class = factory._model_mapping[config_class]
        plain = config_class()
        unknown = [key for key in args if key not in _OF_ALL and not hasattr(plain, key)]
        if unknown:  # which transformers would take without a word
            raise MagNetError(
                f"args: {config_class.__name__} has no {', '.join(map(shown, unknown[:5]))}; see its documentation for "
                "the names"
            )
        return model_class, config_class.from_dict({k: v for k, v in values.items() if k != "model_type"})
    except MagNetError:
        raise
    except Exception as error:  # of any kind: it is code of somebody else
        raise MagNetError(
            f"args: {name} has no configuration of {shown(dict(args))} ({_reason(error)}); mend the arguments"
        ) from error


def _of_processor(folder: Path) -> tuple[dict[str, Any], tuple[int, int] | None]:
    """Mean and std for images in [0, 1], and the size (H, W), that the folder's image processor is for."""
    if not (folder / _PROCESSOR).is_file():
        return {}, None
    values = _read(folder / _PROCESSOR)
    # the processor sees 0..255, multiplies by the factor, subtracts the mean and divides by the deviation
    factor = 255 * values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 255.0
    mean, std = (values.get(f"image_{key}") if values.get("do_normalize", True) else None for key in ("mean", "std"))
    try:
        wrap = {
            "mean": None if mean is None else [number / factor for number in mean],
            "std": None if std is None and factor == 1 else [number / factor for number in std or [1, 1, 1]],
        }
    except (TypeError, ZeroDivisionError) as error:
        raise MagNetError(
            f"weights: '{folder / _PROCESSOR}' has no mean and deviation that can be used ({error}); give wrap.mean "
            "and wrap.std, and take the file out of the folder"
        ) from error
    size = values.get("size")
    if isinstance(size, int):
        return wrap, (size, size)
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return wrap, (int(size["height"]), int(size["width"]))
    return wrap, None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, "weights")
    except (OSError, ValueError) as error:
        raise MagNetError(
            f"weights: '{path}' cannot be read ({_reason(error)}); expected a folder that transformers' "
            "save_pretrained wrote"
        ) from error
    if not isinstance(content, dict):
        raise MagNetError(f"weights: '{path}' holds no configuration; get the folder again")
    return content


def _reason(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {' '.join(str(error).split())}", 400)
