"""Placing an unrolled net: time x floor is a grid, so nodes and arrows are put where they belong and nothing is searched."""

from __future__ import annotations

from tinygrad_rnn.autodiff.graph import Source

from . import style
from .floors import House, Origin
from .picture import Box, Edge, Node, Picture, Point
from .route import straight, upwards
from .steps import Layer, State, Step, Unrolled, parameters_of, side_of, state_name

CELL = (92.0, 54.0)
EACH = (92.0, 42.0)
PITCH = 168.0  # from one step to the next
STAGGER = 30.0  # how far the layers of a pair stand left and right of the middle
LINE = 12.0  # how far c runs above the middle of a cell, and h below
ENDS = 84.0  # from the lowest cell's middle down to x, from the highest one's up to h
LETTERS = {"kernel": "W", "recurrent_kernel": "U", "bias": "b", "recurrent_bias": "b′", "weight": "W", "table": "E"}


class Grid:
    """Builds the picture of an unrolled net, the columns `shown` of it (None stands for those left out)."""

    def __init__(self, found: Unrolled, shown: list[int | None], shapes: bool, open_end: bool, house: House):
        self.found, self.shown, self.shapes, self.open_end, self.house = found, shown, shapes, open_end, house
        self.layers, self.total = found.layers, house.total
        self.pairs = any(layer.backward for layer in self.layers)
        self.pitch = self.pitch_between()
        self.centres = _centres(shown, self.pitch)
        self.result = Picture("unrolled", "LR", placed=True)
        self.drawn: dict[str, Node] = {}
        self.feeds = self._feeds()
        self.results = self._results()
        self._heights()

    # -- what leads where --------------------------------------------------------------------------------------------

    def _feeds(self) -> dict[Step, list[Origin]]:
        """What each step shown is made of, beside states and weights. No origin at all: an input without a name."""
        feeds: dict[Step, list[Origin]] = {}
        for number, layer in enumerate(self.layers):
            for t in layer.steps:
                if not self.is_shown((number, t)):
                    continue
                if layer.kind == "each":
                    bar = next(bar for bar in self.house.bars if bar.each == number)
                    feeds[number, t] = [o for o in bar.origins if o.leaf < 0] or [Origin(leaf=0)]
                    continue
                sources = self.found.feeds.get((number, t), [])
                here = {o: None for s in sources for o in self.house.origins(s, layer)}
                for state in self.found.states:
                    if state.head == (number, t) and state.tail is not None and self._upright(state):
                        here[Origin(*state.tail)] = None
                feeds[number, t] = [o for o in here if o.layer != number]
        return feeds

    def _upright(self, state: State) -> bool:
        """Whether a value that passes between layers stays in its column."""
        tail = state.tail
        return tail is not None and tail[0] != state.head[0] and self.column(tail) == self.column(state.head)

    def _results(self) -> dict[int, list[Origin]]:
        """For each column shown, the layers whose result there the picture's graph gives out."""
        results: dict[int, dict[Origin, None]] = {}
        for source in self.found.graph.outputs:
            step = self.found.step_of.get(source.id)
            if step is not None and step[1] == self.layers[step[0]].steps[-1]:
                continue  # a final state, drawn at the row's end
            for o in self.house.origins(source):
                if o.layer >= 0:
                    steps = self.layers[o.layer].steps if o.t is None else [o.t]
                    for t in steps:
                        if self.is_shown((o.layer, t)):
                            results.setdefault(self.column((o.layer, t)), {})[Origin(o.layer, t)] = None
        return {column: list(found) for column, found in sorted(results.items())}

    def pitch_between(self) -> float:
        """From the middle of one step to the middle of the next."""
        return PITCH + (2 * STAGGER if self.pairs else 0)

    # -- places ------------------------------------------------------------------------------------------------------

    def _heights(self) -> None:
        """The height of every floor, and of the frames around the steps."""
        self.low = min(layer.floor for layer in self.layers)
        self.high = max(layer.floor for layer in self.layers)
        once = [bar.floor for _, bar in self.house.shown_bars()]
        self.height: dict[int, float] = {self.low: 0.0}
        for floor in range(self.low + 1, self.high + 1):
            weights = max((len(x.weights) for x in self.layers if x.floor == floor), default=0) * style.FONT_SIZE * 1.2
            cells = any(x.kind == "cell" for x in self.layers if x.floor == floor)
            rise = max(100.0, weights + 92) if cells else max(84.0, weights / 2 + 60)
            if any(self._under(o) == floor - 1 for o in self.feeds.values() if self._joined(o)):
                rise = max(rise, 150.0)
            self.height[floor] = self.height[floor - 1] + rise
        inputs = any(o.leaf >= 0 for origins in self.feeds.values() for o in origins)
        self.bottom = -ENDS - 30 if inputs else -52.0
        self.top = self.height[self.high] + (ENDS + 44 if self.results else 74.0)
        for floor in range(self.low - 1, min([0, *once]) - 1, -1):
            self.height[floor] = self.bottom - 42 - 66.0 * (self.low - 1 - floor)
        for floor in range(self.high + 1, max([0, *once]) + 1):
            self.height[floor] = self.top + 42 + 66.0 * (floor - self.high - 1)

    def x(self, column: int) -> float:
        """The middle of a column, which is shown."""
        return self.centres[self.shown.index(column)]

    def gap(self) -> float | None:
        """The middle of the gap, if steps are left out."""
        return self.centres[self.shown.index(None)] if None in self.shown else None

    def aside(self, layer: Layer) -> float:
        """How far from the column's middle the cells of a layer stand."""
        if not self.pairs or not side_of(layer):
            return 0.0
        return STAGGER if layer.backward else -STAGGER

    def column(self, step: Step) -> int:
        return self.layers[step[0]].column(step[1])

    def place(self, step: Step) -> Point:
        """The middle of a step's cell."""
        layer = self.layers[step[0]]
        return self.x(self.column(step)) + self.aside(layer), self.height[layer.floor]

    def size(self, layer: Layer) -> Point:
        return CELL if layer.kind == "cell" else EACH

    def is_shown(self, step: Step) -> bool:
        return self.column(step) in self.shown

    def time(self, column: int) -> str:
        """What a column is called: its number, or T−1 … where the end is open."""
        late = None in self.shown and column in self.shown and self.shown.index(column) > self.shown.index(None)
        if self.open_end and late:
            return f"T−{self.total - column}"
        return "T" if self.open_end and column == self.total else str(column)

    def at(self, name: str, column: int) -> str:
        """The name of a value at a time: h₃, h[T−1]."""
        time = self.time(column)
        return f"{name}[{time}]" if "T" in time else style.subscript(name, time)

    # -- drawing -----------------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """The whole picture."""
        self.frames()
        for number, layer in enumerate(self.layers):
            self.cells(number, layer)
        for number, bar in self.house.shown_bars():
            self.bar(number, list(bar.origins))
        for step, origins in sorted(self.feeds.items()):
            self.feed(step, origins)
        self.states()
        self.outputs()
        for number, layer in enumerate(self.layers):
            if layer.weights:
                self.weights(number, layer)
        return self.result

    def frames(self) -> None:
        """A frame around every step."""
        half = self.pitch / 2 - 13
        for column in self.shown:
            if column is not None:
                x = self.x(column)
                corners = (x - half, self.bottom, x + half, self.top)
                self.result.boxes.append(Box(f"t{column}", f"t={self.time(column)}", "step", None, corners))

    def node(
        self, id: str, lines: tuple[str, ...], role: str, at: Point, size: Point | None = None, box: str | None = None
    ) -> Node:
        """Add a node."""
        found = Node(id, lines, role, box=box, at=at, size=size or style.fitting_size(lines, style.ROLES[role].shape))
        self.drawn[id] = found
        self.result.nodes.append(found)
        return found

    def arrow(self, tail: str, head: str, role: str, path: tuple[Point, ...], label: str = "") -> None:
        """Add an arrow: straight through two points, or along a curve."""
        path = path if len(path) > 2 else straight(path[0], path[1])
        (x0, y0), (x1, y1) = path[0], path[-1]
        upright = abs(y1 - y0) > abs(x1 - x0)
        away = (style.text_width(label, style.SMALL) / 2 + 5, 0.0) if upright else (0.0, 8.0)
        middle = ((x0 + x1) / 2 + away[0], (y0 + y1) / 2 + away[1]) if label else None
        self.result.edges.append(Edge(tail, head, role, label, path, middle))

    def rise(self, tail: str, head: str, column: int, label: str = "") -> None:
        """An arrow upwards from one node to another, past what stands between them in the column."""
        low, high = self.drawn[tail], self.drawn[head]
        assert low.at
        assert high.at
        assert low.size
        assert high.size
        blocked = []
        for number, layer in enumerate(self.layers):
            for other in (f"l{number}t{t}" for t in layer.steps if layer.column(t) == column):
                node = self.drawn.get(other)
                if node and node.at and other not in (tail, head) and low.at[1] < node.at[1] < high.at[1]:
                    half = self.size(layer)[0] / 2
                    blocked.append((node.at[0] - half, node.at[0] + half))
        x = self.x(column)
        half = (self.pitch - 2 * 13) / 2 - 15
        begin, end = (low.at[0], low.at[1] + low.size[1] / 2), (high.at[0], high.at[1] - high.size[1] / 2)
        if low.role == "bar":  # its edge is long: begin right below the other end
            begin = (end[0], begin[1])
        path = upwards(begin, _reach(low), end, _reach(high), blocked, (x - half, x + half))
        self.arrow(tail, head, "data", path, label)

    def cells(self, number: int, layer: Layer) -> None:
        names = " ".join(self.letter(i) for i in layer.weights)
        for t in layer.steps:
            if self.is_shown((number, t)):
                lines = (style.shown(layer.name, 14), *([names] if names else ()))
                role = "cell" if layer.kind == "cell" else "each"
                self.node(
                    f"l{number}t{t}", lines, role, self.place((number, t)), self.size(layer), f"t{layer.column(t)}"
                )

    def letter(self, i: int) -> str:
        """The short name of a weight."""
        name = self.found.graph.nodes[i].name or "?"
        return LETTERS.get(name.rpartition(".")[2], style.shown(name, 12))

    # -- upwards: inputs, layers, bars, outputs ----------------------------------------------------------------------

    def bar(self, number: int, origins: list[Origin]) -> None:
        """Work that is done once: over the columns it reads, or all."""
        bar = self.house.bars[number]
        steps = [
            (o.layer, t)
            for o in origins
            if o.layer >= 0
            for t in (self.layers[o.layer].steps if o.t is None else [o.t])
        ]
        columns = sorted({self.column(s) for s in steps if self.is_shown(s)})
        if not columns:
            readers = [self.column(step) for step, found in self.feeds.items() if Origin(bar=number) in found]
            lower = [self.drawn[f"bar{o.bar}"].at for o in origins if o.bar >= 0 and f"bar{o.bar}" in self.drawn]
            columns = sorted(set(readers))
            middle = lower[0][0] if lower and lower[0] else None
        weights = " ".join(style.shown(self.found.graph.nodes[i].name or "?", 20) for i in bar.weights)
        lines = (style.shown(bar.name, 30), *([weights] if weights else ()))
        wide, tall = style.fitting_size(lines, "box")
        if columns:
            left, right = self.x(columns[0]), self.x(columns[-1])
            wide, middle = max(wide, right - left + CELL[0]), (left + right) / 2
        self.node(f"bar{number}", lines, "bar", (middle or 0.0, self.height[bar.floor]), (wide, max(tall, 30.0)))
        for step in steps:
            if self.is_shown(step):
                label = self.at("h", self.column(step)) if self.layers[step[0]].kind == "cell" else ""
                self.rise(f"l{step[0]}t{step[1]}", f"bar{number}", self.column(step), label)
        for o in origins:
            if o.bar >= 0 and f"bar{o.bar}" in self.drawn:
                self.between(f"bar{o.bar}", f"bar{number}")

    def between(self, tail: str, head: str) -> None:
        """An arrow between two bars."""
        low, high = self.drawn[tail], self.drawn[head]
        if low.at and high.at and low.size and high.size:
            x = high.at[0] if high.size[0] < low.size[0] else low.at[0]
            self.arrow(tail, head, "data", ((x, low.at[1] + low.size[1] / 2), (x, high.at[1] - high.size[1] / 2)))

    def _joined(self, origins: list[Origin]) -> list[Origin]:
        """The layers whose results are joined before they are read, if they stand side by side."""
        layers = [o for o in origins if o.layer >= 0]
        return layers if len(layers) > 1 and any(self.aside(self.layers[o.layer]) for o in layers) else []

    def feed(self, step: Step, origins: list[Origin]) -> None:
        """Arrows into a step from below."""
        column, id = self.column(step), f"l{step[0]}t{step[1]}"
        joined = self._joined(origins)
        if joined:
            self.rise(self.join(joined, column), id, column)
        for o in origins:
            if o.leaf >= 0:
                self.rise(self.input(step, column), id, column)
                break
        for o in origins:
            if o.layer >= 0 and o not in joined:
                tail = (o.layer, self.step_at(o, column))
                if self.is_shown(tail):
                    other = self.layers[o.layer].kind == "cell" and self.layers[step[0]].kind != "cell"
                    self.rise(f"l{tail[0]}t{tail[1]}", id, column, self.at("h", column) if other else "")
            elif o.bar >= 0 and f"bar{o.bar}" in self.drawn:
                self.rise(f"bar{o.bar}", id, column)

    def step_at(self, origin: Origin, column: int) -> int:
        """The step an origin means in a column."""
        if origin.t is not None:
            return origin.t
        return next((t for t in self.layers[origin.layer].steps if self.layers[origin.layer].column(t) == column), 0)

    def _under(self, origins: list[Origin]) -> int:
        """The highest floor among layers."""
        return max(self.layers[o.layer].floor for o in origins if o.layer >= 0)

    def join(self, origins: list[Origin], column: int) -> str:
        """The node in which results that stand side by side meet."""
        id = f"j{column}" + "".join(f"l{o.layer}" for o in origins)
        if id not in self.drawn:
            under = self._under(origins)
            y = (self.height[under] + self.height.get(under + 1, self.top)) / 2
            self.node(id, ("concat",), "op", (self.x(column), y), box=f"t{column}")
            for o in origins:
                self.rise(f"l{o.layer}t{self.step_at(o, column)}", id, column)
        return id

    def input(self, step: Step, column: int) -> str:
        """x_t below a column."""
        id = f"x{column}"
        if id not in self.drawn:
            shape = self.input_shape(self.found.feeds.get(step, [])) if self.shapes else ""
            lines = (self.at("x", column), *([shape] if shape else ()))
            self.node(id, lines, "input", (self.x(column), -ENDS), box=f"t{column}")
        return id

    def input_shape(self, sources: list[Source]) -> str:
        """The shape of one step of what comes in: of the leaf itself, or of an array over time without its time axis."""
        if not sources:
            return ""
        graph, source, axis = self.found.graph, sources[0], None
        while graph.nodes[source.id].op is not None and graph.nodes[source.id].sources:
            node = graph.nodes[source.id]
            axis = node.options.get("axis", 0) if node.op == "unstack" else axis
            source = node.sources[1 if node.op == "where" else 0]
        shape = graph.nodes[source.id].shapes[source.output]
        if axis is not None and len(shape) > 1:
            shape = shape[:axis] + shape[axis + 1 :]
        return style.shape_text(shape)

    def outputs(self) -> None:
        """h_t (or y_t) above each step whose result is given out, and the final state at the end of its row."""
        several = {o.layer for origins in self.results.values() for o in origins}
        letter = "h" if len(several) == 1 and all(self.layers[i].kind == "cell" for i in several) else "y"
        for column, origins in self.results.items():
            id = f"y{column}"
            self.node(
                id,
                (self.at(letter, column),),
                "output",
                (self.x(column), self.height[self.high] + ENDS),
                box=f"t{column}",
            )
            for o in origins:
                self.rise(f"l{o.layer}t{o.t}", id, column)
        self.finals()

    def finals(self) -> None:
        """The final states that the picture's graph gives out."""
        for source in dict.fromkeys(self.found.graph.outputs):
            step = self.found.step_of.get(source.id)
            if step is not None and step[1] == self.layers[step[0]].steps[-1] and self.is_shown(step):
                self.final(source, step)

    # -- along time: states and weights ------------------------------------------------------------------------------

    def offset(self, step: Step, name: str) -> float:
        """How far above the middle of the cells a state's arrow runs."""
        names = {s.name for s in self.found.states if s.head[0] == step[0]}
        return 0.0 if len(names) < 2 else LINE if name == "c" else -LINE

    def states(self) -> None:
        """All that flows from step to step, and the node for the steps left out."""
        for state in self.found.states:
            if not self._upright(state):
                self.state(state)
        self.middle()

    def state(self, state: State) -> None:
        """A state's arrow: from the step before, from where it begins, or to and from the gap."""
        head, tail = state.head, state.tail
        if tail is None:
            if self.is_shown(head):
                self.initial(state)
            return
        rise, role = self.offset(head, state.name), "memory" if state.name == "c" else "state"
        sign = -1.0 if self.layers[head[0]].backward else 1.0
        label = self.at(state.name, self.column(tail))
        ids = (f"l{tail[0]}t{tail[1]}", f"l{head[0]}t{head[1]}")
        if self.is_shown(tail) and self.is_shown(head):
            (x0, y0), (x1, y1) = self.place(tail), self.place(head)
            self.arrow(*ids, role, ((x0 + sign * CELL[0] / 2, y0 + rise), (x1 - sign * CELL[0] / 2, y1 + rise)), label)
        elif self.is_shown(tail) or self.is_shown(head):
            gap, (x, y) = self.gap() or 0.0, self.place(tail if self.is_shown(tail) else head)
            inward = 1.0 if gap > x else -1.0
            ends = ((x + inward * CELL[0] / 2, y + rise), (gap - inward * 24, y + rise))
            if self.is_shown(tail):
                self.arrow(ids[0], "more", role, ends, label)
            else:
                self.arrow("more", ids[1], role, (ends[1], ends[0]))

    def initial(self, state: State) -> None:
        """Where a state begins: zeros, or a leaf with a name."""
        head, layer = state.head, self.layers[state.head[0]]
        sign, column = -1.0 if layer.backward else 1.0, self.column(state.head)
        x, y = self.place(head)
        graph, rise = self.found.graph, self.offset(head, state.name)
        leaf = graph.nodes[next(iter(parameters_of(graph, state.source.id)), state.source.id)]
        name = style.shown(leaf.name or self.at(state.name, column + 1 if layer.backward else column - 1), 14)
        id = f"l{head[0]}t{head[1]}{state.name}"
        at = (self.x(column) - sign * (self.pitch / 2 + 34), y + rise * 1.6)
        node = self.node(id, (name,), "constant" if leaf.kind == "constant" else "state", at)
        begin = (at[0] + sign * (node.size or (0, 0))[0] / 2, at[1])
        role = "memory" if state.name == "c" else "state"
        self.arrow(id, f"l{head[0]}t{head[1]}", role, (begin, (x - sign * CELL[0] / 2, y + rise)))

    def final(self, source: Source, step: Step) -> None:
        """The state after the last step, at the row's end."""
        layer, name = self.layers[step[0]], state_name(self.found.graph, source)
        sign = -1.0 if layer.backward else 1.0
        (x, y), rise, id = self.place(step), self.offset(step, name), f"l{step[0]}{name}"
        if id in self.drawn:
            return
        at = (self.x(self.column(step)) + sign * (self.pitch / 2 + 34), y + rise * 1.6)
        node = self.node(id, (self.at(name, self.column(step)),), "state", at)
        end = (at[0] - sign * (node.size or (0, 0))[0] / 2, at[1])
        role = "memory" if name == "c" else "state"
        self.arrow(f"l{step[0]}t{step[1]}", id, role, ((x + sign * CELL[0] / 2, y + rise), end))

    def middle(self) -> None:
        """The node for the steps that are left out."""
        gap = self.gap()
        if gap is not None:
            hidden = self.total - sum(c is not None for c in self.shown)
            lines = ("…",) if self.open_end else ("…", f"×{hidden}")
            low, high = self.height[self.low], self.height[self.high]
            self.node("more", lines, "more", (gap, (low + high) / 2), (48.0, high - low + CELL[1] + 10))

    def weight_lines(self, layer: Layer) -> tuple[str, ...]:
        """What stands in the box of a layer's weights."""
        leaves = [self.found.graph.nodes[i] for i in layer.weights]
        return tuple(
            f"{self.letter(leaf.id)} = {style.shown(leaf.name or '?', 30)} {style.shape_text(leaf.shapes[0])}"
            for leaf in leaves
        )

    def weights(self, number: int, layer: Layer) -> None:
        """The weights of a layer, once, at the beginning of its row; the cells name them by letter."""
        lines = self.weight_lines(layer)
        wide, tall = style.fitting_size(lines, "box")
        columns = [layer.column(t) for t in layer.steps]
        right = max(columns) == self.total - 1 and (layer.backward or min(columns) > 0)
        column = max(columns) if right else min(columns)
        if column not in self.shown or (min(columns) > 0 and not right):
            places = [self.x(c) for c in columns if c in self.shown] or [self.gap() or 0.0]
            at = (sum(places) / len(places), self.bottom - 16 - tall / 2)
            self.node(f"w{number}", lines, "parameter", at, (wide, tall))
            return
        sign = -1.0 if right else 1.0
        x, y = self.x(column) + self.aside(layer), self.height[layer.floor]
        left = self.x(column) - sign * (self.pitch / 2 + 26 + wide / 2)
        t = next(t for t in layer.steps if layer.column(t) == column)
        if layer.kind == "each":
            self.node(f"w{number}", lines, "parameter", (left, y), (wide, tall))
            path: tuple[Point, ...] = ((left + sign * wide / 2, y), (x - sign * EACH[0] / 2, y))
        else:
            down = y - 40 - tall / 2
            self.node(f"w{number}", lines, "parameter", (left, down), (wide, tall))
            end = (x - sign * (CELL[0] / 2 - 16), y - CELL[1] / 2)
            path = ((left + sign * wide / 2, down), (end[0] - sign * 20, down), (end[0], down), end)
        self.arrow(f"w{number}", f"l{number}t{t}", "weight", path)


def _reach(node: Node) -> float:
    """How far from its middle a node's upper or lower edge may be met."""
    wide = (node.size or (0.0, 0.0))[0]
    return 0.0 if style.ROLES[node.role].shape == "ellipse" else wide / 2 - 12


def _centres(shown: list[int | None], pitch: float) -> list[float]:
    """The middles of the columns shown, the gap's narrower than a step's."""
    centres: list[float] = []
    for i, column in enumerate(shown):
        beside_gap = i > 0 and (column is None or shown[i - 1] is None)
        centres.append(0.0 if i == 0 else centres[-1] + (pitch * 0.8 if beside_gap else pitch))
    return centres
