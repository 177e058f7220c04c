"""What repeats in a graph without recorded steps: a long loop by hand is placed as fast as one whose steps are marked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np

from ..scene.picture import Box, Node, Picture
from .repeat import repeat

LEAST, MANY = 8, 100  # repetitions, and ops in them, from which on one is laid out for all
WIDEST = 500  # ops of one repetition


class Block(NamedTuple):
    """Ops in a row that repeat: the number of the first, how many one repetition has, and how many repetitions there are."""

    first: int
    period: int
    times: int

    def part(self, number: int) -> int | None:
        """The repetition in which an op is."""
        part = (number - self.first) // self.period
        return part if 0 <= part < self.times else None


def repeated(picture: Picture) -> Block | None:
    """The longest run of ops that repeats, cut where the fewest values cross.

    None in small pictures, and where every cut goes through a box that does not hold all of the run.
    """
    ops, homes = _ops(picture), {box.id: box for box in picture.boxes}
    numbers: dict[Any, int] = {}
    row = np.array([numbers.setdefault((n.lines[0], n.box and homes[n.box].label), len(numbers)) for n in ops])
    best = (0, 0, 0)  # ops that are like those one period later, the period (negative), where they begin
    for period in range(1, min(len(row) // LEAST, WIDEST) + 1):
        begin, run = _longest_run(row[:-period] == row[period:])
        best = max(best, (run, -period, begin))
    run, period, begin = best[0], -best[1], best[2]
    if period == 1 or run < max(
        period * LEAST, MANY
    ):  # one period more than LEAST repeats, so that every cut leaves LEAST
        return None
    values, boxes = _crossing(picture, ops)
    first = min(range(begin, begin + period), key=lambda cut: (boxes[cut + period], values[cut + period]))
    block = Block(first, period, (begin + run + period - first) // period)
    return block if boxes[first + period] == len(_around(picture, ops, block)) else None


def place(picture: Picture, block: Block, **options: Any) -> Picture:
    """The picture with places: one repetition is laid out for all, as one step is where steps are recorded."""
    ops = _ops(picture)
    parents = {box.id: box.parent for box in picture.boxes}
    around = _around(picture, ops, block)
    outer = around[0] if around else None
    part_of: dict[str, int | None] = {}  # by the id of an op, or of a box with ops
    for number, op in enumerate(ops):
        part_of.update(dict.fromkeys([op.id, *_chain(op.box, parents)], block.part(number)))
    part_of.update(dict.fromkeys(around))
    readers: dict[str, set[int | None]] = {}
    for edge in picture.edges:
        readers.setdefault(edge.tail, set()).add(part_of[edge.head])
    nodes = list(picture.nodes)
    for i, node in enumerate(nodes):  # a leaf stands where it is read
        own = {part_of[node.id]} if node.id in part_of else readers.get(node.id, set())
        part = next(iter(own)) if len(own) == 1 else None
        if node.box == outer and part is not None:
            nodes[i] = replace(node, box=f"part{part}")
    boxes = [
        replace(box, parent=f"part{part}") if box.parent == outer and (part := part_of.get(box.id)) is not None else box
        for box in picture.boxes
    ]
    at = next((i + 1 for i, box in enumerate(boxes) if box.id == outer), 0)
    boxes[at:at] = [Box(f"part{k}", "", "step", outer, step=k) for k in range(block.times)]
    placed = repeat(replace(picture, nodes=nodes, boxes=boxes), **options)
    own_box = {node.id: node.box for node in picture.nodes}
    return replace(
        placed,
        nodes=[replace(node, box=own_box[node.id]) for node in placed.nodes],
        boxes=[replace(box, parent=parents[box.id]) for box in placed.boxes if box.id in parents],
    )


def _ops(picture: Picture) -> list[Node]:
    """The nodes that are ops, in the order in which they ran."""
    return [node for node in picture.nodes if node.role in ("op", "fused")]


def _longest_run(same: Any) -> tuple[int, int]:
    """Where the longest run of true entries begins, and its length."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    if not edges.size:
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _crossing(picture: Picture, ops: list[Node]) -> tuple[list[int], list[int]]:
    """For each cut before an op: how many values pass it, and how many boxes have ops on both sides."""
    index = {node.id: i for i, node in enumerate(ops)}
    values: dict[str, tuple[int, int]] = {}
    for edge in picture.edges:
        if edge.tail in index and edge.head in index:
            begin = index[edge.tail]
            values[edge.tail] = begin, max(values.get(edge.tail, (0, 0))[1], index[edge.head])
    parents = {box.id: box.parent for box in picture.boxes}
    boxes: dict[str, tuple[int, int]] = {}
    for i, node in enumerate(ops):
        for box in _chain(node.box, parents):
            boxes[box] = boxes.get(box, (i, i))[0], i
    return _crossings(values, len(ops)), _crossings(boxes, len(ops))


def _crossings(spans: dict[str, tuple[int, int]], size: int) -> list[int]:
    """How many spans, of first and last ops, each cut goes through."""
    change = Counter(begin + 1 for begin, _ in spans.values())
    change.subtract(Counter(end + 1 for _, end in spans.values()))
    return list(accumulate(change[i] for i in range(size + 1)))


def _around(picture: Picture, ops: list[Node], block: Block) -> list[str]:
    """The boxes that hold all ops of a block, the innermost first."""
    parents = {box.id: box.parent for box in picture.boxes}
    shared, *others = [_chain(op.box, parents) for i, op in enumerate(ops) if block.part(i) is not None]
    for chain in others:
        shared = [id for id in shared if id in chain]
    return shared


def _chain(box: str | None, parents: dict[str, str | None]) -> list[str]:
    """A box and all around it, the innermost first."""
    chain = []
    while box is not None:
        chain.append(box)
        box = parents[box]
    return chain
