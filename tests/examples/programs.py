"""Running an example as one does, from the command line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[2]


def start(folder: Path, name: str, *arguments: Any) -> subprocess.Popen[str]:
    """Start examples/NAME.py in this folder."""
    env = {"PYTHONUNBUFFERED": "1", **os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )


def run(folder: Path, name: str, *arguments: Any) -> tuple[int, str, str]:
    """Run examples/NAME.py to its end: its exit code, standard output and standard error."""
    process = start(folder, name, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def said(pattern: str, out: str) -> tuple[str, ...]:
    """The groups of a pattern in the output of a program."""
    match = re.search(pattern, out)
    assert match, out
    return match.groups()


def interrupted(folder: Path, name: str, *arguments: Any, after: str) -> tuple[int, str, str]:
    """Run examples/NAME.py, press Ctrl-C a moment after the line that holds `after`, and see how it ends."""
    process = start(folder, name, *arguments)
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if after in line:
            break
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return process.returncode, seen + out, err
