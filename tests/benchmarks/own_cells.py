"""Cells that no library ships, each written once from primitives: this package against torch (eager and
torch.jit.script) and JAX (jit of lax.scan).

    python tests/benchmarks/own_cells.py --python PYTHON_WITH_PEERS [--threads 1,2] [--cells NAME,…] [--shapes 0,2]

The lines of a step are the same for every library; T is its module of functions. Here a step is a subclass of `rnn.RNNCell`
through `rnn.dynamic_rnn` (`tg.scan` where the step attends to a memory). Training is forward and backward from a random
cotangent, with the gradients of input and weights. Results are compared first, rounds alternate between libraries, and the
figures are medians over the rounds (see `recurrent.py`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from peers import sample, serve
from recurrent import Library, measure, milliseconds

SHAPES = [(1, 100, 32, 64), (1, 25, 29, 100), (8, 50, 64, 32), (32, 100, 64, 128), (64, 25, 256, 512)]
MEMORY = 20  # rows of the memory that attention reads


class Cell(NamedTuple):
    """A step's lines: from x and the states to new states. Sizes of states and weights by letter: D, H, P = H / 2, G = 4 H."""

    states: dict[str, str]
    weights: dict[str, str]
    lines: str
    memory: bool = False
    output: str = "h"


LSTM = """
c = T.sigmoid(f) * c + T.sigmoid(i) * T.tanh(g)
h = T.sigmoid(o) * T.tanh(c)"""
CELLS = {
    "minimal gated": Cell(  # two products per step
        {"h": "H"},
        {"Wf": "DH", "Uf": "HH", "bf": "H", "Wn": "DH", "Un": "HH", "bn": "H"},
        """
f = T.sigmoid(x @ Wf + h @ Uf + bf)
n = T.tanh(x @ Wn + (f * h) @ Un + bn)
h = (1 - f) * h + f * n""",
    ),
    "layer norm LSTM": Cell(  # row normalisation
        {"c": "H", "h": "H"},
        {"W": "DG", "U": "HG", "sx": "G", "sh": "G", "b": "G", "sc": "H", "bc": "H"},
        """
i, f, g, o = four(norm(x @ W) * sx + norm(h @ U) * sh + b)
c = T.sigmoid(f) * c + T.sigmoid(i) * T.tanh(g)
h = T.sigmoid(o) * T.tanh(norm(c) * sc + bc)""",
    ),
    "IndRNN": Cell(  # elementwise recurrence
        {"h": "H"},
        {"W": "DH", "u": "H", "b": "H"},
        """
h = T.relu(x @ W + u * h + b)""",
    ),
    "peephole LSTM": Cell(  # gates read the cell state
        {"c": "H", "h": "H"},
        {"W": "DG", "U": "HG", "b": "G", "pi": "H", "pf": "H", "po": "H"},
        """
i, f, g, o = four(x @ W + h @ U + b)
c1 = T.sigmoid(f + pf * c) * c + T.sigmoid(i + pi * c) * T.tanh(g)
h = T.sigmoid(o + po * c1) * T.tanh(c1)
c = c1""",
    ),
    "multiplicative LSTM": Cell(
        {"c": "H", "h": "H"},
        {"Wm": "DH", "Um": "HH", "W": "DG", "U": "HG", "b": "G"},
        """
i, f, g, o = four(x @ W + ((x @ Wm) * (h @ Um)) @ U + b)"""
        + LSTM,
    ),
    "projected LSTM": Cell(
        {"c": "H", "h": "P"},
        {"W": "DG", "U": "PG", "b": "G", "V": "HP"},
        """
i, f, g, o = four(x @ W + h @ U + b)
c = T.sigmoid(f) * c + T.sigmoid(i) * T.tanh(g)
h = (T.sigmoid(o) * T.tanh(c)) @ V""",
    ),
    "attention": Cell(  # over a memory (B, S, H)
        {"h": "H"},
        {"Q": "HH", "Wz": "DH", "Uz": "HH", "bz": "H", "Wn": "DH", "Un": "HH", "Cn": "HH", "bn": "H"},
        """
q = h @ Q
a = T.softmax((memory @ q[:, :, None])[:, :, 0], -1)
context = (a[:, None, :] @ memory)[:, 0]
z = T.sigmoid(x @ Wz + h @ Uz + bz)
n = T.tanh(x @ Wn + h @ Un + context @ Cn + bn)
h = z * h + (1 - z) * n""",
        memory=True,
    ),
    "two timescales": Cell(  # a leaky mean of h beside h
        {"s": "H", "h": "H"},
        {"W": "DH", "U": "HH", "V": "HH", "b": "H", "p": "H"},
        """
a = T.sigmoid(p)
s = a * s + (1 - a) * h
h = T.tanh(x @ W + h @ U + s @ V + b)""",
    ),
    "recurrent highway": Cell(  # two layers within a step
        {"h": "H"},
        {"W": "DH", "Wt": "DH", "U": "HH", "Ut": "HH", "b": "H", "bt": "H", "V": "HH", "Vt": "HH", "d": "H", "dt": "H"},
        """
t = T.sigmoid(x @ Wt + h @ Ut + bt)
h = t * T.tanh(x @ W + h @ U + b) + (1 - t) * h
t = T.sigmoid(h @ Vt + dt)
h = t * T.tanh(h @ V + d) + (1 - t) * h""",
    ),
    "simple recurrent unit": Cell(  # every product before the loop
        {"c": "H"},
        {"W": "DH", "Wf": "DH", "Wr": "DH", "V": "DH", "vf": "H", "vr": "H", "bf": "H", "br": "H"},
        """
f = T.sigmoid(x @ Wf + vf * c + bf)
r = T.sigmoid(x @ Wr + vr * c + br)
c = f * c + (1 - f) * (x @ W)
h = r * T.tanh(c) + (1 - r) * (x @ V)""",
    ),
}


def arrays(case: Any, dtype: Any = np.float32) -> tuple[Any, Any, Any, Any]:
    """x (T, B, D), weights by name, the memory, and the cotangent of the outputs; all of them float32 values."""
    name, B, T, D, H = case
    cell, rng = CELLS[name], np.random.default_rng(7)
    sizes = {"D": D, "H": H, "P": H // 2, "G": 4 * H}
    x = rng.standard_normal((T, B, D))
    weights = {}
    for weight, letters in cell.weights.items():
        shape = [sizes[letter] for letter in letters]
        weights[weight] = rng.standard_normal(shape) * (0.7 / shape[0] ** 0.5 if len(shape) == 2 else 0.3)
    memory = rng.standard_normal((B, MEMORY, H))
    g = rng.standard_normal((T, B, sizes[cell.states.get(cell.output, "H")]))

    def rounded(a: Any) -> Any:
        return a.astype(np.float32).astype(dtype)

    return rounded(x), {k: rounded(w) for k, w in weights.items()}, rounded(memory), rounded(g)


def state_sizes(case: Any) -> dict[str, int]:
    H = case[4]
    return {state: {"H": H, "P": H // 2}[letter] for state, letter in CELLS[case[0]].states.items()}


def indented(text: str) -> str:
    return text.strip().replace("\n", "\n    ")


def step_of(name: str, helpers: dict[str, Any]) -> Any:
    """The cell's lines as a function: step(x, weights by name, states by name, memory) -> (output, new states)."""
    cell = CELLS[name]
    weights, states = ", ".join(cell.weights), ", ".join(cell.states)
    text = (
        f"def step(x, {weights}, {states}, memory):\n    {indented(cell.lines)}\n    return {cell.output}, ({states},)"
    )
    exec(text, helpers)
    return helpers["step"]


def normed(mean: Any, T: Any) -> Any:
    def norm(a: Any) -> Any:
        centred = a - mean(a)
        return centred / T.sqrt(mean(centred * centred) + 1e-5)

    return norm


class Ours:
    def __init__(self, threads: int):
        import tinygrad_rnn as tg
        from tinygrad_rnn import kernels

        tg.set_num_threads(threads)
        self.tg, self.version = tg, str(kernels.info())

    def prepare(self, case: Any, mode: str, dtype: Any = np.float32, impl: str = "auto") -> Any:
        """A function that runs the case, and a sample of its results."""
        tg, name, own = self.tg, case[0], CELLS[case[0]]
        x, values, memory, g = arrays(case, dtype)
        helpers = {"T": tg, "four": lambda a: tg.split(a, 4, axis=-1)}
        helpers["norm"] = normed(lambda a: a.mean(-1, keepdims=True), tg)
        step, sizes = step_of(name, helpers), state_sizes(case)

        class Made(tg.rnn.RNNCell):  # type: ignore[misc,name-defined]
            state_size = tuple(sizes.values())
            output_size = g.shape[2]

            def build_parameters(self, input_size: int) -> None:
                for weight, value in values.items():
                    setattr(self, weight, tg.Parameter(value))

            def call(self, x: Any, states: Any, memory: Any = None) -> Any:
                weights = {k: getattr(self, k) for k in values}
                return step(x, **weights, **dict(zip(sizes, states, strict=True)), memory=memory)

        cell = Made().build(x.shape[2], dtype)
        training = mode == "train"
        x, memory = tg.tensor(x, requires_grad=training), tg.tensor(memory, requires_grad=training)

        def run() -> Any:
            if own.memory:
                state = cell.zero_state(case[1], dtype)
                return tg.scan(cell.call, x, state, constants=(memory,), time_major=True, impl=impl)[0]
            return tg.rnn.dynamic_rnn(cell, x, time_major=True, impl=impl)[0]

        def infer() -> Any:
            with tg.no_grad():
                return run()

        parameters = cell.parameters()

        def train() -> None:
            x.grad = memory.grad = None
            for parameter in parameters:
                parameter.grad = None
            run().backward(g)

        if mode == "infer":
            return infer, sample(outputs=infer().data)
        train()
        more = {"memory": memory.grad} if own.memory else {}
        return train, sample(x=x.grad, **{k: getattr(cell, k).grad for k in values}, **more)


class Torch:
    def __init__(self, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.version = torch, torch.__version__

    def runner(self, case: Any) -> Any:
        """A function of x, weights, states and memory that gives the outputs."""
        torch = self.torch
        helpers = {"T": torch, "four": lambda a: torch.chunk(a, 4, -1)}
        helpers["norm"] = normed(lambda a: a.mean(-1, True), torch)
        step = step_of(case[0], helpers)

        def run(x: Any, weights: Any, states: Any, memory: Any) -> Any:
            outputs = []
            for part in x.unbind(0):
                output, states = step(part, *weights, *states, memory)
                outputs.append(output)
            return torch.stack(outputs)

        return run

    def prepare(self, case: Any, mode: str) -> Any:
        torch, own, run = self.torch, CELLS[case[0]], self.runner(case)
        x, values, memory, g = arrays(case)
        training = mode == "train"
        x, memory = torch.tensor(x, requires_grad=training), torch.tensor(memory, requires_grad=training)
        weights = [torch.tensor(w, requires_grad=training) for w in values.values()]
        states, g = [torch.zeros(case[1], n) for n in state_sizes(case).values()], torch.tensor(g)

        def infer() -> Any:
            with torch.inference_mode():
                return run(x, weights, states, memory)

        def train() -> None:
            for t in (x, memory, *weights):
                t.grad = None
            run(x, weights, states, memory).backward(g)

        for _ in range(4):  # torch.jit specialises in the first calls
            train() if training else infer()
        if mode == "infer":
            return infer, sample(outputs=infer().numpy())
        more = {"memory": memory.grad.numpy()} if own.memory else {}
        return train, sample(
            x=x.grad.numpy(), **dict(zip(values, [w.grad.numpy() for w in weights], strict=True)), **more
        )


class Script(Torch):
    def runner(self, case: Any) -> Any:
        own, torch = CELLS[case[0]], self.torch  # the text's names are looked up in this frame
        text = f"""
def norm(a):
    centred = a - a.mean(-1, True)
    return centred / torch.sqrt((centred * centred).mean(-1, True) + 1e-5)

def four(a):
    i, f, g, o = torch.chunk(a, 4, -1)
    return i, f, g, o

def run(xs, {", ".join(own.weights)}, {", ".join(own.states)}, memory):
    outputs = []
    for x in xs.unbind(0):
        {own.lines.strip().replace("T.", "torch.").replace(chr(10), chr(10) + "        ")}
        outputs.append({own.output})
    return torch.stack(outputs)
"""
        unit = torch.jit.CompilationUnit(text)
        return lambda x, weights, states, memory: unit.run(x, *weights, *states, memory)


class Jax:
    def __init__(self, threads: int):
        import jax

        self.jax, self.version = jax, jax.__version__

    def prepare(self, case: Any, mode: str) -> Any:
        jax, own = self.jax, CELLS[case[0]]
        np_ = jax.numpy
        x, values, memory, g = arrays(case)

        class T:
            sigmoid, relu, softmax = jax.nn.sigmoid, jax.nn.relu, jax.nn.softmax
            tanh, sqrt = np_.tanh, np_.sqrt

        helpers = {"T": T, "four": lambda a: np_.split(a, 4, axis=-1)}
        helpers["norm"] = normed(lambda a: a.mean(-1, keepdims=True), T)
        step = step_of(case[0], helpers)
        states = tuple(np_.zeros((case[1], n), np_.float32) for n in state_sizes(case).values())

        def run(x: Any, weights: Any, memory: Any) -> Any:
            def one(states: Any, part: Any) -> Any:
                output, states = step(part, *weights, *states, memory)
                return states, output

            return jax.lax.scan(one, states, x)[1]

        placed = [jax.device_put(x), [jax.device_put(w) for w in values.values()], jax.device_put(memory)]
        g = jax.device_put(g)
        forward = jax.jit(run)
        gradient = jax.jit(lambda x, weights, memory: jax.vjp(run, x, weights, memory)[1](g))
        if mode == "infer":
            return lambda: forward(*placed).block_until_ready(), sample(outputs=forward(*placed))
        of_x, of_weights, of_memory = gradient(*placed)
        more = {"memory": of_memory} if own.memory else {}
        return lambda: jax.block_until_ready(gradient(*placed)), sample(
            x=of_x, **dict(zip(values, of_weights, strict=True)), **more
        )


LIBRARIES = {"tinygrad_rnn": Ours, "torch": Torch, "script": Script, "jax": Jax}


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        return serve(LIBRARIES[sys.argv[2]], int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="torch,script,jax")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--threads", default="2,1")
    parser.add_argument("--modes", default="infer,train")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--shapes", default=",".join(map(str, range(len(SHAPES)))), help="by number from 0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.1, help="the least a library runs in one round")
    options = parser.parse_args()
    peers = [p for p in options.peers.split(",") if p]
    names = options.cells.split(",")
    script = [str(Path(__file__).resolve()), "serve"]
    for threads in map(int, options.threads.split(",")):
        libraries = [Library("tinygrad_rnn", sys.executable, threads, script)]
        libraries += [Library(p, options.python, threads, script) for p in peers]
        for mode in options.modes.split(","):
            print(
                f"\n{mode}, {threads} thread{'s' * (threads > 1)}; {'; '.join(f'{x.name} {x.version}' for x in libraries)}"
            )
            print("| cell | B | T | D | H | ours | " + " | ".join(peers) + " | ours / fastest |")
            print("|" + "---|" * (7 + len(peers)))
            ratios: dict[bool, list[float]] = {True: [], False: []}
            for name in names:
                for shape in [SHAPES[int(k)] for k in options.shapes.split(",")]:
                    case = (name, *shape)
                    measured = measure(
                        libraries, case, mode, options.rounds, options.seconds, np.median, "perf_counter",
                        exact=lambda case=case, mode=mode: Ours(2).prepare(case, mode, np.float64, "unrolled")[1],
                    )  # fmt: skip
                    ours = measured["tinygrad_rnn"]
                    ratio = ours / min([measured[p] for p in peers], default=ours)
                    ratios[shape[0] == 1].append(ratio)
                    times = [milliseconds(t) for t in (ours, *[measured[p] for p in peers])]
                    print(f"| {' | '.join(map(str, (name, *shape)))} | {' | '.join(times)} | {ratio:.2f} |", flush=True)
            for one, some in ratios.items():
                if some:
                    where = "B = 1" if one else "B > 1"
                    print(
                        f"{where}: geometric mean {np.exp(np.mean(np.log(some))):.2f}, worst {max(some):.2f}",
                        flush=True,
                    )
        for library in libraries:
            library.close()


if __name__ == "__main__":
    main()
