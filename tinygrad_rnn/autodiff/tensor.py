"""Tensor: an array and its node in the graph.

Operators and methods look up their op by name in the registry, because ops import tensors. NumPy's functions use the same
registry through the array protocols; a function without an op raises TypeError instead of dropping the gradient.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from . import engine
from .node import DType, Edge, Leaf, Shape, may_overwrite
from .sparse import RowGradient
from .state import ambient

if TYPE_CHECKING:
    import numpy.typing as npt

    from .op import Op

_accumulating = allocate_lock()  # protects the gradients of leaves
LONG = 60  # elements; longer arrays are shown shortened
registry: dict[str, Op] = {}
_ops = cast("dict[str, Callable[..., Tensor]]", registry)
numpy_functions: dict[Callable[..., Any], Callable[..., Any]] = {}  # filled by the declarations of ops
data_functions: set[
    Callable[..., Any]
] = {  # functions without a gradient, computed on the data; they return plain arrays
    *(np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort),
    *(np.allclose, np.isclose, np.array_equal, np.array_equiv, np.zeros_like, np.ones_like),
    *(np.empty_like, np.full_like, np.any, np.all, np.nonzero, np.count_nonzero, np.argwhere, np.flatnonzero),
    *(np.result_type, np.can_cast, np.may_share_memory, np.shares_memory, np.array_repr, np.array_str, np.array2string),
    *(np.isreal, np.iscomplex, np.isrealobj, np.iscomplexobj, np.searchsorted, np.bincount, np.unique, np.histogram),
    *(np.save, np.savetxt),
}
instead = {  # replacements for functions without an op, for the error message
    "np.average": "(x * weights).sum() / weights.sum()",
    "np.nansum": "tg.nan_to_num(x).sum()",
    "np.ptp": "x.max() - x.min()",
    "np.linalg.eig": "tg.linalg.eigh for symmetric matrices, tensors hold no complex numbers",
    **{f"np.{name}": "x itself, tensors hold no complex numbers" for name in ("conjugate", "real", "real_if_close")},
}


def _operators(name: str) -> tuple[Callable[[Tensor, Any], Tensor], ...]:
    """The methods for t ∘ x, x ∘ t and t ∘= x, which look up their op when called.

    t ∘= x binds t to a new tensor; but under no_grad a leaf that requires grad stays the same tensor and gets new data, for
    training loops written by hand.
    """

    def left(self: Tensor, other: Any) -> Tensor:
        return _ops[name](self, other)

    def right(self: Tensor, other: Any) -> Tensor:
        return _ops[name](other, self)

    def in_place(self: Tensor, other: Any) -> Tensor:
        result = _ops[name](self, other)
        if not self.requires_grad or not self.is_leaf or ambient.get().recording:
            return result
        if result.shape != self.shape:
            raise ValueError(f"{name}: in place the result must keep the shape {self.shape}, it has {result.shape}")
        self.data = result.data.astype(self.dtype, copy=False)
        return self

    return left, right, in_place


class Tensor:
    """An n-dimensional array that records the computations on it, for reverse-mode differentiation.

    Created by `tg.tensor`. `.data` is the ndarray; `.backward()` adds to the `.grad` of leaves that require grad, until it
    is set to None. Writing to `.data` is not checked: an array that an op has used must not change. The same holds for
    ndarray operands, which are not copied: in y = t * a, the gradient uses a as it is at the time of backward.
    Under no_grad `t -= step` sets new `.data` of a leaf that requires grad; otherwise it binds t to a new tensor.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.], dtype=float32)
    """

    __slots__ = ("_needs", "_node", "data")

    data: npt.NDArray[Any]
    _needs: bool  # requires_grad
    _node: Edge | None
    _role = ""  # of its leaf

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None):
        self.data = as_array(data, dtype)
        if requires_grad:
            _check_floating(self.data)
        self._needs = bool(requires_grad)
        named = requires_grad or name
        self._node = Leaf(self.data.shape, self.data.dtype, self._needs, name, self._role) if named else None

    @staticmethod
    def _from_array(data: npt.NDArray[Any], node: Edge | None) -> Tensor:
        """A tensor for the result of an op, without copying."""
        t = _new(Tensor)
        t.data = data
        t._node = node
        t._needs = node is not None and node.requires_grad
        return t

    # -- attributes ------------------------------------------------------------------------------------------------

    def _require_grad(self, value: bool) -> None:
        value = bool(value)
        if value is self._needs:
            return
        if not self.is_leaf:
            raise ValueError("requires_grad: the tensor was made by an op; use .detach() for a constant")
        if value:
            _check_floating(self.data)
        leaf = self._node if isinstance(self._node, Leaf) else Leaf(self.shape, self.dtype, False, role=self._role)
        self._node, self._needs = leaf.switched(value), value

    requires_grad: bool = property(  # type: ignore[assignment]
        attrgetter("_needs"),
        _require_grad,
        doc="Whether gradients flow to this tensor. It may be set for leaves, to freeze parameters; what counts for an op is "
        "its value when the op is called.",
    )

    @property
    def shape(self) -> Shape:
        """The size of each axis."""
        return self.data.shape

    @property
    def dtype(self) -> DType:
        """The type of the elements, as a NumPy dtype."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.data.size

    @property
    def T(self) -> Tensor:  # NumPy's name
        """The transpose: all axes in reverse order."""
        return _ops["transpose"](self)

    @property
    def is_leaf(self) -> bool:
        """True if this tensor is not the result of a recorded op."""
        return self._node is None or isinstance(self._node, Leaf)

    @property
    def name(self) -> str | None:
        """The name used by drawings and messages, or None."""
        return None if self._node is None else self._node.name

    @name.setter
    def name(self, name: str | None) -> None:
        if self._node is None:
            self._node = Leaf(self.data.shape, self.data.dtype, False)
        self._node.name = name

    @property
    def grad(self) -> npt.NDArray[Any] | None:
        """The gradient accumulated by `.backward()`; only leaves have one. For the table of an Embedding with sparse=True it
        is a RowGradient, which np.asarray turns into an array."""
        gradient = self._node.grad if isinstance(self._node, Leaf) else None
        if gradient is not None and gradient.shape != self.data.shape:
            raise ValueError(reshaped("grad", self))
        return gradient

    @grad.setter
    def grad(self, value: npt.NDArray[Any] | None) -> None:
        if not isinstance(self._node, Leaf) or not (self._needs or value is None):
            raise TypeError("grad: only a leaf tensor that requires grad keeps a gradient; use tg.grad for others")
        if value is not None:
            value = value if isinstance(value, RowGradient) else np.asarray(value, self.dtype)
            if value.shape != self.shape:
                raise ValueError(f"grad: got shape {value.shape}, expected the tensor's shape {self.shape} or None")
        self._node.grad = value

    def item(self) -> Any:
        """The value of a tensor of size 1, as a Python number."""
        return self.data.item()

    def numpy(self) -> npt.NDArray[Any]:
        """The data as an ndarray (not a copy). A tensor that requires grad must be detached first."""
        return self.__array__()

    def detach(self) -> Tensor:
        """The same data as a constant: no gradient flows back through the result."""
        return _ops["detach"](self)

    def tolist(self) -> Any:
        """The data as nested Python lists."""
        return self.data.tolist()

    def backward(self, grad: Any = None, retain_graph: bool = False) -> None:
        """Add d self / d leaf, times `grad`, to the `.grad` of every leaf that requires grad.

        `grad` (the cotangent, of self's shape) may be omitted for a tensor of size 1. The graph's saved arrays are freed
        unless retain_graph. Threads may run backward concurrently on separate graphs with the same leaves. Raises
        GraphError on a freed graph, TypeError if nothing requires grad.
        """
        add_gradients(engine.sweep([self._seed(grad, "backward")], retain=retain_graph))

    def _seed(self, grad: Any, caller: str) -> tuple[Edge, npt.NDArray[Any]]:
        """The start of a sweep: this tensor's edge and its checked cotangent."""
        if not self.requires_grad or self._node is None:
            raise TypeError(
                f"{caller}: the tensor does not require grad: no input had requires_grad=True, or it was computed under "
                "no_grad or detached"
            )
        if grad is None:
            if self.data.size != 1:
                raise ValueError(
                    f"{caller}: the tensor has shape {self.shape}; without a grad argument it must have one element. "
                    "Reduce it (.sum()) or pass the cotangent, an array of the same shape"
                )
            return self._node, np.ones_like(self.data)
        g = np.asarray(grad.data if isinstance(grad, Tensor) else grad, self.dtype)
        if g.shape != self.shape:
            raise ValueError(f"{caller}: grad has shape {g.shape}, expected the tensor's shape {self.shape}")
        return self._node, g

    # -- NumPy's protocols -----------------------------------------------------------------------------------------

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if self.requires_grad:
            raise TypeError(
                "a tensor that requires grad does not turn into an ndarray by itself, that would drop its graph: "
                "use .detach().numpy(), or .data for the raw array; tg.stack joins a list of tensors, tg.array a nested one"
            )
        return np.array(self.data, dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        return self.__array__().__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if options.get("out") is not None:
            raise TypeError(
                f"np.{ufunc.__name__}: out= and in-place updates are not supported with tensors, whose arrays never change; "
                "write x = x + y instead of x += y"
            )
        if method == "__call__":
            return self.__array_function__(ufunc, (Tensor,), inputs, options)
        raise TypeError(f"np.{ufunc.__name__}.{method} has no op for tensors; without gradient: .detach().numpy()")

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        op = numpy_functions.get(function)
        if op is not None:
            return op(*args, **options)
        if function in data_functions:
            return function(*data(args), **data(options))
        name = f"{getattr(function, '__module__', 'numpy')}.{function.__name__}".replace("numpy", "np")
        way = f" In its place: {instead[name]}." if name in instead else ""
        raise TypeError(
            f"{name} has no op for tensors.{way} If no gradient is needed, use .detach().numpy(); "
            "the functions with one are listed by tg.operations()"
        )

    # -- operators -------------------------------------------------------------------------------------------------

    __add__, __radd__, __iadd__ = _operators("add")
    __sub__, __rsub__, __isub__ = _operators("subtract")
    __mul__, __rmul__, __imul__ = _operators("multiply")
    __truediv__, __rtruediv__, __itruediv__ = _operators("divide")
    __pow__, __rpow__, __ipow__ = _operators("power")
    __mod__, __rmod__, __imod__ = _operators("remainder")
    __matmul__, __rmatmul__, __imatmul__ = _operators("matmul")

    def __neg__(self) -> Tensor:
        return _ops["negative"](self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return _ops["abs"](self)

    def __getitem__(self, index: Any) -> Tensor:
        return _ops["getitem"](self, index=index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a tensor cannot be assigned into, its array may be needed by the graph: build the result with tg.where, "
            "tg.concatenate or tg.stack, or write into an ndarray before making the tensor"
        )

    def __eq__(self, other: Any) -> Any:
        return _ops["equal"](self, other)

    def __ne__(self, other: Any) -> Any:
        return _ops["not_equal"](self, other)

    def __lt__(self, other: Any) -> Any:
        return _ops["less"](self, other)

    def __le__(self, other: Any) -> Any:
        return _ops["less_equal"](self, other)

    def __gt__(self, other: Any) -> Any:
        return _ops["greater"](self, other)

    def __ge__(self, other: Any) -> Any:
        return _ops["greater_equal"](self, other)

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(_ops["unstack"](self, axis=0))

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        return float(self.data.item())

    def __int__(self) -> int:
        return int(self.data.item())

    def __index__(self) -> int:
        return self.data.__index__()

    def __contains__(self, value: Any) -> bool:
        return bool(data(value) in self.data)

    def __format__(self, spec: str) -> str:
        try:
            return format(self.item(), spec) if spec and self.size == 1 else format(str(self.data), spec)
        except ValueError as error:
            raise ValueError(
                f"format: {spec!r} on a tensor of shape {self.shape}: {error}; try .data.round(3)"
            ) from None

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def __repr__(self) -> str:
        class_name = "tensor" if type(self) is Tensor else type(self).__name__
        body = np.array2string(self.data, separator=", ", prefix=class_name + "(", threshold=LONG, precision=6)
        fields = [body, str(self.dtype)]
        if self.size == 0 or self.size > LONG:
            fields.append(f"shape={self.shape}")
        if self.requires_grad:
            fields.append("requires_grad=True" if self.is_leaf else f"op={_op_name(self._node)}")
        if self.name is not None:
            fields.append(f"name={self.name!r}")
        return f"{class_name}({', '.join(fields)})"

    def __reduce__(self) -> Any:
        if not self.is_leaf:
            raise TypeError(
                f"a tensor made by {_op_name(self._node)} cannot be copied or pickled, its graph would be lost; "
                "use .detach() first"
            )
        return _rebuild, (type(self), self.data, self.requires_grad, self.name)

    # -- ops as methods: attached by tinygrad_rnn.ops --------------------------------------------------------------

    if TYPE_CHECKING:
        sum: Callable[..., Tensor]
        mean: Callable[..., Tensor]
        var: Callable[..., Tensor]
        max: Callable[..., Tensor]
        min: Callable[..., Tensor]
        prod: Callable[..., Tensor]
        cumsum: Callable[..., Tensor]
        reshape: Callable[..., Tensor]
        transpose: Callable[..., Tensor]
        swapaxes: Callable[..., Tensor]
        squeeze: Callable[..., Tensor]
        flatten: Callable[..., Tensor]
        repeat: Callable[..., Tensor]
        take: Callable[..., Tensor]
        clip: Callable[..., Tensor]
        astype: Callable[..., Tensor]
        dot: Callable[..., Tensor]

    def argmax(self, axis: int | None = None) -> Any:
        """Index of the largest value, as a plain array (no gradient)."""
        return self.data.argmax(axis)

    def argmin(self, axis: int | None = None) -> Any:
        """Index of the smallest value, as a plain array (no gradient)."""
        return self.data.argmin(axis)

    def any(self, axis: Any = None) -> Any:
        """Whether any element is true, as a plain value or array."""
        return self.data.any(axis)

    def all(self, axis: Any = None) -> Any:
        """Whether all elements are true, as a plain value or array."""
        return self.data.all(axis)

    def round(self, decimals: int = 0) -> npt.NDArray[Any]:
        """The rounded data, as a plain array (no gradient)."""
        rounded: npt.NDArray[Any] = registry["round"](self, decimals=decimals)
        return rounded


_new = object.__new__


def tensor(data: Any, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested lists, an array or a tensor.

    Arrays keep their dtype; Python floats become float32. Integer and boolean data are constants and cannot require grad.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.tensor([[1.0, 2.0]], name="x")
    tensor([[1., 2.]], float32, name='x')
    >>> tg.tensor(np.arange(3))
    tensor([0, 1, 2], int64)
    """
    return Tensor(data, dtype, requires_grad, name)


def from_dlpack(source: Any) -> Tensor:
    """A constant tensor that shares the memory of another library's CPU array (the DLPack protocol).

    Later changes of that memory are visible in the tensor. np.from_dlpack(t) and torch.from_dlpack(t) accept a tensor that
    does not require grad.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> a = np.zeros(2)
    >>> np.shares_memory(tg.from_dlpack(a).data, a)
    True
    """
    if not hasattr(source, "__dlpack__"):
        raise TypeError(
            f"from_dlpack: source is {type(source).__name__}, expected an array with __dlpack__; use tg.tensor"
        )
    return Tensor._from_array(np.from_dlpack(source), None)


def as_array(data: Any, dtype: Any = None) -> npt.NDArray[Any]:
    """A new array of real numbers from any data that `tensor` accepts."""
    typed = isinstance(data, (np.ndarray, np.generic, Tensor))
    if isinstance(data, np.ndarray) and type(data) is not np.ndarray:
        data = plain(data, "tensor: data")
    try:
        array = np.array(data, dtype, order="C")
    except (ValueError, TypeError) as error:
        hint = "; tg.data.pad(data) pads rows of different lengths" * ("inhomogeneous" in str(error))
        text = f"tensor: data is a {type(data).__name__} from which no array of numbers can be made{hint} ({error})"
        raise type(error)(text) from None
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise TypeError(
            f"tensor: data has dtype {array.dtype}, expected float32, float64, an integer or a boolean dtype; "
            "convert with .astype(np.float32) or pass dtype="
        )
    if not array.dtype.isnative:  # the kernels read numbers in the machine's byte order
        array = array.astype(array.dtype.newbyteorder("="))
    if dtype is None and not typed and array.dtype == np.float64 and not _holds_arrays(data):
        array = array.astype(np.float32)
    return array


def plain(array: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """An array of a subclass of ndarray (np.matrix, whose * is another product, say) as a plain one. Raises TypeError for
    masked elements, which would count."""
    if np.any(getattr(array, "mask", False)):
        raise TypeError(
            f"{what} has masked elements, which would count: use array.filled(value), and a mask of its own"
        )
    return np.asarray(array)


def _holds_arrays(data: Any) -> bool:
    """Whether a nested list holds NumPy values, whose dtype is kept, rather than Python floats."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return isinstance(data, (np.ndarray, np.generic, Tensor))


def add_gradients(gradients: dict[Any, npt.NDArray[Any]]) -> None:
    """Add the result of a sweep to the gradients of leaves. Arrays that nothing else refers to are not copied."""
    with _accumulating:
        for leaf in gradients:
            g, previous = gradients[leaf], leaf.grad
            if isinstance(g, RowGradient) or isinstance(previous, RowGradient):
                leaf.grad = g if previous is None else previous + g
            elif previous is None:
                leaf.grad = g if may_overwrite(g) else np.array(g)
            else:
                leaf.grad = np.asarray(np.add(previous, g, out=previous if may_overwrite(previous) else None))


def holds_tensors(value: Any) -> bool:
    """Whether a (nested) list or tuple contains a tensor."""
    return isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) or holds_tensors(v) for v in value)


def data(value: Any) -> Any:
    """The value with tensors, also inside lists, tuples and dicts, replaced by their arrays."""
    if isinstance(value, Tensor):
        return value.data
    if isinstance(value, (list, tuple)):
        return type(value)(map(data, value)) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {k: data(v) for k, v in value.items()}
    return value


def reshaped(caller: str, tensor: Tensor) -> str:
    """The error for a leaf whose data got another shape: its gradient would have the old one."""
    return (
        f"{caller}: the tensor was made with the shape {getattr(tensor._node, 'shape', ())}, its .data has been given the "
        f"shape {tensor.shape}: gradients do not follow; make a new tg.Parameter, and a new optimiser for it"
    )


def _check_floating(data: npt.NDArray[Any]) -> None:
    """Raise TypeError for data that cannot require grad."""
    if data.dtype.kind != "f":
        raise TypeError(
            f"tensor: requires_grad=True with dtype {data.dtype}: integer and boolean data are constants; "
            "give floating-point data or dtype=np.float32"
        )


def _op_name(node: Any) -> str:
    return str(getattr(node, "node", node).op.name)


def _rebuild(cls: type[Tensor], data: npt.NDArray[Any], requires_grad: bool, name: str | None) -> Tensor:
    t = _new(cls)
    t.data = data
    t._needs = requires_grad
    t._node = Leaf(data.shape, data.dtype, requires_grad, name, cls._role) if requires_grad or name else None
    return t
