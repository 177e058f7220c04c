"""Training: the loop `fit`, `evaluate`, and checkpoints of a training run."""

from .checkpoint import load_checkpoint, save_checkpoint
from .history import History
from .loop import evaluate, fit
from .saliency import saliency

__all__ = ["History", "evaluate", "fit", "load_checkpoint", "saliency", "save_checkpoint"]
