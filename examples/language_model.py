"""A language model of words or of characters (RNNLM): trained, resumed, sampled from, and run elsewhere.

    python examples/language_model.py --level word               # or char
    python examples/language_model.py --resume --steps 2000      # goes on, as if it had never stopped
    python examples/language_model.py --resume --temperature 0.6 --top-k 20
    mpiexec -n 4 python examples/language_model.py               # one model on four processes (pip install -e '.[mpi]')

At every time step the net reads a word and says how probable each word is to come next [Mikolov et al. 2010]. Perplexity
tells how good that is: among how many equally likely words one would hesitate as much as the net does, on text that it was
not trained on. The text is the documentation inside Python (figures of 3.11). After a minute the perplexity of words is
about 110, that of characters about 4.0; counting which token follows which gives 151 and 11. Then the net writes. Then it
is exported as an ONNX file and run by ONNX Runtime (or read back, where that is not installed): the numbers are the same to
1e-5 and it writes the same text. The picture shows the perplexity over the steps of training.
"""

import re
import textwrap
from pydoc_data.topics import topics

import numpy as np

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, interop, nn, optim, train

LEVELS = {  # how text is cut, the vocabulary's size, rows side by side, time steps, dropout, steps of training
    "word": (lambda text: re.findall(r"\w+|[^\w\s]+", text.lower()), 4000, 20, 35, 0.3, 900),
    "char": (str, 200, 32, 64, 0.1, 1500),
}


class LanguageModel(tg.Module):
    """Tokens in, scores of the next token out, and the state to go on from."""

    def __init__(self, tokens, dropout, units=128):
        self.embedding, self.dropout = nn.Embedding(tokens, units), nn.Dropout(dropout)
        self.lstm = nn.LSTM(units, units, batch_first=True)
        self.head = nn.Linear(units, tokens)

    def forward(self, tokens, state):
        outputs, state = self.lstm(self.dropout(self.embedding(tokens)), state)
        return self.head(self.dropout(outputs)), state

    def loss(self, batch, state):
        tokens, following = batch
        logits, state = self(tokens, state)
        return tg.softmax_cross_entropy(logits, targets=following), state

    def start(self, batch):
        """The state before the first token: h and c, each (layers, B, H)."""
        return tuple(np.zeros((1, batch, self.lstm.hidden_size), np.float32) for _ in "hc")


def counted(known, held, size):
    """The perplexity of counting: how often each token follows the one before, mixed with how often it comes at all."""
    alone = (np.bincount(known, minlength=size) + 1) / (len(known) + size)
    pairs = np.bincount(known[:-1] * size + known[1:], minlength=size * size).reshape(size, size)
    a, b = held[:-1], held[1:]
    seen = pairs.sum(axis=1)[a]
    after = np.where(seen, pairs[a, b] / np.maximum(seen, 1), alone[b])
    return np.exp(-np.log(0.7 * after + 0.3 * alone[b]).mean())


def elsewhere(model, path):
    """Export the model and load it again: (step, by whom), step(tokens, state) -> (logits, state) as the model's own."""
    interop.onnx.export([model.embedding, model.lstm, model.head], path, initial_state=True)
    try:
        import onnxruntime

        run, by = onnxruntime.InferenceSession(path).run, f"ONNX Runtime {onnxruntime.__version__}"
    except ImportError:
        loaded, by = interop.onnx.load(path), "interop.onnx.load (for ONNX Runtime: pip install onnxruntime)"

        def run(_, inputs):
            return loaded(**inputs)

    def step(tokens, state):
        logits, *state = run(None, {"input": tokens, "h_0": np.asarray(state[0]), "c_0": np.asarray(state[1])})
        return logits, state

    return step, by


def draw(history, by_counting, path):
    panel = plots.axes("A language model learns", "step of training", "perplexity")
    losses = np.array(history.losses[: len(history.losses) // 10 * 10]).reshape(-1, 10).mean(axis=1)
    panel.semilogy(10 * np.arange(1, len(losses) + 1), np.exp(losses), color=plots.HUES[5], label="text it learns from")
    steps, held = np.transpose(history.validations)
    panel.semilogy(steps, np.exp(held), "o-", color=plots.HUES[0], label="held-out text")
    panel.axhline(by_counting, color=plots.GREY, linestyle="--", label="held-out text, by counting pairs")
    panel.legend()
    plots.save(panel, path)


def main():
    parser = program.parser(__doc__, "language_model.svg")
    add = parser.add_argument
    add("--level", choices=LEVELS, default="word", help="what a token is (%(default)s)")
    add("--steps", type=int, help="steps of training in all (900 for words, 1,500 for characters)")
    add("--temperature", type=float, default=0.8, help="of what it writes: low is cautious, high is wild (%(default)s)")
    add("--top-k", type=int, default=40, help="it writes one of the K likeliest tokens (%(default)s)")
    add("--name", default="language_model", help="of what it keeps: NAME.safetensors, NAME.onnx (%(default)s)")
    add("--resume", action="store_true", help="go on from NAME.safetensors, if there is one")
    options, parallel = program.parse(parser), tg.parallel.detect()
    cut, size, batch, unroll, dropout, steps = LEVELS[options.level]
    steps = options.steps or (40 if options.quick else steps)
    tokens = cut("\n".join(topics.values())[: 60_000 if options.quick else None])
    data.sample([0.0], options.temperature, top_k=options.top_k)  # refuses now what would be refused after the training
    vocabulary = data.Vocabulary(tokens[: len(tokens) * 9 // 10], unknown="<unk>", size=size)
    known, held = np.split(vocabulary.encode(tokens), [len(tokens) * 9 // 10])
    tg.seed(options.seed)
    model, by_counting = LanguageModel(len(vocabulary), dropout), counted(known, held, len(vocabulary))
    print(f"{len(tokens):,} tokens, {len(vocabulary):,} different; {model.count_parameters():,} parameters")
    optimizer = optim.Adam(model.parameters(), 3e-3)
    chunks = data.TextChunks(held, 10, unroll, remainder=True)
    history = train.fit(
        model.loss,
        data.TextChunks(known, batch, unroll),
        optimizer,
        steps=steps,
        state=model.start(batch),
        schedule=optim.StepLR(optimizer, 300, 0.6),
        clip=1.0,
        validation=lambda: train.evaluate(model.loss, chunks, model.start(10), parallel=parallel),
        validate_every=min(steps, 150),
        keep_best=True,
        on_validation=lambda history: f"  held-out perplexity {np.exp(history.validations[-1][1]):.2f}",
        checkpoint=f"{options.name}.safetensors",
        resume=options.resume,
        parallel=parallel,
    )
    if history.stopped == "interrupted":
        print(f"kept in {options.name}.safetensors; --resume goes on from there")
        return 130
    at, best = history.best[0], np.exp(history.best[1])
    print(f"held-out perplexity: {best:.2f} at step {at:,} of {history.step:,}, {by_counting:.2f} by counting")
    if parallel.rank:
        return 0

    def write(step):
        how = {"temperature": options.temperature, "top_k": options.top_k, "seed": options.seed}
        return data.generate(step, model.start(1), known[None, :1], 200, **how)

    written, tokens = write(model), held[None, :100]
    print("it writes:\n", *(textwrap.fill(x, 100) for x in vocabulary.decode(written).splitlines()), "", sep="\n")
    step, by = elsewhere(model, f"{options.name}.onnx")
    ours, theirs = model.eval()(tokens, model.start(1))[0].data, step(tokens, model.start(1))[0]
    same = "the same" if np.array_equal(write(step), written) else "another"
    print(f"run by {by}: scores differ by {np.abs(ours - theirs).max():.0e} at most, {same} text")
    if options.plot:
        draw(history, by_counting, options.plot)


if __name__ == "__main__":
    program.run(main)
