"""Reads the golden files of this folder: what TensorFlow 1, Keras and PyTorch compute, with NumPy and json alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Golden:
    """One golden file: its name, its arrays by key (read-only) and its metadata."""

    name: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    def __contains__(self, key: str) -> bool:
        return key in self.arrays

    def get(self, key: str) -> np.ndarray | None:
        """The array of this key, or None where the case has none (an absent sequence_length, say)."""
        return self.arrays.get(key)

    def under(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays below a prefix, keyed by the rest: under("weight") of "weight/kernel" has "kernel"."""
        start = prefix + "/"
        return {key[len(start) :]: array for key, array in self.arrays.items() if key.startswith(start)}


def names(prefix: str = "") -> list[str]:
    """The names of the golden files that begin with a prefix ("tf1_lstm", say), sorted."""
    return sorted(path.stem for path in FOLDER.glob(prefix + "*.npz"))


def load(name: str) -> Golden:
    """The golden file of this name (without ".npz"); FileNotFoundError if there is none."""
    path = FOLDER / f"{name}.npz"
    if not path.exists():
        raise FileNotFoundError(f"load: no golden file {name!r} in {FOLDER}; names() lists those there are")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    meta = json.loads(str(arrays.pop("meta")))
    for array in arrays.values():
        array.flags.writeable = False
    return Golden(name, arrays, meta)
