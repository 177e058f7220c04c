"""Progress output and the end of a run, with a simulated clock: every step takes the same time."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim, train
from tinygrad_rnn.train import loop


class Bar:
    """Replaces the progress bar and records its arguments."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, shown: bool, total: float | None, start: float = 0.0):
        self.shown, self.total, self.start = shown, total, start
        self.places: list[tuple[float, float, str]] = []
        self.lines: list[str] = []
        self.made.append(self)

    def advance(self, place: float, seconds: float, text: str) -> None:
        self.places.append((place, seconds, text))

    def write(self, text: str) -> None:
        self.lines.append(text)

    def close(self, text: str) -> None:
        self.last = text


@pytest.fixture(params=[0.25, 0.0078125])  # 4 and 128 steps a second, exact in binary
def tick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """The seconds of a step: the clock is read before and after it."""
    times = count()
    monkeypatch.setattr(loop, "perf_counter", lambda: next(times) * request.param)
    monkeypatch.setattr(loop, "Progress", Bar)
    Bar.made.clear()
    return request.param


def run(batches: Any, **options: Any) -> tuple[train.TrainingLog, Bar]:
    """Losses 1, 2, 3, …"""
    w, steps = tg.Parameter([0.0], name="w"), count(1)
    model = tg.nn.Module()
    model.w = w
    history = train.fit(
        lambda batch: (w * 0 + float(next(steps))).sum(), batches, optim.SGD([w], 0.1), model=model, **options
    )
    return history, Bar.made[-1]


THREE = [0.0] * 3


@pytest.mark.parametrize(
    ("batches", "limits", "total", "steps", "stopped"),
    [
        (THREE, {"steps": 5}, 5, 5, "steps"),
        (THREE, {"steps": 3}, 3, 3, "steps"),
        (THREE, {"epochs": 2}, 6, 6, "epochs"),
        (THREE, {"epochs": 2, "steps": 4}, 4, 4, "steps"),
        (THREE, {"epochs": 2, "steps": 99}, 6, 6, "epochs"),
        (lambda epoch: iter(THREE), {"epochs": 2}, None, 6, "epochs"),
        (lambda epoch: iter(THREE), {"epochs": 2, "steps": 5}, 5, 5, "steps"),
        (lambda epoch: THREE[epoch:], {"epochs": 2}, None, 5, "epochs"),
    ],
)
def test_a_bar_counts_up_to_the_end_of_the_run(
    tick: float, batches: Any, limits: Any, total: Any, steps: int, stopped: str
) -> None:
    history, bar = run(batches, **limits)
    assert (bar.shown, bar.total, bar.start) == (True, total, 0)
    assert (history.step, history.stopped) == (steps, stopped)
    assert [(place, seconds) for place, seconds, _ in bar.places] == [(i, i * tick) for i in range(1, steps + 1)]


def test_a_run_of_so_many_seconds(tick: float) -> None:
    """It counts seconds, and ends with the step in which they are over."""
    for limit, steps in ((4.0, 4), (3.5, 4)):
        history, bar = run(THREE, seconds=limit * tick, progress=False)
        assert (history.step, history.seconds, history.stopped) == (steps, steps * tick, "seconds")
        assert (bar.shown, bar.total, bar.start) == (False, limit * tick, 0)
        assert [place for place, *_ in bar.places] == [i * tick for i in range(1, steps + 1)]
    history = train.fit(lambda batch: tg.tensor(0.0), THREE, optim.SGD([tg.Parameter([0.0])], 0.1), seconds=0)
    assert (history.step, history.stopped, len(Bar.made)) == (0, "seconds", 2)


def test_a_status_is_the_mean_of_fifty_losses_and_the_speed(tick: float) -> None:
    _, bar = run(THREE, steps=60, show=("bits", 2.0))
    speed = {0.25: "4.0", 0.0078125: "128"}[tick]
    assert bar.places[0][2] == f"step 1, bits 2.000, {speed} steps/s"
    assert bar.places[49][2] == f"step 50, bits 51.000, {speed} steps/s"
    assert bar.places[59][2] == bar.last == f"step 60, bits {2 * (11 + 60) / 2:.3f}, {speed} steps/s"


def test_a_speed_of_a_hundred_has_no_decimals(tick: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, text in ((0.01, "100"), (1 / 99.9, "99.9"), (0.5, "2.0")):
        times = count()
        monkeypatch.setattr(loop, "perf_counter", lambda times=times, seconds=seconds: next(times) * seconds)
        assert run(THREE, steps=1)[1].last == f"step 1, loss 1.000, {text} steps/s"


def test_a_resumed_run_counts_from_where_it_was(tick: float, tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "run", "resume": True}
    run(THREE, steps=4, **options)
    history, bar = run(THREE, steps=6, **options)
    assert (bar.total, bar.start, history.seconds) == (6, 4, 6 * tick)
    assert [place for place, *_ in bar.places] == [5, 6]
    assert bar.last.endswith({0.25: ", 4.0 steps/s", 0.0078125: ", 128 steps/s"}[tick])
    history, bar = run(THREE, seconds=2 * tick, **options)
    assert (history.step, bar.total, bar.start) == (8, 2 * tick, 0)
    assert [place for place, *_ in bar.places] == [tick, 2 * tick]


def test_validations_come_when_they_are_due(tick: float) -> None:
    def validated(**options: Any) -> list[int]:
        return [step for step, _ in run(THREE, epochs=2, validation=lambda: 0.5, **options)[0].validations]

    assert validated() == [3, 6]
    assert validated(validate_every=1) == [1, 2, 3, 4, 5, 6]
    assert validated(validate_every=4) == [4]
    bar = Bar.made[-1]
    assert bar.lines == ["step 4: held-out loss 0.500"]
    run(THREE, epochs=1, validation=lambda: 0.5, show=("bits", 3.0), on_validation=lambda history: f"at {history.step}")
    assert Bar.made[-1].lines == ["step 3: held-out bits 1.500", "at 3"]


def test_checkpoints_come_when_they_are_due(tick: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(loop, "save_checkpoint", lambda *_, metadata, **__: saved.append(metadata["training"]["step"]))
    for options, wanted in (
        ({"epochs": 2}, [3, 6]),
        ({"steps": 5}, [3, 5]),
        ({"steps": 6}, [3, 6]),
        ({"steps": 5, "checkpoint_every": 2}, [2, 4, 5]),
        ({"steps": 4, "checkpoint_every": 2}, [2, 4]),
        ({"steps": 2, "checkpoint_every": 9}, [2]),
    ):
        saved.clear()
        run(THREE, checkpoint=tmp_path / "run", **options)
        assert saved == wanted, options


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_evaluation_of_the_first_batches(limit: int) -> None:
    batches = [1.0, 2.0, 3.0]
    assert train.evaluate(tg.tensor, batches, limit=limit) == pytest.approx(sum(batches[:limit]) / len(batches[:limit]))
    with pytest.raises(ValueError, match="evaluate: there are no batches"):
        train.evaluate(tg.tensor, batches, limit=0)
