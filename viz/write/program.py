"""Finding and running the Graphviz program. The graphviz package writes the DOT; this only looks for who draws it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tinygrad_rnn.errors import DrawingError

VARIABLE = "TINYGRAD_RNN_DOT"
HINT = "to get a program that draws: pip install graphviz-pure (or the extra tinygrad_rnn[dot]), or install Graphviz itself"
PAGES = ("pdf", "ps", "ps2", "eps")  # formats that only Graphviz itself writes


class NoProgramError(DrawingError):
    """No Graphviz program was found; the message lists where it was looked for."""


def find(program: str | os.PathLike[str] | None = None) -> str:
    """The path of the Graphviz program to use.

    The first of: the argument, the environment variable TINYGRAD_RNN_DOT (either is final: if what it names is not
    there, no other is tried), `dot` on PATH, `graphviz-pure` on PATH and beside the running Python. Raises DrawingError
    that lists what was tried.
    """
    for source, name in (("argument program", program), (f"environment variable {VARIABLE}", os.environ.get(VARIABLE))):
        if name:
            path = shutil.which(name)
            if path is None:
                raise NoProgramError(f"drawing: {source} names {os.fspath(name)!r}, which is no program; {HINT}")
            return path
    tried = [f"{VARIABLE} (not set)"]
    for name in ("dot", "graphviz-pure"):
        path = shutil.which(name)
        if path is not None:
            return path
        tried.append(f"{name} on PATH")
    for folder in _script_folders():
        path = shutil.which("graphviz-pure", path=folder)
        if path is not None:
            return path
        tried.append(f"graphviz-pure in {folder}")
    raise NoProgramError(f"drawing: no Graphviz program was path (tried: {', '.join(tried)}); {HINT}")


def run(source: str, format: str, program: str | os.PathLike[str] | None = None, timeout: float = 60.0) -> bytes:
    """What the program makes of the DOT text `source`, in the format `format` ("svg", "png", …).

    Raises DrawingError if there is no program, if it fails, and if it takes longer than `timeout` seconds.
    """
    path = find(program)
    command = [path, f"-T{format}"]
    if format not in ("svg", "svgz", "pdf", "json"):
        command.append("-Gdpi=144")  # pixels: twice the size on the page, to stay sharp on a slide
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise DrawingError(
            f"drawing: {path} was not done after {timeout:g} s and was stopped; give timeout=, or draw fewer steps or a "
            "smaller depth, or mark each step of a loop of your own with tg.step(t), so that one is laid out for "
            "all, or save the DOT text with .save('x.dot')"
        ) from None
    except OSError as error:
        raise DrawingError(f"drawing: {path} could not be run: {error}; {HINT}") from error
    if done.returncode or not done.stdout:
        message = " ".join(done.stderr.decode(errors="replace").split())[-500:]
        raise DrawingError(
            f"drawing: {Path(path).name} made no {format} (code {done.returncode}): {message or 'no message'}; "
            + (
                f"{format} needs Graphviz itself: apt install graphviz, brew install graphviz; "
                if format in PAGES
                else ""
            )
            + "svg and png work with every program, the DOT text (.save('x.dot')) without one"
        )
    return done.stdout


def _script_folders() -> list[str]:
    """Where pip puts programs for this Python: its folder may not be on PATH."""
    user = "nt_user" if os.name == "nt" else "posix_user"
    folders = [str(Path(sys.executable).parent), sysconfig.get_path("scripts"), sysconfig.get_path("scripts", user)]
    return list(dict.fromkeys(folders))
