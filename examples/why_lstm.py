"""Why LSTM: what plain recurrent networks cannot learn over many steps, and how their gradient vanishes.

    python examples/why_lstm.py                     # --lengths 10 30 100 300 1000 for others

Two tasks that need a memory [Hochreiter & Schmidhuber 1997]. Adding: two of many numbers are marked, one early and one
late; the output is their sum. Copying: the output is which of eight symbols came first, with random bits in between. RNN,
LSTM and GRU learn each task over 10 to 500 steps, in at most 600 updates. The program prints the accuracy (for sums:
within 0.1; always answering 1 is right for a fifth): LSTM and GRU are above 0.85, and mostly near 1, at both tasks and
all lengths; the RNN adds badly over 10 steps and not at all over 50; it copies over 10 steps, sometimes over 50 or 200,
and not over 500.

The reason is the gradient. Going back k steps it is multiplied by the recurrent weights W k times, so it shrinks or grows
like (spectral radius of W)^k, and tanh' < 1 shrinks it further: the plot shows it for three W. A gated cell multiplies
its memory by its gate instead: while the gate is near 1, the gradient is kept. A gate that is half open forgets too, by
0.73^k for the usual forget bias of 1: "LSTM, bias 1" fails from 50 steps on. The gates of the other two are initialised
so that a unit keeps its value for some 1 to T steps [Tallec & Ollivier 2018].
"""

import numpy as np
from tqdm import tqdm

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import initializers, nn, optim, rnn, train, viz

NETS = {"RNN": rnn.BasicRNNCell, "LSTM": rnn.LSTMCell, "GRU": rnn.GRUCell, "LSTM, bias 1": rnn.LSTMCell}
UNITS, ROWS, SYMBOLS = 32, 16, 8


def adding(rows, steps, generator):
    """Numbers from 0 to 1 beside marks (rows, steps, 2), and the sum of the two marked (rows, 1)."""
    x, row = np.zeros((rows, steps, 2), np.float32), np.arange(rows)
    x[:, :, 0] = generator.random((rows, steps))
    marked = np.stack([generator.integers(0, steps // 2, rows), generator.integers(steps // 2, steps, rows)])
    x[row, marked, 1] = 1
    return x, x[row, marked, 0].sum(axis=0)[:, None]


def copying(rows, steps, generator):
    """One-hot (rows, steps, 11): a symbol, bits, and at the end the sign to tell the symbol (rows,)."""
    x = SYMBOLS + generator.integers(0, 2, (rows, steps))
    x[:, 0], x[:, -1] = generator.integers(0, SYMBOLS, rows), SYMBOLS + 2
    return np.eye(SYMBOLS + 3, dtype=np.float32)[x], x[:, 0]


class Reader(tg.Module):
    """A cell over time, and a linear layer that reads its last output."""

    def __init__(self, cell, classes):
        self.cell, self.head = cell, nn.Linear(cell.output_size, classes)

    def forward(self, x):
        outputs, _ = rnn.dynamic_rnn(self.cell, x)
        return self.head(outputs[:, -1])

    def loss(self, batch):
        x, target = batch
        return tg.softmax_cross_entropy(self(x), targets=target) if target.ndim == 1 else tg.mse(self(x), target)

    def accuracy(self, x, target):
        with tg.no_grad():
            said = self(x).data
        return np.mean(said.argmax(-1) == target if target.ndim == 1 else np.abs(said - target) < 0.1)


def reader(name, make, steps, generator):
    """A fresh net, its gates (but those of bias 1) open for 1 to `steps` steps."""
    cell = NETS[name](UNITS).build(make(1, steps, generator)[0].shape[-1])
    keep = np.log(generator.uniform(1, steps - 1, UNITS))
    bias = cell.bias.data
    if name == "LSTM":
        bias[:UNITS], bias[UNITS : 2 * UNITS] = -keep, keep  # gates i and f
    elif name == "GRU":
        bias[:UNITS] = keep  # gate z
    return Reader(cell, SYMBOLS if make is copying else 1)


def learn(model, make, steps, rounds, generator):
    """Train in rounds of 50 updates until it is right 99 times of 100; the accuracy on sequences held out."""
    held_out = make(500, steps, np.random.default_rng(1_000_000))
    optimizer = optim.Adam(model.parameters(), 5e-3 if isinstance(model.cell, rnn.BasicRNNCell) else 2e-2)
    schedule = optim.CosineLR(optimizer, 50 * rounds)
    for _ in range(rounds):
        batches = [make(ROWS, steps, generator) for _ in range(50)]
        history = train.fit(model.loss, batches, optimizer, epochs=1, clip=0.05, schedule=schedule, progress=False)
        if history.stopped == "interrupted":
            raise KeyboardInterrupt
        if model.accuracy(*held_out) > 0.99:
            break
    return model.accuracy(*held_out)


def flow(model, batch):
    """The norm of the gradient at every step, going back from the last one, where it is 1."""
    found = viz.grad_flow(model.loss(batch))
    norms = (found.c if isinstance(model.cell, rnn.LSTMCell) else found.h)[::-1]
    return norms / norms[0]


def draw(lengths, results, flows, generator, path):
    panels = plots.axes("Memory over many steps, and the gradient that makes it", rows=2, columns=2, size=(10, 7.5))
    for (task, name), right in results.items():
        panel = panels[0, int(task == "copying")]
        look = dict(zip(NETS, ("-o", "-s", "--^", ":s"), strict=True))[name]
        panel.plot([str(steps) for steps in lengths], right, look, label=name)
        panel.set(title=f"{task}: accuracy", xlabel="steps", ylim=(0, 1.05))
    panels[0, 1].legend(loc="center right")
    theory, found = panels[1]
    for radius, hue in zip((0.8, 1.0, 1.2), plots.HUES[4:], strict=False):
        model = Reader(rnn.BasicRNNCell(UNITS, recurrent_initializer=initializers.Orthogonal(radius)), SYMBOLS)
        theory.semilogy(flow(model, copying(ROWS, 100, generator)), color=hue, label=f"radius {radius}")
        theory.semilogy(radius ** np.arange(100.0), "--", lw=1, color=hue, label=f"{radius}$^k$")
    theory.set(title="gradient k steps back: fresh RNNs by the radius of W", xlabel="k", ylim=(1e-15, 1e13))
    for (name, (before, after)), hue in zip(flows.items(), plots.HUES, strict=False):
        found.semilogy(before, ":", lw=1.2, color=hue)
        found.semilogy(after, color=hue, label=name)
    found.set(title=f"gradient k steps back, copying over {len(before)}", xlabel="k (dotted: before training)")
    found.set_ylim(1e-12, 1e7)
    theory.legend(fontsize=8, ncols=3, loc="upper left")
    found.legend(fontsize=8, ncols=4, loc="upper left")
    plots.save(panels, path)


def main():
    parser = program.parser(__doc__, "why_lstm.svg")
    parser.add_argument("--lengths", type=int, nargs="+", metavar="STEPS", help="10 50 200 500")
    options = program.parse(parser)
    tg.seed(options.seed)
    generator = np.random.default_rng(options.seed)
    lengths = sorted(options.lengths or ([10, 20] if options.quick else [10, 50, 200, 500]))
    results, flows = {}, {}
    print(f"{'accuracy over':<24}" + "".join(f"{steps:6}" for steps in lengths) + "  steps", flush=True)
    for make in (adding, copying):
        for name in NETS:
            right = results[make.__name__, name] = []
            for steps in tqdm(lengths, f"{make.__name__}, {name}", disable=None, leave=False):
                model, batch = reader(name, make, steps, generator), make(ROWS, steps, generator)
                before = flow(model, batch)
                right.append(learn(model, make, steps, 1 if options.quick else 12, generator))
                if (make, steps) == (copying, lengths[-2:][0]):
                    flows[name] = before, flow(model, batch)
            print(f"{make.__name__:<9}{name:<15}" + "".join(f"{share:6.2f}" for share in right), flush=True)
    if options.plot:
        draw(lengths, results, flows, generator, options.plot)


if __name__ == "__main__":
    program.run(main)
