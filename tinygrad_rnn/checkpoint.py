"""Arrays in files (`save`, `load`) and whole training runs in files (`save_checkpoint`, `load_checkpoint`).

The format is safetensors: a JSON header and the raw arrays, no code. A file is written beside its place, forced to the
disk and renamed, so a kill at any moment leaves the old file or the new one, whole.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from .autodiff.state import generator
from .autodiff.tensor import Tensor
from .errors import CheckpointError
from .module import Module
from .optim import Optimizer, Schedule

Array = np.ndarray[Any, np.dtype[Any]]
Path = str | os.PathLike[str]
HEADER = "tinygrad_rnn"  # the header's entry that holds our metadata as JSON
DTYPES = (
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)


class Tensors(dict[str, Array]):
    """What `load` gives: arrays by name, and beside them the file's `metadata`."""

    metadata: dict[str, Any]


def save(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Write arrays by name to a safetensors file, whole or not at all.

    tensors: a dict of tensors, arrays and numbers, such as model.state_dict(). metadata: anything JSON can hold, by
    name. Raises TypeError for what cannot be written, FileNotFoundError if the folder is missing, OSError if the disk
    refuses; the file that was there before then stays as it was.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> tg.save(path, {"w": tg.tensor([1.0, 2.0])}, metadata={"epoch": 3})
    >>> loaded = tg.load(path)
    >>> loaded["w"], loaded.metadata
    (array([1., 2.], dtype=float32), {'epoch': 3})
    """
    from safetensors.numpy import save as to_bytes

    if not isinstance(tensors, Mapping):
        hint = "; pass model.state_dict()" if isinstance(tensors, Module) else ""
        raise TypeError(f"save: tensors is a {type(tensors).__name__}, expected a dict of arrays by name{hint}")
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    try:
        header = {HEADER: json.dumps(dict(metadata or {}))}
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: metadata cannot be written as JSON: {error}") from None
    _write(os.path.realpath(path), to_bytes(arrays, header))


def load(path: Path) -> Tensors:
    """The arrays of a safetensors file by name; their `.metadata` is what was saved beside them.

    Raises FileNotFoundError if there is no such file and CheckpointError if it is cut short, damaged, or something else.

    >>> import tinygrad_rnn as tg
    >>> tg.load("nowhere.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: load: there is no file nowhere.safetensors; tg.save writes one
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"load: there is no file {name}; tg.save writes one") from None
    try:
        tensors = Tensors(from_bytes(content))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
        tensors.metadata = {**{k: v for k, v in header.items() if k != HEADER}, **json.loads(header.get(HEADER, "{}"))}
    except KeyError as error:
        raise CheckpointError(
            f"load: {name} holds an array of dtype {error.args[0]}, expected one of {', '.join(DTYPES)}"
        ) from None
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"load: {name} ({len(content)} bytes) is no whole safetensors file: it was cut short, damaged, or is something "
            f"else ({error}); take another copy, or save anew with tg.save"
        ) from None
    return tensors


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
    """
    parts, metadata = read_checkpoint(path)
    apply_checkpoint(path, parts, metadata, model, optimizer, schedule)
    result = Tensors(parts["run"])
    result.metadata = {k: v for k, v in metadata.items() if k != "random"}
    return result


Parts = dict[str, dict[str, Array]]


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
    before += [(model, model.state_dict())] if all(module.built for module in model.modules()) else []
    random_before = random_state(model)
    try:
        for part, owner in owners:
            if owner is not None:
                if not parts[part]:
                    raise ValueError(f"the file holds no {part}")
                owner.load_state_dict(parts[part])
        set_random_state(model, metadata["random"])
    except (ValueError, TypeError, KeyError) as error:
        for owner, state in reversed(before):
            owner.load_state_dict(state)
        set_random_state(model, random_before)
        raise CheckpointError(f"load_checkpoint: {os.fspath(path)} does not fit: {error}") from error


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


def _array(name: Any, value: Any) -> Array:
    """What can be written: real numbers, contiguous, in the machine's byte order."""
    if not isinstance(name, str):
        raise TypeError(f"save: the name {name!r} is a {type(name).__name__}, expected a string")
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    array = np.array(array, array.dtype.newbyteorder("="), order="C", copy=None)
    if array.dtype.name not in DTYPES:
        raise TypeError(
            f"save: {name!r} is a {type(value).__name__} of dtype {array.dtype}, expected a tensor, an array or a number "
            f"of dtype {', '.join(DTYPES)}; put other things into metadata="
        )
    return array


def _write(path: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"save: there is no folder {folder} to write {name} into; make it first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"save: {path} is a folder, expected the name of a file")
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # make the new name itself durable
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
