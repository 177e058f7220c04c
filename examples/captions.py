"""Captions: a network reads a picture of a handwritten digit and writes its name, letter by letter: "three".

    python examples/captions.py
    python examples/captions.py --cell gru

One-to-many, the shape of an image caption [Vinyals et al. 2015]: a picture, 64 numbers of scikit-learn's bundled digits,
becomes the initial state of a recurrent network, which then writes the likeliest letter at each step until it writes the
end token (greedy decoding). It is not told that there are ten classes: it learns ten spellings. The program prints how
many of the 359 held-out digits get a completely correct name: about 98 %, after ten seconds. (The best linear classifier,
which only has to choose among ten classes, reaches 96 to 97 %.) The plot shows some of them with their written names.
"""

import numpy as np

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train

NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CELLS = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}
START, END = "<start>", "<end>"


class Captioner(tg.Module):
    """A picture in, the first state of a cell out; letters in, scores of the next letter out."""

    def __init__(self, cell, letters, units=64):
        hidden = [nn.Dropout(0.2), nn.Linear(64, 256), nn.ReLU(), nn.Dropout(0.4)]
        self.look = nn.Sequential(*hidden, nn.Linear(256, units), nn.Tanh())
        self.embedding = nn.Embedding(len(letters), 16)
        self.cell = CELLS[cell](units).build(16)
        self.head = nn.Linear(units, len(letters))

    def begin(self, pictures):
        """The state that the pictures (B, 64) put the cell in."""
        seen = self.look(pictures)
        return rnn.LSTMState(c=seen, h=seen) if isinstance(self.cell, rnn.LSTMCell) else seen

    def forward(self, letters, state):
        outputs, state = rnn.dynamic_rnn(self.cell, self.embedding(letters), initial_state=state)
        return self.head(outputs), state

    def loss(self, batch):
        pictures, read, wanted = batch
        logits, _ = self(read.values, self.begin(pictures))
        return tg.softmax_cross_entropy(logits, targets=wanted.values, mask=wanted.mask)


def load_digits(seed):
    """1,797 digits of 8 by 8 pixels as rows of 64 numbers from -1 to 1, drawn in order of the seed; and what they are."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ImportError("the digits come with scikit-learn: pip install 'tinygrad_rnn[examples]'") from None
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    return (digits.data[order] / 8 - 1).astype(np.float32), digits.target[order]


def draw(pictures, written, wanted, path):
    """Held-out digits with what was written below them; those with a wrong name first."""
    order = np.argsort(np.array(written) == np.array(wanted), kind="stable")[:24]
    panels = plots.axes(
        "Held-out digits and the names written (in brackets the right one)", rows=3, columns=8, size=(9.6, 4.4)
    )
    for panel, i in zip(panels.flat, order, strict=False):
        panel.imshow(pictures[i].reshape(8, 8), cmap="Greys")
        panel.set_axis_off()
        right = written[i] == wanted[i]
        panel.set_title(
            written[i] if right else f"{written[i]} ({wanted[i]})", color=plots.GOOD if right else plots.BAD, y=-0.25
        )
    plots.save(panels, path)


def main():
    parser = program.parser(__doc__, "captions.svg")
    parser.add_argument("--cell", choices=CELLS, default="lstm", help="kind of recurrent cell (%(default)s)")
    options = program.parse(parser)
    tg.seed(options.seed)

    pictures, digits = load_digits(options.seed)
    letters = data.Vocabulary("".join(NAMES), special_tokens=[START, END])
    read = [letters.encode([START, *NAMES[digit]]) for digit in digits]
    wanted = [letters.encode([*NAMES[digit], END]) for digit in digits]
    cut = len(digits) // 5  # the first fifth is held out
    model = Captioner(options.cell, letters)
    print(f"{len(digits) - cut:,} digits to learn from, {cut} held out, {model.count_parameters():,} parameters")

    def write(pictures):
        start = np.full((len(pictures), 1), letters[START])
        with tg.training(False), tg.no_grad():
            state = model.begin(pictures)
        rows = data.generate(model, state, start, 10, end=letters[END])
        return [letters.decode(row) for row in rows]

    print("untrained it writes: " + " ".join(write(pictures[:10])))
    epochs = 10 if options.quick else 60
    optimizer = optim.Adam(model.parameters(), 2e-3)
    batches = data.Batches(pictures[cut:], read[cut:], wanted[cut:], size=32)
    held = data.Batches(pictures[:cut], read[:cut], wanted[:cut], size=cut, shuffle=False)
    history = train.fit(
        model.loss,
        batches,
        optimizer,
        epochs=epochs,
        schedule=optim.CosineLR(optimizer, epochs * len(batches)),
        clip=1.0,
        validation=held,
        validate_every=epochs * len(batches) // 5,
        on_validation=lambda _: "  it writes: " + " ".join(write(pictures[:10])),
    )
    if history.stopped == "interrupted":
        return 130
    written, names = write(pictures[:cut]), [NAMES[digit] for digit in digits[:cut]]
    print(f"held-out digits named right in every letter: {np.mean(np.array(written) == names):.1%}")
    if options.plot:
        draw(pictures, written, names, options.plot)
    return 0


if __name__ == "__main__":
    program.run(main)
