"""Times of drawing, beside torchviz and torchview on the same nets where they and torch are installed.

    python tests/benchmarks/drawing.py [--quick]

Every figure is the median of three runs: from tensors to SVG text (ours), to a rendered SVG file (theirs, through `dot`).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from tinygrad_rnn.viz import program

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

BATCH, SIZE, UNITS = 2, 8, 16


def lstm(steps, impl="unrolled"):
    x = tg.Tensor(np.ones((BATCH, steps, SIZE), np.float32), name="x")
    return rnn.dynamic_rnn(rnn.LSTMCell(UNITS), x, impl=impl)


def median(work, runs=3):
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def ours(quick):
    """(what, limit in seconds, work) of each case."""
    long = lstm(1000), lstm(1000, "auto")
    yield "unrolled, 1,000 steps, elided, recorded step by step", 0.5, lambda: viz.unrolled(long[0], (2, 1)).svg()
    yield "unrolled, 1,000 steps, elided, fused", 0.5, lambda: viz.unrolled(long[1], (2, 1)).svg()
    yield "folded, 1,000 steps", 0.3, lambda: viz.folded(long[0]).svg()
    yield "folded, a cell", 0.3, lambda: viz.folded(rnn.LSTMCell(UNITS)).svg()
    yield "inside of a cell", 0.3, lambda: viz.cell(rnn.LSTMCell(UNITS)).svg()
    for steps, limit in ((50, 1), (200, 3)) if quick else ((50, 1), (200, 3), (1000, 15)):
        run = lstm(steps)
        yield f"op-level, every one of {steps:,} steps", limit, lambda run=run: viz.draw(run).svg()
    loss = (long[1][0][:, -1] ** 2).sum()
    yield "gradient flow, 1,000 steps, fused", None, lambda: viz.grad_flow(loss)
    x = tg.tensor(1.0, requires_grad=True)
    for _ in range(100_000):
        x = tg.tanh(x)
    yield "snapshot of 100,000 nodes", 2, lambda: tg.snapshot(x)


def theirs(quick):
    """The same nets through torchviz and torchview."""
    try:
        import torch
    except ImportError:
        print("torch is not installed: no figures for torchviz and torchview")
        return
    steps_list = (50,) if quick else (50, 200)
    folder = tempfile.mkdtemp()

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = torch.nn.LSTMCell(SIZE, UNITS)

        def forward(self, x):
            h = c = torch.zeros(BATCH, UNITS)
            for t in range(x.shape[1]):
                h, c = self.cell(x[:, t], (h, c))
            return h

    for steps in steps_list:
        x = torch.ones(BATCH, steps, SIZE)
        try:
            from torchviz import make_dot

            net = Loop()
            yield (
                f"torchviz, LSTMCell, {steps} steps",
                None,
                lambda net=net, x=x: make_dot(net(x)).render(folder + "/a", format="svg"),
            )
        except ImportError:
            print("torchviz is not installed")
        try:
            from torchview import draw_graph

            def view(net=net, x=x):
                draw_graph(net, input_data=x).visual_graph.render(folder + "/b", format="svg")

            yield f"torchview, LSTMCell, {steps} steps", None, view
        except ImportError:
            print("torchview is not installed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    quick = parser.parse_args().quick
    print(f"program: {Path(program.find()).name}")
    for cases in (ours, theirs):
        for what, limit, work in cases(quick):
            taken = median(work)
            verdict = "" if limit is None else f"limit {limit:g} s   {'kept' if taken <= limit else 'MISSED'}"
            print(f"{what:60s} {taken:8.3f} s   {verdict}")


if __name__ == "__main__":
    main()
