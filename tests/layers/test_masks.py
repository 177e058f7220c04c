"""Masks are passed from layer to layer with the outputs: a padded row gives the same as alone, truncated to its length."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models

IDS = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [5, 6, 1, 2, 3]])
LENGTHS = (3, 1, 5)

CHAINS: dict[str, Any] = {
    "one": lambda: [layers.LSTM(3)],
    "two": lambda: [layers.LSTM(3, return_sequences=True), layers.GRU(2)],
    "between": lambda: [layers.Dense(4, activation="tanh"), layers.Dropout(0.5), layers.SimpleRNN(3)],
    "both": lambda: [layers.Bidirectional(layers.LSTM(3, return_sequences=True)), layers.Bidirectional(layers.GRU(2))],
    "timed": lambda: [layers.TimeDistributed(layers.Dense(4)), layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])],
    "model": lambda: [models.Sequential([layers.GRU(3, return_sequences=True), layers.Dense(2)]), layers.GRU(2)],
}


@pytest.mark.parametrize("name", CHAINS)
def test_layers_called_one_by_one_hand_the_mask_on(name: str) -> None:
    chain = [layers.Embedding(9, 4, mask_zero=True), *CHAINS[name]()]

    def run(ids: Any) -> Any:
        y = ids
        for layer in chain:
            y = layer(y)
        return y.data

    rows = [run(row[None, :n])[0] for row, n in zip(IDS, LENGTHS, strict=True)]
    np.testing.assert_allclose(run(IDS), rows, atol=1e-6)
    np.testing.assert_array_equal(models.Sequential(chain)(IDS).data, run(IDS))


def test_both_outputs_of_a_bidirectional_layer_carry_the_mask() -> None:
    table = layers.Embedding(9, 4, mask_zero=True)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True, return_state=True), merge_mode=None)
    tops = [layers.GRU(2), layers.GRU(2)]

    def run(ids: Any) -> list[Any]:
        return [top(y).data for top, y in zip(tops, both(table(ids)), strict=False)]

    rows = [run(row[None, :n]) for row, n in zip(IDS, LENGTHS, strict=True)]
    for i, actual in enumerate(run(IDS)):
        np.testing.assert_allclose(actual, [row[i][0] for row in rows], atol=1e-6)


def test_a_mask_of_steps_within_steps_goes_through_time_distributed() -> None:
    ids = np.stack([IDS, IDS[::-1], np.zeros_like(IDS)], axis=1)  # the last sentence of every row is padding
    table, words = layers.Embedding(9, 4, mask_zero=True), layers.TimeDistributed(layers.LSTM(3))
    sentences = layers.GRU(2)
    y = words(table(ids))
    alone = [
        [words.layer(table(row[None, : max(np.count_nonzero(row), 1)])).data[0] for row in rows[:2]] for rows in ids
    ]
    np.testing.assert_allclose(y.data[:, :2], alone, atol=1e-6)
    np.testing.assert_array_equal(y.mask, [[True, True, False]] * 3)
    np.testing.assert_allclose(sentences(y).data, sentences(y.data[:, :2]).data, atol=1e-6)


def test_an_explicit_mask_replaces_the_propagated_one() -> None:
    table, layer = layers.Embedding(9, 4, mask_zero=True), layers.GRU(2)
    x = table(IDS)
    unmasked = layer(x.data).data
    assert np.abs(layer(x).data - unmasked).max() > 1e-3
    everything = np.ones(IDS.shape, bool)
    np.testing.assert_array_equal(layer(x, mask=everything).data, unmasked)
    np.testing.assert_array_equal(models.Sequential([layer])(x, mask=everything).data, unmasked)
    np.testing.assert_array_equal(layer(x * 1.0).data, unmasked)  # only layers hand masks on


def test_initial_states_of_a_decoder_do_not_change_its_mask() -> None:
    table, layer = layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3)
    h, c = np.random.default_rng(0).normal(size=(2, 3, 3))
    actual = layer(table(IDS), initial_state=[h, c]).data
    for i, n in enumerate(LENGTHS):
        alone = layer(table(IDS[i : i + 1, :n]), initial_state=[h[i : i + 1], c[i : i + 1]])
        np.testing.assert_allclose(actual[i], alone.data[0], atol=1e-6)


def test_a_custom_layer_declares_whether_it_passes_masks_on() -> None:
    class Scale(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    class Model(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.rnn = layers.Embedding(9, 4, mask_zero=True), layers.GRU(3, return_sequences=True)

        def call(self, inputs: Any) -> Any:
            return self.rnn(self.table(inputs))

    y = Model()(IDS)
    np.testing.assert_array_equal(y.mask, IDS != 0)
    with pytest.warns(UserWarning, match=r"scale: the mask of its inputs ends here; .* set supports_masking = True"):
        assert not hasattr(Scale()(y), "mask")
    passing = Scale()
    passing.supports_masking = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(passing(y).mask, IDS != 0)
        assert not hasattr(Scale()(y.data), "mask")


def test_a_masked_output_is_a_tensor_like_any_other() -> None:
    table, layer = layers.Embedding(9, 4, mask_zero=True, dtype="float64"), layers.GRU(2, dtype="float64")
    layer(table(IDS))
    assert tg.gradcheck(lambda *_: layer(table(IDS)), [*table.weights, *layer.weights])
    with tg.no_grad():
        y = table(IDS)
    for other in (copy.copy(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        np.testing.assert_array_equal(other.data, y.data)
        np.testing.assert_array_equal(layer(other).data, layer(y).data)


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (3, 4), (2, 5, 1), (2,)])
def test_time_distributed_refuses_masks_that_do_not_fit(shape: Any) -> None:
    layer = layers.TimeDistributed(layers.Dense(3))
    if shape == (2, 5, 1):
        assert layer(np.ones((2, 5, 4)), mask=np.ones(shape, bool)).shape == (2, 5, 3)
        return
    with pytest.raises(
        ValueError, match=r"has a shape \(.*\), expected \(2, 5, ...\) to follow inputs of shape \(2, 5, 4\)"
    ):
        layer(np.ones((2, 5, 4)), mask=np.ones(shape, bool))


def test_time_distributed_passes_the_mask_to_a_layer_of_vectors() -> None:
    class Only(layers.Layer):
        supports_masking = True

        def call(self, inputs: Any, mask: Any = None) -> Any:
            return inputs if mask is None else inputs * np.asarray(mask, np.float32)[:, None]

    x, mask = np.ones((2, 3, 1)), np.array([[True, False, True], [False, True, True]])
    output = layers.TimeDistributed(Only())(x, mask=mask)
    np.testing.assert_array_equal(output.data[..., 0], mask)
    np.testing.assert_array_equal(output.mask, mask)
