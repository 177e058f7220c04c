"""Recurrent nets through the public API, compared with other libraries: time, GFLOP/s, and the ratio to the fastest of them.

    python tests/benchmarks/recurrent.py --peers torch,jax,tensorflow,onnxruntime --threads 1,2

Ours is `rnn.dynamic_rnn`, batch-major; training is a loss's `.backward()`. `nn.LSTM` and its like, `layers.LSTM` and its
like, and the kernels alone are measured too. With --fresh N every case runs in processes of its own, for N calls after two.

Each library runs in a separate process (`peers.py`), with the same arrays and the same threads (one thread: the process is
held to one core). Results are first compared: outputs, and for training every gradient, to 1e-4. Every round then runs all
libraries, so that other load on the machine affects all of them; the figures are medians over the rounds. `--python` names
another interpreter for the peers.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

SHAPES = [
    (1, 100, 32, 64),
    (1, 25, 29, 100),
    (32, 100, 64, 128),
    (64, 25, 500, 500),
    (32, 100, 256, 256),
    (64, 50, 512, 512),
]
CASES = [(cell, *shape) for cell in ("rnn", "gru", "lstm") for shape in SHAPES]
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
GEMM = 2048


def operations(case, mode):
    cell, B, T, D, H = case
    return 2 * B * T * (D + H) * GATES[cell] * H * (3 if mode == "train" else 1)


class Library:
    """One library in its own process; a request and its answer are one line of JSON each."""

    def __init__(self, name, python, threads, script=None):
        self.name = name
        environment = dict(os.environ)
        for variable in (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "TF_NUM_INTRAOP_THREADS",
            "TF_NUM_INTEROP_THREADS",
        ):
            environment[variable] = str(threads)
        command = [python, *(script or [str(Path(__file__).with_name("peers.py"))]), name, str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.version = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the process ended; its message is above")
        return json.loads(line)

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def difference(some, others):
    """The largest difference of two libraries' results (small samples and norms of every array), in units of the array's
    size, and the array's name."""
    errors = [
        (np.abs(np.array(some[name]) - np.array(b)).max() / max(1e-30, np.abs(some[name]).max()), name)
        for name, b in others.items()
    ]
    return max(errors, key=lambda e: (np.isnan(e[0]), e[0]))


def agree(ours, theirs, what, exact=None):
    """Raises unless two libraries' results agree to 1e-4 of each array's size. Where rounding is amplified more than that,
    `exact()` gives the results in float64: both must lie within 2e-3 of these, and neither four times as far as the other."""
    error, name = difference(ours, theirs)
    if error <= 1e-4:
        return
    if exact is not None:
        truth = exact()
        errors = difference(truth, ours)[0], difference(truth, theirs)[0]
        if max(errors) <= 2e-3 and max(errors) <= 4 * min(errors):
            print(
                f"{what}: ours differs from float64 by {errors[0]:.1e} of its size, theirs by {errors[1]:.1e}",
                flush=True,
            )
            return
    raise SystemExit(f"{what}: {name} differs by {error:.2e} of its size")


OWN = ("nn", "layers", "kernels")  # ours by other entries


def measure(libraries, case, mode, rounds, seconds, statistic, clock, most=10**9, exact=None):
    """Seconds of one call, by library; None where it has no such mode. most: calls in one round. exact: see `agree`."""
    active = {}
    for library in libraries:
        answer = library.ask(case=case, mode=mode, do="prepare")
        if answer is not None:
            active[library.name] = (library, answer)
    ours = active["tinygrad_rnn"][1]
    for name, (_, answer) in active.items():
        if name not in ("tinygrad_rnn", "gemm"):
            agree(ours, answer, f"{name} {mode} {case}", exact)
    times = {name: [] for name in active}
    for _ in range(rounds):
        for name, (library, _) in active.items():
            times[name] += library.ask(do="run", seconds=seconds, clock=clock, most=most)
            time.sleep(0.1)  # the threads of the last one spin on for a while
    return {name: float(statistic(samples)) for name, samples in times.items()}


def milliseconds(seconds):
    return (
        "-"
        if seconds is None
        else f"{seconds * 1e3:.3f}"
        if seconds < 1e-3
        else f"{seconds * 1e3:.2f}"
        if seconds < 0.1
        else f"{seconds * 1e3:.0f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="torch,jax,tensorflow,onnxruntime")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--modes", default="train,infer")
    parser.add_argument("--cells", default="rnn,gru,lstm")
    parser.add_argument("--shapes", default="", help="only these, by number from 0, with commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="the least a library runs in one round")
    parser.add_argument(
        "--least",
        action="store_true",
        help="the least time of all rounds instead of the median: for a machine that is not idle",
    )
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="processor time instead of wall time: with --threads 1 on a machine that is not idle",
    )
    parser.add_argument("--json", help="also write every figure to this file")
    parser.add_argument("--own", default=",".join(OWN), help="other entries of ours to time")
    parser.add_argument(
        "--fresh", type=int, default=0, help="so many calls of every case in processes of their own, after two"
    )
    options = parser.parse_args()
    peers = [p for p in options.peers.split(",") if p]
    own = [name for name in options.own.split(",") if name]
    shapes = [SHAPES[int(k)] for k in options.shapes.split(",")] if options.shapes else SHAPES
    cases = [c for c in CASES if c[0] in options.cells.split(",") and c[1:] in shapes]
    statistic, record = np.min if options.least else np.median, []
    for threads in map(int, options.threads.split(",")):

        def started(threads=threads):
            ours = [Library(name, sys.executable, threads) for name in ("tinygrad_rnn", "gemm", *own)]
            return ours + [Library(p, options.python, threads) for p in peers]

        libraries = started()
        for mode in options.modes.split(","):
            time_of = "processor time, " * options.cpu_time
            figure = "least" if options.least else "medians"
            rounds = f"{options.fresh} calls in fresh processes" if options.fresh else f"{options.rounds} rounds"
            print(f"\n{mode}, float32, {threads} thread{'s' * (threads > 1)}; ms, {time_of}{figure} of {rounds}")
            print("; ".join(f"{lib.name}: {lib.version}" for lib in libraries))
            shown = [*own, *peers]
            print("| cell | B | T | D | H | ours | " + " | ".join(shown) + " | ours / fastest | GFLOP/s | of GEMM |")
            print("|" + "---|" * (9 + len(shown)))
            against_torch = []
            for case in cases:
                clock = "process_time" if options.cpu_time else "perf_counter"
                if options.fresh:
                    new = started()
                    measured = measure(new, case, mode, 1, 60, statistic, clock, options.fresh + 2)
                    for library in new:
                        library.close()
                else:
                    measured = measure(libraries, case, mode, options.rounds, options.seconds, statistic, clock)
                others = [measured[p] for p in peers if p in measured]
                rate, gemm = (
                    operations(case, mode) / measured["tinygrad_rnn"] / 1e9,
                    2 * GEMM**3 / measured["gemm"] / 1e9,
                )
                ratio = f"{measured['tinygrad_rnn'] / min(others):.2f}" if others else "-"
                cells = [milliseconds(measured.get(p)) for p in ["tinygrad_rnn", *shown]]
                print(
                    f"| {' | '.join(map(str, case))} | {' | '.join(cells)} | {ratio} | {rate:.0f} | {rate / gemm:.0%} |",
                    flush=True,
                )
                if "torch" in measured:
                    against_torch.append(measured["torch"] / measured["tinygrad_rnn"])
                record.append({"threads": threads, "mode": mode, "case": case, "seconds": measured})
            if against_torch:
                print(f"geometric mean of torch / ours: {np.exp(np.mean(np.log(against_torch))):.2f}", flush=True)
        for library in libraries:
            library.close()
    if options.json:
        Path(options.json).write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
