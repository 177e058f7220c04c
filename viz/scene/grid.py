"""The grid of an unrolled net, a column for each time step and a row for each rank, and the sources of each step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from tinygrad_rnn.autodiff.graph import NodeInfo

from ..net.layers import Layer, Step
from ..net.measure import Lengths, scope_key
from ..net.ranks import Origin, RankedNet
from ..net.steps import State, final_states, looks_up, name_of, states_in
from . import style
from .color_scale import ColorScale
from .picture import Point

CELL = (98.0, 54.0)
EACH = (98.0, 42.0)
NAME = 92.0  # of a cell's name: within its frame in a viewer's wider font, too
PITCH = 168.0  # from one step to the next
STAGGER = 30.0  # how far the layers of a pair stand left and right of the middle
LINE = 24.0  # from one state's arrow to the next
ENDS_APART = 34.0  # likewise where they begin and end
ENDS = 84.0  # from the lowest cell's middle down to x, from the highest one's up to h


Key = tuple[int, str]  # an input: its leaf (negative: not in the graph), and its name without a number
BESIDE = 62.0  # from one input of a step to the next


@dataclass
class Shading:
    """What was measured at each state (or gate) after each step, to be shown as colours."""

    values: dict[tuple[Step, str], float]
    scale: ColorScale
    of: str  # whose value a cell shows; another's, if it has none of this name
    tip: str  # how to say it of a name


class Grid:
    """The columns `shown` of an unrolled net (None stands for those left out), its ranks, and the sources of each step.

    lengths: of the rows of each run, by the scopes around it. open_end: the number of steps is not known.
    """

    def __init__(
        self,
        ranked: RankedNet,
        shown: list[int | None],
        labels: style.Labels,
        lengths: Lengths | None = None,
        open_end: bool = False,
    ):
        self.ranked, self.shown, self.labels, self.open_end = ranked, shown, labels, open_end
        self.net = net = ranked.net
        self.layers, self.total = net.layers, ranked.total
        self.pairs = any(layer.side for layer in self.layers)
        self.skipped = ranked.skipped
        self.lengths = lengths or {}
        self.recurrent = {s.layer for s in net.states if s.layer is not None}
        self.recurrent |= {n for n, layer in enumerate(self.layers) if layer.role == "cell" and len(layer.steps) == 1}
        self.state_names: dict[int, set[str]] = {number: set() for number in range(len(self.layers))}
        for name, _, head in net.initial_states:
            self.state_names[head[0]].add(name)
        for state in net.states:
            if state.layer is not None:
                self.state_names[state.layer].add(state.name)
        for source in final_states(net):
            self.state_names[net.step_of[source.id][0]].add(name_of(net, source))
        self.feeds = self._feeds()
        self.results = self._results()
        self.pitch = self.column_pitch()
        self.centres = _centres(shown, self.pitch, self.room_before)
        self._heights()

    # -- sources ----------------------------------------------------------------------------------------------------

    def _feeds(self) -> dict[Step, list[Origin]]:
        """What each step shown is made of."""
        steps = [(number, t) for number, layer in enumerate(self.layers) for t in layer.steps]
        return {step: self.origins_of(step) for step in steps if self.is_shown(step)}

    def origins_of(self, step: Step) -> list[Origin]:
        """What a step is made of, beside states and weights. No origin at all: an input without a name."""
        number, layer = step[0], self.layers[step[0]]
        if layer.role == "each":
            group = next(group for group in self.ranked.groups if group.each == number)
            below = [o for o in group.origins if o.leaf < 0]
            inputs = [o for o in group.origins if o.leaf >= 0 and o in self.ranked.read_by_cells]
            return below + inputs if below else [Origin(leaf=0)]
        sources = self.net.feeds.get(step, [])
        here = {o: None for s in sources for o in self.ranked.origins(s, layer)}
        for state in self.net.states:
            if state.head == step and self.stays_in_column(state):
                here[Origin(*state.tail)] = None
        return [o for o in here if o.layer != number]

    def stays_in_column(self, state: State) -> bool:
        """Whether a value that passes between layers stays in its column."""
        return state.layer is None and self.column(state.tail) == self.column(state.head)

    def _results(self) -> dict[int, list[list[Origin]]]:
        """For each column shown, the layers that make each of the outputs of the picture's graph there."""
        results: dict[int, dict[tuple[Origin, ...], None]] = {}
        for source in self.net.graph.outputs:
            if states_in(self.net, source):
                continue  # final states, drawn at the rows' ends
            output: dict[int, dict[Origin, None]] = {}
            for o in self.ranked.origins(source):
                steps = [] if o.layer < 0 else self.layers[o.layer].steps if o.t is None else [o.t]
                for t in steps:
                    if self.is_shown((o.layer, t)):
                        output.setdefault(self.column((o.layer, t)), {})[Origin(o.layer, t)] = None
            for column, origins in output.items():
                results.setdefault(column, {})[tuple(origins)] = None
        return {column: list(map(list, outputs)) for column, outputs in sorted(results.items())}

    def column_pitch(self) -> float:
        """From the middle of one step to the middle of the next: wider where a step has several inputs."""
        most = max(map(len, self.inputs.values()), default=1)
        beside = max(70.0, self.input_pitch + 8) + 2 * self.input_pitch * (most - 1)
        return max(PITCH + (2 * STAGGER if self.pairs else 0), beside)

    @cached_property
    def input_pitch(self) -> float:
        """From one input of a step to the next."""
        names = {name for keys in self.inputs.values() if len(keys) > 1 for _, name in keys}
        return max([BESIDE, *(style.fitting_size((f"{name}₀₀",), "ellipse")[0] + 4 for name in names)])

    @cached_property
    def room_before(self) -> dict[int, float]:
        """How much wider the space before a column is, for the initial states of a layer that begins behind another's cells
        and takes no state from them."""
        room: dict[int, float] = {}
        carried = {state.head for state in self.net.states}
        for name, source, head in self.net.initial_states:
            layer, column = self.layers[head[0]], self.column(head)
            before = column + 1 if layer.backward else column - 1
            leaf = source is None or self.net.graph.nodes[source.id].op is None
            begins = leaf and head not in carried and self.is_shown(head)
            if begins and self.shows_cell(before, layer.rank):
                wide = style.fitting_size((f"{name}₋₁",), "ellipse")[0]
                behind = max(column, before)
                room[behind] = max(room.get(behind, 0.0), 44 + wide)
        return room

    def inputs_of(self, step: Step, origins: list[Origin]) -> list[Key]:
        """The inputs that a step reads: those with a name or a gradient, else one that stands for all."""
        layer = self.layers[step[0]]
        if layer.role == "each" and all(o.leaf >= 0 for o in origins):  # nothing below it: what its group was made of
            group = next(group for group in self.ranked.groups if group.each == step[0])
            origins = [o for o in group.origins if o.leaf >= 0][:1] or [Origin(leaf=-1)]
            if origins[0].leaf < 0:
                return [_looked_up(step)]
        origins = [o for o in origins if o.leaf < 0 or self.net.graph.nodes[o.leaf].kind != "mask"]
        leaves = [self.net.graph.nodes[o.leaf] for o in origins if o.leaf >= 0]
        if not origins and layer.role == "cell" and self._looks_up(step):
            return [_looked_up(step)]
        named = [leaf for leaf in leaves if leaf.name or leaf.kind == "input"]
        rest = [leaf for leaf in leaves if leaf.id not in self.padding_leaves]
        rest = rest or [
            leaf for leaf in leaves if len(leaves) == len(origins)
        ]  # all that is read: the input is among it
        return [(leaf.id, self._input_title(leaf, step)) for leaf in named or rest[:1]]

    def _input_title(self, leaf: NodeInfo, step: Step) -> str:
        """The name of an input without its time: "x" for the leaf x_3 that step 3 alone reads, and for one without a name."""
        name = leaf.name or "x"
        column = self.column(step)
        numbers = (
            (self.number(column), column, column - self.layers[step[0]].start)
            if self._steps_of[leaf.id] == {step}
            else ()
        )
        bare = (name.removesuffix(str(number)).removesuffix("_") for number in numbers)
        return style.shown(next((text for text in bare if text and text != name), name), 11)

    @cached_property
    def _steps_of(self) -> defaultdict[int, set[Step]]:
        """The steps that read each leaf as it is."""
        steps: defaultdict[int, set[Step]] = defaultdict(set)
        for step, sources in self.net.feeds.items():
            for source in sources:
                steps[source.id].add(step)
        return steps

    def _looks_up(self, step: Step) -> bool:
        """Whether a step reads rows of a table by numbers, which are data that no graph holds."""
        inside = (self.net.graph.nodes[i] for i in self.net.places[step[0]][step[1]])
        return any(looks_up(node) for node in inside)

    @cached_property
    def padding_leaves(self) -> set[int]:
        """Leaves that are only chosen from, such as what stands in for padding."""
        graph = self.net.graph
        read = {s.id for node in graph.nodes if node.effect != "selects" for s in node.sources}
        return {node.id for node in graph.nodes if node.op is None and not node.name and node.id not in read}

    @cached_property
    def inputs(self) -> dict[int, list[Key]]:
        """The inputs of every column, in order."""
        inputs: dict[int, list[Key]] = {}
        for step, origins in sorted(self.feeds.items()):
            keys = inputs.setdefault(self.column(step), [])
            keys.extend(key for key in self.inputs_of(step, origins) if key not in keys)
        return inputs

    def joined(self, origins: list[Origin]) -> list[Origin]:
        """The layers whose results are joined before they are read, if they stand side by side."""
        layers = [o for o in origins if o.layer >= 0]
        return layers if len(layers) > 1 and any(self.aside(self.layers[o.layer]) for o in layers) else []

    def across(self, step: Step) -> list[Origin]:
        """The steps of other columns, below it, that a step reads."""
        origins, column = self.feeds[step], self.column(step)
        joined = self.joined(origins)
        read = [o for o in origins if o.t is not None and self.column((o.layer, o.t)) != column and o not in joined]
        return read if read and self.highest_rank(read) < self.layers[step[0]].rank else []

    def highest_rank(self, origins: list[Origin]) -> int:
        """The highest rank among layers."""
        return max(self.layers[o.layer].rank for o in origins if o.layer >= 0)

    def carried_states(self, number: int) -> list[str]:
        """The states that a layer passes from step to step, the one drawn innermost first."""
        own = {s.name for s in self.net.states if s.layer == number}
        return sorted(own, key=lambda name: (name != "c", name), reverse=True)

    def lane_beside(self) -> float:
        """How far from a column's middle an arrow may go up beside the cells."""
        return self.pitch / 2 - 28

    def delays(self, number: int) -> list[Point]:
        """The spans of x that the delays of a layer's states cover beside its cell."""
        return []

    def beside_frame(self) -> float:
        """How far from a cell's middle an arrow may come down to its side: before the title of the frame."""
        return self.pitch / 2 - 18

    def room(self, states: int) -> float:
        """The distance between ranks, without the height of the weights between them."""
        return ENDS_APART * max(states - 1, 1) + 58

    def input_height(self) -> float:
        """The middle of the inputs."""
        return -ENDS

    # -- places ------------------------------------------------------------------------------------------------------

    def _heights(self) -> None:
        """The height of every rank, and of the frames around the steps."""
        self.low = min(layer.rank for layer in self.layers)
        self.high = max(layer.rank for layer in self.layers)
        once = [group.rank for _, group in self.ranked.shown_groups()]
        self.height: dict[int, float] = {self.low: 0.0}
        for rank in range(self.low + 1, self.high + 1):
            weights = max((len(x.weights) for x in self.layers if x.rank == rank), default=0) * style.FONT_SIZE * 1.2
            cells = any(x.role == "cell" for x in self.layers if x.rank == rank)
            states = max(
                (len(self.state_names[n]) for n, x in enumerate(self.layers) if x.rank in (rank, rank - 1)),
                default=1,
            )
            rise = max(100.0, weights + self.room(states)) if cells else max(84.0, weights / 2 + 60)
            if any(self.highest_rank(o) == rank - 1 for o in self.feeds.values() if self.joined(o)):
                rise = max(rise, 150.0)
            if any(self.layers[step[0]].rank == rank and self.across(step) for step in self.feeds):
                rise = max(rise, 124.0)
            self.height[rank] = self.height[rank - 1] + rise
        inputs = any(o.leaf >= 0 for origins in self.feeds.values() for o in origins) or any(self.inputs.values())
        self.bottom = self.input_height() - (40 if self.labels.dtypes else 30) if inputs else -52.0
        self.top = self.height[self.high] + (ENDS + 44 if self.results else 74.0)
        for rank in range(self.low - 1, min([0, *once]) - 1, -1):
            self.height[rank] = self.bottom - 42 - 66.0 * (self.low - 1 - rank)
        for rank in range(self.high + 1, max([0, *once]) + 1):
            self.height[rank] = self.top + 42 + 66.0 * (rank - self.high - 1)

    def x(self, column: int) -> float:
        """The middle of a column, which is shown."""
        return self.centres[self.shown.index(column)]

    def gap(self) -> float | None:
        """The middle of the gap, if steps are left out."""
        return self.centres[self.shown.index(None)] if None in self.shown else None

    def aside(self, layer: Layer) -> float:
        """How far from the column's middle the cells of a layer stand."""
        if not self.pairs or not layer.side:
            return 0.0
        return STAGGER if layer.backward else -STAGGER

    def column(self, step: Step) -> int:
        return self.layers[step[0]].column(step[1])

    def place(self, step: Step) -> Point:
        """The middle of a step's cell."""
        layer = self.layers[step[0]]
        return self.x(self.column(step)) + self.aside(layer), self.height[layer.rank]

    def size(self, layer: Layer) -> Point:
        return CELL if layer.role == "cell" else EACH

    def state_order(self, number: int, name: str) -> float:
        """Where a state stands among its layer's, from the middle upwards: c above h."""
        names = sorted(self.state_names[number], key=lambda n: (n != "c", n))
        return (len(names) - 1) / 2 - names.index(name) if name in names else 0.0

    def is_shown(self, step: Step) -> bool:
        return self.column(step) in self.shown

    def shown_step(self, number: int) -> Step:
        """The first step of a layer that is shown."""
        return next(step for t in self.layers[number].steps if self.is_shown(step := (number, t)))

    def shows_cell(self, column: int, rank: int) -> bool:
        """Whether a column is shown and a layer of this rank has a step in it."""
        return column in self.shown and any(
            layer.rank == rank and column in map(layer.column, layer.steps) for layer in self.layers
        )

    def rows(self, column: int) -> tuple[int, int] | None:
        """How many rows have a step in a column, and of how many, where these differ, in all layers in it alike."""
        counts = set()
        past = self.skipped if None in self.shown and self.shown.index(column) > self.shown.index(None) else 0
        for layer in self.ranked.cells:
            if layer.start <= column < layer.start + len(layer.steps):
                lengths = self.lengths.get(scope_key(layer.outer))
                alive = 0 if lengths is None else int((lengths > column - layer.start + past).sum())
                counts.add(None if lengths is None or alive == len(lengths) else (alive, len(lengths)))
        return counts.pop() if len(counts) == 1 else None

    def time(self, column: int) -> str:
        """What a column is called: its number, or T−1 … where the end is open."""
        late = None in self.shown and column in self.shown and self.shown.index(column) > self.shown.index(None)
        if self.open_end and late:
            return f"T−{self.total - column}"
        return "T" if self.open_end and column == self.total else str(self.number(column))

    def number(self, column: int) -> int:
        """The step that a column stands for: those in the gap may have been left out."""
        if None not in self.shown or not self.skipped:
            return self._recorded_number(column)
        gap = self.shown.index(None)
        return column if column < gap else column + self.skipped

    def _recorded_number(self, column: int) -> int:
        """The t that the scopes of a column's steps record, if all record the same; else the column's number, count_text from
        the first column of the cells that run in it."""
        start = self._first_column(column)
        recorded = [
            layer.steps if layer.steps[0] <= layer.steps[-1] else layer.steps[::-1]
            for layer in self.ranked.cells
            if layer.start == start and (layer.side != "bw" or layer.steps[0] > layer.steps[-1])
        ]
        longest = max(recorded, key=len, default=[])
        column -= start
        if not longest or any(steps != longest[: len(steps)] for steps in recorded):
            return column
        if 0 <= column < len(longest):
            return longest[column]
        return longest[0] + column if column < 0 else longest[-1] + 1 + column - len(longest)

    def _first_column(self, column: int) -> int:
        """The column from which steps are count_text: that in which other cells than those before it begin."""
        cells = self.ranked.cells
        starts = {layer.start for layer in cells if layer.start <= column}
        for start in sorted(starts, reverse=True):
            weights = {i for layer in cells if layer.start == start for i in layer.weights}
            if not any(weights.intersection(layer.weights) for layer in cells if layer.start < start):
                return start
        return 0

    def at(self, name: str, column: int) -> str:
        """The name of a value at a time: h₃, h[T−1]."""
        return self._with_time(name, self.time(column))

    def before(self, name: str, layer: Layer) -> str:
        """The name of a state before a layer's first step."""
        first = layer.column(layer.steps[0])
        if self.open_end or self._first_column(first) == 0:
            return self.at(name, first + (1 if layer.backward else -1))
        return self._with_time(name, str(self.number(first) + (1 if layer.backward else -1)))

    def _with_time(self, name: str, time: str) -> str:
        return f"{name}[{time}]" if "T" in time else style.subscript(name, time)


def _looked_up(step: Step) -> Key:
    """The numbers by which a layer looks up rows of a table: each layer has its own, which no graph holds."""
    return -1 - step[0], "x"


def _centres(shown: list[int | None], pitch: float, room_before: dict[int, float]) -> list[float]:
    """The middles of the columns shown, the gap's narrower than a step's."""
    centres: list[float] = []
    for i, column in enumerate(shown):
        beside_gap = i > 0 and (column is None or shown[i - 1] is None)
        room = 0.0 if column is None else room_before.get(column, 0.0)
        centres.append(0.0 if i == 0 else centres[-1] + (pitch * 0.8 if beside_gap else pitch) + room)
    return centres
