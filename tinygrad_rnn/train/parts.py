"""The parts of a step: how batches, states and random numbers are dealt to processes and to accumulated parts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ..module import Module
from ..parallel.serial import Serial
from ..parallel.shards import (
    Dealt,
    Own,
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


class Parts:
    """Which parts of every batch this process computes: `accumulate` of the `accumulate` · size in all.

    One part in all is the batch as it comes. Otherwise part k draws its random numbers from a stream of its own, made of
    the generators' state at the epoch's start, the step and k: so it does not matter which process computes it.
    """

    def __init__(self, group: Serial, accumulate: int, model: Module | None, weight: checks.Weight | None):
        self.group, self.own, self.model = group, accumulate, model
        self.count = accumulate * group.size
        self.weight = checks.weight if weight is None else weight
        self.rows = 0  # of the whole of the last batch
        self.axis = 0  # along which a state has its rows
        self.key = 0  # of this epoch's streams

    # -- batches -------------------------------------------------------------------------------------------------------

    def of(self, batches: Any, strict: bool = True) -> Iterator[list[Any]]:
        """This process's parts of each batch. strict: refuse batches that leave some part without rows throughout."""
        if self.count == 1:
            yield from ([batch] for batch in batches)
            return
        size, what = (self.group.size, "processes") if self.group.size > 1 else (self.own, "parts")
        if strict:
            least_rows(batches, size, what)
        source: Any = batches
        if self.group.size > 1 and not isinstance(source, Own):
            source = Own(Dealt(source, [self.group.rank], self.group.size))
        dealt = source if self.own == 1 else Dealt(source, range(self.own), self.own)
        most = 0
        for parts in dealt:
            self.rows = source.rows if self.group.size > 1 else dealt.rows
            most = max(most, self.rows)
            yield [parts] if self.own == 1 else parts
        if strict and 0 < most < size:
            raise too_few(most, size, what)

    def weights(self, parts: list[Any]) -> list[float]:
        """How much each part counts: what its loss is the mean over, a part without rows not at all."""
        if self.count == 1:
            return [1]
        return [self.weight(part) if rows_of(part) else 0 for part in parts]

    # -- the state that is carried ---------------------------------------------------------------------------------

    def states(self, whole: Any) -> list[Any]:
        """The states of this process's parts, from that of the whole batch."""
        if whole is None or self.count == 1:
            return [whole] * self.own
        self.axis = state_axis(whole, self.rows)
        own = cut_state(whole, self.axis, self.group.rank, self.group.size)
        return [cut_state(own, self.axis, k, self.own) for k in range(self.own)]

    def whole(self, states: list[Any]) -> list[Any]:
        """The arrays of the state of the whole batch, from the states of the parts."""
        if self.count == 1:
            return state_leaves(states[0])
        own = joined_state(states, self.axis)
        everyone = self.group.gather(own)
        return [np.concatenate(leaves, axis=self.axis) for leaves in zip(*everyone, strict=True)]

    # -- random numbers ------------------------------------------------------------------------------------------------

    def begin_epoch(self, random: Mapping[str, Any]) -> None:
        """random: the state of all generators at the epoch's start."""
        text = json.dumps(random, sort_keys=True)
        self.key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")

    def drawn(self, step: int, chosen: Iterable[int]) -> Iterator[int]:
        """The numbers of the chosen parts, each with its streams set; then all generators are what they were."""
        if self.count == 1:
            yield from chosen
            return
        before = random_state(self.model)
        try:
            for k in chosen:
                set_streams(self.model, [self.key, step, self.group.rank * self.own + k])
                yield k
        finally:
            set_random_state(self.model, before)
