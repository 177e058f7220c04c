"""Nets that are not in the gallery, as users write them. Each gives what is to be drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models, nn, rnn

B, T, D, H = 2, 4, 3, 5

NETS: dict[str, Callable[[], Any]] = {}


def net(make: Callable[[], Any]) -> Callable[[], Any]:
    """Add a net under its name (decorator)."""
    NETS[make.__name__] = make
    return make


def x(steps: int = T, size: int = D, name: str | None = "x") -> Any:
    return tg.Tensor(np.ones((B, steps, size), np.float32), name=name)


def keras(*stack: Any) -> Any:
    return models.Sequential(list(stack))(np.ones((B, T, D), np.float32))


@net
def keras_last() -> Any:
    return keras(layers.LSTM(H), layers.Dense(1))


@net
def keras_sequences() -> Any:
    return keras(layers.LSTM(H, return_sequences=True), layers.Dense(2))


@net
def keras_deep() -> Any:
    return keras(layers.GRU(H), layers.Dense(4, activation="relu"), layers.Dense(1))


@net
def keras_stack() -> Any:
    return keras(layers.LSTM(H, return_sequences=True), layers.GRU(4), layers.Dense(1))


@net
def keras_bidirectional() -> Any:
    return keras(layers.Bidirectional(layers.LSTM(H)), layers.Dense(1))


@net
def keras_bidirectional_sequences() -> Any:
    return keras(layers.Bidirectional(layers.GRU(H, return_sequences=True)), layers.Dense(2))


@net
def keras_bidirectional_stack() -> Any:
    return keras(
        layers.Bidirectional(layers.LSTM(H, return_sequences=True)),
        layers.Bidirectional(layers.LSTM(4)),
        layers.Dense(1),
    )


@net
def keras_words() -> Any:
    model = models.Sequential([layers.Embedding(9, 4), layers.LSTM(H), layers.Dense(1, activation="sigmoid")])
    return model(np.ones((B, T), int))


@net
def keras_dropout() -> Any:
    return keras(layers.LSTM(H, dropout=0.2, recurrent_dropout=0.2), layers.Dropout(0.5), layers.Dense(1))


@net
def keras_backwards() -> Any:
    return keras(layers.LSTM(H, go_backwards=True), layers.Dense(1))


@net
def keras_simple() -> Any:
    return keras(layers.SimpleRNN(H, return_sequences=True), layers.SimpleRNN(4), layers.Dense(1))


@net
def keras_states() -> Any:
    return layers.LSTM(H, return_sequences=True, return_state=True)(np.ones((B, T, D), np.float32))


@net
def torch_last() -> Any:
    out, _ = nn.LSTM(D, H, batch_first=True)(x())
    return nn.Linear(H, 2)(out[:, -1])


@net
def torch_hidden() -> Any:
    _, (h, _) = nn.LSTM(D, H, batch_first=True)(x())
    return nn.Linear(H, 2)(h[-1])


@net
def torch_stack_loss() -> Any:
    out, _ = nn.GRU(D, H, num_layers=2, batch_first=True)(x())
    return nn.functional.cross_entropy(nn.Linear(H, 4)(out[:, -1]), np.zeros(B, int))


@net
def torch_bidirectional() -> Any:
    out, _ = nn.LSTM(D, H, bidirectional=True, batch_first=True)(x())
    return nn.Linear(2 * H, 2)(out)


@net
def torch_pooled() -> Any:
    out, _ = nn.GRU(D, H, batch_first=True)(x())
    return nn.Linear(H, 2)(out.mean(axis=1))


@net
def torch_cell_loop() -> Any:
    cell, inputs = nn.LSTMCell(D, H), x()
    h, c = tg.Tensor(np.zeros((B, H), np.float32)), tg.Tensor(np.zeros((B, H), np.float32))
    for _, x_t in rnn.steps(inputs):
        h, c = cell(x_t, (h, c))
    return h


@net
def wrapped() -> Any:
    cell = rnn.MultiRNNCell([rnn.DropoutWrapper(rnn.LSTMCell(D), 0.8), rnn.ResidualWrapper(rnn.LSTMCell(D))])
    return rnn.dynamic_rnn(cell, x())


@net
def lengths() -> Any:
    return rnn.dynamic_rnn(rnn.GRUCell(H), x(), sequence_length=[4, 2])


@net
def layer_norm() -> Any:
    return rnn.dynamic_rnn(rnn.LayerNormLSTMCell(H), x())[0].sum()


@net
def hand_loop() -> Any:
    w, u = (
        tg.Parameter(np.zeros((D, H), np.float32), name="Wxh"),
        tg.Parameter(np.zeros((H, H), np.float32), name="Whh"),
    )
    h, losses = tg.Tensor(np.zeros((B, H), np.float32)), []
    for _, x_t in rnn.steps(x()):
        h = tg.tanh(x_t @ w + h @ u)
        losses.append((h * h).sum())
    return tg.stack(losses).sum()


@net
def hand_readout() -> Any:
    cell, v = rnn.GRUCell(H), tg.Parameter(np.zeros((H, 2), np.float32), name="V")
    h, ys = cell.zero_state(B), []
    for _, x_t in rnn.steps(x()):
        _, h = cell(x_t, h)
        ys.append(h @ v)
    return tg.stack(ys, axis=1)


@net
def encoder_decoder() -> Any:
    _, state = rnn.dynamic_rnn(rnn.LSTMCell(H, name="encoder"), x())
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(H, name="decoder"), x(3, name="y"), initial_state=state)
    return nn.Linear(H, 4)(outputs)


@net
def attention_wrapper() -> Any:
    memory, state = rnn.dynamic_rnn(rnn.GRUCell(H, name="encoder"), x())
    cell = rnn.AttentionWrapper(rnn.GRUCell(H, name="decoder"), rnn.LuongAttention(H, memory), attention_layer_size=H)
    start = cell.zero_state(B)._replace(cell_state=state)
    return rnn.dynamic_rnn(cell, x(3, name="y"), initial_state=start)[0]


@net
def attention_over_constant() -> Any:
    memory = tg.Tensor(np.ones((B, 6, 4), np.float32), name="memory")
    cell = rnn.AttentionWrapper(rnn.LSTMCell(H), rnn.BahdanauAttention(4, memory))
    return rnn.dynamic_rnn(cell, x())[0]


@net
def attention_by_hand() -> Any:
    table = nn.Embedding(9, D)
    seen, h = rnn.dynamic_rnn(rnn.LSTMCell(H, name="encoder"), table(np.ones((B, T), int)))
    cell, state, logits = rnn.LSTMCell(H), h, []
    head = nn.Linear(2 * H, 9)
    words = np.ones((B, 3), int)
    for _, word in rnn.steps(words):
        y, state = cell(table(word), state)
        with tg.scope("attention"):
            w = tg.softmax((seen @ tg.expand_dims(y, -1))[:, :, 0], axis=-1)
            context = (seen * tg.expand_dims(w, -1)).sum(axis=1)
        logits.append(head(tg.concatenate([y, context], axis=-1)))
    return tg.stack(logits, axis=1)


@net
def two_towers() -> Any:
    cell = rnn.GRUCell(H)
    (_, a), (_, b) = rnn.dynamic_rnn(cell, x(name="p")), rnn.dynamic_rnn(cell, x(name="q"))
    return ((a - b) ** 2).sum()


@net
def image_caption() -> Any:
    image = tg.Tensor(np.ones((B, 7), np.float32), name="image")
    h0 = nn.Linear(7, H)(image)
    return rnn.dynamic_rnn(rnn.GRUCell(H), x(), initial_state=h0)[0]


@net
def scanned() -> Any:
    decay = tg.tensor(0.5, requires_grad=True, name="decay")

    def step(x_t: Any, h: Any) -> Any:
        h = decay * h + x_t
        return h, h

    return tg.scan(step, x(), tg.Tensor(np.zeros((B, D), np.float32)))[0]


@net
def truncated() -> Any:
    cell, inputs = rnn.GRUCell(H), x(6)
    _, state = rnn.dynamic_rnn(cell, inputs[:, :3])
    return rnn.dynamic_rnn(cell, inputs[:, 3:], initial_state=state)[0].sum()


@net
def regression_sum() -> Any:
    out, _ = rnn.dynamic_rnn(rnn.LSTMCell(H), x())
    loss = (nn.Linear(H, 1)(out) ** 2).mean()
    return loss + 0.01 * (out**2).mean()
