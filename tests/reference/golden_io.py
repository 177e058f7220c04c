"""Shared by the scripts that write golden files: drawing numbers, checking a case against differences, writing it."""

from __future__ import annotations

import json
import platform
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]

FOLDER = Path(__file__).resolve().parent
LOSS = "the sum, over every key that begins with output or state, of sum(array * R/array)"
META_KEYS = {"name", "library", "versions", "call", "options", "layouts", "loss", "dtype", "command", "seed"}


def seed_of(case: str) -> int:
    """The seed of a case: the CRC-32 of its name without the dtype, so float32 and float64 draw the same numbers."""
    return zlib.crc32(case.encode())


def short(dtype: str) -> str:
    """float32 -> f32, float64 -> f64: the end of a file's name."""
    return {"float32": "f32", "float64": "f64"}[dtype]


class Source:
    """Random arrays of one case, drawn in float64 and rounded to the case's dtype; weights of scale 0.6, others 1."""

    def __init__(self, case: str, dtype: str) -> None:
        self.seed = seed_of(case)
        self.dtype = dtype
        self.rng = np.random.default_rng(self.seed)
        self.cotangents: Arrays = {}

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return np.asarray(scale * self.rng.standard_normal(shape), self.dtype)

    def weight(self, *shape: int) -> Array:
        return self.normal(*shape, scale=0.6)

    def cotangent(self, key: str, shape: tuple[int, ...]) -> Array:
        """The random array that multiplies the result of this key in the loss, drawn at the first request."""
        if key not in self.cotangents:
            self.cotangents[key] = self.normal(*shape)
        coefficients = self.cotangents[key]
        if coefficients.shape != tuple(shape):
            raise ValueError(f"cotangent of {key}: shape {coefficients.shape} at first, {tuple(shape)} now")
        return coefficients


def check_gradient(loss: Callable[[Arrays], float], params: Arrays, grads: Arrays) -> float:
    """Compare gradients with central differences of the loss along random directions, one a parameter (float64)."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for key, value in params.items():
        direction = rng.standard_normal(value.shape)
        eps = 1e-5
        up, down = (loss({**params, key: value + step * direction}) for step in (eps, -eps))
        numeric, analytic = (up - down) / (2 * eps), float(np.sum(grads[key] * direction))
        error = abs(numeric - analytic) / max(1.0, abs(numeric))
        if not error < 1e-7:
            raise AssertionError(f"{key}: the gradient says {analytic}, differences of the loss say {numeric}")
        worst = max(worst, error)
    return worst


def validate(name: str, arrays: Arrays, meta: dict[str, Any]) -> None:
    """Raise if a case breaks a promise: finite, of its dtype, each gradient shaped as its array and not all zero."""
    missing = META_KEYS - set(meta)
    if missing or meta["name"] != name:
        raise AssertionError(f"{name}: meta lacks {sorted(missing)} or names another case ({meta.get('name')})")
    if re.search(r"/(root|home|work|tmp|usr)\b|https?:", json.dumps(meta)):
        raise AssertionError(f"{name}: meta holds a path or an address")
    for key, array in arrays.items():
        if array.dtype.kind == "f":
            if array.dtype != meta["dtype"]:
                raise AssertionError(f"{name}: {key} is {array.dtype}, the case {meta['dtype']}")
            if not np.isfinite(array).all():
                raise AssertionError(f"{name}: {key} is not finite")
        elif array.dtype.kind not in "ib":
            raise AssertionError(f"{name}: {key} has dtype {array.dtype}")
        if key.startswith("grad/"):
            of = arrays[key.removeprefix("grad/")]
            if array.shape != of.shape or array.dtype != of.dtype:
                raise AssertionError(f"{name}: {key} is {array.shape} {array.dtype}, its array {of.shape} {of.dtype}")
            if not np.any(array):
                raise AssertionError(f"{name}: {key} is all zeros")
        if key.startswith("R/") and array.shape != arrays[key.removeprefix("R/")].shape:
            raise AssertionError(f"{name}: {key} is {array.shape}, its result {arrays[key.removeprefix('R/')].shape}")
    for key in arrays:
        if key.startswith("weight/") and f"grad/{key}" not in arrays:
            raise AssertionError(f"{name}: {key} has no gradient")
        if key.startswith("weight/") and key not in meta["layouts"]:
            raise AssertionError(f"{name}: the layout of {key} is not described")


def save(name: str, arrays: Arrays, meta: dict[str, Any]) -> None:
    """Write one case; versions of Python and NumPy are added to the metadata."""
    versions = {"python": platform.python_version(), "numpy": np.__version__, **meta["versions"]}
    meta = {"name": name, **meta, "versions": versions}
    arrays = {key: np.asarray(array) for key, array in arrays.items()}
    validate(name, arrays, meta)
    text = np.array(json.dumps(meta, indent=1))
    np.savez_compressed(FOLDER / f"{name}.npz", allow_pickle=False, **{"meta": text, **arrays})
    print(f"{name}: {len(arrays)} arrays")


def save_recurrent(
    name: str,
    source: Source,
    params: Arrays,
    constants: Arrays,
    run: Callable[[Arrays], tuple[Arrays, float, Arrays]],
    meta: dict[str, Any],
    fresh: Arrays | None = None,
) -> None:
    """Run a recurrent case, hold its gradients to differences of its loss (float64), and write it.

    `run(params)` gives (results, loss, gradients by parameter). Its weights follow a "weight/" prefix, its initial
    states an "initial/" prefix; `constants` have no gradient; `fresh` holds biases as the library initialises them.
    """
    results, loss, grads = run(params)
    if source.dtype == "float64":
        check_gradient(lambda values: run(values)[1], params, grads)
    arrays = {**params, **constants, **results, "loss": np.asarray(loss, source.dtype)}
    arrays |= {f"R/{key}": value for key, value in source.cotangents.items()}
    arrays |= {f"grad/{key}": value for key, value in grads.items()}
    arrays |= {f"fresh/{key}": value for key, value in (fresh or {}).items()}
    save(name, arrays, {**meta, "loss": LOSS, "dtype": source.dtype, "seed": source.seed})
