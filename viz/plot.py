"""Lines over time on a logarithmic scale, as SVG: no plotting library, no Graphviz program."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .scene import style
from .write.svg import SvgFigure

HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("", "8 3", "2 3", "8 3 2 3", "5 2", "1 2", "12 4")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640.0, 360.0, 76.0, 52.0, 18.0


class Plot(SvgFigure):
    """A line plot: `.svg()` is its text, `.save(path)` writes it. Values of 0 leave a gap: they have no logarithm.

    >>> from tinygrad_rnn import viz
    >>> plot = viz.Plot({"RNN": [1e-6, 1e-3, 1.0], "LSTM": [0.1, 0.3, 1.0]}, "step t", "norm of the gradient")
    >>> plot.svg().count("<polyline")
    2
    """

    called = "plot"

    def __init__(self, lines: Mapping[str, Any], across: str = "step t", up: str = "norm of the gradient"):
        self.lines = {name: np.asarray(values, np.float64) for name, values in lines.items()}
        self.across, self.up = across, up
        for name, values in self.lines.items():
            if values.ndim != 1:
                raise ValueError(f"Plot: line {name!r} has shape {values.shape}, expected one value a step")

    def __repr__(self) -> str:
        return f"Plot({', '.join(self.lines)})"

    def content(self) -> tuple[tuple[float, float], Iterable[str]]:
        """The axes, the lines, and their names at the right."""
        names = max((style.text_width(name, 12) for name in self.lines), default=0.0) + 60
        return (WIDTH + names, HEIGHT), self._elements()

    def _elements(self) -> Iterator[str]:
        steps = max([len(v) for v in self.lines.values()] + [2])
        low, high = self._decades()
        yield from self._axes(steps, low, high)
        for k, (name, values) in enumerate(self.lines.items()):
            hue, dash = HUES[k % len(HUES)], DASHES[k % len(DASHES)]
            look = f'fill="none" stroke="{hue}" stroke-width="2.2"' + (f' stroke-dasharray="{dash}"' if dash else "")
            for run in _runs(values):
                points = " ".join(f"{_x(t, steps):.1f},{_y(values[t], low, high):.1f}" for t in run)
                yield f'<polyline points="{points}" {look}/>'
            y = TOP + 14 + 22 * k
            yield f'<line x1="{WIDTH + 8:.0f}" y1="{y:.0f}" x2="{WIDTH + 40:.0f}" y2="{y:.0f}" {look}/>'
            yield f'<text x="{WIDTH + 46:.0f}" y="{y + 4:.0f}">{html.escape(name)}</text>'

    def _decades(self) -> tuple[int, int]:
        """The powers of ten between which all values lie."""
        values = np.concatenate([v[np.isfinite(v) & (v > 0)] for v in self.lines.values()] or [np.ones(1)])
        if not values.size:
            return -1, 0
        low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
        return low, max(high, low + 1)

    def _axes(self, steps: int, low: int, high: int) -> Iterator[str]:
        right, base = WIDTH - 14, HEIGHT - BOTTOM
        for power in range(low, high + 1, max(1, math.ceil((high - low) / 8))):
            y = _y(10.0**power, low, high)
            yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#DDDDDD"/>'
            yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>'
        for t in range(0, steps, _tick(steps - 1)):
            x = _x(t, steps)
            yield f'<line x1="{x:.1f}" y1="{base}" x2="{x:.1f}" y2="{base + 5}" stroke="{style.INK}"/>'
            yield f'<text x="{x:.1f}" y="{base + 19}" text-anchor="middle">{t}</text>'
        yield f'<path d="M{LEFT} {TOP}V{base}H{right}" fill="none" stroke="{style.INK}"/>'
        yield f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 12}" text-anchor="middle">{html.escape(self.across)}</text>'
        middle = (TOP + base) / 2
        yield (
            f'<text x="18" y="{middle}" text-anchor="middle" transform="rotate(-90 18 {middle})">'
            f"{html.escape(self.up)}</text>"
        )


def _tick(span: int) -> int:
    """The distance of ticks on a span, at most nine of them: 1, 2, 5, 10, 20 …"""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if span <= 8 * step:
                return step
        power *= 10


def _x(t: int, steps: int) -> float:
    return LEFT + (WIDTH - 14 - LEFT) * t / (steps - 1)


def _y(value: float, low: int, high: int) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (high - math.log10(value)) / (high - low)


def _runs(values: Any) -> Iterator[list[int]]:
    """Stretches of values that have a logarithm."""
    run: list[int] = []
    for t, value in enumerate(values):
        if np.isfinite(value) and value > 0:
            run.append(t)
        elif run:
            yield run
            run = []
    if run:
        yield run
