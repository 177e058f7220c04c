"""The record of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class TrainingLog:
    """Losses, validations and counters of a training run; saved in checkpoints.

    >>> import tinygrad_rnn as tg
    >>> history = tg.train.TrainingLog(validations=[(10, 0.9), (20, 0.4), (30, 0.6)], step=30)
    >>> history.best
    (20, 0.4)
    """

    losses: list[float] = field(default_factory=list, repr=False)  # of every step
    validations: list[tuple[int, float]] = field(default_factory=list, repr=False)  # (step, loss)
    epoch: int = 0  # epochs finished
    step: int = 0  # steps done
    seconds: float = 0.0  # of training, without validation and saving
    stopped: str = ""  # why the run ended: "epochs", "steps", "seconds", "patience" or "interrupted"

    @property
    def best(self) -> tuple[int, float] | None:
        """The validation (step, loss) with the lowest loss; NaN is never the best."""
        return min((v for v in self.validations if v[1] == v[1]), key=lambda v: v[1], default=None)
