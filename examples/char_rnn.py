"""A character-level language model: train it on any text, watch it learn, read what it writes.

    python examples/char_rnn.py                     # 60 seconds on the documentation inside Python itself
    python examples/char_rnn.py my.txt --seconds 600 --layers 2 --units 256
    python examples/char_rnn.py --resume            # another 60 seconds
    python examples/char_rnn.py --resume --seconds 0 --sample 2000 --temperature 0.6
    mpiexec -n 4 python examples/char_rnn.py        # one model on four processes (pip install -e '.[mpi]')

The model [Mikolov et al. 2010; Graves 2013] reads one character after another and predicts the next:
embedding -> recurrent cells -> linear -> softmax. How well is told in bits per character: how many bits one needs, on
average, to write down the next character given the model's prediction. Guessing blindly among 100 characters costs 6.6.
"""

import os
from functools import partial

import numpy as np

import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train

LSTM = partial(rnn.LSTMCell, forget_bias=0.0)  # on text 0.08 bits better after 1000 steps than the usual 1.0
CELLS = {"rnn": rnn.BasicRNNCell, "lstm": LSTM, "gru": rnn.GRUCell}
DROPOUT = 0.15  # of what goes into the cells and what comes out
BITS = ("bits/char", 1 / np.log(2))  # losses are in nats; they are shown in bits


class CharRNN(tg.Module):
    """Characters in, scores of the next character out."""

    def __init__(self, characters, cell, layers, units, embedding):
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


def write(model, vocabulary, length, temperature):
    """Let the model write: each character drawn from its prediction, and read again as the next input."""
    prompt = vocabulary.encode("\n" if "\n" in vocabulary.characters else vocabulary.characters[0])[None]
    return vocabulary.decode(data.generate(model, model.cell.zero_state(1), prompt, length, temperature=temperature)[0])


def pythons_documentation():
    """The documentation topics that ship inside Python: some 465,000 characters."""
    from pydoc_data.topics import topics

    return "\n".join(topics.values())


def options():
    parser = program.parser(__doc__)
    add = parser.add_argument
    add("files", nargs="*", metavar="TEXT_FILE", help="text to learn, UTF-8 (default: Python's documentation)")
    add("--cell", choices=CELLS, default="lstm", help="kind of recurrent cell (%(default)s)")
    add("--layers", type=int, default=1, help="cells on top of each other (%(default)s)")
    add("--units", type=int, default=128, help="units of each cell (%(default)s)")
    add("--embedding", type=int, default=64, help="numbers that stand for a character (%(default)s)")
    add("--batch", type=int, default=32, help="rows of text read side by side (%(default)s)")
    add("--unroll", type=int, default=64, help="characters between updates (%(default)s)")
    add("--lr", type=float, default=3e-3, help="learning rate of Adam at the start (%(default)s)")
    add("--final-lr", type=float, default=1e-4, help="what it falls to over the run, in half a cosine (%(default)s)")
    add("--seconds", type=float, help="train so long, evaluation not counted (60, unless --steps is given)")
    add("--steps", type=int, help="train until so many steps are done in all")
    add("--temperature", type=float, default=0.8, help="of the samples: low is cautious, high is wild (%(default)s)")
    add("--sample", type=int, default=500, metavar="N", help="write so many characters at the end (%(default)s)")
    add(
        "--every", type=int, default=500, metavar="N", help="look at held-out text and save every N steps (%(default)s)"
    )
    add("--checkpoint", default="char_rnn.safetensors", metavar="FILE", help="keeps the run (%(default)s)")
    add("--resume", action="store_true", help="go on from the checkpoint")
    add("--graph", default="char_rnn.svg", metavar="FILE", help="the unrolled graph, '' for none (%(default)s)")
    chosen = parser.parse_args()
    if chosen.seconds is None and chosen.steps is None:
        chosen.seconds = 2.0 if chosen.quick else 60.0
    return chosen


def look_at_checkpoint(chosen, vocabulary):
    """Refuse one that cannot be resumed from; keep an old one that would be written over."""
    if chosen.resume and not os.path.exists(chosen.checkpoint):
        raise FileNotFoundError(f"there is no {chosen.checkpoint} to resume from; drop --resume to begin")
    if chosen.resume and tg.load(chosen.checkpoint).metadata.get("characters") != vocabulary.characters:
        raise ValueError(f"{chosen.checkpoint} was trained on other characters; give the same files, or drop --resume")
    if os.path.exists(chosen.checkpoint) and not chosen.resume:
        os.replace(chosen.checkpoint, chosen.checkpoint + ".old")
        print(f"kept the old {chosen.checkpoint} as {chosen.checkpoint}.old (--resume would go on from it)")


def main():
    chosen, parallel = options(), tg.parallel.detect()
    data.sample([0.0], chosen.temperature)  # refuses now what would be refused after the training
    text = data.read_text(*chosen.files) if chosen.files else pythons_documentation()
    vocabulary = data.Vocabulary(text)
    ids, batch, unroll = vocabulary.encode(text), chosen.batch, chosen.unroll
    cut = len(ids) - len(ids) // 10
    chunks = data.TextChunks(ids[:cut], batch, unroll)
    rest = data.TextChunks(ids[cut:], max(1, min(batch, len(ids) - cut - 1)), unroll, remainder=True)

    tg.seed(chosen.seed)
    model = CharRNN(len(vocabulary), chosen.cell, chosen.layers, chosen.units, chosen.embedding)
    optimizer = optim.Adam(model.parameters(), chosen.lr)
    print(f"{len(text):,} characters, {len(vocabulary)} different, the last {len(ids) - cut:,} held out")
    print(f"{model}\n{model.count_parameters():,} parameters")
    if chosen.graph and parallel.rank == 0:
        print(f"the unrolled graph is drawn in {tg.viz.unrolled(model.cell, (2, 1)).save(chosen.graph)}")
    if parallel.rank == 0:
        look_at_checkpoint(chosen, vocabulary)

    def held_out(limit=None):
        """The loss on text that the model is not trained on; `limit` chunks of it, else all."""
        return train.evaluate(model.loss, rest, model.cell.zero_state(len(rest.inputs)), limit, parallel=parallel)

    history = train.fit(
        model.loss,
        chunks,
        optimizer,
        schedule=optim.CosineLR(optimizer, floor=chosen.final_lr),
        steps=chosen.steps,
        seconds=chosen.seconds,
        state=model.cell.zero_state(batch),
        clip=5.0,
        validation=lambda: held_out(limit=25),
        validate_every=chosen.every,
        on_validation=lambda _: f"  it writes: {write(model, vocabulary, 70, chosen.temperature)!r}",
        checkpoint=chosen.checkpoint,
        checkpoint_every=chosen.every,
        resume=chosen.resume,
        metadata={"characters": vocabulary.characters},
        show=BITS,
        parallel=parallel,
    )
    print(f"{history.step:,} steps, {history.seconds:.0f} s of training; kept in {chosen.checkpoint}")
    if history.stopped == "interrupted":
        print("interrupted; --resume goes on from here")
        return 130
    print(f"all of the held-out text: {BITS[1] * held_out():.3f} bits per character")
    if chosen.sample > 0 and parallel.rank == 0:
        print(f"\nA sample at temperature {chosen.temperature}:\n")
        print(write(model, vocabulary, chosen.sample, chosen.temperature))


if __name__ == "__main__":
    program.run(main)
