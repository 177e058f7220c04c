"""Splitting of batches and states into parts by rows, for processes and for accumulated micro-batches.

Part k of n of a batch of B rows is rows k·B/n to (k+1)·B/n. A process stores and reads only its own part: text is split
by its rows (contiguous spans), and shuffled examples are first split into contiguous shares; each part then shuffles
within its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from copy import copy
from typing import Any

import numpy as np

from ..autodiff.state import generator
from ..autodiff.tensor import Tensor
from ..data import Batches, TextChunks
from ..rnn.cell import described, map_state

Array = np.ndarray[Any, np.dtype[Any]]
Make = Callable[[], Iterator[tuple[int, list[Any]]]]  # an epoch: the number of rows and the parts of each batch


def share(rows: int, part: int, parts: int) -> slice:
    """The rows of one part if `rows` rows are split into `parts` in order; sizes differ by at most one.

    >>> [share(7, part, 3) for part in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(rows * part // parts, rows * (part + 1) // parts)


# -- one batch -----------------------------------------------------------------------------------------------------


def rows_of(batch: Any) -> int:
    """The number of rows of a batch: the size of the first axis, the same for all its arrays."""
    sizes = {len(leaf) for leaf in _leaves(batch)}
    if len(sizes) != 1:
        received = f"arrays of {', '.join(map(str, sorted(sizes)))} rows" if sizes else described(batch)
        raise ValueError(
            f"a batch cannot be split by rows: it is {received}, expected arrays (B, ...), or tuples and dicts of them; split "
            "it yourself if its rows are on another axis"
        )
    return sizes.pop()


def cut(batch: Any, rows: slice) -> Any:
    """The given rows of every array in a batch."""
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
    """The arrays and lists in a batch that have rows."""
    if isinstance(batch, (tuple, dict)) or _several(batch):
        for value in batch.values() if isinstance(batch, dict) else batch:
            yield from _leaves(value)
    elif _has_rows(batch):
        yield batch


def _several(batch: Any) -> bool:
    """Whether a list holds several arrays, each with all rows, rather than one element per row."""
    return isinstance(batch, list) and any(isinstance(value, (np.ndarray, Tensor, tuple)) for value in batch)


def _has_rows(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, (np.ndarray, Tensor)) and value.ndim > 0)


# -- all batches ---------------------------------------------------------------------------------------------------


class SplitBatches:
    """The batches of a source, each split into `count` parts; iteration yields, per batch, the list of parts `numbers`.

    `rows` is the number of rows of the last batch over all parts. copied=True copies the rows of these parts, so that the
    source can be freed; memory-mapped arrays are not copied.
    """

    def __init__(self, source: Any, numbers: Iterable[int], count: int, copied: bool = False):
        self.rows = 0
        self._length = len(source) if isinstance(source, Sized) else None
        make: Any = _examples if isinstance(source, Batches) else _slices
        make = _text if isinstance(source, TextChunks) else make
        self._make: Make = make(source, list(numbers), count, copied)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("the number of batches is not known")
        return self._length

    def __iter__(self) -> Iterator[list[Any]]:
        for rows, parts in self._make():
            self.rows = rows
            yield parts


class Shard:
    """One process's part of every batch of a source, as `MPI.shard` returns it; a part may have no rows."""

    def __init__(self, batches: SplitBatches):
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return (part for (part,) in self.batches)

    @property
    def rows(self) -> int:
        """The number of rows of the last batch over all parts."""
        return self.batches.rows


def least_rows(source: Any, parts: int, of: str) -> None:
    """Raise ValueError for a source whose batches all have fewer rows than parts."""
    rows = (
        source.size if isinstance(source, Batches) else len(source.inputs) if isinstance(source, TextChunks) else parts
    )
    if rows < parts:
        raise too_few(rows, parts, of)


def too_few(rows: int, parts: int, of: str) -> ValueError:
    """The error for batches with fewer rows than parts."""
    return ValueError(
        f"fit: a batch has {rows} rows for {parts} {of}; give batches of at least {parts} rows, or fewer {of}"
    )


def _slices(source: Any, numbers: list[int], count: int, copied: bool) -> Make:
    """Parts of the batches of any iterable."""

    def make() -> Iterator[tuple[int, list[Any]]]:
        for batch in source:
            rows = rows_of(batch)
            yield rows, [cut(batch, share(rows, number, count)) for number in numbers]

    return make


def _text(source: TextChunks, numbers: list[int], count: int, copied: bool) -> Make:
    """Parts of text: the rows of each part are a contiguous span."""
    pairs = []
    for number in numbers:
        rows = share(len(source.inputs), number, count)
        pairs.append([_kept(array[rows]) if copied else array[rows] for array in (source.inputs, source.targets)])
    total, steps, chunks = len(source.inputs), source.steps, source.count

    def make() -> Iterator[tuple[int, list[Any]]]:
        for i in range(chunks):
            part = np.s_[:, i * steps : (i + 1) * steps]
            yield total, [(inputs[part], targets[part]) for inputs, targets in pairs]

    return make


def _examples(source: Batches, numbers: list[int], count: int, copied: bool) -> Make:
    """Parts of `Batches`: each part shuffles its own examples; all parts use the same order of batches."""
    parts = [_Part(source, number, count, copied) for number in numbers]
    examples, size = len(source.columns[0]), source.size
    rows = [min(size, examples - i) for i in range(0, examples, size)]
    rules = copy(source)
    rules.columns = []  # release the source's arrays

    def make() -> Iterator[tuple[int, list[Any]]]:
        order, cuts = np.arange(len(rows)), [part.cut for part in parts]
        if rules.shuffle:
            key = int(
                generator(None).integers(2**63)
            )  # the same on all processes: their generators have the same state
            order = np.random.default_rng(key).permutation(order)
            streams = [np.random.default_rng([key, number]) for number in numbers]
            cuts = [rules.shuffled(p.columns, p.cut, random) for p, random in zip(parts, streams, strict=True)]
        for i in order:
            yield rows[i], [rules.batch(p.columns, cut[i]) for p, cut in zip(parts, cuts, strict=True)]

    return make


class _Part:
    """The examples of a `Batches` that one part uses: the columns, and the indices of its examples in every batch."""

    def __init__(self, source: Batches, number: int, count: int, copied: bool):
        full, rest = divmod(len(source.columns[0]), source.size)
        rows, last = share(source.size, number, count), share(rest, number, count)
        sizes = [rows.stop - rows.start] * full + [last.stop - last.start] * bool(rest)
        if source.shuffle:
            starts = [full * rows.start + last.start + i * sizes[0] for i in range(len(sizes))]
        else:
            starts = [i * source.size + (rows.start if i < full else last.start) for i in range(len(sizes))]
        examples = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, sizes, strict=True)])
        self.columns = source.columns
        if copied:
            self.columns = [_taken(column, examples) for column in source.columns]
            examples = np.arange(len(examples))
        self.cut = np.split(examples, np.cumsum(sizes)[:-1])


def _taken(column: Any, rows: Array) -> Any:
    """A copy of some rows of a column; consecutive rows of a memory-mapped file are not copied."""
    if isinstance(column, list):
        return [column[i] for i in rows]
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return _kept(column[rows[0] : rows[-1] + 1])
    return column[rows]


def _kept(array: Array) -> Array:
    """A copy, so that the base array can be freed; a memory-mapped array is returned as it is."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return array
        base = base.base
    return np.array(array)


# -- the state that is carried -------------------------------------------------------------------------------------


def state_axis(state: Any, rows: int) -> int:
    """The axis of rows in the arrays of a state: the first, or the second as in nn.LSTM (layers, B, H)."""
    shapes = [leaf.shape for leaf in state_leaves(state)]
    first = all(shape[:1] == (rows,) for shape in shapes)
    second = all(len(shape) > 2 and shape[1] == rows for shape in shapes)
    if first == second and shapes:
        problem = "both the first and the second axis fit" if first else f"its arrays have shapes {shapes}"
        raise ValueError(
            f"fit: the state cannot be split by rows: the batch has {rows}, {problem}; expected arrays (B, ...), or all of "
            "them (layers, B, ...)"
        )
    return int(not first)


def cut_state(state: Any, axis: int, part: int, parts: int) -> Any:
    """One part of a state."""

    def cut_leaf(leaf: Any) -> Any:
        if not isinstance(leaf, (Tensor, np.ndarray)):
            return leaf
        index = (*(slice(None),) * axis, share(leaf.shape[axis], part, parts))
        return Tensor(leaf.data[index]) if isinstance(leaf, Tensor) else leaf[index]

    return map_state(cut_leaf, state)


def joined_state(states: Sequence[Any], axis: int) -> list[Array]:
    """The arrays of a state, concatenated from those of its parts."""
    parts = [[_array(leaf) for leaf in state_leaves(state)] for state in states]
    return [np.concatenate(leaves, axis=axis) for leaves in zip(*parts, strict=True)]


def state_leaves(state: Any) -> list[Any]:
    """The arrays of a state, in order."""
    leaves: list[Any] = []
    map_state(lambda leaf: leaves.append(leaf) if isinstance(leaf, (Tensor, np.ndarray)) else None, state)
    return leaves


def _array(leaf: Any) -> Array:
    return leaf.data if isinstance(leaf, Tensor) else np.asarray(leaf)
