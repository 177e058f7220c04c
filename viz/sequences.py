"""What a fused run over time tells of itself: the node of `scan`, or of a sequence's kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.autodiff.graph import NodeInfo
from tinygrad_rnn.autodiff.node import Node, Shape


class Sequence(NamedTuple):
    """Batch and steps of a run, its rows' lengths (None: all, or not known), and which axis of its arrays is time."""

    batch: int
    steps: int
    lengths: Any
    time_major: bool


def sequence_of(node: NodeInfo | Node) -> Sequence | None:
    """What a node tells of its run over time; None if it is none."""
    if isinstance(node, Node):
        kind, shapes = node.op.kind, node.shape
    else:
        kind, shapes = node.kind, node.shapes
    options: Any = node.options
    if kind != "recurrent":
        return None
    if "run" in options:
        run = options["run"]
        return Sequence(run.batch, run.steps, run.lengths, run.time_major)
    if len(shapes[0]) != 3:
        return None
    time_major = bool(options.get("time_major"))
    batch, steps = shapes[0][1::-1] if time_major else shapes[0][:2]
    return Sequence(batch, steps, options.get("lengths"), time_major)


def sequences_read(node: NodeInfo) -> int:
    """How many arrays over time a scan reads: the first of its inputs."""
    run: Any = node.options["run"]
    return len(run.loops.inputs.x)


def resized(node: NodeInfo, options: dict[str, Any], batch: int, steps: int) -> dict[str, Any]:
    """The options of a node's run, for so many rows and steps instead."""
    sequence = sequence_of(node)
    assert sequence is not None
    lengths = sequence.lengths if "run" in options else options.get("lengths")
    lengths = None if lengths is None or steps != sequence.steps else np.asarray(lengths)[:batch]
    if "run" in options:
        return {**options, "run": replace(options["run"], batch=batch, steps=steps, lengths=lengths)}
    return {**options, "lengths": lengths}


def resized_shapes(node: NodeInfo, names: tuple[str, ...], shapes: list[Shape], batch: int, steps: int) -> list[Shape]:
    """The shapes of the inputs of a node's run, for so many rows and steps instead. names: the inputs'."""
    sequence = sequence_of(node)
    assert sequence is not None
    over_time, by_row = _with_rows(node, names, shapes)
    lead = (steps, batch) if sequence.time_major else (batch, steps)
    return [
        (*lead, *shape[2:]) if i in over_time else (batch, *shape[1:]) if i in by_row else shape
        for i, shape in enumerate(shapes)
    ]


def _with_rows(node: NodeInfo, names: tuple[str, ...], shapes: list[Shape]) -> tuple[set[int], set[int]]:
    """Which inputs of a run are arrays over time, and which have one row for each of the batch."""
    if "run" in node.options:
        run: Any = node.options["run"]
        x, state, constants, _ = run.parts(range(len(shapes)))
        return set(x), {*state, *constants}
    rows = {i for i, name in enumerate(names) if "kernel" not in name and "bias" not in name}
    return {i for i in rows if len(shapes[i]) == 3}, {i for i in rows if len(shapes[i]) == 2}
