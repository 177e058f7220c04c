"""How things look: the hues of Okabe & Ito [2008], which colour-blind readers tell apart, and shapes that differ besides.

Every picture stands on a white page of its own, so it reads the same on light and dark pages.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

FONT = "Helvetica"
FONT_SIZE = 12.0
SMALL = 10.0
INK = "#222222"


class Look(NamedTuple):
    """Fill, line and shape of a node or box, and the style words of DOT."""

    fill: str
    line: str
    shape: str = "box"
    style: str = "rounded,filled"


ROLES = {
    "op": Look("#FFFFFF", "#555555"),
    "state": Look("#CDEBE0", "#00795A", "ellipse", "filled"),
    "output": Look("#F8DCCB", "#B84F00", "ellipse", "filled"),
    "parameter": Look("#FBE3B0", "#A86F00", "box", "filled"),
    "input": Look("#D3EAF8", "#0072B2", "ellipse", "filled"),
    "constant": Look("#EEEEEE", "#777777", "ellipse", "filled,dashed"),
    "cell": Look("#FFF8CC", "#7A6A00"),
    "fused": Look("#FFF8CC", "#7A6A00"),
    "point": Look("#F8DCCB", "#B84F00", "ellipse", "filled"),
    "squash": Look("#FFF8CC", "#7A6A00"),
    "each": Look("#F3E1EC", "#9B4F80"),
    "group": Look("#F3E1EC", "#9B4F80"),
    "text": Look("#FFFFFF", "#FFFFFF", "plaintext", ""),
    "swatch": Look("#FFFFFF", "#777777", "box", "filled"),
    "delay": Look("#DDDDDD", "#222222", "box", "filled"),
    "more": Look("#FFFFFF", "#777777", "box", "rounded,filled,dashed"),
}

EDGES = {  # colour, width, style
    "data": ("#444444", 1.0, "solid"),
    "state": ("#00795A", 2.0, "solid"),
    "memory": ("#0072B2", 2.0, "solid"),
    "weight": ("#A86F00", 1.0, "dashed"),
    "constant": ("#777777", 1.0, "dashed"),
}

BOXES = {
    "scope": Look("#00000008", "#999999", "box", "rounded,filled"),
    "inside": Look("#F4F6F8", "#7A8490", "box", "rounded,filled"),
    "gate": Look("#E9EDF1", "#B8C0C8", "box", "rounded,filled"),
    "step": Look("#F4F6F8", "#B8C0C8", "box", "rounded,filled"),
}

MEANINGS = {  # of roles, in the order of a legend
    "input": "input",
    "parameter": "weights",
    "constant": "constant",
    "state": "state",
    "output": "output",
    "cell": "cell",
    "fused": "several operations in one",
    "each": "work at every step, without a state",
    "group": "work on several steps at once",
    "op": "operation",
    "squash": "activation function",
    "point": "element by element",
    "delay": "delay of one step",
    "more": "steps left out",
}
ARROW_MEANINGS = {
    "data": "value",
    "state": "state h, to the next step",
    "memory": "memory c, to the next step",
    "weight": "weights",
    "constant": "constant",
}

_NARROW = set("iljtfrI.,:;'|!()[]{}/ ₀₁₂₃₄₅₆₇₈₉₋")
_WIDE = set("mwMW@×…<>")
_SUBSCRIPTS = str.maketrans("0123456789-+", "₀₁₂₃₄₅₆₇₈₉₋₊")


def state_role(name: str) -> str:
    """The role of a state's arrow: the memory of an LSTM is called c, whoever wrote the cell."""
    return "memory" if name == "c" else "state"


def subscript(name: str, index: int | str) -> str:
    """
    >>> subscript("h", 12), subscript("x", -1)
    ('h₁₂', 'x₋₁')
    """
    return name + str(index).translate(_SUBSCRIPTS)


def text_width(text: str, size: float = FONT_SIZE) -> float:
    """About how wide a line of text is, in points: on the safe side for the sans-serif fonts that viewers put in."""
    ems = 0.0
    for c in text:
        if unicodedata.east_asian_width(c) in "WF":
            ems += 1.0
        elif c in _NARROW:
            ems += 0.38
        elif c in _WIDE:
            ems += 0.95
        else:
            ems += 0.72 if c.isupper() else 0.61
    return ems * size


def fitting_size(lines: tuple[str, ...], shape: str) -> tuple[float, float]:
    """Width and height, in points, of a shape that holds these lines."""
    wide = max(map(text_width, lines), default=0.0)
    tall = len(lines) * FONT_SIZE * 1.2
    if shape == "ellipse":
        return max(wide * 1.2 + 14, 40.0), max(tall * 1.3 + 8, 30.0)
    return max(wide + 18, 36.0), max(tall + 10, 26.0)


def shape_text(shape: tuple[int, ...]) -> str:
    """
    >>> shape_text((3, 4)), shape_text((3,)), shape_text(())
    ('(3, 4)', '(3)', 'scalar')
    """
    return f"({', '.join(map(str, shape))})" if shape else "scalar"


class Labels(NamedTuple):
    """Which facts labels show beside names."""

    shapes: bool = True
    dtypes: bool = False
    legend: bool = False

    def of(self, shape: tuple[int, ...], dtype: str) -> tuple[str, ...]:
        """
        >>> Labels().of((2, 3), "float32"), Labels(dtypes=True).of((2, 3), "float32")
        (('(2, 3)',), ('(2, 3)', 'float32'))
        """
        return (*([shape_text(shape)] if self.shapes else []), *([dtype] if self.dtypes else []))


def no_wider_than_page(svg: str) -> str:
    """An SVG that shrinks to the width of the page it is shown on."""
    return svg.replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)


def shown(text: str, limit: int = 60) -> str:
    """A name as one line of a label: control characters as escapes, cut in the middle where it is too long."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return line if len(line) <= limit else f"{line[: limit // 2]}…{line[-limit // 2 + 1 :]}"


def fitted(text: str, wide: float) -> str:
    """
    >>> fitted("basic_rnn_cell", 92.0), fitted("layer_norm_lstm_cell", 92.0)
    ('basic_rnn_cell', 'layer_…_cell')
    """
    line, limit = shown(text), 60
    while text_width(line) > wide and limit > 3:
        limit -= 1
        line = shown(text, limit)
    return line
