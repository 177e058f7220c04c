"""Figures as plain data without places: what every drawing that the tests make shows, stored, and held to what is stored.

`TINYGRAD_RNN_STORE_FIGURES=1 pytest tests/viz` stores them anew (`git diff` does not show how: look at the pictures).
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

STORED = Path(__file__).parent / "figures.json.xz"
TIME = re.compile(r"[\d.e-]+ (s|ms|µs)")
BIG = 300  # nodes: of larger figures only a digest is stored

Figure = list[Any]


def describe(picture: Any) -> Figure:
    """Nodes, edges and boxes of a picture in an order that does not depend on how it was made."""
    titles: dict[str | None, str] = {None: ""}
    for box in picture.boxes:
        titles[box.id] = f"{titles[box.parent]}/{box.label}"
    timed = any(line.startswith("time of") for node in picture.nodes for line in node.lines)
    if timed:  # which no two runs have alike
        picture = replace(picture, nodes=[_without_time(node) for node in picture.nodes])
    keys = {node.id: "\n".join((*node.lines, titles[node.box])) for node in picture.nodes}
    nodes = sorted(
        [keys[n.id], n.role, n.fill or "", int(n.strong), [list(row) for row in n.table]] for n in picture.nodes
    )
    edges = sorted(
        [keys.get(e.tail, e.tail), keys.get(e.head, e.head), e.role, e.label, list(e.look or ())] for e in picture.edges
    )
    boxes = sorted([titles[box.id], box.role] for box in picture.boxes)
    figure = [picture.name, picture.direction, nodes, edges, boxes]
    if len(nodes) <= BIG:
        return figure
    digest = hashlib.sha256(json.dumps(figure).encode()).hexdigest()
    return [picture.name, picture.direction, len(nodes), len(edges), len(boxes), digest]


def _without_time(node: Any) -> Any:
    table = tuple((mark, "", TIME.sub("…", text)) for mark, _, text in node.table[:1])
    return replace(node, lines=tuple(TIME.sub("…", line) for line in node.lines[:3]), fill=None, table=table)


def load() -> dict[str, list[Figure]]:
    """The stored figures by the id of the test that makes them."""
    if not STORED.exists():
        return {}
    stored = json.loads(lzma.decompress(STORED.read_bytes()))
    return {test: [stored["figures"][k] for k in numbers] for test, numbers in stored["tests"].items()}


def store(figures: dict[str, list[Figure]]) -> None:
    """Write the figures, each of them once."""
    numbers: dict[str, int] = {}
    tests = {
        test: [numbers.setdefault(json.dumps(figure), len(numbers)) for figure in made]
        for test, made in sorted(figures.items())
    }
    text = json.dumps({"figures": [json.loads(one) for one in numbers], "tests": tests})
    STORED.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def difference(stored: Figure, made: Figure) -> str:
    """What differs between two figures, in a few lines."""
    lines = []
    for what, before, after in zip(("name", "direction", "node", "edge", "box"), stored, made, strict=False):
        if before == after:
            continue
        if not isinstance(before, list) or not isinstance(after, list):
            lines.append(f"{what}: {before!r} is now {after!r}")
            continue
        old, new = ([json.dumps(one, ensure_ascii=False) for one in some] for some in (before, after))
        lines += [f"- {what} {one}" for one in old if one not in new][:8]
        lines += [f"+ {what} {one}" for one in new if one not in old][:8]
        if sorted(set(old)) == sorted(set(new)):
            lines.append(f"{what}: how often each occurs")
    return "\n".join(lines) or "the digests differ"
