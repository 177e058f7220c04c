"""Any combination of options: the fused and the unrolled path have equal results and gradients, and the computed shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_rnn import layers, rnn

KINDS = {"SimpleRNN": layers.SimpleRNN, "LSTM": layers.LSTM, "GRU": layers.GRU}
FLAG = st.booleans()


@st.composite
def cases(draw: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
    cls = draw(st.sampled_from(sorted(KINDS)))
    flags = ("return_sequences", "return_state", "go_backwards", "use_bias")
    options = {flag: draw(FLAG) for flag in flags}
    options["activation"] = draw(st.sampled_from(["tanh", "relu", "softsign", None]))
    if cls == "GRU":
        options["reset_after"] = draw(FLAG)
    if cls == "LSTM":
        options["unit_forget_bias"] = draw(FLAG)
    call = {
        "batch": draw(st.integers(1, 4)),
        "steps": draw(st.integers(1, 5)),
        "mask": draw(FLAG),
        "initial": draw(FLAG),
    }
    call |= {
        "both": draw(FLAG),
        "zero": draw(FLAG),
        "merge": draw(st.sampled_from(["concat", "sum", "ave", "mul", None])),
    }
    return cls, options, call | {"seed": draw(st.integers(0, 1000))}


def run(layer: Any, x: Any, **arguments: Any) -> tuple[list[Any], list[Any]]:
    """Outputs and states, flat, and the gradients of their weighted sum."""
    for p in layer.weights:
        p.grad = None
    actual = layer(x, **arguments)
    flat = list(actual) if isinstance(actual, tuple) else [actual]
    rng = np.random.default_rng(5)
    sum((t * rng.normal(size=t.shape)).sum() for t in flat).backward()
    return flat, [p.grad for p in layer.weights]


@settings(max_examples=120, deadline=None)
@given(cases())
def test_fused_and_unrolled_are_one(case: Any) -> None:
    cls, options, call = case
    rng = np.random.default_rng(call["seed"])
    x = rng.normal(size=(call["batch"], call["steps"], 3))
    made = []
    for unroll in (False, True):
        layer: Any = KINDS[cls](2, dtype="float64", unroll=unroll, zero_output_for_mask=call["zero"], **options)
        if call["both"] and not options["go_backwards"]:
            layer = layers.Bidirectional(layer, merge_mode=call["merge"])
        layer.ensure_built(x.shape)
        made.append(layer)
    made[1].set_weights(made[0].get_weights())
    arguments: dict[str, Any] = {}
    if call["mask"]:
        arguments["mask"] = rng.random(x.shape[:2]) < 0.6
        arguments["mask"][0, 0] = True  # where no step is run at all, unrolled outputs are constants
    if call["initial"]:
        parts = (2 if cls == "LSTM" else 1) * (2 if isinstance(layer, layers.Bidirectional) else 1)
        arguments["initial_state"] = [rng.normal(size=(call["batch"], 2)) for _ in range(parts)]
    (fused, a), (unrolled, b) = (run(layer, x, **arguments) for layer in made)
    for one, other in zip(fused, unrolled, strict=True):
        np.testing.assert_allclose(one.data, other.data, atol=1e-12)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    shape = made[0].compute_output_shape(x.shape)
    assert [t.shape for t in fused] == (list(shape) if len(fused) > 1 else [shape])


@pytest.mark.parametrize("reset_after", [False, True])
def test_a_cell_for_drawings_is_alike_and_the_same_each_time(reset_after: bool) -> None:
    cell = layers.GRUCell(3, reset_after=reset_after, use_bias=False, activation="relu", recurrent_activation="tanh")
    drawn, again, same = cell.alike(), cell.alike(), rnn.GRUCell(3, reset_after, use_bias=False, seed=0)
    for each in (drawn, again, same):
        each.build(2, np.float32)
    assert {name: p.shape for name, p in drawn.named_parameters()} == {
        name: p.shape for name, p in same.named_parameters()
    }
    for name, weight in same.named_parameters():
        for each in (drawn, again):
            np.testing.assert_array_equal(dict(each.named_parameters())[name].data, weight.data)
    x = np.full((1, 2), 0.5, np.float32)
    expected, _ = rnn.dynamic_rnn(
        rnn.GRUCell(3, reset_after, use_bias=False, activation="relu", recurrent_activation="tanh", seed=0), x[:, None]
    )
    np.testing.assert_array_equal(rnn.dynamic_rnn(drawn, x[:, None])[0].data, expected.data)
