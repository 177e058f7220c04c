"""Placing an unrolled net: time x layer is a grid, so nodes and arrows are put where they belong and nothing is searched."""

from __future__ import annotations

from tinygrad_rnn.autodiff.graph import Source

from . import style
from .picture import Box, Edge, Node, Picture, Point
from .steps import PASSES, Layer, State, Step, Unrolled, hoisted, state_name

CELL = (92.0, 54.0)
PITCH = 168.0  # from one step to the next
STAGGER = 30.0  # how far a backward layer stands to the right
LINE = 12.0  # how far c runs above the middle of a cell, and h below
LETTERS = {"kernel": "W", "recurrent_kernel": "U", "bias": "b", "recurrent_bias": "b′", "weight": "W"}


class Grid:
    """Builds the picture of an unrolled net, the columns `shown` of it."""

    def __init__(self, found: Unrolled, shown: list[int | None], shapes: bool, open_end: bool):
        self.found, self.shown, self.shapes, self.open_end = found, shown, shapes, open_end
        self.total = max(layer.start + len(layer.steps) for layer in found.layers)
        self.rows = 1 + max(layer.row for layer in found.layers)
        self.both_ways = any(layer.backward for layer in found.layers)
        self.pitch = PITCH + (2 * STAGGER if self.both_ways else 0)
        self.result = Picture("unrolled", "LR", placed=True)
        self.drawn: dict[str, Node] = {}
        self.centres = _centres(shown, self.pitch)
        tallest = max(len(layer.weights) for layer in found.layers) * style.FONT_SIZE * 1.2
        self.row = max(104.0, tallest + 92)  # from one layer to the next, with the weights between
        self.top = (self.rows - 1) * self.row + 84.0  # where outputs stand; the lowest layer stands at 0
        self.bottom = -84.0  # where inputs stand

    # -- places ------------------------------------------------------------------------------------------------------

    def x(self, column: int) -> float:
        """The middle of a column, which is shown."""
        return self.centres[self.shown.index(column)]

    def gap(self) -> float | None:
        return self.centres[self.shown.index(None)] if None in self.shown else None

    def aside(self, layer: Layer) -> float:
        """How far from the column's middle the cells of a layer stand."""
        return 0.0 if not self.both_ways else STAGGER if layer.backward else -STAGGER

    def place(self, step: Step) -> Point:
        layer = self.found.layers[step[0]]
        return self.x(layer.column(step[1])) + self.aside(layer), layer.row * self.row

    def is_shown(self, step: Step) -> bool:
        return self.found.layers[step[0]].column(step[1]) in self.shown

    def time(self, column: int) -> str:
        """What a column is called: its number, or T−1 … where the end is open."""
        if self.open_end and None in self.shown and self.shown.index(column) > self.shown.index(None):
            return f"T−{self.total - column}"
        return str(column)

    def at(self, name: str, column: int) -> str:
        time = self.time(column)
        return f"{name}[{time}]" if "T" in time else style.subscript(name, time)

    # -- the picture -------------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """The whole picture."""
        self.frames()
        for number, layer in enumerate(self.found.layers):
            self.cells(number, layer)
        self.inputs()
        for state in self.found.states:
            self.state(state)
        self.middle()
        self.outputs()
        self.weights()
        return self.result

    def frames(self) -> None:
        half = self.pitch / 2 - 13
        for column in self.shown:
            if column is not None:
                x = self.x(column)
                corners = (x - half, self.bottom - 26, x + half, self.top + 44)
                self.result.boxes.append(Box(f"t{column}", f"t={self.time(column)}", "step", None, corners))

    def node(
        self, id: str, lines: tuple[str, ...], role: str, at: Point, size: Point | None = None, box: str | None = None
    ) -> Node:
        found = Node(id, lines, role, box=box, at=at, size=size or style.fitting_size(lines, style.ROLES[role].shape))
        self.drawn[id] = found
        self.result.nodes.append(found)
        return found

    def arrow(
        self, tail: str, head: str, role: str, points: tuple[Point, ...], label: str = "", lift: float = 8.0
    ) -> None:
        """A straight arrow through two points, or a curve through four."""
        path = points if len(points) > 2 else _straight(points[0], points[1])
        middle = ((path[0][0] + path[-1][0]) / 2, (path[0][1] + path[-1][1]) / 2 + lift) if label else None
        self.result.edges.append(Edge(tail, head, role, label, path, middle))

    def cells(self, number: int, layer: Layer) -> None:
        names = " ".join(self.letter(i) for i in layer.weights)
        for t in layer.steps:
            if self.is_shown((number, t)):
                lines = (style.shown(layer.name, 14), *([names] if names else ()))
                box = f"t{layer.column(t)}"
                self.node(f"l{number}t{t}", lines, "cell", self.place((number, t)), CELL, box=box)

    def letter(self, i: int) -> str:
        name = self.found.graph.nodes[i].name or "?"
        return LETTERS.get(name.rpartition(".")[2], style.shown(name, 12))

    def inputs(self) -> None:
        """x_t below each step, with an arrow to every layer that reads it; arrows from the layers below."""
        for step, sources in sorted(self.found.feeds.items()):
            layer = self.found.layers[step[0]]
            if not self.is_shown(step):
                continue
            column = layer.column(step[1])
            below = {s for source in sources for s in self.origins(source, layer)}
            steps = sorted(s for s in below if s is not None)
            if None in below or not steps:
                self.input(step, column, sources)
            for other in steps:
                if self.is_shown(other):
                    self.up(other, step)
        for state in self.found.states:
            tail, head = state.tail, state.head
            if tail is not None and tail[0] != head[0] and tail[1] == head[1] and self.is_shown(tail):
                self.up(tail, head)

    def input(self, step: Step, column: int, sources: list[Source]) -> None:
        id, name = f"x{column}", f"l{step[0]}t{step[1]}"
        x, y = self.x(column), self.bottom
        if id not in self.drawn:
            lines = (self.at("x", column), *([self.input_shape(sources)] if self.shapes else ()))
            self.node(id, lines, "input", (x, y), box=f"t{column}")
        tall = (self.drawn[id].size or (0, 0))[1] / 2
        to_x, to_y = self.place(step)
        to = (to_x, to_y - CELL[1] / 2)
        if to_y > 0:  # past the layers in between, on the outer side
            side = x + (CELL[0] / 2 if to_x >= x else -CELL[0] / 2)
            to = (min(side, to_x + CELL[0] / 2 - 8), to[1])
            turn = (to[0], y + tall + 40)
            bend = ((x + (to[0] - x) / 2, y + tall + 6), (to[0], y + tall + 16))
            self.arrow(id, name, "data", ((x, y + tall), *bend, turn, *_straight(turn, to)[1:]))
        else:
            self.arrow(id, name, "data", ((x, y + tall), to))

    def input_shape(self, sources: list[Source]) -> str:
        """The shape of one step of what comes in: of the leaf itself, or of an array over time without its time axis."""
        graph = self.found.graph
        source, axis = sources[0], None
        while graph.nodes[source.id].op is not None and graph.nodes[source.id].sources:
            node = graph.nodes[source.id]
            axis = node.options.get("axis", 0) if node.op == "unstack" else axis
            source = node.sources[0]
        shape = graph.nodes[source.id].shapes[source.output]
        if axis is not None and len(shape) > 1:
            shape = shape[:axis] + shape[axis + 1 :]
        return style.shape_text(shape)

    def origins(self, start: Source, layer: Layer) -> list[Step | None]:
        """The steps that a value outside time was made of; None for what came from no step."""
        graph = self.found.graph
        steps: dict[Step | None, None] = {}
        work: list[tuple[Source, int | None]] = [(start, None)]
        seen = set(work)
        while work:
            source, pick = work.pop()
            node = graph.nodes[source.id]
            if source.id in self.found.step_of:
                steps[self.found.step_of[source.id]] = None
                continue
            if node.op is None or not (node.kind in PASSES or hoisted(self.found, layer, node)):
                if node.kind != "parameter":
                    steps[None] = None
                continue
            if node.op == "unstack":
                pick = source.output
            elif node.op == "reverse_sequence" and pick is not None:
                pick = self.total - 1 - pick
            further = node.sources
            if node.op == "stack" and pick is not None and pick < len(further):
                further, pick = (further[pick],), None
            for item in [(s, pick) for s in further]:
                if item not in seen:
                    seen.add(item)
                    work.append(item)
        return list(steps)

    def up(self, tail: Step, head: Step) -> None:
        (x0, y0), (x1, y1) = self.place(tail), self.place(head)
        self.arrow(
            f"l{tail[0]}t{tail[1]}", f"l{head[0]}t{head[1]}", "data", ((x0, y0 + CELL[1] / 2), (x1, y1 - CELL[1] / 2))
        )

    # -- states ------------------------------------------------------------------------------------------------------

    def offset(self, state: State) -> float:
        """How far above the middle of the cells a state's arrow runs."""
        names = {s.name for s in self.found.states if s.head[0] == state.head[0]}
        return 0.0 if len(names) < 2 else LINE if state.name == "c" else -LINE

    def state(self, state: State) -> None:
        if state.tail is not None and state.tail[0] != state.head[0] and state.tail[1] == state.head[1]:
            return
        head, rise = state.head, self.offset(state)
        layer = self.found.layers[head[0]]
        sign = -1.0 if layer.backward else 1.0
        role = "memory" if state.name == "c" else "state"
        id = f"l{head[0]}t{head[1]}"
        if state.tail is None:
            if self.is_shown(head):
                x, y = self.place(head)
                leaf = self.found.graph.nodes[state.source.id]
                column = layer.column(head[1])
                name = style.subscript(state.name, column + 1 if layer.backward else column - 1)
                lines = (style.shown(leaf.name or name, 14),)
                start = f"{id}{state.name}"
                kind = "constant" if leaf.kind == "constant" else "state"
                at = (self.x(column) - sign * (self.pitch / 2 + 34), y + rise * 1.6)
                node = self.node(start, lines, kind, at)
                wide = (node.size or (0, 0))[0] / 2
                self.arrow(start, id, role, ((at[0] + sign * wide, at[1]), (x - sign * CELL[0] / 2, y + rise)))
            return
        tail = state.tail
        name = f"l{tail[0]}t{tail[1]}"
        if self.is_shown(tail) and self.is_shown(head):
            (x0, y0), (x1, y1) = self.place(tail), self.place(head)
            label = self.at(state.name, self.found.layers[tail[0]].column(tail[1]))
            points = ((x0 + sign * CELL[0] / 2, y0 + rise), (x1 - sign * CELL[0] / 2, y1 + rise))
            self.arrow(name, id, role, points, label)
        elif self.is_shown(tail) or self.is_shown(head):
            gap = self.gap()
            assert gap is not None
            shown = tail if self.is_shown(tail) else head
            x, y = self.place(shown)
            inward = 1.0 if gap > x else -1.0
            ends = ((x + inward * CELL[0] / 2, y + rise), (gap - inward * 24, y + rise))
            if shown == tail:
                self.arrow(name, "more", role, ends, self.at(state.name, self.found.layers[tail[0]].column(tail[1])))
            else:
                self.arrow("more", id, role, (ends[1], ends[0]))

    def middle(self) -> None:
        gap = self.gap()
        if gap is not None:
            hidden = self.total - sum(c is not None for c in self.shown)
            lines = ("…",) if self.open_end else ("…", f"×{hidden}")
            height = (self.rows - 1) * self.row + CELL[1] + 10
            self.node("more", lines, "more", (gap, (self.rows - 1) * self.row / 2), (48.0, height))

    # -- what comes out, and the weights -----------------------------------------------------------------------------

    def outputs(self) -> None:
        """h_t above each step whose result leaves time, and the final state at the end of its row."""
        graph = self.found.graph
        last: dict[str, Source] = {}
        over: dict[Step, str] = {}
        for source in graph.outputs:
            step = self.found.step_of.get(source.id)
            if step is not None and step[1] == self.found.layers[step[0]].steps[-1]:
                last.setdefault(f"l{step[0]}t{step[1]}{self.name_of(source)}", source)
        for number, layer in enumerate(self.found.layers):
            if all(other.row <= layer.row or other.backward != layer.backward for other in self.found.layers):
                over.update(((number, t), "h") for t in layer.steps)
        several = len({step[0] for step in over}) > 1
        for step in sorted(over):
            if self.is_shown(step):
                self.output(step, "y" if several else "h")
        for source in last.values():
            self.final(source)

    def name_of(self, source: Source) -> str:
        return state_name(self.found.graph, source)

    def output(self, step: Step, letter: str) -> None:
        column = self.found.layers[step[0]].column(step[1])
        id = f"y{column}"
        if id not in self.drawn:
            self.node(id, (self.at(letter, column),), "output", (self.x(column), self.top), box=f"t{column}")
        x, y = self.place(step)
        tall = (self.drawn[id].size or (0, 0))[1] / 2
        begin, end = (x, y + CELL[1] / 2), (self.x(column), self.top - tall)
        if y < (self.rows - 1) * self.row and self.both_ways:
            begin = (x - CELL[0] / 2 + 20, begin[1])
            turn = (begin[0], end[1] - 34)
            path = (
                *_straight(begin, turn),
                (turn[0], end[1] - 16),
                (end[0] - 18, end[1] - 6),
                (end[0] - 8, end[1] + 2),
            )
            self.arrow(f"l{step[0]}t{step[1]}", id, "data", path)
        else:
            self.arrow(f"l{step[0]}t{step[1]}", id, "data", (begin, end))

    def final(self, source: Source) -> None:
        step = self.found.step_of[source.id]
        if not self.is_shown(step):
            return
        layer = self.found.layers[step[0]]
        name, sign = self.name_of(source), -1.0 if layer.backward else 1.0
        probe = State(name, source, None, step)
        x, y = self.place(step)
        rise = self.offset(probe)
        at = (self.x(layer.column(step[1])) + sign * (self.pitch / 2 + 34), y + rise * 1.6)
        id = f"l{step[0]}{name}"
        node = self.node(id, (self.at(name, layer.column(step[1])),), "state", at)
        wide = (node.size or (0, 0))[0] / 2
        role = "memory" if name == "c" else "state"
        ends = ((x + sign * CELL[0] / 2, y + rise), (at[0] - sign * wide, at[1]))
        self.arrow(f"l{step[0]}t{step[1]}", id, role, ends)

    def weights(self) -> None:
        """The weights of each layer, once, below the row's beginning; the cells name them by letter."""
        graph = self.found.graph
        for number, layer in enumerate(self.found.layers):
            if not layer.weights:
                continue
            lines = tuple(
                f"{self.letter(i)} = {style.shown(graph.nodes[i].name or '?', 30)} {style.shape_text(graph.nodes[i].shapes[0])}"
                for i in layer.weights
            )
            wide, tall = style.fitting_size(lines, "box")
            columns = [layer.column(t) for t in layer.steps]
            first, last = min(columns), max(columns)
            right = last == self.total - 1 and (layer.backward or first > 0)
            column = last if right else first
            if column not in self.shown or (first > 0 and not right):
                at = (self.middle_of(columns), self.bottom - 40 - tall / 2)
                self.node(f"w{number}", lines, "parameter", at, (wide, tall))
                continue
            sign = -1.0 if right else 1.0
            to_x, to_y = self.x(column) + self.aside(layer), layer.row * self.row
            x, y = self.x(column) - sign * (self.pitch / 2 + 26 + wide / 2), to_y - 40 - tall / 2
            self.node(f"w{number}", lines, "parameter", (x, y), (wide, tall))
            begin, end = (x + sign * wide / 2, y), (to_x - sign * (CELL[0] / 2 - 16), to_y - CELL[1] / 2)
            path = (begin, (end[0] - sign * 20, y), (end[0], y), end)
            t = next(t for t in layer.steps if layer.column(t) == column)
            self.arrow(f"w{number}", f"l{number}t{t}", "weight", path)

    def middle_of(self, columns: list[int]) -> float:
        """The middle of those of the columns that are shown."""
        places = [self.x(c) for c in columns if c in self.shown] or [self.gap() or 0.0]
        return sum(places) / len(places)


def _centres(shown: list[int | None], pitch: float) -> list[float]:
    """The middles of the columns shown, the gap's narrower than a step's."""
    centres, x, last = [], 0.0, None
    for i, column in enumerate(shown):
        if i:
            x += pitch * 0.8 if column is None or last is None else pitch
        centres.append(x)
        last = column
    return centres


def _straight(a: Point, b: Point) -> tuple[Point, ...]:
    """A straight line as a Bézier curve."""
    third = ((b[0] - a[0]) / 3, (b[1] - a[1]) / 3)
    return a, (a[0] + third[0], a[1] + third[1]), (b[0] - third[0], b[1] - third[1]), b
