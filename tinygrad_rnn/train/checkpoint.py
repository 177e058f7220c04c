"""Whole training runs in files: parameters, optimiser, schedule, random generators, and the caller's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..autodiff.state import generator
from ..errors import CheckpointError
from ..module import Module
from ..optim import Optimizer, Schedule
from ..saving import Array, Path, Tensors, load, save

Parts = dict[str, dict[str, Array]]


def save_checkpoint(
    path: Path,
    model: Module,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    *,
    arrays: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    random: Mapping[str, Any] | None = None,
) -> None:
    """Write all that a training run needs to go on bit for bit: parameters, optimiser, schedule, random generators.

    The generators are the default one and those that modules hold (a dropout's with its own seed). arrays and metadata
    are the caller's own: counters, a vocabulary. random: what `random_state(model)` gave, if not what it gives now.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> model = tg.nn.Linear(3, 2)
    >>> optimizer = tg.optim.Adam(model.parameters())
    >>> tg.train.save_checkpoint(path, model, optimizer, metadata={"epoch": 3})
    >>> tg.train.load_checkpoint(path, model, optimizer).metadata["epoch"]
    3
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for part, owner in (("optimizer", optimizer), ("schedule", schedule)):
        if owner is not None:
            tensors |= {f"{part}.{k}": v for k, v in owner.state_dict().items()}
    tensors |= {f"run.{k}": v for k, v in (arrays or {}).items()}
    save(path, tensors, {**(metadata or {}), "random": random or random_state(model)})


def load_checkpoint(
    path: Path, model: Module, optimizer: Optimizer | None = None, schedule: Schedule | None = None
) -> Tensors:
    """Bring a run back to where `save_checkpoint` stood. Returns the caller's own arrays, with `.metadata`.

    Raises FileNotFoundError for a missing file and CheckpointError for one that is damaged or does not fit; then model,
    optimiser, schedule and generators all stay as they were.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> model = tg.nn.Linear(3, 2)
    >>> tg.train.save_checkpoint(path, model, arrays={"losses": [2.0, 1.0]})
    >>> tg.train.load_checkpoint(path, tg.nn.Linear(3, 2))["losses"].tolist()
    [2.0, 1.0]
    """
    parts, metadata = read_checkpoint(path)
    apply_checkpoint(path, parts, metadata, model, optimizer, schedule)
    result = Tensors(parts["run"])
    result.metadata = {k: v for k, v in metadata.items() if k != "random"}
    return result


def read_checkpoint(path: Path) -> tuple[Parts, dict[str, Any]]:
    """A checkpoint's arrays by part ("model", "optimizer", "schedule", "run") and its metadata; nothing is set yet."""
    tensors = load(path)
    parts: Parts = {"model": {}, "optimizer": {}, "schedule": {}, "run": {}}
    for key, array in tensors.items():
        part, dot, rest = key.partition(".")
        if not dot or part not in parts:
            raise CheckpointError(
                f"load_checkpoint: {os.fspath(path)} holds {key!r}, which no training run saves; to read plain arrays use "
                "tg.load"
            )
        parts[part][rest] = array
    if not isinstance(tensors.metadata.get("random"), dict):
        raise CheckpointError(
            f"load_checkpoint: {os.fspath(path)} holds no random generators' state, so no training run saved it; to read "
            "plain arrays use tg.load"
        )
    return parts, tensors.metadata


def apply_checkpoint(
    path: Path,
    parts: Parts,
    metadata: Mapping[str, Any],
    model: Module,
    optimizer: Optimizer | None,
    schedule: Schedule | None,
) -> None:
    """Set model, optimiser, schedule and generators from what was read: all of them, or none."""
    owners = [("model", model), ("optimizer", optimizer), ("schedule", schedule)]
    before = [(owner, owner.state_dict()) for part, owner in owners[1:] if owner is not None]
    fresh = [module for module in model.modules() if not module.built]
    before += [] if fresh else [(model, model.state_dict())]
    random_before = random_state(model)
    try:
        for part, owner in owners:
            if owner is not None:
                if not parts[part]:
                    raise ValueError(f"the file holds no {part}")
                owner.load_state_dict(parts[part])
        set_random_state(model, metadata["random"])
    except BaseException as error:
        for owner, state in reversed(before):
            owner.load_state_dict(state)
        for module in fresh:
            module.unbuild()
        set_random_state(model, random_before)
        if isinstance(error, (ValueError, TypeError, KeyError, ArithmeticError)):
            raise CheckpointError(f"load_checkpoint: {os.fspath(path)} does not fit: {error}") from error
        raise


def random_state(model: Module | None = None) -> dict[str, Any]:
    """The state of the default random generator and of every generator that a module of the model holds, as plain data."""
    return {path: _plain(g.bit_generator.state) for path, g in _generators(model).items()}


def set_random_state(model: Module | None, state: Mapping[str, Any]) -> None:
    """Set the generators from `random_state(model)`."""
    found = _generators(model)
    if set(found) != set(state):
        raise ValueError(f"it holds random generators {sorted(state)}, expected {sorted(found)}")
    for path, g in found.items():
        g.bit_generator.state = state[path]


def set_streams(model: Module | None, entropy: list[int]) -> None:
    """Let each of these generators draw from a stream of its own, made of these numbers and its place."""
    for i, g in enumerate(_generators(model).values()):
        g.bit_generator.state = type(g.bit_generator)(np.random.SeedSequence([*entropy, i])).state


def _generators(model: Module | None) -> dict[str, np.random.Generator]:
    found = {"default": generator()}
    for path, module in model.named_modules("model") if model is not None else ():
        for name, value in vars(module).items():
            if isinstance(value, np.random.Generator):
                found[f"{path}.{name}"] = value
    return found


def _plain(value: Any) -> Any:
    """A generator's state with lists in place of arrays."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
