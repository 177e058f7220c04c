"""Layers without weights: shapes, values by NumPy, masks, gradients, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models

X = np.random.default_rng(0).normal(size=(2, 3, 4))

CASES: dict[str, tuple[Any, Any]] = {
    "flatten": (lambda: layers.Flatten(dtype="float64"), X.reshape(2, 12)),
    "activation": (lambda: layers.Activation("tanh", dtype="float64"), np.tanh(X)),
    "softmax": (lambda: layers.Activation("softmax", dtype="float64"), np.exp(X) / np.exp(X).sum(-1, keepdims=True)),
    "max": (lambda: layers.GlobalMaxPooling1D(dtype="float64"), X.max(1)),
    "max kept": (lambda: layers.GlobalMaxPooling1D(keepdims=True, dtype="float64"), X.max(1, keepdims=True)),
    "mean": (lambda: layers.GlobalAveragePooling1D(dtype="float64"), X.mean(1)),
    "mean kept": (lambda: layers.GlobalAveragePooling1D(keepdims=True, dtype="float64"), X.mean(1, keepdims=True)),
}


@pytest.mark.parametrize("name", CASES)
def test_values_shapes_gradients(name: str) -> None:
    make, wanted = CASES[name]
    layer = make()
    np.testing.assert_allclose(layer(X).data, wanted, rtol=1e-12)
    assert layer.compute_output_shape((None, 3, 4)) == (None, *wanted.shape[1:])
    assert layer.count_params() == 0
    assert tg.gradcheck(lambda x: layer(x), [X])
    again = type(layer).from_config(layer.get_config())
    np.testing.assert_array_equal(again(X).data, layer(X).data)


def test_repeat_vector() -> None:
    layer = layers.RepeatVector(5, dtype="float64")
    np.testing.assert_array_equal(layer(X[:, 0]).data, np.repeat(X[:, :1], 5, axis=1))
    assert layer.compute_output_shape((None, 4)) == (None, 5, 4)
    assert tg.gradcheck(lambda x: layer(x), [X[:, 0]])
    assert layers.Flatten().compute_output_shape((None, None, 4)) == (None, None)


@pytest.mark.parametrize("keepdims", [False, True])
def test_the_mean_leaves_masked_steps_out(keepdims: bool) -> None:
    mask = np.array([[True, True, False], [False, False, False]])
    layer = layers.GlobalAveragePooling1D(keepdims=keepdims, dtype="float64")
    x = np.where(mask[..., None], X, np.nan)
    output = layer(x, mask=mask).data.reshape(2, 4)
    np.testing.assert_allclose(output, [X[0, :2].mean(0), np.zeros(4)])
    model = models.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.GlobalAveragePooling1D(keepdims)])
    np.testing.assert_allclose(model([[1, 2, 0, 0]]).data, model([[1, 2]]).data, rtol=1e-6)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\), expected \(2, 3\)"):
        layer(X, mask=mask[:, :2])


def test_masks_pass_or_end() -> None:
    ids = np.array([[1, 2, 0]])
    embedded = layers.Embedding(5, 4, mask_zero=True)(ids)
    assert layers.Activation("relu")(embedded).mask.tolist() == [[True, True, False]]
    for layer in (layers.GlobalMaxPooling1D(), layers.Flatten()):
        with pytest.warns(UserWarning, match="the mask of its inputs ends here"):
            layer(embedded)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: layers.RepeatVector(0), ValueError, "RepeatVector: n is 0, expected a positive integer"),
        (lambda: layers.RepeatVector(2)(X), ValueError, r"inputs have shape \(2, 3, 4\), expected \(B, D\)"),
        (lambda: layers.GlobalMaxPooling1D()(X[0]), ValueError, r"inputs have shape \(3, 4\), expected \(B, T, D\)"),
        (lambda: layers.Activation("swoosh"), ValueError, "Activation: activation is 'swoosh'"),
        (lambda: layers.Wrapper(3), TypeError, "Wrapper: layer is int 3"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_an_encoder_and_a_decoder_are_trained() -> None:
    model = models.Sequential(
        [layers.GRU(8, input_shape=(3, 4)), layers.RepeatVector(2), layers.LSTM(8, return_sequences=True)]
    )
    model.add(layers.TimeDistributed(layers.Dense(1)))
    model.add(layers.Flatten())
    model.compile("adam", "mse")
    assert model.output_shape == (None, 2)
    losses = model.fit(X, X[:, 0, :2], epochs=30).history["loss"]
    assert losses[-1] < losses[0]
