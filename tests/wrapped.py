"""Networks that return what those of other libraries do, for the tests of magnet.wrap."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from seeded import randn, seed_module
from torch import Tensor, nn


@dataclasses.dataclass
class Returned:
    """An object as transformers returns it, without being a mapping."""

    logits: Tensor
    loss: Tensor | None = None


@dataclasses.dataclass
class Outs:
    out: Tensor
    aux: Tensor


class Queries(collections.OrderedDict):
    """Mask classification as a mapping whose keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(value for value in self.values() if value is not None)


class Net(nn.Module):
    """A convolution with stride, and what it makes of the image handed over in the form asked for."""

    def __init__(self, form: str = "tensor", stride: int = 1, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        self.form = form
        self.conv = nn.Conv2d(channels, classes, 3, stride=stride, padding=1)
        seed_module(self, "wrap.")

    def forward(self, images: Tensor) -> Any:
        logits = 4 * self.conv(images)
        mean = logits.mean()
        match self.form:
            case "tensor":
                return logits
            case "softmax":
                return logits.softmax(dim=1)
            case "sigmoid":
                return logits.sigmoid()
            case "dict":
                return {"aux": -logits, "out": logits}
            case "dict of logits":
                return {"loss": mean, "logits": logits}
            case "stacked in training":
                return torch.stack([logits, -logits], dim=1) if self.training else logits
            case "tuple in training":
                return (logits, -logits) if self.training else logits
            case "object":
                return Returned(logits)
            case "object of out":
                return Outs(logits, -logits)
            case "tuple":
                return mean, None, logits.mean(dim=(2, 3)), logits, -logits
            case "list of dicts":
                return [{"loss": mean}, {"out": logits}]
        raise AssertionError(self.form)


LOADED: list[str] = []  # by ``loading``: what a library would have downloaded


def loading(classes: int = 3, encoder_weights: str | None = "imagenet", pretrained: bool = True) -> Net:
    """A factory that loads weights unless it is told not to."""
    LOADED.extend([encoder_weights] if encoder_weights else [])
    LOADED.extend(["pretrained"] if pretrained else [])
    return Net(classes=classes)


def implying(classes: int = 3, weights: str | None = "of five classes") -> Net:
    """A factory whose weights decide what it makes."""
    return Net(classes=5 if weights else classes)


def of_nothing() -> str:
    return "no network"


FORMS = ["tensor", "dict", "dict of logits", "object", "object of out", "tuple", "list of dicts"]


class QueryNet(nn.Module):
    """Mask classification with Q queries for C classes, at a quarter of the size."""

    def __init__(self, classes: int = 3, queries: int = 7) -> None:
        super().__init__()
        self.masks = nn.Conv2d(3, queries, 5, stride=4, padding=2)
        self.classes = nn.Linear(3, queries * (classes + 1))
        self.queries = queries
        seed_module(self, "queries.")

    def forward(self, images: Tensor) -> Queries:
        scores = self.classes(images.mean(dim=(2, 3))).view(images.shape[0], self.queries, -1)
        return Queries(loss=None, class_queries_logits=2 * scores, masks_queries_logits=3 * self.masks(images))


def images_of(height: int, width: int, n: int = 2) -> Tensor:
    return randn("wrap.images", n, 3, height, width)


def plain_probabilities(classes: Tensor, masks: Tensor) -> Tensor:
    """The definition, in float64: a sum over the queries, normalised at each pixel."""
    scores = torch.einsum("nqc,nqhw->nchw", classes.double().softmax(-1)[..., :-1], masks.double().sigmoid())
    return scores / scores.sum(dim=1, keepdim=True)


class Random(Net):
    """Something random that no state dict holds."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__(classes=classes)
        self.register_buffer("factor", torch.randn(classes, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images) * self.factor


class Dropping(Net):
    """Dropout that evaluation mode does not turn off."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(F.dropout(images, 0.2))


class Awake(nn.Dropout):
    """Stays in training mode, as for a Monte Carlo estimate."""

    def train(self, mode: bool = True) -> Awake:
        del mode
        return super().train(True)


def staying_awake() -> nn.Module:
    return nn.Sequential(Awake(0.2), Net())


def needing_a_package() -> nn.Module:
    import no_such_package.layers  # noqa: F401

    return Net()


class Needing(Net):
    """Asks for a package when it is called, and tells of it as MONAI does, in an error without a name."""

    def forward(self, images: Tensor) -> Any:
        raise ImportError("from no_such_package import rearrange (No module named 'no_such_package').")


class Failing(Net):
    """Fails as normalisation over one value does: in training alone."""

    def forward(self, images: Tensor) -> Any:
        if self.training:
            raise ValueError("Expected more than 1 value per channel when training")
        return super().forward(images)


class Fuller(nn.Conv2d):
    """State that is no tensor."""

    def __init__(self) -> None:
        super().__init__(3, 3, 1)

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        del state


def leaving(classes: int = 3) -> Net:
    raise SystemExit(3)


def lazy(classes: int = 3) -> nn.Module:
    return nn.LazyConv2d(classes, 3, padding=1)


def without_values(classes: int = 3) -> nn.Module:
    with torch.device("meta"):
        return nn.Conv2d(3, classes, 1)


def frozen(classes: int = 3) -> nn.Module:
    return Net(classes=classes).requires_grad_(False)


def program(classes: int = 3) -> Any:
    return torch.jit.trace(nn.Sequential(seed_module(nn.Conv2d(3, classes, 1), "wrap.")), torch.zeros(1, 3, 16, 16))


def sequential() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
