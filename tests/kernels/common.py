"""Shared by the kernel tests: random problems, one way to run every cell, and a simple loop as reference."""

import contextlib
import os
import signal
import threading

import numpy as np

from tinygrad_rnn import kernels

CELLS = ("rnn-tanh", "rnn-relu", "lstm", "gru-before", "gru-after", "gru-after-bias")
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


class Problem:
    """A cell with random arguments; `args` are its float inputs in order, named by `names`."""

    def __init__(
        self, cell, B, T, D, H, *, dtype=np.float64, seed=0, lengths=None, reverse=False, time_major=False, scale=1.0
    ):
        rng = np.random.default_rng(seed)
        self.cell, self.cell_type, self.B, self.T, self.D, self.H = cell, cell.split("-")[0], B, T, D, H
        G = GATES[self.cell_type]

        def draw(*shape, size=scale):
            return (rng.standard_normal(shape) * size).astype(dtype)

        self.args = [draw(T, B, D) if time_major else draw(B, T, D), draw(D, G * H, size=scale / max(1, D) ** 0.5)]
        self.args += [draw(H, G * H, size=scale / max(1, H) ** 0.5), draw(G * H)]
        self.names = ["x", "kernel", "recurrent_kernel", "bias"]
        if self.cell_type == "lstm":
            self.args, self.names = [*self.args, draw(B, H)], [*self.names, "c0"]
        if self.cell_type == "gru":
            self.args, self.names = (
                [*self.args, draw(3 * H) if cell == "gru-after-bias" else None],
                [*self.names, "recurrent_bias"],
            )
        self.args, self.names = [*self.args, draw(B, H)], [*self.names, "h0"]
        self.lengths = lengths
        self.options = {"lengths": lengths, "reverse": reverse, "time_major": time_major}
        self.cotangents = [
            draw(T, B, H) if time_major else draw(B, T, H),
            *([draw(B, H)] * (2 if self.cell_type == "lstm" else 1)),
        ]

    @property
    def fixed(self):
        if self.cell_type == "rnn":
            return {"activation": self.cell.split("-")[1]}
        return {"reset_after": self.cell != "gru-before"} if self.cell_type == "gru" else {}

    def forward(self, args=None, save=True, **options):
        """(outputs, tuple of final states, saved)."""
        run = getattr(kernels, f"{self.cell_type}_forward")
        outputs, state, saved = run(
            *(self.args if args is None else args), **self.fixed, **{**self.options, **options}, save=save
        )
        return outputs, state if isinstance(state, tuple) else (state,), saved

    def backward(self, saved, **more):
        return getattr(kernels, f"{self.cell_type}_backward")(saved, *self.cotangents, **more)

    def loss(self, args):
        """The number whose gradients `backward` returns."""
        outputs, state, _ = self.forward(args, save=False)
        return sum(float((a * b).sum()) for a, b in zip((outputs, *state), self.cotangents, strict=True))


def sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))


def naive(p):
    """Outputs and final states by one plain loop over rows and steps, straight from the equations."""
    x, W, U, b = p.args[:4]
    x = np.swapaxes(x, 0, 1) if p.options["time_major"] else x
    H, outputs = p.H, np.zeros((p.B, p.T, p.H), x.dtype)
    h, c = p.args[-1].copy(), p.args[4].copy() if p.cell_type == "lstm" else None
    for row in range(p.B):
        n = p.T if p.lengths is None else int(p.lengths[row])
        for t in reversed(range(n)) if p.options["reverse"] else range(n):
            z, hr = x[row, t] @ W + b, h[row]
            if p.cell_type == "rnn":
                z = z + hr @ U
                h[row] = np.tanh(z) if p.cell == "rnn-tanh" else np.maximum(z, 0)
            elif p.cell_type == "lstm":
                i, f, g, o = np.split(z + hr @ U, 4)
                c[row] = sigmoid(f) * c[row] + sigmoid(i) * np.tanh(g)
                h[row] = sigmoid(o) * np.tanh(c[row])
            else:
                extra = np.zeros(3 * H, x.dtype) if p.args[4] is None else p.args[4]
                u, r = (
                    sigmoid(z[:H] + hr @ U[:, :H] + extra[:H]),
                    sigmoid(z[H : 2 * H] + hr @ U[:, H : 2 * H] + extra[H : 2 * H]),
                )
                if p.cell == "gru-before":
                    n_ = np.tanh(z[2 * H :] + (r * hr) @ U[:, 2 * H :])
                else:
                    n_ = np.tanh(z[2 * H :] + r * (hr @ U[:, 2 * H :] + extra[2 * H :]))
                h[row] = u * hr + (1 - u) * n_
            outputs[row, t] = h[row]
    outputs = np.swapaxes(outputs, 0, 1) if p.options["time_major"] else outputs
    return outputs, (c, h) if p.cell_type == "lstm" else (h,)


@contextlib.contextmanager
def threads(number=None):
    """Use `number` threads, for small shapes too; restores the previous setting at exit."""
    native = kernels.implementations()[0] != "reference"
    before = kernels.get_num_threads()
    if native:
        kernels._native.set_worth_a_thread(1.0)
    if number is not None:
        kernels.set_num_threads(number)
    try:
        yield
    finally:
        kernels.set_num_threads(before)
        if native:
            kernels._native.set_worth_a_thread(2e6)


def check_in_forked_children(work):
    """Whether work() gives the same in three forked children, and here after each."""
    want = work()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(0 if work() == want else 1)
        deadline = threading.Timer(60, os.kill, (child, signal.SIGKILL))
        deadline.start()
        status = os.waitpid(child, 0)[1]
        deadline.cancel()
        assert status == 0
        assert work() == want
