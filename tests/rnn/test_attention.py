"""Attention: against a separate implementation in NumPy, on both paths, with lengths of inputs and memory; names and errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

B, T, D, H, S, M, U, A = 3, 4, 2, 3, 5, 4, 3, 2
CELL_TYPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "luong": (rnn.LuongAttention, {}),
    "luong scaled": (rnn.LuongAttention, {"scale": True}),
    "bahdanau": (rnn.BahdanauAttention, {}),
    "bahdanau normalized": (rnn.BahdanauAttention, {"normalize": True}),
}
kinds = pytest.mark.parametrize("cell_type", CELL_TYPES)
impls = pytest.mark.parametrize("impl", ["fused", "unrolled"])
Arrays = dict[str, np.ndarray]


def array(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def make(cell_type: str, lengths: Any = None, layer: int | None = A, dtype: Any = np.float64, **options: Any) -> Any:
    """A cell over a random memory, all parameters random."""
    mechanism, options_of_type = CELL_TYPES[cell_type]
    memory = tg.tensor(array(B, S, M, seed=8, dtype=dtype), requires_grad=True)
    cell = rnn.AttentionWrapper(
        rnn.GRUCell(H), mechanism(U, memory, lengths, **options_of_type), layer, **options
    ).build(D, dtype)
    rng = np.random.default_rng(2)
    for p in cell.parameters():
        p.data = np.asarray(0.7 * rng.normal(size=p.shape), dtype)
    return cell


def by_hand(
    w: Arrays, cell_type: str, x: np.ndarray, memory: np.ndarray, lengths: Any, ends: Any
) -> tuple[Any, Any, Any, Any]:
    """Outputs, final h, final attention and all alignments, row by row and place by place, from TensorFlow's documentation."""

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    m = {k.removeprefix("attention_mechanism."): v for k, v in w.items()}
    layer = w.get("attention_kernel")
    outputs = np.zeros((B, T, M if layer is None else layer.shape[1]))
    shares, last_h, last_a = np.zeros((B, T, S)), np.zeros((B, H)), np.zeros((B, outputs.shape[2]))
    for b in range(B):
        h, a = np.zeros(H), np.zeros(outputs.shape[2])
        for t in range(T if ends is None else ends[b]):
            z = np.concatenate([x[b, t], a])
            gates = (
                z @ w["cell.kernel"][:, : 2 * H] + h @ w["cell.recurrent_kernel"][:, : 2 * H] + w["cell.bias"][: 2 * H]
            )
            update, reset = np.split(sigmoid(gates), 2)
            new = z @ w["cell.kernel"][:, 2 * H :] + (reset * h) @ w["cell.recurrent_kernel"][:, 2 * H :]
            h = update * h + (1 - update) * np.tanh(new + w["cell.bias"][2 * H :])
            scores = []
            for s in range(S if lengths is None else lengths[b]):
                key = memory[b, s] @ m["memory_kernel"]
                if cell_type.startswith("luong"):
                    scores.append(key @ h * m.get("attention_g", 1.0))
                elif "normalized" in cell_type:
                    v = m["attention_g"] * m["attention_v"] / np.linalg.norm(m["attention_v"])
                    scores.append(v @ np.tanh(key + h @ m["query_kernel"] + m["attention_b"]))
                else:
                    scores.append(m["attention_v"] @ np.tanh(key + h @ m["query_kernel"]))
            share = np.exp(scores) / np.exp(scores).sum()
            shares[b, t, : len(share)] = share
            context = sum(p * memory[b, s] for s, p in enumerate(share))
            a = context if layer is None else np.concatenate([h, context]) @ layer
            outputs[b, t] = a
        last_h[b], last_a[b] = h, a
    return outputs, last_h, last_a, shares


@kinds
@impls
@pytest.mark.parametrize("layer", [A, None])
@pytest.mark.parametrize(("lengths", "ends"), [(None, None), ([5, 1, 3], [4, 0, 2])])
def test_the_equations(cell_type: str, impl: str, layer: Any, lengths: Any, ends: Any) -> None:
    cell, x = make(cell_type, lengths, layer), array(B, T, D, seed=1)
    memory = cell.attention_mechanism.memory.data
    outputs, state, trace = rnn.dynamic_rnn(cell, x, ends, impl=impl, return_trace=True)
    wanted = by_hand(cell.state_dict(), cell_type, x, memory, lengths, ends)
    actual = (outputs, state.cell_state, state.attention, trace["alignments"])
    for a, b in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(a.data, b, rtol=0, atol=1e-12)
    assert isinstance(state, rnn.AttentionWrapperState)


@kinds
def test_gradients_are_differences_of_the_equations(cell_type: str) -> None:
    """Along a random direction of each array: memory, x and every parameter."""
    lengths, ends = [5, 1, 3], [4, 0, 2]
    cell, x, factor = (
        make(cell_type, lengths),
        tg.tensor(array(B, T, D, seed=1), requires_grad=True),
        array(B, T, A, seed=3),
    )
    memory = cell.attention_mechanism.memory
    (rnn.dynamic_rnn(cell, x, ends)[0] * factor).sum().backward()
    start: Arrays = {**{k: v.copy() for k, v in cell.state_dict().items()}, "x": x.data, "memory": memory.data}
    grads = {**{k: p.grad for k, p in cell.named_parameters()}, "x": x.grad, "memory": memory.grad}

    def loss(w: Arrays) -> float:
        weights = {k: v for k, v in w.items() if k not in ("x", "memory")}
        return float((by_hand(weights, cell_type, w["x"], w["memory"], lengths, ends)[0] * factor).sum())

    for i, (name, value) in enumerate(start.items()):
        along = array(*value.shape, seed=20 + i)
        slope = (loss({**start, name: value + 1e-6 * along}) - loss({**start, name: value - 1e-6 * along})) / 2e-6
        assert np.sum(grads[name] * along) == pytest.approx(slope, rel=1e-6, abs=1e-8), name
    assert not memory.grad[1, 1:].any()
    assert not memory.grad[2, 3:].any()


@kinds
@impls
def test_gradcheck(cell_type: str, impl: str) -> None:
    cell = make(cell_type, [5, 1, 3])

    def run(x: Any, memory: Any, h: Any, attention: Any) -> Any:
        cell.attention_mechanism.setup_memory(memory, [5, 1, 3])
        initial = rnn.AttentionWrapperState(h, attention, np.zeros((B, S)))
        outputs, state = rnn.dynamic_rnn(cell, x, [2, 1, 2], initial, impl=impl)
        return outputs, state.cell_state, state.alignments

    arrays = [array(B, 2, D), array(B, S, M), array(B, H), array(B, A)]
    assert tg.gradcheck(run, [tg.tensor(a, requires_grad=True) for a in arrays])


@kinds
@pytest.mark.parametrize("lengths", [None, [5, 1, 3]])
def test_it_runs_as_one_native_node(cell_type: str, lengths: Any) -> None:
    cell = make(cell_type, lengths, dtype=np.float32)
    (path,) = rnn.explain(cell, array(B, T, D, dtype=np.float32)).paths
    assert path[1:] == ("fused", "the whole sequence is one node")


@impls
def test_memory_past_its_length_has_no_effect_on_results_or_gradients(impl: str) -> None:
    cell, x = make("bahdanau"), array(B, T, D)
    whole = cell.attention_mechanism.memory.data.copy()
    results = []
    for fill in (0.0, np.nan):
        memory = whole.copy()
        memory[1, 1:] = fill
        memory_tensor = tg.tensor(memory, requires_grad=True)
        cell.attention_mechanism.setup_memory(memory_tensor, [5, 1, 5])
        output = rnn.dynamic_rnn(cell, x, impl=impl)[0]
        output.sum().backward()
        results.append((output.data, memory_tensor.grad))
        assert not memory_tensor.grad[1, 1:].any()
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


def test_another_memory_for_each_batch() -> None:
    """A memory with other numbers of rows and positions, through wrappers and stacks; gradients
    reach the tensors from which the memory was computed."""
    cell = make("luong")
    stack = rnn.MultiRNNCell([rnn.DropoutWrapper(cell, 0.9, state_keep_prob=0.9, seed=0), rnn.GRUCell(2)])
    encoder = rnn.GRUCell(M, seed=0)
    for batch, places in ((2, 3), (4, 6), (2, 3)):
        memory, _ = rnn.dynamic_rnn(encoder, array(batch, places, 2, seed=batch))
        cell.attention_mechanism.setup_memory(memory)
        outputs, state = rnn.dynamic_rnn(stack, array(batch, T, D))
        assert outputs.shape == (batch, T, 2)
        assert isinstance(state[0], rnn.AttentionWrapperState)
        assert state[0].alignments.shape == (batch, places)
        encoder.zero_grad()
        outputs.sum().backward()
        assert all(np.any(p.grad) for p in encoder.parameters())


@kinds
def test_single_steps_and_streaming(cell_type: str) -> None:
    cell, x = make(cell_type, [5, 1, 3]), array(B, T, D)
    outputs, final = rnn.dynamic_rnn(cell, x)
    state = cell.zero_state(B, np.float64)
    stepper = cell.stepper(B)
    for t in range(T):
        output, state = cell(x[:, t], state)
        np.testing.assert_allclose(output.data, outputs.data[:, t], rtol=0, atol=1e-13)
        np.testing.assert_allclose(stepper.step(x[:, t]), outputs.data[:, t], rtol=0, atol=1e-13)
    np.testing.assert_allclose(state.alignments.data, final.alignments.data, rtol=0, atol=1e-13)


def test_output_attention_and_cell_input_fn() -> None:
    cell = make("luong", output_attention=False)
    outputs, state = rnn.dynamic_rnn(cell, array(B, T, D))
    assert np.array_equal(outputs.data[:, -1], state.cell_state.data)
    cell = make("luong", layer=D, cell_input_fn=lambda x, attention: x + attention)
    assert cell.cell.kernel.shape[0] == D
    assert rnn.dynamic_rnn(cell, array(B, T, D))[0].shape == (B, T, D)


def test_parameters_begin_as_in_tensorflow_and_load() -> None:
    memory = array(B, S, M, dtype=np.float32)
    mechanism = rnn.BahdanauAttention(U, memory, normalize=True)
    cell = rnn.AttentionWrapper(rnn.GRUCell(H), mechanism, A).build(D)
    shapes = {k: p.shape for k, p in cell.named_parameters() if not k.startswith("cell.")}
    assert shapes == {
        "attention_kernel": (H + M, A),
        "attention_mechanism.memory_kernel": (M, U),
        "attention_mechanism.query_kernel": (H, U),
        "attention_mechanism.attention_v": (U,),
        "attention_mechanism.attention_g": (),
        "attention_mechanism.attention_b": (U,),
    }
    assert mechanism.attention_g.item() == pytest.approx(np.sqrt(1 / U))
    assert not mechanism.attention_b.data.any()
    other = rnn.AttentionWrapper(rnn.GRUCell(H), rnn.BahdanauAttention(U, memory, normalize=True), A).build(D)
    other.load_state_dict(cell.state_dict())
    x = array(B, T, D, dtype=np.float32)
    results = [
        rnn.dynamic_rnn(c, x)[0].data for c in (cell, other, copy.deepcopy(cell), pickle.loads(pickle.dumps(cell)))
    ]
    assert all(np.array_equal(results[0], r) for r in results[1:])


MEMORY = np.ones((2, 5, 3), np.float32)


def run(mechanism: Any) -> Any:
    return rnn.dynamic_rnn(rnn.AttentionWrapper(rnn.GRUCell(4), mechanism), np.ones((2, 4, 3), np.float32))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: rnn.LuongAttention(0, MEMORY), ValueError, r"LuongAttention: num_units is 0"),
        (lambda: rnn.LuongAttention(4, MEMORY[0]), ValueError, r"memory has shape \(5, 3\), expected \(B, S, M\)"),
        (lambda: rnn.LuongAttention(4, MEMORY[:, :0]), ValueError, r"with S at least 1"),
        (lambda: rnn.LuongAttention(4, MEMORY.astype(int)), TypeError, r"memory has dtype int64, expected floats"),
        (lambda: rnn.LuongAttention(4, MEMORY, [5, 0]), ValueError, r"memory_sequence_length\[1\] is 0, expected 1 to 5"),
        (lambda: rnn.LuongAttention(4, MEMORY, [5, 6]), ValueError, r"memory_sequence_length\[1\] is 6"),
        (lambda: run(rnn.LuongAttention(4)), ValueError, r"LuongAttention: there is no memory.*setup_memory\(memory\)"),
        (lambda: run(rnn.LuongAttention(3, MEMORY)), ValueError, r"num_units is 3, but the cell's output has 4.*Bahdanau"),
        (lambda: run(rnn.LuongAttention(4, MEMORY[:1])), ValueError, r"memory has shape \(1, 5, 3\), expected \(2, S, M\)"),
        (lambda: run(rnn.LuongAttention(4, MEMORY.astype(float))), TypeError, r"memory has dtype float64, x has float32"),
        (lambda: rnn.AttentionWrapper(rnn.GRUCell, None), TypeError, r"cell is the class GRUCell, expected an rnn.RNNCell"),
        (lambda: rnn.AttentionWrapper(rnn.GRUCell(4), [1]), TypeError, r"attention_mechanism is list \[1\], expected one"),
        (
            lambda: rnn.AttentionWrapper(rnn.GRUCell(4), rnn.LuongAttention(4, MEMORY), 0),
            ValueError,
            r"attention_layer_size is 0, expected a positive integer or None",
        ),
        (
            lambda: rnn.AttentionWrapper(rnn.GRUCell(4), rnn.LuongAttention(4, MEMORY)).load_state_dict({}),
            ValueError,
            r"attention_wrapper is not built yet.*build\(input_size, dtype\) first",
        ),
    ],
)  # fmt: skip
def test_errors(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_memory_of_another_size_than_built_for() -> None:
    cell = make("luong")
    with pytest.raises(ValueError, match=r"memory has shape \(3, 5, 2\), expected the last axis to be 4"):
        cell.attention_mechanism.setup_memory(array(B, S, 2))
