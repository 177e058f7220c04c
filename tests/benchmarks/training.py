"""Whole training steps, through the public API: against torch, and a Keras-style `fit` against Keras.

    python tests/benchmarks/training.py --python PYTHON_WITH_PEERS [--threads 1,2] [--models "word LM"] [--where] [--memory]

A step is zero_grad, forward, loss, backward, clipping (language models), Adam, and the loss as a number. Each library runs
in a separate process (`training_step.py`), with the same first weights and the same batches, and as many threads. The
losses of the first steps are compared, to 1e-3. Every round then runs all libraries; times are medians over all rounds, in
milliseconds, the ratio is the median of the rounds' ratios. `fit` is an epoch of 20 batches. --where: the parts of our step.
--memory: the most memory of a process that trains, above what it took when the library was loaded.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from recurrent import GEMM, Library
from training_step import SIZES, products

STEP = Path(__file__).with_name("training_step.py")
PARTS = ("products", "kernels", "loss", "indexing", "optimiser", "other ops", "Python")


def prepared(libraries, model, weights):
    """The libraries that have this model, ours first, with their losses compared."""
    active, expected = [], None
    for library in libraries:
        losses = library.ask(do="prepare", model=model, weights=weights)
        if losses is None:
            continue
        active.append(library)
        if library.name == "gemm":
            continue
        if expected is None:
            expected = losses
        elif not np.allclose(losses, expected, rtol=1e-3):
            raise SystemExit(
                f"{model}: the losses of the first steps are {losses} ({library.name}) and {expected} (ours)"
            )
    return active


def table(head, rows):
    print("\n|" + "|".join(f" {cell} " for cell in head) + "|\n|" + "---|" * len(head))
    for row in rows:
        print("|" + "|".join(f" {cell} " for cell in row) + "|")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--peers", default="torch,keras-torch,keras-jax,keras-tensorflow")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--models", default=",".join(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="the least a library runs in one round")
    parser.add_argument("--where", action="store_true")
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    models = options.models.split(",")
    peers = [p for p in options.peers.split(",") if p and (p.startswith("keras") <= ("fit" in models))]
    weights = str(Path(tempfile.mkdtemp()) / "weights.npz")
    for threads in map(int, options.threads.split(",")):

        def started(name, threads=threads):
            python = options.python if name in peers else sys.executable
            return Library(name, python, threads, script=[str(STEP)])

        if options.memory:
            rows = []
            for model in models:
                memory = {}
                for name in ("ours", *peers):
                    library = started(name)
                    if library.ask(do="prepare", model=model, weights=weights) is not None:
                        memory[name] = library.ask(do="memory")
                    library.close()
                rows.append([model, *(f"{mb:.0f}" for mb in memory.values())])
            table(["MB", "ours", "peers"], rows)
            continue
        libraries = [started(name) for name in ("ours", *peers, "gemm")]
        print(
            f"{threads} thread{'s' * (threads > 1)}, ms; "
            + "; ".join(f"{lib.name}: {lib.version}" for lib in libraries)
        )
        rows, shares, ratios = [], [], []
        for model in models:
            active = prepared(libraries, model, weights)
            times, faults = {library.name: [] for library in active}, {}
            for _ in range(options.rounds):
                for library in active:
                    answer = library.ask(do="run", seconds=options.seconds)
                    times[library.name].append(np.median(answer["seconds"]) * 1e3)
                    faults[library.name] = answer["faults"]
                    time.sleep(0.02)
            middle = {name: float(np.median(samples)) for name, samples in times.items()}
            fastest = min((name for name in middle if name not in ("ours", "gemm")), key=middle.get, default=None)
            ceiling = 2 * GEMM**3 / middle["gemm"] / 1e6
            share = products(model) / middle["ours"] / 1e6 / ceiling
            row = [model, f"{middle['ours']:.2f}", f"{faults['ours']:.0f}"]
            if fastest:
                ratios.append(float(np.median(np.array(times["ours"]) / np.array(times[fastest]))))
                row += [fastest, f"{middle[fastest]:.2f}", f"{ratios[-1]:.2f}"]
            rows.append(row)
            print(" | ".join(row), flush=True)
            if options.where:
                steps = max(3, int(1000 / middle["ours"]))
                where = active[0].ask(do="where", model=model, steps=steps)
                shares.append([model, *(f"{where.get(part, 0):.2f}" for part in PARTS), f"{share:.0%}"])
        table(["model", "ours", "page faults a step", "fastest peer", "its time", "ratio"], rows)
        if ratios:
            print(f"geometric mean of the ratios: {np.exp(np.mean(np.log(ratios))):.2f}")
        if shares:
            table(["model", *PARTS, "of GEMM"], shares)
        for library in libraries:
            library.close()


if __name__ == "__main__":
    main()
