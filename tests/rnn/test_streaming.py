"""Streaming of any cell and of whole models: one step at a time gives the driver's outputs for the whole sequence."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, layers, models, nn, optim, rnn

BACKEND = "NumPy" if kernels.choice.active == "reference" else "native"
X = np.random.default_rng(0).normal(size=(3, 6, 4))


class Decay(rnn.RNNCell):
    """Its output depends on the old state, and its two states are exchanged."""

    state_size: Any = (4, 4)
    output_size = 4

    def call(self, x: Any, state: Any) -> Any:
        a, b = state
        return a - tg.maximum(b, 0.1), (b, 0.5 * a + x)


class Reads(Decay):
    """Its step reads the value of a tensor, so it cannot be traced."""

    def call(self, x: Any, state: Any) -> Any:
        return super().call(x if float(np.sum(x.data)) > 0 else 2 * x, state)


class Sums(rnn.RNNCell):
    """An op that the native interpreter lacks."""

    state_size = output_size = 4

    def call(self, x: Any, state: Any) -> Any:
        h = tg.cumsum(x, axis=-1) + state
        return h, h


CELLS: dict[str, Any] = {
    "plain linear": lambda: rnn.BasicRNNCell(4, activation="linear"),
    "own activation": lambda: rnn.BasicRNNCell(4, activation=lambda z: z / (1 + tg.abs(z))),
    "layer norm": lambda: rnn.LayerNormLSTMCell(4, dropout_keep_prob=0.5),
    "dropout": lambda: rnn.DropoutWrapper(rnn.LSTMCell(4), 0.5, 0.5, 0.5),
    "variational": lambda: rnn.DropoutWrapper(rnn.GRUCell(4), 0.5, variational_recurrent=True),
    "residual": lambda: rnn.ResidualWrapper(rnn.GRUCell(4)),
    "zoneout": lambda: rnn.ZoneoutWrapper(rnn.LSTMCell(4), (0.5, 0.1)),
    "stack": lambda: rnn.MultiRNNCell([rnn.LSTMCell(5), rnn.ZoneoutWrapper(rnn.GRUCell(3))]),
    "own": Decay,
    "reads": Reads,
    "cumsum": Sums,
    "keras": lambda: layers.LSTMCell(3, activation="relu", dropout=0.5, recurrent_dropout=0.5),
    "keras stack": lambda: layers.StackedRNNCells([layers.GRUCell(3), layers.SimpleRNNCell(2)]),
}


def stepped(stepper: Any, x: Any) -> Any:
    return np.stack([stepper.step(x[:, t]).copy() for t in range(x.shape[1])], axis=1)


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=1e-4 if got.dtype == np.float32 else 1e-11, atol=1e-6)


@pytest.mark.parametrize("isa", ["reference", kernels.choice.active])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CELLS)
def test_any_cell_steps_as_the_driver_runs_it(name: str, dtype: Any, isa: str) -> None:
    tg.seed(1)
    cell, x = CELLS[name](), X.astype(dtype)
    if name in ("own", "reads", "cumsum"):
        cell.input_size, cell.dtype = 4, np.dtype(dtype)
    else:
        cell.build(4, dtype)
    with tg.training(False):
        outputs = rnn.dynamic_rnn(cell, x)[0].data
    with kernels.using(isa):
        stepper = rnn.stepper(cell, batch=3, dtype=dtype)
        assert stepper.runs.startswith(
            "op by op: the step reads a tensor's value"
            if name == "reads"
            else "NumPy"
            if isa == "reference" or name == "cumsum"
            else "native"
        )
        for _ in range(2):
            close(stepped(stepper, x), outputs)
            stepper.reset()


def test_layers_after_a_cell_are_stepped_with_it() -> None:
    cell, head, x = rnn.LSTMCell(5).build(4), nn.Linear(5, 2), X.astype(np.float32)
    after = [nn.LayerNorm(5), nn.Dropout(0.5), head, tg.softmax]
    stepper = rnn.stepper(cell, *after, batch=3)
    assert stepper.runs == BACKEND

    def whole() -> Any:
        y = rnn.dynamic_rnn(cell, x)[0]
        with tg.training(False):
            for f in after:
                y = f(y)
        return y

    close(stepped(stepper, x), whole().data)
    parameters = [*cell.parameters(), *head.parameters()]
    optimizer = optim.SGD(parameters, 0.5)
    (whole() ** 2).sum().backward()
    optimizer.step()
    stepper.reset()
    assert np.abs(stepped(stepper, x) - whole().data).max() > 1e-3
    stepper.reset(), stepper.reload()
    close(stepped(stepper, x), whole().data)


def test_the_state_may_be_read_and_overwritten_by_the_user() -> None:
    cell = rnn.ZoneoutWrapper(rnn.LSTMCell(4)).build(4)
    x = X.astype(np.float32)
    stepper = cell.stepper(batch=3)
    with tg.training(False):
        outputs, final = rnn.dynamic_rnn(cell, x)
    stepped(stepper, x[:, :3])
    then = [part.copy() for part in stepper.state]
    stepped(stepper, x[:, 3:])
    close(stepper.state.h, final.h.data)
    stepper.state.c[...], stepper.state.h[...] = then
    close(stepped(stepper, x[:, 3:]), outputs.data[:, 3:])


def test_models_are_streamed() -> None:
    x = X.astype(np.float32)
    nets: list[tuple[Any, Any]] = []
    for first in (True, False):
        net = nn.Sequential(nn.LSTM(4, 5, 2, batch_first=first), lambda pair: pair[0], nn.Linear(5, 2), tg.tanh)
        nets.append((net, net(x).data if first else net(x.swapaxes(0, 1)).data.swapaxes(0, 1)))
    model = models.Sequential(
        [
            layers.GRU(5, return_sequences=True, dropout=0.5),
            layers.Dropout(0.5),
            layers.TimeDistributed(layers.Dense(3, activation="relu")),
            layers.LSTM(4, return_sequences=True),
            layers.Dense(2, activation="softmax"),
        ]
    )
    nets.append((model, model(x).data))
    for net, outputs in nets:
        stepper = net.stepper(batch=3)
        assert stepper.runs == BACKEND
        close(stepped(stepper, x), outputs)
    last = nn.Sequential(nn.GRU(4, 5, batch_first=True), lambda pair: pair[0][:, -1], nn.Linear(5, 2))
    close(stepped(last.stepper(batch=3), x)[:, -1], last(x).data)


def test_indices_are_looked_up() -> None:
    words = np.random.default_rng(0).integers(1, 7, (3, 5))
    model = models.Sequential([layers.Embedding(7, 4, mask_zero=True), layers.LSTM(5), layers.Dense(1)])
    stepper = model.stepper(batch=3)
    close(stepped(stepper, words)[:, -1], model(words).data)
    with pytest.raises(IndexError, match=r"step: x is \[1 0 2\], expected 1 <= index < 7"):
        stepper.step(np.array([1, 0, 2]))
    with pytest.raises(TypeError, match=r"step: x is float64 \(3,\), expected an array of 3 integers"):
        stepper.step(np.zeros(3))
    net = nn.Sequential(nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True), lambda pair: pair[0])
    close(stepped(net.stepper(batch=3), words), net(words).data)


def test_layers_that_need_the_whole_sequence_are_refused() -> None:
    with pytest.raises(ValueError, match="residual_wrapper has no weights yet"):
        rnn.stepper(rnn.ResidualWrapper(rnn.LSTMCell(4)))
    with pytest.raises(ValueError, match="LSTM is bidirectional, so it needs the whole sequence"):
        nn.LSTM(4, 5, bidirectional=True).stepper()
    pooled = nn.Sequential(nn.LSTM(4, 5, batch_first=True), lambda pair: pair[0].mean(axis=1))
    with pytest.raises(ValueError, match="results for a sequence differ from those step by step"):
        pooled.stepper()
    for layer in (layers.Flatten(), layers.GlobalMaxPooling1D(), layers.Bidirectional(layers.LSTM(2))):
        model = models.Sequential([layers.LSTM(3, return_sequences=True), layer])
        model(X.astype(np.float32))
        with pytest.raises(ValueError, match=r"sequence|shape"):
            model.stepper()
    with pytest.raises(ValueError, match="Masking leaves steps out"):
        rnn.stepper(layers.Masking(), rnn.GRUCell(3).build(4))
    with pytest.raises(ValueError, match="goes backwards"):
        rnn.stepper(layers.GRU(3, go_backwards=True))
    with pytest.raises(TypeError, match="there are no parts"):
        rnn.stepper()
    with pytest.raises(TypeError, match="a part is int 3, expected a cell"):
        rnn.stepper(rnn.GRUCell(3).build(4), 3)
    with pytest.raises(ValueError, match="pass input_size="):
        rnn.stepper(tg.tanh)
    with pytest.raises(TypeError, match="step: x has dtype float64, expected float32"):
        rnn.stepper(rnn.GRUCell(3).build(4)).step(X[:1, 0])


@pytest.mark.parametrize("name", ["zoneout", "stack", "cumsum", "reads"])
def test_steps_do_not_add_up_memory(name: str) -> None:
    cell = CELLS[name]()
    stepper = rnn.stepper(cell if name in ("cumsum", "reads") else cell.build(4), input_size=4)
    x = X[:1, 0].astype(np.float32)

    def run(n: int) -> int:
        for _ in range(n):
            stepper.step(x)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = run(3000)  # until Python's and NumPy's lists of free objects are filled
        assert run(3000) - first < 3000 * 4  # less than the smallest object a step
    finally:
        tracemalloc.stop()


def test_streaming_a_model_in_training_mode_applies_no_dropout() -> None:
    model = models.Sequential([layers.LSTM(4, return_sequences=True), layers.Dropout(0.5), layers.Dense(2)])
    x = np.ones((1, 3, 3), np.float32)
    expected = model(x).data
    with tg.training(True):
        stream = rnn.stepper(model)
        outputs = [np.array(stream.step(x[:, t])) for t in range(3)]
    np.testing.assert_allclose(np.stack(outputs, axis=1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_layers_in_float64_stream_in_float64(kind):
    layer, x = getattr(tg.nn, kind)(3, 4, dtype=np.float64), np.random.default_rng(0).normal(size=(5, 2, 3))
    stepper = tg.rnn.stepper(layer, batch=2)
    outputs = np.stack([stepper.step(x_t).copy() for x_t in x])
    np.testing.assert_allclose(outputs, layer(x)[0].data, rtol=1e-12)
