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

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train

CELLS = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}
SHAPE = {"cell": "lstm", "layers": 1, "units": 128, "embedding": 64, "batch": 32, "unroll": 64}
BITS = ("bits/char", 1 / np.log(2))  # losses are in nats; they are shown in bits


class CharRNN(tg.Module):
    """Characters in, scores of the next character out."""

    def __init__(self, characters, cell="lstm", layers=1, units=128, embedding=64, **_):
        self.embedding = nn.Embedding(characters, embedding)
        self.cell = rnn.MultiRNNCell([CELLS[cell](units) for _ in range(layers)]).build(embedding)
        self.head = nn.Linear(units, characters)

    def forward(self, characters, state):
        outputs, state = rnn.dynamic_rnn(self.cell, self.embedding(characters), initial_state=state)
        return self.head(outputs), state

    def loss(self, batch, state):
        inputs, targets = batch
        logits, state = self(inputs, state)
        return tg.softmax_cross_entropy(logits, targets=targets), state


def sample(model, vocabulary, length, temperature, start="\n"):
    """Let the model write: each character drawn from its prediction, and read again as the next input."""
    state, text = model.cell.zero_state(1), start
    with tg.training(False), tg.no_grad():
        for _ in range(length):
            logits, state = model(vocabulary.encode(text[-1])[None], state)
            text += vocabulary.decode(data.draw(logits[0, -1], temperature))
    return text[len(start) :]


def held_out_bits(model, ids, options, limit=None):
    """Bits per character on a text the model was not trained on, the state carried through it."""
    chunks = data.TextChunks(ids, min(options.batch, len(ids) - 1), options.unroll, remainder=True)
    return BITS[1] * train.evaluate(model.loss, chunks, model.cell.zero_state(len(chunks.inputs)), limit)


def read_text(files):
    """The files' text, or without files the documentation topics that ship inside Python."""
    if not files:
        from pydoc_data.topics import topics

        return "\n".join(topics.values())
    texts = []
    for name in files:
        with open(name, encoding="utf-8") as file:
            texts.append(file.read())
    return "\n".join(texts)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("files", nargs="*", metavar="TEXT_FILE", help="text to learn, UTF-8 (default: Python's documentation)")
    add("--cell", choices=CELLS, help="kind of recurrent cell (lstm)")
    add("--layers", type=positive, help="cells on top of each other (1)")
    add("--units", type=positive, help="units of each cell (128)")
    add("--embedding", type=positive, help="numbers that stand for a character (64)")
    add("--batch", type=positive, help="rows read side by side (32)")
    add("--unroll", type=positive, help="characters between updates (64)")
    add("--lr", type=float, default=3e-3, help="learning rate of Adam (%(default)s)")
    add("--seconds", type=float, help="train so long, evaluation not counted (60, unless --steps is given)")
    add("--steps", type=int, help="train until so many steps are done in all")
    add("--temperature", type=float, default=0.8, help="of the samples: low is cautious, high is wild (%(default)s)")
    add("--sample", type=int, default=500, metavar="N", help="write so many characters at the end (%(default)s)")
    add("--seed", type=int, default=0, help="of all random numbers (%(default)s)")
    add("--every", type=positive, default=250, metavar="N", help="look at held-out text every N steps (%(default)s)")
    add("--checkpoint", default="char_rnn.safetensors", help="file that keeps the run (%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add(
        "--graph", default="char_rnn.svg", metavar="SVG", help='draw the unrolled graph here; "" for none (%(default)s)'
    )
    options = parser.parse_args()
    if options.seconds is None and options.steps is None:
        options.seconds = 60.0
    return options


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def settle(options, vocabulary, length):
    """The model's shape: what was asked for, the checkpoint's, or the default. Returns what the checkpoint must keep."""
    kept = {"text": {"characters": vocabulary.characters, "length": length}}
    before = {}
    if options.resume:
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
    try:
        from tinygrad_rnn import viz

        print(f"unrolled graph, 3 steps: {viz.unrolled(model.cell, 3).save(path) or path}")
    except (ImportError, tg.DrawingError) as error:
        print(f"no picture of the graph ({error}); pip install 'tinygrad_rnn[dot]' brings what draws it")


def main():
    options = parse()
    text = read_text(options.files)
    vocabulary = data.Vocabulary(text)
    kept = settle(options, vocabulary, len(text))
    ids = vocabulary.encode(text)
    cut = len(ids) - len(ids) // 10
    chunks = data.TextChunks(ids[:cut], options.batch, options.unroll)

    tg.seed(options.seed)
    model = CharRNN(len(vocabulary), **kept)
    print(f"{len(text):,} characters, {len(vocabulary)} different, the last {len(ids) - cut:,} held out")
    print(f"{model}\n{model.count_parameters():,} parameters")
    if options.graph:
        draw_graph(model, options.graph)

    def look(history):
        print(f"    {sample(model, vocabulary, 70, options.temperature)!r}")

    history = train.fit(
        model.loss,
        chunks,
        optim.Adam(model.parameters(), options.lr),
        steps=options.steps,
        seconds=options.seconds,
        state=model.cell.zero_state(options.batch),
        clip=5.0,
        validation=lambda: held_out_bits(model, ids[cut:], options, limit=4) / BITS[1],
        validate_every=options.every,
        on_validation=look,
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
    print(f"held-out text, all of it: {held_out_bits(model, ids[cut:], options):.3f} bits per character")
    if options.sample:
        print(f"\nA sample at temperature {options.temperature}:\n")
        print(sample(model, vocabulary, options.sample, options.temperature))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        sys.exit(print(f"{os.path.basename(__file__)}: {error}", file=sys.stderr) or 2)
