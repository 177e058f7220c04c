"""Schedules and training on numbers that can be written down."""

from __future__ import annotations

import io
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, train
from tinygrad_rnn.autodiff.state import generator
from tinygrad_rnn.parallel import Serial
from tinygrad_rnn.train import checks, interrupts
from tinygrad_rnn.train.initial_values import InitialValues
from tinygrad_rnn.train.progress import Progress


def test_a_schedule_starts_at_step_0() -> None:
    schedule = optim.StepLR(optim.SGD([tg.Parameter([1.0])], lr=0.5), step_size=2)
    assert schedule.state_dict() == {"base": 0.5, "count": 0, "part": 0.0}


def test_a_custom_optimizer_has_no_weight_decay_by_default() -> None:
    class Plain(optim.Optimizer):
        def update(self, x: Any, g: Any, i: int) -> Any:
            return x - self.lr * self.decayed(x, g)

    p = tg.Parameter([1.0, -3.0])
    p.grad = np.array([2.0, 0.0], np.float32)
    Plain([p], lr=0.25).step()
    assert p.tolist() == [0.5, -3.0]


def test_a_cosine_schedule_decreases_from_the_base_to_the_minimum() -> None:
    """At one half of the steps the rate is midway between base and minimum; at one third, cos(π/3) = ½: three quarters."""
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

    def run(**limits: Any) -> train.TrainingLog:
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
    shown_speed = float(capsys.readouterr().err.splitlines()[-1].split(", ")[-1].removesuffix(" steps/s"))
    assert shown_speed == pytest.approx(steps / seconds, rel=0.2)


def test_the_values_that_processes_compare_show_which_options_were_set() -> None:
    optimizer = optim.SGD([tg.Parameter([1.0])], lr=0.5)
    settings = dict.fromkeys(checks.ALIKE) | {"optimizer": optimizer, "schedule": None, "state": 0, "validation": None}
    compared = checks.alike(settings | {"checkpoint": "run"}, ["w"])
    assert (compared["state="], compared["validation="], compared["checkpoint="]) == (True, False, True)
    assert (compared["optimizer"], compared["optimizer.lr"], compared["parameter 0"]) == ("SGD", 0.5, "w (1,) float32")


def quadratic(**options: Any) -> train.TrainingLog:
    w = tg.Parameter([1.0])
    return train.fit(lambda batch: (w * w).sum(), [0.0] * 10, optim.SGD([w], 0.1), progress=False, **options)


class Watched(Serial):
    """One process that records the steps at which parameters are compared."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def check(self, names: Any, parameters: Any, step: int) -> None:
        assert (names, [p.item() for p in parameters]) == (["params[0]"], [pytest.approx(0.8**step)])
        self.steps.append(step)


def test_parameters_are_compared_every_hundred_steps_and_at_the_end() -> None:
    group = Watched()
    quadratic(steps=250, parallel=group)
    assert group.steps == [100, 200, 250]


@pytest.mark.parametrize("parallel_group", [None, Serial()])
@pytest.mark.parametrize(("size", "rank"), [("1", "0"), ("2", "0"), ("2", "1")])
def test_training_copies_under_mpiexec_warns_unless_parallel_is_passed(
    parallel_group: Any, size: str, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PMI_SIZE", size)
    monkeypatch.setenv("PMI_RANK", rank)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quadratic(steps=1, parallel=parallel_group)
    assert len(caught) == (parallel_group is None and (size, rank) == ("2", "0"))
    assert all("mpiexec started 2 processes and each trains a copy" in str(w.message) for w in caught)


def test_without_a_terminal_a_line_is_printed_every_ten_seconds(capsys: Any) -> None:
    shown = Progress(True, None)
    for step, seconds in enumerate((1.0, 9.9, 10.0, 19.9, 20.5, 30.4, 30.5)):
        shown.advance(step, seconds, f"at {seconds}")
    assert capsys.readouterr().err.splitlines() == ["at 10.0", "at 20.5", "at 30.5"]
    hidden = Progress(False, None)
    hidden.advance(1, 99.0, "nothing")
    hidden.write("nothing")
    hidden.close("nothing")
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("total", "ends"), [(None, [2.0, 7.0]), (5.0, [2.0, 5.0])])
def test_a_progress_bar_advances_up_to_its_total(
    total: float | None, ends: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", Terminal())
    shown = Progress(True, total)
    for place, end in zip((2.0, 7.0), ends, strict=True):
        shown.advance(place, 1.0, f"at {place}")
        assert shown.bar.n == end
    assert shown.bar.dynamic_ncols  # as wide as the terminal is now
    shown.write("a line")
    shown.close("the end")
    text = shown.stream.getvalue()
    assert "a line" in text
    assert text.rstrip().endswith("the end")
    assert ("100%" in text) == (total is not None)


def test_a_second_interrupt_does_not_wait(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Of several processes only one that comes more than a second later is a second one: mpiexec passes the first on."""
    clock = [100.0]
    monkeypatch.setattr(interrupts, "monotonic", lambda: clock[0])
    for rank, size in ((0, 1), (0, 2), (1, 2)):
        one = interrupts.Interrupts(rank, size)
        assert not one.asked
        one.interrupt()
        assert one.asked
        message = "\nstopping after this step; Ctrl-C again to stop at once\n"
        assert capsys.readouterr().err == (message if rank == 0 else "")
        one.allowed = False
        clock[0] += 5.0
        one.interrupt()  # while a step is written down
        one.allowed = True
        for later in (-4.5, -4.0, 4.0):
            clock[0] = one.first + 5.0 + later
            if size == 1 or later > -4.0:
                with pytest.raises(KeyboardInterrupt):
                    one.interrupt()
            else:
                one.interrupt()
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("size", [1, 2])
def test_signals_are_handled_while_training_only(size: int) -> None:
    """Several processes are ended by SIGTERM as well, as a cluster's time limit ends them."""
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    one = interrupts.Interrupts(1, size)
    with one.deferred():
        assert signal.getsignal(signal.SIGINT) == one.interrupt
        assert (signal.getsignal(signal.SIGTERM) == one.interrupt) == (size > 1)
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with one.deferred():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_compared_initial_values_are_parameters_and_optimizer_state() -> None:
    def made(start: float, steps: int) -> tuple[InitialValues, Any]:
        w, b = tg.Parameter([start, 2.0], name="w"), tg.Parameter([3.0], name="b")
        optimizer = optim.Adam([w, b], 0.1)
        for _ in range(steps):
            w.grad, b.grad = np.ones(2, np.float32), np.ones(1, np.float32)
            optimizer.step()
        return InitialValues(optimizer, None, ["w", "b"]), optimizer

    first, theirs = made(1.0, 2)
    other, ours = made(5.0, 0)
    arrays = first.arrays()
    assert arrays["w"] is theirs.params[0].data
    assert arrays["b"] is theirs.params[1].data
    slots = {"m.0": (2,), "m.1": (1,), "v.0": (2,), "v.1": (1,), "counts": (2,)}
    assert {name: array.shape for name, array in arrays.items() if name not in "wb"} == slots
    other.load(first.state())
    for mine, wanted in zip(ours.params, theirs.params, strict=True):
        np.testing.assert_array_equal(mine.data, wanted.data)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(np.array_equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())
    tg.seed(3)
    random = first.random()
    drawn = generator().random()
    other.set_random(random)
    assert generator().random() == drawn


@pytest.mark.parametrize("keep_best", [False, True])
def test_the_best_parameters_are_restored_only_if_requested(keep_best: bool) -> None:
    """Patience that is not used up leaves the parameters of the last step."""
    w = tg.Parameter([1.0])
    losses = iter([3.0, 1.0, 2.0])
    options: dict[str, Any] = {"validation": lambda: next(losses), "patience": 2, "keep_best": keep_best}
    optimizer = optim.SGD([w], 0.5)
    history = train.fit(lambda batch: w.sum(), [0.0], optimizer, epochs=3, progress=False, **options)
    assert (history.stopped, history.best) == ("epochs", (2, 1.0))
    assert w.item() == (0.0 if keep_best else -0.5)
    train.fit(lambda batch: w.sum(), [0.0], optimizer, steps=1, progress=False, **options | {"validate_every": 9})
    assert w.item() == (-0.5 if keep_best else -1.0)  # no validation came


@pytest.mark.parametrize("keep_best", [False, True])
def test_a_run_that_is_over_is_resumed_with_the_parameters_it_ended_with(keep_best: bool, tmp_path: Path) -> None:
    def run() -> float:
        model = nn.Module()
        model.w = w = tg.Parameter([1.0])
        losses = iter([3.0, 1.0, 2.0])
        options: dict[str, Any] = {"validation": lambda: next(losses), "patience": 2, "keep_best": keep_best}
        options |= {"model": model, "checkpoint": tmp_path / "run", "resume": True, "progress": False}
        assert train.fit(lambda batch: w.sum(), [0.0], optim.SGD([w], 0.5), epochs=3, **options).step == 3
        return float(w.data[0])

    assert run() == run() == (0.0 if keep_best else -0.5)


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize(("values", "wasted"), [([np.nan] * 9, 0), ([2.0] * 9, 1), ([3.0, 2.0] + [2.5] * 9, 2)])
def test_patience_counts_validations_after_the_best(values: list[float], wasted: int, patience: int) -> None:
    """If every validation is NaN, patience counts from the first one."""
    remaining = iter(values)
    history = quadratic(epochs=9, validation=lambda: next(remaining), patience=patience)
    assert (history.stopped, history.epoch) == ("patience", wasted + patience)


class Parted(Serial):
    """One process that records the weights of the parts of a batch, and which part is marked as the last."""

    def __init__(self) -> None:
        self.parts: list[tuple[float, bool]] = []

    def reducer(self, parameters: Any) -> Any:
        accumulator, parts = super().reducer(parameters), self.parts

        class Noting:
            finish = accumulator.finish

            def backward(self, loss: Any, factor: float, last: bool) -> None:
                parts.append((factor, last))
                accumulator.backward(loss, factor, last)

        return Noting()


def test_the_last_part_that_has_rows_is_marked_as_the_last() -> None:
    """Four parts of five rows and of two: of 1, 1, 1 and 2, and of 0, 1, 0 and 1."""
    group, w = Parted(), tg.Parameter(np.ones(1))
    batches = [(np.ones((n, 1)), np.ones((n, 1))) for n in (5, 2)]
    optimizer = optim.SGD([w], 0.1)
    train.fit(
        lambda b: tg.mse(b[0] * w, b[1]), batches, optimizer, epochs=1, accumulate=4, parallel=group, progress=False
    )
    assert group.parts == [(0.2, False), (0.2, False), (0.2, False), (0.4, True), (0.5, False), (0.5, True)]
