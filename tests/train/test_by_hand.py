"""Schedules and training on numbers that can be written down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, train
from tinygrad_rnn.train import checks


def test_a_schedule_begins_at_the_beginning() -> None:
    schedule = optim.StepLR(optim.SGD([tg.Parameter([1.0])], lr=0.5), step_size=2)
    assert schedule.state_dict() == {"base": 0.5, "count": 0, "part": 0.0}


def test_an_optimizer_of_ones_own_decays_nothing_unasked() -> None:
    class Plain(optim.Optimizer):
        def update(self, x: Any, g: Any, i: int) -> Any:
            return x - self.lr * self.decayed(x, g)

    p = tg.Parameter([1.0, -3.0])
    p.grad = np.array([2.0, 0.0], np.float32)
    Plain([p], lr=0.25).step()
    assert p.tolist() == [0.5, -3.0]


def test_a_cosine_goes_down_from_the_base_to_the_floor() -> None:
    """Halfway it is in the middle; at a third, cos(π/3) = ½: three quarters of the way above the floor."""
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=1.0)
    schedule = optim.CosineLR(optimizer, total=6, floor=0.2)
    rates = [optimizer.lr]
    for _ in range(7):
        schedule.step()
        rates.append(optimizer.lr)
    assert [rates[i] for i in (0, 2, 3, 4, 6, 7)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_seconds_and_speed_are_those_of_this_run(tmp_path: Path, capsys: Any) -> None:
    """A resumed run has its own limit of seconds, and counts steps per second from where it went on."""
    net = nn.Linear(1, 1, seed=0)

    def loss(batch: Any) -> Any:
        time.sleep(0.05)
        return net(batch).sum()

    def run(**limits: Any) -> train.History:
        return train.fit(
            loss,
            [np.ones((1, 1), np.float32)] * 4,
            optim.SGD(net.parameters(), 0.01),
            model=net,
            checkpoint=tmp_path / "run",
            resume=(tmp_path / "run").exists(),
            **limits,
        )

    before = run(steps=8, progress=False)
    assert before.seconds > 0.3
    after = run(seconds=0.3, progress=True)
    steps, seconds = after.step - before.step, after.seconds - before.seconds
    assert steps >= 1
    assert seconds > 0.25
    told = float(capsys.readouterr().err.splitlines()[-1].split(", ")[-1].removesuffix(" steps/s"))
    assert told == pytest.approx(steps / seconds, rel=0.2)


def test_what_processes_compare_says_what_was_given() -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=0.5)
    given = dict.fromkeys(checks.ALIKE) | {"optimizer": optimizer, "schedule": None, "state": 0, "validation": None}
    found = checks.alike(given | {"checkpoint": "run"}, ["w"])
    assert (found["state="], found["validation="], found["checkpoint="]) == (True, False, True)
    assert (found["optimizer"], found["optimizer.lr"], found["parameter 0"]) == ("SGD", 0.5, "w (1,) float32")
