"""What a fused run over time tells of itself: the node of `scan`, or of a sequence's kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

from tinygrad_rnn.autodiff.graph import NodeInfo
from tinygrad_rnn.autodiff.node import Node


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
