"""Reading time out of a graph: what flows between the steps of layers, what they read, which weights they share.

`layers` decides which ops are one step, and which steps one layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source

from .layers import Layer, Path, Step, find_layers, gate_of, time_of, times_of

PASSING = frozenset(
    {"moves", "selects", "picks", "cuts", "joins", "concatenates", "reverses"}
)  # arrows run through ops of these effects


@dataclass
class State:
    """A value that goes from one step to a later one of the same layer, or on to the layer that continues it."""

    name: str
    source: Source
    tail: Step
    head: Step

    @property
    def layer(self) -> int | None:
        """The layer whose state it is; None where one layer hands it on to another."""
        return self.head[0] if self.tail[0] == self.head[0] else None


class InitialState(NamedTuple):
    """A state before a layer's first step."""

    name: str
    source: Source | None  # None: no op of the graph reads it as it is
    head: Step


@dataclass
class Net:
    """Layers, steps, states and inputs of a graph, made by `read`."""

    graph: Graph
    layers: list[Layer]
    step_of: dict[int, Step]  # node id -> the step it belongs to
    states: list[State]
    initial_states: list[InitialState]
    feeds: dict[Step, list[Source]]  # what a step reads that is no state and no weight
    only_weights: set[int]  # ids of parameters, and of what was computed from parameters alone
    places: list[dict[int, list[int]]] = field(default_factory=list)  # by layer and t: the ids of the step's ops
    names: list[dict[tuple[int, int], str]] = field(
        default_factory=list
    )  # by layer: states by place from the step's end


def read(graph: Graph, who: str = "unrolled") -> Net:
    """Find layers, steps, states and weights. Raises ValueError if the graph has no time steps; `who` asks for them."""
    times = times_of(graph)
    if not any(times):
        raise ValueError(
            f"{who}: the graph has no time steps; they come from dynamic_rnn and its kin, or from "
            "rnn.steps(inputs) or with tg.step(t): in a loop of your own. viz.draw shows any graph"
        )
    layers, step_of = find_layers(graph, times)
    net = Net(graph, layers, step_of, [], [], {}, only_weights(graph))
    _flow(net)
    return net


def _flow(net: Net) -> None:
    """Sort what each step reads into states, weights and the rest."""
    graph, step_of = net.graph, net.step_of
    crossing: dict[tuple[Step, Source], None] = {}
    feeds: dict[Step, dict[Source, None]] = {}
    weights: dict[Step, dict[Source, None]] = {}
    multiplied: set[tuple[Step, Source]] = set()
    net.places = [{} for _ in net.layers]
    for i, here in sorted(step_of.items()):
        net.places[here[0]].setdefault(here[1], []).append(i)
        for source in graph.nodes[i].sources:
            there = step_of.get(source.id)
            if there == here:
                continue
            if graph.nodes[i].effect == "contracts":
                multiplied.add((here, source))
            if there is not None and (there[0] == here[0] or there[1] != here[1]):
                crossing[here, source] = None
            else:
                (weights if source.id in net.only_weights else feeds).setdefault(here, {})[source] = None
    net.states = [State(state_name(graph, s), s, step_of[s.id], head) for head, s in crossing]
    _name_unmarked(net)
    for step in sorted({*feeds, *weights}):
        sources = [*feeds.get(step, ()), *weights.get(step, ())]
        begun: dict[Source, str] = {}
        if step[1] == net.layers[step[0]].steps[0]:
            begun = _initial_states(net, step, sources)
            net.initial_states.extend(InitialState(name, source, step) for source, name in begun.items())
        for source in sources:
            node = graph.nodes[source.id]
            read = (step, source) in multiplied
            if source not in begun and node.kind != "mask" and (node.kind != "constant" or node.name or read):
                continue
            feeds.get(step, {}).pop(source, None)  # else a mask, or a number made on the way
            weights.get(step, {}).pop(source, None)
    _add_unread(net)
    net.feeds = {step: list(sources) for step, sources in feeds.items() if sources}
    for number, layer in enumerate(net.layers):
        ids = {i for t in layer.steps for s in weights.get((number, t), ()) for i in parameters_of(graph, s.id)}
        layer.weights = sorted({*ids, *_hoisted_weights(net, layer)})


def _initial_states(net: Net, step: Step, sources: list[Source]) -> dict[Source, str]:
    """The initial states among what a layer's first step reads, as its run recorded them; in a loop written by hand that
    recorded none, the leaves that the first step reads where the next one reads a state."""
    recorded = {source: name for run in net.layers[step[0]].runs for name, source in reversed(run.initial_states)}
    begun = {source: recorded[source] for source in sources if source in recorded and source.id not in net.step_of}
    if recorded or len(net.layers[step[0]].steps) < 2:
        return begun
    following = step[0], net.layers[step[0]].steps[1]
    later = {use: s for s in net.states if s.head == following for use in _uses(net, following, s.source)}
    for source in sources:
        leaf = net.graph.nodes[source.id]
        state = next((later[use] for use in _uses(net, step, source) if use in later), None)
        if state is not None and leaf.op is None:
            alike = leaf.shapes[0] == net.graph.nodes[state.source.id].shapes[state.source.output]
            if alike and state.name not in begun.values():
                begun[source] = state.name
    return begun


def _add_unread(net: Net) -> None:
    """Add the initial states that a run recorded and no op reads as they are: zeros of which the step takes a part."""
    for number, layer in enumerate(net.layers):
        first = number, layer.steps[0]
        own = {s.name for s in net.states if s.layer == number}
        there = {s.name for s in net.states if s.head == first} | {
            s.name for s in net.initial_states if s.head == first
        }
        for run in layer.runs[:1]:
            for name, source in run.initial_states:
                if source is None and name in own - there:
                    net.initial_states.append(InitialState(name, None, first))


def _uses(net: Net, step: Step, source: Source) -> list[tuple[str, Path, int]]:
    """Where a step reads a value: the op, the scopes inside the step, and which input it is."""
    nodes = (net.graph.nodes[i] for i in net.places[step[0]][step[1]])
    return [
        (node.op or "", time.inner if (time := time_of(node.scope)) else (), k)
        for node in nodes
        for k, read in enumerate(node.sources)
        if read == source
    ]


def state_name(graph: Graph, source: Source) -> str:
    """What a value is called: by the innermost name that was given to it; "" if none was."""
    path = graph.nodes[source.id].scope
    named = path and (path[-1].kind == "state" or (path[-1].kind == "gate" and path[-1].number))
    return str(path[-1]) if named else ""


def _name_unmarked(net: Net) -> None:
    """Name the states that have no name, told apart by their places in the step: Σ for a number that goes on from step to
    step, such as a loss; h for another one, or s1, s2 … where a layer has several."""
    for number in range(len(net.layers)):
        own = [s for s in net.states if s.layer == number]
        places: dict[tuple[int, int, int], list[State]] = {}
        for state in sorted(own, key=lambda s: (s.head, s.source)):
            if not state.name:
                step = net.places[number][state.tail[1]]
                place = step.index(state.source.id) - len(step), state.source.output, abs(state.head[1] - state.tail[1])
                places.setdefault(place, []).append(state)
        sums = [all(net.graph.nodes[s.source.id].shapes[s.source.output] == () for s in at) for at in places.values()]
        alone = not any(state.name for state in own) and sums.count(False) == 1
        names = ["Σ" if is_sum else "h" if alone else f"s{k + 1}" for k, is_sum in enumerate(sums)]
        net.names.append({place[:2]: name for place, name in reversed(list(zip(places, names, strict=True)))})
        for name, states in zip(names, places.values(), strict=True):
            for state in states:
                state.name = name
    for state in net.states:
        state.name = state.name or "h"


def states_in(net: Net, source: Source) -> list[Source]:
    """The final states that a value is, or of which it is a stack that no layer made: h_n of several layers."""
    node = net.graph.nodes[source.id]
    parts = [source]
    if node.effect == "joins" and source.id not in net.step_of:
        parts = [] if any(hoisted(net, layer, node) for layer in net.layers) else list(node.sources)
    steps = [net.step_of.get(part.id) for part in parts]
    ends = [step is not None and step[1] == net.layers[step[0]].steps[-1] for step in steps]
    return parts if all(ends) else []


def final_states(net: Net) -> list[Source]:
    """The final states among what the graph was taken from."""
    return list(dict.fromkeys(part for source in net.graph.outputs for part in states_in(net, source)))


def gates_of(net: Net, number: int) -> dict[str, list[Source | None]]:
    """Where each gate of a layer is at each of its steps: the last op in the scope of its name."""
    steps = net.layers[number].steps
    gates: dict[str, list[Source | None]] = {}
    for at, t in enumerate(steps):
        for i in net.places[number].get(t, ()):
            gate = gate_of(net.graph.nodes[i].scope)
            if gate:
                gates.setdefault(gate, [None] * len(steps))[at] = Source(i, 0)
    return gates


def name_of(net: Net, source: Source) -> str:
    """The name of a state after some step."""
    number, t = net.step_of[source.id]
    step = net.places[number][t]
    place = step.index(source.id) - len(step), source.output
    return state_name(net.graph, source) or net.names[number].get(place) or "h"


def only_weights(graph: Graph) -> set[int]:
    """Ids of parameters, and of what was computed from parameters alone."""
    alone_ids: set[int] = set()
    for node in graph.nodes:
        if node.op is None:
            alone = node.kind == "parameter"
        else:
            alone = bool(node.sources) and not looks_up(node) and all(s.id in alone_ids for s in node.sources)
        if alone:
            alone_ids.add(node.id)
    return alone_ids


def looks_up(node: NodeInfo) -> bool:
    """Whether an op reads by an array of indices: rows of an embedding, which are data."""
    index = node.options.get("index")  # a snapshot holds no array
    parts = index if isinstance(index, tuple) else (index,)
    return node.effect == "gathers" or (node.effect == "picks" and any(p is None or hasattr(p, "shape") for p in parts))


def parameters_of(graph: Graph, start: int) -> Iterator[int]:
    """The parameters from which a node was computed."""
    work, seen = [start], {start}
    while work:
        node = graph.nodes[work.pop()]
        if node.op is None:
            yield node.id
        for source in node.sources:
            if source.id not in seen:
                seen.add(source.id)
                work.append(source.id)


def hoisted(net: Net, layer: Layer, node: NodeInfo) -> bool:
    """Whether an op outside time is the layer's own work for all steps at once: it stands in the cell's scope."""
    if node.op is None or node.id in net.step_of or not layer.outer:
        return False
    size = len(layer.outer)
    if node.scope[:size] != layer.outer:
        return False
    inside = [part for part in node.scope[size : size + 1] if part.kind not in ("gate", "state")]
    if inside:
        return layer.top is not None and inside[0] == layer.top
    stacked = layer.top is not None and layer.top.kind == "layer"
    return layer.outer[-1:] == (layer.name,) or stacked


def passes(node: NodeInfo) -> bool:
    """Whether an op only moves or chooses data, so that arrows run through it."""
    return node.effect in PASSING and not looks_up(node)


def _hoisted_weights(net: Net, layer: Layer) -> Iterator[int]:
    number = net.layers.index(layer)
    work = [s.id for step, sources in net.feeds.items() if step[0] == number for s in sources]
    seen = set(work)
    while work:
        node = net.graph.nodes[work.pop()]
        own = hoisted(net, layer, node)
        if not own and not passes(node):
            continue
        for source in node.sources:
            if source.id in net.only_weights:
                if own:
                    yield from parameters_of(net.graph, source.id)
            elif source.id not in seen:
                seen.add(source.id)
                work.append(source.id)
