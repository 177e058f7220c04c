"""Text as numbers: a vocabulary of characters, a long text cut into chunks for training, and drawing from a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .autodiff.state import generator
from .autodiff.tensor import Tensor

Integers = np.ndarray[Any, np.dtype[np.int64]]


def read_text(*paths: str | os.PathLike[str]) -> str:
    """The text of UTF-8 files, joined by newlines.

    Raises FileNotFoundError for a missing file, and ValueError for one that is no UTF-8 or if there is nothing in them.

    >>> import pathlib, tempfile, tinygrad_rnn as tg
    >>> path = pathlib.Path(tempfile.mkdtemp(), "greeting.txt")
    >>> _ = path.write_text("안녕하세요", encoding="utf-8")
    >>> tg.data.read_text(path)
    '안녕하세요'
    """
    texts = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                texts.append(file.read())
        except UnicodeDecodeError as error:
            raise ValueError(f"read_text: {os.fspath(path)} is no UTF-8 text: {error}") from None
    if not any(texts):
        raise ValueError(f"read_text: {', '.join(os.fspath(p) for p in paths) or 'no file'} is empty, expected text")
    return "\n".join(texts)


class Vocabulary:
    """The characters of a text, sorted, and their numbers from 0.

    Raises ValueError for an empty text, and where a character is encoded that is not in it.

    >>> import tinygrad_rnn as tg
    >>> vocabulary = tg.data.Vocabulary("hello")
    >>> vocabulary.characters, vocabulary.encode("hole").tolist(), vocabulary.decode([1, 0])
    ('ehlo', [1, 3, 2, 0], 'he')
    """

    def __init__(self, text: Iterable[str]):
        self.characters = "".join(sorted(set(text)))
        if not self.characters:
            raise ValueError("Vocabulary: the text is empty, expected at least one character")
        self._codes = np.array([ord(c) for c in self.characters], np.uint32)

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str) -> Integers:
        """The characters' numbers, (len(text),)."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        found = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        wrong = np.flatnonzero(self._codes[found] != codes)
        if len(wrong):
            raise ValueError(
                f"Vocabulary: character {wrong[0]} of the text is {text[wrong[0]]!r}, expected one of the "
                f"{len(self)} in {self.characters!r:.60}"
            )
        return found.astype(np.int64)

    def decode(self, numbers: Any) -> str:
        """The text that these numbers stand for."""
        return "".join(self.characters[int(i)] for i in np.asarray(numbers).ravel())

    def __repr__(self) -> str:
        return f"Vocabulary({self.characters!r})"


class TextChunks:
    """A long sequence as batches for truncated backpropagation through time [Williams & Peng 1990].

    The sequence is laid out in `batch` rows that go on from chunk to chunk, so that the state after one chunk is the
    state before the next. Iterating gives pairs (inputs, targets), each (batch, steps) integers; targets are the inputs
    one place further. What is left over at the end of the rows is dropped, or with remainder=True a last, shorter chunk.

    Raises ValueError for a sequence too short for one chunk.

    >>> import tinygrad_rnn as tg
    >>> for inputs, targets in tg.data.TextChunks([0, 1, 2, 3, 4, 5, 6, 7, 8], batch=2, steps=2):
    ...     print(inputs.tolist(), targets.tolist())
    [[0, 1], [4, 5]] [[1, 2], [5, 6]]
    [[2, 3], [6, 7]] [[3, 4], [7, 8]]
    """

    def __init__(self, sequence: Any, batch: int, steps: int, remainder: bool = False):
        sequence = np.asarray(sequence)
        if sequence.ndim != 1 or sequence.dtype.kind not in "iu":
            raise ValueError(
                f"TextChunks: sequence has shape {sequence.shape} and dtype {sequence.dtype}, expected integers (length,)"
            )
        for name, value in (("batch", batch), ("steps", steps)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"TextChunks: {name} is {value!r}, expected a positive integer")
        length = (len(sequence) - 1) // batch
        least = 1 if remainder else steps
        if length < least:
            raise ValueError(
                f"TextChunks: the sequence has {len(sequence)} elements, expected at least {batch * least + 1} for a "
                f"batch of {batch} rows of {least} steps; give a longer text, a smaller batch or fewer steps"
            )
        self.inputs = sequence[: batch * length].reshape(batch, length)
        self.targets = sequence[1 : batch * length + 1].reshape(batch, length)
        self.steps, self.count = int(steps), -(-length // steps) if remainder else length // steps

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Integers, Integers]]:
        for i in range(self.count):
            part = np.s_[:, i * self.steps : (i + 1) * self.steps]
            yield self.inputs[part], self.targets[part]


def draw(logits: Any, temperature: float = 1.0, seed: Any = None) -> Integers:
    """Draw classes from softmax(logits / temperature): below 1 bolder, above 1 wilder, 0 the likeliest.

    logits (..., C), result (...) integers. seed: a generator or an integer, else the default generator.
    Raises ValueError for a negative temperature.

    >>> import tinygrad_rnn as tg
    >>> tg.data.draw([[0.0, 9.0], [9.0, 0.0]], temperature=0).tolist()
    [1, 0]
    """
    z = np.asarray(logits.data if isinstance(logits, Tensor) else logits, np.float64)
    if not temperature >= 0:
        raise ValueError(f"draw: temperature is {temperature!r}, expected a number >= 0")
    if temperature == 0:
        return np.asarray(z.argmax(-1), np.int64)
    z = (z - z.max(-1, keepdims=True)) / temperature
    totals = np.exp(z).cumsum(-1)
    points = generator(seed).random((*z.shape[:-1], 1)) * totals[..., -1:]
    return np.asarray((totals <= points).sum(-1), np.int64)
