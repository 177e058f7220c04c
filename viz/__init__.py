"""Drawing: recorded graphs and unrolled recurrent nets as pictures that a person can read.

`unrolled` draws a recurrent net with time from left to right, `folded` each cell once with its state going round, `cell`
the inside of one step, `draw` every op of a graph. `grad_flow` measures the gradient at every step. Colours show where the
gradient goes, how large states and gates are, and how long ops take. All but `grad_flow` return a `Drawing`, which shows
itself in Jupyter and saves itself as SVG, PNG, PDF, DOT or Mermaid text; `to_html` makes one, or a graph with its values,
an interactive page in one file.

>>> import numpy as np, tinygrad_rnn as tg
>>> from tinygrad_rnn import viz
>>> viz.unrolled(tg.rnn.LSTMCell(8), steps=(2, 1))
Drawing(15 nodes, 17 edges)
>>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.GRUCell(4), np.ones((2, 30, 3), np.float32))
>>> viz.unrolled(outputs, steps=(2, 1), color="activation", of="z")
Drawing(18 nodes, 11 edges)
>>> viz.draw(state), viz.draw(state, opened=True, depth=0)
(Drawing(5 nodes, 4 edges), Drawing(1 node, 0 edges))

The folders are a pipeline. `net` reads a recorded graph: `unfused` opens fused ops, `elide` leaves out the middle steps,
`layers` finds passes over time and layers by their scopes, `steps` what flows along time, `ranks` the work around the steps
and how high each layer stands, `measure` values, gradients and times. `scene` makes nodes, edges and boxes of it, with
coordinates for views over time. `layouts` has the Graphviz program place the others. `write` makes DOT, Mermaid, SVG and the
page of it. The views, beside the folders, join these.
"""

from .attention import attention
from .cell import cell
from .diff import diff
from .flow import GradFlow, LayerFlow, grad_flow
from .folded import folded
from .heatmap import Heatmap, heatmap
from .html import to_html
from .ops import draw, mimebundle
from .plot import Plot
from .unrolled import unrolled
from .write.drawing import Drawing

__all__ = [
    "Drawing",
    "GradFlow",
    "Heatmap",
    "LayerFlow",
    "Plot",
    "attention",
    "cell",
    "diff",
    "draw",
    "folded",
    "grad_flow",
    "heatmap",
    "mimebundle",
    "to_html",
    "unrolled",
]
