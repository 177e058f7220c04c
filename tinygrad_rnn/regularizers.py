"""Regularizers with Keras's names: penalties on large weights or outputs. A regularizer is a function of a tensor that
returns the number to be added to the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from .checks import is_number
from .config import Configured

Regularizer = Callable[[Any], Any]


class L1L2(Configured):
    """l1 Σ |x| + l2 Σ x², with default factors 0. Raises ValueError for factors that are not numbers of at least 0.

    >>> import tinygrad_rnn as tg
    >>> tg.regularizers.L1L2(l1=1.0, l2=0.5)(tg.tensor([1.0, -2.0])).item()
    5.5
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        for name, factor in (("l1", l1), ("l2", l2)):
            if not is_number(factor) or not 0 <= factor < np.inf:
                raise ValueError(f"{type(self).__name__}: {name} is {factor!r}, expected a number of at least 0")
        self.l1, self.l2 = float(l1), float(l2)

    def __call__(self, x: Any) -> Any:
        parts = [self.l1 * ops.sum(ops.abs(x))] if self.l1 else []
        parts += [self.l2 * ops.sum(x * x)] if self.l2 else []
        return sum(parts[1:], parts[0]) if parts else ops.sum(x * 0)


class L1(L1L2):
    """l1 Σ |x|, which drives small weights to 0 [Tibshirani 1996].

    >>> import tinygrad_rnn as tg
    >>> round(tg.regularizers.L1(0.1)(tg.tensor([1.0, -2.0])).item(), 6)
    0.3
    """

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)


class L2(L1L2):
    """l2 Σ x², also called weight decay [Krogh & Hertz 1992].

    >>> import tinygrad_rnn as tg
    >>> round(tg.regularizers.L2(0.1)(tg.tensor([1.0, -2.0])).item(), 6)
    0.5
    """

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)


l1, l2, l1_l2 = L1, L2, L1L2
_BY_NAME: dict[str, Callable[[], Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": lambda: L1L2(0.01, 0.01),
}


def get(regularizer: Any) -> Regularizer | None:
    """The regularizer of this name, with factor 0.01, or the function itself; None for None.

    >>> import tinygrad_rnn as tg
    >>> tg.regularizers.get("l2").l2
    0.01
    """
    if isinstance(regularizer, str) and regularizer.lower() in _BY_NAME:
        return _BY_NAME[regularizer.lower()]()
    if regularizer is None or (callable(regularizer) and not isinstance(regularizer, type)):
        function: Regularizer | None = regularizer
        return function
    raise ValueError(
        f"regularizer is {regularizer!r}, expected one of {', '.join(_BY_NAME)}, an object such as regularizers.L2(1e-4), or "
        "a function of a tensor"
    )
