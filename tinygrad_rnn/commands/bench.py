"""The speed of recurrent nets on this machine, compared with its matrix product and with unrolled nets.

Each time is the minimum of several runs of rnn.dynamic_rnn, in float32, after one warm-up run. "forward" records nothing;
"train" is forward and backward with the gradients of all weights and of the input. "of GEMM" is the ratio of training's
GFLOP/s to that of NumPy's product of two 1024 x 1024 matrices on the same number of threads. "unrolled" is the time of
unrolled training divided by "train".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from time import perf_counter, sleep
from typing import Any

import numpy as np

from .. import kernels, rnn
from ..autodiff.state import no_grad
from ..autodiff.tensor import Tensor
from ..kernels.choice import Info
from . import Usage, positive

CELLS: dict[str, tuple[int, Callable[[int], rnn.RNNCell]]] = {
    "rnn": (1, lambda n: rnn.BasicRNNCell(n, seed=0)),
    "gru": (3, lambda n: rnn.GRUCell(n, reset_after=True, seed=0)),
    "lstm": (4, lambda n: rnn.LSTMCell(n, seed=0)),
}
SHAPES = [(1, 100, 32, 64), (32, 100, 64, 128), (32, 50, 256, 256)]  # B, T, D, H
HEADING = "cell   B   T   D   H threads   fwd ms train ms GFLOP/s of GEMM us/step unrolled"
PRODUCT = """
import time, numpy
a = numpy.random.default_rng(0).standard_normal((1024, 1024), dtype=numpy.float32)
times, end = [], time.perf_counter() + 0.4
while time.perf_counter() < end:
    start = time.perf_counter()
    a @ a
    times.append(time.perf_counter() - start)
print(2 * 1024**3 / min(times) / 1e9)
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--cell", choices=CELLS, action="append", help="only this cell; may be given several times")
    parser.add_argument("--shape", type=_shape, action="append", metavar="B,T,D,H", help="other sizes than the three")
    parser.add_argument(
        "--threads", type=positive, action="append", metavar="N", help="default: 1 and as many as may be"
    )
    parser.add_argument("--seconds", type=float, default=0.1, help="at least this long for each figure (default: 0.1)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Measure and print a table, row by row; ValueError if fused and unrolled results differ."""
    if not 0 <= options.seconds < 600:
        raise Usage(f"--seconds is {options.seconds}, expected a number from 0 to 600")
    info, threads_before = kernels.info(), kernels.get_num_threads()
    native = info["implementation"] == "native"
    threads = list(dict.fromkeys(options.threads or [1, threads_before])) if native else [1]
    rates = {n: _product_rate(n) for n in threads}
    cells, shapes = options.cell or list(CELLS), options.shape or SHAPES
    if not options.json:
        _begin(info, rates)
    rows = []
    try:
        for cell in cells:
            for shape in shapes:
                for row in _case(cell, shape, rates, options.seconds):
                    rows.append(row)
                    if not options.json:
                        print(_line(row), flush=True)
    finally:
        kernels.set_num_threads(threads_before)
    streaming = {cell: _streaming(cell, options.seconds) for cell in cells}
    if options.json:
        print(json.dumps({"kernels": info, "gemm_gflops": rates, "cases": rows, "streaming_us": streaming}))
    else:
        times = ", ".join(f"{cell} {us:.1f}" for cell, us in streaming.items())
        print(f"streaming (cell.stepper, B=1 D=32 H=64), us a step: {times}")
    return 0


def _begin(info: Info, rates: dict[int, float]) -> None:
    print(f"{info['implementation']} kernels{', ' + info['isa'] if info['isa'] else ''}; float32")
    if info["missing"]:
        print(f"no native kernels: {info['missing']}")
    load, cores = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0, os.cpu_count() or 1
    if load > 0.5:
        print(f"something else is running here (load {load:.1f} on {cores} cores): times come out too long")
    speeds = ", ".join(f"{rate:.0f} GFLOP/s on {n}" for n, rate in rates.items())
    print(f"matrix product (GEMM) by NumPy {np.__version__}: {speeds} threads\n{HEADING}")


def _line(row: dict[str, Any]) -> str:
    sizes = "".join(f"{row[k]:>4}" for k in "BTDH")
    return (
        f"{row['cell']:<4}{sizes}{row['threads']:>8}{_ms(row['forward_ms'])}{_ms(row['train_ms'])}{row['gflops']:>8.0f}"
        f"{row['of_gemm']:>8.0%}{row['us_per_step']:>8.1f}{row['unrolled_ms'] / row['train_ms']:>8.1f}x"
    )


def _ms(value: float) -> str:
    return f"{value:>9.3f}" if value < 10 else f"{value:>9.1f}"


def _case(cell: str, shape: tuple[int, ...], rates: dict[int, float], seconds: float) -> Iterator[dict[str, Any]]:
    """One net of one size, for each number of threads."""
    (gates, make), (B, T, D, H) = CELLS[cell], shape
    rng = np.random.default_rng(0)
    net = make(H).build(D)
    x = Tensor(rng.standard_normal((B, T, D), dtype=np.float32), requires_grad=True)
    g = rng.standard_normal((B, T, H), dtype=np.float32)
    _compare(cell, net, x, g)
    unrolled = _least(lambda: _train(net, x, g, "unrolled"), seconds)
    sleep(0.15)  # the threads of the product keep spinning for a while, on the cores that the kernels need
    for n in rates:
        kernels.set_num_threads(n)
        forward, train = _least(lambda: _forward(net, x), seconds), _least(lambda: _train(net, x, g), seconds)
        rate = 3 * 2 * B * T * (D + H) * gates * H / train / 1e9
        sizes = dict(zip("BTDH", shape, strict=True))
        times = {"forward_ms": 1e3 * forward, "train_ms": 1e3 * train, "unrolled_ms": 1e3 * unrolled}
        speed = {"gflops": rate, "of_gemm": rate / rates[n], "us_per_step": 1e6 * train / T}
        yield {"cell": cell, **sizes, "threads": n, **times, **speed}


def _forward(net: rnn.RNNCell, x: Tensor) -> None:
    with no_grad():
        rnn.dynamic_rnn(net, x)


def _train(net: rnn.RNNCell, x: Tensor, g: Any, impl: str = "auto") -> list[Any]:
    """Forward and backward; the outputs and every gradient."""
    leaves = [x, *net.parameters()]
    for leaf in leaves:
        leaf.grad = None
    outputs, _ = rnn.dynamic_rnn(net, x, impl=impl)
    outputs.backward(g)
    return [outputs.data, *(leaf.grad for leaf in leaves)]


def _compare(cell: str, net: rnn.RNNCell, x: Tensor, g: Any) -> None:
    """Raise ValueError unless fused and unrolled outputs and gradients agree to 1e-3 of their size."""
    for a, b in zip(_train(net, x, g), _train(net, x, g, "unrolled"), strict=True):
        error = float(np.max(np.abs(a - b)) / np.max(np.abs(b)))
        if not error < 1e-3:
            raise ValueError(f"{cell} of shape {x.shape}: fused and unrolled differ by {error:.1e} of their size")


def _least(f: Callable[[], Any], seconds: float) -> float:
    """The minimum time of a call, over at least three calls and as many as fit into `seconds`."""
    f()
    times: list[float] = []
    end = perf_counter() + seconds
    while len(times) < 3 or perf_counter() < end:
        start = perf_counter()
        f()
        times.append(perf_counter() - start)
    return min(times)


def _streaming(cell: str, seconds: float) -> float:
    """Microseconds of one step of a stepper."""
    _, _, D, H = SHAPES[0]
    net: Any = CELLS[cell][1](H).build(D)
    stepper, x = net.stepper(), np.ones((1, D), np.float32)

    def hundred() -> None:
        for _ in range(100):
            stepper.step(x)

    return 1e4 * _least(hundred, seconds)


def _product_rate(threads: int) -> float:
    """GFLOP/s of NumPy's matrix product, in a subprocess: the number of threads is fixed when NumPy is loaded."""
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    env = {**os.environ, **dict.fromkeys(variables, str(threads))}
    process = subprocess.run([sys.executable, "-c", PRODUCT], env=env, capture_output=True, text=True, check=False)
    if process.returncode:
        raise OSError(f"the matrix product could not be measured: {process.stderr.strip()[-200:]}")
    return float(process.stdout)


def _shape(text: str) -> tuple[int, ...]:
    sizes = text.split(",")
    if len(sizes) != 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not four sizes such as 32,100,64,128")
    return tuple(positive(p) for p in sizes)
