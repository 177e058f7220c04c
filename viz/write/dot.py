"""A picture as DOT text. The graphviz package writes and escapes it; nothing here runs a program."""

from __future__ import annotations

import html
from importlib import import_module
from typing import Any

from ..scene import style
from ..scene.picture import Box, Edge, Node, Picture, Point


def _colours(look: style.Look) -> dict[str, str]:
    return {"shape": look.shape, "style": look.style, "fillcolor": look.fill, "color": look.line}


USUAL_NODE, USUAL_EDGE = _colours(style.ROLES["op"]), {"color": style.EDGES["data"][0]}  # need not be said each time


def write(picture: Picture) -> str:
    """The DOT text of a picture: the same picture gives the same bytes.

    A picture with places asks for the layout "nop2", which draws everything where it is said to be.
    """
    graphviz: Any = import_module("graphviz")
    placed = picture.placed
    frame = {"bgcolor": "white", "fontname": style.FONT, "fontsize": "12", "fontcolor": style.INK, "labeljust": "l"}
    if placed:
        frame |= {"layout": "nop2", "splines": "true", "pad": "0.15"}
    else:
        frame |= {"rankdir": picture.direction, "nodesep": "0.22", "ranksep": "0.32", "pad": "0.15"}
    root = graphviz.Digraph(
        picture.name,
        graph_attr=frame,
        node_attr={
            "fontname": style.FONT,
            "fontsize": f"{style.FONT_SIZE:g}",
            "fontcolor": style.INK,
            "margin": "0.08,0.04",
            **USUAL_NODE,
        },
        edge_attr={
            "fontname": style.FONT,
            "fontsize": f"{style.SMALL:g}",
            "fontcolor": style.INK,
            "arrowsize": "0.7",
            **USUAL_EDGE,
        },
    )
    graphs: dict[str | None, Any] = {None: root}
    for box in picture.boxes:
        graphs[box.id] = graphviz.Digraph(f"cluster_{box.id}", graph_attr=_box(box))
    for node in picture.nodes:
        graphs[node.box].node(node.id, **_node(node, placed))
    depth: dict[str | None, int] = {None: 0}
    for box in picture.boxes:
        depth[box.id] = depth[box.parent] + 1
    for box in sorted(picture.boxes, key=lambda box: -depth[box.id]):  # inner before outer
        graphs[box.parent].subgraph(graphs[box.id])
    for edge in picture.edges:
        root.edge(edge.tail, edge.head, **_edge(edge))
    return str(root.source)


def _text(*lines: str) -> Any:
    """Lines as one label that shows backslashes, quotes, <…> and &…; as they are written; the line ends are ours."""
    graphviz: Any = import_module("graphviz")
    return graphviz.nohtml(r"\n".join(graphviz.escape(line.replace("&", "&amp;")) for line in lines))


def _node(node: Node, placed: bool) -> dict[str, Any]:
    look = style.ROLES[node.role]
    if node.table:
        return {"label": _table(node), "shape": "plain", "style": ""}
    wide, tall = node.extent
    attributes = {
        "label": _text(*node.lines),
        **_unusual(_colours(look._replace(fill=node.fill or look.fill)), USUAL_NODE),
        "width": f"{wide / 72:.3f}",
        "height": f"{tall / 72:.3f}",
    }
    if node.strong:
        attributes["penwidth"] = "2.2"
    if node.tip:
        attributes["tooltip"] = _text(node.tip)
    if placed:
        attributes["fixedsize"] = "true"
        if node.at is not None:
            attributes["pos"] = _point(node.at)
    return attributes


def _table(node: Node) -> str:
    """A legend as DOT's own kind of HTML, which only escapes the text."""
    rows = []
    for mark, colour, text in node.table:
        escaped = html.escape(text)
        if not colour:
            rows.append(f'<TR><TD BORDER="0" COLSPAN="2" ALIGN="LEFT"><B>{escaped}</B></TD></TR>')
            continue
        sample = (
            f'<TD BORDER="0"><FONT COLOR="{colour}">{mark}</FONT></TD>' if mark else f'<TD BGCOLOR="{colour}"></TD>'
        )
        rows.append(f'<TR>{sample}<TD BORDER="0" ALIGN="LEFT">{escaped}</TD></TR>')
    look = 'BORDER="0" CELLBORDER="1" CELLSPACING="4" CELLPADDING="3" COLOR="#777777"'
    return f"<<TABLE {look}>{''.join(rows)}</TABLE>>"


def _edge(edge: Edge) -> dict[str, Any]:
    colour, width, line = style.EDGES[edge.role]
    colour, width = edge.look or (colour, width)
    attributes: dict[str, Any] = _unusual({"color": colour}, USUAL_EDGE)
    if width != 1:
        attributes["penwidth"] = f"{width:g}"
    if line != "solid":
        attributes["style"] = line
    if edge.label:
        attributes["label"] = _text(edge.label)
        if edge.label_at is not None:
            attributes["lp"] = _point(edge.label_at)
    if edge.path:
        attributes["pos"] = f"e,{_point(edge.path[-1])} " + " ".join(map(_point, (*edge.path[:-1], _before(edge.path))))
    return attributes


def _box(box: Box) -> dict[str, Any]:
    look = style.BOXES[box.role]
    attributes = {
        "label": _text(*box.label.split("\n")),
        "style": look.style,
        "fillcolor": look.fill,
        "color": look.line,
    }
    if box.corners is not None:
        left, bottom, right, top = box.corners
        attributes["bb"] = f"{_point((left, bottom))},{_point((right, top))}"
        if box.label_at is not None:
            attributes |= {"lp": _point(box.label_at), "fontsize": f"{style.SMALL:g}"}
        elif box.label:
            lines = box.label.split("\n")
            wide, tall = max(map(style.text_width, lines)), 12.0 + 7.2 * (len(lines) - 1)
            attributes["lp"] = _point((left + 10 + wide / 2, top - tall))
    return attributes


def _unusual(attributes: dict[str, str], usual: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in attributes.items() if usual[key] != value}


def _before(path: tuple[Point, ...]) -> Point:
    """Where the line ends and the arrow's head (7 points long) begins."""
    (x0, y0), (x1, y1) = path[-2], path[-1]
    far = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 or 1.0
    return x1 - (x1 - x0) * 7 / far, y1 - (y1 - y0) * 7 / far


def _point(p: Point) -> str:
    return f"{p[0]:.4g},{p[1]:.4g}" if max(abs(p[0]), abs(p[1])) < 1000 else f"{p[0]:.1f},{p[1]:.1f}"
