"""A picture as Mermaid text, which many web pages and notebooks draw by themselves, without any Graphviz program."""

from __future__ import annotations

from ..scene import style
from ..scene.picture import Picture

_SHAPES = {"ellipse": ("([", "])"), "box": ("[", "]"), "plaintext": ("[", "]")}
_CODES = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "\\": "#92;", "`": "#96;"}


def write(picture: Picture) -> str:
    """The Mermaid flowchart of a picture: its nodes, boxes and edges, laid out by Mermaid itself.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> print(viz.draw(tg.tanh(tg.Parameter(1.0, name="w"))).mermaid().splitlines()[0])
    flowchart TB
    """
    lines = [f"flowchart {picture.direction}"]
    inner: dict[str | None, list[str]] = {}
    for box in picture.boxes:
        inner.setdefault(box.parent, []).append(box.id)
    boxes = {box.id: box for box in picture.boxes}
    content: dict[str | None, list[str]] = {}
    nodes = [node for node in picture.nodes if not node.table]  # a legend of samples that Mermaid does not draw
    for node in nodes:
        look = style.ROLES[node.role]
        before, after = _SHAPES.get(look.shape, ("[", "]"))
        label = "<br/>".join(_text(line) for line in node.lines) or " "  # Mermaid refuses an empty one
        content.setdefault(node.box, []).append(f'{node_id(node.id)}{before}"{label}"{after}:::{node.role}')
    work: list[tuple[str | None, int, bool]] = [(None, 0, True)]
    while work:  # a box's own nodes, then the boxes in it
        box_id, depth, opening = work.pop()
        pad = "  " * depth
        if not opening:
            lines.append(f"{pad}end")
            continue
        if box_id is not None:
            lines.append(f'{pad}subgraph {node_id("box " + box_id)}["{_text(boxes[box_id].label or " ")}"]')
            work.append((box_id, depth, False))
        lines.extend(f"{pad}  {line}" for line in content.get(box_id, ()))
        work.extend((child, depth + 1, True) for child in reversed(inner.get(box_id, ())))
    arrows = {"solid": "-->", "dashed": "-.->"}
    for edge in picture.edges:
        arrow = "==>" if edge.role in ("state", "memory") else arrows[style.EDGES[edge.role][2]]
        label = f'|"{_text(edge.label)}"|' if edge.label else ""
        lines.append(f"  {node_id(edge.tail)} {arrow}{label} {node_id(edge.head)}")
    for role in sorted({node.role for node in nodes}):
        look = style.ROLES[role]
        dash = ",stroke-dasharray:4 3" if "dashed" in look.style else ""
        lines.append(f"  classDef {role} fill:{look.fill},stroke:{look.line},color:{style.INK}{dash}")
    lines.extend(f"  style {node_id(node.id)} fill:{node.fill}" for node in nodes if node.fill)
    if boxes:
        lines.append(f"  classDef frame fill:{style.BOXES['inside'].fill},stroke:{style.BOXES['inside'].line}")
        lines.append(f"  class {','.join(node_id('box ' + id) for id in boxes)} frame")
    return "\n".join(lines) + "\n"


def node_id(name: str) -> str:
    """An id that Mermaid takes: letters, digits and underscores, no word of its own."""
    return "n_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)


def _text(line: str) -> str:
    """The text with codes for what Mermaid reads as its own; a space of no width parts its signs for line ends and icons."""
    apart = line.replace("\n", " ").replace("\\n", "\\\u200bn").replace(":fa-", ":\u200bfa-")
    return "".join(_CODES.get(c, c) for c in apart)
