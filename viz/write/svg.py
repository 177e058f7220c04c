"""Figures that are written as SVG without any program: `.svg()` is the text, `.save(path)` writes it, Jupyter shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..scene import style


class SvgFigure:
    """A figure on a white page. Subclasses give its content."""

    called = "figure"  # in errors

    def content(self) -> tuple[tuple[float, float], Iterable[str]]:
        """Width and height in points, and the SVG elements in drawing order."""
        raise NotImplementedError

    def svg(self) -> str:
        """The figure as SVG text."""
        size, elements = self.content()
        wide, tall = (f"{length:.0f}" for length in size)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" viewBox="0 0 {wide} {tall}" '
            f'font-family="Helvetica,sans-serif" font-size="12" fill="{style.INK}">'
        )
        paper = f'<rect width="{wide}" height="{tall}" fill="white"/>'
        return "\n".join([head, paper, *elements, "</svg>"]) + "\n"

    def save(self, path: str | Path) -> Path:
        """Write the SVG to a file, whose name must end in .svg; returns the path written."""
        target = Path(path)
        if target.suffix.lower() != ".svg":
            raise ValueError(f"save: {str(target)!r} does not end in .svg, the one format of a {self.called}")
        target.write_text(self.svg(), encoding="utf-8")
        return target

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {"image/svg+xml": style.no_wider_than_page(self.svg()), "text/plain": repr(self)}
