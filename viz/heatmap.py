"""A gate, a state or its gradient as a heat map, units by time: an SVG of its own, without the Graphviz program."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .net.measure import Measured
from .scene import style
from .scene.color_scale import round_up
from .write.svg import SvgFigure

NEGATIVE, ZERO, POSITIVE = (213, 94, 0), (255, 255, 255), (0, 114, 178)  # vermilion, white, blue [Okabe & Ito 2008]
BLANK = (190, 190, 190)
MOST_WIDE, MOST_TALL = 900.0, 480.0  # points: of the map
BAR, GAP, LABELS = 16.0, 26.0, 24  # the colour scale's width, the space before it, the most labels along an axis


def heatmap(
    target: Any,
    of: str | None = None,
    *,
    gradient: bool = False,
    row: int | None = 0,
    layer: int | None = None,
    units: Sequence[str] = (),
    steps: Sequence[str] = (),
) -> Heatmap:
    """Draw a gate or state of a run as a heat map: units downwards, time to the right, blue above 0 and vermilion below.

    target: what a run computed (outputs, a state, a loss). of: "h", "c", a gate ("i", "f", "g", "o"; "z", "r", "n"), or any
    name given by rnn.gate; by default h, or else the first state. gradient: of a loss, d loss / d of it instead. row: which
    of the batch, or None for the mean over those that run at each step; past a row's length the map is grey. layer: its
    number from the bottom; by default the top one that has the name. units, steps: texts along the axes, such as words.

    Raises ValueError for names that no layer has, TypeError where nothing was recorded, GraphError after a backward pass.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> outputs, _ = tg.rnn.dynamic_rnn(tg.rnn.LSTMCell(4), np.ones((2, 6, 3), np.float32), sequence_length=[6, 4])
    >>> viz.heatmap(outputs, of="f"), viz.heatmap((outputs**2).sum(), of="c", gradient=True, row=1)
    (Heatmap('f': 4 units, 6 steps), Heatmap('d loss / d c': 4 units, 6 steps))
    """
    measured = Measured(target, "heatmap")
    if gradient:
        measured.sweep()
    names = [name for named in measured.named for name in named]
    of = of or ("h" if "h" in names else next(iter(names), "h"))
    values = measured.over_time(measured.layer(of, layer), of, gradient)
    if row is not None and not -len(values) <= row < len(values):
        raise ValueError(f"heatmap: row is {row}, expected less than {len(values)}, the batch")
    if row is None:
        counts = np.isfinite(values).sum(axis=0)
        shown = np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
    else:
        shown = values[row]
    return Heatmap(shown.reshape(len(shown), -1).T, f"d loss / d {of}" if gradient else of, units, steps)


class Heatmap(SvgFigure):
    """A heat map of values (units, T): `.svg()` is its text, `.save(path)` writes it; Jupyter shows it by itself.

    >>> from tinygrad_rnn import viz
    >>> picture = viz.Heatmap([[0.1, 0.9], [0.5, 0.5]], "attention", units=["le", "chat"], steps=["the", "cat"])
    >>> [text in picture.svg() for text in ("chat", "cat", "attention")]
    [True, True, True]
    """

    called = "heat map"

    def __init__(self, values: Any, title: str = "", units: Sequence[str] = (), steps: Sequence[str] = ()):
        self.values: npt.NDArray[np.float64] = np.asarray(values, np.float64)
        self.title, self.units, self.steps = title, list(units), list(steps)
        if self.values.ndim != 2 or not self.values.size:
            raise ValueError(f"Heatmap: values have shape {self.values.shape}, expected (units, T), none of them 0")
        for name, texts, size in (
            ("units", self.units, self.values.shape[0]),
            ("steps", self.steps, self.values.shape[1]),
        ):
            if texts and len(texts) != size:
                raise ValueError(f"Heatmap: {name} has {len(texts)} texts, expected {size}")

    @property
    def limit(self) -> float:
        """The end of the colour scale: 1, 2 or 5 times a power of ten."""
        finite = np.abs(self.values[np.isfinite(self.values)])
        largest = float(finite.max(initial=0.0))
        return round_up(largest) if largest > 0 else 1.0

    def __repr__(self) -> str:
        units, steps = self.values.shape
        return f"Heatmap({self.title!r}: {units} unit{'s' * (units != 1)}, {steps} step{'s' * (steps != 1)})"

    def colours(self) -> npt.NDArray[np.uint8]:
        """The colour of every value, (units, T, 3)."""
        part = np.clip(np.nan_to_num(self.values / self.limit), -1, 1)[..., None]
        ends = np.where(part < 0, NEGATIVE, POSITIVE)
        mixed = np.array(ZERO) + (ends - np.array(ZERO)) * np.abs(part)
        mixed[~np.isfinite(self.values)] = BLANK
        rounded: npt.NDArray[np.uint8] = mixed.round().astype(np.uint8)
        return rounded

    def content(self) -> tuple[tuple[float, float], Iterable[str]]:
        """The map between its axes, and the colour scale."""
        units, steps = self.values.shape
        wide = min(max(steps * 26.0, 160.0), max(MOST_WIDE, steps * 1.0))
        tall = min(max(units * 20.0, 100.0), max(MOST_TALL, units * 1.0))
        left = 34.0 + max((style.text_width(style.shown(text, 24)) for text in self.units), default=24.0)
        slanted = any(style.text_width(text) > wide / steps for text in self.steps)
        longest = max((style.text_width(style.shown(text, 24)) for text in self.steps), default=0.0)
        bottom = 22.0 + longest * 0.75 if slanted else 24.0 if self.steps else 40.0
        least = np.nanmin(self.values) if np.isfinite(self.values).any() else 0.0
        marks = [self.limit, 0.0, *([-self.limit] if least < 0 else [])]
        right = GAP + BAR + 14 + max(style.text_width(f"{mark:g}") for mark in marks)
        size = left + wide + right, 34.0 + tall + bottom
        return size, self._elements(left, wide, tall, slanted, marks)

    def _elements(self, left: float, wide: float, tall: float, slanted: bool, marks: list[float]) -> Iterator[str]:
        units, steps = self.values.shape
        yield f'<text x="{left:.0f}" y="20" font-weight="bold">{html.escape(self.title)}</text>'
        yield _image(self.colours(), left, 34.0, wide, tall)
        yield f'<rect x="{left}" y="34" width="{wide}" height="{tall}" fill="none" stroke="#777777"/>'
        for unit in range(0, units, max(1, -(-units // LABELS))):
            y, text = 34.0 + tall * (unit + 0.5) / units + 4, self.units[unit] if self.units else str(unit)
            yield f'<text x="{left - 8:.1f}" y="{y:.1f}" text-anchor="end">{html.escape(style.shown(text, 24))}</text>'
        for t in range(0, steps, max(1, -(-steps // LABELS))):
            x, y, text = left + wide * (t + 0.5) / steps, 34.0 + tall + 16, self.steps[t] if self.steps else str(t)
            turned = f'text-anchor="end" transform="rotate(-45 {x:.1f} {y:.1f})"' if slanted else 'text-anchor="middle"'
            yield f'<text x="{x:.1f}" y="{y:.1f}" {turned}>{html.escape(style.shown(text, 24))}</text>'
        if not self.steps:
            yield f'<text x="{left + wide / 2:.1f}" y="{34 + tall + 34:.1f}" text-anchor="middle">step t</text>'
        yield from self._scale(left + wide + GAP, tall, marks)

    def _scale(self, x: float, tall: float, marks: list[float]) -> Iterator[str]:
        """The colour scale at the right, with its numbers."""
        ramp = Heatmap(np.linspace(marks[0], marks[-1], 64)[:, None])
        yield _image(ramp.colours(), x, 34.0, BAR, tall)
        yield f'<rect x="{x:.1f}" y="34" width="{BAR}" height="{tall}" fill="none" stroke="#777777"/>'
        for k, mark in enumerate(marks):
            y = 34.0 + tall * k / (len(marks) - 1) + (10 if k == 0 else 4 if k < len(marks) - 1 else -1)
            yield f'<text x="{x + BAR + 6:.1f}" y="{y:.1f}">{mark:g}</text>'


def _image(colours: npt.NDArray[np.uint8], x: float, y: float, wide: float, tall: float) -> str:
    """Colours (rows, columns, 3) as an image in an SVG, two pixels a point: programs that smooth images blur no cell."""
    down, across = (
        max(1, round(2 * points / count)) for points, count in zip((tall, wide), colours.shape, strict=False)
    )
    colours = colours.repeat(down, axis=0).repeat(across, axis=1)
    rows, columns, _ = colours.shape
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), colours.reshape(rows, -1)], axis=1)  # 0: no filter

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{tall:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="data:image/png;base64,{base64.b64encode(png).decode()}"/>'
    )
