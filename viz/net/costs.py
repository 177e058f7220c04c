"""What ops cost, as labels tell it."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo


def flops(node: NodeInfo, graph: Graph, options: dict[str, Any] | None = None) -> int:
    """Floating point operations of one op's forward, as the op declares them (see autodiff/work.py); 0 of a leaf.

    options: those of the run, where it has more than the snapshot: the lengths of its rows.

    >>> import tinygrad_rnn as tg
    >>> graph = tg.snapshot(tg.Parameter([[1.0, 2.0]]) @ tg.Parameter([[1.0], [1.0]]))
    >>> flops(graph.nodes[-1], graph)
    4
    """
    if node.op is None:
        return 0
    read = [graph.nodes[s.id].shapes[s.output] for s in node.sources]
    return node.work.flops(read, node.shapes, node.options if options is None else options)


def count_text(number: float, unit: str) -> str:
    """
    >>> count_text(96, "B"), count_text(4096, "B"), count_text(12_300_000, "flop")
    ('96 B', '4.1 kB', '12.3 Mflop')
    """
    for power, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def seconds_text(seconds: float) -> str:
    """
    >>> seconds_text(1.3e-6), seconds_text(1e-4), seconds_text(0.0214), seconds_text(3)
    ('1.3 µs', '100 µs', '21 ms', '3 s')
    """
    power, unit = next(((p, u) for p, u in ((1.0, "s"), (1e-3, "ms")) if seconds >= p * 0.9995), (1e-6, "µs"))
    return f"{float(f'{seconds / power:.2g}'):g} {unit}"
