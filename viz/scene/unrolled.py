"""Drawing a net unrolled: a frame around every step, states along arrows from step to step, weights before the first."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.autodiff.graph import Source

from ..net.layers import Layer, Step
from ..net.steps import InitialState, State, final_states, name_of
from . import style
from .canvas import cell_id, place_and_size
from .grid import CELL, EACH, ENDS_APART
from .net import NetScene
from .paths import rounded
from .picture import Box, Carried, Point


class UnrolledScene(NetScene):
    """Draws every step in a column of its own."""

    name = "unrolled"

    def box(self, column: int) -> str:
        return f"t{column}"

    @property
    def leaves_frames(self) -> bool:
        """Whether arrows lead out of the frames, to groups above them."""
        return any(group.rank > self.grid.high for _, group in self.grid.ranked.shown_groups())

    def frames(self) -> None:
        """A frame around every step."""
        half = self.grid.pitch / 2 - 13
        for column in self.grid.shown:
            if column is not None:
                x = self.grid.x(column)
                corners = (x - half, self.grid.bottom, x + half, self.grid.top)
                title, rows = f"t={self.grid.time(column)}", self.grid.rows(column)
                if rows is not None:  # in a corner of its own where arrows leave the frame at the top
                    title += "\n{}/{} rows".format(*rows) if self.leaves_frames else "   {} of {} rows".format(*rows)
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
        for initial in self.net.initial_states:
            if self.grid.is_shown(initial.head) and not self.from_group(initial):
                self.initial(initial)
        self.middle()

    def state(self, state: State) -> None:
        """A state's arrow: from the step before, or to and from the gap."""
        head, tail = state.head, state.tail
        if not self.grid.is_shown(head) and not self.grid.is_shown(tail):
            return
        rise, role = self.offset(head, state.name), style.state_role(state.name)
        sign = -1.0 if self.grid.layers[head[0]].backward else 1.0
        label = self.grid.at(state.name, self.grid.column(tail))
        carried: Carried = (tail, state.name)
        ids = (cell_id(tail), cell_id(head))
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

    def initial(self, state: InitialState) -> None:
        """Where a state begins: zeros, a leaf with a name, or the group that computes it."""
        head, layer = state.head, self.grid.layers[state.head[0]]
        sign, column = -1.0 if layer.backward else 1.0, self.grid.column(state.head)
        (x, y), rise = self.grid.place(head), self.offset(head, state.name)
        lines, role, group = self.initial_lines(state)
        wide, tall = style.fitting_size(lines, style.ROLES[role].shape)
        id = f"l{head[0]}t{head[1]}{state.name}"
        before = column - int(sign)
        side = x - sign * CELL[0] / 2
        narrow = max(column, before) not in self.grid.room_before
        if narrow and self.grid.shows_cell(before, layer.rank):
            between = self.grid.x(column) - sign * (self.grid.pitch / 2 - 8)  # the columns, below the cells
            number = sum(place_and_size(node)[0][0] == between for node in self.canvas.drawn.values() if node.state)
            at = (between, y - CELL[1] / 2 - 34 - ENDS_APART * number)
            into = side + sign * (12 + 10 * number)
            corners = ((at[0] + sign * wide / 2, at[1]), (into, at[1]), (into, y - CELL[1] / 2))
            path = rounded(corners)
        else:
            apart = max(ENDS_APART, tall + 8) if group is not None else ENDS_APART
            out = self.grid.pitch / 2 + 34 + max(wide / 2 - 28, 0.0)
            at = (self.grid.x(column) - sign * out, y + apart * self.grid.state_order(head[0], state.name))
            path = ((at[0] + sign * wide / 2, at[1]), (side, y + rise))
        self.canvas.node(id, lines, role, at, layer=head[0], state=state.name)
        if group is not None:
            self.input_beside(f"{id}of", id, group.origins, sign=sign)
        self.canvas.arrow(id, cell_id(head), style.state_role(state.name), path)

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
        role = style.state_role(name)
        self.canvas.arrow(cell_id(step), id, role, ((x + sign * CELL[0] / 2, y + rise), end), state=(step, name))

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
        if layer.role == "each":
            self.canvas.node(f"w{number}", lines, "parameter", (left, y), (wide, tall), layer=number)
            path: tuple[Point, ...] = ((left + sign * wide / 2, y), (x - sign * EACH[0] / 2, y))
        else:
            down = y - 23 - ENDS_APART / 2 * max(len(self.grid.state_names[number]) - 1, 1) - tall / 2
            begun = [node for node in self.canvas.drawn.values() if node.layer == number and node.role == "group"]
            down = min(
                [down, *(place_and_size(node)[0][1] - place_and_size(node)[1][1] / 2 - 8 - tall / 2 for node in begun)]
            )
            self.canvas.node(f"w{number}", lines, "parameter", (left, down), (wide, tall), layer=number)
            end = (x - sign * (CELL[0] / 2 - 16), y - CELL[1] / 2)
            path = ((left + sign * wide / 2, down), (end[0] - sign * 20, down), (end[0], down), end)
        self.canvas.arrow(f"w{number}", cell_id((number, t)), "weight", path)
