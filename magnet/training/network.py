"""The network of the first stage: one of this library's by name, or what a factory of another one makes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from magnet.checkpoints.fit import load_weights
from magnet.data import Dataset
from magnet.data.names import compare_names
from magnet.distributed import is_main
from magnet.errors import ArgumentError, MagNetError
from magnet.model.magnet import MagNet
from magnet.networks import build_segmenter
from magnet.networks.segmenter import Segmenter
from magnet.training.backbone import load_backbone
from magnet.training.config import TrainConfig

__all__ = ["check_network", "finished_network", "new_network", "start_from", "trained_network"]

_LOG = logging.getLogger("magnet")


def new_network(config: TrainConfig, dataset: Dataset, *, tell: bool = True) -> nn.Module:
    """The segmenter as its training starts, on the CPU.

    Args:
        config: the run.
        dataset: gives the classes.
        tell: print what of ``segmenter.weights`` was loaded.

    Raises:
        ArgumentError: a factory makes no such network, or one of other classes.
        MagNetError: what it starts from does not fit, or is a model that has its classes in another order.
    """
    stage = config.segmenter
    network = _built(config, dataset.num_classes, stage.weights)
    if stage.weights and not stage.factory:
        load_backbone(network, stage.weights, tell=tell)
    if stage.init:
        start_from(network, stage.init, dataset.class_names, trust=config.trust)
    return network


def finished_network(config: TrainConfig, dataset: Dataset) -> nn.Module:
    """The segmenter of ``segmenter.train: false``; arguments and errors are those of :func:`new_network`."""
    stage = config.segmenter
    if not stage.init:
        return new_network(config, dataset)
    network = _built(config, dataset.num_classes, "")
    start_from(network, stage.init, dataset.class_names, trust=config.trust, whole=True)
    return network


def trained_network(config: TrainConfig, num_classes: int, path: Path) -> nn.Module:
    """The segmenter with the weights that a run wrote to ``path``."""
    network = _built(config, num_classes, config.segmenter.weights if config.segmenter.factory else "")
    load_weights(path, network)
    return network


def _built(config: TrainConfig, num_classes: int, weights: str) -> nn.Module:
    stage = config.segmenter
    if not stage.factory:
        try:
            return build_segmenter(
                stage.network, num_classes, channels=config.data.channels, encoder=stage.encoder or None
            )
        except MagNetError as error:  # of the encoder
            raise ArgumentError(f"segmenter.{error}") from error
    try:
        network = Segmenter(
            stage.factory,
            stage.args,
            weights=weights or None,
            wrap=stage.wrap.options(),
            channels=config.data.channels,
            strict=not stage.train,
        )
        found = network.settle(config.input_size)
    except (TypeError, ValueError, MagNetError) as error:
        raise ArgumentError(f"segmenter.{error}") from error
    if found != num_classes:
        raise ArgumentError(
            f"segmenter.args: expected a network of {num_classes} classes, as the data have, got one of {found}; set "
            "what the factory calls their number (classes, num_classes, out_channels, num_labels)"
        )
    return network


def check_network(config: TrainConfig, dataset: Dataset) -> None:
    """Build the segmenter once before the data are read, and tell where it was made for other classes or sizes.

    Only what may not fit is built: networks by factory or with an encoder, and finished ones. Arguments and errors are
    those of :func:`new_network`; classes of a folder of weights in another order are a MagNetError, too.
    """
    stage = config.segmenter
    if stage.train and not stage.factory and not stage.encoder:
        return
    network = new_network(config, dataset, tell=False) if stage.train else finished_network(config, dataset)
    if stage.encoder:
        _try_size(network, config)
    if isinstance(network, Segmenter):
        try:
            network.check_rebuilt(config.input_size)
        except MagNetError as error:
            raise ArgumentError(f"segmenter.{error}") from error
    if stage.train and not any(weight.requires_grad for weight in network.parameters()):
        raise ArgumentError(
            "segmenter.train: expected a network with weights to train, got one whose weights are all frozen, or that "
            "has none; set train to false, or let the factory leave requires_grad on"
        )
    if not is_main() or not isinstance(network, Segmenter):
        return
    told = compare_names(network.class_names, dataset.class_names, "segmenter.weights", "the data")
    if told:
        _LOG.warning(told)
    size = network.seen_size
    if size is not None and size != config.input_size:
        _LOG.warning(
            f"walk.input_size: '{config.segmenter.weights}' is of a network for images of {size[0]}x{size[1]}, and the "
            f"walk shows it {config.input_size[0]}x{config.input_size[1]} (HxW); set walk.input_size, or leave it if "
            "it was trained on such"
        )


def _try_size(network: nn.Module, config: TrainConfig) -> None:
    """Raise ArgumentError where the encoder takes no images of the size that the walk shows it."""
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, config.data.channels, *config.input_size))
    except ValueError as error:
        raise ArgumentError(f"segmenter.{error}") from error


def start_from(
    network: nn.Module,
    model: str,
    class_names: Sequence[str] | None = None,
    *,
    trust: bool = False,
    whole: bool = False,
) -> int:
    """Copy the segmenter of a saved model into ``network`` where shapes agree; returns how many tensors were copied.

    Args:
        network: to be trained.
        model: folder of a model, or the name of a bundled one.
        class_names: of the network. A model of as many classes gives its classifier, too, and must have them in this
            order.
        trust: see ``MagNet.from_pretrained``.
        whole: every tensor must fit.

    Raises:
        MagNetError: no such model, none of its tensors fits (with ``whole``: some do not), or its classes are in
            another order.
    """
    start = MagNet.from_pretrained(model, trust=trust)
    if class_names is not None and start.class_names is not None and len(start.class_names) == len(class_names):
        told = compare_names(start.class_names, class_names, f"segmenter.init '{model}'", "the data")
        if told and is_main():
            _LOG.warning(told)
    source: dict[str, Tensor] = start.segmenter.state_dict()
    own = network.state_dict()
    fitting = {key: value for key, value in source.items() if key in own and own[key].shape == value.shape}
    if not any(value.is_floating_point() for value in fitting.values()):
        raise MagNetError(
            f"segmenter.init: nothing of '{model}' fits {type(network).__name__}; choose a model of the same network"
        )
    if whole and not len(fitting) == len(own) == len(source):
        raise MagNetError(
            f"segmenter.init: '{model}' has {len(fitting)} of the {len(own)} tensors of {type(network).__name__}, "
            "which segmenter.train says is finished; choose a model of the same network and classes, or let it be "
            "trained"
        )
    network.load_state_dict({**own, **fitting})
    return len(fitting)
