"""Golden files of Keras 3: layers SimpleRNN, LSTM, GRU and Bidirectional, with masks, states and directions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from golden_io import Arrays, Source, save_recurrent, short

B, T, D, H = 4, 6, 3, 4
RIGHT, LEFT = (3, 6, 0, 4), (3, 6, 1, 4)
PARTS = {"SimpleRNN": ("h",), "LSTM": ("h", "c"), "GRU": ("h",)}
COLUMNS = {
    "SimpleRNN": ("H", ""),
    "LSTM": ("4H", "; columns i, f, c (the candidate), o"),
    "GRU": ("3H", "; columns z, r, h"),
}


@dataclass(frozen=True)
class Case:
    """One call of a layer: its options, its mask ("right" or "left": where the padding is), its initial state."""

    layer: str
    label: str
    options: tuple[tuple[str, Any], ...] = ()
    sequences: bool = True
    mask: str = ""
    initial: bool = False
    bidirectional: bool = False
    dtype: str = "float64"

    @property
    def name(self) -> str:
        return ("bidirectional_" if self.bidirectional else "") + f"{self.layer.lower()}_{self.label}"

    @property
    def parts(self) -> list[str]:
        sides = ("fw/", "bw/") if self.bidirectional else ("",)
        return [side + part for side in sides for part in PARTS[self.layer]]


def make_layer(case: Case) -> Any:
    options = dict(case.options) | {"return_sequences": case.sequences, "return_state": True}
    layer = getattr(keras.layers, case.layer)(H, dtype=case.dtype, **options)
    return keras.layers.Bidirectional(layer, merge_mode="concat", dtype=case.dtype) if case.bidirectional else layer


def call_text(case: Case) -> str:
    options = dict(case.options) | {"return_sequences": case.sequences, "return_state": True}
    text = f"keras.layers.{case.layer}({H}, {', '.join(f'{key}={value!r}' for key, value in options.items())})"
    text = f"keras.layers.Bidirectional({text}, merge_mode='concat')" if case.bidirectional else text
    arguments = ["x"] + ["mask=mask"] * bool(case.mask)
    if case.initial:
        arguments.append(f"initial_state=[{', '.join('initial/' + part for part in case.parts)}]")
    return f"{text}({', '.join(arguments)}) gives [output, {', '.join('state/' + part for part in case.parts)}]"


def layout_of(case: Case, key: str) -> str:
    width, order = COLUMNS[case.layer]
    name = key.split("/")[-1]
    if name == "kernel":
        return f"(D, {width})" + order
    if name == "recurrent_kernel":
        return f"(H, {width})" + order
    if case.layer == "GRU" and dict(case.options)["reset_after"]:
        return "(2, 3H): the input's bias, the recurrent bias (its h part inside r * (...))" + order
    return f"({width},)" + order


def short_name(case: Case, variable: Any) -> str:
    """The weight's own name, after fw/ or bw/ in a Bidirectional."""
    if not case.bidirectional:
        return f"weight/{variable.name}"
    return f"weight/{'bw' if 'backward' in variable.path else 'fw'}/{variable.name}"


def mask_of(case: Case) -> Arrays:
    """The mask of the case: rows of 3, 6, none and 4 real steps at the left, or of 3, 6, 1 and 4 at the right."""
    if not case.mask:
        return {}
    steps = np.arange(T)
    if case.mask == "right":
        return {"mask": steps < np.array(RIGHT)[:, None], "sequence_length": np.array(RIGHT, np.int32)}
    return {"mask": steps >= T - np.array(LEFT)[:, None]}


def make(case: Case, prefix: str = "keras") -> None:
    """Run one layer and write its file."""
    source = Source(case.name, case.dtype)
    params: Arrays = {"x": source.normal(B, T, D)}
    if case.initial:
        params |= {f"initial/{part}": source.normal(B, H, scale=0.8) for part in case.parts}
    constants = mask_of(case)
    layer = make_layer(case)
    layer.build((B, T, D))
    variables = {short_name(case, v): v for v in layer.trainable_variables}
    fresh = {key: v.numpy() for key, v in variables.items() if key.endswith("bias")}
    params |= {key: source.weight(*v.shape) for key, v in variables.items()}

    def run(values: Arrays) -> tuple[Arrays, float, Arrays]:
        for key, v in variables.items():
            v.assign(values[key])
        leaves = {key: tf.constant(value) for key, value in values.items() if key not in variables}
        options: dict[str, Any] = {}
        if case.mask:
            options["mask"] = tf.constant(constants["mask"])
        if case.initial:
            options["initial_state"] = [leaves[f"initial/{part}"] for part in case.parts]
        with tf.GradientTape() as tape:
            tape.watch(list(leaves.values()))
            output, *states = layer(leaves["x"], **options)
            keys = ["output"] + [f"state/{part}" for part in case.parts]
            results = dict(zip(keys, [output, *states], strict=True))
            loss = tf.add_n([tf.reduce_sum(r * source.cotangent(key, r.shape)) for key, r in results.items()])
        targets = {**leaves, **{key: v.value for key, v in variables.items()}}
        grads = tape.gradient(loss, targets)
        return (
            {key: r.numpy() for key, r in results.items()},
            float(loss),
            {key: g.numpy() for key, g in grads.items()},
        )

    config = layer.forward_layer.get_config() if case.bidirectional else layer.get_config()
    recorded: tuple[str, ...] = (
        "units",
        "activation",
        "recurrent_activation",
        "unit_forget_bias",
        "reset_after",
        "go_backwards",
    )
    recorded += tuple(key for key, _ in case.options if key not in recorded)  # use_bias
    meta = {
        "library": "Keras 3 on TensorFlow",
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        "call": call_text(case),
        "options": {
            "layer": case.layer,
            **{key: config[key] for key in recorded if key in config},
            "return_sequences": case.sequences,
            "return_state": True,
            "bidirectional": case.bidirectional,
            "merge_mode": "concat" if case.bidirectional else None,
            "masked": case.mask or None,
            "initial_state": "given" if case.initial else "zeros",
            "state_order": case.parts,
        },
        "layouts": {key: layout_of(case, key) for key in variables},
        "command": "python tests/reference/make_golden.py keras",
    }
    save_recurrent(f"{prefix}_{case.name}_{short(case.dtype)}", source, params, constants, run, meta, fresh)


def cases() -> Iterator[Case]:
    """Every layer: sequences and last output, masks, backwards, states; then Bidirectional and float32."""
    kinds: list[tuple[str, str, tuple[tuple[str, Any], ...]]] = [
        ("SimpleRNN", "", ()),
        ("LSTM", "", (("unit_forget_bias", True),)),
        ("GRU", "after_", (("reset_after", True),)),
        ("GRU", "before_", (("reset_after", False),)),
    ]
    back = (("go_backwards", True),)
    for layer, label, options in kinds:
        yield Case(layer, label + "sequences", options)
        yield Case(layer, label + "last", options, sequences=False)
        yield Case(layer, label + "mask", options, mask="right")
        yield Case(layer, label + "mask_state", options, mask="right", initial=True)
        yield Case(layer, label + "mask_last_state", options, sequences=False, mask="right", initial=True)
        yield Case(layer, label + "backwards_state", options + back, initial=True)
        yield Case(layer, label + "mask_state", options, mask="right", initial=True, dtype="float32")
    lstm, gru = kinds[1][2], kinds[2][2]
    yield Case("LSTM", "mask_left_state", lstm, mask="left", initial=True)
    yield Case("LSTM", "mask_backwards_state", lstm + back, mask="right", initial=True)
    yield Case("LSTM", "sequences", lstm, bidirectional=True)
    yield Case("LSTM", "last_state", lstm, sequences=False, initial=True, bidirectional=True)
    yield Case("LSTM", "mask_last_state", lstm, sequences=False, mask="right", initial=True, bidirectional=True)
    yield Case("LSTM", "mask_state", lstm, mask="right", initial=True, bidirectional=True)
    yield Case("LSTM", "mask_state", lstm, mask="right", initial=True, bidirectional=True, dtype="float32")
    yield Case("GRU", "after_mask_state", gru, mask="right", initial=True, bidirectional=True)


def layer_cases() -> Iterator[Case]:
    """Options of the layers that our cells do not have: other functions, no bias, left padding read backwards."""
    back, silent = ("go_backwards", True), ("use_bias", False)
    gates = ("recurrent_activation", "hard_sigmoid")
    yield Case("SimpleRNN", "softsign", (back, silent, ("activation", "softsign")), True, "left", True)
    yield Case("LSTM", "functions", (("unit_forget_bias", False), ("activation", "relu"), gates), True, "right", True)
    yield Case("GRU", "nobias", (back, silent, ("reset_after", True)), False, "left", True)
    yield Case("GRU", "functions", (("reset_after", False), ("activation", "elu"), gates), True, "left", True)


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for case in cases():
        make(case)
    for case in layer_cases():
        make(case, "keraslayers")
