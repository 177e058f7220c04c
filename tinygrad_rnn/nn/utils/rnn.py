"""Packed sequences: padded arrays with the length of each row. `nn.RNN`, `nn.LSTM` and `nn.GRU` accept and return them;
their argument lengths= has the same effect. Rows keep their order; lengths may be in any order and may be 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...autodiff.tensor import Tensor
from ...data import pad


class PackedSequence(NamedTuple):
    """Padded sequences with their lengths, created by `pack_padded_sequence`."""

    padded: Tensor
    lengths: np.ndarray[Any, Any]
    batch_first: bool


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences (T, B, ...), or (B, T, ...) with batch_first, and the lengths (B), which may be in any order.

    Raises ValueError for lengths that do not fit.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
    >>> packed = pack_padded_sequence(np.ones((2, 5, 3), np.float32), [3, 1], batch_first=True)
    >>> output, h_n = tg.nn.GRU(3, 4, batch_first=True)(packed)
    >>> y, lengths = pad_packed_sequence(output, batch_first=True)
    >>> y.shape, lengths.tolist()
    ((2, 3, 4), [3, 1])
    """
    x = input if isinstance(input, Tensor) else Tensor(input)
    counts = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    if counts.shape != (batch,) or counts.dtype.kind not in "iu" or ((counts < 0) | (counts > steps)).any():
        raise ValueError(
            f"pack_padded_sequence: lengths are {counts.tolist()}, expected {batch} integers from 0 to {steps} for an input of "
            f"shape {x.shape}, batch_first={batch_first}"
        )
    return PackedSequence(x, counts.astype(np.int64), bool(batch_first))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, np.ndarray[Any, Any]]:
    """The padded sequences, truncated to the longest or padded to total_length, and the lengths.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.nn.utils.rnn import pack_sequence, pad_packed_sequence
    >>> pad_packed_sequence(pack_sequence([[1.0, 2.0], [3.0]]), batch_first=True, padding_value=9.0)[0].tolist()
    [[1.0, 2.0], [3.0, 9.0]]
    """
    x, lengths, first = sequence
    x = x if first else ops.swapaxes(x, axis1=0, axis2=1)
    longest = int(lengths.max(initial=0))
    steps = longest if total_length is None else total_length
    if steps < longest:
        raise ValueError(
            f"pad_packed_sequence: total_length is {total_length}, expected at least {longest}, the longest"
        )
    x = x[:, :steps]
    if steps > x.shape[1]:
        fill = np.zeros((x.shape[0], steps - x.shape[1], *x.shape[2:]), x.dtype)
        x = ops.concatenate([x, fill], axis=1)
    real = np.arange(steps) < lengths[:, None]
    x = ops.where(real.reshape(*real.shape, *[1] * (x.ndim - 2)), x, x.dtype.type(padding_value))
    return (x if batch_first else ops.swapaxes(x, axis1=0, axis2=1)), lengths


def pad_sequence(sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0) -> Tensor:
    """Sequences (length, ...) as one tensor (T, B, ...), or (B, T, ...) with batch_first; constants, as data.pad.

    >>> from tinygrad_rnn.nn.utils.rnn import pad_sequence
    >>> pad_sequence([[1.0, 2.0], [3.0]], batch_first=True).tolist()
    [[1.0, 2.0], [3.0, 0.0]]
    """
    rows = [np.asarray(one.data if isinstance(one, Tensor) else one) for one in sequences]
    values = pad(rows, padding_value).values
    values = values.astype(np.float32) if rows and not hasattr(sequences[0], "dtype") else values
    return Tensor(values if batch_first else values.swapaxes(0, 1))


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (length, ...) packed: pad_sequence, then pack_padded_sequence.

    >>> from tinygrad_rnn.nn.utils.rnn import pack_sequence
    >>> pack_sequence([[1.0, 2.0], [3.0]]).lengths.tolist()
    [2, 1]
    """
    return pack_padded_sequence(pad_sequence(sequences, True), [len(one) for one in sequences], True)
