"""What the graph costs: one eager op on an 8x8 array, forward and backward, above the same NumPy calls by hand; the time
for long chains; the time of `import tinygrad_rnn` above NumPy's.

    python tests/benchmarks/overhead.py
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import tinygrad_rnn as tg

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
    """Microseconds a node, forward and backward, in a chain of this length."""
    gc.collect()
    x = tg.tensor(np.ones(1), requires_grad=True)
    begin = time.perf_counter()
    y = x
    for _ in range(length):
        y = y * 1.0
    y.backward()
    return (time.perf_counter() - begin) / length * 1e6


def importing() -> list[float]:
    code = "import numpy, time; t = time.perf_counter(); import tinygrad_rnn; print((time.perf_counter() - t) * 1e3)"
    return [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(9)
    ]


def main() -> None:
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
    print(f"\nimport tinygrad_rnn above NumPy: {median(importing()):.1f} ms")


if __name__ == "__main__":
    main()
