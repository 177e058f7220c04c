"""tinygrad_rnn: a graph-based automatic differentiation mini-framework for recurrent networks."""

from . import autodiff, data, errors, initializers, nn, optim, rnn, train
from .autodiff.functional import grad, hvp, jacobian, jvp
from .autodiff.gradcheck import gradcheck, gradgradcheck
from .autodiff.graph import snapshot
from .autodiff.op import operations, primitive
from .autodiff.state import no_grad, scope, seed, training
from .autodiff.tensor import Tensor, tensor
from .checkpoint import load, save
from .errors import CheckpointError, DrawingError, GradcheckError, GraphError
from .kernels import get_num_threads, set_num_threads
from .module import Module, Parameter
from .ops import *

__version__ = "0.1.0"
