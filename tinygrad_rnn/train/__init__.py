"""Training: the loop `fit`, `evaluate`, and checkpoints of a training run."""

from .checkpoint import load_checkpoint, save_checkpoint
from .log import TrainingLog
from .loop import evaluate, fit
from .saliency import saliency

__all__ = ["TrainingLog", "evaluate", "fit", "load_checkpoint", "saliency", "save_checkpoint"]
