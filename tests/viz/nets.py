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


@net
def caption() -> Any:
    image, table = tg.Tensor(np.ones((B, 7), np.float32), name="image"), nn.Embedding(9, D)
    start = rnn.LSTMState(*(tg.tanh(nn.Linear(7, H)(image)) for _ in range(2)))
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(H), table(np.ones((B, T), int)), initial_state=start)
    return nn.functional.cross_entropy(nn.Linear(H, 9)(outputs).reshape(-1, 9), np.zeros(B * T, int))


@net
def torch_dropout() -> Any:
    out, _ = nn.LSTM(D, H, num_layers=3, dropout=0.2, batch_first=True)(x())
    return nn.Linear(H, 2)(nn.Dropout(0.5)(out))


@net
def keras_two_inputs() -> Any:
    meta = tg.Tensor(np.ones((B, 6), np.float32), name="meta")
    both = tg.concatenate([layers.LSTM(H)(x(name="text")), layers.Dense(H, activation="relu")(meta)], axis=-1)
    return layers.Dense(1, activation="sigmoid")(both)


@net
def stream() -> Any:
    cell, outputs = rnn.LSTMCell(H), []
    state = cell.zero_state(B)
    for k in range(3):
        out, state = rnn.dynamic_rnn(cell, x(2, name=f"chunk{k}"), initial_state=state)
        outputs.append(out)
    return tg.concatenate(outputs, axis=1)


@net
def teacher_forcing() -> Any:
    table, cell, head, words = nn.Embedding(9, D), rnn.LSTMCell(H), nn.Linear(H, 9), np.ones((B, T), int)
    state, loss = cell.zero_state(B), tg.tensor(0.0)
    for t, word in rnn.steps(words):
        y, state = cell(table(word), state)
        loss = loss + nn.functional.cross_entropy(head(y), words[:, t])
    return loss / T


@net
def feedback() -> Any:
    cell, head, y, ys = rnn.GRUCell(H), nn.Linear(H, D), tg.Tensor(np.zeros((B, D), np.float32), name="start"), []
    h = cell.zero_state(B)
    for t in range(T):
        with tg.step(t):
            o, h = cell(y, h)
            y = head(o)
            ys.append(y)
    return tg.stack(ys, axis=1)


@net
def two_losses() -> Any:
    out, state = rnn.dynamic_rnn(rnn.LSTMCell(H), x())
    return (nn.Linear(H, 3)(out) ** 2).mean() + (nn.Linear(H, 1)(state.h) ** 2).mean()


@net
def wide_names() -> Any:
    cell = rnn.LSTMCell(H, name="sentence_level_context_encoder")
    return nn.Linear(H, 2)(rnn.dynamic_rnn(cell, x(name="pretrained_word_vectors"))[0])


@net
def deep_bidirectional_residual() -> Any:
    h = x(size=4)
    for _ in range(2):
        both, _ = rnn.bidirectional_dynamic_rnn(rnn.GRUCell(2), rnn.GRUCell(2), h)
        h = h + tg.concatenate(both, axis=-1)
    return h


@net
def repeat_vector() -> Any:
    code = layers.LSTM(H)(x())
    return layers.TimeDistributed(layers.Dense(D))(layers.LSTM(H, return_sequences=True)(tg.stack([code] * 3, axis=1)))


@net
def attention_pool() -> Any:
    out, _ = rnn.dynamic_rnn(rnn.GRUCell(H), x())
    return nn.Linear(H, 2)((tg.softmax(nn.Linear(H, 1)(out), axis=1) * out).sum(axis=1))


@net
def siamese() -> Any:
    lstm = nn.LSTM(D, H, batch_first=True)
    (_, (a, _)), (_, (b, _)) = lstm(x(name="left")), lstm(x(name="right"))
    return tg.exp(-tg.abs(a[-1] - b[-1]).sum(axis=-1))


@net
def skip_connections() -> Any:
    inputs = x(size=H)
    a, _ = rnn.dynamic_rnn(rnn.LSTMCell(H, name="one"), inputs)
    b, _ = rnn.dynamic_rnn(rnn.LSTMCell(H, name="two"), a)
    return nn.Linear(2 * H, 2)(tg.concatenate([a + b, inputs], axis=-1))


@net
def zoneout_stack() -> Any:
    cells = [rnn.ZoneoutWrapper(rnn.LSTMCell(H), 0.1), rnn.ZoneoutWrapper(rnn.GRUCell(H), 0.1)]
    return rnn.dynamic_rnn(rnn.MultiRNNCell(cells), x())


@net
def masked_loss() -> Any:
    out, _ = rnn.dynamic_rnn(rnn.GRUCell(H), x(), sequence_length=[4, 2])
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32)
    return ((nn.Linear(H, 3)(out) ** 2).sum(axis=-1) * mask).sum() / mask.sum()


@net
def one_step() -> Any:
    return rnn.dynamic_rnn(rnn.LSTMCell(H), x(1))


@net
def thousand_steps() -> Any:
    return nn.Linear(H, 2)(rnn.dynamic_rnn(rnn.LSTMCell(H), x(1000))[0][:, -1])
