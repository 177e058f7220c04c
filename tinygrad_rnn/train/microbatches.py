"""The parts of a batch: how rows, states and random numbers are split over processes and accumulated micro-batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..module import Module
from ..parallel.serial import Serial
from ..parallel.shards import (
    Shard,
    SplitBatches,
    cut_state,
    joined_state,
    least_rows,
    rows_of,
    state_axis,
    state_leaves,
    too_few,
)
from . import checks
from .checkpoint import random_state, set_random_state, set_streams


class MicroBatches:
    """Splits every batch into `accumulate` · size parts, of which this process computes `accumulate`.

    A single part is the batch itself. Otherwise part k draws its random numbers from a stream of its own, seeded with the
    generators' state at the start of the epoch, the step and k, so the result does not depend on the process that
    computes it.
    """

    def __init__(self, group: Serial, accumulate: int, model: Module | None, weight: checks.Weight | None):
        self.group, self.accumulate, self.model = group, accumulate, model
        self.count = accumulate * group.size
        self.weight = checks.weight if weight is None else weight
        self.rows = 0  # of the last batch, over all parts
        self.axis = 0  # along which a state has its rows
        self.key = 0  # of this epoch's streams

    # -- batches -------------------------------------------------------------------------------------------------------

    def split(self, batches: Any, strict: bool = True) -> Iterator[list[Any]]:
        """This process's parts of each batch. strict: raise if no batch has a row for every part."""
        if self.count == 1:
            yield from ([batch] for batch in batches)
            return
        size, what = (self.group.size, "processes") if self.group.size > 1 else (self.accumulate, "parts")
        if strict:
            least_rows(batches, size, what)
        source: Any = batches
        if self.group.size > 1 and not isinstance(source, Shard):
            source = Shard(SplitBatches(source, [self.group.rank], self.group.size))
        split = source if self.accumulate == 1 else SplitBatches(source, range(self.accumulate), self.accumulate)
        largest = 0
        for parts in split:
            self.rows = source.rows if self.group.size > 1 else split.rows
            largest = max(largest, self.rows)
            yield [parts] if self.accumulate == 1 else parts
        if strict and 0 < largest < size:
            raise too_few(largest, size, what)

    def weights(self, parts: list[Any]) -> list[float]:
        """The weight of each part: the number of elements its loss is the mean over, 0 for a part without rows."""
        if self.count == 1:
            return [1]
        return [self.weight(part) if rows_of(part) else 0 for part in parts]

    # -- the state that is carried ---------------------------------------------------------------------------------

    def split_state(self, state: Any) -> list[Any]:
        """The states of this process's parts, from the state of all rows."""
        if state is None or self.count == 1:
            return [state] * self.accumulate
        self.axis = state_axis(state, self.rows)
        own = cut_state(state, self.axis, self.group.rank, self.group.size)
        return [cut_state(own, self.axis, k, self.accumulate) for k in range(self.accumulate)]

    def gather_state(self, states: list[Any]) -> list[Any]:
        """The arrays of the state of all rows, from the states of the parts of all processes."""
        if self.count == 1:
            return state_leaves(states[0])
        own = joined_state(states, self.axis)
        everyone = self.group.gather(own)
        return [np.concatenate(leaves, axis=self.axis) for leaves in zip(*everyone, strict=True)]

    # -- random numbers ------------------------------------------------------------------------------------------------

    def begin_epoch(self, random: Mapping[str, Any]) -> None:
        """Seed the streams of an epoch. random: the states of all generators at its start."""
        text = json.dumps(random, sort_keys=True)
        self.key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")

    def seeded(self, step: int, chosen: Iterable[int]) -> Iterator[int]:
        """Yield each chosen part with its random streams set; restores all generators afterwards."""
        if self.count == 1:
            yield from chosen
            return
        before = random_state(self.model)
        try:
            for k in chosen:
                set_streams(self.model, [self.key, step, self.group.rank * self.accumulate + k])
                yield k
        finally:
            set_random_state(self.model, before)
