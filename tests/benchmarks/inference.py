"""Inference as users call it, `rnn.dynamic_rnn` under `no_grad`, against other libraries and under less than ideal
conditions.

    python tests/benchmarks/inference.py --peers torch,onnxruntime --python PYTHON_WITH_PEERS --threads 1,2

First shapes that lie between those of `recurrent.py`: medians over rounds, each of which runs every library once, after
their outputs were compared to 1e-4. Then the influence of other work around a call, for this package alone: a NumPy product
of 512 cubed right before each call (whose BLAS threads keep spinning for a while), pauses between calls, and another process
that keeps one core busy.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
from peers import LIBRARIES
from recurrent import Library, agree, milliseconds

SHAPES = [(1, 80, 48, 96), (2, 200, 16, 32), (4, 50, 64, 96), (8, 60, 100, 200), (24, 90, 80, 160), (40, 60, 128, 512)]
DISTURBED = [("lstm", 2, 200, 16, 32), ("lstm", 8, 60, 100, 200), ("gru", 24, 90, 80, 160), ("lstm", 40, 60, 128, 512)]
PAUSES = [0.0005, 0.005, 0.05]
BUSY = "import os; os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})\nwhile True: pass"


class Session(Library):
    """One library in a process of its own, served by this file.

    The process is stopped while no question is asked: threads of a library that spin after a call would take a core from the
    others.
    """

    def __init__(self, name, python, threads):
        self.name = name
        environment = os.environ | {
            v: str(threads) for v in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        }
        command = [python, __file__, "--serve", name, "--threads", str(threads)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.version = self.read()
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, **question):
        self.process.send_signal(signal.SIGCONT)
        answer = super().ask(**question)
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        super().close()


def serve(name, threads):
    """Answer questions, one line of JSON each, with a library held to the first `threads` cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers, sys.stdout = sys.stdout, sys.stderr
    library = LIBRARIES[name](threads)
    square = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer(library.version)
    run = None
    for line in sys.stdin:
        question = json.loads(line)
        if question["do"] == "prepare":
            run, fingerprint = library.prepare(question["case"], "infer")
            answer(fingerprint)
            continue
        for _ in range(3):
            run()
        times, end = [], time.perf_counter() + question["seconds"]
        while len(times) < 7 or time.perf_counter() < end:
            if question.get("pause"):
                time.sleep(question["pause"])
            if question.get("product"):
                square @ square
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        answer(times)


def against_peers(threads, peers, python, rounds, seconds):
    sessions = [Session("tinygrad_rnn", sys.executable, threads), *(Session(p, python, threads) for p in peers)]
    print(f"\ninference, float32, {threads} thread{'s' * (threads > 1)}; ms, medians of {rounds} rounds\n")
    print(f"| cell | B | T | D | H | ours | {' | '.join(peers)} | ours / fastest |")
    print(f"|{'---|' * (7 + len(peers))}")
    for case in [(cell, *shape) for cell in ("rnn", "gru", "lstm") for shape in SHAPES]:
        results = [session.ask(do="prepare", case=case) for session in sessions]
        for session, outputs in zip(sessions[1:], results[1:], strict=True):
            agree(results[0], outputs, f"{session.name} {case}")
        times = [[] for _ in sessions]
        for _ in range(rounds):
            for session, mine in zip(sessions, times, strict=True):
                mine.append(np.median(session.ask(do="run", seconds=seconds)))
                time.sleep(0.02)
        ours, *theirs = (float(np.median(mine)) for mine in times)
        row = [*case, *map(milliseconds, (ours, *theirs)), f"{ours / min(theirs):.2f}" if theirs else "-"]
        print(f"| {' | '.join(map(str, row))} |", flush=True)
    for session in sessions:
        session.close()


def disturbed(thread_counts, seconds):
    sessions = {n: Session("tinygrad_rnn", sys.executable, n) for n in thread_counts}
    conditions = {"back to back": {}, "after a product": {"product": True}}
    conditions |= {f"after {pause * 1e3:g} ms": {"pause": pause} for pause in PAUSES}
    print("\nours, of the time back to back (ms); the last column beside a process that keeps a core busy\n")
    print(f"| cell | B | T | D | H | threads | {' | '.join(conditions)} | busy neighbour |")
    print(f"|{'---|' * (7 + len(conditions))}")
    for case in DISTURBED:
        for threads, session in sessions.items():
            session.ask(do="prepare", case=case)
            times = []
            for condition in conditions.values():
                times.append(float(np.median(session.ask(do="run", seconds=seconds, **condition))))
                time.sleep(0.1)
            neighbour = subprocess.Popen([sys.executable, "-c", BUSY])
            try:
                time.sleep(0.2)
                times.append(float(np.median(session.ask(do="run", seconds=seconds))))
            finally:
                neighbour.kill()
                neighbour.wait()
            row = [*case, threads, milliseconds(times[0]), *(f"{t / times[0]:.2f}" for t in times[1:])]
            print(f"| {' | '.join(map(str, row))} |", flush=True)
    for session in sessions.values():
        session.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="torch,onnxruntime")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--parts", default="peers,disturbed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="the least a library runs in one round")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    thread_counts = [int(n) for n in options.threads.split(",")]
    if options.serve:
        return serve(options.serve, thread_counts[0])
    if "peers" in options.parts:
        for threads in thread_counts:
            against_peers(
                threads, [p for p in options.peers.split(",") if p], options.python, options.rounds, options.seconds
            )
    if "disturbed" in options.parts:
        disturbed(thread_counts, 5 * options.seconds)


if __name__ == "__main__":
    main()
