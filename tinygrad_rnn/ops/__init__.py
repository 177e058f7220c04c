"""The primitives. Each op is one block: forward, vjp, label, samples (autodiff/op.py explains how to read one).

In reading order: pointwise, linalg, reduce, shape, index and joining have what a recurrent network needs; loss and recurrent
have the fused ops; logic and select have comparisons and choices. The others complete NumPy's functions: arithmetic,
trigonometric, special, rearranging, diagonals, decompositions (tg.linalg). options: NumPy's further options.
"""

from typing import Any

from ..autodiff.node import owners
from ..autodiff.tensor import Tensor, registry
from ..kernels import training
from . import (
    arithmetic,
    diagonals,
    index,
    joining,
    linalg,
    logic,
    loss,
    pointwise,
    rearranging,
    reduce,
    shape,
    special,
    trigonometric,
)
from . import (
    options as options,
)
from . import select as choices  # the function `select` hides the module of that name
from .arithmetic import *
from .diagonals import *
from .index import *
from .index import getitem as getitem
from .index import reverse_sequence as reverse_sequence
from .index import scatter_add as scatter_add
from .joining import *
from .linalg import *
from .linalg import linear as linear
from .logic import *
from .loss import *
from .pointwise import *
from .rearranging import *
from .rearranging import reorder_blocks as reorder_blocks
from .recurrent import gru_sequence as gru_sequence
from .recurrent import lstm_sequence as lstm_sequence
from .recurrent import rnn_sequence as rnn_sequence
from .reduce import *
from .select import *
from .shape import *
from .special import *
from .trigonometric import *

__all__ = ["concat", "permute_dims"]
__all__ += arithmetic.__all__
__all__ += diagonals.__all__
__all__ += index.__all__
__all__ += joining.__all__
__all__ += linalg.__all__
__all__ += logic.__all__
__all__ += loss.__all__
__all__ += pointwise.__all__
__all__ += rearranging.__all__
__all__ += reduce.__all__
__all__ += choices.__all__
__all__ += shape.__all__
__all__ += special.__all__
__all__ += trigonometric.__all__

permute_dims, concat = transpose, concatenate  # the array standard's names


def _many(op: Any) -> Any:
    """A method whose option may be a tuple or separate arguments, like ndarray.reshape."""

    def method(self: Tensor, *values: Any) -> Tensor:
        value = values[0] if len(values) == 1 and not isinstance(values[0], int) else values
        result: Tensor = op(self, value) if values else op(self)
        return result

    method.__name__, method.__doc__ = op.name, op.__doc__
    return method


for _name in ("sum", "mean", "var", "max", "min", "prod", "cumsum", "swapaxes", "squeeze", "clip", "astype"):
    setattr(Tensor, _name, registry[_name])
for _name, _f in {
    "ravel": flatten,
    **{f.__name__: f for f in (flatten, repeat, take, dot, std, diagonal, trace)},
}.items():
    setattr(Tensor, _name, _f)

for _op in (reshape, transpose):
    setattr(Tensor, _op.name, _many(_op))

owners.update(training.OWNERS)
