"""Modules: objects with parameters. Cells, wrappers and layers are all Modules.

A module's parameters and submodules are its attributes (also inside lists, tuples and dicts); the path of attribute names
is the name in `state_dict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np

from .autodiff.node import Leaf
from .autodiff.state import Scope, ambient
from .autodiff.tensor import Tensor


class Parameter(Tensor):
    """A trainable tensor: a leaf that requires grad.

    >>> import tinygrad_rnn as tg
    >>> tg.Parameter([1.0, 2.0], name="w")
    Parameter([1., 2.], float32, requires_grad=True, name='w')
    """

    __slots__ = ()
    _role = "parameter"

    def __init__(self, data: Any, dtype: Any = None, name: str | None = None):
        super().__init__(data, dtype, requires_grad=True, name=name)


class Module:
    """Base of objects with parameters. Subclasses set Parameters and Modules as attributes and define `forward`.

    >>> import tinygrad_rnn as tg
    >>> class Scale(tg.Module):
    ...     def __init__(self):
    ...         self.factor = tg.Parameter([2.0])
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> model = Scale()
    >>> model(tg.tensor([3.0])).tolist(), list(model.state_dict())
    ([6.0], ['factor'])
    """

    _training = True  # set by train and eval
    dtype: Any = None  # of a module that was built for one dtype
    built_from = "input_size"  # the argument of `build`, for a module that is built at its first call

    @property
    def built(self) -> bool:
        """False for a module that creates its parameters at the first call and has not been called."""
        return True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output. Subclasses define it; users call module(x), which also opens a scope."""
        raise TypeError(f"{type(self).__name__} defines no forward(...) to be called")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = ambient.set(ambient.get().within(Scope(self.scope_name)))  # quicker than `with scope(...)`
        try:
            return self.forward(*args, **kwargs)
        finally:
            ambient.reset(token)

    @property
    def scope_name(self) -> str:
        """The name of this module in graphs: its `name`, else its class in snake case."""
        name = getattr(self, "name", None)
        return name if isinstance(name, str) else snake_case(type(self).__name__)

    # -- the tree --------------------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules, with their paths."""
        for path, value in _items(vars(self)):
            if isinstance(value, Module):
                yield path, value

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all submodules, each once, with their paths."""
        seen: set[int] = set()
        work: list[tuple[str, Module]] = [(prefix, self)]
        while work:
            path, module = work.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                inside = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
                work.extend(reversed(inside))

    def modules(self) -> Iterator[Module]:
        """This module and all submodules, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters, each once (a shared one under its first path), with their paths."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            if not module.built:
                raise ValueError(
                    f"{path or module.scope_name} has no parameters yet: it is built at the first call, when it sees the "
                    f"size of its input. Call it once, or {module.scope_name}.build({module.built_from}), and ask again"
                )
            for name, value in _items(vars(module)):
                if isinstance(value, Parameter) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def parameters(self) -> list[Parameter]:
        """All parameters, each once."""
        return [p for _, p in self.named_parameters()]

    def count_parameters(self) -> int:
        """The number of elements of all parameters."""
        return sum(p.size for p in self.parameters())

    # -- training mode ---------------------------------------------------------------------------------------------

    @property
    def training(self) -> bool:
        """Whether the module is in training mode: `eval` was not called, and no `with tg.training(False)` is open."""
        return self._training and ambient.get().training

    @training.setter
    def training(self, mode: bool) -> None:
        """Set the mode of this module alone; `train` and `eval` also set that of its submodules."""
        self._training = bool(mode)

    def train(self, mode: bool = True) -> Any:
        """Set training mode for this module and all submodules; returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Any:
        """`train(False)`: no dropout, no noise."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set the `.grad` of all parameters to None."""
        for p in self.parameters():
            p.grad = None

    def astype(self, dtype: Any) -> Any:
        """Convert every parameter to another floating dtype, in place; returns the module."""
        target = np.dtype(dtype)
        if target not in (np.float32, np.float64):
            raise TypeError(f"astype: got {target}, expected float32 or float64")
        for p in self.parameters():
            p.data = p.data.astype(target)
            p._node = Leaf(p.shape, p.dtype, p.requires_grad, p.name, "parameter")
        for module in self.modules():
            if module.dtype is not None:
                module.dtype = target
        return self

    # -- state -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray[Any, Any]]:
        """The parameters' arrays by path. They are not copies, but training does not change them."""
        return {path: p.data for path, p in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Set every parameter from arrays by path; modules that are not built yet are built for their shapes.

        Tensors of other libraries are accepted. strict=False ignores missing and unexpected entries. Raises ValueError
        that lists the entries that are missing, unexpected or of another shape, TypeError if state is not a dict of
        arrays; the module is then unchanged.

        >>> import tinygrad_rnn as tg
        >>> layer = tg.nn.Linear(2, 1)
        >>> layer.load_state_dict({"weight": [[1.0, 2.0]], "bias": [0.5], "ghost": [0.0]})
        Traceback (most recent call last):
        ValueError: load_state_dict: the state does not fit Linear: unexpected ghost (1,)
        >>> layer.load_state_dict({"weight": [[1.0, 2.0]]}, strict=False)
        >>> layer.weight.tolist()
        [[1.0, 2.0]]
        """
        arrays = _arrays(state)
        fresh = [(f"{path}." if path else "", m) for path, m in self.named_modules() if not m.built]
        try:
            for prefix, module in fresh:
                module.build_from({k[len(prefix) :]: a for k, a in arrays.items() if k.startswith(prefix)})
            parameters = dict(self.named_parameters())
            faults = [f"missing {k} {p.shape}" for k, p in parameters.items() if strict and k not in arrays]
            faults += [f"unexpected {k} {a.shape}" for k, a in arrays.items() if strict and k not in parameters]
            for k, a in ((k, a) for k, a in arrays.items() if k in parameters):
                if a.shape != parameters[k].shape:
                    faults.append(f"{k} has shape {a.shape}, expected {parameters[k].shape}")
                if a.dtype.kind != "f":
                    faults.append(f"{k} has dtype {a.dtype}, expected floats")
            if faults:
                raise ValueError(f"load_state_dict: the state does not fit {type(self).__name__}: " + "; ".join(faults))
        except BaseException:
            for _, module in fresh:
                module.unbuild()
            raise
        for path, p in parameters.items():
            if path in arrays:
                p.data = np.array(arrays[path], p.dtype, order="C")

    def build_from(self, arrays: Mapping[str, Any]) -> None:
        """Build a module for the shapes of the arrays to be loaded."""

    def unbuild(self) -> None:
        """Undo `build_from`."""

    # -- display ---------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """The constructor's arguments, for the repr."""
        return ""

    def __repr__(self) -> str:
        head = f"{type(self).__name__}({self.describe()}"
        children = list(self.named_children())
        if not children:
            return head + ")"
        lines = [f"  ({path}): {child!r}".replace("\n", "\n  ") for path, child in children]
        return head + "\n" + "\n".join(lines) + "\n)"


def _arrays(state: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A state dict as arrays by path."""
    if not isinstance(state, Mapping):
        hint = "; give its state_dict()" if isinstance(state, Module) else ""
        raise TypeError(f"load_state_dict: state is {type(state).__name__}, expected a dict of arrays by path{hint}")
    arrays = {}
    for path, value in state.items():
        try:
            arrays[path] = np.asarray(value.data if isinstance(value, Tensor) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"load_state_dict: {path} cannot be converted to an array of numbers: {error}") from None
    return arrays


def _items(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Attributes and the elements of lists, tuples and dicts among them, with their paths."""
    for name, value in attributes.items():
        if isinstance(value, (list, tuple)):
            yield from ((f"{name}.{i}", v) for i, v in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{name}.{k}", v) for k, v in value.items())
        else:
            yield name, value


@cache
def snake_case(name: str) -> str:
    """
    >>> snake_case("BasicRNNCell"), snake_case("LSTMCell")
    ('basic_rnn_cell', 'lstm_cell')
    """
    out = ""
    for i, c in enumerate(name):
        starts = c.isupper() and i and (not name[i - 1].isupper() or (i + 1 < len(name) and name[i + 1].islower()))
        out += ("_" if starts else "") + c.lower()
    return out
