"""Processes against one process, and against torch DDP: time per step, scaling, communication; and a model of up to 1,000
ranks.

    python tests/benchmarks/parallel.py --python PYTHON_WITH_TORCH

For two cores, like the machine of RESULTS.md. Every figure is measured in new processes; every round runs all variants, so
that other load on the machine affects all of them. A run's figure is the median of its steps, the table's the median of the
rounds, and a ratio is the median of the rounds' ratios. Without --python torch is left out. The model takes the time of a
step on one process with one thread, when the sweep finished each gradient, and the alpha-beta model: a message of n bytes
takes alpha + n / beta.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
from parallel_step import MODELS

from tinygrad_rnn.parallel.reducer import BUCKET

STEP = Path(__file__).with_name("parallel_step.py")
NETWORKS = {"10 Gbit/s": (30e-6, 1.25e9), "100 Gbit/s": (3e-6, 12.5e9)}  # alpha: TCP over Ethernet; InfiniBand or RoCE
FIGURE = {"of a run": np.median}
RANKS = (2, 8, 32, 128, 512, 1000)


def run(library, python, model, rows, processes, threads, steps):
    """The output of rank 0, parsed."""
    work = ["torch" if library == "torch" else "ours", model, rows, threads, steps]
    command = [python, str(STEP), *map(str, work)]
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    if processes == 1 or library == "ours":
        start = [str(launcher()), "-n", str(processes)] if processes > 1 else []
        return json.loads(
            subprocess.run([*start, *command], capture_output=True, text=True, check=True, env=env).stdout
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env | {"RANK": str(rank)}
        )
        for rank in range(processes)
    ]
    printed = [process.communicate()[0] for process in started]
    return json.loads(printed[0])


def launcher():
    beside = Path(sys.executable).with_name("mpiexec")
    return beside if beside.exists() else shutil.which("mpiexec")


def table(head, rows):
    print("\n|" + "|".join(f" {cell} " for cell in head) + "|\n|" + "---|" * len(head))
    for row in rows:
        print("|" + "|".join(f" {cell} " for cell in row) + "|")
    print(flush=True)


def measured(options):
    """{(model, variant): [result of each round]}; variants are (library, rows, processes, threads)."""
    results = {}
    for _ in range(options.rounds):
        for model in options.models:
            rows = MODELS[model][4]
            variants = [("ours", rows, 1, 2), ("ours", rows, 2, 1), ("ours", rows, 1, 1)]
            variants += [("ours", 2 * rows, 2, 1), ("ours", rows // 2, 1, 1)]
            if options.python:
                variants += [("torch", rows, 1, 2), ("torch", rows, 2, 1)]
            for variant in variants:
                library, b, processes, threads = variant
                python = options.python if library == "torch" else sys.executable
                result = run(library, python, model, b, processes, threads, options.steps)
                results.setdefault((model, variant), []).append(result)
                print(model, *variant, f"{1e3 * np.median(result['step']):.2f} ms", file=sys.stderr)
    return results


def step(results):
    """Milliseconds per step, one figure for each round."""
    return np.array([1e3 * FIGURE["of a run"](result["step"]) for result in results])


def show_speed(runs, options):
    print("Time of a step, ms, the batch of all processes together as on one")
    rows = []
    for model in options.models:
        b = MODELS[model][4]
        one, two = step(runs[model, ("ours", b, 1, 2)]), step(runs[model, ("ours", b, 2, 1)])
        row = [model, f"{np.median(one):.2f}", f"{np.median(two):.2f}", f"{np.median(one / two):.2f}"]
        if options.python:
            theirs = [step(runs[model, ("torch", b, n, 3 - n)]) for n in (1, 2)]
            row += [*(f"{np.median(t):.2f}" for t in theirs), f"{np.median(theirs[1] / two):.2f}"]
        rows.append(row)
    head = ["model", "ours: 1 process, 2 threads", "2 processes, 1 thread each", "speed of that"]
    table(head + ["torch: 1 process, 2 threads", "DDP: 2 processes", "DDP / ours"] * bool(options.python), rows)


def show_scaling(runs, options):
    print("Scaling over processes of one thread, ms a step; efficiency: of the speed that twice the cores could give")
    rows = []
    for model in options.models:
        b = MODELS[model][4]
        keys = ("ours", b, 1, 1), ("ours", b, 2, 1), ("ours", 2 * b, 2, 1)
        one, strong, weak = (step(runs[model, key]) for key in keys)
        row = [
            model,
            np.median(one),
            np.median(strong),
            np.median(one / strong / 2),
            np.median(weak),
            np.median(one / weak),
        ]
        rows.append([model, *(f"{value:.2f}" for value in row[1:])])
    table(["model", "1", "2, same batch (strong)", "efficiency", "2, twice the batch (weak)", "efficiency"], rows)
    print(
        "Where the time of a step on two processes goes, ms. Communication: the sums alone; exposed: what a process waited,"
    )
    print("for the network or for the other process; hidden: the rest of the communication")
    rows = []
    for model in options.models:
        results = runs[model, ("ours", MODELS[model][4], 2, 1)]
        total, alone = np.median(step(results)), 1e3 * np.median([r["communication"] for r in results])
        wait = np.median([1e3 * FIGURE["of a run"](r["wait"]) for r in results])
        cells = [total - wait, alone, wait, max(0.0, alone - wait)]
        rows.append([model, f"{results[0]['bytes'] / 1e6:.2f}", f"{total:.2f}", *(f"{cell:.2f}" for cell in cells)])
    table(["model", "gradients, MB", "step", "compute", "communication", "exposed", "hidden"], rows)


# -- on paper ------------------------------------------------------------------------------------------------------


def ring(ranks, size, alpha, beta):
    """Reduce-scatter and all-gather round a ring: 2 (N - 1) messages of n / N bytes."""
    return 2 * (ranks - 1) * (alpha + size / ranks / beta)


def tree(ranks, size, alpha, beta):
    """Recursive halving and doubling [Thakur, Rabenseifner & Gropp 2005]: 2 log2 N messages, as many bytes as the ring."""
    rounds = np.ceil(np.log2(ranks))
    return 2 * rounds * alpha + 2 * (ranks - 1) / ranks * size / beta


def gathered(ranks, size, alpha, beta):
    """All-gather of rows: every rank receives those of all the others."""
    return np.ceil(np.log2(ranks)) * alpha + (ranks - 1) * size / beta


def buckets(finished):
    """Gradients as they are sent: (paths, bytes, seconds of the sweep that are left); finished: of single ones, in order."""
    packed = []
    for path, size, left in finished:
        if path.startswith("embedding") or not packed or packed[-1][1] >= BUCKET:
            packed.append(([], 0, left))
        paths, total, _ = packed[-1]
        packed[-1] = ([*paths, path], total + size, left)
    return packed


def exposed(finished, sum_of, ranks, network):
    """How long the sums last beyond the sweep: one after the other, each from when its last gradient is finished."""
    now = -np.inf
    for paths, size, left in buckets(finished):
        now = max(-left, now) + sum_of(paths, ranks, size, *network)
    return max(0.0, now)


def best(paths, *message):
    """The faster of ring and tree, as MPI libraries choose."""
    return min(ring(*message), tree(*message))


def sparse(touched):
    """The embedding's gradient as the rows that occur, gathered; or summed whole where that is faster."""

    def sum_of(paths, ranks, size, alpha, beta):
        whole = best(paths, ranks, size, alpha, beta)
        return min(whole, gathered(ranks, touched, alpha, beta)) if "embedding.weight" in paths else whole

    return sum_of


def half(efficiency):
    """The number of ranks from which on the efficiency is below a half."""
    ranks = np.unique(np.geomspace(2, 1e6, 400).astype(int))
    below = [n for n in ranks if efficiency(n) < 0.5]
    return f"{below[0]:,}" if below else "none to 1,000,000"


def show_paper(runs, options):
    print("On paper, weak scaling (each rank its own full batch): efficiency, and ms of communication after the sweep")
    rows = []
    for model in options.models:
        tokens, width, _, _, b, length = MODELS[model]
        results = runs[model, ("ours", b, 1, 1)]
        seconds = np.median(step(results)) / 1e3
        finished = results[len(results) // 2]["finished"]
        touched = min(tokens, b * length) * (4 * width + 8)
        for network, numbers in NETWORKS.items():
            kinds = {"ring": lambda _, *message: ring(*message), "tree": lambda _, *message: tree(*message)}
            for name, sum_of in (kinds | {"the faster, sparse embedding": sparse(touched)}).items():

                def efficiency(n, sum_of=sum_of, finished=finished, seconds=seconds, numbers=numbers):
                    return seconds / (seconds + exposed(finished, sum_of, n, numbers))

                cells = [f"{efficiency(n):.2f}, {1e3 * exposed(finished, sum_of, n, numbers):.2f}" for n in RANKS]
                rows.append([model, network, name, *cells, half(efficiency)])
        whole = finished[-1][1]
        breaks = [n for n in range(2, 10_000) if (n - 1) * touched > 2 * (n - 1) / n * whole]
        print(
            f"{model}: an embedding of {whole / 1e6:.2f} MB, of which a batch touches {touched / 1e6:.2f} MB; rows gathered are"
        )
        print(f"fewer bytes than the sum up to {breaks[0] - 1} ranks")
    table(["model", "network", "all-reduce", *(f"{n:,}" for n in RANKS), "half at"], rows)
    print(
        "On paper, strong scaling (the batch of one process shared out, at most a row a rank): speed over one rank. The time"
    )
    print("of a share is linear between the measured times of the whole batch and of half of it")
    rows = []
    for model in options.models:
        b = MODELS[model][4]
        results = runs[model, ("ours", b, 1, 1)]
        whole, part = (np.median(step(runs[model, ("ours", r, 1, 1)])) / 1e3 for r in (b, b // 2))
        fixed = max(0.0, 2 * part - whole)
        finished = results[len(results) // 2]["finished"]
        for network, numbers in NETWORKS.items():
            row = [model, network, f"{1e3 * fixed:.1f}"]
            for n in (2, 4, 8, 16, b):
                share = fixed + (whole - fixed) / n
                scaled = [(path, size, left * share / whole) for path, size, left in finished]
                row.append(f"{whole / (share + exposed(scaled, best, n, numbers)):.1f}")
            rows.append(row)
    table(["model", "network", "ms that no share shortens", "2", "4", "8", "16", "a row each"], rows)
    print("Gradients in the order in which the sweep finishes them, MB, and ms of it that are left")
    for model in options.models:
        results = runs[model, ("ours", MODELS[model][4], 1, 1)]
        finished = results[len(results) // 2]["finished"]
        print(f"  {model}: " + ", ".join(f"{path} {size / 1e6:.2f} {1e3 * left:.1f}" for path, size, left in finished))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", help="an interpreter that has torch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60, help="timed steps of each run (%(default)s)")
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--least", action="store_true", help="a run's figure is its fastest step: on a busy machine")
    options = parser.parse_args()
    if options.least:
        FIGURE["of a run"] = np.min
    if launcher() is None:
        sys.exit("there is no mpiexec: pip install -e '.[mpi]'")
    load = os.getloadavg()[0]
    runs = measured(options)
    print(f"{os.cpu_count()} cores, load average before {load:.1f}, {options.rounds} rounds of {options.steps} steps")
    print("A run's figure is its fastest step\n" if options.least else "")
    show_speed(runs, options)
    show_scaling(runs, options)
    show_paper(runs, options)


if __name__ == "__main__":
    main()
