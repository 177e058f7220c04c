"""Second derivatives: the curvature of an LSTM's loss, and why training increases it up to a bound.

    python examples/second_order.py
    python examples/second_order.py --rates 0.1 1.0

The Hessian H of a loss contains its second derivatives: for a thousand parameters a million numbers. Its product with one
vector v costs about as much as a few gradients: H v is the derivative of (gradient · v) [Pearlmutter 1994], and here a
gradient is a tensor like any other (create_graph=True), also that of a fused LSTM. The program compares H v with finite
differences of gradients: they agree to nine digits.

Repeated multiplication by H turns v towards the direction of the largest curvature (power iteration). If this curvature
is above 2 / r, steps of gradient descent with learning rate r overshoot in this direction and oscillate. The plot shows
the loss and the largest curvature of a network trained with three learning rates: training increases the curvature up to
2 / r, where it stays, at the edge of stability [Cohen et al. 2021]. When it exceeds this value, the loss jumps once and
the curvature falls. At the end it is within 15 % of 2 / r. (The task: whether the last two signs are the same, at every
step.)
"""

import copy

import numpy as np
from tqdm import tqdm

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, rnn


class Comparer(tg.Module):
    """An LSTM over time and a linear layer: is this sign that of the step before?"""

    def __init__(self, units):
        self.cell = rnn.LSTMCell(units).build(1, np.float64)
        self.head = nn.Linear(units, 1, dtype=np.float64)

    def loss(self, signs, same):
        outputs, _ = rnn.dynamic_rnn(self.cell, signs)
        return tg.mse(self.head(outputs), same)


def task(rows, steps, generator):
    """Random signs, and 1 where a sign is that of the step before, else −1: (rows, steps, 1) each."""
    signs = generator.choice([-1.0, 1.0], size=(rows, steps, 1))
    before = np.concatenate([np.ones((rows, 1, 1)), signs[:, :-1]], axis=1)
    return signs, signs * before


def hessian_times(vector, gradient, parameters):
    """H v = d (gradient · v) / d parameters, from a gradient that carries its graph."""
    along = sum((g * v).sum() for g, v in zip(gradient, vector, strict=True))
    return [product.data for product in tg.grad(along, parameters, retain_graph=True)]


def dot(a, b):
    return sum(np.vdot(x, y) for x, y in zip(a, b, strict=True))


def top_curvature(loss, parameters, vector, rounds=5):
    """The eigenvalue of H of largest size and its direction, by power iteration from `vector`."""
    gradient = tg.grad(loss, parameters, create_graph=True)
    for _ in range(rounds):
        length = np.sqrt(dot(vector, vector))
        unit = [v / length for v in vector]
        vector = hessian_times(unit, gradient, parameters)
        curvature = dot(unit, vector)
    return curvature, vector


def check(model, batch, vector):
    """H v beside (gradient(w + ε v) − gradient(w − ε v)) / 2 ε, for smaller and smaller ε."""
    parameters = model.parameters()
    product = hessian_times(vector, tg.grad(model.loss(*batch), parameters, create_graph=True), parameters)
    before = [p.data for p in parameters]

    def gradient_at(shift):
        for p, w, v in zip(parameters, before, vector, strict=True):
            p.data = w + shift * v
        return [g.data for g in tg.grad(model.loss(*batch), parameters)]

    print("H v and finite differences of gradients differ by")
    for epsilon in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5):
        ends = zip(gradient_at(epsilon), gradient_at(-epsilon), product, strict=True)
        off = [(above - below) / (2 * epsilon) - hv for above, below, hv in ends]
        print(f"  {np.sqrt(dot(off, off) / dot(product, product)):.0e} of its length, with ε = {epsilon:.0e}")
    gradient_at(0)


def descend(model, batch, rate, vector, steps, every):
    """Gradient descent on the whole batch: (loss of every step, [(step, top curvature) …])."""
    parameters, losses, curvatures = model.parameters(), [], []
    optimizer = optim.SGD(parameters, rate)
    for step in tqdm(range(steps + 1), f"rate {rate}", disable=None, leave=False):
        if step % every == 0:
            curvature, vector = top_curvature(model.loss(*batch), parameters, vector)
            curvatures.append((step, curvature))
        loss = model.loss(*batch)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, curvatures


def draw(runs, path):
    left, right = plots.axes("Gradient descent ends up at the edge of stability", columns=2, size=(9, 4)).flat
    for hue, (rate, (losses, curvatures)) in zip(plots.HUES, runs.items(), strict=False):
        left.semilogy(losses, color=hue, lw=1.2, label=f"learning rate {rate:g}")
        right.plot(*np.transpose(curvatures), color=hue)
        right.axhline(2 / rate, color=hue, ls="--", lw=1)
        at = {"xycoords": right.get_yaxis_transform(), "textcoords": "offset points"}
        right.annotate(f"2 / {rate:g}", (1, 2 / rate), (4, -4), color=hue, **at)
    left.set(xlabel="step", ylabel="loss")
    left.legend()
    right.set(xlabel="step", ylabel="top curvature", ylim=(0, None))
    plots.save(np.array([left, right]), path)


def main():
    parser = program.parser(__doc__, "second_order.svg")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.2, 0.4, 0.8], help="learning rates (%(default)s)")
    parser.add_argument("--steps", type=int, help="of gradient descent (1200; 20 with --quick)")
    options = program.parse(parser)
    tg.seed(options.seed)
    generator = np.random.default_rng(options.seed)

    steps = options.steps or (20 if options.quick else 1200)
    batch = task(48, 20, generator)
    begin = Comparer(16)
    vector = [generator.standard_normal(p.shape) for p in begin.parameters()]
    check(begin, batch, vector)
    runs = {}
    for rate in options.rates:
        runs[rate] = losses, curvatures = descend(copy.deepcopy(begin), batch, rate, vector, steps, max(5, steps // 60))
        (_, first), (_, last) = curvatures[0], curvatures[-1]
        print(
            f"rate {rate:g}: loss {losses[-1]:.4f}, top curvature from {first:.2f} to {last:.2f}; 2 / rate {2 / rate:.2f}"
        )
    if options.plot:
        draw(runs, options.plot)
    return 0


if __name__ == "__main__":
    program.run(main)
