"""Batches and states dealt to parts by rows: pure functions, the same for processes and for accumulated parts.

Part k of n of a batch of B rows is rows k·B/n to (k+1)·B/n. So that a process holds and reads only what is its own, text
is dealt by its rows (each a contiguous span), and examples that are drawn anew every epoch are first dealt in contiguous
shares, inside which each part draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from copy import copy
from typing import Any

import numpy as np

from ..autodiff.state import generator
from ..autodiff.tensor import Tensor
from ..data import Batches, TextChunks
from ..rnn.cell import kind, map_state

Array = np.ndarray[Any, np.dtype[Any]]
Make = Callable[[], Iterator[tuple[int, list[Any]]]]  # an epoch: of each batch its rows, and its parts


def share(rows: int, part: int, parts: int) -> slice:
    """The rows of one part where `rows` rows are dealt to `parts` in order: their numbers differ by one at most.

    >>> [share(7, part, 3) for part in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(rows * part // parts, rows * (part + 1) // parts)


# -- one batch -----------------------------------------------------------------------------------------------------


def rows_of(batch: Any) -> int:
    """How many rows a batch has: the first axis of its arrays, which all must have in common."""
    found = {len(leaf) for leaf in _leaves(batch)}
    if len(found) != 1:
        came = f"arrays of {', '.join(map(str, sorted(found)))} rows" if found else kind(batch)
        raise ValueError(
            f"a batch cannot be dealt by rows: it is {came}, expected arrays (B, ...), or tuples and dicts of such; deal "
            "it yourself where rows are elsewhere"
        )
    return found.pop()


def cut(batch: Any, rows: slice) -> Any:
    """Those rows of every array in a batch."""
    if isinstance(batch, tuple):
        items = [cut(value, rows) for value in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else tuple(items)
    if isinstance(batch, dict):
        return {name: cut(value, rows) for name, value in batch.items()}
    if _several(batch):
        return [cut(value, rows) for value in batch]
    if isinstance(batch, Tensor):
        return Tensor(batch.data[rows])
    return batch[rows] if _has_rows(batch) else batch


def _leaves(batch: Any) -> Iterator[Any]:
    """What in a batch has rows."""
    if isinstance(batch, (tuple, dict)) or _several(batch):
        for value in batch.values() if isinstance(batch, dict) else batch:
            yield from _leaves(value)
    elif _has_rows(batch):
        yield batch


def _several(batch: Any) -> bool:
    """Whether a list is one of arrays that belong together, and not one of rows."""
    return isinstance(batch, list) and any(isinstance(value, (np.ndarray, Tensor, tuple)) for value in batch)


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, (np.ndarray, Tensor)) and value.ndim > 0)


# -- all batches ---------------------------------------------------------------------------------------------------


class Dealt:
    """The batches of a source dealt to `count` parts: iterating gives lists, of each batch the parts `numbers`.

    `rows` is how many rows the whole of the last batch had. own=True copies what these parts need of the source's arrays,
    so that the rest can be freed; memory-mapped arrays are read where they are.
    """

    def __init__(self, source: Any, numbers: Iterable[int], count: int, own: bool = False):
        self.rows = 0
        self._length = len(source) if isinstance(source, Sized) else None
        make: Any = _examples if isinstance(source, Batches) else _slices
        make = _text if isinstance(source, TextChunks) else make
        self._make: Make = make(source, list(numbers), count, own)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("how many batches there are is not known")
        return self._length

    def __iter__(self) -> Iterator[list[Any]]:
        for rows, parts in self._make():
            self.rows = rows
            yield parts


class Own:
    """One process's part of every batch of a source, which is what `MPI.shard` gives. It may be empty: no rows."""

    def __init__(self, dealt: Dealt):
        self.dealt = dealt

    def __len__(self) -> int:
        return len(self.dealt)

    def __iter__(self) -> Iterator[Any]:
        return (part for (part,) in self.dealt)

    @property
    def rows(self) -> int:
        """How many rows the whole of the last batch had."""
        return self.dealt.rows


def least_rows(source: Any, parts: int, of: str) -> None:
    """Refuse a source whose batches can never give each part a row."""
    rows = (
        source.size if isinstance(source, Batches) else len(source.inputs) if isinstance(source, TextChunks) else parts
    )
    if rows < parts:
        raise too_few(rows, parts, of)


def too_few(rows: int, parts: int, of: str) -> ValueError:
    """The error for batches that cannot give each part a row."""
    return ValueError(
        f"fit: a batch has {rows} rows for {parts} {of}; give batches of at least {parts} rows, or fewer {of}"
    )


def _slices(source: Any, numbers: list[int], count: int, own: bool) -> Make:
    """The rows of any batches, as they come."""

    def make() -> Iterator[tuple[int, list[Any]]]:
        for batch in source:
            rows = rows_of(batch)
            yield rows, [cut(batch, share(rows, number, count)) for number in numbers]

    return make


def _text(source: TextChunks, numbers: list[int], count: int, own: bool) -> Make:
    """Rows of text: each part's are one contiguous span of it."""
    pairs = []
    for number in numbers:
        rows = share(len(source.inputs), number, count)
        pairs.append([_kept(array[rows]) if own else array[rows] for array in (source.inputs, source.targets)])
    total, steps, chunks = len(source.inputs), source.steps, source.count

    def make() -> Iterator[tuple[int, list[Any]]]:
        for i in range(chunks):
            part = np.s_[:, i * steps : (i + 1) * steps]
            yield total, [(inputs[part], targets[part]) for inputs, targets in pairs]

    return make


def _examples(source: Batches, numbers: list[int], count: int, own: bool) -> Make:
    """Each part draws among its own examples; all parts put their batches into the same order."""
    parts = [_Part(source, number, count, own) for number in numbers]
    examples, size = len(source.columns[0]), source.size
    rows = [min(size, examples - i) for i in range(0, examples, size)]
    rules = copy(source)
    rules.columns = []  # which are not held any longer than they are needed

    def make() -> Iterator[tuple[int, list[Any]]]:
        order, cuts = np.arange(len(rows)), [part.cut for part in parts]
        if rules.shuffle:
            key = int(generator(None).integers(2**63))  # the same in all processes, whose generators are alike
            order = np.random.default_rng(key).permutation(order)
            streams = [np.random.default_rng([key, number]) for number in numbers]
            cuts = [rules.drawn(p.columns, p.cut, random) for p, random in zip(parts, streams, strict=True)]
        for i in order:
            yield rows[i], [rules.batch(p.columns, cut[i]) for p, cut in zip(parts, cuts, strict=True)]

    return make


class _Part:
    """A part's share of the examples in a `Batches`: the columns, and the numbers of its examples in every batch."""

    def __init__(self, source: Batches, number: int, count: int, own: bool):
        whole, rest = divmod(len(source.columns[0]), source.size)
        rows, last = share(source.size, number, count), share(rest, number, count)
        sizes = [rows.stop - rows.start] * whole + [last.stop - last.start] * bool(rest)
        if source.shuffle:
            starts = [whole * rows.start + last.start + i * sizes[0] for i in range(len(sizes))]
        else:
            starts = [i * source.size + (rows.start if i < whole else last.start) for i in range(len(sizes))]
        examples = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, sizes, strict=True)])
        self.columns = source.columns
        if own:
            self.columns = [_taken(column, examples) for column in source.columns]
            examples = np.arange(len(examples))
        self.cut = np.split(examples, np.cumsum(sizes)[:-1])


def _taken(column: Any, rows: Array) -> Any:
    """Some rows of a column by themselves; where they follow one another in a file that is mapped, they stay there."""
    if isinstance(column, list):
        return [column[i] for i in rows]
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return _kept(column[rows[0] : rows[-1] + 1])
    return column[rows]


def _kept(array: Array) -> Array:
    """A copy, which does not hold the whole that it is a part of; of an array that is mapped to a file, the array."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return array
        base = base.base
    return np.array(array)


# -- the state that is carried -------------------------------------------------------------------------------------


def state_axis(state: Any, rows: int) -> int:
    """The axis along which the rows of a state's arrays are: the first, or the second as in nn.LSTM (layers, B, H)."""
    found = [leaf.shape for leaf in state_leaves(state)]
    first = all(shape[:1] == (rows,) for shape in found)
    second = all(len(shape) > 2 and shape[1] == rows for shape in found)
    if first == second and found:
        came = "both the first and the second axis fit" if first else f"its arrays have shapes {found}"
        raise ValueError(
            f"fit: the state cannot be dealt by rows: the batch has {rows}, {came}; expected arrays (B, ...), or all of "
            "them (layers, B, ...)"
        )
    return int(not first)


def cut_state(state: Any, axis: int, part: int, parts: int) -> Any:
    """One part of a state."""

    def one(leaf: Any) -> Any:
        if not isinstance(leaf, (Tensor, np.ndarray)):
            return leaf
        index = (*(slice(None),) * axis, share(leaf.shape[axis], part, parts))
        return Tensor(leaf.data[index]) if isinstance(leaf, Tensor) else leaf[index]

    return map_state(one, state)


def joined_state(states: Sequence[Any], axis: int) -> list[Array]:
    """The arrays of a state, from its parts."""
    parts = [[_array(leaf) for leaf in state_leaves(state)] for state in states]
    return [np.concatenate(leaves, axis=axis) for leaves in zip(*parts, strict=True)]


def state_leaves(state: Any) -> list[Any]:
    """The arrays of a state, in order."""
    found: list[Any] = []
    map_state(lambda leaf: found.append(leaf) if isinstance(leaf, (Tensor, np.ndarray)) else None, state)
    return found


def _array(leaf: Any) -> Array:
    return leaf.data if isinstance(leaf, Tensor) else np.asarray(leaf)
