"""Arrays in files: `save` and `load`. Checkpoints of training runs are in train/checkpoint.py.

The format is safetensors: a JSON header and the raw arrays, no code. Files are replaced atomically: written to a temporary
file, synced and renamed, so that an interrupted write leaves the old file. The next write deletes temporary files that an
interrupted one left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from .autodiff.tensor import Tensor
from .errors import CheckpointError
from .module import Module

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # on Windows an open file cannot be deleted, so no lock is needed
    fcntl = None

Array = np.ndarray[Any, np.dtype[Any]]
Path = str | os.PathLike[str]
HEADER = "tinygrad_rnn"  # the header entry with our metadata as JSON
TORCHS = (b"PK\x03\x04", b"\x80\x02\x8a\n")  # first bytes of files of torch.save, now and before its version 1.6
DTYPES = (
    "bool",
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)


class Tensors(dict[str, Array]):
    """The result of `load`: arrays by name, and the file's `metadata`."""

    metadata: dict[str, Any]


def save(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> None:
    """Write arrays by name to a safetensors file, atomically.

    tensors: a dict of tensors, arrays and numbers, such as model.state_dict(). metadata: JSON values by name. Raises
    TypeError for values that cannot be written, ValueError for the name "__metadata__", FileNotFoundError if the folder is
    missing, OSError if writing fails; an existing file is then unchanged.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> tg.save(path, {"w": tg.tensor([1.0, 2.0])}, metadata={"epoch": 3})
    >>> loaded = tg.load(path)
    >>> loaded["w"], loaded.metadata
    (array([1., 2.], dtype=float32), {'epoch': 3})
    """
    import json

    from safetensors.numpy import save as to_bytes

    if not isinstance(tensors, Mapping):
        hint = "; pass model.state_dict()" if isinstance(tensors, Module) else ""
        raise TypeError(f"save: tensors is a {type(tensors).__name__}, expected a dict of arrays by name{hint}")
    arrays = {name: _array(name, value) for name, value in tensors.items()}
    try:
        header = {HEADER: json.dumps(dict(metadata or {}))}
    except (TypeError, ValueError) as error:
        raise TypeError(f"save: metadata cannot be written as JSON: {error}") from None
    write_atomically(check_place(path), to_bytes(arrays, header))


def load(path: Path) -> Tensors:
    """Read the arrays of a safetensors file by name, with its metadata as `.metadata`.

    Raises FileNotFoundError for a missing file and CheckpointError for one that is truncated, damaged or of another format.

    >>> import tinygrad_rnn as tg
    >>> tg.load("nowhere.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: load: there is no file nowhere.safetensors; tg.save writes one
    """
    import json

    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    name = os.fspath(path)
    content = read_bytes("load", path, "; tg.save writes one")
    try:
        tensors = Tensors(from_bytes(content))
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__") or {}
        tensors.metadata = {**{k: v for k, v in header.items() if k != HEADER}, **json.loads(header.get(HEADER, "{}"))}
    except KeyError as error:
        raise CheckpointError(
            f"load: {name} holds an array of dtype {error.args[0]}, expected one of {', '.join(DTYPES)}"
        ) from None
    except (SafetensorError, ValueError, TypeError, RecursionError) as error:
        if name.endswith((".pt", ".pth")) or content.startswith(TORCHS):
            raise CheckpointError(
                f"load: {name} is a file of torch.save, a pickle, which is not read here: in PyTorch write "
                "safetensors.torch.save_file(model.state_dict(), 'model.safetensors') and load that"
            ) from None
        raise CheckpointError(
            f"load: {name} ({len(content)} bytes) is not a complete safetensors file: it was truncated or damaged, or has "
            f"another format ({error}); use another copy, or save it again with tg.save"
        ) from None
    return tensors


def read_bytes(owner: str, path: Path, hint: str = "") -> bytes:
    """The content of a file; FileNotFoundError with the caller's name and hint if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise FileNotFoundError(f"{owner}: there is no file {os.fspath(path)}{hint}") from None


def _array(name: Any, value: Any) -> Array:
    """The value as an array that can be written: real numbers, contiguous, in native byte order."""
    if not isinstance(name, str):
        raise TypeError(f"save: the name {name!r} is a {type(name).__name__}, expected a string")
    if name == "__metadata__":
        raise ValueError(
            "save: the name '__metadata__' is reserved for the file's metadata; give the array another name"
        )
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    array = np.array(array, array.dtype.newbyteorder("="), order="C", copy=None)
    if array.dtype.name not in DTYPES:
        raise TypeError(
            f"save: {name!r} is a {type(value).__name__} of dtype {array.dtype}, expected a tensor, an array or a number "
            f"of dtype {', '.join(DTYPES)}; pass other values in metadata="
        )
    return array


def check_place(path: Path) -> str:
    """The real path, if a file can be written there; else FileNotFoundError, IsADirectoryError or PermissionError."""
    real = os.path.realpath(path)
    folder, name = os.path.split(real)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"save: there is no folder {folder} to write {name} into; create it first")
    if os.path.isdir(real):
        raise IsADirectoryError(f"save: {real} is a folder, expected the name of a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"save: the folder {folder} is not writable; choose another for {name}")
    return real


def write_atomically(path: str, content: bytes) -> None:
    """Write a file atomically."""
    folder, name = os.path.split(path)
    _clear(folder, name)
    temporary, file = _begin(folder, name)
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:  # while the lock is held
                os.replace(temporary, path)
        if fcntl is None:
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


def _begin(folder: str, name: str) -> tuple[str, BinaryIO]:
    """A new temporary file, locked while it is open; the operating system releases the lock when the process ends."""
    while True:
        temporary = os.path.join(folder, f".{name}.{os.urandom(6).hex()}.tmp")
        file = open(temporary, "xb")  # noqa: SIM115
        if _locked(file) and os.path.exists(temporary):  # not cleared by another process before it was locked
            return temporary, file
        file.close()


def _clear(folder: str, name: str) -> None:
    """Delete the temporary files of interrupted writes of this file; active ones hold a lock."""
    left = re.compile(re.escape(f".{name}.") + r"[0-9a-f]{12}\.tmp")
    for entry in filter(left.fullmatch, os.listdir(folder)):
        with suppress(OSError), open(os.path.join(folder, entry), "r+b") as file:
            if _locked(file):
                os.unlink(file.name)


def _locked(file: BinaryIO) -> bool:
    """Lock a file against other processes and threads; False if it is already locked."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
