"""Keras's Sequential: a stack of layers with summary, compile, fit, evaluate and predict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from . import train
from .autodiff.state import generator, no_grad
from .callbacks import Callback, Callbacks, check_filepath
from .config import from_json, to_json
from .errors import CheckpointError
from .layers import losses
from .layers.base import Input, Layer, Shape, mask_of
from .layers.optimizers import OPTIMIZERS
from .layers.training import Array, Epochs, History, Tally, Totals, batch_size_of, batches, means_of, numbers, split
from .optim import Optimizer
from .parallel.serial import Serial
from .rnn.cell import described
from .rnn.stepper import new_stepper
from .saving import Path, load, save

__all__ = ["History", "Sequential", "load_model"]


class Sequential(Layer):
    """Layers one after another, y = fₙ(… f₂(f₁(x))); masks are passed on as in Keras. layers: a list; `add` appends more.
    If the input shape is known (from an Embedding, Input or input_shape=), each layer is built when it is added,
    otherwise all at the first call. Raises TypeError for an entry that is not a layer, ValueError for a layer with
    several outputs.

    >>> import tinygrad_rnn as tg
    >>> model = tg.models.Sequential()
    >>> model.add(tg.layers.Embedding(10000, 32))
    >>> model.add(tg.layers.SimpleRNN(32))
    >>> model.summary()
    Model: "sequential"
    _________________________________________________________________
    Layer (type)                 Output Shape              Param #
    =================================================================
    embedding (Embedding)        (None, None, 32)          320,000
    _________________________________________________________________
    simple_rnn (SimpleRNN)       (None, 32)                2,080
    =================================================================
    Total params: 322,080
    Trainable params: 322,080
    Non-trainable params: 0
    _________________________________________________________________
    """

    casts, sets_output_mask = False, True
    stop_training = False  # a callback sets it to end `fit` after the epoch

    def __init__(self, layers: Iterable[Any] | None = None, name: str | None = None):
        super().__init__(name=name)
        self.layers: list[Layer] = []
        self._optimizer: Optimizer | None = None
        self._shapes: list[Any] = []  # of the input and the output of every layer, as far as known
        self._make: Any = None
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Any) -> None:
        """Append a layer."""
        if isinstance(layer, Input) and not self.layers:
            self._shapes = [layer.batch_input_shape]
            return
        if not isinstance(layer, Layer):
            raise TypeError(
                f"Sequential: layer {len(self.layers)} is {described(layer)}, expected a layer such as layers.Dense(1)"
            )
        if not self.layers and not self._shapes and layer.batch_input_shape is not None:
            self._shapes = [layer.batch_input_shape]
        if layer.name is None:
            taken = {other.name for other in self.layers}
            base = layer.scope_name
            layer.name = next(n for n in (base, *(f"{base}_{i}" for i in range(1, len(taken) + 2))) if n not in taken)
        self.layers.append(layer)
        try:
            self._extend()
        except BaseException:  # a layer that does not fit is not added
            self.pop()
            raise

    def pop(self) -> Layer:
        """Remove the last layer."""
        self._shapes = self._shapes[: len(self.layers)]
        return self.layers.pop()

    def _extend(self) -> None:
        """Build the layers whose input shape is known, and store the shapes of their outputs."""
        while self._shapes and len(self._shapes) <= len(self.layers):
            layer = self.layers[len(self._shapes) - 1]
            layer.ensure_built(self._shapes[-1])
            shape = layer.compute_output_shape(self._shapes[-1])
            if isinstance(shape[0], tuple):
                raise ValueError(
                    f"Sequential: {layer.name} gives {len(shape)} outputs, expected one (return_state=False)"
                )
            self._shapes.append(shape)

    @property
    def built(self) -> bool:
        return all(layer.built for layer in self.layers)

    @built.setter
    def built(self, value: bool) -> None:
        """Ignored: the layers store it."""

    def build(self, input_shape: Shape | None = None) -> None:
        """Build all layers for inputs of this shape, such as (None, T, D)."""
        if input_shape is not None and not self._shapes:
            self._shapes = [tuple(input_shape)]
        self._extend()

    def ensure_built(self, input_shape: Shape) -> None:
        """Build all layers for the inputs of a call; the number of rows may differ in the next call."""
        self.build((None, *input_shape[1:]))

    def build_from(self, arrays: Any) -> None:
        """Nothing to do: the layers build themselves."""

    def compute_output_shape(self, input_shape: Shape) -> Any:
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The configurations of the layers, and the shape of the inputs if known; from_config creates the model from it,
        without weights."""
        shape = None if not self._shapes else to_json("Sequential: input_shape", self._shapes[0])
        return {"name": self.name, "layers": to_json("Sequential: layers", self.layers), "build_input_shape": shape}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Any:
        shape = config.get("build_input_shape")
        layers = [one for one in config["layers"] if one.get("class_name") != "InputLayer"]  # which Keras lists
        model = cls(from_json("Sequential: layers", layers, custom_objects or {}), name=config.get("name"))
        if shape is not None and not model._shapes:
            model.build(tuple(shape))
        return model

    @property
    def output_shape(self) -> Any:
        """The shape of the output, None if unknown."""
        return self._shapes[-1] if len(self._shapes) == len(self.layers) + 1 else None

    def call(self, inputs: Any, mask: Any = None) -> Any:
        """Apply the layers one after another; each output is passed on with its mask."""
        x = inputs
        for layer in self.layers:
            x, mask = layer(x, mask=mask), None
            if isinstance(x, tuple):
                raise ValueError(f"Sequential: {layer.name} gives {len(x)} outputs, expected one (return_state=False)")
        return x

    def streamed(self) -> list[Any]:
        """For `rnn.stepper`: the layers."""
        return self.layers

    def stepper(self, batch: int = 1) -> Any:
        """This model for streaming: `step(x)` takes an array (B, D), or integers (B) for an Embedding, and returns the
        model's output for the sequence so far; see rnn.stepper.

        Raises ValueError for a model that is not built, and for one that needs a whole sequence (Bidirectional, Flatten).

        >>> import numpy as np, tinygrad_rnn as tg
        >>> model = tg.models.Sequential([tg.layers.Embedding(10, 4), tg.layers.LSTM(8), tg.layers.Dense(1)])
        >>> stepper = model.stepper(batch=2)
        >>> stepper.step(np.array([3, 9])).shape
        (2, 1)
        """
        return new_stepper((self,), batch, reference=self)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask_of(self(inputs, mask=mask))

    def reset_state(self) -> None:
        """Reset stateful layers to the initial state."""
        for layer in self.layers:
            if hasattr(layer, "reset_state"):
                layer.reset_state()

    reset_states = reset_state

    # -- the summary -----------------------------------------------------------------------------------------------------

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print Keras's table: every layer, the shape of its output, the number of its weights.

        Shapes that are unknown before a call are shown as "?", the weights of such a layer as "0 (unbuilt)".
        """
        rule, double = "_" * 65, "=" * 65
        shapes = [_text(shape) for shape in self._shapes[1:]] + ["?"] * len(self.layers)
        rows = []
        for layer, shape in zip(self.layers, shapes, strict=False):
            count = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
            rows.append(_row(f"{layer.name} ({type(layer).__name__})", shape, count))
        total = sum(layer.count_params() for layer in self.layers if layer.built)
        if self.built:
            total = self.count_params()  # a layer that occurs twice counts once
        print_fn(f'Model: "{self.scope_name}"')
        print_fn(rule)
        print_fn(_row("Layer (type)", "Output Shape", "Param #"))
        print_fn(double)
        for i, row in enumerate(rows):
            print_fn(row)
            print_fn(double if i == len(rows) - 1 else rule)
        print_fn(f"Total params: {total:,}")
        print_fn(f"Trainable params: {total:,}")
        print_fn("Non-trainable params: 0")
        print_fn(rule)

    # -- training, by train.fit ------------------------------------------------------------------------------------------

    def compile(self, optimizer: Any = "rmsprop", loss: Any = None, metrics: Sequence[Any] | None = ()) -> None:
        """Set the optimiser, the loss and the metrics.

        optimizer: "adam", "adamw", "rmsprop" or "sgd" with Keras's defaults, a function of the parameters such as lambda
        p: optim.Adam(p, 0.01), or an optimiser of this model's parameters. loss: a name such as
        "sparse_categorical_crossentropy" (probabilities, not logits), or a function f(y_true, y_pred). metrics: names
        such as "accuracy" (of one output whether it is above ½, of several whether the largest is the right class),
        "binary_accuracy", "mae", or functions f(y_true, y_pred). Unlike in Keras on TensorFlow, "adam" and "rmsprop"
        update every row of an Embedding at every step, as in PyTorch; there, rows that are not in the batch are not
        updated. Raises ValueError for unknown names; the model is then unchanged.

        >>> import tinygrad_rnn as tg
        >>> model = tg.models.Sequential([tg.layers.Dense(1)])
        >>> model.compile("adam", "mse", metrics=["mae"])
        """
        if isinstance(optimizer, str) and optimizer not in OPTIMIZERS:
            raise ValueError(
                f"compile: optimizer is {optimizer!r}, expected one of {', '.join(OPTIMIZERS)}, or an optimiser"
            )
        if not isinstance(optimizer, (str, Optimizer)) and not callable(optimizer):
            raise TypeError(
                f"compile: optimizer is {described(optimizer)}, expected a name, an optimiser or a function"
            )
        loss_function = losses.get(loss)
        self._metrics = dict(losses.metric(one) for one in metrics or ())
        self._loss = loss_function
        self._make = OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer
        self._optimizer = optimizer if isinstance(optimizer, Optimizer) else None

    @property
    def optimizer(self) -> Any:
        """The optimiser set by `compile`, made when it is first read; None before compile. ValueError for a model that is not
        built, whose optimiser has no parameters yet.

        >>> import tinygrad_rnn as tg
        >>> model = tg.models.Sequential([tg.layers.Input((3,)), tg.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> model.optimizer.lr
        0.001
        """
        if self._optimizer is None and self._make is not None:
            if not self.built:
                raise ValueError(
                    "optimizer: the model is not built, so there are no parameters to optimise; begin it with "
                    "layers.Input(shape), or call model.build((None, ...)) or fit first"
                )
            self._optimizer = self._make([p for p in self.parameters() if p.requires_grad])
        return self._optimizer

    def fit(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = 0,
        validation_split: float = 0.0,
        validation_data: tuple[Any, Any] | None = None,
        shuffle: bool = True,
        callbacks: Iterable[Callback] | None = None,
        parallel: Serial | None = None,
        **options: Any,
    ) -> History:
        """Train on arrays by train.fit; returns a History, its `history` a dict of lists: loss, accuracy, val_loss ….

        x (N, ...), y (N, ...). validation_split takes that share from the end of the data. shuffle draws from the default
        generator (tg.seed). verbose: 0 is silent, 1 or "auto" shows a bar and the figures of every epoch as Keras does, 2
        one line per epoch. callbacks: a list of callbacks. options: further arguments of train.fit, such as clip=,
        patience= and checkpoint=. parallel: with tg.parallel.MPI() all processes train, and loss and metrics are those of
        all. Raises ValueError before compile, and for arrays of unequal length.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> tg.seed(0)
        >>> x = np.random.default_rng(0).normal(size=(64, 5, 2))
        >>> model = tg.models.Sequential([tg.layers.GRU(4), tg.layers.Dense(1, activation="sigmoid")])
        >>> model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        >>> sorted(model.fit(x, x.sum((1, 2)) > 0, epochs=2).history)
        ['accuracy', 'loss']
        """
        batch_size = batch_size_of("fit", batch_size)
        data = self._arrays("fit", x, y)
        held_out = None if validation_data is None else self._arrays("fit", *validation_data)
        if validation_split:
            data, held_out = split(data, validation_split)
        if not self.built:
            self.build((None, *data[0].shape[1:]))
        steps, group = -(-len(data[0]) // batch_size), parallel or Serial()
        events = Callbacks(callbacks, self, verbose, {"epochs": epochs, "steps": steps, "rank": group.rank})
        fitting = Fitting(self, data, held_out, batch_size, shuffle, events, group)
        options = {"model": self, "progress": False, "parallel": parallel, **fitting.hooks()} | options
        self.stop_training = False
        events.on_train_begin()
        log = train.fit(fitting.tally.loss, Epochs(fitting.epoch, steps), self.optimizer, epochs=epochs, **options)
        events.on_train_end()
        return fitting.result(log.stopped)

    def evaluate(
        self,
        x: Any,
        y: Any,
        batch_size: int | None = None,
        verbose: int | str = 0,
        return_dict: bool = False,
        callbacks: Iterable[Callback] | None = None,
    ) -> Any:
        """The loss on arrays, and the metrics: a number, or a list of them, or a dict. verbose and callbacks as in `fit`.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> model = tg.models.Sequential([tg.layers.Dense(1, kernel_initializer="zeros")])
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> model.evaluate(np.ones((4, 3)), np.full((4, 1), 2.0))
        [4.0, 2.0]
        """
        arrays, size = self._arrays("evaluate", x, y), batch_size_of("evaluate", batch_size)
        events = Callbacks(callbacks, self, verbose, {"steps": -(-len(arrays[0]) // size)})
        logs = self._measured(*arrays, size, events)
        if return_dict:
            return logs
        return list(logs.values()) if self._metrics else logs["loss"]

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = 0) -> Array:
        """The model's outputs for arrays, computed in batches without recording, as one array.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> tg.models.Sequential([tg.layers.Dense(2)]).predict(np.ones((5, 3))).shape
        (5, 2)
        """
        arrays, batch_size = numbers("predict: x", x), batch_size_of("predict", batch_size)
        with no_grad():
            parts = [self(arrays[i : i + batch_size]).data for i in range(0, max(len(arrays), 1), batch_size)]
        return np.concatenate(parts)

    def _measured(
        self, x: Array, y: Array, size: int, events: Callbacks, group: Serial | None = None
    ) -> dict[str, float]:
        tally = Tally(self)

        def measured_batches() -> Iterator[tuple[Array, Array]]:
            for i, batch in enumerate(batches(x, y, size)):
                events.on_test_batch_begin(i)
                yield batch
                events.on_test_batch_end(i, tally.means())

        events.on_test_begin()
        train.evaluate(tally.loss, measured_batches(), parallel=group)
        means = tally.means(group)
        events.on_test_end(means)
        return means

    # -- in files --------------------------------------------------------------------------------------------------------

    def save_weights(self, filepath: Path) -> None:
        """Write the weights to a safetensors file, such as model.safetensors, atomically.

        Raises ValueError for the formats of Keras (.h5, .keras), and if the model is not built.

        >>> import os, tempfile, tinygrad_rnn as tg
        >>> model = tg.models.Sequential([tg.layers.Input((3,)), tg.layers.Dense(2)])
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
        >>> model.save_weights(path)
        >>> sorted(tg.load(path))
        ['layers.0.bias', 'layers.0.kernel']
        """
        save(check_filepath("save_weights", filepath), self.state_dict())

    def load_weights(self, filepath: Path) -> None:
        """Set the weights from a file of `save_weights` or `save`; layers that are not built yet are built for their shapes.

        Raises ValueError for a Keras file (.h5, .keras) and for weights of another model; this one is then unchanged.
        """
        self.load_state_dict(load(check_filepath("load_weights", filepath)))

    def save(self, filepath: Path) -> None:
        """Write the model's configuration and weights to a safetensors file, for `models.load_model`.

        The file does not contain the arguments of compile or the state of training; see train.fit's checkpoint= for that.
        """
        save(check_filepath("save", filepath), self.state_dict(), {"config": self.get_config()})

    def _arrays(self, owner: str, x: Any, y: Any) -> tuple[Array, Array]:
        if self._make is None:
            raise ValueError(f"{owner}: the model is not compiled, call compile(optimizer, loss) first")
        x, y = numbers(f"{owner}: x", x), numbers(f"{owner}: y", y)
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or not len(x):
            raise ValueError(
                f"{owner}: x has shape {x.shape} and y {y.shape}, expected as many targets as examples, at least one"
            )
        return x, y


class Fitting:
    """One call of Sequential.fit: the hooks that train.fit calls, which trigger the callbacks and collect the history."""

    def __init__(
        self,
        model: Sequential,
        data: tuple[Array, Array],
        held_out: tuple[Array, Array] | None,
        batch_size: int,
        shuffle: bool,
        events: Callbacks,
        group: Serial,
    ):
        self.model, self.data, self.held_out, self.batch_size, self.shuffle = model, data, held_out, batch_size, shuffle
        self.events, self.group, self.tally = events, group, Tally(model)
        self.totals: list[Totals] = []  # of every epoch
        self.validations: list[dict[str, float]] = []
        self.logs: list[dict[str, float]] = []  # of every complete epoch, with the entries added by callbacks

    def hooks(self) -> dict[str, Any]:
        """The arguments of train.fit."""
        validation = None if self.held_out is None else self.validation
        return {"on_step": self.on_step, "on_epoch": self.on_epoch, "validation": validation}

    def epoch(self) -> Iterator[tuple[Array, Array]]:
        """The batches of an epoch."""
        order = generator(None).permutation(len(self.data[0])) if self.shuffle else None
        self.tally.clear()
        self.events.on_epoch_begin(len(self.totals))
        try:
            for i, batch in enumerate(batches(*self.data, self.batch_size, order)):
                self.events.on_train_batch_begin(i)
                yield batch
        finally:  # also where Ctrl-C ends the epoch early
            self.totals.append(self.tally.totals)

    def on_step(self, log: train.TrainingLog) -> None:
        """After every step."""
        self.events.on_train_batch_end(self.tally.count - 1, self.tally.means())

    def on_epoch(self, log: train.TrainingLog) -> None:
        """After every complete epoch."""
        means = self.tally.means(self.group)
        if self.held_out is not None and self.validations:
            means |= {f"val_{key}": value for key, value in self.validations[-1].items()}
        self.logs.append(means)
        self.events.on_epoch_end(len(self.totals) - 1, means)
        if self.model.stop_training:
            log.stopped = log.stopped or "callback"

    def validation(self) -> float:
        """The loss on the data held out."""
        assert self.held_out is not None
        self.validations.append(self.model._measured(*self.held_out, self.batch_size, self.events, self.group))
        return self.validations[-1]["loss"]

    def result(self, stopped: str) -> History:
        """The history of all epochs, an incomplete last one included."""
        means = [one for one in (means_of(totals, self.group) for totals in self.totals) if one]
        keys = ("loss", *self.model._metrics)
        history = {key: [one[key] for one in means] for key in keys}
        if self.held_out is not None:
            history |= {f"val_{key}": [one[key] for one in self.validations] for key in keys}
        by_callbacks = [key for key in (self.logs[-1] if self.logs else {}) if key not in history]
        return History(history | {key: [one[key] for one in self.logs if key in one] for key in by_callbacks}, stopped)


def load_model(filepath: Path, custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """Read a model written by `Sequential.save`. custom_objects: the user's functions and classes, by name.

    Raises ValueError for a Keras file, CheckpointError for a file without a configuration.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> model = tg.models.Sequential([tg.layers.Input((None, 3)), tg.layers.GRU(2), tg.layers.Dense(1)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path)
    >>> tg.models.load_model(path).output_shape
    (None, 1)
    """
    tensors = load(check_filepath("load_model", filepath))
    if "config" not in tensors.metadata:
        raise CheckpointError(
            f"load_model: {filepath} contains weights but no model; create the model, then call model.load_weights(path)"
        )
    model: Sequential = Sequential.from_config(tensors.metadata["config"], custom_objects)
    model.load_state_dict(tensors)
    return model


def _text(shape: Any) -> str:
    return str(tuple(shape))


def _row(name: str, shape: str, count: str) -> str:
    """A line of the summary in Keras's columns; longer entries are truncated."""
    line = ""
    for text, end in ((name, 29), (shape, 55)):
        line = (line + text)[: end - 1].ljust(end)
    return line + count
