"""What `fit` is given, held to what it can use before anything is trained, and what a loss function returns."""

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
from ..rnn.cell import detach, kind
from ..saving import check_place

LossFunction = Callable[..., Any]  # (batch) -> loss, or with a state (batch, state) -> (loss, state)
ALIKE = (  # what all processes must be given alike
    *("epochs", "steps", "seconds", "clip", "accumulate", "resume", "keep_best", "patience"),
    *("validate_every", "checkpoint_every"),
)
Weight = Callable[[Any], float]  # over how many rows or tokens the loss of a batch is the mean
NEEDS = {  # options that say nothing alone
    "validation": ("validate_every", "patience", "keep_best", "on_validation"),
    "checkpoint": ("checkpoint_every", "resume"),
}


def run(given: Mapping[str, Any], limits: Mapping[str, Any], model: Module | None) -> None:
    """Refuse what cannot work, or would do nothing. given: the arguments of `fit` by name."""
    if all(limit is None for limit in limits.values()):
        raise ValueError("fit: nothing says when to stop; give epochs=, steps= or seconds=")
    for name in ("epochs", "steps"):
        number(name, limits[name], 0, whole=True)
    number("seconds", limits["seconds"], 0)
    number("clip", given["clip"], 0)
    if given["clip"] == 0:
        raise ValueError("fit: clip is 0, expected a number above 0, or None for no limit")
    for name in ("validate_every", "checkpoint_every", "patience", "accumulate"):
        number(name, given[name], 1, whole=True)
    if given["parallel"] is not None and not isinstance(given["parallel"], Serial):
        raise TypeError(f"fit: parallel is {kind(given['parallel'])}, expected tg.parallel.MPI(), or None")
    for wanted, names in NEEDS.items():
        useless = [name for name in names if given[name]]
        if useless and given[wanted] is None:
            raise ValueError(f"fit: {useless[0]}= says nothing without {wanted}=; give {wanted}= too")
    batches, optimizer, schedule = given["batches"], given["optimizer"], given["schedule"]
    if not callable(batches) and not isinstance(batches, Iterable):
        raise TypeError(f"fit: batches is {kind(batches)}, expected an iterable of batches, or a function of the epoch")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit: optimizer is {kind(optimizer)}, expected one such as optim.Adam(model.parameters())")
    if schedule is not None and (not isinstance(schedule, Schedule) or schedule.optimizer is not optimizer):
        came = "another optimizer's" if isinstance(schedule, Schedule) else kind(schedule)
        raise ValueError(f"fit: schedule is {came}, expected one made for this optimizer, or None")
    if model is not None and not {id(p) for p in model.parameters()} & {id(p) for p in optimizer.params}:
        raise ValueError("fit: the optimizer has none of the model's parameters; make it of model.parameters()")
    show = given["show"]
    if not isinstance(show, tuple) or len(show) != 2:
        raise TypeError(f"fit: show is {show!r}, expected a pair, a name and a factor, such as ('bits', 1.44)")
    if given["checkpoint"] is not None:
        check_place(given["checkpoint"])
        if model is None:
            raise ValueError("fit: checkpoint= needs model=, the module to save, where loss_fn is no module's method")


def number(name: str, value: Any, least: float, whole: bool = False) -> None:
    """Refuse a value that is neither None nor a number of at least so much."""
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value >= least):
        wanted = "a whole number" if whole else "a number"
        raise ValueError(f"fit: {name} is {value!r}, expected {wanted} of at least {least}, or None")


def scalar(value: Any) -> float:
    """What a validation function gave, as a number."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, (Tensor, np.ndarray, np.number)) and value.size == 1:
        return float(value.item())
    raise TypeError(f"fit: validation() returned {kind(value)}, expected a loss, one number")


def call(loss_fn: LossFunction, batch: Any, state: Any, stateful: bool) -> tuple[Tensor, Any]:
    """The loss and the next state, checked."""
    if stateful:
        out = loss_fn(batch, state)
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"loss_fn(batch, state) returned a {type(out).__name__}, expected (loss, state)")
        loss, state = out
    else:
        loss = loss_fn(batch)
    if not isinstance(loss, Tensor) or loss.size != 1:
        came = f"a tensor of shape {loss.shape}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        hint = "" if stateful or not isinstance(loss, tuple) else "; to carry a state give its first value as state="
        raise TypeError(f"loss_fn returned {came} as loss, expected a scalar tensor (.mean() reduces one){hint}")
    return loss, state


def finite(value: float, step: int) -> None:
    """Refuse a loss of NaN or infinity."""
    if not math.isfinite(value):
        raise FloatingPointError(
            f"fit: the loss is {value} at step {step}; lower the learning rate, clip the gradients (clip=1.0), or look for "
            "NaN in the data"
        )


def alike(given: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """What every process must give `fit` alike, by name: the model, the optimiser, and when to do what."""
    optimizer, schedule = given["optimizer"], given["schedule"]
    found: dict[str, Any] = {
        f"parameter {i}": f"{name} {p.shape} {p.dtype}"
        for i, (name, p) in enumerate(zip(names, optimizer.params, strict=True))
    }
    found |= {"optimizer": type(optimizer).__name__, "schedule": type(schedule).__name__}
    found |= {f"optimizer.{name}": getattr(optimizer, name) for name in optimizer.numbers}
    found |= {name: given[name] for name in ALIKE}
    return found | {f"{name}=": given[name] is not None for name in ("state", "validation", "checkpoint")}


def constant(leaf: Any) -> Any:
    """A leaf of the carried state, cut off from the graph."""
    if isinstance(leaf, (list, dict, set)):
        raise TypeError(
            f"loss_fn returned a state that holds a {type(leaf).__name__}, expected tensors in (nested) tuples, which can "
            "be detached"
        )
    return detach(leaf)


def weight(batch: Any) -> int:
    """How many elements a batch's targets have, which are its last array; 1 if that is no array."""
    last = batch[-1] if type(batch) in (tuple, list) and len(batch) > 1 else batch
    if isinstance(last, Padded):
        return int(last.lengths.sum())
    return last.size if isinstance(last, (np.ndarray, Tensor)) else 1
