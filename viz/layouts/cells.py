"""The places of the ops inside the cells that textbooks draw: plain, LSTM and GRU, in their usual arrangement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source

from ..net.layers import gate_of
from ..scene import style
from ..scene.paths import rounded
from ..scene.picture import Box, Corners, Edge, Node, Picture, Point

GATES = {
    "f": "forget gate f",
    "i": "input gate i",
    "g": "candidate g",
    "o": "output gate o",
    "z": "update gate z",
    "r": "reset gate r",
    "n": "candidate n",
    "c": "memory c",
    "h": "output h",
}
INSIDE = "inside"  # the id of the frame around a step
POINT, SQUASH, PRODUCT = (26.0, 26.0), (46.0, 28.0), (36.0, 26.0)


def diagram(graph: Graph, labels: style.Labels, title: str) -> Picture | None:
    """The picture of a step of a known cell; None of another one."""
    plan = PLANS.get(_signature(graph))
    return None if plan is None else CellDiagram(graph, labels).picture(plan, title)


def named_leaf(leaf: NodeInfo) -> tuple[str, str]:
    """The role and the name of an input or state."""
    return ("input", "xₜ") if leaf.name == "x" else ("state", f"{leaf.name}ₜ₋₁")


def _signature(graph: Graph) -> tuple[str, ...]:
    """The ops in order, each with the name of its gate; φ for any activation."""
    ops = [node for node in graph.nodes if node.op is not None]
    return tuple(f"{'φ' if _squashes(node) else node.op} {gate_of(node.scope)}".rstrip() for node in ops)


def _squashes(node: NodeInfo) -> bool:
    """Whether an op is an activation: a function of each element."""
    return node.kind == "pointwise" and len(node.sources) == 1 and node.op != "subtract"


class CellDiagram:
    """A picture of a step whose ops stand where a plan puts them; wires run at right angles with round corners.

    Ops are known by their numbers, leaves by their names. A wire leaves and enters at the side that faces its next corner.
    """

    def __init__(self, graph: Graph, labels: style.Labels):
        self.graph, self.labels = graph, labels
        self.ops = [node for node in graph.nodes if node.op is not None]
        self.leaves = {node.name: node for node in graph.nodes if node.op is None}
        self.keys = {node.id: f"o{i}" for i, node in enumerate(self.ops)}
        self.keys.update({node.id: str(name) for name, node in self.leaves.items()})
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], Edge] = {}
        self.boxes: dict[str, Box] = {}

    def picture(self, plan: Plan, title: str) -> Picture:
        """Place the nodes as a plan does and route its wires; all other edges become straight wires."""
        plan(self, title)
        for node in self.ops:
            for source in node.sources:
                pair = self.keys[source.id], self.keys[node.id]
                if pair not in self.edges:
                    leaf = self.graph.nodes[source.id].op is None
                    weight = leaf and self.graph.nodes[source.id].kind == "parameter"
                    self.wire(*pair, role="weight" if weight else "data")
        nodes, edges, boxes = tuple(self.nodes.values()), tuple(self.edges.values()), tuple(self.boxes.values())
        return Picture("cell", "LR", nodes, edges, boxes, placed=True)

    def put(self, key: str, lines: Lines, role: str, at: Point, size: Point | None = None, **fields: Any) -> None:
        """Put a node's middle at a point; fields: others of the node."""
        size = size or style.fitting_size(lines, style.ROLES[role].shape)
        self.nodes[key] = Node(key, lines, role, at=at, size=size, **fields)

    def leaf(self, name: str, x: float, y: float) -> None:
        """An input, state or weight."""
        node = self.leaves[name]
        role, shown = ("parameter", name) if node.kind == "parameter" else named_leaf(node)
        lines = (shown, *self.labels.of(node.shapes[0], node.dtypes[0]))
        box = INSIDE if role == "parameter" else None
        fields: Any = {"tip": _tip(node), "value": Source(node.id, 0)}
        self.put(name, lines, role, (x, y), box=box, **fields)

    def op(self, i: int, x: float, y: float, size: tuple[float, float] | None = None, gate: str = "") -> None:
        """An op, by its number, in the frame of this gate or of the one that it makes, if that has one."""
        node = self.ops[i]
        gate = gate or gate_of(node.scope)
        role = "squash" if _squashes(node) else "op"
        if node.op in ("add", "multiply", "subtract"):
            role = "point"
        default = {"squash": SQUASH, "point": POINT}.get(role, PRODUCT)
        label = "1−" if node.op == "subtract" else node.label
        box = gate if gate in self.boxes else INSIDE
        fields: Any = {"tip": _tip(node), "value": Source(node.id, 0)}
        self.put(f"o{i}", (label,), role, (x, y), size or default, box=box, **fields)

    def wire(self, tail: str, head: str, *via: tuple[float, float], role: str = "data") -> None:
        """An arrow along the corners `via`."""
        a, b = self.nodes[tail], self.nodes[head]
        first = via[0] if via else _facing(b, a)
        last = via[-1] if via else _facing(a, b)
        path = rounded((_border(a, first), *via, _border(b, last)))
        self.edges[tail, head] = Edge(tail, head, role, path=path)

    def result(self, i: int, name: str, x: float, y: float) -> None:
        """What the step gives out."""
        value = Source(self.ops[i].id, 0)
        self.put(f"{name}'", (f"{name}ₜ",), "state", (x, y), value=value, state=name)
        self.wire(f"o{i}", f"{name}'", role=style.state_role(name))

    def gate(self, letter: str, x: float, y: float, below: float = 0.0) -> None:
        """A frame around a gate's op at x, y (and what stands below it), its name on the left."""
        word, _, rest = GATES[letter].partition(" ")
        self.frame(letter, f"{word}\n{rest}", (x - 82, y - 24 - below, x + 30, y + 24), (x - 53, y))

    def inside(self, title: str, corners: Corners) -> None:
        """The frame around all that the step does."""
        self.boxes[INSIDE] = Box(INSIDE, title, "inside", None, corners)

    def frame(self, letter: str, title: str, corners: Corners, title_at: Point | None = None) -> None:
        """A frame around the ops of a gate."""
        self.boxes[letter] = Box(letter, title, "gate", INSIDE, corners, title_at)


Lines = tuple[str, ...]
Plan = Callable[[CellDiagram, str], None]


def _tip(node: NodeInfo) -> str:
    return f"{node.op or node.kind} {style.shape_text(node.shapes[0])} {node.dtypes[0]}"


def _input_column(s: CellDiagram, product: int, plus: int, x: float, y: float) -> None:
    """x W + b, upwards to y."""
    s.leaf("x", x, y - 172)
    s.op(product, x, y - 110)
    s.leaf("kernel", x - 96, y - 110)
    s.op(plus, x, y - 56)
    s.leaf("bias", x - 96, y - 56)


def _sum(s: CellDiagram) -> None:
    """x W + b + h U."""
    _input_column(s, 0, 1, 170, 0)
    s.leaf("h", -60, 0)
    s.op(2, 74, 0)
    s.leaf("recurrent_kernel", 90, 58)
    s.op(3, 170, 0)
    s.wire("h", "o2", role="state")


def _plain(s: CellDiagram, title: str) -> None:
    """h' = activation(x W + b + h U)."""
    squash = len(s.ops) > 4
    s.inside(title, (2, -142, 330 if squash else 250, 112))
    _sum(s)
    if squash:
        s.op(4, 262, 0)
    s.result(4 if squash else 3, "h", 410 if squash else 330, 0)


def _lstm(s: CellDiagram, title: str) -> None:
    """c straight through on top; f, i, g and o below it; x W + b + h U at the left."""
    s.inside(title, (2, -142, 806, 238))
    columns = {"f": 330.0, "i": 448.0, "g": 566.0, "o": 684.0}
    for number, (letter, x) in zip((6, 5, 7, 8), columns.items(), strict=True):
        s.gate(letter, x, 76)
        s.op(number, x, 76)
    _sum(s)
    s.op(4, 507, 0, (402, 24))
    s.wire("o3", "o4")
    s.leaf("c", -60, 200)
    s.op(9, 330, 200)
    s.op(10, 507, 144)
    s.op(11, 507, 200)
    s.op(12, 756, 140)
    s.op(13, 756, 76)
    s.wire("c", "o9", role="memory")
    s.wire("o9", "o11", role="memory")
    s.wire("o5", "o10", (448, 144))
    s.wire("o7", "o10", (566, 144))
    s.wire("o11", "o12", (756, 200), role="memory")
    s.result(11, "c", 880, 200)
    s.result(13, "h", 880, 76)


def _gru(s: CellDiagram, title: str) -> None:
    """h straight through on top; z, r and n below it (the reset gate before the product with h)."""
    s.inside(title, (2, -196, 786, 242))
    s.gate("z", 300, 76)
    s.gate("r", 416, 76)
    s.frame("n", GATES["n"], (508, 34, 750, 104))
    _input_column(s, 0, 1, 170, -54)
    s.op(2, 170, -56, (64, 24))
    s.leaf("h", -60, 204)
    s.op(4, 74, 0)
    s.op(5, 170, 0)
    s.op(6, 358, 0, (170, 24))
    s.leaf("recurrent_kernel", 358, -140)
    s.op(3, 252, -82, (46, 24))
    s.op(10, 464, -82, (46, 24))
    s.op(7, 300, 76)
    s.op(8, 416, 76)
    s.op(9, 416, 160)
    s.op(11, 544, 60, gate="n")
    s.op(12, 624, 60)
    s.op(13, 706, 60)
    s.op(14, 300, 204)
    s.op(15, 580, 160)
    s.op(16, 706, 160)
    s.op(17, 706, 204)
    s.wire("h", "o14", role="state")
    s.wire("h", "o4", (74, 204), role="state")
    s.wire("h", "o9", (74, 204), (74, 160), role="state")
    s.wire("recurrent_kernel", "o3", (252, -140), role="weight")
    s.wire("recurrent_kernel", "o10", (464, -140), role="weight")
    s.wire("o3", "o4", (74, -82), role="weight")
    s.wire("o10", "o11", (544, -82), role="weight")
    s.wire("o2", "o12", (624, -56))
    s.wire("o7", "o15", (300, 124), (580, 124))
    s.wire("o9", "o11", (478, 160), (478, 60))
    s.wire("o14", "o17", role="state")
    s.result(17, "h", 860, 204)


def _gru_reset_after(s: CellDiagram, title: str) -> None:
    """As `_gru`; the reset gate comes after the product with h, which so has its own bias and serves all three."""
    s.inside(title, (2, -219, 862, 288))
    for letter, x in (("z", 372.0), ("r", 492.0)):
        s.gate(letter, x, 116, below=52)
    s.frame("n", GATES["n"], (536, 34, 832, 104))
    for y, name, bias, first in ((-130, "kernel", "bias", 0), (0, "recurrent_kernel", "recurrent_bias", 3)):
        s.op(first, 118, y)
        s.op(first + 1, 186, y)
        s.op(first + 2, 266, y, (44, 74))
        s.leaf(name, *((38, y) if first == 0 else (112, y + 62)))
        s.leaf(bias, 186, y - 60)
    s.leaf("x", 118, -256)
    s.leaf("h", -60, 250)
    s.wire("h", "o3", (30, 250), (30, 0), role="state")
    for plus, squash, x, y in ((6, 7, 372, 24), (8, 9, 492, 0)):
        s.op(plus, x, 64)
        s.op(squash, x, 116)
        s.wire("o5", f"o{plus}", (x - 7, y))
        s.wire("o2", f"o{plus}", (x + 7, y - 130))
    for number, x, y in ((10, 640, 60), (11, 712, 60), (12, 788, 60), (13, 372, 250), (14, 676, 204), (15, 788, 204)):
        s.op(number, x, y)
    s.op(16, 788, 250)
    s.wire("o5", "o10", (640, -24))
    s.wire("o2", "o11", (712, -154))
    s.wire("o9", "o10", (640, 116))
    s.wire("o7", "o14", (372, 166), (676, 166))
    s.wire("h", "o13", role="state")
    s.wire("o13", "o16", role="state")
    s.result(16, "h", 936, 250)


_GRU_OPS = "matmul,add,split,getitem,matmul,add,split,φ z,φ r,multiply,getitem,matmul,add n,φ n"
_RESET_AFTER_OPS = "matmul,add,split,matmul,add,split,add z,φ z,add r,φ r,multiply n,add n,φ n"
_UPDATE = "multiply h,subtract h,multiply h,add h"
_LSTM_OPS = "matmul,add,matmul,add,split,φ i,φ f,φ g,φ o,multiply c,multiply c,add c,φ h,multiply h"
PLANS: dict[tuple[str, ...], Plan] = {
    tuple(_LSTM_OPS.split(",")): _lstm,
    tuple(f"{_GRU_OPS},{_UPDATE}".split(",")): _gru,
    tuple(f"{_RESET_AFTER_OPS},{_UPDATE}".split(",")): _gru_reset_after,
    **{("matmul", "add h", "matmul", "add h", *last): _plain for last in ((), ("φ h",))},
}


def _sides(node: Node) -> tuple[float, float, float, float]:
    assert node.at is not None
    assert node.size is not None
    (x, y), (w, h) = node.at, node.size
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _facing(node: Node, other: Node) -> Point:
    """Where on a node to aim from another: straight up or across if they overlap that way, else its middle."""
    left, bottom, right, top = _sides(node)
    (x, y), mine = other.at or (0.0, 0.0), node.at or (0.0, 0.0)
    if left <= x <= right:
        return x, mine[1]
    return (mine[0], y) if bottom <= y <= top else mine


def _border(node: Node, to: Point) -> Point:
    """Where a line from a node towards a point leaves it."""
    left, bottom, right, top = _sides(node)
    x, y = node.at or (0.0, 0.0)
    if left <= to[0] <= right:
        if style.ROLES[node.role].shape in ("ellipse", "circle"):
            half = (1 - min(1.0, abs(to[0] - x) / (right - x)) ** 2) ** 0.5 * (top - y)
            return to[0], y + half if to[1] > y else y - half
        return to[0], top if to[1] > y else bottom
    if bottom <= to[1] <= top:
        return (right if to[0] > x else left), to[1]
    steep = abs(to[1] - y) * (right - x) > abs(to[0] - x) * (top - y)
    part = (top - y) / abs(to[1] - y) if steep else (right - x) / abs(to[0] - x)
    return x + (to[0] - x) * part, y + (to[1] - y) * part
