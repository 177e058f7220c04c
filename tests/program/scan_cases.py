"""Shared by the tests of scan: a step with its environment, run fused and unrolled, and compared."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.program.calls import listener
from tinygrad_rnn.program.tree import leaves

B, T, D, H = 3, 4, 2, 3
BACKENDS = sorted({kernels.implementations()[0], "reference"}, reverse=True)  # that run a program


def draws(seed: int = 0) -> Callable[..., np.ndarray]:
    """normal(*shape), float64."""
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.normal(size=shape)


def leaf(array: Any) -> tg.tensor:
    return tg.tensor(array, requires_grad=True)


@dataclass
class ScanCase:
    """A step, its arguments, and a change made between calls. Each call computes the gradients of `weights`."""

    step: Any
    x: Any = None
    state: Any = None
    constants: tuple[Any, ...] = ()
    weights: Callable[[], list[Any]] = list
    change: Callable[[int], None] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        normal = draws(1)
        self.x = leaf(normal(B, T, D)) if self.x is None and "length" not in self.options else self.x
        self.state = leaf(normal(B, H)) if self.state is None else self.state


def run(scan_case: ScanCase, impl: str) -> tuple[list[np.ndarray], str, str, list[bool]]:
    """Outputs, final states and the gradients of a random combination of them; which path ran, and why."""
    hook_calls: list[tuple[str, str, str]] = []
    token = listener.set(hook_calls)
    try:
        outputs, final = tg.scan(
            scan_case.step, scan_case.x, scan_case.state, constants=scan_case.constants, impl=impl, **scan_case.options
        )
    finally:
        listener.reset(token)
    values = [*leaves(outputs), *leaves(final)]
    rng = np.random.default_rng(7)
    loss: Any = 0.0
    for v in values:
        if v.dtype.kind == "f":
            loss = loss + (v * rng.normal(size=v.shape).astype(v.dtype)).sum()
    inputs = [*leaves((scan_case.x, scan_case.state, scan_case.constants)), *scan_case.weights()]
    inputs = [t for t in inputs if isinstance(t, tg.autodiff.tensor.Tensor) and t.requires_grad]
    grads: list[Any] = []
    if inputs and isinstance(loss, tg.autodiff.tensor.Tensor) and loss.requires_grad:
        for t in inputs:
            t.grad = None
        loss.backward()
        grads = [np.zeros(t.shape, t.dtype) if t.grad is None else t.grad for t in inputs]
    _, path, reason = hook_calls[0]
    return [*(np.asarray(v.data) for v in values), *grads], path, reason, [v.requires_grad for v in values]


def seeded(make: Callable[[], ScanCase]) -> ScanCase:
    tg.seed(0)
    random.seed(0)
    np.random.seed(0)
    return make()


def compare_with_unrolled(make: Callable[[], ScanCase], calls: int = 3) -> list[tuple[str, str]]:
    """Run a case (created anew for each path) call by call: values, dtypes and gradients agree on both paths.

    Returns the path of every call and its reason.
    """
    paths = []
    for impl in ("auto", "unrolled"):
        scan_case = seeded(make)
        results = []
        for k in range(calls):
            if k and scan_case.change is not None:
                scan_case.change(k)
            results.append(run(scan_case, impl))
        paths.append(results)
    for k, (a, b) in enumerate(zip(*paths, strict=True)):
        assert len(a[0]) == len(b[0]), f"call {k}"
        for i, (got, want) in enumerate(zip(a[0], b[0], strict=True)):
            assert got.dtype == want.dtype, (k, i, got.dtype, want.dtype)
            rtol = 2e-5 if want.dtype == np.float32 else 1e-12
            scale = max(1.0, float(np.abs(want.astype(float)).max(initial=0)))
            np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale, err_msg=f"call {k}, result {i}")
        assert a[3] == b[3], f"call {k}: which results require grad"
    return [(path, reason) for _, path, reason, _ in paths[0]]
