"""A generator whose random numbers are known."""

from __future__ import annotations

from typing import Any

import numpy as np


class Drawn(np.random.Generator):
    """Draws one number, as often as it is asked for."""

    def __init__(self, number: float):
        super().__init__(np.random.PCG64())
        self.number = number

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        return np.full(() if size is None else size, self.number, dtype)
