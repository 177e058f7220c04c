"""Reading time out of a graph: what flows between the steps of layers, what they read, which weights they share.

Which ops are one step, and which steps one layer, is found in `layers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source

from .layers import STACK, Layer, Step, find_layers, gate_of, time_of
from .opened import INPUT, is_mask
from .ops import Scope

PASS_KINDS = frozenset({"shape", "index"})  # ops that only move data: arrows run through them
PASS_OPS = frozenset({"where", "astype", "_identity"})


@dataclass
class State:
    """A value that goes from one step to a later one of the same layer, or on to the layer that continues it."""

    name: str
    source: Source
    tail: Step | None  # None: the initial value, a leaf
    head: Step


@dataclass
class Unrolled:
    """What `read` finds in a graph."""

    graph: Graph
    layers: list[Layer]
    step_of: dict[int, Step]  # node id -> the step it belongs to
    states: list[State]
    feeds: dict[Step, list[Source]]  # what a step reads that is no state and no weight
    only_weights: set[int]  # ids of parameters, and of what was computed from parameters alone
    places: list[dict[int, list[int]]] = field(default_factory=list)  # by layer and t: the ids of the step's ops
    names: list[dict[tuple[int, int], str]] = field(
        default_factory=list
    )  # by layer: states by place from the step's end


def read(graph: Graph, who: str = "unrolled") -> Unrolled:
    """Find layers, steps, states and weights. Raises ValueError if the graph has no time steps; `who` asks for them."""
    times = [time_of(node.scope) if node.op is not None else None for node in graph.nodes]
    if not any(times):
        raise ValueError(
            f"{who}: the graph has no time steps; they come from dynamic_rnn and its kin, or from "
            'with tg.scope(f"t={t}"): around each step of a loop of your own. viz.draw shows any graph'
        )
    layers, step_of = find_layers(graph, times)
    found = Unrolled(graph, layers, step_of, [], {}, only_weights(graph))
    _flow(found)
    return found


def _flow(found: Unrolled) -> None:
    """Sort what each step reads into states, weights and the rest."""
    graph, step_of = found.graph, found.step_of
    crossing: dict[tuple[Step, Source], None] = {}
    feeds: dict[Step, dict[Source, None]] = {}
    weights: dict[Step, dict[Source, None]] = {}
    for i, here in sorted(step_of.items()):
        for source in graph.nodes[i].sources:
            there = step_of.get(source.id)
            if there == here:
                continue
            if there is not None and (there[0] == here[0] or there[1] != here[1]):
                crossing[here, source] = None
            else:
                (weights if source.id in found.only_weights else feeds).setdefault(here, {})[source] = None
    found.states = [State(state_name(graph, s), s, step_of[s.id], head) for head, s in crossing]
    uses = _uses(found)
    _name_states(found, uses)
    for step in sorted({*feeds, *weights}):
        sources = [*feeds.get(step, ()), *weights.get(step, ())]
        if step[1] == found.layers[step[0]].steps[0]:
            begun = _beginnings(found, uses, step, sources)
            found.states.extend(State(letter, source, None, step) for source, letter in begun.items())
        else:
            begun = {}
        for source in sources:
            node = graph.nodes[source.id]
            read = any(op == "matmul" for op, _, _ in uses[step, source])
            if source not in begun and not is_mask(node) and (node.kind != "constant" or node.name or read):
                continue
            feeds.get(step, {}).pop(source, None)  # else a mask, or a number made on the way
            weights.get(step, {}).pop(source, None)
    found.feeds = {step: list(sources) for step, sources in feeds.items() if sources}
    for number, layer in enumerate(found.layers):
        ids = {i for t in layer.steps for s in weights.get((number, t), ()) for i in parameters_of(graph, s.id)}
        layer.weights = sorted({*ids, *_hoisted_weights(found, layer)})


Use = tuple[str, Scope, int]  # the op that reads a value, the scope inside the step, and which input it is


def _uses(found: Unrolled) -> dict[tuple[Step, Source], set[Use]]:
    """How each step uses each value."""
    uses: dict[tuple[Step, Source], set[Use]] = {}
    for i, step in found.step_of.items():
        node = found.graph.nodes[i]
        time = time_of(node.scope)
        for k, source in enumerate(node.sources):
            uses.setdefault((step, source), set()).add((node.op or "", time[2] if time else (), k))
    return uses


def _beginnings(
    found: Unrolled, uses: dict[tuple[Step, Source], set[Use]], step: Step, sources: list[Source]
) -> dict[Source, str]:
    """Which of the things that a first step reads are the states it begins with: those used as states are by the next."""
    graph, layer = found.graph, found.layers[step[0]]
    following = layer.steps[min(1, len(layer.steps) - 1)]
    later = [s for s in found.states if s.tail is not None and s.tail[0] == step[0] and s.head == (step[0], following)]
    begun: dict[Source, str] = {}
    for exactly in (True, False):
        for source in sources:
            node, use = graph.nodes[source.id], uses[step, source]
            if source in begun or _is_input(node) or (node.op is not None and source.id not in found.only_weights):
                continue
            for state in later:
                then = uses[state.head, state.source]
                alike = use == then if exactly else use <= then or then <= use
                shapes = {graph.nodes[s.id].shapes[s.output] for s in (source, state.source)}
                if alike and len(shapes) == 1 and state.name not in begun.values():
                    begun[source] = state.name
                    break
            if source not in begun and len(layer.steps) == 1 and not exactly and node.op is None and not node.name:
                letter = _letter_at_once(found, uses, step, source)
                if letter and letter not in begun.values():
                    begun[source] = letter
    return begun


def _letter_at_once(
    found: Unrolled, uses: dict[tuple[Step, Source], set[Use]], step: Step, source: Source
) -> str | None:
    """c or h for what an only step reads, of the shape of a final state."""
    graph = found.graph
    final = {graph.nodes[s.id].shapes[s.output] for s in graph.outputs if found.step_of.get(s.id) == step}
    node, use = graph.nodes[source.id], uses[step, source]
    if node.kind != "constant" or node.shapes[0] not in final or node.dtypes[0] == "bool":
        return None
    return (
        "c" if any(scope[-1:] == ("c",) for _, scope, _ in use) else "h" if any(u[0] == "matmul" for u in use) else None
    )


def _is_input(leaf: NodeInfo) -> bool:
    return bool(leaf.name) and bool(INPUT.fullmatch(leaf.name or ""))


def state_name(graph: Graph, source: Source) -> str:
    """c or h (or another letter) by the scope in which a value was made; through ops that only choose or move."""
    return gate_of(graph.nodes[made_by(graph, source.id)].scope) or "h"


def made_by(graph: Graph, i: int) -> int:
    """The op that made what an op chooses or moves: of what is chosen between, what its own step made."""
    node = graph.nodes[i]
    while node.op in ("where", "getitem", "astype"):
        time = time_of(node.scope)
        own = [s.id for s in node.sources if time and (time_of(graph.nodes[s.id].scope) or ((), -1))[1] == time[1]]
        own = [i for i in own if graph.nodes[i].op is not None]
        if not own:
            break
        node = graph.nodes[own[-1]]
    return node.id


def _name_states(found: Unrolled, uses: dict[tuple[Step, Source], set[Use]]) -> None:
    """Name the states by their letters, or s1, s2 … where a layer has several of one letter: told apart by their use."""
    found.places = [{} for _ in found.layers]
    for i, (number, t) in sorted(found.step_of.items()):
        found.places[number].setdefault(t, []).append(i)
    for number in range(len(found.layers)):
        own = [s for s in found.states if s.tail is not None and s.tail[0] == number == s.head[0]]
        kinds: dict[frozenset[Use], list[State]] = {}
        for state in sorted(own, key=lambda s: (s.head, s.source)):
            use = frozenset(
                u for u in uses[state.head, state.source] if u[0] != "where"
            )  # which only keeps the old one
            kinds.setdefault(use, []).append(state)
        letters = [states[0].name for states in kinds.values()]
        if len(set(letters)) < len(letters):
            letters = [f"s{k + 1}" for k in range(len(letters))]
        at: dict[tuple[int, int], str] = {}
        for letter, states in zip(letters, kinds.values(), strict=True):
            for state in states:
                assert state.tail is not None
                step = found.places[number][state.tail[1]]
                at.setdefault((step.index(state.source.id) - len(step), state.source.output), letter)
                state.name = letter
        found.names.append(at)


def states_in(found: Unrolled, source: Source) -> list[Source]:
    """The final states that a value is, or of which it is a stack that no layer made: h_n of several layers."""
    node = found.graph.nodes[source.id]
    parts = [source]
    if node.op == "stack" and source.id not in found.step_of:
        parts = [] if any(hoisted(found, layer, node) for layer in found.layers) else list(node.sources)
    steps = [found.step_of.get(part.id) for part in parts]
    ends = [step is not None and step[1] == found.layers[step[0]].steps[-1] for step in steps]
    return parts if all(ends) else []


def final_states(found: Unrolled) -> list[Source]:
    """The final states among what the graph was taken from."""
    return list(dict.fromkeys(part for source in found.graph.outputs for part in states_in(found, source)))


def gates_of(found: Unrolled, number: int) -> dict[str, list[Source | None]]:
    """Where each gate of a layer is at each of its steps: the last op in the scope of its name."""
    steps = found.layers[number].steps
    gates: dict[str, list[Source | None]] = {}
    for at, t in enumerate(steps):
        for i in found.places[number].get(t, ()):
            gate = gate_of(found.graph.nodes[i].scope)
            if gate:
                gates.setdefault(gate, [None] * len(steps))[at] = Source(i, 0)
    return gates


def name_of(found: Unrolled, source: Source) -> str:
    """The name of a state after some step."""
    number, t = found.step_of[source.id]
    step = found.places[number][t]
    return found.names[number].get((step.index(source.id) - len(step), source.output)) or state_name(
        found.graph, source
    )


def only_weights(graph: Graph) -> set[int]:
    """Ids of parameters, and of what was computed from parameters alone."""
    found: set[int] = set()
    for node in graph.nodes:
        if node.op is None:
            alone = node.kind == "parameter"
        else:
            alone = bool(node.sources) and not _chooses(node) and all(s.id in found for s in node.sources)
        if alone:
            found.add(node.id)
    return found


def _chooses(node: NodeInfo) -> bool:
    """Whether an op reads by an array of indices: rows of an embedding, which are data."""
    index = node.options.get("index", node.options.get("indices"))
    parts = index if isinstance(index, tuple) else (index,)
    return node.op == "take" or (node.op == "getitem" and any(p is None or hasattr(p, "shape") for p in parts))


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


def hoisted(found: Unrolled, layer: Layer, node: NodeInfo) -> bool:
    """Whether an op outside time is the layer's own work for all steps at once: it stands in the cell's scope."""
    if node.op is None or node.id in found.step_of:
        return False
    size = len(layer.outer)
    if node.scope[:size] != layer.outer:
        return False
    inside = node.scope[size : size + 1]
    return inside == (layer.top,) if inside else layer.outer[-1:] == (layer.name,) or bool(STACK.match(layer.top))


def passes(node: NodeInfo) -> bool:
    """Whether an op only moves or chooses data, so that arrows run through it."""
    if node.op is None or _chooses(node) or node.op == "scatter_add":
        return False
    return node.op in PASS_OPS or node.kind in PASS_KINDS


def _hoisted_weights(found: Unrolled, layer: Layer) -> Iterator[int]:
    number = found.layers.index(layer)
    work = [s.id for step, sources in found.feeds.items() if step[0] == number for s in sources]
    seen = set(work)
    while work:
        node = found.graph.nodes[work.pop()]
        own = hoisted(found, layer, node)
        if not own and not passes(node):
            continue
        for source in node.sources:
            if source.id in found.only_weights:
                if own:
                    yield from parameters_of(found.graph, source.id)
            elif source.id not in seen:
                seen.add(source.id)
                work.append(source.id)
