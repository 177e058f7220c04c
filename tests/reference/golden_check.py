"""Read every golden file of this folder without the libraries and check its contents against its metadata."""

from __future__ import annotations

import json

import numpy as np
from golden_io import FOLDER, validate

LIMIT = 1_750_000


def main() -> None:
    """Validate every file; recompute the loss from outputs, states and their random factors; print a summary."""
    files = sorted(FOLDER.glob("*.npz"))
    if not files:
        raise AssertionError(f"no golden files in {FOLDER}")
    for path in files:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        meta = json.loads(str(arrays.pop("meta")))
        validate(path.stem, arrays, meta)
        factors = {key.removeprefix("R/"): array for key, array in arrays.items() if key.startswith("R/")}
        if "loss" in arrays and factors:
            loss = sum(np.sum(arrays[key].astype(float) * factor) for key, factor in factors.items())
            tolerance = 1e-5 if meta["dtype"] == "float32" else 1e-12
            if not abs(loss - arrays["loss"]) <= tolerance * max(1.0, abs(loss)):
                raise AssertionError(f"{path.stem}: loss {arrays['loss']} is stored, {loss} recomputed")
    size = sum(path.stat().st_size for path in files)
    if size > LIMIT:
        raise AssertionError(f"{size} bytes of golden files, {LIMIT} allowed")
    print(f"{len(files)} files, {size} bytes: all hold")
