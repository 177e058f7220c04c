"""Cells that a user writes, through dynamic_rnn: against the kernels written by hand, against the stock cells' own steps as
programs, and against running step by step.

    python tests/benchmarks/cells.py [--threads 1] [--rounds 5]

A subclass of LSTMCell, GRUCell or BasicRNNCell with a `call` of its own runs as a traced program instead of the kernel:
the same equations, the same weights. LSTM, GRU and RNN written out, with weights for each gate, are compared with such a
program and with the kernel. Results are compared before they are timed. Times are medians of all rounds, in
milliseconds; the two implementations are called alternately.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

SHAPES = [(1, 100, 32, 64), (1, 25, 29, 100), (32, 100, 64, 128), (64, 50, 256, 256), (64, 25, 500, 500)]


class MinimalGatedUnit(rnn.RNNCell):
    """f = σ(x Wf + h Uf + bf); n = tanh(x Wn + (f h) Un + bn); h' = (1 − f) h + f n [Zhou et al. 2016]."""

    def __init__(self, units: int):
        self.state_size = self.output_size = units

    def build_parameters(self, input_size: int) -> None:
        for part in "fn":
            self.add(f"W{part}", (input_size, self.output_size), "glorot_uniform")
            self.add(f"U{part}", (self.output_size, self.output_size), "orthogonal")
            self.add(f"b{part}", (self.output_size,), "zeros")

    def call(self, x: Any, h: Any) -> Any:
        f = tg.sigmoid(x @ self.Wf + h @ self.Uf + self.bf)
        n = tg.tanh(x @ self.Wn + (f * h) @ self.Un + self.bn)
        h = (1 - f) * h + f * n
        return h, h


class IndependentRNN(rnn.RNNCell):
    """h' = relu(x W + u ∘ h + b) [Li et al. 2018]."""

    def __init__(self, units: int):
        self.state_size = self.output_size = units

    def build_parameters(self, input_size: int) -> None:
        self.add("W", (input_size, self.output_size), "glorot_uniform")
        self.add("u", (self.output_size,), "ones")
        self.add("b", (self.output_size,), "zeros")

    def call(self, x: Any, h: Any) -> Any:
        h = tg.relu(x @ self.W + self.u * h + self.b)
        return h, h


class WrittenOut(rnn.RNNCell):
    """A stock cell's equations with weights W, U, b for each gate, as a textbook has them. Takes the stock cell's values."""

    def __init__(self, stock: rnn.RNNCell):
        self.stock, self.state_size, self.output_size = stock, stock.state_size, stock.output_size

    def build_parameters(self, input_size: int) -> None:
        for letter, array in zip("WUb", self.stock.weights, strict=False):
            for gate, part in zip(self.gates, np.split(array.data, len(self.gates), axis=-1), strict=True):
                self.add(letter + gate, part.shape, lambda shape, dtype, part=part: part.astype(dtype))


class WrittenLSTM(WrittenOut):
    gates = "ifgo"

    def call(self, x: Any, state: Any) -> Any:
        c, h = state
        i = tg.sigmoid(x @ self.Wi + h @ self.Ui + self.bi)
        f = tg.sigmoid(x @ self.Wf + h @ self.Uf + self.bf)
        g = tg.tanh(x @ self.Wg + h @ self.Ug + self.bg)
        o = tg.sigmoid(x @ self.Wo + h @ self.Uo + self.bo)
        c = f * c + i * g
        h = o * tg.tanh(c)
        return h, rnn.LSTMState(c, h)


class WrittenGRU(WrittenOut):
    gates = "zrn"

    def call(self, x: Any, h: Any) -> Any:
        z = tg.sigmoid(x @ self.Wz + h @ self.Uz + self.bz)
        r = tg.sigmoid(x @ self.Wr + h @ self.Ur + self.br)
        n = tg.tanh(x @ self.Wn + (r * h) @ self.Un + self.bn)
        h = z * h + (1 - z) * n
        return h, h


class WrittenRNN(WrittenOut):
    gates = "h"

    def call(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x @ self.Wh + h @ self.Uh + self.bh)
        return h, h


def own(cell: rnn.RNNCell) -> rnn.RNNCell:
    """The same cell with a user-defined `call`."""

    class Own(type(cell)):  # type: ignore[misc]
        def call(self, x: Any, state: Any, drawn: Any = ()) -> Any:
            return super().call(x, state, drawn)

    other = object.__new__(Own)
    vars(other).update(vars(cell))
    return other


def turns(one: Callable[[], Any], other: Callable[[], Any], rounds: int, calls: int) -> tuple[float, float]:
    """Median times of two alternating calls, in milliseconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for f, some in zip((one, other), times, strict=True):
            f()
            for _ in range(calls):
                start = time.perf_counter()
                f()
                some.append(time.perf_counter() - start)
    return statistics.median(times[0]) * 1e3, statistics.median(times[1]) * 1e3


def compare(name: str, shape: tuple[int, int, int, int], one: Any, other: Any, rounds: int) -> str:
    """One line of output: times of inference and training for two implementations of a cell."""
    batch, steps, size, _ = shape
    x = tg.tensor(np.random.default_rng(0).normal(size=(batch, steps, size)).astype(np.float32), requires_grad=True)

    def train(run: Any) -> Any:
        outputs, _ = run(x)
        outputs.sum().backward()
        return outputs

    def infer(run: Any) -> Any:
        with tg.no_grad():
            return run(x)[0]

    np.testing.assert_allclose(infer(one).data, infer(other).data, rtol=1e-3, atol=1e-4)
    calls = 60 if batch == 1 else 6
    parts = []
    for what in (infer, train):
        a, b = turns(lambda what=what: what(one), lambda what=what: what(other), rounds, calls)
        parts.append(f"{what.__name__} {a:8.3f} {b:8.3f} {a / b:5.2f}")
    return f"{name:<22}{shape!s:<22}{'   '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    tg.set_num_threads(options.threads)
    print(f"{options.threads} threads; a program / the kernel written by hand, ms and ratio")
    stock = {
        "LSTM": rnn.LSTMCell,
        "GRU": rnn.GRUCell,
        "GRU, reset after": lambda n: rnn.GRUCell(n, reset_after=True),
        "RNN": rnn.BasicRNNCell,
    }
    for name, make in stock.items():
        for shape in SHAPES:
            cell = make(shape[3]).build(shape[2])
            traced = own(cell)
            print(compare(name, shape, lambda x, c=traced: rnn.dynamic_rnn(c, x), lambda x, c=cell: rnn.dynamic_rnn(c, x),
                          options.rounds), flush=True)  # fmt: skip
    print("LSTM, GRU, RNN written out / the stock cell's step as a program; / its kernel")
    for name, written in {"LSTM": WrittenLSTM, "GRU": WrittenGRU, "RNN": WrittenRNN}.items():
        for shape in SHAPES:
            stock_cell = stock[name](shape[3]).build(shape[2])
            cell = written(stock_cell).build(shape[2])
            for other in (own(stock_cell), stock_cell):
                print(compare(name, shape, lambda x, c=cell: rnn.dynamic_rnn(c, x), lambda x, c=other: rnn.dynamic_rnn(c, x),
                              options.rounds), flush=True)  # fmt: skip
    print("a program / the same cell step by step")
    for name, make in {"minimal gated unit": MinimalGatedUnit, "IndRNN": IndependentRNN}.items():
        for shape in SHAPES[:4]:
            cell = make(shape[3]).build(shape[2])
            print(compare(name, shape, lambda x, c=cell: rnn.dynamic_rnn(c, x),
                          lambda x, c=cell: rnn.dynamic_rnn(c, x, impl="unrolled"), 2), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
