"""Dates in any form, written in ISO form: "Nov 21st, 2026" -> 2026-11-21, by an encoder and a decoder.

    python examples/dates.py
    python examples/dates.py "Monday, 3 Mar 1997" "3.3.1997"

Many-to-many with unequal lengths [Cho et al. 2014; Sutskever, Vinyals & Le 2014]: an encoder reads the text letter by
letter, from both sides; its last states, 128 numbers, are all that the decoder gets to write the ten letters of the ISO
form. In training the decoder reads the right letters (teacher forcing), afterwards those it wrote itself. The net knows no
rule: it learns from 34,525 days in ten forms, and is tested on 2,000 days that it never saw in any form. You see it
learn to write the date above, then how many dates are right in every place: more than 99 % after a minute. The picture
shows which letters of the text each written letter depends on most, by gradients with respect to the input.
"""

import datetime
from random import Random

import numpy as np

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train

FIRST, DAYS, SHOWN = datetime.date(1950, 1, 1), 36525, datetime.date(2026, 11, 21)  # to 2049: '26 has one meaning


def ordinal(day):
    """1st, 2nd, 3rd, 4th …"""
    return f"{day}{'th' if 10 < day < 14 else {1: 'st', 2: 'nd', 3: 'rd'}.get(day % 10, 'th')}"


FORMS = [
    lambda d: f"{d:%b} {ordinal(d.day)}, {d.year}",
    lambda d: f"{d:%B} {d.day}, {d.year}",
    lambda d: f"{ordinal(d.day)} of {d:%B} {d.year}",
    lambda d: f"{d:%d-%b-%y}",
    lambda d: f"{d:%A}, {d.day} {d:%b} {d.year}",
    lambda d: f"{d:%a} {d:%B} {d.day} '{d:%y}",
    lambda d: f"{d.month}/{d.day}/{d.year}",  # American: the month comes first
    lambda d: f"{d.day}.{d.month}.{d.year}",  # European: the day comes first
    lambda d: f"{d:%Y%m%d}",
    lambda d: f"{d.year}년 {d.month}월 {d.day}일",  # Korean
]


class Translator(tg.Module):
    """An encoder that reads text from both sides, and a decoder that begins with what the encoder ended with."""

    def __init__(self, letters, units=64, embedding=32):
        self.letters = letters
        self.embedding = nn.Embedding(len(letters), embedding)
        self.forwards, self.backwards = rnn.GRUCell(units).build(embedding), rnn.GRUCell(units).build(embedding)
        self.decoder = rnn.GRUCell(2 * units).build(embedding)
        self.head = nn.Linear(2 * units, len(letters))

    def encode(self, vectors, lengths):
        _, states = rnn.bidirectional_dynamic_rnn(self.forwards, self.backwards, vectors, lengths)
        return tg.concatenate(states, axis=-1)

    def decode(self, letters, state):
        outputs, state = rnn.dynamic_rnn(self.decoder, self.embedding(letters), initial_state=state)
        return self.head(outputs), state

    def loss(self, batch):
        text, iso = batch
        logits, _ = self.decode(iso[:, :-1], self.encode(self.embedding(text.values), text.lengths))
        return tg.softmax_cross_entropy(logits, targets=iso[:, 1:])

    def write(self, texts):
        """The ISO forms of dates, letter by letter, the likeliest each."""
        text = data.pad([self.letters.encode(one) for one in texts])
        state = self.encode(self.embedding(text.values), text.lengths)
        written = data.generate(self.decode, state, [[self.letters["<start>"]]] * len(texts), 10)
        return [self.letters.decode(row) for row in written]

    def saliency(self, text):
        """What is written, and how much each of its letters depends on each letter of the text, (10, len(text))."""
        [iso] = self.write([text])
        read = self.letters.encode(["<start>", *iso[:-1]])[None]
        vectors = self.embedding(self.letters.encode(text))
        return iso, train.saliency(lambda x: self.decode(read, self.encode(x[None], [len(text)]))[0][0], vectors)


def draw(model, texts, path):
    """The letters read across, the letters written downwards; dark where the one moves the other."""
    title = "Which letters of the text each written letter depends on"
    panels = plots.axes(title, "text read", "letter written", columns=len(texts), size=(11, 4.2))
    for panel, text in zip(panels.flat, texts, strict=True):
        iso, moved = model.saliency(text)
        panel.imshow(moved / moved.max(axis=1, keepdims=True), aspect="auto")
        panel.set_xticks(range(len(text)), text)
        panel.set_yticks(range(10), iso)
    plots.save(panels, path)


def main():
    parser = program.parser(__doc__, "dates.svg")
    parser.add_argument("dates", nargs="*", metavar="DATE", help="dates to translate at the end")
    options = program.parse(parser)
    tg.seed(options.seed)
    random = Random(options.seed)
    days = [FIRST + datetime.timedelta(n) for n in random.sample(range(DAYS), DAYS)]
    days.remove(SHOWN)
    held, known = [SHOWN, *days[:1999]], days[1999:]
    letters = data.Vocabulary("".join(form(day) for day in held for form in FORMS) + "-", special_tokens=["<start>"])
    letters.encode("".join(options.dates))  # refuses letters that it does not know

    def texts(some):
        return [random.choice(FORMS)(day) for day in some]

    def batches(some):
        isos = [letters.encode(["<start>", *day.isoformat()]) for day in some]
        return data.Batches([letters.encode(text) for text in texts(some)], np.array(isos), size=64)

    model = Translator(letters)
    print(f"{len(known):,} days to learn from, {len(held):,} held out, {model.count_parameters():,} parameters")
    optimizer, steps = optim.Adam(model.parameters(), 3e-3), 100 if options.quick else 2500
    history = train.fit(
        model.loss,
        lambda epoch: batches(known),  # in other forms every epoch
        optimizer,
        steps=steps,
        schedule=optim.CosineLR(optimizer, steps),
        clip=1.0,
        validation=list(batches(held)),
        validate_every=steps // 5,
        on_validation=lambda _: f"  {FORMS[0](SHOWN)} -> {model.write([FORMS[0](SHOWN)])[0]}",
    )
    if history.stopped == "interrupted":
        return 130
    tested = texts(held)
    written = np.array(model.write(tested))
    right = written == [day.isoformat() for day in held]
    for k in np.flatnonzero(~right)[:3]:
        print(f"  wrong: {tested[k]} -> {written[k]}")
    print(f"held-out dates right in every place: {right.mean():.2%}")
    for text in options.dates:
        print(f"{text} -> {model.write([text])[0]}")
    if options.plot:
        draw(model, [FORMS[0](SHOWN), FORMS[4](SHOWN), FORMS[6](SHOWN)], options.plot)


if __name__ == "__main__":
    program.run(main)
