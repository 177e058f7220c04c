"""Runs scripts under mpiexec, as a user would; skips, and says why, where there is no MPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
PROGRAM = HERE / "program.py"
FAULTS = HERE / "faults.py"


def mpiexec() -> str:
    """The mpiexec in the folder of this Python, else the one in PATH."""
    if find_spec("mpi4py") is None:
        pytest.skip("mpi4py is not installed: pip install -e '.[mpi]'")
    folder = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    executable = shutil.which("mpiexec", path=folder)
    if executable is None:
        pytest.skip("there is no mpiexec: pip install -e '.[mpi]'")
    return executable


def command(processes: int, script: Path, *arguments: object) -> list[str]:
    """The command that runs a script on so many processes; on one without mpiexec."""
    start = [mpiexec(), *["--oversubscribe"] * open_mpi(), "-n", str(processes)] if processes > 1 else []
    return [*start, sys.executable, str(script), *map(str, arguments)]


def open_mpi() -> bool:
    """Whether mpiexec is Open MPI's, which refuses more processes than cores unless asked."""
    return "Open" in subprocess.run([mpiexec(), "--version"], capture_output=True, text=True).stdout


def environment() -> dict[str, str]:
    """One thread for NumPy's products: how they add up depends on it."""
    return {
        **os.environ,
        "OPENBLAS_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


def run(processes: int, script: Path, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(processes, script, *arguments), capture_output=True, text=True, timeout=timeout, env=environment()
    )


def trained(folder: Path, processes: int, case: str, **options: Any) -> list[dict[str, Any]]:
    """What each rank of the program wrote."""
    place = folder / f"{case}-{processes}-{len(list(folder.iterdir()))}"
    place.mkdir()
    done = run(processes, PROGRAM, case, place, *(f"{name}={value!r}" for name, value in options.items()))
    assert done.returncode == 0, done.stdout + done.stderr
    return [dict(np.load(place / f"{rank}.npz")) for rank in range(processes)]


def parameters(result: dict[str, Any]) -> dict[str, Any]:
    return {name: array for name, array in result.items() if not name.startswith("history.")}
