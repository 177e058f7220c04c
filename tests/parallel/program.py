"""Trains one of the cases, like a user's script, and writes the results; runs alone or under mpiexec.

    [mpiexec -n N] python program.py CASE FOLDER [option=value ...]

Each rank writes FOLDER/rank.npz with its parameters and losses. Options are those of `train.fit`, and deterministic=.
"""

from __future__ import annotations

import ast
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, layers, models, nn, optim, rnn, train

RANDOM = np.random.default_rng(0)
TEXT = RANDOM.integers(0, 5, 300)
X = RANDOM.normal(size=(29, 4)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True) ** 2
SENTENCES = [RANDOM.integers(0, 5, int(n)) for n in RANDOM.integers(1, 9, 29)]
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
    "adam": lambda p: optim.Adam(p, 0.01),
    "adamw": lambda p: optim.AdamW(p, 0.01),
}


class Language(tg.Module):
    """A language model with dropout from the default generator and from a separate one."""

    def __init__(self, units: int = 6):
        self.embedding = nn.Embedding(5, 4)
        self.cell = rnn.LSTMCell(units).build(4)
        self.inner, self.outer = nn.Dropout(0.2), nn.Dropout(0.2, seed=4)
        self.head = nn.Linear(units, 5)
        self.unused = tg.Parameter([1.0])

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        outputs, state = rnn.dynamic_rnn(
            self.cell, self.inner(self.embedding(x)), initial_state=state, sequence_length=lengths
        )
        return self.head(self.outer(outputs)), state

    def loss(self, batch: Any, state: Any) -> Any:
        logits, state = self(batch[0], state)
        return tg.softmax_cross_entropy(logits, targets=batch[1]), state

    def tagging(self, batch: Any) -> Any:
        logits, _ = self(batch[0].values.astype(np.int64), lengths=batch[0].lengths)
        scores = tg.softmax_cross_entropy(logits, targets=batch[1].values.astype(np.int64), reduction="none")
        return (scores * batch[1].mask).sum() / int(batch[1].lengths.sum())


class Stacked(tg.Module):
    """A language model whose state has its rows second, as nn.LSTM has it."""

    def __init__(self) -> None:
        self.embedding, self.lstm, self.head = nn.Embedding(5, 4), nn.LSTM(4, 6, 2, batch_first=True), nn.Linear(6, 5)

    def loss(self, batch: Any, state: Any) -> Any:
        outputs, state = self.lstm(self.embedding(batch[0]), state)
        return tg.softmax_cross_entropy(self.head(outputs), targets=batch[1]), state


def text(optimizer: str = "adam", **options: Any) -> tuple[Any, Any]:
    """Truncated backpropagation with a state, dropout and clipping; 7 rows are no multiple of the processes."""
    model = Language()
    opt = OPTIMIZERS[optimizer](model.parameters())
    options = {"epochs": 2, "clip": 0.2, "schedule": optim.CosineLR(opt, 30)} | options
    return model, train.fit(
        model.loss, data.TextChunks(TEXT, 7, 6), opt, state=model.cell.zero_state(7), progress=False, **options
    )


def stacked(**options: Any) -> tuple[Any, Any]:
    model = Stacked()
    state = tuple(np.zeros((2, 7, 6), np.float32) for _ in "hc")
    opt = optim.Adam(model.parameters(), 0.01)
    options = {"steps": 9} | options
    return model, train.fit(model.loss, data.TextChunks(TEXT, 7, 6), opt, state=state, progress=False, **options)


def regression(batches: Any, **options: Any) -> tuple[Any, Any]:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    opt = optim.Adam(model.parameters(), 0.01)
    options = {"epochs": 3, "model": model} | options
    return model, train.fit(lambda b: tg.mse(model(b[0]), b[1]), batches, opt, progress=False, **options)


def ragged(**options: Any) -> tuple[Any, Any]:
    """Batches of 7, 5, 1 and 16 rows: of the third, only one process has a part."""
    at = [0, 7, 12, 13, 29]
    return regression([(X[a:b], Y[a:b]) for a, b in pairwise(at)], **options)


def drawn(**options: Any) -> tuple[Any, Any]:
    """Examples drawn anew every epoch; the last batch has a single row."""
    return regression(data.Batches(X, Y, size=7), **options)


def ordered(**options: Any) -> tuple[Any, Any]:
    return regression(data.Batches(X, Y, size=7, shuffle=False), **options)


def padded(**options: Any) -> tuple[Any, Any]:
    """Sentences of unequal length, those of like length together; each real word weighs one."""
    model = Language()
    opt = optim.Adam(model.parameters(), 0.01)
    batches = data.Batches(SENTENCES, SENTENCES, size=6, pool=2)
    options = {"epochs": 3} | options
    return model, train.fit(model.tagging, batches, opt, model=model, progress=False, **options)


def wide(**options: Any) -> tuple[Any, Any]:
    """Gradients large enough that MPI adds them up in pieces."""
    model = nn.Sequential(nn.Linear(4, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 1))
    opt = optim.SGD(model.parameters(), 0.01)
    batches = data.Batches(X, Y, size=9, shuffle=False)
    return model, train.fit(lambda b: tg.mse(model(b[0]), b[1]), batches, opt, epochs=2, progress=False, **options)


def validated(**options: Any) -> tuple[Any, Any]:
    """Validation on batches with a state (of text, its last chunk shorter), and patience that ends the run."""
    model = Language()
    opt = optim.SGD(model.parameters(), 0.0)
    held = data.TextChunks(TEXT[:50], 7, 4, remainder=True)
    options = {"epochs": 9, "patience": 2, "validation": held} | options
    return model, train.fit(
        model.loss, data.TextChunks(TEXT, 7, 6), opt, state=model.cell.zero_state(7), progress=False, **options
    )


def keras(**options: Any) -> tuple[Any, Any]:
    model = models.Sequential([layers.Dense(8, activation="tanh"), layers.Dropout(0.2), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    history = model.fit(X, Y, batch_size=7, epochs=3, validation_split=0.3, **options)
    figures = np.array([history.history[name] for name in ("loss", "mae", "val_loss", "val_mae")])
    return model, train.TrainingLog(losses=figures.ravel().tolist(), step=1)


def loop(parallel: Any = None, **options: Any) -> tuple[Any, Any]:
    """A custom training loop."""
    parallel = parallel or tg.parallel.Serial()
    model = nn.Linear(4, 1)
    opt, losses = optim.Adam(model.parameters(), 0.01), []
    for _ in range(3):
        for x, y in parallel.shard(data.Batches(X, Y, size=7, shuffle=False)):
            opt.zero_grad()
            if len(x):
                tg.mse(model(x), y).backward()
            parallel.average_gradients(model.parameters(), weight=len(x))
            opt.step()
    return model, train.TrainingLog(losses=losses)


def main() -> None:
    case, folder = sys.argv[1], Path(sys.argv[2])
    options = dict(pair.split("=", 1) for pair in sys.argv[3:])
    options = {name: ast.literal_eval(value) for name, value in options.items()}
    parallel = tg.parallel.detect(deterministic=options.pop("deterministic", False))
    warnings.simplefilter("error")
    tg.seed(options.pop("seed", 0))
    model, history = globals()[case](**options, parallel=parallel)
    arrays = model.state_dict()
    figures = {"losses": history.losses, "validations": [v[1] for v in history.validations], "step": history.step}
    np.savez(folder / f"{parallel.rank}.npz", **arrays, **{f"history.{k}": np.array(v) for k, v in figures.items()})


if __name__ == "__main__":
    main()
