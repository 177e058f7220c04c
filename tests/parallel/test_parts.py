"""The parts of a batch that one process of several computes, without starting any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.parallel import Serial
from tinygrad_rnn.train.parts import Parts


def of_two(rank: int) -> Any:
    group = Serial()
    group.rank, group.size = rank, 2  # type: ignore[misc]
    return group


@pytest.mark.parametrize("own", [1, 2])
@pytest.mark.parametrize("cut", [False, True])
def test_every_row_is_in_one_part(own: int, cut: bool) -> None:
    """Whether the batches were cut for the process before or not."""
    whole = [np.arange(8), np.arange(8, 14)]
    found: list[list[int]] = [[], []]
    for rank in (0, 1):
        parts = Parts(of_two(rank), own, None, None)
        for i, mine in enumerate(parts.of(of_two(rank).shard(whole) if cut else whole)):
            assert len(mine) == own
            assert parts.rows == len(whole[i])
            found[i] += [int(n) for part in mine for n in part]
    assert found == [list(range(8)), list(range(8, 14))]
