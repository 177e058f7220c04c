"""Checkpoints of training runs: parameters, optimiser, schedule, random generators, and the caller's own data."""

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

Sections = dict[str, dict[str, Array]]


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
    """Save a training run so that it can be resumed bit for bit: parameters, optimiser, schedule, random generators.

    The generators are the default one and those of modules (such as a dropout with a seed). arrays and metadata are the
    caller's own data, such as counters or a vocabulary. random: an earlier result of `random_state(model)` to save instead
    of the current one.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> model = tg.nn.Linear(3, 2)
    >>> optimizer = tg.optim.Adam(model.parameters())
    >>> tg.train.save_checkpoint(path, model, optimizer, metadata={"epoch": 3})
    >>> tg.train.load_checkpoint(path, model, optimizer).metadata["epoch"]
    3
    """
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    for section, owner in (("optimizer", optimizer), ("schedule", schedule)):
        if owner is not None:
            tensors |= {f"{section}.{k}": v for k, v in owner.state_dict().items()}
    tensors |= {f"run.{k}": v for k, v in (arrays or {}).items()}
    save(path, tensors, {**(metadata or {}), "random": random or random_state(model)})


def load_checkpoint(
    path: Path, model: Module, optimizer: Optimizer | None = None, schedule: Schedule | None = None
) -> Tensors:
    """Restore a run from the file of `save_checkpoint`. Returns the caller's own arrays, with `.metadata`.

    Raises FileNotFoundError for a missing file and CheckpointError for a damaged file or one of another model; model,
    optimiser, schedule and generators are then unchanged.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> model = tg.nn.Linear(3, 2)
    >>> tg.train.save_checkpoint(path, model, arrays={"losses": [2.0, 1.0]})
    >>> tg.train.load_checkpoint(path, tg.nn.Linear(3, 2))["losses"].tolist()
    [2.0, 1.0]
    """
    sections, metadata = read_checkpoint(path)
    apply_checkpoint(path, sections, metadata, model, optimizer, schedule)
    result = Tensors(sections["run"])
    result.metadata = {k: v for k, v in metadata.items() if k != "random"}
    return result


def read_checkpoint(path: Path) -> tuple[Sections, dict[str, Any]]:
    """The arrays of a checkpoint by section ("model", "optimizer", "schedule", "run"), and its metadata."""
    tensors = load(path)
    sections: Sections = {"model": {}, "optimizer": {}, "schedule": {}, "run": {}}
    for key, array in tensors.items():
        section, dot, rest = key.partition(".")
        if not dot or section not in sections:
            raise CheckpointError(
                f"load_checkpoint: {os.fspath(path)} holds {key!r}, which is not part of a checkpoint; to read plain "
                "arrays use tg.load"
            )
        sections[section][rest] = array
    if not isinstance(tensors.metadata.get("random"), dict):
        raise CheckpointError(
            f"load_checkpoint: {os.fspath(path)} holds no random generators' state, so it is not a checkpoint; to read "
            "plain arrays use tg.load"
        )
    return sections, tensors.metadata


def apply_checkpoint(
    path: Path,
    sections: Sections,
    metadata: Mapping[str, Any],
    model: Module,
    optimizer: Optimizer | None,
    schedule: Schedule | None,
) -> None:
    """Set model, optimiser, schedule and generators from a checkpoint. On an error all of them are unchanged."""
    owners = [("model", model), ("optimizer", optimizer), ("schedule", schedule)]
    before = [(owner, owner.state_dict()) for section, owner in owners[1:] if owner is not None]
    unbuilt = [module for module in model.modules() if not module.built]
    before += [] if unbuilt else [(model, model.state_dict())]
    random_before = random_state(model)
    try:
        for section, owner in owners:
            if owner is not None:
                if not sections[section]:
                    raise ValueError(f"the file has no section {section}")
                owner.load_state_dict(sections[section])
        set_random_state(model, metadata["random"])
    except BaseException as error:
        for owner, state in reversed(before):
            owner.load_state_dict(state)
        for module in unbuilt:
            module.unbuild()
        set_random_state(model, random_before)
        if isinstance(error, (ValueError, TypeError, KeyError, ArithmeticError)):
            raise CheckpointError(f"load_checkpoint: {os.fspath(path)} does not fit: {error}") from error
        raise


def random_state(model: Module | None = None) -> dict[str, Any]:
    """The states of the default random generator and of those of the model's modules, as plain data."""
    return {path: _plain(g.bit_generator.state) for path, g in _generators(model).items()}


def set_random_state(model: Module | None, state: Mapping[str, Any]) -> None:
    """Set the generators from `random_state(model)`."""
    generators = _generators(model)
    if set(generators) != set(state):
        raise ValueError(f"it holds random generators {sorted(state)}, expected {sorted(generators)}")
    for path, g in generators.items():
        g.bit_generator.state = state[path]


def set_streams(model: Module | None, entropy: list[int]) -> None:
    """Give each of these generators a stream of its own, seeded with `entropy` and its index."""
    for i, g in enumerate(_generators(model).values()):
        g.bit_generator.state = type(g.bit_generator)(np.random.SeedSequence([*entropy, i])).state


def _generators(model: Module | None) -> dict[str, np.random.Generator]:
    generators = {"default": generator()}
    for path, module in model.named_modules("model") if model is not None else ():
        for name, value in vars(module).items():
            if isinstance(value, np.random.Generator):
                generators[f"{path}.{name}"] = value
    return generators


def _plain(value: Any) -> Any:
    """A generator's state with lists in place of arrays."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value
