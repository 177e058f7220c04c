"""Speed and memory beyond the table of `recurrent.py`: ragged batches, length, threads, float64, streaming, memory.

    python tests/benchmarks/claims.py [--python an interpreter with torch]

Nets run through the public API: `rnn.dynamic_rnn`, batch-major, and a loss's `.backward()`, with the input's gradient. Each
figure is the minimum of several interleaved rounds.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tinygrad_rnn as tg
from tinygrad_rnn import kernels, rnn


def arrays(B, T, D, H, gates, dtype=np.float32):
    rng = np.random.default_rng(0)
    x, W = rng.standard_normal((B, T, D), dtype=dtype), rng.standard_normal((D, gates * H), dtype=dtype)
    U, b = rng.standard_normal((H, gates * H), dtype=dtype), rng.standard_normal(gates * H, dtype=dtype)
    return x, W * dtype(D**-0.5), U * dtype(H**-0.5), b


def least(runs, rounds=7):
    """The minimum time of each of several functions, called in turn, in seconds."""
    best = [np.inf] * len(runs)
    for _ in range(rounds):
        for k, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[k] = min(best[k], time.perf_counter() - start)
    return best


def trainer(x, W, U, b, cell="lstm", lengths=None, **options):
    """One training step: forward, a loss, backward."""
    cls = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}[cell]
    net = cls(len(U), **{"reset_after": True} if cell == "gru" else {}).build(len(W), x.dtype)
    net.load_state_dict(dict(zip(("kernel", "recurrent_kernel", "bias"), (W, U, b), strict=True)), strict=False)
    x, parameters = tg.tensor(x, requires_grad=True), net.parameters()

    def run():
        for p in (x, *parameters):
            p.grad = None
        rnn.dynamic_rnn(net, x, lengths, **options)[0].sum().backward()

    return run


def ragged():
    for cell, gates in (("rnn", 1), ("gru", 3), ("lstm", 4)):
        a = arrays(32, 500, 64, 128, gates)
        lengths = np.random.default_rng(0).integers(60, 501, 32)
        full, part = least([trainer(*a, cell=cell), trainer(*a, cell=cell, lengths=lengths)])
        fill = lengths.sum() / (32 * 500)
        print(
            f"ragged {cell} (32, 500, 64, 128), {fill:.0%} full: {part * 1e3:.1f} ms, "
            f"padded {full * 1e3:.1f}: {part / full:.0%} of the time"
        )


def linear():
    rates = []
    for T in (1_000, 10_000, 100_000):
        run = trainer(*arrays(1, T, 32, 64, 4))
        rates.append(least([run], 3)[0] / T * 1e6)
    print(
        "LSTM training (1, T, 32, 64), microseconds a step at T = 1,000, 10,000, 100,000: "
        + ", ".join(f"{r:.2f}" for r in rates)
    )


def threads():
    before = kernels.get_num_threads()
    for cell, gates, shape in (
        ("lstm", 4, (64, 50, 512, 512)),
        ("lstm", 4, (1, 100, 32, 64)),
        ("gru", 3, (4, 20, 16, 32)),
    ):
        run = trainer(*arrays(*shape, gates), cell=cell)

        def one(n, run=run):
            kernels.set_num_threads(n)
            run()

        a, b = least([lambda: one(1), lambda: one(2)], 9)
        print(f"two threads at {cell} {shape}: {a / b:.2f} times one")
    kernels.set_num_threads(before)


TORCH_DOUBLE = """
import sys, time, torch
torch.set_num_threads(2)
net = torch.nn.LSTM(64, 128).double()
x, g = torch.randn(100, 32, 64, dtype=torch.double, requires_grad=True), torch.randn(100, 32, 128, dtype=torch.double)
best = 1e9
for _ in range(12):
    start = time.perf_counter()
    x.grad = None
    net.zero_grad()
    net(x)[0].backward(g)
    best = min(best, time.perf_counter() - start)
print(best)
"""


def double(python):
    ours = least([trainer(*arrays(32, 100, 64, 128, 4, np.float64))], 12)[0]
    done = subprocess.run([python, "-c", TORCH_DOUBLE], capture_output=True, text=True)
    theirs = (
        f"torch {float(done.stdout) * 1e3:.1f}, {float(done.stdout) / ours:.1f} times ours"
        if done.returncode == 0
        else "no torch to compare"
    )
    print(f"float64 LSTM training (32, 100, 64, 128): {ours * 1e3:.1f} ms; {theirs}")


def streaming():
    for cls, cell in (
        ("rnn", rnn.BasicRNNCell(64)),
        ("gru", rnn.GRUCell(64, reset_after=True)),
        ("lstm", rnn.LSTMCell(64)),
    ):
        stepper = cell.build(64).stepper()
        x = arrays(1, 1, 64, 64, 1)[0][:, 0]

        def thousand(step=stepper.step, x=x):
            for _ in range(1000):
                step(x)

        print(f"one streaming {cls} step, B = 1, D = H = 64: {least([thousand], 30)[0] * 1e3:.2f} microseconds")


MEMORY = """
import sys
sys.path[:0] = {path!r}
import claims
run = claims.trainer(*claims.arrays(64, 500, 256, 256, 4), recompute={recompute!r})
pages = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
before = pages()
open("/proc/self/clear_refs", "w").write("5")
run()
peak = [int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmHWM")][0]
print((peak - before) / 2**20)
"""


def memory():
    for recompute in (False, True):
        code = MEMORY.format(path=[str(Path(__file__).parent)], recompute=recompute)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        print(
            f"LSTM training step (64, 500, 256, 256), {recompute=}: {float(done.stdout):.0f} MB above weights and input"
            if done.returncode == 0
            else f"memory: not measured here ({done.stderr.strip().splitlines()[-1]})"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has torch")
    options = parser.parse_args()
    print(kernels.info())
    for part in (ragged, linear, threads, lambda: double(options.python), streaming, memory):
        part()


if __name__ == "__main__":
    main()
