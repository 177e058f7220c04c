"""A scan step by step, for steps without a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autodiff import state as recorded
from ..autodiff.state import recording
from ..autodiff.steps import fields_of, name_states
from ..autodiff.tensor import Tensor
from .naming import probe
from .node import Scan, alive_at, in_order_of_time, in_steps, masked
from .tree import form, leaves, rebuilt


def tensor_of(value: Any, name: str) -> Tensor:
    """A leaf of an argument as a tensor; an array is not copied."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return Tensor._from_array(value, None)
    try:
        return Tensor(value)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"scan: {name} is {type(value).__name__}, expected arrays in nested tuples: {error}"
        ) from None


def tensors_of(tree: Any, name: str) -> Any:
    """The tree with tensors as leaves. Lists are read as arrays."""
    if isinstance(tree, tuple):
        parts = [tensors_of(part, f"{name}[{k}]") for k, part in enumerate(tree)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return None if tree is None else tensor_of(tree, name)


def unrolled(
    step: Callable[..., Any],
    xs: Any,
    states: Any,
    constants: tuple[Any, ...],
    run: Scan,
    names: bool,
    checked: Callable[[Any], Any] | None,
) -> tuple[Any, Any, dict[str, Tensor]]:
    """Run one step after the other; `unstack` splits the inputs once."""
    cut, outputs = [in_steps(x, run) for x in leaves(xs)], list[Any]()
    seen: list[dict[str, Any]] = []
    token = probe.set({} if names else None)
    last = run.steps if run.lengths is None else int(run.lengths.max(initial=0))
    try:
        over_time, state_names = recorded.Run(run.reverse, run.lengths), tuple(fields_of(states))
        for t in range(last):
            with recorded.step(t, over_time):
                if names:
                    probe.set({})
                result = step(rebuilt(xs, iter([x[t] for x in cut])), states, *constants)
                if checked is not None and not t:
                    checked(result)
                output, new = checked_result(result, states, t, run.batch)
                state_names = name_states(list(leaves(new)), state_names, list(leaves(states)))
                alive = alive_at(t, run.lengths)
                shown = dict(probe.get() or {})
                if alive is not None:
                    output = rebuilt(output, iter([masked(alive, o, 0) for o in leaves(output)]))
                    new = rebuilt(
                        new, iter([masked(alive, n, o) for n, o in zip(leaves(new), leaves(states), strict=True)])
                    )
                    name_states(list(leaves(new)), state_names)
                    shown = {k: masked(alive, v, 0) for k, v in shown.items()}
                states = new
                outputs.append(output)
                seen.append(shown)
    finally:
        probe.reset(token)
    if not outputs:
        return _no_steps(step, xs, states, constants, run), states, {}
    missing = run.steps - last
    whole = [_over_time(list(some), missing, run) for some in zip(*map(leaves, outputs), strict=True)]
    gates = {name: _over_time([s[name] for s in seen], missing, run) for name in seen[0]}
    return rebuilt(outputs[0], iter(whole)), states, gates


def _over_time(values: list[Any], missing: int, run: Scan) -> Tensor:
    """The results of the steps as one array over time, 0 for steps that no row reached."""
    whole = in_order_of_time(values + [np.zeros(values[0].shape, values[0].dtype)] * missing, run)
    return whole if isinstance(whole, Tensor) else Tensor._from_array(whole, None)


def _no_steps(step: Callable[..., Any], xs: Any, states: Any, constants: tuple[Any, ...], run: Scan) -> Any:
    """Outputs where no step runs: zeros in the shapes that a step on zeros gives."""
    shapes = [(run.batch, *x.shape[2:]) for x in leaves(xs)]
    zeros = rebuilt(
        xs, iter([Tensor._from_array(np.zeros(s, x.dtype), None) for s, x in zip(shapes, leaves(xs), strict=True)])
    )
    with recording(False):
        output, _ = checked_result(step(zeros, states, *constants), states, 0, run.batch)
    steps = (run.steps, run.batch) if run.time_major else (run.batch, run.steps)
    return rebuilt(
        output, iter([Tensor._from_array(np.zeros((*steps, *o.shape[1:]), o.dtype), None) for o in leaves(output)])
    )


def checked_result(result: Any, states: Any, t: int, batch: int) -> tuple[Any, Any]:
    """The result of a step, after a check that it is (output, new state) with a state of the same structure, shapes and
    dtypes."""
    if not isinstance(result, tuple) or len(result) != 2:
        came = f"{type(result).__name__}{f' of {len(result)}' if isinstance(result, tuple) else ''}"
        raise TypeError(f"scan: the step returned {came}, expected the pair (output, new state)")
    output, new = (tensors_of(part, name) for part, name in zip(result, ("the output", "the new state"), strict=True))
    if form(new, []) != form(states, []):
        raise TypeError(
            f"scan: the new state of step {t} is {_shown(new)}, expected the state's structure {_shown(states)}"
        )
    for a, b in zip(leaves(new), leaves(states), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ValueError(
                f"scan: the new state of step {t} is {_shown(new)}, expected the state's shapes and dtypes {_shown(states)}"
            )
    for o in leaves(output):
        if not o.ndim or o.shape[0] != batch:
            raise ValueError(
                f"scan: the output of step {t} has shape {o.shape}, expected ({batch}, …): a row for each of the batch"
            )
    return output, new


def _shown(tree: Any) -> str:
    """The description of a tree of tensors in an error message."""
    if isinstance(tree, tuple):
        name = type(tree).__name__ if hasattr(tree, "_fields") else ""
        return f"{name}({', '.join(map(_shown, tree))})"
    return "None" if tree is None else f"{tree.dtype}{list(tree.shape)}"
