"""Training: the loop `fit` with `evaluate`, and checkpoints that keep all of a run."""

from .checkpoint import load_checkpoint, save_checkpoint
from .history import History
from .loop import evaluate, fit
from .saliency import saliency

__all__ = ["History", "evaluate", "fit", "load_checkpoint", "saliency", "save_checkpoint"]
