"""Golden files of TensorFlow 1: tf.compat.v1.nn.dynamic_rnn, bidirectional_dynamic_rnn and static_rnn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from golden_io import Array, Arrays, Source, save_recurrent, short

v1 = tf.compat.v1
cells = v1.nn.rnn_cell

B, T, D, H = 4, 6, 3, 4
LENGTHS = [3, 6, 0, 4]
LAYOUTS = {
    "basic": {
        "kernel": "(D+H, H): rows of x, then rows of h",
        "bias": "(H,)",
    },
    "lstm": {
        "kernel": "(D+H, 4H): rows of x, then rows of h; columns i, j (the candidate), f, o",
        "bias": "(4H,): i, j, f, o; forget_bias is not in it, the cell adds it to f at every step",
        **{f"w_{gate}_diag": "(H,): times c, added before the sigmoid of the gate" for gate in "ifo"},
        "projection/kernel": "(H, P): h = clip((o * tanh(c)) @ kernel); kernel then has the rows D+P",
    },
    "gru": {
        "gates/kernel": "(D+H, 2H): rows of x, then rows of h; columns r (reset), u (update)",
        "gates/bias": "(2H,): r, u",
        "candidate/kernel": "(D+H, H): rows of x, then rows of r * h (reset before the product)",
        "candidate/bias": "(H,)",
    },
}


@dataclass(frozen=True)
class Case:
    """One call: which cells (a stack where there are several), through which driver, with which options."""

    name: str
    kinds: tuple[str, ...]
    driver: str = "dynamic_rnn"
    options: tuple[tuple[str, Any], ...] = ()
    lengths: tuple[int, ...] | None = None
    initial: bool = False
    time_major: bool = False
    residual: bool = False
    dims: tuple[int, int, int, int] = (B, T, D, H)
    dtype: str = "float64"

    @property
    def file(self) -> str:
        return f"tf1_{self.name}_{short(self.dtype)}"


def make_cell(case: Case) -> Any:
    units = case.dims[3]
    options = dict(case.options)
    made = []
    for cell_type in case.kinds:
        if cell_type == "basic":
            made.append(cells.BasicRNNCell(units, activation=getattr(tf.nn, options.get("activation", "tanh"))))
        elif cell_type == "lstm":
            made.append(cells.LSTMCell(units, **{"forget_bias": 1.0, **options}))
        else:
            made.append(cells.GRUCell(units))
    cell = made[0] if len(made) == 1 else cells.MultiRNNCell(made)
    return cells.ResidualWrapper(cell) if case.residual else cell


def describe_cell(case: Case) -> str:
    """The call that makes the cell, in words."""
    options = dict(case.options)
    texts = []
    for cell_type in case.kinds:
        if cell_type == "basic":
            texts.append(f"BasicRNNCell({case.dims[3]}, activation=tf.nn.{options.get('activation', 'tanh')})")
        elif cell_type == "lstm":
            arguments = ", ".join(f"{name}={value}" for name, value in {"forget_bias": 1.0, **options}.items())
            texts.append(f"LSTMCell({case.dims[3]}, {arguments})")
        else:
            texts.append(f"GRUCell({case.dims[3]})")
    text = texts[0] if len(texts) == 1 else f"MultiRNNCell([{', '.join(texts)}])"
    return f"ResidualWrapper({text})" if case.residual else text


def state_parts(kinds: tuple[str, ...]) -> list[str]:
    """The names of a cell's state parts, in tf.nest's order: c and h of an LSTM, h of others, numbered in a stack."""
    names = []
    for number, cell_type in enumerate(kinds):
        prefix = f"{number}/" if len(kinds) > 1 else ""
        names += [prefix + part for part in (("c", "h") if cell_type == "lstm" else ("h",))]
    return names


def pack(kinds: tuple[str, ...], parts: list[Any]) -> Any:
    """The inverse of tf.nest.flatten on a state."""
    rest = iter(parts)
    states = [
        cells.LSTMStateTuple(next(rest), next(rest)) if cell_type == "lstm" else next(rest) for cell_type in kinds
    ]
    return states[0] if len(states) == 1 else tuple(states)


def short_name(variable: str) -> str:
    """rnn/multi_rnn_cell/cell_0/lstm_cell/kernel:0 -> 0/kernel; bidirectional_rnn/fw/lstm_cell/bias:0 -> fw/bias."""
    wrappers = {"rnn", "bidirectional_rnn", "multi_rnn_cell", "basic_rnn_cell", "lstm_cell", "gru_cell"}
    pieces = [piece for piece in variable.removesuffix(":0").split("/") if piece not in wrappers]
    return "/".join(piece.removeprefix("cell_") for piece in pieces)


def layout_of(case: Case, key: str) -> str:
    pieces = key.split("/")
    if pieces[0] in ("fw", "bw"):
        pieces = pieces[1:]
    cell_type = case.kinds[int(pieces.pop(0))] if pieces[0].isdigit() else case.kinds[0]
    text = LAYOUTS[cell_type]["/".join(pieces)]
    return text + ("; D is H in the upper cells" if len(case.kinds) > 1 else "")


def call_text(case: Case) -> str:
    arguments = [describe_cell(case)] * (2 if case.driver == "bidirectional_dynamic_rnn" else 1)
    arguments.append("tf.unstack(x, axis=1)" if case.driver == "static_rnn" else "x")
    if case.lengths is not None:
        arguments.append("sequence_length=sequence_length")
    if case.initial and case.driver == "bidirectional_dynamic_rnn":
        arguments.append("initial_state_fw=initial/fw, initial_state_bw=initial/bw")
    elif case.initial:
        arguments.append("initial_state=initial")
    else:
        arguments.append(f"dtype=tf.{case.dtype}")
    if case.time_major:
        arguments.append("time_major=True")
    text = f"tf.compat.v1.nn.{case.driver}({', '.join(arguments)})"
    return text + ("; outputs stacked on axis 1" if case.driver == "static_rnn" else "")


def build(case: Case, x: Any, initial: dict[str, Any]) -> dict[str, Any]:
    """Call the driver; the outputs and state parts by key."""
    lengths = None if case.lengths is None else tf.constant(case.lengths, tf.int32)
    states: dict[str, Any] = {}
    names = state_parts(case.kinds)
    if case.driver == "bidirectional_dynamic_rnn":
        for side in ("fw", "bw"):
            if case.initial:
                states[f"initial_state_{side}"] = pack(case.kinds, [initial[f"initial/{side}/{n}"] for n in names])
        outputs, finals = v1.nn.bidirectional_dynamic_rnn(
            make_cell(case),
            make_cell(case),
            x,
            sequence_length=lengths,
            dtype=None if case.initial else case.dtype,
            time_major=case.time_major,
            **states,
        )
        sides = dict(zip(("fw", "bw"), zip(outputs, finals, strict=True), strict=True))
        results = {f"output/{side}": output for side, (output, _) in sides.items()}
        for side, (_, final) in sides.items():
            flat = tf.nest.flatten(final)
            results |= {f"state/{side}/{name}": part for name, part in zip(names, flat, strict=True)}
        return results
    options: dict[str, Any] = {"sequence_length": lengths}
    if case.initial:
        options["initial_state"] = pack(case.kinds, [initial[f"initial/{name}"] for name in names])
    else:
        options["dtype"] = case.dtype
    if case.driver == "static_rnn":
        sequence, final = v1.nn.static_rnn(make_cell(case), tf.unstack(x, axis=1), **options)
        output = tf.stack(sequence, axis=1)
    else:
        output, final = v1.nn.dynamic_rnn(make_cell(case), x, time_major=case.time_major, **options)
    flat = tf.nest.flatten(final)
    return {"output": output} | {f"state/{name}": part for name, part in zip(names, flat, strict=True)}


def make(case: Case, data: Array | None = None) -> None:
    """Run one case and write its file."""
    batch, steps, inputs, units = case.dims
    source = Source(case.name, case.dtype)
    params: Arrays = {"x": source.normal(*((steps, batch) if case.time_major else (batch, steps)), inputs)}
    if data is not None:
        params["x"] = data.astype(case.dtype)
    names = state_parts(case.kinds)
    if case.driver == "bidirectional_dynamic_rnn":
        names = [f"{side}/{name}" for side in ("fw", "bw") for name in names]
    if case.initial:
        size = {"h": dict(case.options).get("num_proj", units)}
        params |= {f"initial/{name}": source.normal(batch, size.get(name[-1], units), scale=0.8) for name in names}

    with tf.Graph().as_default():
        holders = {key: v1.placeholder(value.dtype, value.shape) for key, value in params.items()}
        results = build(case, holders["x"], holders)
        variables = {f"weight/{short_name(v.name)}": v for v in v1.trainable_variables()}
        params |= {key: source.weight(*v.shape.as_list()) for key, v in variables.items()}
        if dict(case.options).get("activation") == "relu":  # with a bias above zero few units are dead
            params["weight/bias"] = abs(params["weight/bias"])
        loss = tf.add_n([tf.reduce_sum(r * source.cotangent(key, r.shape)) for key, r in results.items()])
        leaves = {**holders, **variables}
        grads = dict(zip(leaves, tf.gradients(loss, list(leaves.values())), strict=True))
        incoming = {key: v1.placeholder(v.dtype, v.shape) for key, v in variables.items()}
        assigns = [v1.assign(v, incoming[key]) for key, v in variables.items()]
        config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
        with v1.Session(config=config) as session:
            session.run(v1.global_variables_initializer())
            fresh = session.run({key: v for key, v in variables.items() if key.endswith("bias")})

            def run(values: Arrays) -> tuple[Arrays, float, Arrays]:
                session.run(assigns, {incoming[key]: values[key] for key in variables})
                feed = {holders[key]: values[key] for key in holders}
                return session.run((results, loss, grads), feed)

            constants = {} if case.lengths is None else {"sequence_length": np.array(case.lengths, np.int32)}
            meta = {
                "library": "TensorFlow 1 interface (tf.compat.v1) of TensorFlow, cells of tf_keras",
                "versions": {"tensorflow": tf.__version__, "tf_keras": tf_keras.__version__},
                "call": call_text(case),
                "options": {
                    "driver": case.driver,
                    "cells": list(case.kinds),
                    "num_units": units,
                    **dict(case.options),
                    "time_major": case.time_major,
                    "residual": case.residual,
                    "initial_state": "given" if case.initial else "zeros (dtype given)",
                },
                "layouts": {key: layout_of(case, key.removeprefix("weight/")) for key in variables},
                "variables": {key: v.name for key, v in variables.items()},
                "command": "python tests/reference/make_golden.py tf1",
            }
            save_recurrent(case.file, source, params, constants, run, meta, fresh)


def cases() -> Iterator[Case]:
    """Every case: cells by lengths by initial state in float64, a few in float32, then the other drivers."""
    plain = [
        Case("rnn_tanh", ("basic",), options=(("activation", "tanh"),)),
        Case("rnn_relu", ("basic",), options=(("activation", "relu"),)),
        Case("lstm", ("lstm",), options=(("forget_bias", 1.0),)),
        Case("lstm_fb0", ("lstm",), options=(("forget_bias", 0.0),)),
        Case("gru", ("gru",)),
        Case("multi_lstm_gru", ("lstm", "gru"), options=(("forget_bias", 1.0),)),
        Case("multi_lstm_lstm", ("lstm", "lstm"), options=(("forget_bias", 1.0),)),
    ]
    ragged = tuple(LENGTHS)
    for case in plain:
        yield replace(case, name=f"{case.name}_full")
        yield replace(case, name=f"{case.name}_ragged", lengths=ragged)
        yield replace(case, name=f"{case.name}_full_state", initial=True)
        both = replace(case, name=f"{case.name}_ragged_state", lengths=ragged, initial=True)
        yield both
        if case.name in ("rnn_tanh", "lstm", "gru", "multi_lstm_gru"):
            yield replace(both, dtype="float32")
    lstm, gru = plain[2], plain[4]
    yield replace(lstm, name="lstm_time_major_ragged_state", lengths=ragged, initial=True, time_major=True)
    for case in (lstm, gru):
        both = replace(case, driver="bidirectional_dynamic_rnn")
        yield replace(both, name=f"bidirectional_{case.name}_full")
        yield replace(both, name=f"bidirectional_{case.name}_ragged", lengths=ragged)
        yield replace(both, name=f"bidirectional_{case.name}_ragged_state", lengths=ragged, initial=True)
    both = replace(lstm, driver="bidirectional_dynamic_rnn", lengths=ragged, initial=True)
    yield replace(both, name="bidirectional_lstm_ragged_state", dtype="float32")
    yield replace(lstm, name="static_lstm_full_state", driver="static_rnn", initial=True)
    yield replace(lstm, name="static_lstm_ragged_state", driver="static_rnn", lengths=ragged, initial=True)
    peepholes, projection = ("use_peepholes", True), ("num_proj", 2)
    cell_clip, proj_clip = ("cell_clip", 0.7), ("proj_clip", 0.3)
    for name, options in {
        "peepholes": (peepholes,),
        "cell_clip": (cell_clip,),
        "projection": (projection,),
        "proj_clip": (projection, proj_clip),
        "peepholes_clip": (peepholes, cell_clip),
        "peepholes_projection": (peepholes, projection),
        "clip_projection": (cell_clip, projection),
        "all": (peepholes, cell_clip, projection, proj_clip),
    }.items():
        both = replace(lstm, name=f"lstm_{name}_ragged_state", options=(("forget_bias", 1.0), *options), initial=True)
        yield replace(both, lengths=ragged)
        if name == "all":
            yield replace(both, lengths=ragged, dtype="float32")
            yield replace(both, name="lstm_all_full", initial=False)
    square = (B, T, H, H)
    yield replace(gru, name="residual_gru_ragged_state", lengths=ragged, initial=True, residual=True, dims=square)


def hello() -> None:
    """The course snippet: hello, eolll, lleel one-hot in h e l o, lengths 5 3 4, two units: outputs of (3, 5, 2)."""
    letters = np.eye(4)
    rows = np.stack([letters[["helo".index(letter) for letter in word]] for word in ("hello", "eolll", "lleel")])
    for cell_type in ("basic", "lstm"):
        case = Case(
            f"hello_{'rnn' if cell_type == 'basic' else cell_type}", (cell_type,), lengths=(5, 3, 4), dims=(3, 5, 4, 2)
        )
        make(replace(case, dtype="float32"), rows)


def main() -> None:
    warnings.simplefilter("ignore")  # every class and function used here is deprecated, which is intended
    v1.logging.set_verbosity(v1.logging.ERROR)
    v1.disable_v2_behavior()
    for case in cases():
        make(case)
    hello()
