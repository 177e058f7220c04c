"""Schedules and training on numbers that can be written down."""

from __future__ import annotations

import tinygrad_rnn as tg
from tinygrad_rnn import optim


def test_a_schedule_begins_at_the_beginning() -> None:
    schedule = optim.StepLR(optim.SGD([tg.Parameter([1.0])], lr=0.5), step_size=2)
    assert schedule.state_dict() == {"base": 0.5, "count": 0, "part": 0.0}
