"""Sequence data for training: vocabularies, padding, batches, chunks of long texts; and sampling from a model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from . import checks
from .autodiff.state import generator, no_grad, training
from .autodiff.tensor import Tensor
from .rnn.cell import described

Array = np.ndarray[Any, np.dtype[Any]]
Integers = np.ndarray[Any, np.dtype[np.int64]]


def read_text(*paths: str | os.PathLike[str]) -> str:
    """The text of UTF-8 files, joined by newlines.

    Raises FileNotFoundError for a missing file, ValueError for one that is not UTF-8, and if all are empty.

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
            raise ValueError(f"read_text: {os.fspath(path)} is not UTF-8 text: {error}") from None
    if not any(texts):
        raise ValueError(f"read_text: {', '.join(os.fspath(p) for p in paths) or 'no file'} is empty, expected text")
    return "\n".join(texts)


class Vocabulary:
    """The distinct tokens of a text, sorted and numbered: the characters of a string, or the words of a list.

    special_tokens: such as "<start>" and "<end>"; they come first, numbered from 0, and decode omits them. unknown: the token
    that stands for all those not in the vocabulary; it comes next. size: the largest number of tokens, of which the most
    frequent are kept. `vocabulary[token]` is a number, `vocabulary.tokens` the tokens in order. Raises ValueError for an
    empty text, for encoding a token that is not in the vocabulary without `unknown`, and for decoding an invalid number;
    TypeError for tokens that are not strings.

    >>> import tinygrad_rnn as tg
    >>> vocabulary = tg.data.Vocabulary("hello")
    >>> vocabulary.characters, vocabulary.encode("hole").tolist(), vocabulary.decode([1, 0])
    ('ehlo', [1, 3, 2, 0], 'he')
    >>> words = tg.data.Vocabulary("to be or not to be".split(), special_tokens=["<end>"], unknown="?", size=4)
    >>> words.tokens, words.encode(["to", "do", "<end>"]).tolist(), words.decode([2, 1, 0])
    (('<end>', '?', 'be', 'to'), [3, 1, 0], 'be ?')
    """

    def __init__(
        self,
        tokens: Iterable[str],
        *,
        special_tokens: Iterable[str] = (),
        unknown: str | None = None,
        size: int | None = None,
    ):
        self.separator = "" if isinstance(tokens, str) else " "
        if isinstance(special_tokens, str):
            raise TypeError(
                f"Vocabulary: special_tokens is {special_tokens!r}, expected a list of strings, [{special_tokens!r}]"
            )
        if unknown is not None and not isinstance(unknown, str):
            raise TypeError(f"Vocabulary: unknown is {described(unknown)}, expected a string")
        self.special_tokens, self.unknown = tuple(_strings("special_tokens", special_tokens)), unknown
        first = list(dict.fromkeys([*self.special_tokens, *([unknown] if unknown is not None else [])]))
        counts = Counter(_strings("tokens", tokens))
        for token in first:
            counts.pop(token, None)
        if not counts:
            raise ValueError("Vocabulary: the text is empty, expected at least one token")
        kept = sorted(counts)
        if size is not None:
            if not checks.is_integer(size) or size <= len(first):
                raise ValueError(
                    f"Vocabulary: size is {size!r}, expected more than the {len(first)} special tokens and unknown"
                )
            kept = sorted(sorted(kept, key=lambda token: -counts[token])[: size - len(first)])
        self.tokens = (*first, *kept)
        self._numbers = {token: i for i, token in enumerate(self.tokens)}

    @property
    def characters(self) -> str:
        """All tokens, joined to one string."""
        return "".join(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._numbers

    def __getitem__(self, token: str) -> int:
        return int(self.encode([token])[0])

    def encode(self, tokens: Iterable[str]) -> Integers:
        """The numbers (length,) of the characters of a string, or of the words of a list."""
        tokens = tokens if isinstance(tokens, (str, list, tuple)) else list(tokens)
        if self.unknown is not None:
            other = self._numbers[self.unknown]
            numbers = [self._numbers.get(token, other) for token in tokens]
        else:
            try:
                numbers = [self._numbers[token] for token in tokens]
            except KeyError as error:
                at, what = tokens.index(error.args[0]), "token" if self.separator else "character"
                known = self.tokens if self.separator else self.characters
                raise ValueError(
                    f"Vocabulary: {what} {at} of the text is {tokens[at]!r}, expected one of the {len(self)} in {known!r:.60}"
                ) from None
        return np.array(numbers, np.int64)

    def decode(self, numbers: Any) -> str:
        """The text of these numbers without the special tokens: characters joined, words separated by spaces."""
        indices = np.asarray(numbers).ravel()
        if indices.size and indices.dtype.kind not in "iu":
            raise TypeError(f"Vocabulary.decode: numbers have dtype {indices.dtype}, expected integers")
        bad = np.flatnonzero((indices < 0) | (indices >= len(self)))
        if len(bad):
            raise ValueError(f"Vocabulary.decode: number {bad[0]} is {indices[bad[0]]}, expected 0 to {len(self) - 1}")
        tokens = (self.tokens[i] for i in indices)
        return self.separator.join(token for token in tokens if token not in self.special_tokens)

    def __repr__(self) -> str:
        if self.separator:
            return f"Vocabulary({len(self)} tokens)"
        return f"Vocabulary({self.characters!r})"


def _strings(name: str, tokens: Any) -> Any:
    """Check the tokens of a vocabulary: a string or a list of strings."""
    if isinstance(tokens, str):
        return tokens
    if not isinstance(tokens, Iterable):
        raise TypeError(f"Vocabulary: {name} is {described(tokens)}, expected a string or a list of strings")
    tokens = list(tokens)
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(f"Vocabulary: {name}[{i}] is {described(token)}, expected a string")
    return tokens


class Padded(NamedTuple):
    """Sequences of unequal length as one array, values (B, T, ...), with their lengths (B,).

    >>> import tinygrad_rnn as tg
    >>> values, lengths = tg.data.pad([[1, 2, 3], [4]])
    >>> values.shape, lengths.tolist()
    ((2, 3), [3, 1])
    """

    values: Array
    lengths: Integers

    @property
    def mask(self) -> Array:
        """(B, T) booleans: True where a value is real, False where it is padding."""
        mask: Array = np.arange(self.values.shape[1]) < self.lengths[:, None]
        return mask


def pad(sequences: Iterable[Any], value: Any = 0) -> Padded:
    """Stack sequences (length, ...), padded at the end with `value` to the length of the longest.

    Raises ValueError for an empty list, for elements of different shapes, and for a value that their dtype cannot
    represent; TypeError for an entry that is not a sequence.

    >>> import tinygrad_rnn as tg
    >>> padded = tg.data.pad([[1, 2, 3], [4], []])
    >>> padded.values.tolist(), padded.lengths.tolist()
    ([[1, 2, 3], [4, 0, 0], [0, 0, 0]], [3, 1, 0])
    >>> padded.mask[1].tolist()
    [True, False, False]
    """
    if not isinstance(sequences, Iterable):
        raise TypeError(f"pad: sequences is {described(sequences)}, expected a list of sequences")
    rows = [_row(i, sequence) for i, sequence in enumerate(sequences)]
    if not rows:
        raise ValueError("pad: there are no sequences, expected at least one")
    shapes = {row.shape[1:] for row in rows if len(row)} or {rows[0].shape[1:]}
    if len(shapes) > 1:
        raise ValueError(
            f"pad: the sequences' elements have shapes {', '.join(map(str, sorted(shapes)))}, expected one shape"
        )
    lengths = np.array([len(row) for row in rows], np.int64)
    dtype = np.result_type(*[row.dtype for row in rows if row.size] or [np.dtype(np.int64)])
    if not _holds(dtype, np.asarray(value)):
        raise ValueError(f"pad: value is {value!r}, which the sequences' dtype {dtype} cannot hold; cast them first")
    values = np.full((len(rows), int(lengths.max()), *shapes.pop()), value, dtype)
    for i, row in enumerate(rows):
        if len(row):
            values[i, : len(row)] = row
    return Padded(values, lengths)


def _holds(dtype: np.dtype[Any], value: Array) -> bool:
    """Whether a dtype can represent a value; floats may be rounded."""
    if dtype.kind == "f":
        return value.dtype.kind in "fiub"
    if dtype.kind in "iub" and value.dtype.kind not in "fiub":
        return False
    with np.errstate(invalid="ignore"):  # NaN cast to an integer
        return np.array_equal(value.astype(dtype), value)


def _row(number: int, sequence: Any) -> Array:
    """A sequence as an array (length, ...)."""
    try:
        row = np.asarray(sequence)
    except (TypeError, ValueError) as error:
        raise type(error)(f"pad: sequence {number} does not form an array (length, ...): {error}") from None
    if not row.ndim:
        raise TypeError(f"pad: sequence {number} is {described(sequence)}, expected a sequence (length, ...)")
    return row


class Batches:
    """Batches of examples for training, shuffled every epoch, with examples of similar length in one batch.

    columns, each with one entry per example: an array (N, ...) or a list of numbers gives arrays (B, ...), a list of
    sequences of unequal length (or a Padded) gives Padded. Iteration yields tuples with one entry per column, or the entry
    itself for a single column. shuffle: use a random order, from the default generator (tg.seed). pool: the examples of
    this many shuffled batches are sorted by their length in the first column of sequences, which reduces padding; 1 does
    not sort. The last batch may be smaller.

    Raises ValueError for columns of unequal length or without examples, TypeError for an invalid column.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> words, tags = [[5, 6, 7], [8], [9, 9]], np.array([0, 1, 2])
    >>> for batch, tag in tg.data.Batches(words, tags, size=2, shuffle=False):
    ...     print(batch.values.tolist(), batch.lengths.tolist(), tag.tolist())
    [[5, 6, 7], [8, 0, 0]] [3, 1] [0, 1]
    [[9, 9]] [2] [2]
    """

    def __init__(self, *columns: Any, size: int, shuffle: bool = True, pool: int = 20):
        self.columns = [_column(i, column) for i, column in enumerate(columns)]
        self.ragged = [isinstance(column, list) for column in self.columns]
        counts = [len(column) for column in self.columns]
        if not counts or len(set(counts)) > 1 or not counts[0]:
            raise ValueError(f"Batches: the columns hold {counts} examples, expected as many in each, at least one")
        self.size, self.pool = checks.integer("Batches", "size", size), checks.integer("Batches", "pool", pool)
        self.shuffle = bool(shuffle)

    def __len__(self) -> int:
        return -(-len(self.columns[0]) // self.size)

    def __repr__(self) -> str:
        return f"Batches({len(self)} of up to {self.size}, from {len(self.columns[0])} examples)"

    def __iter__(self) -> Iterator[Any]:
        count, size = len(self.columns[0]), self.size
        cut = [np.arange(i, min(i + size, count)) for i in range(0, count, size)]
        if self.shuffle:
            random = generator(None)
            cut = self.shuffled(self.columns, cut, random)
            cut = [cut[i] for i in random.permutation(len(cut))]
        for rows in cut:
            yield self.batch(self.columns, rows)

    def batch(self, columns: list[Any], rows: Integers) -> Any:
        """The batch of the examples `rows` of the given columns."""
        batch = tuple(
            _chosen(column, rows) if ragged else column[rows]
            for column, ragged in zip(columns, self.ragged, strict=True)
        )
        return batch[0] if len(batch) == 1 else batch

    def shuffled(self, columns: list[Any], cut: list[Integers], random: np.random.Generator) -> list[Integers]:
        """Shuffle the examples of `cut`, a list of batches, into batches of the same sizes with similar lengths."""
        order, span = random.permutation(np.concatenate(cut)), max(len(cut[0]), 1) * self.pool
        if self.pool > 1 and any(self.ragged) and len(order):
            column = columns[self.ragged.index(True)]
            lengths = np.array([len(column[i]) for i in order])
            pools = [np.arange(i, min(i + span, len(order))) for i in range(0, len(order), span)]
            order = order[np.concatenate([one[np.argsort(lengths[one], kind="stable")] for one in pools])]
        return np.split(order, np.cumsum([len(rows) for rows in cut])[:-1])


def _chosen(sequences: list[Any], rows: Integers) -> Padded:
    """The chosen sequences, padded; no rows give an empty Padded."""
    return pad([sequences[i] for i in rows]) if len(rows) else Padded(np.zeros((0, 0), np.int64), rows)


def _column(number: int, column: Any) -> Any:
    """A column of Batches as an array (N, ...), or as a list of sequences of unequal length."""
    if isinstance(column, Padded):
        return [row[:length] for row, length in zip(*column, strict=True)]
    if isinstance(column, (list, tuple)):
        sequences = [isinstance(entry, (list, tuple)) or getattr(entry, "ndim", 0) > 0 for entry in column]
        if any(sequences):
            if not all(sequences):
                at = sequences.index(False)
                raise TypeError(
                    f"Batches: column {number} holds sequences, but example {at} is {described(column[at])}"
                )
            return list(column)
    array = np.asarray(column)
    if not array.ndim:
        raise TypeError(
            f"Batches: column {number} is {described(column)}, expected a list or an array with one entry an example"
        )
    return array


class TextChunks:
    """A long sequence as batches for truncated backpropagation through time [Williams & Peng 1990].

    The sequence is split into `batch` rows, each of which continues from chunk to chunk, so that the final state of a chunk
    is the initial state of the next. Iteration yields pairs (inputs, targets) of integers (batch, steps); targets are the
    inputs shifted by one. The remainder of the rows is dropped, or with remainder=True is a last, shorter chunk.

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
        batch, steps = checks.integer("TextChunks", "batch", batch), checks.integer("TextChunks", "steps", steps)
        length = (len(sequence) - 1) // batch
        least = 1 if remainder else steps
        if length < least:
            raise ValueError(
                f"TextChunks: the sequence has {len(sequence)} elements, expected at least {batch * least + 1} for a "
                f"batch of {batch} rows of {least} steps; give a longer text, a smaller batch or fewer steps"
            )
        self.inputs = sequence[: batch * length].reshape(batch, length)
        self.targets = sequence[1 : batch * length + 1].reshape(batch, length)
        self.steps, self.count = steps, -(-length // steps) if remainder else length // steps

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return f"TextChunks({self.count} chunks of {len(self.inputs)} rows, {self.steps} steps each)"

    def __iter__(self) -> Iterator[tuple[Integers, Integers]]:
        for i in range(self.count):
            part = np.s_[:, i * self.steps : (i + 1) * self.steps]
            yield self.inputs[part], self.targets[part]


def sample(logits: Any, temperature: float = 1.0, seed: Any = None, *, top_k: int | None = None) -> Integers:
    """Sample classes from softmax(logits / temperature); temperature 0 returns the likeliest class.

    A temperature below 1 makes likely classes likelier, above 1 less likely. logits (..., C), result (...) integers. top_k:
    sample only from this many likeliest classes. seed: a generator or an integer, else the default generator. Raises
    ValueError for a negative temperature, for top_k below 1, and for logits that contain NaN or are all −inf.

    >>> import tinygrad_rnn as tg
    >>> tg.data.sample([[0.0, 9.0], [9.0, 0.0]], temperature=0).tolist()
    [1, 0]
    """
    return _sampled("sample", logits, temperature, generator(seed), top_k)


def _sampled(owner: str, logits: Any, temperature: Any, random: np.random.Generator, top_k: Any) -> Integers:
    """`sample`, with the caller's name for errors."""
    z = np.asarray(logits.data if isinstance(logits, Tensor) else logits, np.float64)
    if not isinstance(temperature, (int, float, np.number)) or not 0 <= temperature < np.inf:
        raise ValueError(f"{owner}: temperature is {temperature!r}, expected a finite number >= 0")
    if top_k is not None:
        checks.integer(owner, "top_k", top_k)
    if not z.ndim or not z.shape[-1]:
        raise ValueError(f"{owner}: logits have shape {z.shape}, expected (..., C) with at least one class")
    if np.isnan(z).any():
        at = np.argwhere(np.isnan(z))[0].tolist()
        raise ValueError(f"{owner}: logits{at} is NaN, expected numbers; did the training diverge?")
    top = z.max(-1, keepdims=True)
    if (top == -np.inf).any():
        at = np.argwhere(top[..., 0] == -np.inf)[0].tolist()
        raise ValueError(f"{owner}: logits{at or ''} are -inf throughout, expected a class that can be drawn")
    if temperature == 0:
        return np.asarray(z.argmax(-1), np.int64)
    z = np.subtract(z, top, out=np.zeros_like(z), where=z != top) / temperature  # inf - inf is 0 here
    if top_k is not None and top_k < z.shape[-1]:
        likeliest = np.argsort(-z, axis=-1, kind="stable")[..., :top_k]
        restricted = np.full_like(z, -np.inf)
        np.put_along_axis(restricted, likeliest, np.take_along_axis(z, likeliest, -1), -1)
        z = restricted
    totals = np.exp(z).cumsum(-1)
    points = random.random((*z.shape[:-1], 1)) * totals[..., -1:]
    return np.asarray((totals <= points).sum(-1), np.int64)


def generate(
    step: Callable[[Integers, Any], tuple[Any, Any]],
    state: Any,
    prompt: Any,
    length: int,
    *,
    end: int | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: Any = None,
) -> Integers:
    """Generate sequences from a model: each token is sampled from the prediction and is the next input.

    step(tokens (B, T), state) -> (logits (B, T, C), state). prompt (B, T): the first input, such as a start token.
    Returns the tokens (B, up to length) that follow. end: a row that has generated this token is filled with it, and when
    all rows have, generation stops. temperature, top_k, seed: as in `sample`; the default is greedy decoding, the likeliest
    token. Runs in evaluation mode and without gradients. Raises TypeError and ValueError for a step that returns something
    else.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> following = np.array([[0, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9], [9, 0, 0, 0]])
    >>> step = lambda tokens, state: (following[tokens], state)
    >>> tg.data.generate(step, None, [[0], [2]], length=4, end=3).tolist()
    [[1, 2, 3], [3, 3, 3]]
    """
    tokens = np.asarray(prompt)
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.shape[1]:
        raise ValueError(
            f"generate: prompt has shape {tokens.shape} and dtype {tokens.dtype}, expected integers (B, T), at least one step"
        )
    length = checks.integer("generate", "length", length, least=0)
    written, random = np.empty((len(tokens), 0), np.int64), generator(seed)
    with training(False), no_grad():
        while written.shape[1] < length and not (end is not None and (written == end).any(axis=1).all()):
            result = step(tokens, state)
            if not isinstance(result, (tuple, list)) or len(result) != 2:
                raise TypeError(f"generate: step returned {type(result).__name__}, expected the pair (logits, state)")
            logits, state = result
            logits = logits.data if isinstance(logits, Tensor) else np.asarray(logits)
            if logits.ndim != 3 or len(logits) != len(tokens) or not logits.shape[1]:
                raise ValueError(
                    f"generate: step gave logits of shape {logits.shape} for tokens of shape {tokens.shape}, expected "
                    f"({len(tokens)}, {tokens.shape[1]}, C)"
                )
            tokens = _sampled("generate", logits[:, -1], temperature, random, top_k)[:, None]
            if end is not None:
                tokens[(written == end).any(axis=1)] = end
            written = np.concatenate([written, tokens], axis=1)
    return written
