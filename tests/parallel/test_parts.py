"""The parts of a batch that one process of several computes, without starting any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data
from tinygrad_rnn.autodiff.state import generator
from tinygrad_rnn.parallel import Serial
from tinygrad_rnn.train.checkpoint import random_state
from tinygrad_rnn.train.microbatches import MicroBatches


def of_two(rank: int) -> Any:
    group = Serial()
    group.rank, group.size = rank, 2  # type: ignore[misc]
    return group


@pytest.mark.parametrize("own", [1, 2])
@pytest.mark.parametrize("cut", [False, True])
def test_every_row_is_in_one_part(own: int, cut: bool) -> None:
    """Whether the batches were cut for the process before or not."""
    whole = [np.arange(8), np.arange(8, 14)]
    indices: list[list[int]] = [[], []]
    for rank in (0, 1):
        parts = MicroBatches(of_two(rank), own, None, None)
        for i, mine in enumerate(parts.split(of_two(rank).shard(whole) if cut else whole)):
            assert len(mine) == own
            assert parts.rows == len(whole[i])
            indices[i] += [int(n) for part in mine for n in part]
    assert indices == [list(range(8)), list(range(8, 14))]


@pytest.mark.parametrize(
    ("group", "own", "shares"), [(Serial(), 3, "3 parts"), (of_two(0), 1, "2 processes"), (of_two(1), 3, "2 processes")]
)
def test_sources_that_leave_a_part_without_rows_in_every_batch_are_refused(group: Any, own: int, shares: str) -> None:
    """Each process, or part, needs a row in some batch; the last batch may be smaller."""
    least = int(shares.split()[0])
    for first in (least - 1, least):
        parts = MicroBatches(group, own, None, None)
        batches = [np.arange(first), np.arange(1)]
        if first == least:
            assert len(list(parts.split(batches))) == 2
            continue
        with pytest.raises(
            ValueError, match=rf"a batch has {first} rows for {shares}; give batches of at least {least}"
        ):
            list(parts.split(batches))
        assert len(list(parts.split(batches, strict=False))) == 2
        assert not list(parts.split([]))


@pytest.mark.parametrize("size", [1, 2])
def test_a_source_with_a_known_batch_size_is_refused_before_it_is_read(size: int) -> None:
    for source in (data.Batches(np.arange(9), size=size), data.TextChunks(np.arange(20), size, 2)):
        parts = iter(MicroBatches(of_two(0), 1, None, None).split(source))
        if size == 2:
            assert len(list(parts)) == len(source)
        else:
            with pytest.raises(ValueError, match="a batch has 1 rows for 2 processes"):
                next(parts)


def test_a_part_without_rows_has_weight_0() -> None:
    """The weight function is not called for it."""
    parts = MicroBatches(Serial(), 2, None, lambda batch: 10 * len(batch))
    assert parts.weights([np.arange(3), np.arange(0)]) == [30, 0]
    assert MicroBatches(Serial(), 1, None, lambda batch: 10 * len(batch)).weights([np.arange(3)]) == [1]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_state_is_cut_and_joined_again(axis: int) -> None:
    h = np.arange(24.0).reshape((6, 2, 2) if axis == 0 else (2, 6, 2))
    whole = [MicroBatches(of_two(rank), 2, None, None) for rank in (0, 1)]
    rows = []
    for parts in whole:
        parts.rows = 6
        rows += [leaf for (leaf,) in parts.split_state((h,))]
    assert [array.shape[axis] for array in rows] == [1, 2, 1, 2]
    np.testing.assert_array_equal(np.concatenate(rows, axis), h)
    alone = MicroBatches(Serial(), 2, None, None)
    alone.rows = 6
    np.testing.assert_array_equal(alone.gather_state(alone.split_state((h,)))[0], h)
    assert MicroBatches(Serial(), 1, None, None).split_state((h,)) == [(h,)]
    assert whole[0].split_state(None) == [None, None]


def test_every_part_has_random_numbers_of_its_own() -> None:
    """Two processes of two parts draw what one process of four draws; another step or epoch draws anew, and afterwards the
    generators are what they were."""

    def numbers(parts: MicroBatches, step: int, epoch: int) -> list[float]:
        tg.seed(epoch)
        parts.begin_epoch(random_state())
        before = random_state()
        drawn = [generator().random() for _ in parts.seeded(step, range(parts.accumulate))]
        assert random_state() == before
        return drawn

    one = MicroBatches(Serial(), 4, None, None)
    first = numbers(one, 0, 0)
    assert len(set(first)) == 4
    assert first == numbers(MicroBatches(of_two(0), 2, None, None), 0, 0) + numbers(
        MicroBatches(of_two(1), 2, None, None), 0, 0
    )
    assert not set(first) & set(numbers(one, 1, 0))
    assert not set(first) & set(numbers(one, 0, 1))
