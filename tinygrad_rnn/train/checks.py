"""Checks of the arguments of `fit`, before training starts, and of what a loss function returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..autodiff.tensor import Tensor
from ..data import Padded
from ..module import Module
from ..optim import Optimizer, Schedule
from ..parallel.serial import Serial
from ..rnn.cell import described, detach
from ..saving import check_place

LossFunction = Callable[..., Any]  # (batch) -> loss, or with a state (batch, state) -> (loss, state)
ALIKE = (  # arguments that must be equal on all processes
    *("epochs", "steps", "seconds", "clip", "accumulate", "resume", "keep_best", "patience"),
    *("validate_every", "checkpoint_every"),
)
Weight = Callable[[Any], float]  # (batch) -> the number of rows or tokens that its loss is the mean over
NEEDS = {  # argument: the arguments that have no effect without it
    "validation": ("validate_every", "patience", "keep_best", "on_validation"),
    "checkpoint": ("checkpoint_every", "resume"),
}


def run(arguments: Mapping[str, Any], limits: Mapping[str, Any], model: Module | None) -> None:
    """Raise for arguments of `fit`, here by name, that are invalid or would have no effect."""
    if all(limit is None for limit in limits.values()):
        raise ValueError("fit: there is no limit; give epochs=, steps= or seconds=")
    for name in ("epochs", "steps"):
        number(name, limits[name], 0, integral=True)
    number("seconds", limits["seconds"], 0)
    number("clip", arguments["clip"], 0)
    if arguments["clip"] == 0:
        raise ValueError("fit: clip is 0, expected a number above 0, or None for no limit")
    for name in ("validate_every", "checkpoint_every", "patience", "accumulate"):
        number(name, arguments[name], 1, integral=True)
    if arguments["parallel"] is not None and not isinstance(arguments["parallel"], Serial):
        raise TypeError(f"fit: parallel is {described(arguments['parallel'])}, expected tg.parallel.MPI(), or None")
    for required, names in NEEDS.items():
        dependent = [name for name in names if arguments[name]]
        if dependent and arguments[required] is None:
            raise ValueError(f"fit: {dependent[0]}= has no effect without {required}=; give {required}= too")
    batches, optimizer, schedule = arguments["batches"], arguments["optimizer"], arguments["schedule"]
    if not callable(batches) and not isinstance(batches, Iterable):
        raise TypeError(
            f"fit: batches is {described(batches)}, expected an iterable of batches, or a function of the epoch"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit: optimizer is {described(optimizer)}, expected one such as optim.Adam(model.parameters())"
        )
    if schedule is not None and (not isinstance(schedule, Schedule) or schedule.optimizer is not optimizer):
        received = "another optimizer's" if isinstance(schedule, Schedule) else described(schedule)
        raise ValueError(f"fit: schedule is {received}, expected one made for this optimizer, or None")
    if model is not None and not {id(p) for p in model.parameters()} & {id(p) for p in optimizer.params}:
        raise ValueError("fit: the optimizer has none of the model's parameters; create it with model.parameters()")
    show = arguments["show"]
    if not isinstance(show, tuple) or len(show) != 2:
        raise TypeError(f"fit: show is {show!r}, expected a pair, a name and a factor, such as ('bits', 1.44)")
    if arguments["checkpoint"] is not None:
        check_place(arguments["checkpoint"])
        if model is None:
            raise ValueError("fit: checkpoint= needs model=, the module to save, where loss_fn is no module's method")


def number(name: str, value: Any, least: float, integral: bool = False) -> None:
    """Raise ValueError unless the value is None or a number of at least `least`."""
    types = (int, np.integer) if integral else (int, float, np.integer, np.floating)
    if value is not None and (isinstance(value, bool) or not isinstance(value, types) or not value >= least):
        expected = "a whole number" if integral else "a number"
        raise ValueError(f"fit: {name} is {value!r}, expected {expected} of at least {least}, or None")


def scalar(value: Any) -> float:
    """The result of a validation function as a float."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, (Tensor, np.ndarray, np.number)) and value.size == 1:
        return float(value.item())
    raise TypeError(f"fit: validation() returned {described(value)}, expected a loss, one number")


def call(loss_fn: LossFunction, batch: Any, state: Any, stateful: bool) -> tuple[Tensor, Any]:
    """Call the loss function and check its result; returns the loss and the next state."""
    if stateful:
        result = loss_fn(batch, state)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"loss_fn(batch, state) returned a {type(result).__name__}, expected (loss, state)")
        loss, state = result
    else:
        loss = loss_fn(batch)
    if not isinstance(loss, Tensor) or loss.size != 1:
        received = f"a tensor of shape {loss.shape}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        hint = "" if stateful or not isinstance(loss, tuple) else "; to carry a state give its first value as state="
        raise TypeError(f"loss_fn returned {received} as loss, expected a scalar tensor (.mean() reduces one){hint}")
    return loss, state


def finite(value: float, step: int) -> None:
    """Raise FloatingPointError for a loss of NaN or infinity."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"fit: the loss is {value} at step {step}; lower the learning rate, clip the gradients (clip=1.0), or look for "
            "NaN in the data"
        )


def alike(arguments: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """The settings that must be equal on all processes, by name: parameters, optimiser, limits and intervals."""
    optimizer, schedule = arguments["optimizer"], arguments["schedule"]
    settings: dict[str, Any] = {
        f"parameter {i}": f"{name} {p.shape} {p.dtype}"
        for i, (name, p) in enumerate(zip(names, optimizer.params, strict=True))
    }
    settings |= {"optimizer": type(optimizer).__name__, "schedule": type(schedule).__name__}
    settings |= {f"optimizer.{name}": getattr(optimizer, name) for name in optimizer.numbers}
    settings |= {name: arguments[name] for name in ALIKE}
    return settings | {f"{name}=": arguments[name] is not None for name in ("state", "validation", "checkpoint")}


def constant(leaf: Any) -> Any:
    """A leaf of the carried state, detached from the graph."""
    if isinstance(leaf, (list, dict, set)):
        raise TypeError(
            f"loss_fn returned a state that holds a {type(leaf).__name__}, expected tensors in (nested) tuples, which can "
            "be detached"
        )
    return detach(leaf)


def weight(batch: Any) -> int:
    """The number of elements in the targets of a batch, its last array; 1 if that is not an array."""
    last = batch[-1] if type(batch) in (tuple, list) and len(batch) > 1 else batch
    if isinstance(last, Padded):
        return int(last.lengths.sum())
    return last.size if isinstance(last, (np.ndarray, Tensor)) else 1
