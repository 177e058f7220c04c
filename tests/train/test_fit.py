"""train.fit: limits, truncated backpropagation, validation, early stop, resuming bit for bit, interrupts."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train


class Language(tg.Module):
    """A tiny language model with every kind of randomness: dropout from the default generator and from a separate one."""

    def __init__(self, cell: Any = None):
        self.embedding = nn.Embedding(5, 4)
        self.cell = (cell or rnn.LSTMCell(6)).build(4)
        self.inner, self.outer = nn.Dropout(0.2), nn.Dropout(0.2, seed=4)
        self.head = nn.Linear(6, 5)

    def loss(self, batch: Any, state: Any) -> Any:
        x, y = batch
        outputs, state = rnn.dynamic_rnn(self.cell, self.inner(self.embedding(x)), initial_state=state)
        return tg.softmax_cross_entropy(self.head(self.outer(outputs)), targets=y), state


TEXT = np.random.default_rng(0).integers(0, 5, 200)
CHUNKS = data.TextChunks(TEXT, 3, 8)


def language(cell: Any = None, **options: Any) -> tuple[Language, Any, Any]:
    tg.seed(0)
    model = Language(cell)
    optimizer = optim.Adam(model.parameters(), 1e-2)
    schedule = optim.CosineLR(optimizer, 30)

    def fit(**more: Any) -> train.TrainingLog:
        state = model.cell.zero_state(3)
        return train.fit(
            model.loss,
            **{"batches": CHUNKS, "optimizer": optimizer, "schedule": schedule, "state": state, "clip": 1.0}
            | {"progress": False}
            | options
            | more,
        )

    return model, fit, optimizer


def arrays(model: Any) -> list[Any]:
    return [a.tolist() for a in model.state_dict().values()]


# -- the plain loop ------------------------------------------------------------------------------------------------


def line() -> tuple[Any, Any, Any]:
    x = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
    net = nn.Linear(1, 1, seed=0)
    return net, lambda batch: tg.mse(net(batch[0]), batch[1]), [(x, 3 * x + 1), (x / 2, 1.5 * x + 1)]


def test_a_feed_forward_net_learns() -> None:
    net, loss_fn, batches = line()
    history = train.fit(loss_fn, batches, optim.Adam(net.parameters(), 0.1), epochs=150, progress=False)
    assert abs(net.weight.item() - 3) < 0.01
    assert abs(net.bias.item() - 1) < 0.01
    assert (history.stopped, history.epoch, history.step, len(history.losses)) == ("epochs", 150, 300, 300)
    assert history.seconds > 0


def test_it_is_the_loop_one_would_write() -> None:
    model, fit, _ = language()
    history = fit(epochs=2)
    tg.seed(0)
    other = Language()
    optimizer = optim.Adam(other.parameters(), 1e-2)
    schedule = optim.CosineLR(optimizer, 30)
    losses = []
    for _ in range(2):
        state = other.cell.zero_state(3)
        for batch in CHUNKS:
            optimizer.zero_grad()
            loss, state = other.loss(batch, rnn.detach(state))
            loss.backward()
            optim.clip_by_global_norm(optimizer.params, 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss))
    assert history.losses == losses
    assert arrays(model) == arrays(other)


@pytest.mark.parametrize("limit", [{"steps": 8}, {"epochs": 2}, {"seconds": 0.3}])
def test_a_schedule_without_a_total_is_spread_over_the_run(limit: Any) -> None:
    net, loss_fn, batches = line()
    optimizer = optim.SGD(net.parameters(), 0.1)
    schedule = optim.CosineLR(optimizer, floor=0.02)
    rates = []

    def watched(batch: Any) -> Any:
        rates.append(optimizer.lr)
        return loss_fn(batch)

    history = train.fit(watched, batches, optimizer, schedule=schedule, progress=False, **limit)
    assert rates[0] == 0.1
    assert sorted(rates, reverse=True) == rates
    if "seconds" in limit:
        assert rates[-1] < 0.03
    else:
        n = history.step
        np.testing.assert_allclose(rates, 0.02 + 0.08 * (1 + np.cos(np.pi * np.arange(n) / n)) / 2, rtol=1e-12)
        assert optimizer.lr == pytest.approx(0.02)


def test_a_schedule_without_a_total_needs_the_length_of_the_run() -> None:
    net, loss_fn, batches = line()
    optimizer = optim.SGD(net.parameters(), 0.1)
    with pytest.raises(ValueError, match="CosineLR: total is None and the length of the run is not known; give total"):
        train.fit(
            loss_fn, lambda _: iter(batches), optimizer, epochs=2, schedule=optim.CosineLR(optimizer), progress=False
        )


def test_each_limit_ends_the_run() -> None:
    _, fit, _ = language()
    assert (fit(steps=5).stopped, fit(steps=5).step) == ("steps", 5)
    assert fit(epochs=1, steps=500).step == len(CHUNKS)
    history = fit(seconds=0.2)
    assert history.stopped == "seconds"
    assert 0.2 <= history.seconds < 3
    assert fit(seconds=0).step == 0


def test_the_first_state_may_be_learned() -> None:
    model, _, _ = language(rnn.GRUCell(6))
    h0 = tg.Parameter(np.zeros((1, 6), np.float32))
    optimizer = optim.SGD([*model.parameters(), h0], 0.1)
    train.fit(
        model.loss, CHUNKS, optimizer, epochs=2, state=lambda: tg.tanh(h0) * np.ones((3, 1), np.float32), progress=False
    )
    assert np.abs(h0.data).max() > 0


def test_batches_may_be_a_function_of_the_epoch() -> None:
    net, loss_fn, batches = line()
    asked: list[int] = []

    def shuffled(epoch: int) -> Iterator[Any]:
        asked.append(epoch)
        yield from (batches[i] for i in np.random.default_rng(epoch).permutation(2))

    train.fit(loss_fn, shuffled, optim.SGD(net.parameters()), epochs=3, progress=False)
    assert asked == [0, 1, 2]


# -- validation ----------------------------------------------------------------------------------------------------


def test_evaluate_weighs_batches_by_their_targets_and_changes_nothing() -> None:
    model, _, _ = language()
    before = train.checkpoint.random_state(model)
    whole = train.evaluate(model.loss, data.TextChunks(TEXT, 3, 66), model.cell.zero_state(3))
    cut = train.evaluate(model.loss, data.TextChunks(TEXT, 3, 7, remainder=True), model.cell.zero_state(3))
    assert np.isclose(whole, cut, rtol=1e-5)
    assert train.checkpoint.random_state(model) == before
    first = train.evaluate(model.loss, CHUNKS, model.cell.zero_state(3), limit=1)
    assert np.isclose(first, train.evaluate(model.loss, list(CHUNKS)[:1], model.cell.zero_state(3)))


def test_validation_is_outside_training_and_leaves_training_as_it_is() -> None:
    plain, fit, _ = language()
    losses = fit(epochs=2).losses
    checked, fit, _ = language()
    seen = []

    def on_validation(history: train.TrainingLog) -> None:
        np.random.default_rng(0)
        tg.autodiff.state.generator().random(5)  # a sample, say
        seen.append(history.step)

    history = fit(epochs=2, validation=CHUNKS, validate_every=3, on_validation=on_validation)
    assert history.losses == losses
    assert arrays(plain) == arrays(checked)
    assert seen == [step for step, _ in history.validations] == list(range(3, 2 * len(CHUNKS) + 1, 3))
    modes: list[tuple[bool, bool]] = []

    def validation() -> float:
        state = tg.autodiff.state.ambient.get()
        modes.append((state.recording, state.training))
        return 1.0

    language()[1](epochs=1, validation=validation)
    assert modes == [(False, False)]


def test_early_stopping_restores_the_best_parameters() -> None:
    model, fit, _ = language()
    values = iter([3.0, 2.0, 2.5, 2.0, 2.2, 1.0])
    kept: list[Any] = []
    history = fit(
        epochs=99, validation=lambda: next(values), patience=3, on_validation=lambda _: kept.append(arrays(model))
    )
    assert (history.stopped, history.epoch) == ("patience", 5)
    assert history.best == (2 * len(CHUNKS), 2.0)
    assert arrays(model) == kept[1] != kept[4]


def test_a_validation_of_nan_is_never_the_best() -> None:
    model, fit, _ = language()
    values = iter([np.nan, 3.0, 2.0, np.nan, 2.5])
    kept: list[Any] = []
    history = fit(
        epochs=5, validation=lambda: next(values), keep_best=True, on_validation=lambda _: kept.append(arrays(model))
    )
    assert history.best == (3 * len(CHUNKS), 2.0)
    assert arrays(model) == kept[2] != kept[4]
    assert train.TrainingLog(validations=[(1, np.nan)]).best is None


def test_a_run_that_lost_patience_does_not_go_on(tmp_path: Path) -> None:
    values = iter([1.0, 2.0, 3.0])
    model, fit, _ = language(checkpoint=tmp_path / "run", patience=2, resume=True)
    assert fit(epochs=9, validation=lambda: next(values)).stopped == "patience"
    best = arrays(model)
    model, fit, _ = language(checkpoint=tmp_path / "run", patience=2, resume=True)
    again = fit(epochs=9, validation=lambda: next(values))
    assert (again.stopped, again.epoch) == ("patience", 3)
    assert arrays(model) == best


def test_a_resumed_cosine_schedule_continues_at_its_step(tmp_path: Path) -> None:
    def rates(path: Path, resume: bool, stop: int) -> tuple[list[float], Any]:
        net, loss_fn, batches = line()
        optimizer, seen = optim.SGD(net.parameters(), 0.1), []

        def loss(batch: Any) -> Any:
            seen.append(optimizer.lr)
            if len(seen) == stop:
                os.kill(os.getpid(), signal.SIGINT)
            return loss_fn(batch)

        schedule = optim.CosineLR(optimizer)
        options: Any = {"model": net, "checkpoint": path, "resume": resume, "progress": False}
        train.fit(loss, batches, optimizer, epochs=4, schedule=schedule, **options)
        return seen, arrays(net)

    whole, trained = rates(tmp_path / "whole", False, 0)
    first, _ = rates(tmp_path / "parts", False, 5)
    rest, again = rates(tmp_path / "parts", True, 0)
    assert len(first) == 5
    assert first + rest == whole
    assert trained == again


def test_a_resumed_run_continues_the_count_of_patience(tmp_path: Path) -> None:
    values = [3.0, 2.0, 2.5, 2.1, 2.2]
    model, fit, _ = language(checkpoint=tmp_path / "run", patience=3)
    remaining = iter(values)
    fit(epochs=3, validation=lambda: next(remaining))
    model, fit, _ = language(checkpoint=tmp_path / "run", patience=3, resume=True)
    history = fit(epochs=9, validation=lambda: next(remaining))
    assert (history.stopped, history.epoch) == ("patience", 5)
    whole, fit, _ = language(patience=3)
    again = iter(values)
    fit(epochs=9, validation=lambda: next(again))
    assert arrays(model) == arrays(whole)


def test_the_best_parameters_are_kept_and_a_resumed_run_continues_from_the_last(tmp_path: Path) -> None:
    values = [3.0, 2.0, 2.5, 2.1, 1.5]
    kept: list[Any] = []
    remaining = iter(values)
    model, fit, _ = language(checkpoint=tmp_path / "run", keep_best=True)
    fit(epochs=3, validation=lambda: next(remaining), on_validation=lambda _: kept.append(arrays(model)))
    assert arrays(model) == kept[1] != kept[2]
    model, fit, _ = language(checkpoint=tmp_path / "run", keep_best=True, resume=True)
    # No epoch is left to run; the best parameters are restored nevertheless.
    fit(epochs=3, validation=lambda: next(remaining))
    assert arrays(model) == kept[1]
    model, fit, _ = language(checkpoint=tmp_path / "run", keep_best=True, resume=True)
    fit(epochs=5, validation=lambda: next(remaining))
    whole, fit, _ = language()
    fit(epochs=5)
    assert arrays(model) == arrays(whole)  # the last is the best here, and came from the last before it


# -- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, 7, 8, 10, 16, 19])
@pytest.mark.parametrize("kind", [rnn.LSTMCell, rnn.GRUCell])
def test_ten_and_ten_steps_are_twenty(tmp_path: Path, first: int, kind: Any) -> None:
    def shuffled(epoch: int) -> Iterator[Any]:
        batches = list(CHUNKS)
        for i in tg.autodiff.state.generator().permutation(len(batches)):
            yield batches[i]

    assert len(CHUNKS) == 8
    whole, fit, optimizer = language(kind(6), batches=shuffled)
    history = fit(steps=20)
    _, fit, _ = language(kind(6), batches=shuffled, checkpoint=tmp_path / "run")
    fit(steps=first)
    tg.seed(77)
    resumed, fit, other = language(kind(6), batches=shuffled, checkpoint=tmp_path / "run", resume=True)
    tg.seed(78)
    again = fit(steps=20)
    assert again.losses == history.losses
    assert (again.epoch, again.step) == (history.epoch, history.step)
    assert arrays(resumed) == arrays(whole)
    for key, value in optimizer.state_dict().items():
        assert np.array_equal(value, other.state_dict()[key]), key
    assert train.checkpoint.random_state(resumed) == train.checkpoint.random_state(whole)


def test_resume_starts_anew_without_a_checkpoint_and_does_nothing_after_the_last_step(tmp_path: Path) -> None:
    _, fit, _ = language(checkpoint=tmp_path / "run", resume=True, metadata={"note": 1})
    assert fit(steps=3).step == 3
    before = (tmp_path / "run").read_bytes()
    assert fit(steps=3).losses == fit(steps=2).losses
    assert (tmp_path / "run").read_bytes() == before
    assert tg.load(tmp_path / "run").metadata["note"] == 1


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    _, fit, _ = language(checkpoint=path)
    fit(steps=3)
    content = path.read_bytes()
    model, fit, optimizer = language(checkpoint=path, resume=True)
    before, counts = arrays(model), list(optimizer.counts)
    with pytest.raises(
        tg.CheckpointError, match=r"carries a state of shape \(3, 6\), expected \(2, 6\); resume with the"
    ):
        fit(steps=9, state=model.cell.zero_state(2), batches=data.TextChunks(TEXT, 2, 8))
    assert arrays(model) == before
    assert optimizer.counts == counts
    train.save_checkpoint(path, model, optimizer, optim.CosineLR(optimizer, 3))
    with pytest.raises(tg.CheckpointError, match=r"was not written by fit"):
        fit(steps=9)
    path.write_bytes(content[:-5])
    with pytest.raises(tg.CheckpointError, match="not a complete safetensors file"):
        fit(steps=9)
    assert arrays(model) == before
    assert path.read_bytes() == content[:-5]


# -- the end of a run ----------------------------------------------------------------------------------------------


def test_ctrl_c_finishes_the_step_and_saves(tmp_path: Path) -> None:
    whole, fit, _ = language()
    losses = fit(steps=10).losses
    model, fit, _ = language(checkpoint=tmp_path / "run", checkpoint_every=100)
    loss = model.loss

    def interrupted(batch: Any, state: Any) -> Any:
        out = loss(batch, state)
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return out

    calls: list[int] = []
    handler = signal.getsignal(signal.SIGINT)
    model.loss = interrupted
    optimizer = optim.Adam(model.parameters(), 1e-2)
    history = train.fit(
        interrupted,
        CHUNKS,
        optimizer,
        steps=10,
        schedule=optim.CosineLR(optimizer, 30),
        state=model.cell.zero_state(3),
        clip=1.0,
        progress=False,
        checkpoint=tmp_path / "run",
        model=model,
    )
    assert (history.stopped, history.step) == ("interrupted", 4)
    assert signal.getsignal(signal.SIGINT) is handler
    resumed, fit, _ = language(checkpoint=tmp_path / "run", resume=True)
    assert fit(steps=10).losses == losses
    assert arrays(resumed) == arrays(whole)


def test_an_interrupt_inside_a_step_saves_the_step_before(tmp_path: Path) -> None:
    losses = language()[1](steps=10).losses
    model, fit, _ = language(checkpoint=tmp_path / "run")
    forward, calls = model.outer.forward, []

    def stop(x: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return forward(x)

    model.outer.forward = stop
    assert (fit(steps=10).stopped, len(calls)) == ("interrupted", 6)
    _, fit, _ = language(checkpoint=tmp_path / "run", resume=True)
    assert fit(steps=10).losses == losses


def test_it_runs_in_a_thread() -> None:
    _, fit, _ = language()
    logs: list[train.TrainingLog] = []
    thread = threading.Thread(target=lambda: logs.append(fit(steps=2)))
    thread.start()
    thread.join()
    assert logs[0].step == 2


def test_a_loss_of_nan_stops_before_it_reaches_the_parameters(tmp_path: Path) -> None:
    net, _, batches = line()
    before = arrays(net)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 1; lower the learning rate, clip"):
        train.fit(
            lambda b: net(b[0]).sum() * float("nan"), batches, optim.SGD(net.parameters()), epochs=1, progress=False
        )
    assert arrays(net) == before


# -- what one sees -------------------------------------------------------------------------------------------------


def test_without_a_terminal_it_writes_lines(capsys: Any) -> None:
    _, fit, _ = language()
    fit(steps=4, progress=True, validation=lambda: 0.5, validate_every=2, show=("bits", 2.0))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "step 2: held-out bits 1.000"
    assert lines[-1].startswith("step 4, bits 3.")
    assert lines[-1].endswith("steps/s")
    assert repr(train.TrainingLog()) == "TrainingLog(epoch=0, step=0, seconds=0.0, stopped='')"


def test_in_a_notebook_progress_is_written_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutStream(io.StringIO):
        __module__ = "ipykernel.iostream"  # as Jupyter's: no terminal, but a carriage return draws a line anew

    out, err = OutStream(), OutStream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    _, fit, _ = language()
    fit(steps=4, progress=True, validation=lambda: 0.5, validate_every=2, show=("bits", 2.0))
    assert err.getvalue() == ""
    assert "step 2: held-out bits 1.000\n" in out.getvalue()
    last = out.getvalue().rstrip("\n").split("\r")[-1]
    assert re.fullmatch(r"100%\|[█#]+\| 00:00<00:00, step 4, bits 3\.\d+, [\d.]+ steps/s *", last)
    assert len(last) <= 90
