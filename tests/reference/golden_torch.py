"""Golden files of PyTorch: nn.RNN, nn.LSTM, nn.GRU over whole and packed sequences, and a few ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from golden_io import Array, Arrays, Source, check_gradient, save, save_recurrent, short
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

B, T, D, H = 4, 6, 3, 4
LENGTHS = (3, 6, 1, 4)
GATES = {"rnn": "", "lstm": "i, f, g, o", "gru": "r, z, n"}
COMMAND = "python tests/reference/make_golden.py torch"


@dataclass(frozen=True)
class Case:
    """One call of a module: which one, how deep, over which sequences."""

    cell_type: str
    layers: int = 1
    bidirectional: bool = False
    nonlinearity: str = "tanh"
    lengths: tuple[int, ...] | None = None
    initial: bool = True
    batch_first: bool = True
    dtype: str = "float64"
    projection: int = 0

    @property
    def name(self) -> str:
        pieces = [f"rnn_{self.nonlinearity}" if self.cell_type == "rnn" else self.cell_type, f"{self.layers}layer"]
        pieces += ["projected"] * bool(self.projection)
        pieces += ["bi"] * self.bidirectional + ["packed" if self.lengths else "full"]
        pieces += ["state"] * self.initial + ["time_major"] * (not self.batch_first)
        return "_".join(pieces)

    @property
    def options(self) -> dict[str, Any]:
        extra = {"nonlinearity": self.nonlinearity} if self.cell_type == "rnn" else {}
        depth = {"num_layers": self.layers, "bidirectional": self.bidirectional, "batch_first": self.batch_first}
        if self.projection:
            extra["proj_size"] = self.projection
        return {"input_size": D, "hidden_size": H, **depth, **extra}


def to_numpy(tensors: dict[str, Tensor]) -> Arrays:
    return {key: tensor.detach().numpy().copy() for key, tensor in tensors.items()}


def leaves_of(values: Arrays) -> dict[str, Tensor]:
    return {key: torch.tensor(value, requires_grad=True) for key, value in values.items()}


def gradients(loss: Tensor, leaves: dict[str, Tensor]) -> Arrays:
    return to_numpy(dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)))


def layout_of(cell_type: str, name: str) -> str:
    count = {"rnn": "", "lstm": "4", "gru": "3"}[cell_type]
    order = f"; blocks of H rows {GATES[cell_type]}" if GATES[cell_type] else ""
    if name.startswith("weight_ih"):
        return f"({count}H, inputs): applied as x @ W.T; inputs are D, above layer 0 H times the directions" + order
    if name.startswith("weight_hh"):
        return f"({count}H, H): applied as h @ W.T" + order
    if name.startswith("weight_hr"):
        return "(P, H): h = (o * tanh(c)) @ W.T, P = proj_size, so that weight_hh is (4H, P), and P is what layers above see"
    note = "; its n part stands inside r * (h @ W.T + b)" if cell_type == "gru" and name.startswith("bias_hh") else ""
    return f"({count}H,): one of two biases" + order + note


def make(case: Case) -> None:
    """Run one module and write its file."""
    source = Source(case.name, case.dtype)
    directions = 2 if case.bidirectional else 1
    parts = ("h", "c") if case.cell_type == "lstm" else ("h",)
    params: Arrays = {"x": source.normal(*((B, T) if case.batch_first else (T, B)), D)}
    if case.initial:
        sizes = {"h": case.projection or H, "c": H}
        params |= {
            f"initial/{part}": source.normal(case.layers * directions, B, sizes[part], scale=0.8) for part in parts
        }
    module = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[case.cell_type](**case.options)
    params |= {f"weight/{key}": source.weight(*value.shape) for key, value in module.named_parameters()}
    if case.nonlinearity == "relu":  # with biases above zero few units are dead
        params |= {key: abs(value) for key, value in params.items() if key.startswith("weight/bias")}

    def run(values: Arrays) -> tuple[Arrays, float, Arrays]:
        leaves = leaves_of(values)
        weights = {key.removeprefix("weight/"): t for key, t in leaves.items() if key.startswith("weight/")}
        state: Any = None
        if case.initial:
            state = tuple(leaves[f"initial/{part}"] for part in parts)
            state = state if case.cell_type == "lstm" else state[0]
        x: Any = leaves["x"]
        if case.lengths:
            x = pack_padded_sequence(x, torch.tensor(case.lengths), case.batch_first, enforce_sorted=False)
        output, final = torch.func.functional_call(module, weights, (x, state))
        if case.lengths:
            output, _ = pad_packed_sequence(output, case.batch_first, padding_value=0.0, total_length=T)
        finals = final if case.cell_type == "lstm" else (final,)
        results = {"output": output, **{f"state/{part}": t for part, t in zip(parts, finals, strict=True)}}
        loss = torch.stack(
            [(t * torch.from_numpy(source.cotangent(key, t.shape))).sum() for key, t in results.items()]
        ).sum()
        return to_numpy(results), loss.item(), gradients(loss, leaves)

    title = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}[case.cell_type]
    arguments = ", ".join(f"{key}={value!r}" for key, value in case.options.items())
    state = {"lstm": ", (initial/h, initial/c)", "gru": ", initial/h", "rnn": ", initial/h"}[
        case.cell_type
    ] * case.initial
    call = f"torch.nn.{title}({arguments})(x{state})"
    if case.lengths:
        call = f"torch.nn.{title}({arguments})(pack_padded_sequence(x, sequence_length, enforce_sorted=False){state}), "
        call += f"output by pad_packed_sequence(padding_value=0.0, total_length={T})"
    meta = {
        "library": "PyTorch",
        "versions": {"torch": torch.__version__},
        "call": call,
        "options": {
            "module": title,
            **case.options,
            "packed": bool(case.lengths),
            "time_major": not case.batch_first,
            "initial_state": "given" if case.initial else "zeros",
            "states": "(layers * directions, B, H): layer 0 forward, layer 0 backward, layer 1 forward, ...",
        },
        "layouts": {key: layout_of(case.cell_type, key.removeprefix("weight/")) for key in params if "weight/" in key},
        "command": COMMAND,
    }
    constants = {"sequence_length": np.array(case.lengths, np.int32)} if case.lengths else {}
    save_recurrent(f"torch_{case.name}_{short(case.dtype)}", source, params, constants, run, meta)


def cases() -> Iterator[Case]:
    """One and two layers, both directions, whole and packed, in float64; then the other options and float32."""
    for cell_type in ("rnn", "lstm", "gru"):
        yield Case(cell_type, initial=False)
        for layers, bidirectional, lengths in product((1, 2), (False, True), (None, LENGTHS)):
            if not (layers == 1 and bidirectional and lengths is None):
                yield Case(cell_type, layers, bidirectional, lengths=lengths)
        yield Case(cell_type, lengths=LENGTHS, dtype="float32")
    yield Case("rnn", nonlinearity="relu")
    yield Case("rnn", 2, True, nonlinearity="relu", lengths=LENGTHS)
    yield Case("lstm", batch_first=False)
    yield Case("gru", lengths=LENGTHS, batch_first=False)
    yield replace(Case("lstm", 2, True, lengths=LENGTHS), dtype="float32")
    for layers, bidirectional, lengths in ((1, False, None), (1, False, LENGTHS), (2, True, LENGTHS)):
        yield Case("lstm", layers, bidirectional, lengths=lengths, projection=2)
    yield Case("lstm", 2, True, projection=2, dtype="float32")


def make_op(
    name: str,
    call: str,
    op: Callable[..., Tensor],
    params: Arrays,
    constants: Arrays,
    source: Source,
    options: dict[str, Any],
    layouts: dict[str, str],
    *,
    differences: bool = True,
) -> None:
    """Run one op with its loss sum(output * R/output), check its gradients by differences, write its file."""

    def run(values: Arrays) -> tuple[Array, float, Arrays]:
        leaves = leaves_of(values)
        output = op(**{key.removeprefix("weight/"): t for key, t in leaves.items()})
        loss = (output * torch.from_numpy(source.cotangent("output", output.shape))).sum()
        return output.detach().numpy(), loss.item(), gradients(loss, leaves)

    output, loss, grads = run(params)
    if differences:
        check_gradient(lambda values: run(values)[1], params, grads)
    arrays = {
        **params,
        **constants,
        "output": output,
        "R/output": source.cotangents["output"],
        "loss": np.asarray(loss),
    }
    meta = {
        "library": "PyTorch",
        "versions": {"torch": torch.__version__},
        "call": call,
        "options": options,
        "layouts": layouts,
        "command": COMMAND,
        "loss": "sum(output * R/output)",
        "dtype": source.dtype,
        "seed": source.seed,
    }
    save(f"torch_op_{name}", arrays | {f"grad/{key}": value for key, value in grads.items()}, meta)


def cross_entropy() -> None:
    """Integer targets over 5 classes; mask False is ignore_index; every reduction; then logits at +-1e4."""
    for scale, reduction in product(("ordinary", "huge"), ("none", "mean", "sum")):
        source = Source(f"op_cross_entropy_{scale}", "float64")  # the three reductions see the same logits
        logits = source.normal(4, 3, 5, scale=2.0)
        targets = source.rng.integers(0, 5, (4, 3))
        mask = source.rng.random((4, 3)) < 0.7
        if scale == "huge":
            logits += 1e4 * source.rng.choice([-1.0, 0.0, 1.0], logits.shape)
        labels = torch.from_numpy(np.where(mask, targets, -100))

        def op(logits: Tensor, labels: Tensor = labels, reduction: str = reduction) -> Tensor:
            return F.cross_entropy(logits.movedim(-1, 1), labels, ignore_index=-100, reduction=reduction)

        make_op(
            f"cross_entropy_{scale}_{reduction}",
            f"torch.nn.functional.cross_entropy(logits with the classes on axis 1, targets where mask else -100, "
            f"ignore_index=-100, reduction={reduction!r})",
            op,
            {"logits": logits},
            {"targets": targets, "mask": mask},
            source,
            {"reduction": reduction, "mean": "the sum over the kept positions divided by their number"},
            {"logits": "(4, 3, 5), classes last", "targets": "(4, 3), classes 0 to 4", "mask": "(4, 3), True is kept"},
            differences=scale == "ordinary",
        )


def binary_cross_entropy() -> None:
    for scale in ("ordinary", "huge"):
        source = Source(f"op_binary_cross_entropy_{scale}", "float64")
        logits, targets = source.normal(4, 6, scale=2.0), source.rng.random((4, 6))
        targets[:, ::2] = np.round(targets[:, ::2])
        if scale == "huge":
            logits += 1e4 * source.rng.choice([-1.0, 0.0, 1.0], logits.shape)
        labels = torch.from_numpy(targets)

        def op(logits: Tensor, labels: Tensor = labels) -> Tensor:
            return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")

        make_op(
            f"binary_cross_entropy_{scale}",
            "torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction='none')",
            op,
            {"logits": logits},
            {"targets": targets},
            source,
            {"reduction": "none"},
            {"logits": "(4, 6)", "targets": "(4, 6), floats in 0 to 1"},
            differences=scale == "ordinary",
        )


def gelu() -> None:
    source = Source("op_gelu_tanh", "float64")
    x = np.concatenate([source.normal(4, 6, scale=2.0), [[-30.0, -1.0, 0.0, 1e-8, 1.0, 30.0]]])
    call = "torch.nn.functional.gelu(x, approximate='tanh')"
    make_op(
        "gelu_tanh", call, lambda x: F.gelu(x, approximate="tanh"), {"x": x}, {}, source, {"approximate": "tanh"}, {}
    )


def layer_norm() -> None:
    source = Source("op_layer_norm", "float64")
    params = {"x": source.normal(4, 3, 6), "weight/weight": source.weight(6), "weight/bias": source.weight(6)}
    params["x"] = 2.0 * params["x"] + 1.0
    call = "torch.nn.functional.layer_norm(x, (6,), weight, bias, eps=1e-5)"

    def op(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (6,), weight, bias, eps=1e-5)

    layouts = {"weight/weight": "(6,): the gain, over the last axis", "weight/bias": "(6,): the shift"}
    make_op("layer_norm", call, op, params, {}, source, {"eps": 1e-5, "normalized_shape": [6]}, layouts)


def main() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for case in cases():
        make(case)
    for op in (cross_entropy, binary_cross_entropy, gelu, layer_norm):
        op()
