"""The training loop `fit` and `evaluate`, for networks with and without a state that is passed from batch to batch."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sized
from time import perf_counter
from typing import Any

import numpy as np

from ..autodiff.state import no_grad, training
from ..autodiff.tensor import Tensor
from ..errors import CheckpointError
from ..module import Module
from ..optim import Optimizer, Schedule, clip_by_global_norm
from ..parallel.launch import warn_of_copies
from ..parallel.serial import Serial
from ..parallel.shards import rows_of
from ..rnn.cell import map_state
from ..saving import Path
from . import checks
from .checkpoint import (
    apply_checkpoint,
    random_state,
    read_checkpoint,
    save_checkpoint,
    set_random_state,
)
from .checks import LossFunction, Weight
from .initial_values import InitialValues
from .interrupts import Interrupts
from .log import TrainingLog
from .microbatches import MicroBatches
from .progress import Progress

Batches = Iterable[Any] | Callable[[int], Iterable[Any]]  # of every epoch, or a function of the epoch's number
CHECKED = 100  # steps between two checks that all processes still have the same parameters


def fit(
    loss_fn: LossFunction,
    batches: Batches,
    optimizer: Optimizer,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    state: Any = None,
    clip: float | None = None,
    schedule: Schedule | None = None,
    validation: Iterable[Any] | Callable[[], float] | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    keep_best: bool = False,
    checkpoint: Path | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    model: Module | None = None,
    metadata: Mapping[str, Any] | None = None,
    progress: bool = True,
    show: tuple[str, float] = ("loss", 1.0),
    on_validation: Callable[[TrainingLog], Any] | None = None,
    on_step: Callable[[TrainingLog], Any] | None = None,
    on_epoch: Callable[[TrainingLog], Any] | None = None,
    accumulate: int = 1,
    weight: Weight | None = None,
    parallel: Serial | None = None,
) -> TrainingLog:
    """Train until `epochs`, `steps` or `seconds` (of training) are reached, whichever comes first; returns the TrainingLog.

    loss_fn(batch) -> loss, a scalar tensor. With `state` (the initial state, or a function that returns it) it is
    loss_fn(batch, state) -> (loss, next state): the state is carried from batch to batch, detached between them, which is
    truncated backpropagation through time [Williams & Peng 1990]. Each epoch starts with the initial state.
    batches: an iterable that is read once per epoch, or a function of the epoch's number (from 0) that returns one.
    Each step: gradients, clipped to global norm `clip`; optimizer.step(); schedule.step().
    validation: batches for `evaluate`, or a function that returns the loss. It runs every validate_every steps, by default
    after each epoch, in evaluation mode and without gradients. With `patience`, training ends after that many validations
    in a row without improvement, and the best parameters are restored. keep_best=True restores the best parameters
    however training ends; the checkpoint still holds those of the last step. on_validation(history) is called after each
    validation, and a string that it returns is printed. on_step(history) and on_epoch(history) are called after each step
    and after each epoch and its validation; the run ends once one of them sets history.stopped to a reason.
    checkpoint: a file for the state of the run and `metadata`, written every checkpoint_every steps (by default after each
    epoch) and at the end. resume=True continues from it bit for bit, or starts anew if there is none. model: the module
    to save, by default loss_fn itself or the module it is a method of.
    Ctrl-C ends the run after the current step (stopped="interrupted") and saves it; a second one stops at once. progress:
    show a bar, or lines without a terminal. show: the name under which losses are shown, and a factor.
    accumulate: split each batch by rows into this many parts, compute them one after the other and add their gradients:
    the same step in less memory. The loss of each part is weighted by weight(batch), the number of elements it is the mean
    over, by default the size of the batch's last array, as in `evaluate`. parallel: tg.parallel.MPI() distributes the
    parts over processes in the same way: batches, state and validation stay as for one process (a function `validation`
    is called on all; rank 0's value is used). Only rank 0 saves, prints and calls on_validation; an exception on any
    process ends all.

    Raises ValueError if the run has no limit or batches are empty, TypeError if loss_fn returns something else,
    CheckpointError for a file of another run, FloatingPointError for a loss of NaN or infinity (the parameters are those
    before that step).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x, net = np.linspace(-1, 1, 20, dtype=np.float32)[:, None], tg.nn.Linear(1, 1, seed=0)
    >>> loss_fn = lambda batch: tg.mse(net(batch[0]), batch[1])
    >>> history = tg.train.fit(loss_fn, [(x, 3 * x)], tg.optim.Adam(net.parameters(), 0.1), epochs=200, progress=False)
    >>> history.stopped, history.losses[-1] < 1e-3
    ('epochs', True)
    """
    arguments = dict(locals())
    limits = {"epochs": epochs, "steps": steps, "seconds": seconds}
    if model is None:
        owner = getattr(loss_fn, "__self__", None)
        model = loss_fn if isinstance(loss_fn, Module) else owner if isinstance(owner, Module) else None
    checks.run(arguments, limits, model)
    group = parallel or Serial()
    if parallel is None:
        warn_of_copies()
    micro_batches = MicroBatches(group, accumulate, model, weight)
    run = _Run(
        limits, loss_fn, optimizer, schedule, model, state, clip, validation, checkpoint, metadata, show, micro_batches
    )
    run.validate_every, run.checkpoint_every = validate_every, checkpoint_every
    run.patience, run.keep_best, run.on_validation = patience, keep_best, on_validation
    run.on_step, run.on_epoch = on_step, on_epoch
    if group.size > 1:
        group.begin(checks.alike(arguments, run.names), InitialValues(optimizer, model, run.names))
    with group.guarded():
        if resume and checkpoint is not None:
            run.resume()
        return run.go(batches, progress and group.rank == 0)


def evaluate(
    loss_fn: LossFunction,
    batches: Iterable[Any],
    state: Any = None,
    limit: int | None = None,
    *,
    weight: Weight | None = None,
    parallel: Serial | None = None,
) -> float:
    """The mean loss over batches, in evaluation mode and without gradients; a `state` is carried as in `fit`.

    Each batch is weighted by the number of elements of its last array (its targets), without padding for Padded ones, so
    the result is the mean over all elements; weight(batch) overrides this, for example if some targets are ignored. limit:
    the largest number of batches to read. parallel: split the rows of each batch over its processes; all return the mean
    over all rows. Raises ValueError if there are no batches.

    >>> import tinygrad_rnn as tg
    >>> tg.train.evaluate(lambda batch: tg.tensor(batch).mean(), [[1.0, 2.0], [3.0, 4.0]])
    2.5
    """
    total = weights = 0.0
    group = parallel or Serial()
    parts = MicroBatches(group, 1, None, weight)
    with training(False), no_grad():
        carried = state() if callable(state) else state
        for i, (batch,) in enumerate(parts.split(batches, strict=False)):
            if limit is not None and i >= limit:
                break
            if not i:
                (carried,) = parts.split_state(carried)
            if parts.count == 1 or rows_of(batch):
                loss, carried = checks.call(loss_fn, batch, carried, state is not None)
                n = parts.weight(batch)
                total, weights = total + n * float(loss), weights + n
    total, weights = group.sum(total, weights)
    if not weights:
        raise ValueError("evaluate: there are no batches, expected at least one")
    return total / weights


class _Run:
    """A training run: the arguments of `fit`, its counters, and the carried state."""

    validate_every: int | None = None
    checkpoint_every: int | None = None
    patience: int | None = None
    keep_best = False
    on_validation: Callable[[TrainingLog], Any] | None = None
    on_step: Callable[[TrainingLog], Any] | None = None
    on_epoch: Callable[[TrainingLog], Any] | None = None

    def __init__(
        self,
        limits: dict[str, Any],
        loss_fn: LossFunction,
        optimizer: Optimizer,
        schedule: Schedule | None,
        model: Module | None,
        state: Any,
        clip: float | None,
        validation: Any,
        checkpoint: Path | None,
        metadata: Mapping[str, Any] | None,
        show: tuple[str, float],
        parts: MicroBatches,
    ):
        self.limits = limits
        self.loss_fn, self.optimizer, self.schedule, self.model = loss_fn, optimizer, schedule, model
        self.first_state, self.clip, self.validation = state, clip, validation
        self.checkpoint, self.metadata, self.show = checkpoint, dict(metadata or {}), show
        self.parts, self.group = parts, parts.group
        self.reducer = self.group.reducer(optimizer.params)
        paths = {id(p): path for path, p in model.named_parameters()} if model is not None else {}
        self.names = [paths.get(id(p)) or p.name or f"params[{i}]" for i, p in enumerate(optimizer.params)]
        self.history = TrainingLog()
        self.place = 0  # steps done in this epoch
        self.first: Any = None  # the initial state, of all rows
        self.held: list[Any] | None = (
            None  # the carried states of this process's parts; None before the initial state is split
        )
        self.interrupts = Interrupts(self.group.rank, self.group.size)
        self.interrupted = False  # on any process
        self.seconds = 0.0  # of rank 0, used by all processes
        self.saved_at = -1  # the step of the last checkpoint
        self.random_at_epoch = self.random = random_state(model)
        self.best: list[Any] | None = None  # the parameters of the best validation, kept for patience and keep_best
        self.began, self.began_step = 0.0, 0  # seconds and steps of the run before it was resumed
        self.total: float | None = None  # seconds or steps at which the run ends, if known

    # -- the loop --------------------------------------------------------------------------------------------------

    def go(self, batches: Batches, shown: bool) -> TrainingLog:
        self.history.stopped = self.reached() or "patience" * self.out_of_patience()
        if self.history.stopped:
            self.go_back(self.keep_best or self.history.stopped == "patience")
            return self.history
        self.total, begin = self.extent(batches)
        bar = Progress(shown, self.total, begin)
        try:
            with self.interrupts.deferred():
                while not self.history.stopped:
                    self.epoch(batches, bar)
        except KeyboardInterrupt:
            if self.group.size > 1:  # the other processes wait for this one in the middle of a step
                raise
            self.history.stopped = "interrupted"
        finally:
            bar.close(self.status())
        self.check()
        if self.history.stopped == "patience":
            self.go_back(True)
            self.saved_at = -1
        self.save()
        self.go_back(self.keep_best)
        return self.history

    def go_back(self, condition: bool) -> None:
        """Restore the parameters of the best validation, if there was one."""
        if condition and self.best is not None:
            for p, array in zip(self.optimizer.params, self.best, strict=True):
                p.data = array

    def epoch(self, batches: Batches, bar: Progress) -> None:
        """Run one epoch, or the rest of a resumed one."""
        skipped = self.place
        if not skipped:
            self.random_at_epoch = random_state(self.model)
            self.first, self.held = self.first_state() if callable(self.first_state) else self.first_state, None
        else:  # draw the same batches again, skip those already used, and restore the random state
            set_random_state(self.model, self.random_at_epoch)
        self.parts.begin_epoch(self.random_at_epoch)
        source = self.parts.split(batches(self.history.epoch) if callable(batches) else batches)
        for _ in range(skipped):
            next(source, None)
        if skipped:
            set_random_state(self.model, self.random)
        while True:
            start = perf_counter()
            batch = next(source, None)
            if batch is None:
                break
            self.step(batch)
            self.history.seconds += perf_counter() - start
            bar.advance(self.position(), self.history.seconds, self.status())
            self.after_step(bar)
            if self.history.stopped:
                return
        if self.group.sum(0)[0]:
            raise self.uneven()
        if not self.place:
            raise ValueError(
                f"fit: there are no batches in epoch {self.history.epoch}; a generator can be read only once: give a "
                "list, or a function of the epoch's number that makes one"
            )
        self.history.epoch, self.place = self.history.epoch + 1, 0
        if self.validation is not None and self.validate_every is None:
            self.validate(bar)
        if self.on_epoch is not None:
            self.on_epoch(self.history)
        if self.checkpoint_every is None:
            self.save()
        self.history.stopped = self.history.stopped or self.reached()

    def step(self, batch: list[Any]) -> None:
        """One step of the optimiser, on this process's parts of a batch."""
        self.optimizer.zero_grad()
        if self.held is None:
            self.held = self.parts.split_state(self.first)
        states, value = list(self.held), 0.0
        weights = self.parts.weights(batch)
        totals = self.group.sum_later([1, sum(weights)])
        nonempty = [k for k, weight in enumerate(weights) if weight]
        for k in self.parts.seeded(self.history.step, nonempty):
            loss, state = checks.call(self.loss_fn, batch[k], states[k], self.first_state is not None)
            checks.finite(float(loss), self.history.step + 1)
            factor = weights[k] / self.total_weight(totals)
            value += factor * float(loss)
            self.reducer.backward(loss, factor, last=k == nonempty[-1])
            states[k] = map_state(checks.constant, state)
        self.total_weight(totals)
        value, interrupted, seconds = self.reducer.finish(
            [value, self.interrupts.asked, self.history.seconds * (self.group.rank == 0)]
        )
        if self.clip is not None:
            clip_by_global_norm(self.optimizer.params, self.clip)
        self.interrupts.allowed = False  # while the results of a step are stored
        try:
            self.optimizer.step()
            self.held = states
            self.history.losses.append(value)
            self.history.step += 1
            self.interrupted, self.seconds = interrupted > 0, seconds
            if self.schedule is not None:
                self.schedule.part = min(1.0, self.position() / self.total) if self.total else None
                self.schedule.step()
            self.place += 1
            self.random = random_state(self.model)
        finally:
            self.interrupts.allowed = True

    def total_weight(self, totals: Callable[[], Any]) -> float:
        """The weight of the batch over all processes."""
        present, weight = totals()
        if present < self.group.size:
            raise self.uneven()
        if not weight:
            raise ValueError(f"fit: the batch of step {self.history.step + 1} has no rows, expected at least one")
        return float(weight)

    def uneven(self) -> ValueError:
        return ValueError(
            f"fit: after step {self.history.step} some processes have a batch and others none; give every process as many"
        )

    def check(self) -> None:
        """Raise if the parameters differ between processes."""
        self.group.check(self.names, self.optimizer.params, self.history.step)

    def after_step(self, bar: Progress) -> None:
        """After a step: the callback, validation, a checkpoint, and whether the run ends."""
        if self.on_step is not None:
            self.on_step(self.history)
        if self.history.step % CHECKED == 0:
            self.check()
        if self.validate_every is not None and self.history.step % self.validate_every == 0:
            self.validate(bar)
        if self.checkpoint_every is not None and self.history.step % self.checkpoint_every == 0:
            self.save()
        if self.interrupted or (self.interrupts.asked and self.group.size == 1):
            self.history.stopped = "interrupted"
        self.history.stopped = self.history.stopped or self.reached(within=True)

    def reached(self, within: bool = False) -> str:
        """The name of the limit that is reached, or ""; the limit on epochs is not checked `within` an epoch."""
        done = {"epochs": self.history.epoch, "steps": self.history.step, "seconds": self.spent()}
        for name, limit in self.limits.items():
            if limit is not None and done[name] >= limit and not (within and name == "epochs"):
                return name
        return ""

    def spent(self) -> float:
        """Seconds of training in this run; with several processes, those of rank 0 before the last step."""
        return (self.history.seconds if self.group.size == 1 else self.seconds) - self.began

    def validate(self, bar: Progress) -> None:
        if self.validation is None:
            return
        history = self.history
        if callable(self.validation):
            with training(False), no_grad():
                loss = self.group.broadcast(checks.scalar(self.validation()))
        else:
            loss = evaluate(
                self.loss_fn, self.validation, self.first_state, weight=self.parts.weight, parallel=self.group
            )
        before = history.best
        history.validations.append((history.step, loss))
        name, factor = self.show
        bar.write(f"step {history.step:,}: held-out {name} {loss * factor:.3f}")
        if (self.patience is not None or self.keep_best) and history.best != before:
            self.best = [p.data for p in self.optimizer.params]
        if self.out_of_patience():
            history.stopped = "patience"
        if self.on_validation is not None and self.group.rank == 0:
            message = self.on_validation(history)
            if isinstance(message, str):
                bar.write(message)
        set_random_state(self.model, self.random)  # validation must not change the random numbers of training

    def out_of_patience(self) -> bool:
        """Whether the last `patience` validations brought no improvement."""
        history = self.history
        best = -1 if history.best is None else history.validations.index(history.best)
        return self.patience is not None and len(history.validations) - 1 - best >= self.patience

    # -- showing ---------------------------------------------------------------------------------------------------

    def extent(self, batches: Batches) -> tuple[float | None, float]:
        """The end of the bar in seconds or steps (None if unknown), and its start."""
        limits = self.limits
        if limits["seconds"] is not None:
            return limits["seconds"], 0.0
        epoch_steps = len(batches) if isinstance(batches, Sized) else None
        total = limits["epochs"] * epoch_steps if epoch_steps and limits["epochs"] is not None else math.inf
        total = min(total, math.inf if limits["steps"] is None else limits["steps"])
        return (None if total == math.inf else total), float(self.history.step)

    def position(self) -> float:
        return self.spent() if self.limits["seconds"] is not None else self.history.step

    def status(self) -> str:
        """The text beside the bar: "step 300, loss 1.234, 25 steps/s"."""
        history, (name, factor) = self.history, self.show
        if not history.losses:
            return f"step {history.step:,}"
        recent = history.losses[-50:]
        speed = (history.step - self.began_step) / max(history.seconds - self.began, 1e-9)
        text = f"step {history.step:,}, {name} {factor * sum(recent) / len(recent):.3f}"
        return f"{text}, {speed:.{0 if speed >= 100 else 1}f} steps/s"

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint, if there is one and a step was made since the last."""
        history = self.history
        if self.checkpoint is None or self.model is None or self.saved_at == history.step:
            return
        self.check()
        arrays: dict[str, Any] = {"losses": np.array(history.losses, np.float64)}
        arrays["validations"] = np.array(history.validations, np.float64).reshape(-1, 2)
        if self.place and self.held is not None:
            arrays |= {f"state.{i}": leaf for i, leaf in enumerate(self.parts.gather_state(self.held))}
        if self.best is not None:
            arrays |= {f"best.{i}": array for i, array in enumerate(self.best)}
        counters = {"epoch": history.epoch, "place": self.place, "step": history.step, "seconds": history.seconds}
        metadata = {**self.metadata, "training": counters, "random_at_epoch": self.random_at_epoch}
        if self.group.rank == 0:
            save_checkpoint(
                self.checkpoint,
                self.model,
                self.optimizer,
                self.schedule,
                arrays=arrays,
                metadata=metadata,
                random=self.random,
            )
        self.saved_at = history.step

    def resume(self) -> None:
        """Restore the run from the checkpoint, if the file exists."""
        if self.checkpoint is None or self.model is None:
            return
        exists = self.group.rank == 0 and os.path.exists(self.checkpoint)
        loaded = self.group.broadcast(read_checkpoint(self.checkpoint) if exists else None)
        if loaded is None:
            return
        sections, metadata = loaded
        arrays, counters = sections["run"], metadata.get("training")
        if counters is None:
            raise CheckpointError(f"fit: {self.checkpoint} was not written by fit: it has no counters of a run")
        carried = None
        if counters["place"]:
            first = self.first_state() if callable(self.first_state) else self.first_state
            leaves = iter([arrays[k] for k in sorted(arrays, key=_number) if k.startswith("state.")])
            carried = map_state(lambda leaf: self.restored(leaf, next(leaves, None)), first)
        apply_checkpoint(self.checkpoint, sections, metadata, self.model, self.optimizer, self.schedule)
        history = self.history
        history.losses = arrays["losses"].tolist()
        history.validations = [(int(step), float(loss)) for step, loss in arrays["validations"]]
        history.epoch, history.step, history.seconds = counters["epoch"], counters["step"], counters["seconds"]
        self.place, self.first, self.saved_at = counters["place"], carried, history.step
        self.began = self.seconds = history.seconds
        self.began_step = history.step
        self.random_at_epoch, self.random = metadata["random_at_epoch"], metadata["random"]
        self.best = [arrays[f"best.{i}"] for i in range(len(self.optimizer.params)) if f"best.{i}" in arrays] or None

    def restored(self, leaf: Any, array: Any) -> Any:
        if not isinstance(leaf, (Tensor, np.ndarray)):
            return leaf
        received = "nothing" if array is None else f"shape {array.shape}"
        if received != f"shape {leaf.shape}":
            raise CheckpointError(
                f"fit: {self.checkpoint} carries a state of {received}, expected {leaf.shape}; resume with the model and the "
                "batch size that it was trained with, or begin anew"
            )
        return Tensor(array)


def _number(key: str) -> int:
    return int(key.rpartition(".")[2]) if key.rpartition(".")[2].isdigit() else -1
