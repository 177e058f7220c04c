"""Hi Hello: a recurrent net learns to say "ihello" after "hihell", one letter after another.

    python examples/hi_hello.py                     # with a simple RNN
    python examples/hi_hello.py --cell lstm         # or gru: one word is all that changes

After h comes i, but later after h comes e: what follows a letter depends on the letters before it, so a net without memory
cannot learn this string. You see what the net says as it learns; after a second it says "ihello", every letter with a
probability above 0.98. The picture shows the probability of every letter at every time step, before, amid and after
the learning. (The lab that follows the note on "cell and driver"; in TensorFlow 1 it was Lab 12.)
"""

import numpy as np

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn

TEXT = "hihello"  # the net reads all but the last letter, and is to say all but the first
CELLS = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}


def draw(shots, letters, path):
    """The probability of every letter at every time step, one panel for each step of training that was kept."""
    panels = plots.axes("What the net says after each letter", columns=len(shots), size=(3 * len(shots), 3.2))
    for panel, (step, p) in zip(panels.flat, shots.items(), strict=True):
        said = letters.decode(p.argmax(-1))
        panel.imshow(p.T, vmin=0, vmax=1, aspect="auto")
        panel.set_title(f'step {step}: "{said}"', color=plots.GOOD if said == TEXT[1:] else plots.BAD)
        panel.set_xticks(range(len(p)), TEXT[:-1])
        panel.set_yticks(range(len(letters)), letters.tokens)
        panel.set_xlabel("letter read")
        for t, row in enumerate(p):
            for k, value in enumerate(row):
                if value >= 0.05:
                    panel.text(t, k, f"{value:.1f}", ha="center", va="center", fontsize=8, color="wk"[int(value < 0.6)])
    panels.flat[0].set_ylabel("letter said")
    plots.save(panels, path)


def main():
    parser = program.parser(__doc__, "hi_hello.svg")
    parser.add_argument("--cell", choices=CELLS, default="rnn", help="kind of recurrent cell (%(default)s)")
    parser.add_argument("--units", type=int, default=10, help="units of the cell (%(default)s)")
    options = program.parse(parser)
    tg.seed(options.seed)

    letters = data.Vocabulary(TEXT)
    numbers = letters.encode(TEXT)
    x = np.eye(len(letters), dtype=np.float32)[numbers[None, :-1]]  # (1, 6, 5): one row of six one-hot letters
    targets = numbers[None, 1:]  # (1, 6)

    cell = CELLS[options.cell](options.units)
    outputs_to_letters = nn.Linear(options.units, len(letters))
    cell.build(len(letters))
    optimizer = optim.Adam([*cell.parameters(), *outputs_to_letters.parameters()], 0.03)

    def scores():
        outputs, _ = rnn.dynamic_rnn(cell, x)
        return outputs_to_letters(outputs)

    last = 20 if options.quick else 100
    shots = {}
    for step in range(last + 1):
        logits = scores()
        loss = tg.softmax_cross_entropy(logits, targets=targets)
        if step in (0, 5, 10, 20, 50, 100):
            p = tg.softmax(logits[0]).data
            shots[step] = p
            print(f"step {step:3}   loss {loss.item():.3f}   hihell -> {letters.decode(p.argmax(-1))}")
        if step == last:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    right = p[range(6), targets[0]]
    print(f"the least sure letter has a probability of {right.min():.3f}")
    if options.plot:
        draw({step: shots[step] for step in shots if step in (0, 10, last)}, letters, options.plot)


if __name__ == "__main__":
    program.run(main)
