"""Keras's callbacks, called by Sequential's `fit` during training."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from . import checks
from .rnn.cell import described

__all__ = [
    "Callback",
    "EarlyStopping",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
]
Logs = dict[str, Any]


class Callback:
    """Base of all callbacks; a subclass overrides the methods it needs. `self.model` is the model; `self.params` has
    "epochs", "steps", "verbose" and "rank". Epochs and batches are numbered from 0. logs contains the means of loss and
    metrics so far, those of validation with the prefix "val_"; entries that on_epoch_end adds are included in the
    history. self.model.stop_training = True ends the run after the epoch.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> class Enough(tg.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         self.model.stop_training = logs["loss"] < 0.9
    >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile("sgd", "mse")
    >>> model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=9, callbacks=[Enough()])
    History(2 epochs: loss 0.8836)
    """

    model: Any = None
    params: dict[str, Any] | None = None

    def set_model(self, model: Any) -> None:
        """Set the model; called by `fit`."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Set the numbers of epochs and steps; called by `fit`."""
        self.params = params

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch's step."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before a validation, or `evaluate`."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After a validation, or `evaluate`."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of a validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of a validation."""


class Callbacks(Callback):
    """A list of callbacks as one; the printing for `verbose` is the last. Raises TypeError for an invalid entry."""

    def __init__(self, callbacks: Iterable[Callback] | None, model: Any, verbose: int | str, params: dict[str, Any]):
        if verbose not in (0, 1, 2, "auto"):
            raise ValueError(f"fit: verbose is {verbose!r}, expected 0, 1, 2 or 'auto'")
        self.each = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or ())
        for i, one in enumerate(self.each):
            if not isinstance(one, Callback):
                raise TypeError(
                    f"fit: callbacks[{i}] is {described(one)}, expected an object of a callbacks.Callback such as "
                    "EarlyStopping(); pass train.fit's options (patience=, checkpoint=, on_validation=) as arguments of fit"
                )
        if verbose and not params.get("rank"):
            self.each.append(Lines(2 if verbose == 2 else 1))
        for one in self.each:
            one.set_model(model)
            one.set_params({**params, "verbose": verbose})


def _to_each(name: str) -> Callable[..., None]:
    def call(self: Callbacks, *arguments: Any) -> None:
        logs = arguments[-1] if arguments and isinstance(arguments[-1], dict) else {}
        numbers = [a for a in arguments if a is not logs]
        for one in self.each:
            getattr(one, name)(*numbers, logs)

    call.__name__, call.__doc__ = name, getattr(Callback, name).__doc__
    return call


for _name in [name for name in vars(Callback) if name.startswith("on_")]:
    setattr(Callbacks, _name, _to_each(_name))


class LambdaCallback(Callback):
    """A callback made of functions: on_epoch_end=lambda epoch, logs: …, and likewise for every other method of Callback.

    Raises TypeError for a name that is not a method of Callback.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile("sgd", "mse")
    >>> show = tg.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, round(logs["loss"], 4)))
    >>> _ = model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, callbacks=[show])
    0 1.0
    1 0.8836
    """

    def __init__(self, **functions: Callable[..., Any] | None):
        for name, function in functions.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                known = ", ".join(n for n in vars(Callback) if n.startswith("on_"))
                raise TypeError(f"LambdaCallback takes no {name}, expected one of {known}")
            if function is not None:
                setattr(self, name, function)


class _Watching(Callback):
    """Base of callbacks that monitor a value in the logs of each epoch and compare it with the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"{type(self).__name__}: mode is {mode!r}, expected 'auto', 'min' or 'max'")
        self.monitor, self.mode, self.min_delta = monitor, mode, abs(min_delta)
        self.best: float | None = None

    def current(self, logs: Logs) -> float:
        """The monitored value. Raises ValueError that lists the available ones."""
        if self.monitor not in logs:
            raise ValueError(
                f"{type(self).__name__}: monitor is {self.monitor!r}, which was not measured; there are {', '.join(logs)} "
                "(val_ ones with validation_data= or validation_split=)"
            )
        return float(logs[self.monitor])

    def better(self, current: float, reference: float | None) -> bool:
        """Whether a value is better than the reference by more than min_delta; True without a reference."""
        if reference is None:
            return True
        name, up = self.monitor.removeprefix("val_"), self.mode == "max"
        if self.mode == "auto":
            up = name == "acc" or name.endswith("accuracy")
            if (
                not up
                and name != "loss"
                and not name.startswith(("mae", "mse", "mean_"))
                and "crossentropy" not in name
            ):
                raise ValueError(
                    f"{type(self).__name__}: whether more of {self.monitor!r} is better is not known; give mode='min' or "
                    "mode='max'"
                )
        return current > reference + self.min_delta if up else current < reference - self.min_delta


class EarlyStopping(_Watching):
    """Stop training after `patience` epochs in a row without improvement.

    monitor: the name of the value. min_delta: the smallest change that counts as an improvement. mode: "min", "max", or
    "auto" (by the name). baseline: a value that must be improved on first. restore_best_weights: restore the weights of
    the best epoch. start_from_epoch: earlier epochs are ignored. Raises ValueError if monitor is not in the logs.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile("sgd", "mse")
    >>> stop = tg.callbacks.EarlyStopping(monitor="loss", min_delta=0.2, patience=2)
    >>> model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=50, callbacks=[stop]).stopped, stop.stopped_epoch
    ('callback', 4)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.stopped_epoch = self.best_epoch = 0
        self.best, self.best_weights = None, None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if epoch < self.start_from_epoch:
            return
        current = self.current(logs or {})
        better = self.better(current, self.best)
        if self.restore_best_weights and (better or self.best_weights is None):
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
        self.wait += 1
        if better:
            self.best, self.best_epoch = current, epoch
            if self.baseline is None or self.better(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ReduceLROnPlateau(_Watching):
    """Multiply the learning rate by `factor` after `patience` epochs in a row without improvement, down to min_lr.

    cooldown: the number of epochs ignored after that. The history then includes "learning_rate". monitor, mode and
    min_delta as in EarlyStopping.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile("sgd", "mse")
    >>> slower = tg.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, min_delta=0.2, patience=2)
    >>> model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=7, callbacks=[slower]).history["learning_rate"]
    [0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor is {factor!r}, expected a number between 0 and 1")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.wait = self.resting = 0
        self.best = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        current, optimizer = self.current(logs), self.model.optimizer
        logs["learning_rate"] = optimizer.lr
        if self.resting:
            self.resting, self.wait = self.resting - 1, 0
        if self.better(current, self.best):
            self.best, self.wait = current, 0
        elif not self.resting:
            self.wait += 1
            if self.wait >= self.patience and optimizer.lr > self.min_lr:
                optimizer.lr = max(optimizer.lr * self.factor, self.min_lr)
                self.wait, self.resting = 0, self.cooldown
                if self.verbose:
                    print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {optimizer.lr}.")


class ModelCheckpoint(_Watching):
    """Save the model after every epoch, or with save_best_only after each epoch that is the best so far.

    filepath: a safetensors file; {epoch} and names of the logs are filled in, for example
    "{epoch:02d}-{val_loss:.2f}.safetensors". save_weights_only: without the configuration. save_freq: "epoch", or a
    number of batches. initial_value_threshold: a value that must be improved on first. monitor and mode as in
    EarlyStopping. Raises ValueError for .keras and .h5.

    >>> import os, tempfile, numpy as np, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
    >>> model.compile("sgd", "mse")
    >>> folder = tempfile.mkdtemp()
    >>> keep = tg.callbacks.ModelCheckpoint(os.path.join(folder, "{epoch}-{loss:.2f}.safetensors"), monitor="loss")
    >>> _ = model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2, callbacks=[keep])
    >>> sorted(os.listdir(folder))
    ['1-1.00.safetensors', '2-0.88.safetensors']
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | str = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, 0.0)
        if save_freq != "epoch" and (isinstance(save_freq, (bool, str)) or save_freq < 1):
            raise ValueError(f"ModelCheckpoint: save_freq is {save_freq!r}, expected 'epoch' or a number of batches")
        self.filepath, self.verbose, self.best = (
            check_filepath("ModelCheckpoint", filepath),
            verbose,
            initial_value_threshold,
        )
        self.save_best_only, self.save_weights_only, self.save_freq = save_best_only, save_weights_only, save_freq
        self.batches = self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.batches += 1
        if isinstance(self.save_freq, int) and self.batches % self.save_freq == 0:
            self._save({"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs or {})

    def _save(self, logs: Logs) -> None:
        if (self.params or {}).get("rank"):  # only rank 0 writes
            return
        path, said = self.filepath.format(epoch=self.epoch + 1, **logs), "saving model"
        if self.save_best_only:
            current, before = self.current(logs), self.best
            if not self.better(current, before):
                if self.verbose:
                    print(f"\nEpoch {self.epoch + 1}: {self.monitor} did not improve from {before:.5f}")
                return
            self.best = current
            start = "None" if before is None else f"{before:.5f}"
            said = f"{self.monitor} improved from {start} to {current:.5f}, {said}"
        if self.verbose:
            print(f"\nEpoch {self.epoch + 1}: {said} to {path}")
        (self.model.save_weights if self.save_weights_only else self.model.save)(path)


class LearningRateScheduler(Callback):
    """Set the learning rate before every epoch to schedule(epoch, current rate).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> halve = tg.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    >>> model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=3, callbacks=[halve]).history["learning_rate"]
    [0.01, 0.005, 0.0025]
    """

    def __init__(self, schedule: Callable[[int, float], float], verbose: int = 0):
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        rate = self.schedule(epoch, self.model.optimizer.lr)
        if not checks.is_number(rate):
            raise TypeError(f"LearningRateScheduler: schedule({epoch}, …) gave {described(rate)}, expected a number")
        self.model.optimizer.lr = float(rate)
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {float(rate)}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.lr


class Lines(Callback):
    """Keras's output: "Epoch 1/3", then steps, seconds, loss and metrics; verbose=1 also shows a progress bar in a
    terminal."""

    width = 20

    def __init__(self, verbose: int):
        self.moving = verbose == 1 and sys.stdout.isatty()
        self.bar, self.began, self.drawn, self.training = verbose == 1, 0.0, 0.0, False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        print(f"Epoch {epoch + 1}/{(self.params or {})['epochs']}")
        self.training = True
        self._start()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._move(batch + 1, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._finish(logs or {})
        self.training = False

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self.training:
            self._start()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self.training:
            self._move(batch + 1, logs or {})

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self.training:
            self._finish(logs or {})

    def _start(self) -> None:
        self.began = self.drawn = perf_counter()

    def _line(self, done: int, logs: Logs) -> str:
        steps, seconds = (self.params or {})["steps"], perf_counter() - self.began
        place, each = f"{done:{len(str(steps))}}/{steps}", _duration(seconds / max(done, 1))
        full = self.width * done // steps
        bar = f" {'━' * full}{'─' * (self.width - full)}" if self.bar else " -"
        figures = "".join(f" - {name}: {_figure(logs[name])}" for name in sorted(logs))
        return f"{place}{bar} {seconds:.0f}s{'' if self.bar else ' -'} {each}/step{figures}"

    def _move(self, done: int, logs: Logs) -> None:
        if self.moving and perf_counter() - self.drawn > 0.05:
            self.drawn = perf_counter()
            print(f"\r{self._line(done, logs)}\x1b[K", end="", flush=True)

    def _finish(self, logs: Logs) -> None:
        line = self._line((self.params or {})["steps"], logs)
        print(f"\r{line}\x1b[K" if self.moving else line, flush=True)


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) > 1e-3 else f"{value:.4e}"


def _duration(seconds: float) -> str:
    if seconds >= 1 or seconds == 0:
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.0f}ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f}us"


def check_filepath(owner: str, filepath: str | os.PathLike[str]) -> str:
    """Check that a path does not have the ending of a Keras format; the ValueError names the replacement."""
    path = os.fspath(filepath)
    if path.endswith((".h5", ".hdf5", ".keras")):
        raise ValueError(
            f"{owner}: {path} is in a format of Keras's own; name it model.safetensors here, and carry weights between the two "
            "with set_weights(other.get_weights())"
        )
    return path
