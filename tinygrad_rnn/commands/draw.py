"""Draw a cell, a net, or a figure of the gallery."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import textwrap
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from .. import ops, rnn
from ..autodiff.tensor import Tensor
from . import Usage, near, positive

CELLS: dict[str, tuple[str, Callable[[int], rnn.RNNCell]]] = {
    "rnn": ("the plain recurrent cell", rnn.BasicRNNCell),
    "lstm": ("the LSTM cell", rnn.LSTMCell),
    "gru": ("the GRU cell, as in TensorFlow 1 and the 2014 paper", rnn.GRUCell),
    "gru_reset_after": ("the GRU cell, as in Keras, PyTorch and cuDNN", lambda n: rnn.GRUCell(n, reset_after=True)),
    "layer_norm_lstm": ("the LSTM cell with layer normalization", rnn.LayerNormLSTMCell),
}
VIEWS = {
    "cell": "the inside of one step",
    "folded": "each cell once, its state going round",
    "unrolled": "time from left to right",
    "ops": "every op",
}
EXAMPLES = """examples:
  python -m tinygrad_rnn draw lstm
  python -m tinygrad_rnn draw gru --view unrolled --steps 2,1 --length 100 -o gru.png
  python -m tinygrad_rnn draw lstm --layers 2 --bidirectional --view unrolled
  python -m tinygrad_rnn draw rnn --view ops -o - | dot -Tpdf > rnn.pdf
  python -m tinygrad_rnn draw encoder_decoder -o seq2seq.svg"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("name", nargs="?", help="a cell or a figure of the gallery; --list names them")
    parser.add_argument("--view", choices=VIEWS, help="; ".join(f"{k}: {v}" for k, v in VIEWS.items()))
    parser.add_argument("--steps", type=_steps, metavar="N or A,B", help="steps to draw, or the first A and the last B")
    parser.add_argument("--length", type=positive, metavar="T", help="how many steps there are in all")
    parser.add_argument("--units", type=positive, default=8, metavar="H", help="units of the cell (default: 8)")
    parser.add_argument("--layers", type=positive, default=1, metavar="N", help="stack this many (default: 1)")
    parser.add_argument("--bidirectional", action="store_true", help="one net forward, one backward in time")
    parser.add_argument("-o", "--output", metavar="FILE", help=".svg .png .pdf .html .dot .mmd; - writes DOT text")
    parser.add_argument("--list", action="store_true", help="the names of what can be drawn")
    parser.add_argument("--json", action="store_true", help="with --list: as JSON; else tell the file written as JSON")
    parser.epilog = EXAMPLES


def run(options: argparse.Namespace) -> int:
    """Draw and print the name of the file written; 1 if there was a warning, such as a format that is not available."""
    _viz()
    gallery = import_module("tinygrad_rnn.commands.gallery")
    figures: dict[str, Any] = {**gallery.FIGURES, **gallery.PLOTS}
    if options.list:
        _list(figures, options.json)
        return 0
    if options.name is None:
        raise Usage("the name of a cell or figure is missing; --list shows their names")
    name = options.name.replace("-", "_")
    if name in CELLS:
        view = options.view or "cell"
        drawing, stem = _cell(name, view, options), f"{name}_{view}"
    elif name in figures:
        _refuse_for_figure(name, options)
        drawing, stem = figures[name](), name
    else:
        raise Usage(
            f"{options.name!r} is neither a cell nor a figure; --list shows their names{near(name, [*CELLS, *figures])}"
        )
    if options.output == "-":
        print(getattr(drawing, "source", None) or drawing.svg(), end="")  # a plot has no DOT source: print SVG
        return 0
    return _write(drawing, options.output or f"{stem}.svg", options.json)


def _viz() -> Any:
    """tinygrad_rnn.viz; the package raises an error with the install command if it is missing."""
    return import_module("tinygrad_rnn").viz


def _write(drawing: Any, path: str, as_json: bool) -> int:
    with warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        written: Path = drawing.save(path)
    print(json.dumps({"file": str(written), "bytes": written.stat().st_size}) if as_json else written)
    for warning in messages:
        print(f"python -m tinygrad_rnn draw: {warning.message}", file=sys.stderr)
    return 1 if messages else 0


def _cell(name: str, view: str, options: argparse.Namespace) -> Any:
    """The drawing of a cell, a stack of it, or two of them in both directions."""
    viz = _viz()
    if options.steps is not None and view not in ("unrolled", "ops"):
        raise Usage(f"--steps goes with --view unrolled or ops, not with --view {view}")
    if options.length is not None and view != "unrolled":
        raise Usage(f"--length goes with --view unrolled, not with --view {view}")
    if view == "cell":
        if options.layers > 1 or options.bidirectional:
            raise Usage("--layers and --bidirectional go with --view folded, unrolled or ops")
        return viz.cell(CELLS[name][1](options.units))
    if view == "ops" or options.bidirectional:
        return _ran(viz, name, view, options)
    cell = _stack(name, options)
    return viz.folded(cell) if view == "folded" else viz.unrolled(cell, options.steps or 3, length=options.length)


def _ran(viz: Any, name: str, view: str, options: argparse.Namespace) -> Any:
    """The drawing of an output of the driver."""
    steps = options.steps or 3
    drawn_steps = sum(steps) if isinstance(steps, tuple) else steps
    length = options.length or (drawn_steps + 3 if view == "unrolled" and isinstance(steps, tuple) else drawn_steps)
    if length < drawn_steps:
        raise Usage(f"--length is {length}, expected at least the {drawn_steps} steps to draw")
    x = Tensor(np.zeros((2, length, 5), np.float32), name="x")
    impl = "unrolled" if view == "ops" else "auto"
    if options.bidirectional:
        pair, _ = rnn.bidirectional_dynamic_rnn(_stack(name, options), _stack(name, options), x, impl=impl)
        outputs = ops.concatenate(pair, axis=-1)
    else:
        outputs, _ = rnn.dynamic_rnn(_stack(name, options), x, impl=impl)
    if view == "ops":
        return viz.draw(outputs)
    return viz.folded(outputs) if view == "folded" else viz.unrolled(outputs, steps)


def _stack(name: str, options: argparse.Namespace) -> rnn.RNNCell:
    make = CELLS[name][1]
    cells = [make(options.units) for _ in range(options.layers)]
    return cells[0] if len(cells) == 1 else rnn.MultiRNNCell(cells)


def _refuse_for_figure(name: str, options: argparse.Namespace) -> None:
    """Raise Usage for options that do not apply to a figure of the gallery."""
    ignored = [f"--{k}" for k in ("view", "steps", "length") if getattr(options, k) is not None]
    ignored += ["--layers"] * (options.layers > 1) + ["--bidirectional"] * options.bidirectional
    if ignored:
        raise Usage(f"{name} is a figure of the gallery, which has no options: {', '.join(ignored)} cannot be used")


def _list(figures: dict[str, Any], as_json: bool) -> None:
    cells = {name: text for name, (text, _) in CELLS.items()}
    drawn = {name: (inspect.getdoc(make) or "").split("\n")[0] for name, make in figures.items()}
    if as_json:
        print(json.dumps({"cells": cells, "views": VIEWS, "figures": drawn}))
        return
    width = max(map(len, [*cells, *drawn]))
    for title, group in (("cells, drawn with --view cell, folded, unrolled or ops", cells), ("figures", drawn)):
        print(title)
        for name, text in group.items():
            print(textwrap.fill(text, 79, initial_indent=f"  {name:<{width}}  ", subsequent_indent=" " * (width + 4)))


def _steps(text: str) -> int | tuple[int, int]:
    counts = text.split(",")
    if len(counts) == 2 and all(p.strip().isdecimal() for p in counts) and int(counts[0]) + int(counts[1]):
        return int(counts[0]), int(counts[1])
    if len(counts) == 1 and text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither a number of steps nor a pair such as 2,1")
