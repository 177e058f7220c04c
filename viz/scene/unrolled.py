"""Drawing a net unrolled: a frame around every step, states along arrows from step to step, weights before the first."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tinygrad_rnn.autodiff.graph import Source

from ..net.layers import Layer, Step
from ..net.steps import State, final_states, name_of, parameters_of
from . import style
from .canvas import spot
from .grid import CELL, EACH, ENDS_APART
from .net import NetScene
from .paths import rounded
from .picture import Box, Carried, Point


class UnrolledScene(NetScene):
    """Draws every step in a column of its own."""

    name = "unrolled"

    def box(self, column: int) -> str:
        return f"t{column}"

    def frames(self) -> None:
        """A frame around every step."""
        half = self.grid.pitch / 2 - 13
        for column in self.grid.shown:
            if column is not None:
                x = self.grid.x(column)
                corners = (x - half, self.grid.bottom, x + half, self.grid.top)
                number = self.grid.number(column)
                rows = (
                    f"{self.grid.rows[number].sum()} of {len(self.grid.rows[number])} rows"
                    if number in self.grid.rows
                    else ""
                )
                title = f"t={self.grid.time(column)}" + (f"   {rows}" if rows else "")
                self.canvas.boxes.append(
                    Box(self.box(column), title, "step", None, corners, step=column, time=self.grid.time(column))
                )

    def finals(self) -> None:
        """The final states that the picture's graph gives out."""
        for source in final_states(self.net):
            step = self.net.step_of[source.id]
            if self.grid.is_shown(step):
                self.final(source, step)

    # -- along time: states and weights ------------------------------------------------------------------------------

    def states(self) -> None:
        """All that flows from step to step, and the node for the steps left out."""
        for state in self.net.states:
            if not self.grid.stays_in_column(state):
                self.state(state)
        self.middle()

    def state(self, state: State) -> None:
        """A state's arrow: from the step before, from where it begins, or to and from the gap."""
        head, tail = state.head, state.tail
        if tail is None:
            if self.grid.is_shown(head):
                self.initial(state)
            return
        if not self.grid.is_shown(head) and not self.grid.is_shown(tail):
            return
        rise, role = self.offset(head, state.name), "memory" if state.name == "c" else "state"
        sign = -1.0 if self.grid.layers[head[0]].backward else 1.0
        label = self.grid.at(state.name, self.grid.column(tail))
        carried: Carried = (tail, state.name)
        ids = (f"l{tail[0]}t{tail[1]}", f"l{head[0]}t{head[1]}")
        if tail[0] != head[0] and self.grid.layers[tail[0]].rank > self.grid.layers[head[0]].rank:
            if self.grid.is_shown(tail) and self.grid.is_shown(head):
                self.feedback(*ids, tail, head, carried)
        elif self.grid.is_shown(tail) and self.grid.is_shown(head):
            (x0, y0), (x1, y1) = self.grid.place(tail), self.grid.place(head)
            path = ((x0 + sign * CELL[0] / 2, y0 + rise), (x1 - sign * CELL[0] / 2, y1 + rise))
            middle = (self.grid.x(self.grid.column(tail)) + self.grid.x(self.grid.column(head))) / 2
            between = (middle, y0 + rise + 8) if y0 == y1 else None  # between the frames, where no arrow goes up
            self.canvas.arrow(*ids, role, path, label, between, carried)
        elif self.grid.is_shown(tail) or self.grid.is_shown(head):
            gap, (x, y) = self.grid.gap() or 0.0, self.grid.place(tail if self.grid.is_shown(tail) else head)
            inward = 1.0 if gap > x else -1.0
            ends = ((x + inward * CELL[0] / 2, y + rise), (gap - inward * 24, y + rise))
            if self.grid.is_shown(tail):
                self.canvas.arrow(ids[0], "more", role, ends, label, state=carried)
            else:
                self.canvas.arrow("more", ids[1], role, (ends[1], ends[0]), state=carried)

    def feedback(self, tail_id: str, head_id: str, tail: Step, head: Step, carried: Carried) -> None:
        """A result that the next step reads: between the frames, and in from below."""
        (x0, y0), (x1, y1) = self.grid.place(tail), self.grid.place(head)
        low, between = y1 - CELL[1] / 2, x1 - CELL[0] / 2 - 13
        corners = ((x0 + CELL[0] / 2, y0), (between, y0), (between, low - 24), (x1 - 20, low - 24), (x1 - 20, low))
        self.canvas.arrow(tail_id, head_id, "data", rounded(corners), state=carried)

    def initial(self, state: State) -> None:
        """Where a state begins: zeros, or a leaf with a name."""
        head, layer = state.head, self.grid.layers[state.head[0]]
        sign, column = -1.0 if layer.backward else 1.0, self.grid.column(state.head)
        x, y = self.grid.place(head)
        graph, rise = self.net.graph, self.offset(head, state.name)
        leaf = graph.nodes[next(iter(parameters_of(graph, state.source.id)), state.source.id)]
        name = style.shown(leaf.name or self.grid.at(state.name, column + 1 if layer.backward else column - 1), 14)
        id = f"l{head[0]}t{head[1]}{state.name}"
        made = next((o.group for o in self.grid.ranked.origins(state.source) if o.group >= 0), -1)
        if made >= 0 and not self.grid.ranked.groups[made].begins:
            made = -1
        lines: tuple[str, ...] = (name,)
        if made >= 0:
            group = self.grid.ranked.groups[made]
            weights = " ".join(style.shown(graph.nodes[i].name or "?", 20) for i in group.weights)
            lines = (style.shown(group.name, 20), *([weights] if weights else ()))
        apart = max(ENDS_APART, style.fitting_size(lines, "box")[1] + 8) if made >= 0 else ENDS_APART
        at = (
            self.grid.x(column) - sign * (self.grid.pitch / 2 + 34),
            y + apart * self.grid.state_order(head[0], state.name),
        )
        role = "group" if made >= 0 else "constant" if leaf.kind == "constant" else "state"
        wide = max(style.fitting_size(lines, "box")[0] / 2 - 28, 0.0) if made >= 0 else 0.0
        at = (at[0] - sign * wide, at[1])
        before = column + (1 if layer.backward else -1)
        beside = [x for x in self.grid.layers if x.rank == layer.rank and before in map(x.column, x.steps)]
        if beside and self.grid.is_shown_column(before):  # between the columns, below the cells
            below = y - CELL[1] / 2 - 34 - ENDS_APART * len(self.between.setdefault(column, []))
            self.between[column].append(id)
            at = (self.grid.x(column) - sign * self.grid.pitch / 2, below)
        node = self.canvas.node(id, lines, role, at, layer=head[0], state=state.name)
        if made >= 0:
            self.begun_from(id, made, at, sign)
        begin = (at[0] + sign * (node.size or (0, 0))[0] / 2, at[1])
        role = "memory" if state.name == "c" else "state"
        self.canvas.arrow(id, f"l{head[0]}t{head[1]}", role, (begin, (x - sign * CELL[0] / 2, y + rise)))

    @cached_property
    def between(self) -> dict[int, list[str]]:
        """First states that stand between a column and the one before it."""
        return {}

    def begun_from(self, head: str, number: int, at: Point, sign: float) -> None:
        """What a first state is made of, beside the work that makes it."""
        leaves = [self.net.graph.nodes[o.leaf] for o in self.grid.ranked.groups[number].origins if o.leaf >= 0]
        for leaf in [leaf for leaf in leaves if leaf.name or leaf.kind == "input"][:1]:
            lines = (style.shown(leaf.name or "x", 14), *self.grid.labels.of(leaf.shapes[0], leaf.dtypes[0]))
            wide, beside = style.fitting_size(lines, "ellipse")[0], (self.canvas.drawn[head].size or (0.0, 0.0))[0]
            place = (at[0] - sign * (wide / 2 + beside / 2 + 34), at[1])
            self.canvas.node(f"{head}of", lines, "input", place)
            ends = (place[0] + sign * wide / 2, place[1]), (at[0] - sign * beside / 2, at[1])
            self.canvas.arrow(f"{head}of", head, "data", ends)

    def final(self, source: Source, step: Step) -> None:
        """The state after the last step, at the row's end."""
        layer, name = self.grid.layers[step[0]], name_of(self.net, source)
        sign = -1.0 if layer.backward else 1.0
        (x, y), rise, id = self.grid.place(step), self.offset(step, name), f"l{step[0]}{name}"
        if id in self.canvas.drawn:
            return
        at = (
            self.grid.x(self.grid.column(step)) + sign * (self.grid.pitch / 2 + 34),
            y + ENDS_APART * self.grid.state_order(step[0], name),
        )
        fields: Any = {"value": source, "layer": step[0], "state": name}
        node = self.canvas.node(id, (self.grid.at(name, self.grid.column(step)),), "state", at, **fields)
        end = (at[0] - sign * (node.size or (0, 0))[0] / 2, at[1])
        role = "memory" if name == "c" else "state"
        self.canvas.arrow(
            f"l{step[0]}t{step[1]}", id, role, ((x + sign * CELL[0] / 2, y + rise), end), state=(step, name)
        )

    def middle(self) -> None:
        """The node for the steps that are left out."""
        gap = self.grid.gap()
        if gap is not None:
            hidden = self.grid.total + self.grid.skipped - sum(c is not None for c in self.grid.shown)
            lines = ("…",) if self.grid.open_end else ("…", f"×{hidden}")
            low, high = self.grid.height[self.grid.low], self.grid.height[self.grid.high]
            self.canvas.node("more", lines, "more", (gap, (low + high) / 2), (48.0, high - low + CELL[1] + 10))

    def weights(self, number: int, layer: Layer) -> None:
        """The weights of a layer, once, at the beginning of its row; the cells name them by letter."""
        lines = self.weight_lines(layer)
        wide, tall = style.fitting_size(lines, "box")
        columns = [layer.column(t) for t in layer.steps]
        right = max(columns) == self.grid.total - 1 and (layer.backward or min(columns) > 0)
        column, sign = (max(columns), -1.0) if right else (min(columns), 1.0)
        gap = self.grid.gap()
        if gap is not None and column not in self.grid.shown and self.grid.shown[-1 if right else 0] is None:
            beside, y = gap - sign * 64, self.grid.height[layer.rank]
            self.canvas.node(
                f"w{number}", lines, "parameter", (beside - sign * wide / 2, y), (wide, tall), layer=number
            )
            self.canvas.arrow(f"w{number}", "more", "weight", ((beside, y), (gap - sign * 24, y)))
            return
        if column not in self.grid.shown or (min(columns) > 0 and not right):
            places = [self.grid.x(c) for c in columns if c in self.grid.shown] or [gap or 0.0]
            lowest = min(node.at[1] - node.size[1] / 2 for node in self.canvas.drawn.values() if node.at and node.size)
            at = (sum(places) / len(places), min(lowest, self.grid.bottom) - 16 - tall / 2)
            self.canvas.node(f"w{number}", lines, "parameter", at, (wide, tall), layer=number)
            return
        x, y = self.grid.x(column) + self.grid.aside(layer), self.grid.height[layer.rank]
        left = self.grid.x(column) - sign * (self.grid.pitch / 2 + 26 + wide / 2)
        t = next(t for t in layer.steps if layer.column(t) == column)
        if layer.kind == "each":
            self.canvas.node(f"w{number}", lines, "parameter", (left, y), (wide, tall), layer=number)
            path: tuple[Point, ...] = ((left + sign * wide / 2, y), (x - sign * EACH[0] / 2, y))
        else:
            down = y - 23 - ENDS_APART / 2 * max(len(self.grid.state_names[number]) - 1, 1) - tall / 2
            begun = [node for node in self.canvas.drawn.values() if node.layer == number and node.role == "group"]
            down = min([down, *(spot(node)[0][1] - spot(node)[1][1] / 2 - 8 - tall / 2 for node in begun)])
            self.canvas.node(f"w{number}", lines, "parameter", (left, down), (wide, tall), layer=number)
            end = (x - sign * (CELL[0] / 2 - 16), y - CELL[1] / 2)
            path = ((left + sign * wide / 2, down), (end[0] - sign * 20, down), (end[0], down), end)
        self.canvas.arrow(f"w{number}", f"l{number}t{t}", "weight", path)
