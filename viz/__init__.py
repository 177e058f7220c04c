"""Drawing: recorded graphs and unrolled recurrent nets as pictures that a person can read.

`draw` shows every op of a graph, `unrolled` a recurrent net with time from left to right. Both return a `Drawing`, which
shows itself in Jupyter and saves itself as SVG, PNG or DOT text.

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
from .plot import Plot
from .unrolled import unrolled

__all__ = ["Drawing", "GradFlow", "LayerFlow", "Plot", "cell", "draw", "folded", "grad_flow", "mimebundle", "unrolled"]
