"""What repeats in a graph without recorded steps: a long loop by hand is placed as fast as one whose steps are marked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from ..scene.picture import Box, Picture
from .repeat import repeat

LEAST, MANY = 8, 100  # repetitions, and nodes in them, from which on one is laid out for all
WIDEST = 500  # nodes of one repetition
Block = tuple[int, int, int]  # the index of its first node, how many nodes repeat, and how often


def repeated(picture: Picture) -> Block | None:
    """The longest run of nodes that repeats, cut where the fewest arrows cross and no box does; None in small pictures."""
    home = {box.id: box for box in picture.boxes}
    kinds: dict[Any, int] = {}
    row = np.array(
        [
            kinds.setdefault((n.role, n.lines[0] if n.role == "op" else "", n.box and home[n.box].label), len(kinds))
            for n in picture.nodes
        ]
    )
    best = (0, 0, 0)  # nodes that are like those one period later, the period (negative), where they begin
    for period in range(1, min(len(row) // LEAST, WIDEST) + 1):
        begin, run = _longest_run(row[:-period] == row[period:])
        best = max(best, (run, -period, begin))
    run, period, begin = best[0], -best[1], best[2]
    if period == 1 or run < max(
        period * LEAST, MANY
    ):  # one period more than LEAST repeat, so that every cut leaves as many
        return None
    crossed = _crossed(picture)
    cuts = range(begin, begin + period)
    first = min(cuts, key=lambda cut: crossed[cut + period * (LEAST // 2)])
    return first, period, (begin + run + period - first) // period


def _longest_run(same: Any) -> tuple[int, int]:
    """Where the longest run of true entries begins, and its length."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], same, [False]]).astype(np.int8)))
    if not edges.size:
        return 0, 0
    starts, ends = edges[::2], edges[1::2]
    longest = int(np.argmax(ends - starts))
    return int(starts[longest]), int(ends[longest] - starts[longest])


def _crossed(picture: Picture) -> list[int]:
    """For each index how many values pass from nodes before it to nodes from it on; many more where a box is cut."""
    index = {node.id: i for i, node in enumerate(picture.nodes)}
    last: dict[str, int] = {}
    for edge in picture.edges:
        last[edge.tail] = max(last.get(edge.tail, 0), index[edge.head])
    change: Counter[int] = Counter()
    for tail, end in last.items():
        change[index[tail] + 1] += 1
        change[end + 1] -= 1
    parents = {box.id: box.parent for box in picture.boxes}
    spans: dict[str, tuple[int, int]] = {}
    for i, node in enumerate(picture.nodes):
        box = node.box
        while box is not None:
            spans[box] = spans.get(box, (i, i))[0], i
            box = parents[box]
    for begin, end in spans.values():
        change[begin + 1] += len(index)
        change[end + 1] -= len(index)
    crossed, now = [], 0
    for i in range(len(index) + 1):
        now += change[i]
        crossed.append(now)
    return crossed


def place(picture: Picture, block: Block, **options: Any) -> Picture:
    """The picture with places: one repetition is laid out, as one step is where steps are recorded."""
    first, period, count = block
    homes = {box.id: box.parent for box in picture.boxes}
    chains = [_chain(node.box, homes) for node in picture.nodes[first : first + period * count]]
    around = [id for id in chains[0] if all(id in chain for chain in chains)]
    outer = around[0] if around else None
    parts = [Box(f"part{k}", "", "step", outer, step=k) for k in range(count)]
    part_of: dict[str, str] = {}  # the box of a part, by the boxes and nodes in it
    for k, chain in enumerate(chains):
        part_of.update(dict.fromkeys((id for id in chain if id not in around), f"part{k // period}"))
    nodes = list(picture.nodes)
    for k in range(first, first + period * count):
        if nodes[k].box == outer:
            nodes[k] = replace(nodes[k], box=f"part{(k - first) // period}")
    boxes: list[Box] = []
    for box in picture.boxes:
        inside = box.parent == outer and box.id in part_of
        boxes.append(replace(box, parent=part_of[box.id]) if inside else box)
    at = next((i + 1 for i, box in enumerate(boxes) if box.id == outer), 0)
    placed = repeat(replace(picture, nodes=nodes, boxes=[*boxes[:at], *parts, *boxes[at:]]), **options)
    own = {node.id: node.box for node in picture.nodes}
    placed.nodes = [replace(node, box=own[node.id]) for node in placed.nodes]
    placed.boxes = [replace(box, parent=homes[box.id]) for box in placed.boxes if box.id in homes]
    return placed


def _chain(box: str | None, homes: dict[str, str | None]) -> list[str]:
    """A box and all around it, the innermost first."""
    chain = []
    while box is not None:
        chain.append(box)
        box = homes[box]
    return chain
