"""Keras's conventions on numbers that can be written down."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_rnn import layers, models


@pytest.mark.parametrize("share", [1e-17, 0.001, 0.999])
def test_both_sides_of_a_split_have_examples(share: float) -> None:
    model = models.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1), np.float32)
    if share == 0.001:  # one example at least is held out
        history = model.fit(x, x, epochs=1, validation_split=share, verbose=0)
        assert "val_loss" in history.history
        return
    with pytest.raises(ValueError, match=r"fit: validation_split is .* of 4 examples, expected some on both sides"):
        model.fit(x, x, epochs=1, validation_split=share, verbose=0)
