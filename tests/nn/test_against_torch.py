"""Combinations of options against PyTorch itself, where it is installed; the golden files hold without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

torch: Any = pytest.importorskip("torch")


@st.composite
def calls(draw: Any) -> dict[str, Any]:
    batch, steps = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return {
        "class": draw(st.sampled_from(["RNN", "LSTM", "GRU"])),
        "impl": draw(st.sampled_from(["fused", "unrolled"])),
        "lengths": draw(st.none() | st.lists(st.integers(1, steps), min_size=batch, max_size=batch)),
        "given": draw(st.booleans()),
        "relu": draw(st.booleans()),
        "batched": draw(st.booleans()),
        "sizes": (batch, steps, draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "options": {
            "num_layers": draw(st.integers(1, 3)),
            "bias": draw(st.booleans()),
            "batch_first": draw(st.booleans()),
            "bidirectional": draw(st.booleans()),
        },
        "projects": draw(st.booleans()),
    }


def arguments(call: dict[str, Any]) -> tuple[dict[str, Any], Any, list[Any], Any]:
    """The layer's options, x, the initial states (h and perhaps c) and the lengths."""
    batch, steps, inputs, units = call["sizes"]
    options = dict(call["options"])
    if call["class"] == "RNN" and call["relu"]:
        options["nonlinearity"] = "relu"
    rng = np.random.default_rng(0)
    count = options["num_layers"] * (2 if options["bidirectional"] else 1)
    sizes = [units, units] if call["class"] == "LSTM" else [units]  # of h and c
    if call["class"] == "LSTM" and call["projects"] and units > 1:
        options["proj_size"] = sizes[0] = units - 1
    if not call["batched"]:
        x, states = rng.normal(size=(steps, inputs)), [rng.normal(size=(count, n)) for n in sizes]
        return options, x, states if call["given"] else [], None
    x = rng.normal(size=(batch, steps, inputs) if options["batch_first"] else (steps, batch, inputs))
    states = [rng.normal(size=(count, batch, n)) for n in sizes]
    return options, x, states if call["given"] else [], call["lengths"]


@settings(max_examples=60, deadline=None)
@given(calls())
def test_forward_and_gradients(call: dict[str, Any]) -> None:
    options, x, states, lengths = arguments(call)
    inputs, units = call["sizes"][2:]
    theirs = getattr(torch.nn, call["class"])(inputs, units, dtype=torch.float64, **options)
    ours = getattr(nn, call["class"])(inputs, units, dtype=np.float64, **options)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})

    leaves = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    hx = None if not states else tuple(leaves[1:]) if call["class"] == "LSTM" else leaves[1]
    time = 1 if options["batch_first"] else 0
    if lengths is None:
        wanted, final = theirs(leaves[0], hx)
    else:
        pack, pad = torch.nn.utils.rnn.pack_padded_sequence, torch.nn.utils.rnn.pad_packed_sequence
        packed = pack(leaves[0], torch.tensor(lengths), options["batch_first"], enforce_sorted=False)
        wanted, final = theirs(packed, hx)
        wanted, _ = pad(wanted, options["batch_first"], total_length=x.shape[time])
    finals = final if call["class"] == "LSTM" else (final,)
    results = [wanted, *finals]
    factors = [np.random.default_rng(i).normal(size=tuple(t.shape)) for i, t in enumerate(results)]
    sum((t * torch.tensor(f)).sum() for t, f in zip(results, factors, strict=True)).backward()

    tensors = [tg.tensor(a, requires_grad=True) for a in (x, *states)]
    hx = None if not states else tuple(tensors[1:]) if call["class"] == "LSTM" else tensors[1]
    output, final = ours(tensors[0], hx, lengths=lengths, impl=call["impl"])
    outputs = [output, *(final if call["class"] == "LSTM" else (final,))]
    for a, b in zip(outputs, results, strict=True):
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=0, atol=1e-10)
    sum((t * f).sum() for t, f in zip(outputs, factors, strict=True)).backward()
    for a, b in zip(tensors, leaves, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=0, atol=1e-10)
    for (path, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=0, atol=1e-10, err_msg=path)


@pytest.mark.parametrize("class", ["RNNCell", "LSTMCell", "GRUCell"])
def test_cells(name: str) -> None:
    theirs = getattr(torch.nn, name)(3, 4, dtype=torch.float64)
    ours = getattr(nn, name)(3, 4, dtype=np.float64)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    x, states = rng.normal(size=(2, 3)), [rng.normal(size=(2, 4)) for _ in range(2)]
    pair = name == "LSTMCell"
    wanted = theirs(torch.tensor(x), tuple(map(torch.tensor, states)) if pair else torch.tensor(states[0]))
    actual = ours(x, tuple(states) if pair else states[0])
    for a, b in zip(actual, wanted, strict=True) if pair else [(actual, wanted)]:
        np.testing.assert_allclose(a.data, b.detach().numpy(), rtol=0, atol=1e-12)


def test_our_state_dict_loads_into_pytorch() -> None:
    ours = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    theirs = torch.nn.GRU(3, 4, num_layers=2, bidirectional=True)
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    np.testing.assert_allclose(ours(x)[0].data, theirs(torch.tensor(x))[0].detach().numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str) -> None:
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(3, 5, 2)), rng.integers(0, 5, (3, 2))
    for name, options in [
        ("CrossEntropyLoss", {}),
        ("CrossEntropyLoss", {"ignore_index": 2}),
        ("NLLLoss", {"ignore_index": 1}),
    ]:
        wanted = getattr(torch.nn, name)(reduction=reduction, **options)(torch.tensor(x), torch.tensor(target))
        loss = getattr(nn, name)(reduction=reduction, **options)(x, target)
        np.testing.assert_allclose(loss.data, wanted.numpy(), rtol=1e-12)
    p, y, weight = rng.random(x.shape), rng.random(x.shape), rng.random(x.shape[-1])
    for name, a, options in [
        ("BCELoss", p, {"weight": weight}),
        ("BCEWithLogitsLoss", x, {"weight": weight, "pos_weight": 2 * weight}),
    ]:
        torchs = {name: torch.tensor(value) for name, value in options.items()}
        wanted = getattr(torch.nn, name)(reduction=reduction, **torchs)(torch.tensor(a), torch.tensor(y))
        ours = getattr(nn, name)(reduction=reduction, **options)(a, y)
        np.testing.assert_allclose(ours.data, wanted.numpy(), rtol=1e-12)
    for name, y in [("MSELoss", rng.normal(size=x.shape)), ("BCEWithLogitsLoss", rng.random(x.shape))]:
        wanted = getattr(torch.nn, name)(reduction=reduction)(torch.tensor(x), torch.tensor(y))
        np.testing.assert_allclose(getattr(nn, name)(reduction=reduction)(x, y).data, wanted.numpy(), rtol=1e-12)
