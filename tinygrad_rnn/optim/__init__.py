"""Optimisers, gradient clipping and learning-rate schedules, with PyTorch's formulas and defaults."""

from .clipping import clip_by_global_norm, clip_by_value
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import CosineLR, Schedule, StepLR

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineLR",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "StepLR",
    "clip_by_global_norm",
    "clip_by_value",
]
