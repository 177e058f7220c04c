"""Layers that are not recurrent: Linear, Embedding, LayerNorm, Dropout, Sequential and ModuleList."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from .. import checks, ops
from ..autodiff.state import generator
from ..autodiff.tensor import Tensor
from ..initializers import RandomNormal, RandomUniform
from ..module import Module, Parameter
from ..ops.index import rows_of
from ..rnn.layer_norm import normalized
from ..rnn.stepper import new_stepper


class Linear(Module):
    """A linear map with a bias: y = x Wᵀ + b.

    x (..., in_features), y (..., out_features); weight (out_features, in_features), bias (out_features) or None. Both
    are initially uniform on ±1/√in_features, as in PyTorch. seed: a generator or an integer, else the default generator.
    Raises ValueError for sizes below 1 and for another last axis of x, TypeError for an x of another dtype.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.Linear(3, 2)
    >>> layer(tg.tensor([[1.0, 2.0, 3.0]])).shape, list(layer.state_dict())
    ((1, 2), ['weight', 'bias'])
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        self.in_features = checks.integer("Linear", "in_features", in_features)
        self.out_features = checks.integer("Linear", "out_features", out_features)
        dtype = floating_dtype("Linear", dtype)
        limit = 1 / float(np.sqrt(self.in_features))
        draw = RandomUniform(-limit, limit, generator(seed))
        self.weight = Parameter(draw((self.out_features, self.in_features), dtype), name="weight")
        self.bias = Parameter(draw((self.out_features,), dtype), name="bias") if bias else None

    def forward(self, x: Any) -> Tensor:
        x = checked_input("Linear", x, self.weight.dtype)
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"Linear: x has shape {x.shape}, expected (..., {self.in_features}) for in_features={self.in_features}"
            )
        y: Tensor = ops.linear(x, self.weight, self.bias, transposed=True)
        return y

    def describe(self) -> str:
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """A table of vectors indexed by integers: y[...] = weight[indices[...]].

    indices (...) integers from 0 to num_embeddings − 1, y (..., embedding_dim); weight (num_embeddings, embedding_dim),
    initially normal(0, 1) as in PyTorch. The gradient of a row is summed over all its occurrences; the row padding_idx is
    initially 0 and gets no gradient. With sparse=True the gradient of the table is a RowGradient, which holds only the rows
    that were looked up, and an optimiser updates only these: SGD without momentum and weight decay gives the same result;
    Adam, RMSprop and momentum update their moments of a row only when it is looked up, as PyTorch's SparseAdam.
    Raises IndexError that names the first index out of range, TypeError for indices that are not integers.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Embedding(5, 3)([[0, 4], [2, 2]]).shape
    (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        sparse: bool = False,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        self.num_embeddings = checks.integer("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = checks.integer("Embedding", "embedding_dim", embedding_dim)
        draw = RandomNormal(0.0, 1.0, generator(seed))
        shape = (self.num_embeddings, self.embedding_dim)
        table = draw(shape, floating_dtype("Embedding", dtype))
        self.padding_idx = padding_idx
        if padding_idx is not None:
            if not checks.is_integer(padding_idx) or not -self.num_embeddings <= padding_idx < self.num_embeddings:
                raise ValueError(f"Embedding: padding_idx is {padding_idx!r}, expected a row of {self.num_embeddings}")
            self.padding_idx = int(padding_idx) % self.num_embeddings
            table[self.padding_idx] = 0
        self.weight = Parameter(table, name="weight")
        self.sparse = bool(sparse)

    def forward(self, indices: Any) -> Tensor:
        y = look_up("Embedding", self.weight, indices, "num_embeddings", self.sparse)
        if self.padding_idx is None:
            return y
        padding = np.asarray(indices.data if isinstance(indices, Tensor) else indices) == self.padding_idx
        result: Tensor = ops.where(padding[..., None], y.detach(), y)
        return result

    def looked_up(self) -> tuple[Parameter, int]:
        """For `rnn.stepper`: the table and the smallest valid index."""
        return self.weight, 0

    def describe(self) -> str:
        tail = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        if self.sparse:
            tail += ", sparse=True"
        return f"{self.num_embeddings}, {self.embedding_dim}{tail}"


def look_up(owner: str, table: Tensor, indices: Any, rows: str, sparse: bool = False) -> Tensor:
    """table[indices], with a check of the indices; `rows`: the owner's name for the number of rows, for the error."""
    try:
        array = np.asarray(indices.data if isinstance(indices, Tensor) else indices)
    except ValueError as error:
        raise ValueError(
            f"{owner}: indices is a {type(indices).__name__} whose rows have different lengths, expected an array of integers; "
            f"tg.data.pad(indices) pads them and returns the lengths ({error})"
        ) from None
    size = table.shape[0]
    if array.dtype.kind not in "iu":
        raise TypeError(f"{owner}: indices have dtype {array.dtype}, expected integers from 0 to {size - 1}")
    if array.size and (array.min() < 0 or array.max() >= size):
        at = tuple(int(i) for i in np.argwhere((array < 0) | (array >= size))[0])
        where = f"indices[{', '.join(map(str, at))}]" if at else "the index"
        raise IndexError(f"{owner}: {where} is {array[at]}, expected 0 <= index < {size} ({rows})")
    result: Tensor = rows_of(table, index=array) if sparse else ops.take(table, array, axis=0)
    return result


class LayerNorm(Module):
    """Layer normalization [Ba, Kiros & Hinton 2016]: y = (x − mean) / √(var + eps) · weight + bias.

    Mean and (biased) variance are computed over the last axes, those of normalized_shape.
    x and y (..., *normalized_shape); weight and bias have shape normalized_shape and are initially 1 and 0.
    Raises ValueError if x does not end in normalized_shape, TypeError for an x of another dtype.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.LayerNorm(2)(tg.tensor([[1.0, 3.0]])).data.round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, normalized_shape: int | tuple[int, ...], eps: float = 1e-5, *, dtype: Any = np.float32):
        shape = normalized_shape if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
        self.normalized_shape = tuple(checks.integer("LayerNorm", "normalized_shape", n) for n in shape)
        if not self.normalized_shape:
            raise ValueError("LayerNorm: normalized_shape is (), expected at least one axis")
        if not eps >= 0:
            raise ValueError(f"LayerNorm: eps is {eps!r}, expected a number >= 0")
        self.eps = float(eps)
        dtype = floating_dtype("LayerNorm", dtype)
        self.weight = Parameter(np.ones(self.normalized_shape, dtype), name="weight")
        self.bias = Parameter(np.zeros(self.normalized_shape, dtype), name="bias")

    def forward(self, x: Any) -> Tensor:
        x = checked_input("LayerNorm", x, self.weight.dtype)
        n = len(self.normalized_shape)
        if x.shape[max(0, x.ndim - n) :] != self.normalized_shape:
            expected = ", ".join(["...", *map(str, self.normalized_shape)])
            raise ValueError(f"LayerNorm: x has shape {x.shape}, expected ({expected})")
        axes = tuple(range(x.ndim - n, x.ndim))
        result: Tensor = normalized(x, axes, self.eps) * self.weight + self.bias
        return result

    def describe(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


class Dropout(Module):
    """Dropout [Srivastava et al. 2014]: in training each element is 0 with probability p, else divided by 1 − p.

    x and y (...). In evaluation mode (module.eval(), or `with tg.training(False)`) y is x. seed: a generator or an
    integer, else the default generator. Raises ValueError unless 0 <= p <= 1.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.Dropout(0.5, seed=0).eval()
    >>> layer(tg.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def __init__(self, p: float = 0.5, *, seed: Any = None):
        self.p = checks.probability("Dropout", "p", p, meaning="the chance that an element is dropped")
        self.rng = None if seed is None else generator(seed)

    def forward(self, inputs: Any) -> Tensor:
        x = as_tensor(inputs)
        if x.dtype.kind != "f":
            raise TypeError(f"Dropout: x has dtype {x.dtype}, expected floats; use x.astype(np.float32)")
        if self.p == 0 or not self.training:
            return x
        kept = generator(self.rng).random(x.shape, np.float32) >= self.p
        scale = 1 / (1 - self.p) if self.p < 1 else 0.0
        result: Tensor = x * np.multiply(kept, scale, dtype=x.dtype)
        return result

    def describe(self) -> str:
        return f"{self.p}"


class Sequential(Module):
    """Modules (and functions of a tensor) one after another: y = fₙ(… f₂(f₁(x))).

    Parameters are named by position, as in PyTorch: "0.weight". Indexing and len work as on a list.
    Raises TypeError for an argument that cannot be called.

    >>> import tinygrad_rnn as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.tanh, tg.nn.Linear(4, 1))
    >>> net(tg.tensor([[1.0, 2.0, 3.0]])).shape, list(net.state_dict())
    ((1, 1), ['0.weight', '0.bias', '2.weight', '2.bias'])
    """

    def __init__(self, *steps: Callable[..., Any]):
        for i, step in enumerate(steps):
            if not callable(step) or isinstance(step, type):
                what = f"the class {step.__name__}" if isinstance(step, type) else f"{type(step).__name__} {step!r:.60}"
                raise TypeError(f"Sequential: argument {i} is {what}, expected a module or a function of a tensor")
            setattr(self, str(i), step)
        self.length = len(steps)

    def forward(self, x: Any) -> Any:
        for step in self:
            x = step(x)
        return x

    def streamed(self) -> list[Any]:
        """For `rnn.stepper`: the modules; a function after a recurrent layer gets a pair, as in `forward`."""
        steps: list[Any] = list(self)
        for i, (before, step) in enumerate(pairwise(self)):
            if hasattr(before, "batch_first") and not isinstance(step, Module):
                steps[i + 1] = partial(_of_pair, step, before.batch_first)
        return steps

    def stepper(self, batch: int = 1) -> Any:
        """This net for streaming, in inference mode: `step(x)` takes an array (B, D); see rnn.stepper.

        Raises ValueError for a net whose output differs between single steps and a sequence.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> net = tg.nn.Sequential(tg.nn.LSTM(3, 8), lambda pair: pair[0], tg.nn.Linear(8, 2))
        >>> net.stepper().step(np.ones((1, 3), np.float32)).shape
        (1, 2)
        """
        batch_first = all(getattr(step, "batch_first", True) for step in self)

        def sequence(x: Tensor) -> Tensor:
            y: Tensor = self(x if batch_first else ops.swapaxes(x, axis1=0, axis2=1))
            return y if batch_first or y.ndim < 3 else ops.swapaxes(y, axis1=0, axis2=1)

        return new_stepper((self,), batch, reference=sequence)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Callable[..., Any]]:
        return (self[i] for i in range(self.length))

    def __getitem__(self, index: int) -> Callable[..., Any]:
        if not -self.length <= index < self.length:
            raise IndexError(f"Sequential: index is {index}, expected -{self.length} <= index < {self.length}")
        step: Callable[..., Any] = getattr(self, str(index % self.length))
        return step


def _of_pair(f: Callable[..., Any], batch_first: bool, x: Tensor) -> Tensor:
    """Apply f to the result of a recurrent layer for one step, (output, None)."""
    y: Tensor = f((ops.expand_dims(x, axis=1) if batch_first else x, None))
    return y[:, 0] if y.ndim == 3 else y


class ModuleList(Module):
    """A list of modules, whose parameters are named by position: "layers.0.weight".

    A plain list as an attribute works too; this is PyTorch's name for it. Indexing, len, iteration and `append` work as on
    a list. Raises TypeError for an entry that is not a module.

    >>> import tinygrad_rnn as tg
    >>> layers = tg.nn.ModuleList(tg.nn.Linear(2, 2) for _ in range(2))
    >>> len(layers), list(layers.state_dict())
    (2, ['0.weight', '0.bias', '1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Module] = ()):
        self.length = 0
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Append a module; returns the list."""
        if not isinstance(module, Module):
            raise TypeError(f"ModuleList: module {self.length} is {type(module).__name__}, expected a Module")
        setattr(self, str(self.length), module)
        self.length += 1
        return self

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(self.length))

    def __getitem__(self, index: int) -> Any:
        if not -self.length <= index < self.length:
            raise IndexError(f"ModuleList: index is {index}, expected -{self.length} <= index < {self.length}")
        return getattr(self, str(index % self.length))


def floating_dtype(owner: str, dtype: Any) -> np.dtype[Any]:
    """float32 or float64; TypeError for another dtype."""
    dtype_: np.dtype[Any] = np.dtype(dtype)
    if dtype_ not in (np.float32, np.float64):
        raise TypeError(f"{owner}: dtype is {dtype_}, expected float32 or float64")
    return dtype_


def checked_input(owner: str, value: Any, dtype: Any) -> Tensor:
    """The input as a tensor of the layer's dtype."""
    x = as_tensor(value)
    if x.dtype != dtype:
        remedy = f"x.astype(np.{dtype})" + (f" or layer.astype(np.{x.dtype})" if x.dtype.kind == "f" else "")
        raise TypeError(f"{owner}: x has dtype {x.dtype}, the layer's parameters {dtype}; use {remedy}")
    return x


def as_tensor(x: Any) -> Tensor:
    """x as a tensor; a tensor is returned as it is."""
    return x if isinstance(x, Tensor) else Tensor(x)
