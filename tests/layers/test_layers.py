"""Conventions of the Keras layers: the notes' numbers, options, masks, states, invalid input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import initializers, interop, layers, rnn

TRAIN_X = np.array(
    [[[0.1, 4.2, 1.5, 1.1, 2.8], [1.0, 3.1, 2.5, 0.7, 1.1], [0.3, 2.1, 1.5, 2.1, 0.1], [2.2, 1.4, 0.5, 0.9, 1.1]]],
    dtype=np.float32,
)
TABLE = [  # the notes' return_sequences table: forward and backward, each three times
    [0.35906473, 0.7038734],
    [0.55111325, 0.58863586],
    [0.59115744, 0.3951699],
    [0.6303138, 0.21942244],
]
RECURRENT = [layers.SimpleRNN, layers.LSTM, layers.GRU]
X = np.random.default_rng(0).normal(size=(3, 5, 4))
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)


def close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    a, b = (t.data if isinstance(t, tg.Tensor) else t for t in (a, b))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def notes_bilstm(**options: Any) -> layers.Bidirectional:
    constant = initializers.Constant
    lstm = layers.LSTM(
        3,
        return_state=True,
        kernel_initializer=constant(value=0.1),
        bias_initializer=constant(value=0),
        recurrent_initializer=constant(value=0.1),
        **options,
    )
    return layers.Bidirectional(lstm)


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-7), ("float32", 5e-7)])
def test_the_notes_numbers(unroll: bool, dtype: str, tolerance: float) -> None:
    """To the last digit that the notes print in float64; in float32, as they were made, to its rounding."""
    hidden, forward_h, _, backward_h, _ = notes_bilstm(unroll=unroll, dtype=dtype)(TRAIN_X)
    close(hidden, [[0.6303138] * 3 + [0.7038734] * 3], tolerance)
    close(forward_h, [[0.6303138] * 3], tolerance)
    close(backward_h, [[0.7038734] * 3], tolerance)
    made = notes_bilstm(unroll=unroll, return_sequences=True, dtype=dtype)
    hidden, forward_h, forward_c, backward_h, _ = made(TRAIN_X)
    close(hidden, [np.repeat(TABLE, 3, axis=1)], tolerance)
    close(forward_h, hidden[:, -1, :3])
    close(backward_h, hidden[:, 0, 3:])
    assert forward_c.shape == (1, 3)


@pytest.mark.parametrize("make", RECURRENT)
def test_shapes_and_returns(make: Any) -> None:
    states = 2 if make is layers.LSTM else 1
    for sequences in (False, True):
        output = make(2, return_sequences=sequences)(X)
        wanted = (3, 5, 2) if sequences else (3, 2)
        assert output.shape == wanted
        layer = make(2, return_sequences=sequences, return_state=True)
        actual = layer(X)
        assert [t.shape for t in actual] == [wanted] + [(3, 2)] * states
        assert layer.compute_output_shape(X.shape) == tuple(t.shape for t in actual)
        assert all(t.dtype == np.float32 for t in actual)


@pytest.mark.parametrize("make", RECURRENT)
def test_the_whole_sequence_is_one_node_where_there_is_one(make: Any) -> None:
    layer = make(2)
    layer(X)
    assert rnn.explain(layer.cell, X.astype(np.float32)).path == "fused"
    assert tg.snapshot(layer(X)).nodes
    other = make(2, activation="sigmoid")
    other(X)
    assert rnn.explain(other.cell, X.astype(np.float32)).path == "fused"


@pytest.mark.parametrize("make", RECURRENT)
@pytest.mark.parametrize("mask", [None, MASK], ids=["full", "mask"])
@pytest.mark.parametrize("options", [{}, {"go_backwards": True}, {"return_sequences": True, "go_backwards": True}])
def test_fused_is_unrolled_and_gradients_are_right(make: Any, mask: Any, options: Any) -> None:
    fused, unrolled = (make(2, dtype="float64", unroll=u, **options) for u in (False, True))
    fused(X), unrolled(X)
    unrolled.set_weights(fused.get_weights())
    close(fused(X, mask=mask), unrolled(X, mask=mask))
    assert tg.gradcheck(lambda x, *_: fused(x, mask=mask), [X, *fused.weights])


def test_masks_repeat_the_output_or_give_zeros() -> None:
    layer = layers.RNN(layers.GRUCell(2), return_sequences=True)
    padded = np.where(MASK[:, :, None], X, np.nan)  # masked inputs have no effect
    out = layer(padded, mask=MASK).data
    np.testing.assert_array_equal(out[0, 3], out[0, 2])
    np.testing.assert_array_equal(out[1, 2], out[1, 1])
    assert not out[1, 0].any()
    assert not out[2].any()
    layer.zero_output_for_mask = True
    zero = layer(padded, mask=MASK).data
    np.testing.assert_array_equal(zero, np.where(MASK[:, :, None], out, 0))
    layer.return_sequences = False
    np.testing.assert_array_equal(layer(padded, mask=MASK).data, zero[:, -1])


@pytest.mark.parametrize("make", RECURRENT)
def test_use_bias_and_bias_initializer(make: Any) -> None:
    bare = make(2, use_bias=False)
    bare(X)
    assert [w.shape[0] for w in bare.get_weights()] == [4, 2]
    ones = make(2, bias_initializer="ones", **({"unit_forget_bias": False} if make is layers.LSTM else {}))
    ones(X)
    assert (ones.get_weights()[2] == 1).all()
    half = layers.LSTM(2, bias_initializer=initializers.Constant(0.5))
    half(X)
    assert half.get_weights()[2].tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("make", RECURRENT)
@pytest.mark.parametrize(
    "options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"dropout": 0.3, "recurrent_dropout": 0.3}]
)
def test_dropout_acts_with_training_only(make: Any, options: Any) -> None:
    layer = make(8, seed=0, **options)
    plain = layer(X).data
    np.testing.assert_array_equal(layer(X).data, plain)
    np.testing.assert_array_equal(layer(X, training=False).data, plain)
    first, second = layer(X, training=True).data, layer(X, training=True).data
    assert not np.array_equal(first, plain)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layer(X).data, plain)


def test_recurrent_dropout_keeps_the_mean() -> None:
    """h U with h dropped has the mean h U; and the state itself is not dropped."""
    layer = layers.SimpleRNN(3, activation=None, recurrent_dropout=0.4, seed=1, dtype="float64")
    plain = layer(X[:, :2])
    mean = np.mean([layer(X[:, :2], training=True).data for _ in range(4000)], axis=0)
    close(mean, plain, 0.06)


def with_ones(layer: Any, units: int) -> Any:
    """The layer with U the identity in every gate, the rest 0."""
    layer.ensure_built((1, 2, 1))
    kernel, u, *_ = layer.get_weights()
    layer.set_weights([np.zeros_like(kernel), np.tile(np.eye(units), u.shape[1] // units)])
    return layer


def test_recurrent_dropout_draws_one_mask_a_sequence_and_gate() -> None:
    """With linear functions, U = 1, W = 0 and h = 1, the outputs are the masks."""
    n, x, h = 1000, np.zeros((4, 2, 1)), np.ones((4, 1000))
    options: Any = {"use_bias": False, "recurrent_dropout": 0.5, "seed": 0, "return_sequences": True}
    plain = with_ones(layers.SimpleRNN(n, "linear", **options), n)
    first, second = np.moveaxis(plain(x, initial_state=h, training=True).data, 1, 0)
    assert set(np.unique(first)) == {0.0, 2.0}
    np.testing.assert_array_equal(second, first**2)  # the same mask at the next step
    assert abs((first > 0).mean() - 0.5) < 0.03
    assert not np.array_equal(first[0], first[1])  # rows have masks of their own
    lstm = with_ones(layers.LSTM(n, "linear", "linear", unit_forget_bias=False, **options), n)
    first = lstm(x, initial_state=[h, 0 * h], training=True).data[:, 0]  # o i g, three masks
    assert set(np.unique(first)) == {0.0, 8.0}
    assert abs((first > 0).mean() - 1 / 8) < 0.03
    for after in (False, True):  # z + (1 − z) r n; the reset before the product or after it is the same here
        gru = with_ones(layers.GRU(n, "linear", "linear", reset_after=after, **options), n)
        first = gru(x, initial_state=h, training=True).data[:, 0]
        shares = {float(value): (first == value).mean() for value in np.unique(first)}
        assert shares == pytest.approx({-2.0: 1 / 8, 0.0: 3 / 8, 2.0: 3 / 8, 4.0: 1 / 8}, abs=0.03)


def test_dropout_of_inputs_acts_in_the_drivers_of_rnn() -> None:
    x = np.ones((4, 2, 400), np.float32)
    cell = layers.SimpleRNNCell(1, "linear", dropout=0.5, seed=0, kernel_initializer="ones")
    for run in (cell, layers.StackedRNNCells([cell])):
        actual = rnn.dynamic_rnn(run, x)[0].data[:, 0, 0]
        assert (actual != 400).any()
        assert ((actual > 300) & (actual < 500)).all()
        with tg.training(False):
            assert (rnn.dynamic_rnn(run, x)[0].data[:, 0, 0] == 400).all()


def test_a_stateful_layer_continues_from_its_last_state() -> None:
    whole, parts = layers.LSTM(2, return_sequences=True), layers.LSTM(2, return_sequences=True, stateful=True)
    wanted = whole(X)
    parts(X)
    parts.set_weights(whole.get_weights())
    for _ in range(2):
        parts.reset_state()
        chunks = [parts(X[:, :2]).data, parts(X[:, 2:]).data]
        close(np.concatenate(chunks, axis=1), wanted, 1e-6)
    with pytest.raises(ValueError, match=r"^lstm: inputs hold 2 rows, but the last call's 3, .* call reset_states\(\)"):
        parts(X[:2])
    parts.reset_states()
    assert parts(X[:2]).shape == (2, 5, 2)


@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_every_way_to_merge(merge: Any, sequences: bool) -> None:
    layer = layers.Bidirectional(layers.GRU(2, return_sequences=sequences), merge_mode=merge)
    output = layer(X)
    fw, bw = layer.forward_layer(X).data, layer.backward_layer(X).data
    bw = bw[:, ::-1] if sequences else bw
    wanted = {"concat": np.concatenate([fw, bw], -1), "sum": fw + bw, "ave": (fw + bw) / 2, "mul": fw * bw}
    if merge is None:
        close(output[0], fw)
        close(output[1], bw)
        assert layer.compute_output_shape(X.shape) == tuple(t.shape for t in output)
    else:
        close(output, wanted[merge])
        assert layer.compute_output_shape(X.shape) == output.shape


def test_another_layer_for_the_way_back() -> None:
    layer = layers.Bidirectional(layers.LSTM(2), backward_layer=layers.GRU(3, go_backwards=True))
    assert layer(X).shape == layer.compute_output_shape(X.shape) == (3, 5)
    with pytest.raises(ValueError, match="go_backwards is False in both layers"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2))
    with pytest.raises(ValueError, match="return_sequences is False in layer and True in backward_layer"):
        layers.Bidirectional(layers.LSTM(2), backward_layer=layers.LSTM(2, go_backwards=True, return_sequences=True))
    with pytest.raises(ValueError, match="merge_mode is 'add'"):
        layers.Bidirectional(layers.LSTM(2), merge_mode="add")
    with pytest.raises(TypeError, match=r"RNN\(cell\) makes a layer of a cell"):
        layers.Bidirectional(rnn.LSTMCell(2))  # type: ignore[arg-type]


def test_bidirectional_does_not_change_the_layers_passed_to_it() -> None:
    lstm = layers.LSTM(2)
    before = lstm(X).data
    both = layers.Bidirectional(lstm)
    both(X)
    np.testing.assert_array_equal(lstm(X).data, before)
    assert not np.array_equal(both.forward_layer.get_weights()[0], both.backward_layer.get_weights()[0])


class Minimal(layers.Layer):
    """The cell in Keras's own documentation of RNN."""

    def __init__(self, units: int, **options: Any):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], self.units), "uniform", name="kernel")
        self.recurrent_kernel = self.add_weight((self.units, self.units), "uniform", name="recurrent_kernel")

    def call(self, inputs: Any, states: Any) -> Any:  # type: ignore[override]
        output = inputs @ self.kernel + states[0] @ self.recurrent_kernel
        return output, [output]


def test_custom_cells_and_stacks() -> None:
    layer = layers.RNN(Minimal(3), return_state=True)
    output, state = layer(X)
    close(output, state)
    plain = layers.SimpleRNN(3, activation=None, use_bias=False)
    plain(X)
    plain.set_weights(layer.get_weights())
    close(plain(X), output, 1e-6)
    stack = layers.RNN([Minimal(3), layers.LSTMCell(2), layers.GRUCell(4)], return_state=True)
    output, a, [h, c], [g] = stack(X)  # as in Keras: bare where state_size is a number, a list of Keras's own cells
    assert [t.shape for t in (output, a, h, c, g)] == [(3, 4), (3, 3), (3, 2), (3, 2), (3, 4)]
    again = stack(X, initial_state=[a, [h, c], [g]])
    close(again[0], stack(X, initial_state=[[a], [h, c], [g]])[0])
    assert not np.array_equal(again[0].data, output.data)
    assert stack.compute_output_shape(X.shape)[1:] == ((3, 3), [(3, 2), (3, 2)], [(3, 4)])
    one = layers.RNN([layers.LSTMCell(2)], return_state=True)
    output, [h, c] = one(X)
    assert one(X, initial_state=[[h, c]])[0].shape == output.shape == (3, 2)
    assert layers.RNN(rnn.LSTMCell(2))(X).shape == (3, 2)


@pytest.mark.parametrize("make", [layers.SimpleRNNCell, layers.LSTMCell, layers.GRUCell])
def test_cells_step_as_their_layers_run(make: Any) -> None:
    cell = make(2)
    x, states = X.astype(np.float32), cell.get_initial_state(3)
    for t in range(5):
        output, states = cell(x[:, t], states)
    layer = layers.RNN(cell, return_state=True)
    for a, b in zip(layer(x), [output, *states], strict=True):
        close(a, b, 1e-6)
    output, _ = rnn.dynamic_rnn(cell, x)  # it is a cell of ours as well
    close(layer(x)[0], output[:, -1], 1e-6)


def test_dense_time_distributed_masking_dropout() -> None:
    dense = layers.Dense(3, activation="softmax")
    np.testing.assert_allclose(dense(X).data.sum(-1), 1, rtol=1e-6)
    timed = layers.TimeDistributed(layers.Dense(3))
    timed(X)
    w, b = timed.get_weights()
    close(timed(X), X @ w + b, 1e-6)
    assert timed.compute_output_shape((None, 5, 4)) == (None, 5, 3)
    x = X.copy()
    x[0, 2:] = 7
    masking = layers.Masking(7)
    assert masking.compute_mask(x)[0].tolist() == [True, True, False, False, False]
    assert not masking(x).data[0, 2:].any()
    assert tg.gradcheck(lambda x, *_: layers.Masking(9, dtype="float64")(x), [X])
    half = layers.Dropout(0.5)(np.ones((50, 50)), training=True).data
    assert 0.45 < (half == 2).mean() < 0.55


AT = [-4.0, -1.5, -0.3, 0.4, 2.0, 7.0]
ACTIVATIONS = {  # of Keras 3.15, at these places
    "celu": [-0.981684, -0.77687, -0.259182, 0.4, 2.0, 7.0],
    "elu": [-0.981684, -0.77687, -0.259182, 0.4, 2.0, 7.0],
    "exponential": [0.018316, 0.22313, 0.740818, 1.491825, 7.389056, 1096.633158],
    "gelu": [-0.000127, -0.100211, -0.114627, 0.262169, 1.9545, 7.0],
    "hard_shrink": [-4.0, -1.5, 0.0, 0.0, 2.0, 7.0],
    "hard_sigmoid": [0.0, 0.25, 0.45, 0.566667, 0.833333, 1.0],
    "hard_silu": [-0.0, -0.375, -0.135, 0.226667, 1.666667, 7.0],
    "hard_tanh": [-1.0, -1.0, -0.3, 0.4, 1.0, 1.0],
    "leaky_relu": [-0.8, -0.3, -0.06, 0.4, 2.0, 7.0],
    "log_sigmoid": [-4.01815, -1.701413, -0.854355, -0.513015, -0.126928, -0.000911],
    "mish": [-0.072592, -0.2981, -0.151133, 0.289031, 1.943959, 6.999988],
    "relu6": [0.0, 0.0, 0.0, 0.4, 2.0, 6.0],
    "selu": [-1.725899, -1.365814, -0.455667, 0.42028, 2.101402, 7.354907],
    "silu": [-0.071945, -0.273638, -0.127667, 0.239475, 1.761594, 6.993623],
    "soft_shrink": [-3.5, -1.0, 0.0, 0.0, 1.5, 6.5],
    "softplus": [0.01815, 0.201413, 0.554355, 0.913015, 2.126928, 7.000911],
    "softsign": [-0.8, -0.6, -0.230769, 0.285714, 0.666667, 0.875],
    "sparse_plus": [0.0, 0.0, 0.1225, 0.49, 2.0, 7.0],
    "sparse_sigmoid": [0.0, 0.0, 0.35, 0.7, 1.0, 1.0],
    "squareplus": [0.236068, 0.5, 0.861187, 1.219804, 2.414214, 7.140055],
    "tanh_shrink": [-3.000671, -0.594852, -0.008687, 0.020051, 1.035972, 6.000002],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_keras(name: str) -> None:
    layer = layers.Dense(6, name, kernel_initializer="identity", dtype="float64")
    np.testing.assert_allclose(layer([AT]).data[0], ACTIVATIONS[name], rtol=1e-5, atol=1e-6)
    assert tg.gradcheck(lambda x: layer(x), [np.array([AT]) / 2 + 0.01])


def test_gelu_in_its_tanh_form() -> None:
    actual = layers.activations.gelu(tg.tensor(AT, np.float64), approximate=True)
    np.testing.assert_allclose(actual.data, [-7e-05, -0.100428, -0.114629, 0.262161, 1.954598, 7.0], atol=1e-6)
    cell = layers.GRU(2, activation=lambda x: layers.activations.gelu(x, approximate=True), recurrent_activation="gelu")
    assert cell(X).shape == (3, 2)


def test_options_that_only_select_an_implementation_in_keras_are_ignored() -> None:
    for make in (layers.GRU, layers.LSTM):
        layer = layers.Bidirectional(make(2, use_cudnn=True, implementation=1))
        assert layer.forward_layer.use_cudnn is layer.backward_layer.use_cudnn is True
        assert layer(X).shape == (3, 4)
    assert layers.SimpleRNN(2, implementation=1)(X).shape == (3, 2)
    with pytest.raises(TypeError, match="SimpleRNN takes no argument use_cudnn"):
        layers.SimpleRNN(2, use_cudnn=True)


def test_one_bias_of_a_gru_as_keras_counts_it() -> None:
    layer = layers.GRU(3)
    layer(X)
    assert [(w.name, w.shape) for w in layer.trainable_weights] == [
        ("kernel", (4, 9)),
        ("recurrent_kernel", (3, 9)),
        ("bias", (2, 9)),
    ]
    assert layer.cell.bias.shape == (2, 9)
    assert layer.count_params() == 4 * 9 + 3 * 9 + 18
    assert list(layer.state_dict()) == ["cell.kernel", "cell.recurrent_kernel", "cell.bias"]
    assert [w.shape for w in layers.GRUCell(3, reset_after=False).build(4).get_weights()] == [(4, 9), (3, 9), (9,)]

    class Own(layers.GRUCell):
        def project(self, x: Any) -> Any:
            return 0 * super().project(x)

    assert Own(3).redefined() == "project"


def test_gradients_of_dense_and_embedding() -> None:
    dense = layers.Dense(2, activation="elu", dtype="float64")
    dense(X)
    assert tg.gradcheck(lambda x, *_: dense(x), [X, *dense.weights])
    table = layers.Embedding(5, 3, dtype="float64")
    ids = np.array([[0, 4, 4], [1, 0, 2]])
    table(ids)
    assert tg.gradcheck(lambda *_: table(ids), table.weights)


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: layers.LSTM(0), ValueError, "LSTMCell: units is 0"),
    (lambda: layers.LSTM(2, activation="swoosh"), ValueError, "LSTMCell: activation is 'swoosh'"),
    (lambda: layers.GRU(2, recurrent_activation="x"), ValueError, "recurrent_activation is 'x'"),
    (lambda: layers.Dense(2, activation="gelU"), ValueError, "Dense: activation is 'gelU'"),
    (lambda: layers.LSTM(2, dropout=1.5), ValueError, "dropout is 1.5"),
    (
        lambda: layers.LSTM(2, kernel_constraint="l2"),
        TypeError,
        "LSTM takes no argument kernel_constraint; it takes .*kernel_regularizer",
    ),
    (lambda: layers.LSTM(2, kernel_regularizer="l3"), ValueError, "regularizer is 'l3', expected one of l1, l2, l1_l2"),
    (lambda: tg.regularizers.L1(True), ValueError, "L1: l1 is True, expected a number of at least 0"),
    (lambda: tg.regularizers.L2(-1), ValueError, "L2: l2 is -1"),
    (
        lambda: layers.Dense(2, kernel_initializer=lambda s, d: np.zeros(3))(X),
        ValueError,
        r"dense: the initializer of kernel",
    ),
    (lambda: layers.LSTM(2, dtype="int8"), TypeError, "dtype is 'int8'"),
    (lambda: layers.LSTM(2, kernel_initializer="glorot"), ValueError, "unknown name 'glorot'"),
    (lambda: layers.RNN(3), TypeError, "cell is int 3"),
    (lambda: layers.Dropout(True), ValueError, "Dropout: rate is True, expected a number"),
    (lambda: layers.Dropout(False), ValueError, "Dropout: rate is False, expected a number"),
    (lambda: layers.LSTM(2, dropout=True), ValueError, "dropout is True, expected a number"),
    (lambda: layers.GRUCell(2, recurrent_dropout=False), ValueError, "recurrent_dropout is False"),
    (lambda: layers.RNN([]), ValueError, "at least one cell"),
    (lambda: layers.LSTM(2)(X[0]), ValueError, r"lstm: inputs have shape \(5, 4\), expected \(B, T, D\)"),
    (lambda: layers.LSTM(2)(X[:, :0]), ValueError, "at least one step"),
    (lambda: layers.LSTM(2)("text"), TypeError, "lstm: inputs"),
    (lambda: layers.LSTM(2)(X, mask=MASK[:, :3]), ValueError, r"lstm: mask has shape \(3, 3\)"),
    (lambda: layers.LSTM(2)(X, initial_state=[np.zeros((3, 2))]), ValueError, r"expected \[h, c\]"),
    (lambda: layers.LSTM(2)(X, initial_state=[np.zeros((3, 5))] * 2), ValueError, r"expected \(3, 2\)"),
    (lambda: layers.Embedding(5, 2)([[7]]), IndexError, "0 <= index < 5"),
    (lambda: layers.Embedding(5, 2)([[0.5]]), TypeError, "expected integers"),
    (lambda: layers.TimeDistributed(layers.Dense(2))(X[0]), ValueError, r"expected \(B, T, ...\)"),
    (lambda: layers.LSTM(2).get_weights(), ValueError, "built at the first call"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[m for _, _, m in BAD])
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_weights_of_another_shape_leave_the_layer_as_it_was() -> None:
    layer = layers.GRU(2)
    layer(X)
    before = layer.get_weights()
    for weights in (before[:2], [before[0] + 1, before[1].T, before[2]], [before[0] + 1, before[1], before[2][0]]):
        with pytest.raises(ValueError, match=r"set_weights got 2 arrays|weights\[[12]\]"):
            layer.set_weights(weights)
    for a, b in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="the size the cell was built for"):
        layer(X[:, :, :2])


def test_state_dicts_go_into_layers_that_are_not_built() -> None:
    for make in (lambda: layers.LSTM(2), lambda: layers.Bidirectional(layers.GRU(2)), lambda: layers.Dense(3)):
        layer, other = make(), make()
        wanted = layer(X)
        other.load_state_dict(layer.state_dict())
        np.testing.assert_array_equal(other(X).data, wanted.data)


def test_interop_refuses_layers_without_counterpart() -> None:
    w = [np.ones((3, 6)), np.ones((2, 6)), np.ones(12)]
    with pytest.raises(ValueError, match="CuDNNGRU"):
        interop.keras.to_cell("gru", w)
    with pytest.raises(ValueError, match=r"bias has shape \(12,\)"):
        interop.keras.to_cell("rnn", [np.ones((3, 2)), np.ones((2, 2)), np.ones(12)])
    with pytest.raises(ValueError, match="unexpected scale"):
        interop.keras.to_cell("rnn", {"kernel": w[0], "recurrent_kernel": w[1], "scale": w[2]})
    with pytest.raises(ValueError, match="cell_type is 'conv'"):
        interop.keras.to_cell("conv", w)
    assert interop.keras.to_cell("gru", w[:2])["recurrent_bias"].tolist() == [0] * 6
    assert "recurrent_bias" not in interop.keras.to_cell("gru", w[:2], reset_after=False)
    ours = interop.keras.to_cell("gru", [*w[:2], np.ones((2, 6))])
    with pytest.raises(ValueError, match="not 0"):
        interop.keras.from_cell("gru", ours, bias=False)
