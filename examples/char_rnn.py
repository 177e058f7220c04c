"""A character-level language model: train it on any text, watch it learn, read what it writes.

    python examples/char_rnn.py                     # 60 seconds on the documentation inside Python itself
    python examples/char_rnn.py my.txt --seconds 600 --layers 2 --units 256
    python examples/char_rnn.py --resume            # another 60 seconds
    python examples/char_rnn.py --resume --seconds 0 --sample 2000 --temperature 0.6

The model [Mikolov et al. 2010; Graves 2013] reads one character after another and predicts the next:
embedding -> recurrent cells -> linear -> softmax. How well is told in bits per character: how many bits one needs, on
average, to write down the next character given the model's prediction. Guessing blindly among 100 characters costs 6.6.
"""

import argparse
import os
import sys
import warnings
import zlib
from functools import partial

os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")  # NumPy's threads would spin on cores that the kernels could use

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train

LSTM = partial(rnn.LSTMCell, forget_bias=0.0)  # on text 0.08 bits better after 1000 steps than the usual 1.0
CELLS = {"rnn": rnn.BasicRNNCell, "lstm": LSTM, "gru": rnn.GRUCell}
SHAPE = {"cell": "lstm", "layers": 1, "units": 128, "embedding": 64, "batch": 32, "unroll": 64}
DROPOUT = 0.15  # of what goes into the cells and what comes out
BITS = ("bits/char", 1 / np.log(2))  # losses are in nats; they are shown in bits


class CharRNN(tg.Module):
    """Characters in, scores of the next character out."""

    def __init__(self, characters, cell="lstm", layers=1, units=128, embedding=64, **_):
        self.embedding = nn.Embedding(characters, embedding)
        cells = [CELLS[cell](units) for _ in range(layers)]
        self.cell = (cells[0] if layers == 1 else rnn.MultiRNNCell(cells)).build(embedding)
        self.head = nn.Linear(units, characters)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, characters, state):
        outputs, state = rnn.dynamic_rnn(self.cell, self.dropout(self.embedding(characters)), initial_state=state)
        return self.head(self.dropout(outputs)), state

    def loss(self, batch, state):
        inputs, targets = batch
        logits, state = self(inputs, state)
        return tg.softmax_cross_entropy(logits, targets=targets), state


def sample(model, vocabulary, length, temperature):
    """Let the model write: each character drawn from its prediction, and read again as the next input."""
    state, text = model.cell.zero_state(1), "\n" if "\n" in vocabulary.characters else vocabulary.characters[0]
    with tg.training(False), tg.no_grad():
        for _ in range(length):
            scores, state = model(vocabulary.encode(text[-1:])[None], state)
            text += vocabulary.decode(data.draw(scores[0, -1], temperature))
    return text[1:]


def pythons_documentation():
    """The documentation topics that ship inside Python: some 465,000 characters."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("files", nargs="*", metavar="TEXT_FILE", help="text to learn, UTF-8 (default: Python's documentation)")
    add("--cell", choices=CELLS, help="kind of recurrent cell (lstm)")
    add("--layers", type=count, help="cells on top of each other (1)")
    add("--units", type=count, help="units of each cell (128)")
    add("--embedding", type=count, help="numbers that stand for a character (64)")
    add("--batch", type=count, help="rows of text read side by side (32)")
    add("--unroll", type=count, help="characters between updates (64)")
    add("--lr", type=amount, default=3e-3, help="learning rate of Adam (%(default)s)")
    add("--final-lr", type=amount, default=1e-4, help="what it falls to over the run, in half a cosine (%(default)s)")
    add("--seconds", type=amount, help="train so long, evaluation not counted (60, unless --steps is given)")
    add("--steps", type=count, help="train until so many steps are done in all")
    add("--temperature", type=amount, default=0.8, help="of the samples: low is cautious, high is wild (%(default)s)")
    add("--sample", type=int, default=500, metavar="N", help="write so many characters at the end (%(default)s)")
    add("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    add("--every", type=count, default=500, metavar="N", help="look at held-out text and save every N steps (500)")
    add("--checkpoint", default="char_rnn.safetensors", metavar="FILE", help="keeps the run (%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add(
        "--graph",
        default="char_rnn.svg",
        metavar="FILE",
        help="draw the unrolled graph here, '' for none (%(default)s)",
    )
    options = parser.parse_args()
    if options.seconds is None and options.steps is None:
        options.seconds = 60.0
    return options


def count(text):
    """A whole number of at least 1, for argparse."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def amount(text):
    """A number of at least 0, for argparse."""
    if not 0 <= float(text) < np.inf:
        raise ValueError(text)
    return float(text)


def settle(options, text, vocabulary):
    """Fill in the model's shape: what was asked for, else the checkpoint's, else SHAPE. Returns what is to be kept."""
    kept = {"text": {"characters": vocabulary.characters, "length": len(text), "crc32": zlib.crc32(text.encode())}}
    before = {}
    if options.resume:
        if not os.path.exists(options.checkpoint):
            raise ValueError(f"there is no {options.checkpoint} to resume from; drop --resume to begin")
        before = tg.load(options.checkpoint).metadata
        if before.get("text") != kept["text"]:
            raise ValueError(f"{options.checkpoint} was trained on another text; give the same files, or drop --resume")
    for name, default in SHAPE.items():
        asked, had = getattr(options, name), before.get(name)
        if None not in (asked, had) and asked != had:
            raise ValueError(f"{options.checkpoint} was trained with --{name} {had}, not {asked}; drop one of the two")
        kept[name] = asked or had or default
        setattr(options, name, kept[name])
    return kept


def draw_graph(model, path):
    """The unrolled graph as a picture, or one line on why there is none."""
    try:
        from tinygrad_rnn import viz
    except ImportError:
        return "no picture of the graph: tinygrad_rnn.viz is not installed; run: pip install -e ."
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            written = viz.unrolled(model.cell, (2, 1)).save(path)
        except tg.DrawingError as error:
            return f"no picture of the graph: {error}"
    return "\n".join([f"the unrolled graph is drawn in {written}", *(str(w.message) for w in told)])


def main():
    options = parse()
    text = data.read_text(*options.files) if options.files else pythons_documentation()
    vocabulary = data.Vocabulary(text)
    kept = settle(options, text, vocabulary)
    ids = vocabulary.encode(text)
    cut = len(ids) - len(ids) // 10
    chunks = data.TextChunks(ids[:cut], options.batch, options.unroll)
    rest = data.TextChunks(ids[cut:], max(1, min(options.batch, len(ids) - cut - 1)), options.unroll, remainder=True)

    tg.seed(options.seed)
    model = CharRNN(len(vocabulary), **kept)
    print(f"{len(text):,} characters, {len(vocabulary)} different, the last {len(ids) - cut:,} held out")
    print(f"{model}\n{model.count_parameters():,} parameters")
    if options.graph:
        print(draw_graph(model, options.graph))
    if os.path.exists(options.checkpoint) and not options.resume:
        os.replace(options.checkpoint, options.checkpoint + ".old")
        print(f"kept the old {options.checkpoint} as {options.checkpoint}.old (--resume would go on from it)")

    def held_out(limit=None):
        """The loss on text that the model is not trained on; `limit` chunks of it, else all."""
        return train.evaluate(model.loss, rest, model.cell.zero_state(len(rest.inputs)), limit)

    optimizer = optim.Adam(model.parameters(), options.lr)
    history = train.fit(
        model.loss,
        chunks,
        optimizer,
        schedule=optim.CosineLR(optimizer, floor=options.final_lr),
        steps=options.steps,
        seconds=options.seconds,
        state=model.cell.zero_state(options.batch),
        clip=5.0,
        validation=lambda: held_out(limit=25),
        validate_every=options.every,
        keep_best=True,
        on_validation=lambda _: f"  it writes: {sample(model, vocabulary, 70, options.temperature)!r}",
        checkpoint=options.checkpoint,
        checkpoint_every=options.every,
        resume=options.resume,
        metadata=kept,
        show=BITS,
    )
    print(f"{history.step:,} steps, {history.seconds:.0f} s of training; kept in {options.checkpoint}")
    if history.stopped == "interrupted":
        print("interrupted; --resume goes on from here")
        return 130
    best = f", with the parameters of step {history.best[0]:,}, the best seen" if history.best else ""
    print(f"all of the held-out text: {BITS[1] * held_out():.3f} bits per character{best}")
    if options.sample > 0:
        print(f"\nA sample at temperature {options.temperature}:\n")
        print(sample(model, vocabulary, options.sample, options.temperature))
    return 0


if __name__ == "__main__":
    try:
        code = main()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"char_rnn.py: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
