"""Overhead around the kernels: one eager op on an 8x8 array, forward and backward, minus the time of the same NumPy calls;
long chains; one call of a net at B = T = 1 through every interface; the first call of a cell; a streaming step; the import.

    python tests/benchmarks/overhead.py [--python an interpreter with torch]
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, layers, nn, rnn

STEPS, ROUNDS = 300, 41
START = np.random.default_rng(0).uniform(0.9, 1.1, (8, 8)).astype(np.float32)
ONES = np.ones((8, 8), np.float32)


def recorded(op: Callable[[Any, Any], Any]) -> float:
    x = tg.tensor(START, requires_grad=True)
    begin = time.perf_counter()
    y = x
    for _ in range(STEPS):
        y = op(y, x)
    y.backward(ONES)
    return (time.perf_counter() - begin) / STEPS * 1e6


def add_by_hand() -> None:
    y, g, total = START, ONES, ONES
    kept = []
    for _ in range(STEPS):
        y = y + START
        kept.append(y)
    for _ in kept:
        total = total + g


def multiply_by_hand() -> None:
    y, g, total = START, ONES, ONES
    kept = []
    for _ in range(STEPS):
        kept.append(y)
        y = y * START
    for before in reversed(kept):
        total = total + g * before
        g = g * START


def tanh_by_hand() -> None:
    y, g = START, ONES
    kept = []
    for _ in range(STEPS):
        y = np.tanh(y)
        kept.append(y)
    for after in reversed(kept):
        g = g * (1 - after * after)


def matmul_by_hand() -> None:
    y, g, total = START, ONES, ONES
    kept = []
    for _ in range(STEPS):
        kept.append(y)
        y = y @ START
    for before in reversed(kept):
        total = total + before.T @ g
        g = g @ START.T


OPS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[], None]]] = {
    "add": (lambda y, x: y + x, add_by_hand),
    "multiply": (lambda y, x: y * x, multiply_by_hand),
    "tanh": (lambda y, x: tg.tanh(y), tanh_by_hand),
    "matmul": (lambda y, x: y @ x, matmul_by_hand),
}


def by_hand(f: Callable[[], None]) -> float:
    begin = time.perf_counter()
    f()
    return (time.perf_counter() - begin) / STEPS * 1e6


def chain(length: int) -> float:
    """Microseconds per node, forward and backward, in a chain of this length."""
    gc.collect()
    x = tg.tensor(np.ones(1), requires_grad=True)
    begin = time.perf_counter()
    y = x
    for _ in range(length):
        y = y * 1.0
    y.backward()
    return (time.perf_counter() - begin) / length * 1e6


def importing(module: str, before: str) -> list[float]:
    """Milliseconds that the import of a module takes in fresh processes, after another's."""
    code = f"import {before}, time; t = time.perf_counter(); import {module}; print((time.perf_counter() - t) * 1e3)"
    return [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(9)
    ]


# -- one call ------------------------------------------------------------------------------------------------------

UNITS = 64


class Own(rnn.RNNCell):
    """A cell as a user writes one: the minimal gated unit [Zhou et al. 2016]."""

    def __init__(self, units: int):
        self.units = self.state_size = self.output_size = units

    def build_parameters(self, input_size: int) -> None:
        for name in ("gate", "candidate"):
            self.add(f"kernel_{name}", (input_size, self.units), "glorot_uniform")
            self.add(f"recurrent_{name}", (self.units, self.units), "orthogonal")
            self.add(f"bias_{name}", (self.units,), "zeros")

    def call(self, x: Any, h: Any) -> Any:
        f = tg.sigmoid(x @ self.kernel_gate + h @ self.recurrent_gate + self.bias_gate)
        n = tg.tanh(x @ self.kernel_candidate + (f * h) @ self.recurrent_candidate + self.bias_candidate)
        h = (1 - f) * h + f * n
        return h, h


class Attentive(Own):
    """The same, which also attends to a memory (B, S, H) at every step."""

    def __init__(self, units: int, memory: Any):
        super().__init__(units)
        self.memory = memory

    def draw(self, shape: Any, dtype: Any) -> Any:
        return (self.memory,)

    def call(self, x: Any, h: Any, drawn: Any) -> Any:  # type: ignore[override]
        (memory,) = drawn
        weights = tg.softmax((memory @ tg.expand_dims(h, axis=2))[:, :, 0], axis=-1)
        return super().call(x + (memory * tg.expand_dims(weights, axis=2)).sum(axis=1), h)


def least(f: Callable[[], Any], calls: int = 100, rounds: int = 30) -> float:
    """The minimum time of a call over several rounds of many calls, in microseconds."""
    f()
    best = np.inf
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(calls):
            f()
        best = min(best, (time.perf_counter() - begin) / calls)
    return best * 1e6


def both(call: Callable[[Any], Any], x: np.ndarray, parameters: list[Any]) -> tuple[float, float]:
    """Microseconds of a call without a graph, and of one with its backward pass."""
    plain, wanted = tg.tensor(x), tg.tensor(x, requires_grad=True)
    g = np.ones(call(plain).shape, np.float32)

    def infer() -> None:
        with tg.no_grad():
            call(plain)

    def train() -> None:
        for p in (wanted, *parameters):
            p.grad = None
        call(wanted).backward(g)

    return least(infer), least(train)


def of_kernel(cell: Any, x: np.ndarray) -> tuple[float, float]:
    """The same of the kernel alone."""
    cell_type, weights = cell.cell_type, [w.data for w in cell.weights if w is not None]
    option = {"reset_after": True} if cell_type == "gru" else {}
    forward, backward = getattr(kernels, f"{cell_type}_forward"), getattr(kernels, f"{cell_type}_backward")
    g = np.ones((1, 1, UNITS), np.float32)
    infer = least(lambda: forward(x, *weights, **option, save=False))
    return infer, least(lambda: backward(forward(x, *weights, **option)[-1], g))


TORCH = """
import json, time, torch
torch.set_num_threads(1)
def least(f):
    best = 1e9
    for _ in range(30):
        begin = time.perf_counter()
        for _ in range(100): f()
        best = min(best, (time.perf_counter() - begin) / 100)
    return best * 1e6
times = {}
for name in ("RNN", "LSTM", "GRU"):
    x, h = torch.randn(1, 64), torch.randn(1, 64)
    for what, net, x, state in (
        ("cell", getattr(torch.nn, name + "Cell")(64, 64), x, (h, h) if name == "LSTM" else h),
        ("net", getattr(torch.nn, name)(64, 64, batch_first=True), x[:, None].clone(), None),
    ):
        wanted, single = x.clone().requires_grad_(), what == "cell" and name != "LSTM"
        def call(x):
            outputs = net(x, state)
            return outputs if single else outputs[0]
        def infer():
            with torch.no_grad(): call(x)
        def train():
            wanted.grad = None
            net.zero_grad(set_to_none=True)
            call(wanted).backward(g)
        g = torch.ones_like(call(x))
        times[f"{name} {what}"] = least(infer), least(train)
print(json.dumps(times))
"""


def small_calls(python: str) -> None:
    """One call at B = T = 1 through every interface, compared with the time of the kernel alone and of torch."""
    tg.set_num_threads(1)
    done = subprocess.run([python, "-c", TORCH], capture_output=True, text=True)
    torch = json.loads(done.stdout) if done.returncode == 0 else {}
    x = np.random.default_rng(0).normal(size=(1, UNITS)).astype(np.float32)

    def line(what: str, ours: tuple[float, float], kernel: tuple[float, float] | None, name: str = "") -> None:
        above = "".join(f"{a - b:9.1f}" for a, b in zip(ours, kernel, strict=True)) if kernel else " " * 18
        theirs = "".join(f"{t:9.1f}" for t in torch.get(name, ()))
        print(f"{what:<26}{ours[0]:9.1f}{ours[1]:9.1f}{above}{theirs}", flush=True)

    print(f"\none call, B = T = 1, D = H = {UNITS}, one thread, us (least): without a graph, and with backward")
    print(f"{'':<26}{'infer':>9}{'train':>9}{'above its kernel':>18}{'torch':>18}")
    cells = {"RNN": rnn.BasicRNNCell(UNITS), "LSTM": rnn.LSTMCell(UNITS), "GRU": rnn.GRUCell(UNITS, reset_after=True)}
    for name, cell in cells.items():
        cell.build(UNITS)
        kernel = of_kernel(cell, x[:, None])
        line(f"{name}: kernel", kernel, None)
        line("  dynamic_rnn", both(lambda x, c=cell: rnn.dynamic_rnn(c, x)[0], x[:, None], cell.parameters()), kernel)
        net = getattr(nn, name)(UNITS, UNITS, batch_first=True)
        line(f"  nn.{name}", both(lambda x, n=net: n(x)[0], x[:, None], net.parameters()), kernel, f"{name} net")
        layer = getattr(layers, {"RNN": "SimpleRNN"}.get(name, name))(UNITS, return_sequences=True)
        layer(x[:, None])
        line(f"  layers.{name}", both(layer, x[:, None], layer.parameters()), kernel)
        state = cell.zero_state(1)
        times = both(lambda x, c=cell, s=state: c(x, s)[0], x, cell.parameters())
        line("  cell(x, state)", times, kernel, f"{name} cell")
        own = getattr(nn, f"{name}Cell")(UNITS, UNITS)
        h = tg.tensor(np.zeros((1, UNITS), np.float32))
        hx = (h, h) if name == "LSTM" else h
        times = both(lambda x, c=own, hx=hx: c(x, hx)[0] if type(hx) is tuple else c(x, hx), x, own.parameters())
        line(f"  nn.{name}Cell", times, kernel, f"{name} cell")
    own_cell = Own(UNITS).build(UNITS)
    line(
        "a cell of one's own", both(lambda x: rnn.dynamic_rnn(own_cell, x)[0], x[:, None], own_cell.parameters()), None
    )


def first_calls() -> None:
    """The first call of a cell (traces, plan, program), the second, and the first of another object of the class."""
    x = np.random.default_rng(0).normal(size=(4, 10, 16)).astype(np.float32)
    memory = tg.tensor(np.random.default_rng(1).normal(size=(4, 20, 16)).astype(np.float32), requires_grad=True)
    print("\nforward and backward, ms: the first call of a cell, the second, the first of another object")
    for name, make in {
        "minimal gated unit": lambda: Own(16),
        "LSTM with peepholes": lambda: rnn.LSTMCell(16, use_peepholes=True),
        "LSTM with layer norm": lambda: rnn.LayerNormLSTMCell(16),
        "with attention": lambda: Attentive(16, memory),
    }.items():
        times = []
        for _ in range(2):
            cell = make().build(16)
            for _ in range(2):
                inputs = tg.tensor(x, requires_grad=True)
                begin = time.perf_counter()
                outputs = rnn.dynamic_rnn(cell, inputs)[0]
                outputs.backward(np.ones(outputs.shape, np.float32))
                times.append((time.perf_counter() - begin) * 1e3)
        print(f"  {name:<24}{times[0]:8.2f}{times[1]:8.2f}{times[2]:8.2f}", flush=True)


def streaming() -> None:
    """One step of a stepper."""
    x = np.ones((1, UNITS), np.float32)
    net = nn.Sequential(nn.LSTM(UNITS, UNITS, batch_first=True), lambda pair: pair[0], nn.Linear(UNITS, 10))
    print("\none streaming step, B = 1, D = H = 64, us (least)")
    for name, stepper in {
        "LSTM": rnn.LSTMCell(UNITS).build(UNITS).stepper(),
        "nn.Sequential of an LSTM and a linear head": net.stepper(),
        "a cell of one's own": Own(UNITS).build(UNITS).stepper(),
    }.items():
        print(f"  {name:<44}{least(lambda s=stepper: s.step(x), 1000):6.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has torch")
    options = parser.parse_args()
    np.seterr(all="ignore")
    print(
        f"{'op on 8x8':<12}{'by hand':>10}{'recorded':>10}{'above':>10}   us, forward + backward, medians of {ROUNDS}"
    )
    for name, (op, hand) in OPS.items():
        pairs = [(recorded(op), by_hand(hand)) for _ in range(ROUNDS)]
        ours, theirs = median(a for a, _ in pairs), median(b for _, b in pairs)
        print(f"{name:<12}{theirs:>10.2f}{ours:>10.2f}{median(a - b for a, b in pairs):>10.2f}")
    print()
    for length in (1_000, 10_000, 100_000, 500_000):
        print(f"a chain of {length:>7,} nodes: {median(chain(length) for _ in range(3)):.2f} us a node")
    small_calls(options.python)
    first_calls()
    streaming()
    print(f"\nimport tinygrad_rnn above NumPy: {median(importing('tinygrad_rnn', 'numpy')):.1f} ms")
    later = median(importing("tinygrad_rnn.program.scan", "tinygrad_rnn"))
    print(f"what traces and plans, imported by the first call of a cell without a kernel: {later:.1f} ms more")


if __name__ == "__main__":
    main()
