"""Keras's conventions on simple numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.drawn import Drawn

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models
from tinygrad_rnn.layers import losses


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


def test_a_wrapper_is_built_when_both_directions_are() -> None:
    x = np.ones((2, 3, 4), np.float32)
    backward = layers.LSTM(2, go_backwards=True)
    alone = backward(x).data
    both = layers.Bidirectional(layers.LSTM(2), backward_layer=backward)
    assert not both.built
    np.testing.assert_array_equal(both(x).data[:, 2:], alone)
    assert both.built


def test_a_stack_begins_with_zeros_of_its_cells_dtype() -> None:
    cells = [layers.LSTMCell(2), layers.GRUCell(3)]
    stack = layers.StackedRNNCells(cells)
    cells[1].build(2)
    for dtype in (np.float32, np.float64):
        (c, h), (g,) = ([np.asarray(a.data) for a in np_states(s)] for s in stack.get_initial_state(batch_size=4))
        assert ([a.shape for a in (c, h, g)], {a.dtype for a in (c, h, g)}) == (
            [(4, 2), (4, 2), (4, 3)],
            {np.dtype(dtype)},
        )
        assert not any(a.any() for a in (c, h, g))
        for cell in cells:
            if not cell.built:
                cell.build(2)
            cell.astype(np.float64)


def np_states(state: Any) -> list[Any]:
    return list(state) if isinstance(state, (list, tuple)) else [state]


def test_dropout_of_inputs_is_one_mask_a_sequence() -> None:
    """With h' = x (no recurrence, an identity kernel) the outputs show the mask: the same at every step, 0 or 1 / keep."""
    layer = layers.SimpleRNN(6, activation="linear", use_bias=False, dropout=0.5, return_sequences=True, seed=3)
    x = np.ones((4, 5, 6), np.float32)
    layer(x)
    layer.set_weights([np.eye(6, dtype=np.float32), np.zeros((6, 6), np.float32)])
    out = layer(x, training=True).data
    assert set(np.unique(out)) == {0.0, 2.0}
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], out.shape))
    np.testing.assert_array_equal(layer(x).data, x)


def test_hard_shrink_at_zero() -> None:
    output = layers.Activation("hard_shrink")(np.array([[0.0, 0.5, -0.5, 0.6]], np.float32))
    np.testing.assert_array_equal(output.data, np.array([[0.0, 0.0, 0.0, 0.6]], np.float32))


def test_a_mean_over_one_example_is_its_loss() -> None:
    model = models.Sequential([layers.Dense(1, kernel_initializer="ones", use_bias=False)])
    model.compile("sgd", "mse", metrics=["mae"])
    x = np.array([[2.0, 3.0]], np.float32)
    assert model.evaluate(x, np.array([[1.0]])) == [16.0, 4.0]


def test_rates_of_dropout_at_their_bounds() -> None:
    x = np.ones((3, 4), np.float32)
    assert layers.Dropout(0)(x, training=True).tolist() == x.tolist()
    assert not layers.Dropout(1)(x, training=True).data.any()
    for rate in (-0.01, 1.01, True, "0.5", None):
        with pytest.raises(ValueError, match=rf"Dropout: rate is {rate!r}, expected a number in \[0, 1\]"):
            layers.Dropout(rate)  # type: ignore[arg-type]
    for argument in ("dropout", "recurrent_dropout"):
        assert layers.GRUCell(2, **{argument: 0}).dropout == 0
        for rate in (-0.01, 1.0, True, "0.5", None):
            with pytest.raises(ValueError, match=rf"GRUCell: {argument} is {rate!r}, expected a number in \[0, 1\)"):
                layers.GRUCell(2, **{argument: rate})


def test_masks_with_an_axis_of_one_feature() -> None:
    """(B, T, 1), as a comparison of one feature with keepdims gives it, is (B, T); of more features it is refused."""
    layer, x = layers.GRU(2), np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    mask = np.array([[True, True, False], [True, False, False]])
    np.testing.assert_array_equal(layer(x, mask=mask[..., None]).data, layer(x, mask=mask).data)
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3, 4\)"):
        layer(x, mask=np.ones((2, 3, 4), bool))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 3\) and dtype <U1"):
        layer(x, mask=np.full((2, 3), "1"))


def test_input_dim_and_input_length_are_a_shape() -> None:
    """Keras 1 and 2 wrote them so."""
    for layer, wanted in (
        (layers.Dense(3, input_dim=4), (None, 3)),
        (layers.GRU(3, input_dim=4), (None, 3)),
        (layers.GRU(3, input_dim=4, input_length=5, return_sequences=True), (None, 5, 3)),
        (layers.Embedding(7, 3, input_length=5), (None, 5, 3)),
    ):
        assert models.Sequential([layer]).output_shape == wanted


def test_a_layer_that_is_unbuilt_is_built_anew() -> None:
    layer = layers.Dense(2, kernel_regularizer="l2")
    layer(np.ones((1, 3)))
    assert (layer.built, len(layer.losses), layer.count_params()) == (True, 1, 8)
    layer.unbuild()
    assert (layer.built, layer.losses) == (False, [])
    layer(np.ones((1, 5)))
    assert (layer.built, len(layer.losses), layer.count_params()) == (True, 1, 12)


def test_slopes_at_zero() -> None:
    """Where Keras's back ends differ, those of JAX and PyTorch."""
    for name, wanted in (
        ("selu", 1.0507009873554805 * 1.6732632423543772),
        ("elu", 1.0),
        ("celu", 1.0),
        ("leaky_relu", 0.2),
        ("relu", 0.0),
        ("relu6", 0.0),
    ):
        x = tg.tensor([-2.0, 0.0, 2.0], requires_grad=True)
        y = layers.Activation(name)(x)
        y.sum().backward()
        assert y.data[1] == 0
        assert x.grad is not None
        assert x.grad[1] == pytest.approx(wanted), name


@pytest.mark.parametrize(
    "mask",
    [[[False, True]], [[False, True], [False, True]], [[True, False]], [[False, True, False]], [[True, False, True]]],
)
def test_masked_steps_might_as_well_not_be_there(mask: Any) -> None:
    layer, x = layers.GRU(2), np.random.default_rng(0).normal(size=(len(mask), len(mask[0]), 3)).astype(np.float32)
    kept = x[np.array(mask)].reshape(len(mask), -1, 3)
    np.testing.assert_allclose(layer(x, mask=np.array(mask)).data, layer(kept).data, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
def test_initial_states_are_cast_to_the_layers_dtype(dtype: Any) -> None:
    """Float inputs get gradients in their own dtype."""
    layer, x = layers.GRU(2), np.ones((1, 3, 4), np.float32)
    layer(x)
    h = tg.tensor(np.ones((1, 2), dtype), requires_grad=np.dtype(dtype).kind == "f")
    y = layer(x, initial_state=[h])
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.data, layer(x, initial_state=[np.ones((1, 2), np.float32)]).data)
    if h.requires_grad:
        y.sum().backward()
        assert h.grad is not None
        assert (h.grad.dtype, h.grad.all()) == (dtype, True)


@pytest.mark.parametrize("merge", ["concat", "sum", None])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_shapes_of_two_directions_are_foretold(merge: Any, sequences: bool, states: bool) -> None:
    forward = layers.LSTM(3, return_sequences=sequences, return_state=states)
    backward = layers.LSTM(3, return_sequences=sequences, return_state=states, go_backwards=True)
    layer = layers.Bidirectional(forward, merge_mode=merge, backward_layer=backward)
    output = layer(np.ones((2, 5, 4), np.float32))
    shape = layer.compute_output_shape((2, 5, 4))
    assert ([y.shape for y in output] if isinstance(output, tuple) else output.shape) == (
        list(shape) if isinstance(output, tuple) else shape
    )


def test_a_stack_returns_each_state_in_the_form_it_was_given() -> None:
    """In a list as get_initial_state gives it, or as the tensor alone, as Keras does."""
    stack, x = layers.StackedRNNCells([layers.GRUCell(2), layers.SimpleRNNCell(3)]), np.ones((1, 4), np.float32)
    output, listed = stack(x, stack.get_initial_state(1))
    assert [(type(one), len(one)) for one in listed] == [(list, 1), (list, 1)]
    for first, second in ((True, True), (True, False), (False, False)):
        zeros = [np.zeros((1, n), np.float32) for n in (2, 3)]
        initial = [[z] if wrapped else z for z, wrapped in zip(zeros, (first, second), strict=True)]
        again, states = stack(x, initial)
        np.testing.assert_array_equal(again.data, output.data)
        for one, wrapped, wanted in zip(states, (first, second), listed, strict=True):
            assert isinstance(one, list) == wrapped
            np.testing.assert_array_equal((one[0] if wrapped else one).data, wanted[0].data)


class Marked(layers.Layer):
    """Multiplies by 10 what its mask leaves; without one it adds 1."""

    supports_masking = True

    def call(self, inputs: Any, mask: Any = None) -> Any:
        return inputs + 1.0 if mask is None else inputs * np.where(np.asarray(mask), 10.0, 1.0)[:, None]


def test_a_layer_at_every_step_gets_the_mask_of_its_vectors() -> None:
    x = np.arange(12.0, dtype=np.float32).reshape(2, 3, 2)
    layer = layers.TimeDistributed(Marked())
    np.testing.assert_array_equal(layer(x).data, x + 1)
    mask = np.array([[True, False, True], [False, False, True]])
    np.testing.assert_array_equal(layer(x, mask=mask).data, x * np.where(mask, 10, 1)[..., None])
    dense = layers.TimeDistributed(layers.Dense(2, use_bias=False, kernel_initializer="ones"))
    np.testing.assert_array_equal(dense(x, mask=mask).data, dense(x).data)


@pytest.mark.parametrize("name", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_one_class_at_every_step_is_refused_too(name: str) -> None:
    loss, several = layers.losses.get(name), tg.tensor(np.full((2, 1, 2), 0.5))
    targets = np.zeros((2, 1), int) if name.startswith("sparse") else np.eye(2)[:, None]
    assert loss(targets, several).item() == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match=rf"{name}: predictions have shape \(2, 3, 1\), one class"):
        loss(np.zeros((2, 3, 1)), tg.tensor(np.full((2, 3, 1), 0.5)))


@pytest.mark.parametrize("cls", [layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell])
@pytest.mark.parametrize(("number", "kept"), [(0.0, True), (0.7, True), (0.75, False), (0.9, False)])
def test_masks_of_recurrent_dropout_are_those_of_numbers_below_the_chance_to_stay(
    cls: Any, number: float, kept: bool
) -> None:
    cell = cls(2, recurrent_dropout=0.25, seed=Drawn(number))
    with tg.training(True):
        masks = cell.draw((3, 5, 4), np.dtype(np.float32))
    assert len(masks) == {layers.SimpleRNNCell: 1, layers.LSTMCell: 4, layers.GRUCell: 3}[cls]
    for mask in masks:
        assert (mask.shape, mask.dtype) == ((3, 2), np.float32)
        np.testing.assert_allclose(mask, 4 / 3 if kept else 0)
    with tg.training(False):
        assert cell.draw((3, 5, 4), np.dtype(np.float32)) == ()


@pytest.mark.parametrize("cls", [layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell])
def test_initial_states_have_the_dtype_of_a_built_cell(cls: Any) -> None:
    cell = cls(2)
    assert {state.dtype for state in cell.get_initial_state(3)} == {np.dtype(np.float32)}
    for dtype in (np.float32, np.float64):
        built = cls(2).build(4, dtype)
        assert {(state.dtype, state.shape) for state in built.get_initial_state(3)} == {(np.dtype(dtype), (3, 2))}


def test_a_probability_of_one_half_is_no_yes() -> None:
    right = losses.accuracy(losses.binary_crossentropy, np.array([[1.0], [0.0]]), np.array([[0.5], [0.5]]))
    assert right == 0.5  # of the two only the no, as Keras counts


def test_a_cell_that_builds_nothing_is_built() -> None:
    class Sum:
        state_size = output_size = 3

        def call(self, x: Any, states: Any) -> Any:
            h = states[0] + x
            return h, [h]

    layer = layers.RNN(Sum())
    assert layer.cell.built
    assert layer(np.ones((2, 4, 3), np.float32)).tolist() == [[4.0] * 3] * 2
