"""Softmax cross-entropy by the native kernels: against NumPy's path and exact sums, at all sizes, with masks and without."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import kernels

IMPLEMENTATIONS = kernels.implementations()
TOLERANCE = {np.float32: 3e-6, np.float64: 1e-13}


def both(isa: str, logits: Any, **options: Any) -> tuple[Any, Any]:
    """The loss and its gradient, with a cotangent of its shape."""
    with kernels.using(isa), np.errstate(all="ignore"):
        x = tg.tensor(logits, requires_grad=True)
        loss = tg.softmax_cross_entropy(x, **options)
        seed = np.cos(np.arange(loss.size)).reshape(loss.shape).astype(loss.dtype)
        loss.backward(seed)
        return loss.data, x.grad


@pytest.mark.parametrize("isa", IMPLEMENTATIONS)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(0, 5), st.integers(1, 7)),
    classes=st.one_of(st.integers(1, 200), st.sampled_from([1000, 10_000])),
    dtype=st.sampled_from([np.float32, np.float64]),
    masked=st.booleans(),
    reduction=st.sampled_from(["mean", "sum", "none"]),
    spread=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
)
def test_loss_and_gradient_equal_the_formula(
    isa: str, seed: int, shape: Any, classes: int, dtype: Any, masked: bool, reduction: str, spread: float
) -> None:
    """-log softmax by math.fsum and math.log in double, entry by entry; its gradient is softmax - one-hot."""
    rng = np.random.default_rng(seed)
    logits = (rng.standard_normal((*shape, classes)) * spread).astype(dtype)
    targets = rng.integers(0, classes, shape)
    mask = rng.random(shape) < 0.6 if masked else None
    if mask is not None:
        logits[~mask] = np.nan
        targets[~mask] = -7
    loss, slope = both(isa, logits, targets=targets, mask=mask, reduction=reduction)
    count = targets.size if mask is None else int(mask.sum())
    weight = 1 / count if reduction == "mean" and count else 1.0
    g = np.cos(np.arange(targets.size if reduction == "none" else 1)).astype(dtype)
    losses = np.zeros(shape)
    for k, at in enumerate(np.ndindex(*shape)):
        if mask is not None and not mask[at]:
            assert np.all(slope[at] == 0)
            continue
        row = [float(v) for v in logits[at]]
        most = max(row)
        shares = [math.exp(v - most) for v in row]
        total = math.fsum(shares)
        losses[at] = math.log(total) - (row[targets[at]] - most)
        expected = np.array(shares) / total
        expected[targets[at]] -= 1
        expected *= weight * float(g[k if reduction == "none" else 0])
        assert np.allclose(slope[at], expected, rtol=1e-4 if dtype is np.float32 else 1e-11, atol=TOLERANCE[dtype])
    expected_loss = losses if reduction == "none" else math.fsum(losses.reshape(-1)) * weight
    scale = max(1.0, float(np.abs(losses).max(initial=0)))
    assert np.allclose(loss, expected_loss, rtol=1e-5 if dtype is np.float32 else 1e-13, atol=TOLERANCE[dtype] * scale)


@pytest.mark.parametrize("isa", IMPLEMENTATIONS)
@pytest.mark.parametrize("classes", [1, 3, 16, 17, 64, 65, 300])
def test_infinities_and_nan(isa: str, classes: int) -> None:
    """As log(sum(exp(z - max))) - (z[t] - max) gives in NumPy."""
    rng = np.random.default_rng(classes)
    for value in (np.nan, np.inf, -np.inf):
        for at in sorted({0, classes // 2, classes - 1}):
            for target in sorted({0, at, classes - 1}):
                logits = rng.standard_normal((2, classes)).astype(np.float32)
                logits[0, at] = value
                with np.errstate(all="ignore"):
                    shifted = logits - logits.max(-1, keepdims=True)
                    shares = np.exp(shifted)
                    total = shares.sum(-1)
                    losses = np.log(total) - shifted[[0, 1], [target, 0]]
                    slope = shares / total[:, None]
                    slope[[0, 1], [target, 0]] -= 1
                actual, gradient = both(isa, logits, targets=[target, 0], reduction="none")
                slope *= np.cos(np.arange(2)).astype(np.float32)[:, None]
                assert np.allclose(actual, losses, rtol=1e-5, atol=1e-6, equal_nan=True)
                assert np.allclose(gradient, slope, rtol=1e-5, atol=1e-6, equal_nan=True)


def test_the_same_bits_with_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((301, 1003)).astype(np.float32), rng.integers(0, 1003, 301)
    before, results = kernels.get_num_threads(), []
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        results.append(both(IMPLEMENTATIONS[0], logits, targets=targets))
    kernels.set_num_threads(before)
    for loss, slope in results[1:]:
        assert loss == results[0][0]
        assert np.array_equal(slope, results[0][1])


@pytest.mark.parametrize("isa", IMPLEMENTATIONS)
def test_targets_out_of_range(isa: str) -> None:
    logits = np.zeros((2, 3, 4), np.float32)
    with kernels.using(isa):
        with pytest.raises(ValueError, match=r"targets\[1, 2\] is 4, expected 0 <= target < 4"):
            tg.softmax_cross_entropy(logits, targets=[[0, 1, 2], [3, 0, 4]])
        with pytest.raises(ValueError, match=r"targets\[0, 0\] is -1"):
            tg.softmax_cross_entropy(logits, targets=[[-1, 1, 2], [3, 0, 4]])
        mask = [[True, True, True], [True, True, False]]
        assert np.isfinite(tg.softmax_cross_entropy(logits, targets=[[0, 1, 2], [3, 0, 4]], mask=mask))


def test_a_trace_checks_its_targets_too() -> None:
    """A traced step runs the expansion, in which a target out of range would give a loss of 0."""
    x = tg.tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    with pytest.raises(ValueError, match="expected 0 <= target < 3"):
        tg.softmax_cross_entropy.expansion(x, targets=[0, 3], mask=None, reduction="mean")


@pytest.mark.parametrize("isa", IMPLEMENTATIONS)
def test_memory_layouts(isa: str) -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((6, 40)), rng.integers(0, 40, 6)
    expected = both("reference", logits, targets=targets)
    for layout in (np.asfortranarray(logits), np.repeat(logits, 2, axis=1)[:, ::2]):
        actual = both(isa, layout, targets=np.repeat(targets, 2)[::2].astype(np.uint8))
        assert np.allclose(actual[0], expected[0], rtol=1e-13)
        assert np.allclose(actual[1], expected[1], rtol=1e-12, atol=1e-15)
