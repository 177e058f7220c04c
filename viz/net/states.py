"""The states of a layer by name: where each is after every step."""

from __future__ import annotations

from tinygrad_rnn.autodiff.graph import Graph, Source

from .layers import time_of
from .steps import Net, gates_of


def states_of(net: Net, number: int) -> dict[str, list[Source | None]]:
    """Where each state of a layer is after each of its steps, by the state's name."""
    layer = net.layers[number]
    own: dict[str, dict[int, Source]] = {}
    for state in net.states:
        if state.layer == number:
            own.setdefault(state.name, {})[state.tail[1]] = state.source
    result: dict[str, list[Source | None]] = {}
    for name, by_step in sorted(own.items()):
        last, end = max(by_step), layer.steps[-1]
        if end not in by_step:
            final = _at_the_end(net, net.places[number][last], net.places[number][end], by_step[last].id)
            by_step |= {} if final is None else {end: Source(final, by_step[last].output)}
        result[name] = [by_step.get(t) for t in layer.steps]
    return result or _only_states(net, number)


def values_of(net: Net, number: int) -> dict[str, list[Source | None]]:
    """Where each gate and each state of a layer is after each of its steps, by name."""
    named = {**gates_of(net, number), **states_of(net, number)}
    return {name: sources for name, sources in named.items() if any(sources)}


def _only_states(net: Net, number: int) -> dict[str, list[Source | None]]:
    """The states where no step hands one on, as with a single one: c and h by their letters, else what leaves the step."""
    lettered = {name: sources for name, sources in gates_of(net, number).items() if name in ("c", "h")}
    if lettered or len(net.layers[number].steps) > 1:
        return lettered
    (step,) = net.places[number].values()
    inside = set(step)
    read = [s for node in net.graph.nodes if node.id not in inside for s in node.sources]
    leaving = dict.fromkeys(s for s in (*read, *net.graph.outputs) if s.id in inside)
    return {"h": list(leaving)} if len(leaving) == 1 else {}


def _made_by(graph: Graph, i: int) -> int:
    """The op that computed what the masks of a step select."""
    node = graph.nodes[i]
    while node.effect == "selects":
        here = time_of(node.scope)
        own = [s.id for s in node.sources if here and (there := time_of(graph.nodes[s.id].scope)) and there.t == here.t]
        own = [i for i in own if graph.nodes[i].op is not None]
        if not own:
            break
        node = graph.nodes[own[-1]]
    return node.id


def _at_the_end(net: Net, step: list[int], end: list[int], i: int) -> int | None:
    """The op of the last step that is to it what op i is to an earlier one.

    Where sequences have ended, the last step does not carry on the states that no one reads: then what it computed itself.
    """
    i = i if len(step) == len(end) else _made_by(net.graph, i)
    for at in (step.index(i), step.index(i) - len(step)):
        if -len(end) <= at < len(end) and net.graph.nodes[end[at]].op == net.graph.nodes[i].op:
            return end[at]
    return None
