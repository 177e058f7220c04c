"""The figures that courses on recurrent nets draw, each from a few lines of code that run.

`python -m tinygrad_rnn.commands.gallery FOLDER` renders them all, as SVG, into a folder.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_rnn import nn, ops, optim, rnn, viz
from tinygrad_rnn.autodiff.state import scope, step
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.module import Parameter

READ, WRITTEN = ["le", "chat", "noir", "dort", "."], ["the", "black", "cat", "sleeps", "."]
BATCH, STEPS, SIZE, UNITS, WORDS = 2, 4, 5, 8, 50

FIGURES: dict[str, Callable[[], viz.Drawing]] = {}
PLOTS: dict[str, Callable[[], viz.Plot | viz.Heatmap]] = {}


def figure(make: Callable[[], viz.Drawing]) -> Callable[[], viz.Drawing]:
    """Add a function to the gallery under its name (decorator)."""
    FIGURES[make.__name__] = make
    return make


def render(folder: str | Path, **options: Any) -> list[Path]:
    """Render every figure and plot into a folder, which is made if it is missing; returns the files written.

    options: program and timeout, as for Drawing.save. Raises DrawingError if there is no Graphviz program.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    written = []
    texts = [(name, make().svg(**options)) for name, make in FIGURES.items()]
    for name, text in [*texts, *((name, make().svg()) for name, make in PLOTS.items())]:
        written.append(target / f"{name}.svg")
        written[-1].write_text(text, encoding="utf-8")
    return written


def _inputs(steps: int = STEPS) -> Tensor:
    return Tensor(np.zeros((BATCH, steps, SIZE), np.float32), name="x")


def _weight(name: str, *shape: int) -> Parameter:
    return Parameter(np.zeros(shape, np.float32), name=name)


def _readout(h: Any, outputs: int = 3, name: str = "output o") -> Any:
    """o = h V, in a scope of its own."""
    with scope(name):
        return h @ _weight("V", h.shape[-1], outputs)


@figure
def rnn_folded() -> viz.Drawing:
    """A recurrent net as textbooks begin: the state goes round through a delay of one step."""
    return viz.folded(rnn.BasicRNNCell(UNITS))


@figure
def rnn_unrolled() -> viz.Drawing:
    """The same net unrolled: one copy of the cell for each step, all with the same weights. There is no output node."""
    return viz.unrolled(rnn.BasicRNNCell(UNITS), 3)


@figure
def rnn_folded_with_output() -> viz.Drawing:
    """A net with an output node o on top of h, and its weights V."""
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(UNITS), _inputs())
    return viz.folded(_readout(outputs))


@figure
def rnn_unrolled_with_output() -> viz.Drawing:
    """W from x, U along time, V to the output o: drawn once each, used at every step."""
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(UNITS), _inputs(3))
    return viz.unrolled(_readout(outputs))


@figure
def rnn_cell() -> viz.Drawing:
    """h' = tanh(x W + b + h U)."""
    return viz.cell(rnn.BasicRNNCell(UNITS))


@figure
def lstm_cell() -> viz.Drawing:
    """The inside of an LSTM: c runs straight through, three gates and the candidate act on it."""
    return viz.cell(rnn.LSTMCell(UNITS))


@figure
def gru_cell() -> viz.Drawing:
    """The inside of a GRU: update and reset gate, no memory beside h."""
    return viz.cell(rnn.GRUCell(UNITS))


@figure
def gru_cell_reset_after() -> viz.Drawing:
    """The GRU that Keras and PyTorch run: the reset gate acts after the product with h."""
    return viz.cell(rnn.GRUCell(UNITS, reset_after=True))


@figure
def lstm_unrolled() -> viz.Drawing:
    """A hundred steps of an LSTM: the first two, the last, and one node for those between."""
    return viz.unrolled(rnn.LSTMCell(UNITS), steps=(2, 1), length=100)


@figure
def stacked_lstm() -> viz.Drawing:
    """Two layers: the lower one's h is the upper one's input."""
    return viz.unrolled(rnn.MultiRNNCell([rnn.LSTMCell(UNITS), rnn.LSTMCell(UNITS)]), 3)


@figure
def bilstm_last() -> viz.Drawing:
    """Keras' Bidirectional(LSTM(n)), return_sequences=False: the last forward h beside the backward h of the first step."""
    cells = rnn.LSTMCell(UNITS), rnn.LSTMCell(UNITS)
    _, (forward, backward) = rnn.bidirectional_dynamic_rnn(*cells, _inputs())
    return viz.unrolled(ops.concatenate([forward.h, backward.h], axis=-1))


@figure
def bilstm_sequences() -> viz.Drawing:
    """Keras' Bidirectional(LSTM(n, return_sequences=True)): both directions' h, joined at every step."""
    cells = rnn.LSTMCell(UNITS), rnn.LSTMCell(UNITS)
    outputs, _ = rnn.bidirectional_dynamic_rnn(*cells, _inputs())
    return viz.unrolled(ops.concatenate(outputs, axis=-1))


@figure
def rnn_language_model() -> viz.Drawing:
    """Each step reads a word and predicts the next one; the loss compares all of them at once."""
    words = np.zeros((BATCH, STEPS), int)
    with scope("embedding"):
        x = ops.take(_weight("E", WORDS, SIZE), words, axis=0)
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(UNITS), x)
    return viz.unrolled(ops.softmax_cross_entropy(_readout(outputs, WORDS, "readout"), words))


@figure
def one_to_many() -> viz.Drawing:
    """One input, many outputs, as for a caption: each output is the next step's input."""
    one, state = rnn.GRUCell(SIZE, name="gru_cell").build(SIZE), Tensor(np.zeros((BATCH, SIZE), np.float32))
    v, y, outputs = _weight("V", SIZE, SIZE), Tensor(np.zeros((BATCH, SIZE), np.float32), name="x"), []
    for t in range(STEPS):
        with step(t):
            h, state = one(y, state)
            with scope("output o"):
                y = h @ v
        outputs.append(y)
    return viz.unrolled(ops.stack(outputs, axis=1))


@figure
def many_to_one() -> viz.Drawing:
    """Many inputs, one output, as for sentiment: only the last state is read."""
    _, state = rnn.dynamic_rnn(rnn.GRUCell(UNITS), _inputs())
    return viz.unrolled(ops.sigmoid(_readout(state, 1, "classifier")))


@figure
def many_to_many() -> viz.Drawing:
    """An output for every input, as for tagging."""
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(UNITS), _inputs())
    return viz.unrolled(_readout(outputs))


@figure
def encoder_decoder() -> viz.Drawing:
    """Sequence to sequence, as for translation: the decoder begins with the encoder's last state."""
    _, state = rnn.dynamic_rnn(rnn.GRUCell(UNITS, name="encoder"), _inputs(3))
    outputs, _ = rnn.dynamic_rnn(rnn.GRUCell(UNITS, name="decoder"), _inputs(2), initial_state=state)
    return viz.unrolled(_readout(outputs))


@figure
def sequence_lengths() -> viz.Drawing:
    """hello, eolll and lleel of lengths 5, 3 and 4: the title of a step says how many rows still run."""
    x = np.eye(4, dtype=np.float32)[[[0, 1, 2, 2, 3], [1, 3, 2, 2, 2], [2, 2, 1, 1, 2]]]
    return viz.unrolled(rnn.dynamic_rnn(rnn.LSTMCell(2), x, sequence_length=[5, 3, 4]))


def _distant_loss(one: rnn.RNNCell, steps: int = 30) -> Any:
    """A loss at the last step."""
    x = np.random.default_rng(0).standard_normal((BATCH, steps, SIZE)) * 2
    outputs, _ = rnn.dynamic_rnn(one, x)
    return ops.sum(outputs[:, -1] ** 2)


@figure
def gradient_rnn() -> viz.Drawing:
    """Where the gradient of a loss at the last step goes in a plain net: hardly anything of it reaches the first steps."""
    return viz.unrolled(_distant_loss(rnn.BasicRNNCell(UNITS, seed=1)), steps=(3, 3), color="grad_norm")


@figure
def gradient_lstm() -> viz.Drawing:
    """The same in an LSTM whose forget gates begin open: c carries the gradient back."""
    return viz.unrolled(_distant_loss(rnn.LSTMCell(UNITS, forget_bias=3.0, seed=1)), steps=(3, 3), color="grad_norm")


def gradient_flow() -> viz.Plot:
    """The norm of the gradient of a loss at step 99 at every step before: RNN, GRU and LSTM over each other."""
    cells = {
        "RNN": rnn.BasicRNNCell(UNITS, seed=1),
        "GRU": rnn.GRUCell(UNITS, seed=1),
        "LSTM": rnn.LSTMCell(UNITS, forget_bias=3.0, seed=1),
    }
    flows = {name: viz.grad_flow(_distant_loss(one, 100)) for name, one in cells.items()}
    return viz.Plot({name: flow.h for name, flow in flows.items()}, "step t", "norm of d loss / d h(t)")


PLOTS["gradient_flow"] = gradient_flow


def heatmap_memory() -> viz.Heatmap:
    """What an LSTM holds: its memory c, unit by unit; the row ends at step 39, past it the map is grey."""
    x = np.random.default_rng(0).standard_normal((BATCH, 50, SIZE)) * 2
    cell = rnn.LSTMCell(16, forget_bias=3.0, seed=1)
    outputs, _ = rnn.dynamic_rnn(cell, x, sequence_length=[50, 40])
    return viz.heatmap(outputs, of="c", row=1)


@functools.cache
def _translated() -> Any:
    """What a decoder with attention gives for READ, having learnt 64 sentences of five words; adjectives change places."""
    nouns = {"chat": "cat", "chien": "dog", "cheval": "horse", "oiseau": "bird"}
    adjectives = {"noir": "black", "blanc": "white", "grand": "big", "petit": "small"}
    verbs = {"dort": "sleeps", "mange": "eats", "court": "runs", "chante": "sings"}
    triples = list(itertools.product(nouns, adjectives, verbs))
    french = [["le", n, a, v, "."] for n, a, v in triples]
    english = [["the", adjectives[a], nouns[n], verbs[v], "."] for n, a, v in triples]
    x, read = _numbered(french)
    y, written = _numbered(english)

    size = 16
    attended = rnn.AttentionWrapper(rnn.GRUCell(size, seed=0), rnn.LuongAttention(size, seed=1))
    net = nn.ModuleDict(
        {
            "read": nn.Embedding(len(read), size, dtype=np.float64, seed=2),
            "encoder": rnn.GRUCell(size, seed=3),
            "write": nn.Embedding(
                len(written) + 1, size, dtype=np.float64, seed=4
            ),  # one more: what stands before the first word
            "decoder": attended,
            "output": nn.Linear(size, len(written), dtype=np.float64, seed=5),
        }
    )

    def decode(x: Any, y: Any) -> Any:
        memory, _ = rnn.dynamic_rnn(net["encoder"], net["read"](x))
        attended.attention_mechanism.setup_memory(memory)
        before = np.concatenate([np.full((len(y), 1), len(written)), y[:, :-1]], axis=1)
        return rnn.dynamic_rnn(attended, net["write"](before))[0]

    decode(x, y)  # builds the parameters
    adam = optim.Adam(net.parameters(), 0.01)
    for _ in range(150):
        adam.zero_grad()
        ops.softmax_cross_entropy(net["output"](decode(x, y)), y).backward()
        adam.step()
    place = french.index(READ)
    return decode(x[place : place + 1], y[place : place + 1])


def _numbered(sentences: list[list[str]]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Each word's number, (B, T), and the words by number."""
    words = sorted({word for sentence in sentences for word in sentence})
    return np.array([[words.index(word) for word in sentence] for sentence in sentences]), words


def heatmap_attention() -> viz.Heatmap:
    """Attention as a heat map: the words written to the right, the words read downwards."""
    return viz.heatmap(_translated(), of="alignments", units=READ, steps=WRITTEN)


PLOTS["heatmap_memory"], PLOTS["heatmap_attention"] = heatmap_memory, heatmap_attention


@figure
def gru_against_lstm() -> viz.Drawing:
    """What an LSTM does and a GRU does not, and the other way round."""
    return viz.diff(rnn.LSTMCell(UNITS), rnn.GRUCell(UNITS))


@figure
def attention_words() -> viz.Drawing:
    """Attention as arrows: each word written attends to the words read."""
    return viz.attention(_translated(), memory=READ, steps=WRITTEN)


@figure
def rnn_cell_values() -> viz.Drawing:
    """One step of a small net with its numbers, as the first lesson on paper does it."""
    one = rnn.BasicRNNCell(3, seed=0)
    x = np.array([[0.0, 1.0, 0.0, 0.0]], np.float32)
    return viz.cell(one, values=(x, one.zero_state(1)))


@figure
def activation_lstm() -> viz.Drawing:
    """How much an LSTM holds in its memory: the mean size of c, from step to step."""
    x = np.random.default_rng(0).standard_normal((BATCH, 30, SIZE))
    outputs, _ = rnn.dynamic_rnn(rnn.LSTMCell(UNITS, forget_bias=3.0, seed=1), x)
    return viz.unrolled(outputs, steps=(3, 3), color="activation", of="c", legend=True)


@figure
def rnn_ops() -> viz.Drawing:
    """Every op of three steps, in boxes by scope."""
    outputs, _ = rnn.dynamic_rnn(rnn.BasicRNNCell(UNITS), _inputs(3), impl="unrolled")
    return viz.draw(outputs)


if __name__ == "__main__":
    for file in render(sys.argv[1] if len(sys.argv) > 1 else "gallery"):
        print(file)
