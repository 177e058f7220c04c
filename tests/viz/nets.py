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


@net
def words_to_words() -> Any:
    """Keras's sequence to sequence: a decoder that begins with the encoder's state, each with words of its own."""
    _, h, c = layers.LSTM(H, return_state=True, name="encoder")(layers.Embedding(9, 4)(np.ones((B, T), int)))
    decoder = layers.LSTM(H, return_sequences=True, name="decoder")
    return layers.Dense(9)(decoder(layers.Embedding(9, 4)(np.ones((B, 3), int)), initial_state=[h, c]))


@net
def attention_over_words() -> Any:
    source, target = nn.Embedding(9, D), nn.Embedding(9, D)
    cell = rnn.LSTMCell(H, name="encoder")
    memory, state = rnn.dynamic_rnn(cell, source(np.ones((B, T), int)), sequence_length=[4, 2])
    attention = rnn.LuongAttention(H, memory, memory_sequence_length=[4, 2])
    decoder = rnn.AttentionWrapper(rnn.LSTMCell(H, name="decoder"), attention, attention_layer_size=H)
    start = decoder.zero_state(B)._replace(cell_state=state)
    return nn.Linear(H, 9)(rnn.dynamic_rnn(decoder, target(np.ones((B, 3), int)), initial_state=start)[0])


@net
def attention_from_zeros() -> Any:
    """A decoder that begins with zeros of its own, to the right of the encoder that it attends to."""
    memory, _ = rnn.dynamic_rnn(rnn.LSTMCell(H, name="encoder"), x())
    decoder = rnn.AttentionWrapper(rnn.LSTMCell(H, name="decoder"), rnn.LuongAttention(H, memory))
    return rnn.dynamic_rnn(decoder, x(3), dtype=np.float32)[0].sum()


@net
def bridge() -> Any:
    """A decoder whose initial state is computed from both directions of the encoder."""
    _, (fw, bw) = rnn.bidirectional_dynamic_rnn(rnn.GRUCell(H), rnn.GRUCell(H), x())
    h0 = tg.tanh(nn.Linear(2 * H, H)(tg.concatenate([fw, bw], axis=-1)))
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(H, name="decoder"), x(3, name="y"), initial_state=h0)
    return nn.Linear(H, 4)(outputs)


@net
def variational() -> Any:
    _, h = rnn.dynamic_rnn(rnn.GRUCell(H, name="encoder"), x())
    z = nn.Linear(H, 2)(h) + tg.exp(nn.Linear(H, 2)(h) / 2) * np.ones((B, 2), np.float32)
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(H, name="decoder"), x(name="y"), initial_state=nn.Linear(2, H)(z))
    return nn.Linear(H, D)(outputs)


@net
def autoencoder() -> Any:
    _, code = rnn.dynamic_rnn(rnn.GRUCell(H, name="encoder"), x())
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(H, name="decoder"), np.zeros((B, T, 1), np.float32), initial_state=code)
    return ((nn.Linear(H, D)(outputs) - x(name="target")) ** 2).mean()


@net
def bidirectional_of_stacks() -> Any:
    def stack() -> Any:
        return rnn.MultiRNNCell([rnn.GRUCell(3), rnn.GRUCell(3)])

    return tg.concatenate(rnn.bidirectional_dynamic_rnn(stack(), stack(), x())[0], axis=-1)


@net
def two_heads() -> Any:
    out, _ = rnn.dynamic_rnn(rnn.LSTMCell(H), x())
    return nn.Linear(H, 4)(out), tg.sigmoid(nn.Linear(H, 1)(out))


@net
def siamese_words() -> Any:
    table, gru = nn.Embedding(9, D), nn.GRU(D, H, batch_first=True)
    (_, a), (_, b) = gru(table(np.ones((B, T), int))), gru(table(np.ones((B, T), int)))
    return (a * b).sum()


@net
def self_attention() -> Any:
    out, _ = rnn.dynamic_rnn(rnn.GRUCell(H), x())
    q, k, v = (nn.Linear(H, H)(out) for _ in range(3))
    weights = tg.softmax(q @ tg.swapaxes(k, -1, -2) / H**0.5, axis=-1)
    return nn.Linear(H, 2)((weights @ v)[:, -1])


class NestedStates(rnn.RNNCell):
    """States in nested tuples, one of them named, one that meets a number only."""

    state_size: Any = (4, (4, 4))
    output_size = 4

    def build_parameters(self, input_size: int) -> None:
        self.add("w", (input_size, 4), "glorot_uniform")

    def call(self, x: Any, state: Any) -> Any:
        a, (b, c) = state
        a = tg.tanh(x @ self.w + a)
        b = 0.5 * b + a
        c = rnn.gate("slow", 0.9 * c + 0.1 * b)
        return a + c, (a, (b, c))


@net
def nested_states() -> Any:
    return rnn.dynamic_rnn(NestedStates(), x())[0]


@net
def triplet() -> Any:
    lstm = layers.LSTM(4)
    a, p, n = (lstm(x(3, name=name)) for name in ("anchor", "positive", "negative"))
    return ((a - p) ** 2).sum() - ((a - n) ** 2).sum()


@net
def tied_embedding() -> Any:
    table = nn.Embedding(9, H)
    out, _ = rnn.dynamic_rnn(rnn.LSTMCell(H), table(np.ones((B, T), int)))
    return nn.functional.cross_entropy((out @ table.weight.T).reshape(-1, 9), np.zeros(B * T, int))


@net
def document() -> Any:
    """Each sentence is read word by word, the document sentence by sentence."""
    words = rnn.GRUCell(4, name="words")
    read = [rnn.dynamic_rnn(words, x(3, name=f"s{k}"))[1] for k in range(3)]
    return rnn.dynamic_rnn(rnn.GRUCell(4, name="sentences"), tg.stack(read, axis=1))[1]


@net
def hand_loss() -> Any:
    """A loop in primitives with a running loss."""
    w, u, v = (
        tg.Parameter(np.ones(shape, np.float32), name=name)
        for name, shape in (("Wxh", (D, H)), ("Whh", (H, H)), ("Why", (H, D)))
    )
    h, loss = tg.Tensor(np.zeros((B, H), np.float32)), tg.tensor(0.0)
    for _, x_t in rnn.steps(x()):
        h = tg.tanh(x_t @ w + h @ u)
        loss = loss + ((h @ v - x_t) ** 2).sum()
    return loss


@net
def hand_list_of_inputs() -> Any:
    """Two PyTorch cells over a list of arrays that are called x0, x1 …"""
    steps = [tg.Tensor(np.ones((B, D), np.float32), name=f"x{t}") for t in range(T)]
    low, high = nn.LSTMCell(D, H), nn.LSTMCell(H, H)
    a, b = ((tg.Tensor(np.zeros((B, H), np.float32)), tg.Tensor(np.zeros((B, H), np.float32))) for _ in range(2))
    for t, x_t in enumerate(steps):
        with tg.step(t):
            a = low(x_t, a)
            b = high(a[0], b)
    return nn.Linear(H, 2)(b[0])


@net
def hand_bidirectional() -> Any:
    forward, backward, inputs = rnn.GRUCell(4), rnn.GRUCell(4), x()
    h, fw, bw = forward.zero_state(B), [], []
    with tg.scope("forward"):
        for t in range(T):
            with tg.step(t):
                h = forward(inputs[:, t], h)[1]
                fw.append(h)
    h = backward.zero_state(B)
    with tg.scope("backward"):
        for t in reversed(range(T)):
            with tg.step(t):
                h = backward(inputs[:, t], h)[1]
                bw.append(h)
    return tg.stack([tg.concatenate(pair, axis=-1) for pair in zip(fw, bw[::-1], strict=True)], axis=1)


@net
def two_sources() -> Any:
    text, audio = layers.LSTM(4)(x(name="text")), layers.GRU(4)(x(3, name="audio"))
    return layers.Dense(1)(layers.Dense(8, activation="relu")(tg.concatenate([text, audio], axis=-1)))


@net
def ragged_stack() -> Any:
    cell = rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(4)])
    return rnn.dynamic_rnn(cell, x(5), sequence_length=[5, 3])[0].sum()


@net
def projected() -> Any:
    return nn.LSTM(D, H, num_layers=2, proj_size=2, batch_first=True)(x())[0]


@net
def sampled_decoder() -> Any:
    """A decoder by hand that reads the words it has written, without a gradient."""
    table, cell, head = nn.Embedding(9, D), rnn.LSTMCell(H), nn.Linear(H, 9)
    _, state = rnn.dynamic_rnn(rnn.LSTMCell(H, name="encoder"), x())
    word, logits = np.zeros(B, int), []
    for t in range(3):
        with tg.step(t):
            y, state = cell(table(word), state)
            logits.append(head(y))
            word = logits[-1].data.argmax(axis=-1)
    return tg.stack(logits, axis=1)


@net
def learned_start() -> Any:
    h0 = tg.Parameter(np.zeros((B, H), np.float32), name="h0")
    return rnn.dynamic_rnn(rnn.GRUCell(H), x(), initial_state=h0)[0].sum()


@net
def dense_between() -> Any:
    low = layers.TimeDistributed(layers.Dense(3, activation="relu"))(layers.GRU(4, return_sequences=True)(x()))
    return layers.Dense(1)(layers.LSTM(4)(low))
