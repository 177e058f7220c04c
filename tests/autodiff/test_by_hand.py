"""Values and texts that can be written down without computing."""

from __future__ import annotations

import numpy as np

import tinygrad_rnn as tg


def test_sixty_elements_are_shown_and_of_more_the_ends() -> None:
    whole, cut = repr(tg.tensor(np.arange(60))), repr(tg.tensor(np.arange(61)))
    assert all(f"{n}" in whole for n in range(60))
    assert "shape" not in whole
    assert cut.replace("\n", "") == "tensor([ 0,  1,  2, ..., 58, 59, 60], int64, shape=(61,))"
