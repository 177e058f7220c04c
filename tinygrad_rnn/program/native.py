"""A lowered loop in the native interpreter's hands."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .. import kernels
from .lowering import Lowering
from .lowering_rules import REDUCTIONS
from .lowering_stages import STAGES
from .plan import Loop, Over
from .run import compiled, execute
from .view import NUMBER, WEIGHT, Unsupported, View, merged, shared_scratch


class NativeLoop:
    """A loop in the interpreter's hands. Raises Unsupported where it has an op that the interpreter lacks."""

    together = 4  # up to this batch what does not depend on the state runs for many steps at once, not within each

    def __init__(self, loop: Loop, dtype: np.dtype[Any], together: bool, histories: dict[int, Over]):
        low = Lowering(loop, dtype, together)
        shared_scratch(low.slots, low.lists)
        self.loop, self.dtype = loop, dtype
        self.weight_slots, self.literals = low.weight_slots, [np.ascontiguousarray(a, dtype) for a in low.literals]
        self.sequences = low.sequences
        self.targets = low.targets
        self.finish = compiled(low.finish)
        self.state_sizes = [size for _, _, size in low.states]
        self.added_sizes = [size for _, _, size in low.accumulators]
        needed = set(self.weight_slots)
        fixed = []
        for i in reversed(loop.fixed):
            if not needed.isdisjoint(i.outputs):
                fixed.append(i)
                needed.update(x for x in i.inputs if type(x) is int)
        self.fixed = compiled(fixed[::-1])
        kinds = []
        self.shifted: list[int] = []  # states' leaves whose initial values shifted sequences begin with
        first = len(loop.reads)
        for k, over in enumerate(self.sequences):
            shifted = -1
            if over.kind == "before":
                shifted = len(self.shifted)
                self.shifted.append(over.leaf)
            kept = histories[over.leaf] if over.kind in ("state", "before") and k < first else over
            kinds.append((kept.kind in ("saved", "state"), shifted, k >= first))
        self.kinds = kinds
        self.read_leaves = [r.leaf for r in loop.reads]
        self.written = [  # what the loop writes: kind, leaf, shape of a row, its size
            (w.kind, w.leaf, inner, prod(inner))
            for w, inner in ((w, tuple(int(n) for n in loop.slots[w.slot].inner)) for w in loop.writes)
        ]
        places = {slot: k for k, slot in enumerate(loop.weights)}
        self.places: list[int] | None = None  # of the weights that the interpreter gets, where nothing is made of them
        if not self.fixed and not self.literals and all(slot in places for slot in self.weight_slots):
            self.places = [places[slot] for slot in self.weight_slots]
        self.in_place = self.places == [*range(len(loop.weights))]
        self._low = low
        self._built: Any = None

    def built(self) -> Any:
        """The native loop."""
        if self._built is None:
            low = self._low
            once, before, body, after = ([self._encoded(*i) for i in low.lists[stage]] for stage in STAGES)
            slots = [(kind, index, size) for kind, index, size in low.slots]
            sizes = [prod(low._inner(c)) for c in self.loop.constants]
            self._built = kernels._native.Loop(
                str(self.dtype),
                slots,
                once,
                before,
                body,
                after,
                self.kinds,
                low.states,
                sizes,
                low.sums,
                low.accumulators,
                low.outers,
            )
        return self._built

    def _encoded(
        self, code: str, shape: tuple[int, ...], out: View, inputs: tuple[View, ...], extra: tuple[int, ...]
    ) -> Any:
        if code == "product" or code == "rowproduct":
            dims, strides = shape, [v.strides for v in (out, *inputs)]
        elif code in REDUCTIONS.values():
            n = len(shape) - extra[0]
            (source,) = inputs
            kept, of_kept = merged(shape[:n], [out, source._replace(strides=source.strides[:n])])
            over, of_over = merged(shape[n:], [source._replace(strides=source.strides[n:])])
            if not over:
                over, of_over = (1,), [(0,)]
            dims, strides, extra = kept + over, [of_kept[0], of_kept[1] + of_over[0]], (len(over),)
        else:
            views = [v if v.where != NUMBER else v.to(shape) for v in (out, *inputs)]
            dims, strides = merged(shape, views)
        if len(dims) > 5:
            raise Unsupported(f"{code} over {len(dims)} dimensions")
        operands = [self._operand(v, s) for v, s in zip((out, *inputs), strides, strict=True)]
        return code, dims, operands[0], tuple(operands[1:]), extra

    def _operand(self, v: View, strides: tuple[int, ...]) -> Any:
        index = v.number
        if v.where == WEIGHT and index < 0:
            index = len(self.weight_slots) - index - 1
        return v.where, index, v.offset, strides, v.value

    def plain_weights(self, weights: Sequence[Any]) -> Sequence[Any]:
        """The arrays that the interpreter gets, from those of the loop's weights."""
        if self.places is None:
            return self.weights(dict(zip(self.loop.weights, weights, strict=True)))
        return weights if self.in_place else [weights[k] for k in self.places]

    def weights(self, registers: dict[int, Any]) -> list[Any]:
        """As plain_weights, from registers by slot, to which it adds what it makes."""
        execute(self.fixed, registers, 0)
        return [registers[s] for s in self.weight_slots] + self.literals
