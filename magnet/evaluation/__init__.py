"""Evaluation: segmentations scored, timed and compared, and what ``magnet eval`` writes about them."""

from magnet.evaluation.modes import ALL_MODES, MODES
from magnet.evaluation.run import Evaluation, evaluate, run_evaluation

__all__ = ["ALL_MODES", "MODES", "Evaluation", "evaluate", "run_evaluation"]
