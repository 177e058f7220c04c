"""Functions and losses whose targets are class indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int32])
def test_one_hot(dtype: Any) -> None:
    classes = np.array([[0, 2], [1, 0]], dtype)
    np.testing.assert_array_equal(functional.one_hot(classes).data, np.eye(3, dtype=int)[classes])
    np.testing.assert_array_equal(functional.one_hot(classes, -1).data, np.eye(3, dtype=int)[classes])
    np.testing.assert_array_equal(functional.one_hot(tg.tensor(classes), 5).data, np.eye(5, dtype=int)[classes])
    assert functional.one_hot(np.zeros((0, 2), dtype), 3).shape == (0, 2, 3)
    assert functional.one_hot(np.zeros((0, 2), dtype)).shape == (0, 2, 0)


@pytest.mark.parametrize("bad", [([0, 3], 3), ([-1, 0], 3), ([0.0, 1.0], 3), ([True], 3), ([-1], -1)])
def test_what_is_no_class(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"one_hot: classes of dtype .*, expected integers from 0 to"):
        functional.one_hot(np.array(bad[0]), bad[1])


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, nn.NLLLoss])
@pytest.mark.parametrize("ignored", [-100, 0])
def test_of_one_class_the_ignored_have_no_loss(loss: Any, ignored: int) -> None:
    logits = tg.tensor([[3.0], [5.0]], requires_grad=True)
    y = loss(ignore_index=ignored, reduction="none")(tg.log_softmax(logits), np.array([0, -100]) if ignored else [0, 0])
    assert y.tolist() == [0.0, 0.0]
    y.sum().backward()
    assert logits.grad is not None
    assert not logits.grad.any()


def test_dropout_as_a_function() -> None:
    x = np.ones(2000, np.float32)
    tg.seed(0)
    for output, keep in ((functional.dropout(x), 0.5), (functional.dropout(x, 0.2), 0.8)):
        assert set(np.unique(output.data).round(4)) == {0.0, np.float32(1 / keep).round(4)}
        assert (output.data > 0).mean() == pytest.approx(keep, abs=0.05)
    assert functional.dropout(x, training=False).tolist() == x.tolist()


@pytest.mark.parametrize(
    "name", ["RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Linear", "BCELoss", "MSELoss", "NLLLoss"]
)
def test_a_mistyped_argument_names_the_class(name: str) -> None:
    arguments = () if name.endswith("Loss") else (3, 4)
    with pytest.raises(TypeError, match=rf"{name}.*unexpected keyword argument 'batchfirst'"):
        getattr(nn, name)(*arguments, batchfirst=True)
