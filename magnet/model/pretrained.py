"""Models as folders: ``config.json`` (what to build) and ``model.safetensors`` (its weights)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from magnet.bounds import MAX_SCALES
from magnet.checkpoints.fit import load_state
from magnet.checkpoints.safetensors_files import load_safetensors, save_safetensors
from magnet.errors import ArgumentError, MagNetError, shown
from magnet.files.atomic import atomic_path, check_output_dir, no_empty_folders, remove_leftovers
from magnet.files.locks import folder_lock
from magnet.files.reading import check_path, read_json, sha256
from magnet.images.rasters.input_settings import INPUTS, InputSettings
from magnet.networks import ON_ENCODERS, REFINERS, SEGMENTERS, build_refiner, build_segmenter
from magnet.networks.factory import check_trust
from magnet.networks.segmenter import Segmenter, check_spec
from magnet.networks.timm_encoder import TimmEncoder
from magnet.walk.networks import Networks
from magnet.walk.settings import KEPT, WalkSettings

__all__ = [
    "CONFIG",
    "SHIPPED",
    "WEIGHTS",
    "Parts",
    "check_model_folder",
    "find_model",
    "load_parts",
    "read_inputs",
    "save_parts",
    "shipped_models",
]

Model = TypeVar("Model", bound=nn.Module)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHIPPED = Path(__file__).parent.parent / "weights"
_FORMAT = 1
# settings that the folders of every version have; the others came later
_SETTINGS = ("scales", "patch_size", "input_size", "n_points", "n_patches", "kernel_size", "compat", "batch_size")
_LOOKS = ("class_names", "colours")
_ON_ENCODER = ("network", "encoder")
_METADATA = {"format": "pt", "library": "magnet-kernels"}
_REFINER = "refiner"  # kind of the refiners; not in folders of the paper's
_HASH = "weights_sha256"  # of the weights file; not in folders of older versions


def shipped_models() -> list[str]:
    """Names of the models that come with the library."""
    return sorted(folder.parent.name for folder in SHIPPED.glob(f"*/{CONFIG}"))


class Parts(NamedTuple):
    """What a folder holds.

    segmenter, refiners: the networks. arguments: of MagNet. info: what is kept beside them.
    """

    segmenter: nn.Module
    refiners: list[nn.Module] | None
    arguments: dict[str, Any]
    info: dict[str, Any] | None


def save_parts(
    networks: Networks,
    settings: WalkSettings,
    looks: Mapping[str, Any],
    inputs: InputSettings,
    folder: str | os.PathLike[str],
    *,
    half: bool,
    info: Mapping[str, Any],
    overwrite: bool,
) -> None:
    """See :meth:`magnet.MagNet.save_pretrained`; ``looks`` are its class_names and colours, ``inputs`` its input's."""
    segmenter = networks.segmenter
    if isinstance(segmenter, Segmenter):
        assert settings.input_size is not None
        if segmenter.num_classes is None or segmenter.activation == "auto":
            networks.num_classes = segmenter.settle(settings.input_size)
        segmenter.check_rebuilt(settings.input_size)
    config = {
        "format": _FORMAT,
        "segmenter": _named(segmenter),
        "num_classes": networks.num_classes,
        "refiners": len(networks.refiners),
        **_named_refiner(networks),
        **{name: getattr(settings, name) for name in KEPT},
        **looks,
        **inputs.changed(),  # so that versions before them read models of 8-bit RGB
        "info": dict(info),
    }
    try:
        lines = [_line(key, value) for key, value in config.items()]
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"info: expected values that JSON can hold ({error}); pass texts, numbers, lists and dicts"
        ) from error
    path = check_path("folder", folder)
    with no_empty_folders(path):
        check_output_dir(path, "folder")
        check_model_folder(path, overwrite=overwrite)
        try:
            with folder_lock(path, "folder"):
                remove_leftovers(path)
                with atomic_path(path / CONFIG) as temporary:
                    save_safetensors(path / WEIGHTS, networks.state_dict(), _METADATA, half=half)
                    lines.append(_line(_HASH, sha256(path / WEIGHTS)))
                    temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        except OSError as error:
            raise MagNetError(
                f"folder: '{path}' could not be written to ({error.strerror or error}); choose a folder with room"
            ) from error


def check_model_folder(
    folder: Path,
    *,
    argument: str = "folder",
    overwrite: bool = False,
    is_same: Callable[[Mapping[str, Any]], bool] = lambda config: True,
) -> None:
    """Raise MagNetError if saving a model would replace files that are not of a model which save_pretrained wrote.

    Args:
        folder: of the model; it may not be there yet.
        argument: what names it in the error.
        overwrite: let them be replaced.
        is_same: whether a model of this ``config.json`` may be replaced.
    """
    taken = next((path for path in (folder / CONFIG, folder / WEIGHTS) if os.path.lexists(path)), None)
    if taken is None or overwrite:
        return
    other = "is not of a model that save_pretrained wrote"
    try:
        if taken.name == WEIGHTS:  # saving was killed before the configuration came to its place
            with safe_open(taken, framework="pt") as file:
                own = (file.metadata() or {}).get("library") == _METADATA["library"]
        else:
            config = read_json(taken, "config") if taken.is_file() else None
            own = isinstance(config, dict) and {"format", "segmenter", "refiners"} <= set(config)
            if isinstance(config, dict) and own and not is_same(config):
                own, other = False, "is of another model"
    except (OSError, ValueError, SafetensorError):
        own = False
    if not own:
        raise MagNetError(
            f"{argument}: '{taken}' is there already, and {other}; choose another folder, or replace it with "
            "--overwrite (in Python overwrite=True)"
        )


def _line(key: str, value: Any) -> str:
    return f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"


def load_parts(
    folder: str | os.PathLike[str], num_classes: int | None, build: Callable[[Parts], Model], *, trust: bool = False
) -> tuple[Parts, Model]:
    """What a folder holds, and what ``build`` makes of it, with the weights; it raises where the folder is wrong.

    ``trust``: import what a folder of a :class:`magnet.Segmenter` names.

    Raises:
        MagNetError: see :meth:`magnet.MagNet.from_pretrained`.
    """
    path = find_model(folder)
    config = _read_config(path / CONFIG)
    if num_classes is not None and num_classes != config["num_classes"]:
        raise MagNetError(
            f"num_classes: expected {num_classes} classes, but the model '{path}' has {config['num_classes']}; "
            "choose another model, or train one for your classes"
        )
    info = config.get("info")
    arguments = {name: config[name] for name in (*KEPT, *_LOOKS, *INPUTS) if name in config}
    try:
        if isinstance(config["segmenter"], dict) and not _on_encoder(config["segmenter"]):
            check_trust(check_spec(config["segmenter"]), trust, f"model: '{path}'")
        segmenter, refiners = _build(config)
        kept = info if isinstance(info, dict) and info else None
        parts = Parts(segmenter, refiners, arguments, kept)
        model = build(parts)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise MagNetError(f"config: '{path / CONFIG}' is not valid ({error}); get the file again") from error
    load_state(model, load_safetensors(path / WEIGHTS)[0], source=path / WEIGHTS)
    _check_hash(path, config.get(_HASH))
    return parts, model


def read_inputs(folder: str | os.PathLike[str]) -> InputSettings:
    """The settings of the input of a model, by its ``config.json`` alone.

    Raises:
        MagNetError: see :meth:`magnet.MagNet.from_pretrained`.
    """
    path = find_model(folder) / CONFIG
    config = _read_config(path)
    try:
        return InputSettings(**{name: config[name] for name in INPUTS if name in config})
    except (TypeError, ValueError) as error:
        raise MagNetError(f"config: '{path}' is not valid ({error}); get the file again") from error


def _check_hash(path: Path, expected: Any) -> None:
    """Refuse weights that are not those that the configuration was written with."""
    if expected is None:
        return
    found = sha256(path / WEIGHTS)
    if found != expected:
        raise MagNetError(
            f"weights: '{path / WEIGHTS}' is not the file that '{CONFIG}' was written with (SHA-256 {found[:12]}..., "
            f"expected {str(expected)[:12]}...); get both files again, or, if you changed the weights yourself, take "
            f'"{_HASH}" out of {CONFIG}, or save the model with save_pretrained'
        )


def find_model(folder: str | os.PathLike[str]) -> Path:
    """The folder of a model, or of one that comes with the library.

    Raises:
        ArgumentError: there is none. TypeError: it is neither a path nor a name.
    """
    try:
        path = Path(folder)
    except TypeError as error:
        raise TypeError(
            f"folder: expected a folder, or the name of a model that comes with the library, got {shown(folder)}; "
            "pass one of these"
        ) from error
    if path.is_dir():
        return path
    name = os.fspath(folder)
    if name in shipped_models():
        return SHIPPED / name
    names = ", ".join(shipped_models()) or "none"
    raise ArgumentError(
        f"model: '{name}' is neither a folder nor a model that comes with the library ({names}); check the path"
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path, "config")
    except FileNotFoundError:
        raise ArgumentError(
            f"model: expected '{path}', which does not exist; choose a folder that save_pretrained wrote"
        ) from None
    except (IsADirectoryError, PermissionError) as error:
        raise MagNetError(
            f"config: expected a readable file, but '{path}' is not one ({error.strerror}); check the path"
        ) from error
    except (OSError, ValueError) as error:
        raise MagNetError(
            f"config: '{path}' is truncated, corrupt or not JSON ({error}); get the file again"
        ) from error
    if not isinstance(config, dict) or "format" not in config:
        raise MagNetError(
            f"config: '{path}' is not the configuration of a MagNet; choose a folder that save_pretrained wrote"
        )
    if config["format"] != _FORMAT:
        raise MagNetError(
            f"config: '{path}' has format {shown(config['format'])}, and this version reads {_FORMAT}; "
            "update the library"
        )
    needed = ("segmenter", "num_classes", "refiners", *_SETTINGS)
    unknown = [
        name for name in config if name not in (*needed, *KEPT, *_LOOKS, *INPUTS, _REFINER, _HASH, "format", "info")
    ]
    if unknown:
        raise MagNetError(
            f"config: '{path}' has keys that there are not: {', '.join(map(shown, unknown[:5]))}; mend their names, or "
            "take them out"
        )
    missing = [name for name in needed if name not in config]
    if missing:
        raise MagNetError(f"config: '{path}' lacks {', '.join(missing)}; get the file again")
    return config


def _build(config: Mapping[str, Any]) -> tuple[nn.Module, list[nn.Module] | None]:
    """The networks that a configuration names, with weights still to be loaded."""
    num_classes, count = config["num_classes"], config["refiners"]
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_SCALES:
        raise ValueError(f"refiners: expected how many there are, 0 to {MAX_SCALES}, got {shown(count)}")
    named, channels = config["segmenter"], config.get("channels", 3)
    segmenter: nn.Module
    if isinstance(named, dict) and _on_encoder(named):
        segmenter = build_segmenter(named["network"], num_classes, channels=channels, encoder=named["encoder"])
    elif isinstance(named, dict):
        segmenter = Segmenter.from_spec(named, channels=channels, num_classes=num_classes)
    else:
        segmenter = build_segmenter(named, num_classes, channels=channels)
    refiner = config.get(_REFINER, REFINERS[0])
    if refiner not in REFINERS:
        raise ValueError(f"{_REFINER}: expected one of {', '.join(REFINERS)}, got {shown(refiner)}; update the library")
    return segmenter, [build_refiner(refiner, num_classes, channels=channels) for _ in range(count)] or None


def _on_encoder(named: Mapping[str, Any]) -> bool:
    """Whether a configuration names a network on an encoder; no code of others is imported for it but timm itself."""
    return sorted(named) == sorted(_ON_ENCODER)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


def _named(segmenter: nn.Module) -> str | dict[str, Any]:
    """What builds this very network: same class, same keys, same shapes."""
    if isinstance(segmenter, Segmenter):
        return segmenter.spec()
    num_classes = getattr(segmenter, "num_classes", None)
    encoder = getattr(segmenter, "encoder", None)
    own = encoder.name if isinstance(encoder, TimmEncoder) else None
    if isinstance(num_classes, int):
        shapes = _shapes(segmenter)
        for name in SEGMENTERS if own is None else ON_ENCODERS:
            network = _sketch(name, num_classes, getattr(segmenter, "in_channels", 3), own)
            if type(network) is type(segmenter) and _shapes(network) == shapes:
                return name if own is None else dict(zip(_ON_ENCODER, (name, own), strict=True))
    raise MagNetError(
        f"segmenter: {type(segmenter).__name__} is not a network that build_segmenter makes, so a folder could "
        "not say how to build it again; build it by name, as magnet.Segmenter('package:callable', args), or save its "
        "state dict with torch.save instead"
    )


def _sketch(name: str, num_classes: int, channels: int, encoder: str | None) -> nn.Module:
    """A network of which the shapes count, on the device "meta" where its encoder can be built there."""
    try:
        with torch.device("meta"):
            return build_segmenter(name, num_classes, channels=channels, encoder=encoder)
    except Exception:  # of an encoder that looks at numbers as it is built
        if encoder is None:
            raise
        with torch.random.fork_rng(devices=[]):
            return build_segmenter(name, num_classes, channels=channels, encoder=encoder)


def _named_refiner(networks: Networks) -> dict[str, str]:
    """What builds the refiners; nothing for the paper's, so that versions before others read these models."""
    names = {_refiner_name(refiner, networks) for refiner in networks.refiners} or {REFINERS[0]}
    if len(names) > 1:
        raise MagNetError(f"refiner: expected modules of one kind, got {', '.join(sorted(names))}; train them alike")
    (name,) = names
    return {} if name == REFINERS[0] else {_REFINER: name}


def _refiner_name(refiner: nn.Module, networks: Networks) -> str:
    num_classes = getattr(refiner, "num_classes", None)
    if isinstance(num_classes, int):
        for name in REFINERS:
            with torch.device("meta"):
                made = build_refiner(name, num_classes, channels=getattr(networks.segmenter, "in_channels", 3))
            if type(made) is type(refiner) and _shapes(made) == _shapes(refiner):
                return name
    raise MagNetError(
        f"refiner: expected one that magnet.build_refiner makes, got {type(refiner).__name__}, and a folder could not "
        "say how to build it again; save its state dict with torch.save instead"
    )
