"""Times of drawing, compared with torchviz and torchview on the same nets.

    python tests/benchmarks/drawing.py [--quick] [--limit SECONDS]

Two tables: our views against their time limits, and an LSTM drawn op by op by all three. Every time is from
tensors (ours, torchviz) or the module (torchview, which runs it) to SVG text, rendered by the same Graphviz program, the one
that `viz` finds; the minimum of three runs. A drawing that takes longer than the limit is stopped and shown as "> limit".
The second table needs torch, torchviz and torchview; without them its columns say so.
"""

import argparse
import os
import subprocess
import time
from contextlib import nullcontext

import numpy as np
from tinygrad_rnn.viz.write import program

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

BATCH, SIZE, UNITS = 2, 8, 16


def lstm(steps, impl="unrolled"):
    x = tg.Tensor(np.ones((BATCH, steps, SIZE), np.float32), name="x")
    return rnn.dynamic_rnn(rnn.LSTMCell(UNITS), x, impl=impl)


def least(work, runs=3):
    """The least wall and processor times of some runs, one if that was long; None if a run was stopped."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter(), sum(os.times()[:4])
        try:
            work()
        except (subprocess.TimeoutExpired, tg.errors.DrawingError):
            return None
        times.append((time.perf_counter() - begin[0], sum(os.times()[:4]) - begin[1]))
        if times[0][0] > 5:
            break
    return min(wall for wall, _ in times), min(busy for _, busy in times)


def views(quick):
    """(what, limit in seconds, work) of each of our views."""
    long = lstm(1000), lstm(1000, "auto")
    yield "unrolled, 1,000 steps, elided, recorded step by step", 0.5, lambda: viz.unrolled(long[0], (2, 1)).svg()
    yield "unrolled, 1,000 steps, elided, fused", 0.5, lambda: viz.unrolled(long[1], (2, 1)).svg()
    yield "folded, 1,000 steps recorded step by step", 0.3, lambda: viz.folded(long[0]).svg()
    yield "folded, a cell", 0.3, lambda: viz.folded(rnn.LSTMCell(UNITS)).svg()
    yield "inside of a cell", 0.3, lambda: viz.cell(rnn.LSTMCell(UNITS)).svg()
    for steps, limit in ((50, 1), (200, 3)) if quick else ((50, 1), (200, 3), (1000, 15)):
        run = lstm(steps)
        yield f"op-level, every one of {steps:,} steps", limit, lambda run=run: viz.draw(run).svg()
    for name, mark in (("marked by tg.step", tg.step), ("without marks", lambda t: nullcontext())):
        cell, x = rnn.GRUCell(UNITS), np.ones((BATCH, 100, SIZE), np.float32)
        h = cell.zero_state(BATCH)
        for t in range(100):
            with mark(t):
                _, h = cell(x[:, t], h)
        yield f"op-level, a loop by hand of 100 steps, {name}", None, lambda h=h: viz.draw(h).svg()
    loss = (long[1][0][:, -1] ** 2).sum()
    yield "coloured by gradient, 1,000 steps, fused", None, lambda: viz.unrolled(loss, (2, 1), color="grad_norm").svg()
    x = tg.tensor(1.0, requires_grad=True)
    for _ in range(100_000):
        x = tg.tanh(x)
    yield "snapshot of 100,000 nodes", 2, lambda: tg.snapshot(x)


def svg(source, limit):
    """The SVG text that Graphviz renders from a DOT text."""
    subprocess.run([program.find(), "-Tsvg"], input=source.encode(), capture_output=True, timeout=limit, check=True)


def net(torch):
    """The same LSTM in PyTorch, op by op."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel = torch.nn.Parameter(torch.ones(SIZE, 4 * UNITS))
            self.recurrent_kernel = torch.nn.Parameter(torch.ones(UNITS, 4 * UNITS))
            self.bias = torch.nn.Parameter(torch.ones(4 * UNITS))

        def forward(self, x):
            h = c = torch.zeros(BATCH, UNITS)
            for z in torch.unbind(x @ self.kernel + self.bias, 1):
                i, f, g, o = torch.split(z + h @ self.recurrent_kernel, UNITS, 1)
                c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
                h = torch.sigmoid(o) * torch.tanh(c)
            return h

    return Net()


def drawers(limit):
    """By name, a function of the number of steps that draws an LSTM op by op."""

    def ours(steps):
        h = lstm(steps)[1].h
        return lambda: viz.draw(h).svg(timeout=limit)

    try:
        import torch
        from torchview import draw_graph
        from torchviz import make_dot
    except ImportError as error:
        print(f"{error}: no columns for torchviz and torchview")
        return {"viz.draw": ours}

    def torchviz(steps):
        module = net(torch)
        result = module(torch.ones(BATCH, steps, SIZE))
        return lambda: svg(make_dot(result, params=dict(module.named_parameters())).source, limit)

    def torchview(steps):
        module, x = net(torch), torch.ones(BATCH, steps, SIZE)
        return lambda: svg(draw_graph(module, input_data=x).visual_graph.source, limit)

    return {"viz.draw": ours, "torchviz": torchviz, "torchview": torchview}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds after which a drawing is stopped")
    arguments = parser.parse_args()
    said = subprocess.run([program.find(), "-V"], capture_output=True, text=True)
    print(f"program: {(said.stderr or said.stdout).strip()}\n")
    for what, limit, work in views(arguments.quick):
        wall, busy = least(work)
        verdict = "" if limit is None else f"limit {limit:g} s   {'kept' if wall <= limit else 'MISSED'}"
        print(f"{what:54s} {wall:7.3f} s ({busy:.3f} s of processor)   {verdict}", flush=True)
    print("\nan LSTM op by op, to SVG")
    columns = drawers(arguments.limit)
    print(f"{'steps':>8s}" + "".join(f"{name:>14s}" for name in columns))
    stopped = set()
    for steps in (5, 10, 20) if arguments.quick else (5, 10, 20, 50, 200):
        row = f"{steps:8d}"
        for name, make in columns.items():
            taken = None if name in stopped else least(make(steps))
            stopped |= {name} if taken is None else set()
            row += f"{f'> {arguments.limit:g} s' if taken is None else f'{taken[0]:.3f} s':>14s}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
