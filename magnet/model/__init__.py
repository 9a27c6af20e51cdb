"""The public object: MagNet, what it predicts, and models as folders."""

from magnet.model.magnet import MagNet
from magnet.model.prediction import Prediction

__all__ = ["MagNet", "Prediction"]
