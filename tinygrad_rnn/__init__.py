"""tinygrad_rnn: a graph-based automatic differentiation mini-framework for recurrent networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import autodiff, errors, initializers, kernels, linalg, ops, rnn
from .autodiff.op import operations, primitive
from .autodiff.state import no_grad, scope, seed, step, training
from .autodiff.tensor import Tensor, from_dlpack, tensor
from .errors import CheckpointError, DrawingError, GradcheckError, GraphError
from .kernels import get_num_threads, set_num_threads
from .module import Module, Parameter
from .ops import *

__version__ = "0.1.0"
__all__ = [
    "CheckpointError",
    "DrawingError",
    "GradcheckError",
    "GraphError",
    "Module",
    "Parameter",
    "Tensor",
    "autodiff",
    "callbacks",
    "check",
    "data",
    "errors",
    "from_dlpack",
    "fuse",
    "get_num_threads",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "hessian",
    "hvp",
    "initializers",
    "interop",
    "jacobian",
    "jvp",
    "kernels",
    "layers",
    "linalg",
    "load",
    "models",
    "nn",
    "no_grad",
    "operations",
    "ops",
    "optim",
    "parallel",
    "primitive",
    "regularizers",
    "rnn",
    "save",
    "scan",
    "scope",
    "seed",
    "set_num_threads",
    "snapshot",
    "step",
    "tensor",
    "train",
    "training",
    "value_and_grad",
    "viz",
    "vjp",
]
__all__ += ops.__all__
autodiff.op.check_registry()
autodiff.op.late.append("tinygrad_rnn.program.fuse")


if TYPE_CHECKING:
    from . import callbacks, check, data, interop, layers, models, nn, optim, parallel, regularizers, train
    from . import viz as viz  # type: ignore[attr-defined]  # in the source tree a folder beside this one
    from .autodiff.functional import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
    from .autodiff.graph import snapshot
    from .check import gradcheck, gradgradcheck
    from .nn.torch_names import cat as cat
    from .nn.torch_names import cuda as cuda
    from .nn.torch_names import device as device
    from .nn.torch_names import float32 as float32
    from .nn.torch_names import float64 as float64
    from .nn.torch_names import from_numpy as from_numpy
    from .nn.torch_names import long as long
    from .nn.torch_names import manual_seed as manual_seed
    from .nn.torch_names import ones as ones
    from .nn.torch_names import rand as rand
    from .nn.torch_names import randn as randn
    from .nn.torch_names import zeros as zeros
    from .program.fuse import fuse
    from .program.scan import scan
    from .saving import load, save

_MODULES = (
    *("callbacks", "check", "data", "interop", "layers", "models", "nn", "optim", "parallel", "regularizers"),
    *("train", "viz"),
)
_PYTORCHS = (
    *("cat", "cuda", "device", "float32", "float64", "from_numpy", "long", "manual_seed", "ones", "rand", "randn"),
    "zeros",
)
_LAZY = {  # the module that defines a name; it is imported at the first access
    **{name: name for name in _MODULES},
    **dict.fromkeys(("gradcheck", "gradgradcheck"), "check"),
    **dict.fromkeys(("grad", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"), "autodiff.functional"),
    **dict.fromkeys(("load", "save"), "saving"),
    **{"fuse": "program.fuse", "scan": "program.scan", "snapshot": "autodiff.graph"},
    **dict.fromkeys(_PYTORCHS, "nn.torch_names"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'tinygrad_rnn' has no attribute {name!r}")
    try:
        module = import_module(f"tinygrad_rnn.{_LAZY[name]}")
    except ModuleNotFoundError as error:
        if error.name != "tinygrad_rnn.viz":
            raise
        raise ImportError(
            "tinygrad_rnn.viz is not installed: this is the bare source tree, which also has no native kernels. "
            "Install it from the checkout's root with: pip install -e ."
        ) from None
    globals()[name] = value = module if _LAZY[name] == name else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
