"""The result of every view: a picture that shows itself, saves itself and hands out its text."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from tinygrad_rnn.errors import DrawingError

from ..scene import style
from ..scene.picture import Picture
from . import dot, mermaid, page
from .program import NoProgramError, run

BIGGEST_SHOWN = 2000  # nodes: a notebook asks for a picture unasked, so it must come quickly


class Drawing:
    """A finished picture: `.source` is its DOT text, `.svg()` and `.png()` render it, `.save(path)` writes a file.

    Jupyter shows it by itself.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> drawing = viz.draw(tg.tanh(tg.Parameter([1.0, 2.0], name="w")))
    >>> drawing
    Drawing(2 nodes, 1 edge)
    >>> [line.strip() for line in drawing.source.splitlines() if "->" in line]
    ['n0 -> n1 [color="#A86F00" style=dashed]']
    >>> print(drawing.mermaid().splitlines()[3])
      n_n0 -.-> n_n1
    """

    def __init__(self, picture: Picture, arrange: Callable[..., Picture] | None = None):
        self.picture = picture
        self._arrange = arrange  # the same picture with places, better or faster than the program alone has it
        self._arranged: str | None = None

    @cached_property
    def source(self) -> str:
        """The DOT text. It needs no Graphviz program; the same graph gives the same bytes."""
        return dot.write(self.picture)

    def render(self, format: str, *, program: str | os.PathLike[str] | None = None, timeout: float = 60.0) -> bytes:
        """The picture in the format `format`, as the Graphviz program makes it: "svg", "png"; "pdf" by Graphviz itself.

        program: its path, else TINYGRAD_RNN_DOT, `dot` on PATH or graphviz-pure are looked for. Raises DrawingError
        that lists what was tried; where the program does not know the format; and after `timeout` seconds.
        """
        if self._arrange is None:
            return run(self.source, format, program, timeout)
        if self._arranged is None:
            self._arranged = dot.write(self._arrange(program=program, timeout=timeout))
        return run(self._arranged, format, program, timeout)

    def svg(self, *, program: str | os.PathLike[str] | None = None, timeout: float = 60.0) -> str:
        """The picture as SVG text; errors as `render`."""
        made = self.render("svg", program=program, timeout=timeout)
        try:
            return made.decode()
        except UnicodeDecodeError as error:
            raise DrawingError(
                f"drawing: what the program wrote is no SVG text ({error}); give another program=, or see .save('x.dot')"
            ) from None

    def png(self, *, program: str | os.PathLike[str] | None = None, timeout: float = 60.0) -> bytes:
        """The picture as the bytes of a PNG file; errors as `render`."""
        return self.render("png", program=program, timeout=timeout)

    def mermaid(self) -> str:
        """The picture as a Mermaid flowchart, which GitHub and many notebooks draw by themselves. Needs no program."""
        return mermaid.write(self.picture)

    def save(
        self, path: str | os.PathLike[str], *, program: str | os.PathLike[str] | None = None, timeout: float = 60.0
    ) -> Path:
        """Write the picture to a file, in the format its ending names: .svg .png .dot .mmd .html …; returns the path written.

        Without a Graphviz program the DOT text goes to the same name with the ending .dot (x.svg.dot if there is
        another x.dot), and a warning says in one line how to get a program. An ending that the program does not know
        raises DrawingError.
        """
        target = Path(path)
        format = target.suffix.lower().lstrip(".")
        if not format:
            raise ValueError(f"save: {str(target)!r} has no ending to tell the format by; write x.svg, x.png or x.dot")
        if format in ("dot", "gv"):
            content = self.source.encode()
        elif format in ("mmd", "mermaid"):
            content = self.mermaid().encode()
        elif format in ("html", "htm"):
            content = page.write(self.picture).encode()
        else:
            try:
                content = self.render(format, program=program, timeout=timeout)
            except NoProgramError as error:
                target, content = _beside(target, self.source.encode()), self.source.encode()
                warnings.warn(f"wrote {target} instead: {error}", stacklevel=2)
        target.write_bytes(content)
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Jupyter's display: the SVG, or Mermaid text and one line that says how to get the SVG. Never raises."""
        try:
            if len(self.picture.nodes) > BIGGEST_SHOWN:
                return {"text/plain": f"{self!r}: too big to show by itself; use .save('x.svg')"}
            fitting = style.no_wider_than_page(self.svg(timeout=20.0))
            return {"image/svg+xml": fitting, "text/plain": repr(self)}
        except DrawingError as error:
            return {"text/vnd.mermaid": self.mermaid(), "text/plain": f"{self!r}: {error}"}
        except Exception as error:  # a display must not break the notebook, whatever failed
            return {"text/plain": f"{self!r}: {error}"}

    def __repr__(self) -> str:
        nodes, edges = len(self.picture.nodes), len(self.picture.edges)
        return f"Drawing({nodes} node{'s' * (nodes != 1)}, {edges} edge{'s' * (edges != 1)})"


def _beside(target: Path, content: bytes) -> Path:
    """Where to write DOT text instead of `target`: x.dot, unless that is a file with something else in it."""
    beside = target.with_suffix(".dot")
    return target.with_name(f"{target.name}.dot") if beside.exists() and beside.read_bytes() != content else beside
