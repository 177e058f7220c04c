"""PyTorch's names for methods of tensors, functions that create tensors, and a few modules.

All of PyTorch's aliases are in this file. `import tinygrad_rnn.nn` attaches the methods; the functions are tg.cat,
tg.zeros and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..autodiff.state import generator, seed
from ..autodiff.tensor import Tensor
from ..module import Module
from ..optim import Optimizer
from .basics import as_tensor
from .losses import Loss

NO_GPU = "this package computes on the CPU: leave out .cuda(), .to('cuda') and device='cuda'"
DTYPES = {"float32": np.float32, "float": np.float32, "float64": np.float64, "double": np.float64, "long": np.int64}
DTYPES |= {"int32": np.int32, "int": np.int32, "int64": np.int64}
cuda = SimpleNamespace(is_available=lambda: False)
float32, float64, int32, int64, long = np.float32, np.float64, np.int32, np.int64, np.int64


# -- creating tensors --------------------------------------------------------------------------------------------------


def _shape(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def _new(data: Any, dtype: Any, requires_grad: bool, device: Any) -> Tensor:
    _on_cpu(device)
    return Tensor(data, np.float32 if dtype is None else dtype, requires_grad)


def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of zeros: zeros(2, 3) or zeros((2, 3)).

    >>> import tinygrad_rnn as tg
    >>> tg.zeros(2).tolist(), tg.ones((1, 2), requires_grad=True).shape
    ([0.0, 0.0], (1, 2))
    """
    return _new(np.zeros(_shape(size)), dtype, requires_grad, device)


def ones(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of ones; arguments as for zeros."""
    return _new(np.ones(_shape(size)), dtype, requires_grad, device)


def randn(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of normal numbers, from the default generator (tg.seed, tg.manual_seed)."""
    return _new(generator(None).normal(size=_shape(size)), dtype, requires_grad, device)


def rand(*size: Any, dtype: Any = None, requires_grad: bool = False, device: Any = None) -> Tensor:
    """A tensor of numbers uniform on [0, 1), from the default generator."""
    return _new(generator(None).random(_shape(size)), dtype, requires_grad, device)


def manual_seed(number: int) -> None:
    """tg.seed: seeds the default generator."""
    seed(number)


def cat(tensors: Any, dim: int = 0) -> Tensor:
    """tg.concatenate with PyTorch's argument `dim`.

    >>> import tinygrad_rnn as tg
    >>> tg.cat([tg.ones(1, 2), tg.zeros(1, 2)], dim=1).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    result: Tensor = ops.concatenate(list(tensors), axis=dim)
    return result


def from_numpy(array: Any) -> Tensor:
    """A tensor with a copy of an array."""
    return Tensor(array)


def device(name: str) -> str:
    """The name of the device, which is "cpu". Raises ValueError for another."""
    _on_cpu(name)
    return "cpu"


def _on_cpu(device: Any) -> None:
    if device is not None and str(device).partition(":")[0] != "cpu":
        raise ValueError(f"device is {str(device)!r}: {NO_GPU}")


# -- methods of tensors ------------------------------------------------------------------------------------------------


class ValuesAndIndices(NamedTuple):
    """The result of x.max(dim=) and x.min(dim=): the values and their indices."""

    values: Any
    indices: Any


def _view(x: Tensor, *shape: Any) -> Tensor:
    result: Tensor = ops.reshape(x, shape=_shape(shape))
    return result


def _permute(x: Tensor, *dims: Any) -> Tensor:
    result: Tensor = ops.transpose(x, axes=_shape(dims))
    return result


def _expand(x: Tensor, *shape: Any) -> Tensor:
    target = _shape(shape)
    old = (1,) * (len(target) - x.ndim) + x.shape
    result: Tensor = ops.broadcast_to(x, shape=tuple(n if m == -1 else m for m, n in zip(target, old, strict=True)))
    return result


def _to(x: Any, *where: Any, device: Any = None, dtype: Any = None, **_: Any) -> Any:
    """The tensor or module itself, in another dtype if one is among the arguments; ValueError for a device but the CPU."""
    for argument in (*where, device, dtype):
        if isinstance(argument, Tensor):
            argument = argument.dtype
        if isinstance(argument, (type, np.dtype)):
            x = x.astype(argument)
        elif argument is not None and not isinstance(argument, bool):
            _on_cpu(argument)
    return x


def _cuda(x: Any, *_: Any, **__: Any) -> Any:
    """Raise ValueError: only the CPU is supported."""
    raise ValueError(NO_GPU)


def _itself(x: Any, *_: Any, **__: Any) -> Any:
    """Return the object itself."""
    return x


def _masked_fill(x: Tensor, mask: Any, value: Any) -> Tensor:
    result: Tensor = ops.where(np.asarray(mask.data if isinstance(mask, Tensor) else mask, bool), value, x)
    return result


def _chunk(x: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    size = -(-x.shape[dim] // chunks)
    return tuple(ops.split(x, list(range(size, x.shape[dim], size)), axis=dim))


def _requires_grad(x: Any, requires_grad: bool = True) -> Any:
    """Set requires_grad of a leaf, or of every parameter of a module; returns the tensor or module."""
    if isinstance(x, Module):
        for p in x.parameters():
            _requires_grad(p, requires_grad)
    else:
        x.requires_grad = requires_grad
    return x


def _option(dim: Any, options: dict[str, Any]) -> dict[str, Any]:
    """PyTorch's dim= and keepdim= as NumPy's axis= and keepdims=."""
    if "keepdim" in options:
        options["keepdims"] = options.pop("keepdim")
    return options | ({} if dim is None else {"axis": tuple(dim) if isinstance(dim, list) else dim})


def _with_dim(name: str, numpys: Callable[..., Any]) -> Callable[..., Any]:
    """A method that also takes dim= and keepdim=; with dim=, max and min return PyTorch's pair, var and std divide by n − 1."""

    def method(x: Tensor, *arguments: Any, dim: Any = None, **options: Any) -> Any:
        options = _option(dim, options)
        if name in ("var", "std") and (dim is not None or {"unbiased", "correction"} & set(options)):
            unbiased = options.pop("unbiased", True)  # PyTorch's default
            options["ddof"] = options.pop("correction", int(unbiased))
        result = numpys(x, *arguments, **options)
        if name in ("max", "min") and dim is not None:
            indices = getattr(x.data, f"arg{name}")(axis=dim, keepdims=options.get("keepdims", False))
            return ValuesAndIndices(result, indices)
        return result

    method.__name__, method.__doc__ = name, numpys.__doc__
    return method


def _transpose(numpys: Callable[..., Any]) -> Callable[..., Any]:
    def transpose(x: Tensor, *axes: Any, **options: Any) -> Any:
        if len(axes) == 2 and x.ndim > 2:  # PyTorch's transpose(dim0, dim1), an error in NumPy
            return ops.swapaxes(x, axis1=axes[0], axis2=axes[1])
        return numpys(x, *axes, **options)

    transpose.__doc__ = numpys.__doc__
    return transpose


_PLAIN = (
    "exp",
    "log",
    "sqrt",
    "tanh",
    "sigmoid",
    "relu",
    "square",
    "abs",
    "sign",
    "floor",
    "sin",
    "cos",
    "log1p",
    "expm1",
)
METHODS: dict[str, Callable[..., Any]] = {
    **{name: getattr(ops, name) for name in _PLAIN},
    **{
        name: (lambda x, d=dtype: x.astype(d))
        for name, dtype in DTYPES.items()
        if name in ("float", "double", "long", "int")
    },
    "add": lambda x, other, alpha=1: x + other * alpha if alpha != 1 else x + other,
    "bmm": lambda x, other: x @ other,
    "chunk": _chunk,
    "clamp": lambda x, min=None, max=None: ops.clip(x, min=min, max=max),
    "clone": lambda x: x * 1 if x.requires_grad else Tensor(x.data),
    "contiguous": _itself,
    "cpu": _itself,
    "cuda": _cuda,
    "dim": lambda x: x.ndim,
    "div": lambda x, other: x / other,
    "expand": _expand,
    "log_softmax": lambda x, dim=-1: ops.log_softmax(x, axis=dim),
    "masked_fill": _masked_fill,
    "matmul": lambda x, other: x @ other,
    "mm": lambda x, other: x @ other,
    "mul": lambda x, other: x * other,
    "numel": lambda x: x.size,
    "permute": _permute,
    "pow": lambda x, exponent: x**exponent,
    "requires_grad_": _requires_grad,
    "softmax": lambda x, dim=-1: ops.softmax(x, axis=dim),
    "sub": lambda x, other: x - other,
    "t": lambda x: x.T,
    "to": _to,
    "unbind": lambda x, dim=0: tuple(ops.unstack(x, axis=dim)),
    "unsqueeze": lambda x, dim: ops.expand_dims(x, axis=dim),
    "view": _view,
}


# -- modules and optimisers --------------------------------------------------------------------------------------------


class Buffer(Tensor):
    """A tensor that is saved with a module but not trained; created by `register_buffer`."""

    __slots__ = ()


def _register_buffer(module: Module, name: str, tensor: Any, persistent: bool = True) -> None:
    """Store a constant under a name; it is part of state_dict unless persistent=False."""
    buffer = None if tensor is None else as_tensor(tensor).detach()
    if buffer is not None and persistent:
        buffer = Buffer(buffer.data)
    setattr(module, name, buffer)


def _named_buffers(module: Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers that are saved, with their paths."""
    for path, submodule in module.named_modules():
        for name, value in vars(submodule).items():
            if isinstance(value, Buffer):
                yield f"{path}.{name}" if path else name, value


_parameters_state, _load_parameters = Module.state_dict, Module.load_state_dict


def _state_dict(module: Module) -> dict[str, Any]:
    """The arrays of parameters and buffers by path. They are not copies, but training does not change them."""
    return _parameters_state(module) | {path: buffer.data for path, buffer in _named_buffers(module)}


def _load_state_dict(module: Module, state: Mapping[str, Any], strict: bool = True) -> None:
    """Set every parameter and buffer from arrays by path, as Module.load_state_dict does for parameters."""
    buffers = dict(_named_buffers(module))
    if not buffers or not isinstance(state, Mapping):
        return _load_parameters(module, state, strict)
    arrays = {path: np.asarray(getattr(state[path], "data", state[path])) for path in buffers if path in state}
    errors = [f"missing {path} {b.shape}" for path, b in buffers.items() if strict and path not in arrays]
    errors += [
        f"{k} has shape {a.shape}, expected {buffers[k].shape}"
        for k, a in arrays.items()
        if a.shape != buffers[k].shape
    ]
    if errors:
        raise ValueError(f"load_state_dict: the state does not fit {type(module).__name__}: " + "; ".join(errors))
    _load_parameters(module, {k: v for k, v in state.items() if k not in buffers}, strict)
    for path, array in arrays.items():
        buffers[path].data = array.astype(buffers[path].dtype)


def _zero_grad(owner: Any, set_to_none: bool = True) -> None:
    """Set the gradient of every parameter to None; with set_to_none=False, existing gradients to zeros."""
    for p in owner.params if isinstance(owner, Optimizer) else owner.parameters():
        p.grad = None if set_to_none or p.grad is None else np.zeros_like(p.grad)


def _apply(module: Module, function: Callable[[Module], Any]) -> Module:
    """Call a function with every submodule, innermost first, and this module; returns the module."""
    for submodule in reversed(list(module.modules())):
        function(submodule)
    return module


def _buffers(module: Module) -> list[Tensor]:
    """The buffers that are saved."""
    return [buffer for _, buffer in _named_buffers(module)]


def _children(module: Module) -> Iterator[Module]:
    """The modules directly inside this one."""
    return (child for _, child in module.named_children())


def _double(module: Module) -> Any:
    """Convert every parameter to float64, in place; returns the module."""
    return module.astype(np.float64)


def _float(module: Module) -> Any:
    """Convert every parameter to float32, in place; returns the module."""
    return module.astype(np.float32)


OF_MODULES: dict[str, Callable[..., Any]] = {
    "apply": _apply,
    "buffers": _buffers,
    "children": _children,
    "cpu": _itself,
    "cuda": _cuda,
    "double": _double,
    "float": _float,
    "load_state_dict": _load_state_dict,
    "named_buffers": _named_buffers,
    "register_buffer": _register_buffer,
    "requires_grad_": _requires_grad,
    "state_dict": _state_dict,
    "to": _to,
    "zero_grad": _zero_grad,
}


def _attach() -> None:
    """Attach PyTorch's methods to tensors, modules and optimisers. Existing methods keep their meaning."""
    for name in (
        "sum",
        "mean",
        "var",
        "std",
        "prod",
        "max",
        "min",
        "cumsum",
        "squeeze",
        "argmax",
        "argmin",
        "any",
        "all",
    ):
        setattr(Tensor, name, _with_dim(name, getattr(Tensor, name)))
    setattr(Tensor, "transpose", _transpose(Tensor.transpose))  # noqa: B010
    for name, method in METHODS.items():
        method.__doc__ = method.__doc__ or f"PyTorch's tensor.{name}."
        if not hasattr(Tensor, name):
            setattr(Tensor, name, method)
    for name, method in OF_MODULES.items():
        setattr(Module, name, method)
    setattr(Optimizer, "zero_grad", _zero_grad)  # noqa: B010


_attach()


class Identity(Module):
    """y = x; all constructor arguments are ignored.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Identity(54)(tg.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, *_: Any, **__: Any):
        pass

    def forward(self, x: Any) -> Any:
        return x


class ModuleDict(Module):
    """A dict of modules, whose parameters are named "encoder.weight". Indexing, len, in, keys, values and items as for a dict.

    Raises TypeError for a value that is not a module.

    >>> import tinygrad_rnn as tg
    >>> nets = tg.nn.ModuleDict({"a": tg.nn.Linear(2, 2), "b": tg.nn.Identity()})
    >>> list(nets), list(nets.state_dict())
    (['a', 'b'], ['a.weight', 'a.bias'])
    """

    def __init__(self, modules: Mapping[str, Module] | None = None):
        self.names: list[str] = []
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"ModuleDict: {name!r} is {type(module).__name__}, expected a Module")
        if name not in self.names:
            if hasattr(self, name):
                raise KeyError(f"ModuleDict: {name!r} is an attribute of ModuleDict; use another name")
            self.names.append(name)
        setattr(self, name, module)

    def __getitem__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(f"ModuleDict: there is no {name!r}, only {', '.join(self.names)}")
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def keys(self) -> list[str]:
        """The names, in order of insertion."""
        return list(self.names)

    def values(self) -> list[Any]:
        """The modules, in order of insertion."""
        return [self[name] for name in self.names]

    def items(self) -> list[tuple[str, Any]]:
        """Names and modules."""
        return [(name, self[name]) for name in self.names]


class L1Loss(Loss):
    """|input − target|, reduced by "mean", "sum" or "none"; both have the same shape, without broadcasting.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.L1Loss()(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0])).item()
    1.0
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        x, y = as_tensor(input), as_tensor(target)
        if x.shape != y.shape:
            raise ValueError(f"L1Loss: input has shape {x.shape} and target {y.shape}, expected the same")
        losses: Tensor = ops.abs(x - y)
        if self.reduction == "none":
            return losses
        return losses.mean() if self.reduction == "mean" else losses.sum()
