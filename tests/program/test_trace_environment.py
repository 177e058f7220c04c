"""Steps whose closure, globals, attributes or classes change between calls. See cases.py."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import sys
import time
import types
from typing import Any

import numpy as np
import pytest
from cases import Cases
from scan_cases import H, ScanCase, draws, leaf

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_fused_as_unrolled = cases.test_of_fused()
test_refused_with_the_line = cases.test_of_refused()


LAST: Any = None
WEIGHT = leaf(draws(5)(H))
RATE = 0.5


def set_global(name, value):
    globals()[name] = value


@cases.fused
def number_in_closure_rebound():
    rate = 0.5

    def change(k):
        nonlocal rate
        rate = 0.5 + k

    def step(x, h):
        h = tg.tanh(h * rate)
        return h, h

    return ScanCase(step, change=change)


@cases.fused
def number_in_global_rebound():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(h * RATE)
        return h, h

    return ScanCase(step, change=lambda k: set_global("RATE", 0.5 + k))


def uses_rate(h):
    return h * RATE


@cases.fused
def function_that_reads_a_global():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(uses_rate(h))
        return h, h

    return ScanCase(step, change=lambda k: set_global("RATE", 0.5 + k))


@cases.fused
def global_tensor_rebound():
    set_global("WEIGHT", leaf(draws(5)(H)))

    def step(x, h):
        h = tg.tanh(h * WEIGHT)
        return h, h

    return ScanCase(step, weights=lambda: [WEIGHT], change=lambda k: set_global("WEIGHT", leaf(draws(k)(H))))


@cases.fused
def global_function_rebound():
    set_global("LAST", tg.tanh)

    def step(x, h):
        h = LAST(h + 0.1)
        return h, h

    return ScanCase(step, change=lambda k: set_global("LAST", [tg.tanh, tg.sigmoid, tg.sin][k]))


@cases.fused
def global_that_shadows_a_builtin():
    globals().pop("abs", None)

    def step(x, h):
        h = tg.tanh(h + abs(-0.5))
        return h, h

    def change(k):
        globals()["abs"] = lambda v: v * k
        if k == 2:
            del globals()["abs"]

    return ScanCase(step, change=change)


@cases.fused
def dict_entry_changed():
    options = {"rate": 0.5, "deep": {"list": [1.0, 2.0]}}

    def change(k):
        options["rate"] += 1
        options["deep"]["list"][1] += 1

    def step(x, h):
        h = tg.tanh(h * options["rate"] + options["deep"]["list"][1])
        return h, h

    return ScanCase(step, change=change)


@cases.fused
def dict_in_another_order():
    weights = {"a": leaf(draws(1)(H)), "b": leaf(draws(2)(H))}

    def change(k):
        weights["a"] = weights.pop("a")

    def step(x, h):
        for w in weights.values():
            h = tg.tanh(h * w + 0.1)
        return h, h

    return ScanCase(step, change=change, weights=lambda: list(weights.values()))


@cases.fused
def dict_grown():
    weights = {"a": leaf(draws(1)(H))}

    def change(k):
        weights[f"b{k}"] = leaf(draws(k)(H))

    def step(x, h):
        for w in weights.values():
            h = tg.tanh(h * w + 0.1)
        return h, h

    return ScanCase(step, change=change, weights=lambda: list(weights.values()))


@cases.fused
def list_of_weights_changed():
    weights = [leaf(draws(1)(H)), leaf(draws(2)(H))]

    def change(k):
        weights[0] = leaf(draws(10 + k)(H))
        weights.append(leaf(draws(20 + k)(H)))

    def step(x, h):
        for w in weights:
            h = tg.tanh(h * w + 0.1)
        return h, h

    return ScanCase(step, change=change, weights=lambda: list(weights))


@cases.fused
def set_changed():
    names = {"a"}

    def step(x, h):
        h = tg.tanh(h * (0.5 if "b" in names else 0.25))
        return h, h

    return ScanCase(step, change=lambda k: names.add("b"))


@cases.fused
def set_in_another_order():
    numbers = {8, 0}  # these fall on the same place: the order is that of their insertion

    def change(k):
        numbers.clear()
        for n in (0, 8) if k == 1 else (8, 0):
            numbers.add(n)

    def step(x, h):
        for n in numbers:
            h = tg.tanh(h * n + 1.0)
        return h, h

    return ScanCase(step, change=change)


@cases.refused_first
def missing_key_of_a_dict_with_a_default():
    rates = collections.defaultdict(lambda: 0.5)

    def step(x, h):
        try:
            h = tg.tanh(h * rates["rate"])
        except KeyError:
            h = tg.sin(h)
        return h, h

    return ScanCase(step)


@cases.fused
def attribute_changed():
    class Cell:
        def __init__(self):
            self.rate = 0.5

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    cell = Cell()
    return ScanCase(cell.step, change=lambda k: setattr(cell, "rate", 0.5 + k))


@cases.fused
def attribute_added_and_removed():
    class Cell:
        def step(self, x, h):
            h = tg.tanh(h * getattr(self, "rate", 0.25))
            return h, h

    cell = Cell()
    return ScanCase(cell.step, change=lambda k: setattr(cell, "rate", 0.5) if k == 1 else delattr(cell, "rate"))


@cases.fused
def class_attribute_changed():
    class Cell:
        rate = 0.5

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    return ScanCase(Cell().step, change=lambda k: setattr(Cell, "rate", 0.5 + k))


@cases.fused
def base_class_attribute_changed_then_covered():
    class Base:
        rate = 0.5

    class Cell(Base):
        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    return ScanCase(Cell().step, change=lambda k: setattr([Base, Cell][k - 1], "rate", 0.5 + k))


@cases.fused
def class_as_namespace_changed():
    class Options:
        rate = 0.5

    def step(x, h):
        h = tg.tanh(h * Options.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(Options, "rate", 0.5 + k))


@cases.refused
def class_as_namespace_of_arrays():
    class Options:
        rate = np.ones(H)

    def step(x, h):
        h = tg.tanh(h * Options.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(Options, "rate", np.full(H, 0.5 + k)))


@cases.fused
def method_replaced():
    class Cell:
        def gate(self, h):
            return h * 0.5

        def step(self, x, h):
            h = tg.tanh(self.gate(h))
            return h, h

    return ScanCase(Cell().step, change=lambda k: setattr(Cell, "gate", lambda self, h: h * (0.5 + k)))


@cases.fused
def method_replaced_on_the_object():
    class Cell:
        def gate(self, h):
            return h * 0.5

        def step(self, x, h):
            h = tg.tanh(self.gate(h))
            return h, h

    cell = Cell()
    return ScanCase(cell.step, change=lambda k: setattr(cell, "gate", lambda h: h * (0.5 + k)))


@cases.fused
def property_of_an_attribute():
    class Cell:
        def __init__(self):
            self.log_rate = leaf(draws(3)(H))

        @property
        def rate(self):
            return tg.exp(self.log_rate) * RATE

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    set_global("RATE", 0.5)
    cell = Cell()
    return ScanCase(cell.step, change=lambda k: set_global("RATE", 0.5 + k), weights=lambda: [cell.log_rate])


@cases.refused
def property_of_a_global_array():
    class Cell:
        @property
        def rate(self):
            return WEIGHT

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    set_global("WEIGHT", leaf(draws(5)(H)))
    return ScanCase(Cell().step, weights=lambda: [WEIGHT], change=lambda k: set_global("WEIGHT", leaf(draws(k)(H))))


@cases.fused
def property_replaced():
    class Cell:
        @property
        def rate(self):
            return 0.5

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    return ScanCase(Cell().step, change=lambda k: setattr(Cell, "rate", property(lambda self: 0.5 + k)))


@cases.fused
def static_and_class_methods():
    class Cell:
        rate = 0.5

        @staticmethod
        def squash(h):
            return tg.tanh(h * RATE)

        @classmethod
        def scaled(cls, h):
            return h * cls.rate

        def step(self, x, h):
            h = self.squash(self.scaled(h))
            return h, h

    def change(k):
        set_global("RATE", 0.5 + k)
        if k == 2:
            Cell.rate = 0.2

    set_global("RATE", 0.5)
    return ScanCase(Cell().step, change=change)


@cases.fused
def method_of_the_base_class():
    class Base:
        def step(self, x, h):
            return tg.tanh(h * RATE + self.bias), h

    class Cell(Base):
        def __init__(self):
            self.bias = leaf(draws(4)(H))

        def step(self, x, h):
            h, _ = super().step(x, h)
            return h, h

    set_global("RATE", 0.5)
    cell = Cell()
    return ScanCase(cell.step, change=lambda k: set_global("RATE", 0.5 + k), weights=lambda: [cell.bias])


@cases.refused
def method_of_the_base_class_reads_a_global_array():
    class Base:
        def step(self, x, h):
            return tg.tanh(h * WEIGHT), h

    class Cell(Base):
        def step(self, x, h):
            h, _ = super().step(x, h)
            return h, h

    set_global("WEIGHT", tg.tensor(draws(5)(H)))
    return ScanCase(Cell().step, change=lambda k: set_global("WEIGHT", tg.tensor(draws(k)(H))))


@cases.fused
def callable_object():
    class Gate:
        def __init__(self):
            self.w = leaf(draws(4)(H))

        def __call__(self, h):
            return h * self.w * RATE

    class Cell:
        def __init__(self):
            self.gate = Gate()

        def __call__(self, x, h):
            h = tg.tanh(self.gate(h) * RATE)
            return h, h

    set_global("RATE", 0.5)
    cell = Cell()
    return ScanCase(cell, change=lambda k: set_global("RATE", 0.5 + k), weights=lambda: [cell.gate.w])


@cases.fused
def overloaded_operator():
    class Rate:
        def __init__(self):
            self.value = 0.5

        def __rmatmul__(self, h):
            return h * self.value * RATE

        def __getattr__(self, name):
            return RATE

    rate = Rate()

    def step(x, h):
        h = tg.tanh(rate.__rmatmul__(h) * rate.missing)
        return h, h

    def change(k):
        rate.value = 0.5 + k
        if k == 2:
            set_global("RATE", 0.1)

    set_global("RATE", 0.5)
    return ScanCase(step, change=change)


@cases.fused
def defaults_changed():
    def step(x, h, rate=0.5, *, shift=0.1):
        h = tg.tanh(h * rate + shift)
        return h, h

    def change(k):
        step.__defaults__ = (0.5 + k,)
        step.__kwdefaults__ = {"shift": 0.1 * k}

    return ScanCase(step, change=change)


@cases.fused
def function_attribute_changed():
    def step(x, h):
        h = tg.tanh(h * step.rate * getattr(step, "extra", 1.0))
        return h, h

    step.rate = 0.5

    def change(k):
        step.rate = 0.5 + k
        step.extra = 0.1 * k

    return ScanCase(step, change=change)


@cases.fused
def code_changed():
    def step(x, h):
        h = tg.tanh(h * 0.5)
        return h, h

    def other(x, h):
        h = tg.tanh(h * 0.25)
        return h, h

    return ScanCase(step, change=lambda k: setattr(step, "__code__", other.__code__))


@cases.fused
def partial():
    w = leaf(draws(4)(H))

    def step(w, x, h, *, rate):
        h = tg.tanh(h * w * rate)
        return h, h

    scan_case = ScanCase(functools.partial(step, w, rate=0.5), weights=lambda: [w])
    scan_case.change = lambda k: setattr(scan_case, "step", functools.partial(step, w, rate=0.5 + k))
    return scan_case


@cases.fused
def partial_in_place():
    options = {"rate": 0.5}

    def step(options, x, h, **more):
        h = tg.tanh(h * options["rate"] * more["scale"])
        return h, h

    f = functools.partial(step, options, scale=2.0)

    def change(k):
        options["rate"] += k
        f.keywords["scale"] += k

    return ScanCase(f, change=change)


@cases.fused
def lambdas_made_anew():
    scan_case = ScanCase(None)

    def change(k):
        scan_case.step = lambda x, h: (tg.tanh(h * (0.5 + k)),) * 2

    change(0)
    scan_case.change = change
    return scan_case


@cases.fused
def wrapped_as_another():
    @functools.wraps(np.tanh)
    def squash(h):
        return tg.tanh(h * RATE)

    squash.__module__ = "numpy"

    def step(x, h):
        h = squash(h)
        return h, h

    set_global("RATE", 0.5)
    return ScanCase(step, change=lambda k: set_global("RATE", 0.5 + k))


@cases.fused
def module_attribute_changed():
    module = types.ModuleType("tricks_options")
    module.rate = 0.5

    def step(x, h):
        h = tg.tanh(h * module.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(module, "rate", 0.5 + k))


@cases.fused
def module_function_reads_its_global():
    module = types.ModuleType("tricks_functions")
    exec("rate = 0.5\ndef scaled(h):\n    return h * rate\n", vars(module))

    def step(x, h):
        h = tg.tanh(module.scaled(h))
        return h, h

    return ScanCase(step, change=lambda k: setattr(module, "rate", 0.5 + k))


@cases.fused
def module_array():
    module = types.ModuleType("tricks_arrays")
    module.rate = np.full(H, 0.5)

    def step(x, h):
        h = tg.tanh(h * module.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(module, "rate", np.full(H, 0.5 + k)))


@cases.refused
def slots_changed():
    class Options:
        __slots__ = ("rate",)

        def __init__(self):
            self.rate = 0.5

    options = Options()

    def step(x, h):
        h = tg.tanh(h * options.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(options, "rate", 0.5 + k))


@cases.refused
def slots_beside_attributes():
    class Base:
        __slots__ = ("rate",)

    class Options(Base):
        pass

    options = Options()
    options.rate = 0.5

    def step(x, h):
        h = tg.tanh(h * getattr(options, "rate", 0.25))
        return h, h

    return ScanCase(step, change=lambda k: setattr(options, "rate", 0.5 + k))


@cases.refused
def simple_namespace():
    options = types.SimpleNamespace(rate=0.5)

    def step(x, h):
        h = tg.tanh(h * options.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(options, "rate", 0.5 + k))


class Mode(enum.Enum):
    SOFT = 0
    HARD = 1


@cases.fused
def enumeration():
    class Cell:
        mode = Mode.SOFT

        def step(self, x, h):
            h = tg.tanh(h) if self.mode is Mode.SOFT else tg.clip(h, -0.1, 0.1)
            return h, h

    cell = Cell()
    return ScanCase(cell.step, change=lambda k: setattr(cell, "mode", Mode.HARD))


@dataclasses.dataclass(frozen=True)
class Equal:
    """Two of these are equal and hash alike whatever w is."""

    rate: float
    w: Any = dataclasses.field(compare=False)

    def step(self, x, h):
        h = tg.tanh(h * self.w * self.rate)
        return h, h


@cases.fused
def equal_objects_with_other_weights():
    cells = [Equal(0.5, leaf(draws(k)(H))) for k in range(3)]
    scan_case = ScanCase(cells[0].step)
    here = [0]

    def change(k):
        here[0] = k
        scan_case.step = cells[k].step

    scan_case.weights = lambda: [cells[here[0]].w]
    scan_case.change = change
    return scan_case


@cases.fused
def number_of_another_type():
    options = [1]

    def step(x, h):
        h = tg.tanh(h * options[0]) if options[0] is not True else tg.sin(h)
        return h, h

    return ScanCase(step, change=lambda k: options.__setitem__(0, [True, 1.0][k - 1]))


@cases.fused
def negative_zero():
    options = [0.0]

    def step(x, h):
        h = tg.tanh(h + (1.0 if np.signbit(options[0]) else 2.0))
        return h, h

    return ScanCase(step, change=lambda k: options.__setitem__(0, -0.0))


class Scale(float):
    """A number with an attribute."""


@cases.refused
def number_with_an_attribute():
    scale = Scale(1.0)
    scale.rate = 0.5

    def step(x, h):
        h = tg.tanh(h * scale.rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(scale, "rate", 0.5 + k))


@cases.fused
def unused_objects_do_not_matter():
    class Cell:
        def __init__(self):
            self.log = open(__file__)  # noqa: SIM115
            self.rng = np.random.default_rng(0)
            self.lock = __import__("threading").Lock()

        def report(self):
            print(self.log.read(), time.time())

        def step(self, x, h):
            h = tg.tanh(h + 0.1)
            return h, h

    cell = Cell()
    cell.log.close()
    return ScanCase(cell.step)


@cases.fused
def variable_of_the_closure_set_later():
    def step(x, h):
        h = tg.tanh(h * late) if step.ready else tg.sin(h)
        return h, h

    step.ready = False

    def change(k):
        nonlocal late
        step.ready = True
        late = 0.5 + k

    if len(sys.argv) < 0:
        late = 0.0
    return ScanCase(step, change=change)
