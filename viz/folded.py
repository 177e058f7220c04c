"""The folded view: every cell once, with its state going round through a delay of one step, as textbooks begin."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.rnn import RNNCell

from .net.cell_graph import trace
from .net.elide import few_steps
from .net.layers import Layer, Step
from .net.ranks import Origin, RankedNet
from .net.steps import InitialState, State, read
from .net.unfused import opened_maps
from .ops import refuse_unrecorded
from .scene import style
from .scene.canvas import cell_id
from .scene.grid import CELL, Grid
from .scene.net import NetScene
from .scene.paths import rounded
from .scene.picture import Point
from .write.drawing import Drawing

TALL = 72.0  # a folded cell's height
REACH, NEXT = 74.0, 54.0  # how far beside a cell the delay of its innermost state stands, and each one further out
DELAY = (46.0, 22.0)
FEW = 4  # steps that are looked at


def folded(target: Any, *, shapes: bool = True, dtypes: bool = False, legend: bool = False) -> Drawing:
    """Draw a recurrent net folded: x_t below, each cell once, its state leading back to it through a delay of one step.

    target, shapes, dtypes, legend: as for `unrolled`. Raises ValueError where the graph has no time steps, TypeError
    where nothing was recorded.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> viz.folded(tg.rnn.GRUCell(4))
    Drawing(5 nodes, 5 edges)
    """
    if isinstance(target, RNNCell):
        graph, left_out = trace(target, FEW), 0
    else:
        refuse_unrecorded(target, "folded")
        graph, left_out = few_steps(opened_maps(target), target, FEW // 2)
    ranked = RankedNet(read(graph, "folded"), left_out, pairs_share_a_rank=True)
    return Drawing(FoldedScene(FoldedGrid(ranked, style.Labels(shapes, dtypes, legend))).picture())


class FoldedGrid(Grid):
    """One column for each run over time: a step of every layer, one in the middle where there is one."""

    def __init__(self, ranked: RankedNet, labels: style.Labels):
        starts = sorted({(layer.start, len(layer.steps)) for layer in ranked.net.layers if layer.role == "cell"})
        super().__init__(ranked, list(dict.fromkeys(start + min(1, steps - 1) for start, steps in starts)), labels)
        self.bottom, self.top = self.bottom - 8, self.top - 10

    def _feeds(self) -> dict[Step, list[Origin]]:
        """What the cells shown are made of at any of their steps: a cell stands for all its steps, and so do those it reads."""
        shown = {n: t for n, layer in enumerate(self.layers) for t in layer.steps if self.is_shown((n, t))}
        feeds = {}
        for number, t in shown.items():
            origins = [o for step in self.layers[number].steps for o in self.origins_of((number, step))]
            whole = [o if o.layer < 0 or o.t is None else Origin(o.layer, shown[o.layer]) for o in origins]
            feeds[number, t] = list(dict.fromkeys(o for o in whole if o.leaf < 0 or o in self.origins_of((number, t))))
        return feeds

    def time(self, column: int) -> str:
        return "t"

    def at(self, name: str, column: int) -> str:
        return f"{name}ₜ"

    def aside(self, layer: Layer) -> float:
        return super().aside(layer) * 3.4

    def size(self, layer: Layer) -> Point:
        return (CELL[0], TALL) if layer.role == "cell" else super().size(layer)

    def column_pitch(self) -> float:
        most = max((len(self.carried_states(number)) for number in range(len(self.layers))), default=1)
        return 340.0 + NEXT * max(most - 2, 0)

    def room(self, states: int) -> float:
        beside = 132.0 if len(self.shown) > 1 else 0.0  # weights stand above the delays of the rank below
        return 196.0 if self.pairs else max(super().room(states), beside)

    def input_height(self) -> float:
        """Below the states that one layer hands on to the next."""
        handed_on = [s for s in self.net.states if s.layer is None and not self.stays_in_column(s)]
        return super().input_height() - 10.0 * len({s.name for s in handed_on})

    def delays(self, number: int) -> list[Point]:
        states, layer = len(self.carried_states(number)), self.layers[number]
        x, side = self.place(self.shown_step(number))[0], -1.0 if self.aside(layer) < 0 else 1.0
        ends = [x + side * (CELL[0] / 2 + REACH + far) for far in (-DELAY[0] / 2, NEXT * (states - 1) + DELAY[0] / 2)]
        return [(min(ends), max(ends))] if states else []

    def beside_frame(self) -> float:
        return CELL[0] / 2 + 36

    def lane_beside(self) -> float:
        return CELL[0] / 2 + 14


class FoldedScene(NetScene):
    """Draws each cell once, its state leading back to it through a delay."""

    name = "folded"

    def read_by(self, origins: list[Origin]) -> list[Step]:
        """The cells that a group reads, whichever of their steps it is."""
        return [self.grid.shown_step(n) for n in dict.fromkeys(o.layer for o in origins if o.layer >= 0)]

    def label_of(self, step: Step, origins: list[Origin]) -> str:
        read = {o.t for o in origins if o.layer == step[0]}
        return "last h" if read == {self.grid.layers[step[0]].steps[-1]} else super().label_of(step, origins)

    def weights(self, number: int, layer: Layer) -> None:
        lines = self.weight_lines(layer)
        wide, tall = style.fitting_size(lines, "box")
        step = self.grid.shown_step(number)
        x, y = self.grid.place(step)
        side = self.grid.aside(layer)
        if side and any(other.rank < layer.rank and self.grid.aside(other) == side for other in self.grid.layers):
            out = 1.0 if side > 0 else -1.0  # beside the arrow from the cell below
            at = (x + out * (16 + wide / 2), y - TALL / 2 - 40 - tall / 2)
            path: tuple[Point, ...] = ((x + out * 30, at[1] + tall / 2), (x + out * 30, y - TALL / 2))
        elif side:
            out = max(abs(x) + wide / 4, 58 + wide / 2)  # clear of what stands in the middle
            at = (out if side > 0 else -out, y - TALL / 2 - 40 - tall / 2)
            path = ((x, at[1] + tall / 2), (x, y - TALL / 2))
        elif x > 0 and layer.role == "cell":
            at = (x + CELL[0] / 2 + 10 + wide / 2, y - TALL / 2 - 26 - tall / 2)
            begin, end = (at[0] - wide / 2, at[1]), (x + CELL[0] / 2 - 10, y - TALL / 2)
            path = (begin, (end[0] + 6, at[1]), (end[0], at[1] + 6), end)
        else:
            half = self.grid.size(layer)[0] / 2
            at = (x - half - 40 - wide / 2, y)
            path = ((at[0] + wide / 2, y), (x - half, y))
        self.canvas.node(f"w{number}", lines, "parameter", at, (wide, tall), layer=number)
        self.canvas.arrow(f"w{number}", cell_id(step), "weight", path)

    def states(self) -> None:
        """States that go round, those that one layer hands on to another, and initial ones that are not just zeros."""
        done: set[tuple[int, str]] = set()
        handed: set[tuple[int, int, str]] = set()
        for state in self.net.states:
            if self.grid.stays_in_column(state):
                continue
            if state.tail[0] != state.head[0]:
                if (key := (state.tail[0], state.head[0], state.name)) not in handed:
                    handed.add(key)
                    self.handed_on(state)
            elif (state.head[0], state.name) not in done:
                done.add((state.head[0], state.name))
                self.loop(state)

        for number, layer in enumerate(self.grid.layers):
            begun = [state for state in self.net.initial_states if state.head[0] == number]
            self.initials(layer, [state for state in begun if not self.from_group(state)])

    def initials(self, layer: Layer, states: list[InitialState]) -> None:
        """The initial states of a layer that have a name or are computed, at the left of its weights."""
        shown = [(state, *self.initial_lines(state)) for state in states]
        shown = [entry for entry in shown if entry[1] != (self.grid.before(entry[0].name, layer),)]
        apart = 8 + max(
            (style.fitting_size(lines, style.ROLES[role].shape)[1] for _, lines, role, _ in shown), default=0
        )
        for k, (state, lines, role, group) in enumerate(shown):
            step = number, t = self.grid.shown_step(state.head[0])
            (x, y), wide = self.grid.place(step), style.fitting_size(lines, style.ROLES[role].shape)[0]
            left = x - CELL[0] / 2 - 56 - style.fitting_size(self.weight_lines(layer), "box")[0]
            at = (left - 30 - wide / 2, y + ((len(shown) - 1) / 2 - k) * apart)
            id = f"l{number}t{t}{state.name}"
            self.canvas.node(id, lines, role, at, layer=number, state=state.name)
            turn, lane, into = (
                left - 8 * (len(shown) - 1 - k),
                y + TALL / 2 + 14 + 10 * (len(shown) - 1 - k),
                x - CELL[0] / 2 + 12 + 10 * k,
            )
            path = rounded(((at[0] + wide / 2, at[1]), (turn, at[1]), (turn, lane), (into, lane), (into, y + TALL / 2)))
            self.canvas.arrow(id, cell_id(step), style.state_role(state.name), path)
            if group is not None:
                self.input_beside(f"{id}of", id, group.origins)

    def loop(self, state: State) -> None:
        """A state that goes round: out of the cell, through the delay, into the cell again."""
        layer = self.grid.layers[state.head[0]]
        step = self.grid.shown_step(state.head[0])
        names = self.grid.carried_states(state.head[0])
        rank = names.index(state.name)
        side = -1.0 if self.grid.aside(layer) < 0 else 1.0
        (x, y), half = self.grid.place(step), CELL[0] / 2
        far, rise = x + side * (half + REACH + NEXT * rank), 12.0 + 16.0 * rank / max(len(names) - 1, 1)
        reach = 34.0 + 18.0 * rank
        id, cell = f"d{step[0]}{state.name}", cell_id(step)
        self.canvas.node(id, ("delay",), "delay", (far, y), DELAY, layer=state.head[0], state=state.name)
        role = style.state_role(state.name)
        edge, top = x + side * half, y + DELAY[1] / 2
        out = ((edge, y + rise), (edge + side * 30, y + reach), (far, y + reach), (far, top))
        back = ((far, y - DELAY[1] / 2), (far, y - reach), (edge + side * 30, y - reach), (edge, y - rise))
        after, before = f"{state.name}ₜ", f"{state.name}{'ₜ₊₁' if layer.backward else 'ₜ₋₁'}"
        for ends, path, name, sign in (((cell, id), out, after, 1), ((id, cell), back, before, -1)):
            aside = far + side * (style.text_width(name, style.SMALL) / 2 + 4)
            self.canvas.arrow(*ends, role, path, name, (aside, y + sign * (DELAY[1] / 2 + 11)))

    def handed_on(self, state: State) -> None:
        """The last state of one layer with which another begins."""
        tail, head = state.tail[0], state.head[0]
        begin, end = self.grid.shown_step(tail), self.grid.shown_step(head)
        (x0, y0), (x1, y1), half = self.grid.place(begin), self.grid.place(end), CELL[0] / 2
        ids = (cell_id(begin), cell_id(end))
        names = self.grid.carried_states(tail)
        lane = len(names) - 1 - names.index(state.name) if state.name in names else 0  # c above h, and h inside
        down, low = x0 + half - 6 - 8 * lane, y0 - TALL / 2 - 20 - 10 * lane
        up, into = x1 - half - 36 + 12 * lane, y1 + 12 - 24 * lane / max(len(names) - 1, 1)
        points = rounded(((down, y0 - TALL / 2), (down, low), (up, low), (up, into), (x1 - half, into)))
        same_loop = self.grid.layers[tail].number == self.grid.layers[head].number
        label = f"{state.name}ₜ₋₁" if same_loop else f"last {state.name}"
        at = x0 + half + REACH + NEXT * (len(names) - 1) + DELAY[0] / 2 + 4, low + (8 if lane == 0 else -8)
        self.canvas.arrow(*ids, style.state_role(state.name), points, label, at)
