"""Drawing: recorded graphs and unrolled recurrent nets as pictures that a person can read.

`draw` shows every op of a graph, `unrolled` a recurrent net with time from left to right, `folded` each cell once with its
state going round, `cell` the inside of one step. `grad_flow` measures the gradient at every step, and `unrolled(loss,
color="grad_norm")` shows it. All but `grad_flow` return a `Drawing`, which shows itself in Jupyter and saves itself as
SVG, PNG, DOT or Mermaid text. `to_html` makes any of
them, or a graph with its values, an interactive page in one file. `gallery` holds the figures that courses draw.

>>> import tinygrad_rnn as tg
>>> from tinygrad_rnn import viz
>>> drawing = viz.unrolled(tg.rnn.LSTMCell(8), steps=(2, 1))
>>> "digraph" in drawing.source
True
"""

from .drawing import Drawing, mimebundle
from .flow import GradFlow, LayerFlow, grad_flow
from .folded import folded
from .inside import cell
from .ops import draw
from .page import to_html
from .plot import Plot
from .unrolled import unrolled

__all__ = [
    "Drawing",
    "GradFlow",
    "LayerFlow",
    "Plot",
    "cell",
    "draw",
    "folded",
    "grad_flow",
    "mimebundle",
    "to_html",
    "unrolled",
]
