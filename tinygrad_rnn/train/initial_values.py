"""The values that must be the same on all processes at the start of training: parameters, optimiser state, random
generators."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..module import Module
from ..optim import Optimizer
from .checkpoint import random_state, set_random_state

Array = np.ndarray[Any, np.dtype[Any]]


class InitialValues:
    """The initial values that `MPI.begin` compares and broadcasts. names: those of the parameters."""

    def __init__(self, optimizer: Optimizer, model: Module | None, names: list[str]):
        self.optimizer, self.model, self.names = optimizer, model, names

    def arrays(self) -> dict[str, Array]:
        """Parameters and the optimiser's arrays, by name."""
        slots = {k: v for k, v in self.optimizer.state_dict().items() if isinstance(v, np.ndarray)}
        return dict(zip(self.names, (p.data for p in self.optimizer.params), strict=True)) | slots

    def state(self) -> Any:
        """The values to broadcast from rank 0: parameters and the optimiser's state."""
        return [p.data for p in self.optimizer.params], self.optimizer.state_dict()

    def load(self, state: Any) -> None:
        """Set the values that `state` returned."""
        arrays, of_optimizer = state
        for p, array in zip(self.optimizer.params, arrays, strict=True):
            p.data = array
        self.optimizer.load_state_dict(of_optimizer)

    def random(self) -> Any:
        """The state of the random generators."""
        return random_state(self.model)

    def set_random(self, state: Any) -> None:
        """Set the random generators from `random`."""
        set_random_state(self.model, state)
