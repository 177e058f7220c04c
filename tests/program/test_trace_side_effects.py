"""Steps that change state outside the step, and the state after a refused trace. See cases.py."""

from __future__ import annotations

import collections
import functools
import random
import types
from typing import Any

import numpy as np
import pytest
from cases import Cases
from scan_cases import B, D, H, ScanCase, compare_with_unrolled, draws, run

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_refused_with_the_line = cases.test_of_refused()
test_refused_until_it_changes_nothing = cases.test_of_refused_first()


# -- state outside -----------------------------------------------------------------------------


@cases.refused
def counter_in_closure():
    n = 0

    def step(x, h):
        nonlocal n
        n += 1
        h = tg.tanh(h + 0.1 * n)
        return h, h

    return ScanCase(step)


COUNT = 0
LAST: Any = None
OPTIONS = {"rate": 0.5}


def set_global(name, value):
    globals()[name] = value


@cases.refused
def counter_in_global():
    set_global("COUNT", 0)

    def step(x, h):
        global COUNT
        COUNT = COUNT + 1
        h = tg.tanh(h + 0.1 * COUNT)
        return h, h

    return ScanCase(step)


@cases.refused
def global_written_only():
    set_global("LAST", None)

    def step(x, h):
        global LAST
        LAST = h
        h = tg.tanh(h + x.sum(axis=1)[:, None])
        return h, h

    return ScanCase(step)


@cases.refused_first
def global_made():
    globals().pop("MADE", None)

    def step(x, h):
        global MADE
        MADE = 1
        h = tg.tanh(h + x.sum(axis=1)[:, None])
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_list():
    count = [0]

    def step(x, h):
        count[0] += 1
        h = tg.tanh(h + 0.1 * count[0])
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_array():
    count = np.zeros(1)

    def step(x, h):
        c = count
        c += 1
        h = tg.tanh(h + 0.1 * c)
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_part_of_array():
    count = np.zeros((2, 1))

    def step(x, h):
        c = count[0]
        c += 1
        h = tg.tanh(h + 0.1 * count[0])
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_array_by_item():
    count = np.zeros(1)

    def step(x, h):
        count[0] = count[0] + 1
        h = tg.tanh(h + 0.1 * count)
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_array_by_out():
    count = np.zeros(1)

    def step(x, h):
        np.add(count, 1, out=count)
        h = tg.tanh(h + 0.1 * count)
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_dict():
    count = {}

    def step(x, h):
        count["n"] = count.get("n", 0) + 1
        h = tg.tanh(h + 0.1 * count["n"])
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_set():
    seen = set()

    def step(x, h):
        seen.add(len(seen))
        h = tg.tanh(h + 0.1 * len(seen))
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_deque():
    seen = collections.deque(maxlen=9)

    def step(x, h):
        seen.append(1)
        h = tg.tanh(h + 0.1 * len(seen))
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_iterator():
    import itertools

    numbers = itertools.count()

    def step(x, h):
        h = tg.tanh(h + 0.1 * next(numbers))
        return h, h

    return ScanCase(step)


@cases.refused
def generator_of_scales():
    numbers = (0.1 * k for k in range(1000))

    def step(x, h):
        h = tg.tanh(h + next(numbers))
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_bound_method():
    log = []
    add = log.append

    def step(x, h):
        add(1)
        h = tg.tanh(h + 0.1 * len(log))
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_function():
    def step(x, h):
        step.n += 1
        h = tg.tanh(h + 0.1 * step.n)
        return h, h

    step.n = 0
    return ScanCase(step)


@cases.refused
def counter_in_object():
    class Cell:
        def __init__(self):
            self.t = 0

        def step(self, x, h):
            self.t += 1
            h = tg.tanh(h + 0.1 * self.t)
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def counter_in_nested_object():
    class Clock:
        t = 0

        def tick(self):
            self.t += 1
            return self.t

    class Cell:
        def __init__(self):
            self.clocks = {"main": [Clock()]}

        def step(self, x, h):
            h = tg.tanh(h + 0.1 * self.clocks["main"][0].tick())
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def counter_in_class():
    class Cell:
        t = 0

        def step(self, x, h):
            type(self).t += 1
            h = tg.tanh(h + 0.1 * self.t)
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def counter_in_named_class():
    class Clock:
        t = 0

    def step(x, h):
        Clock.t += 1
        h = tg.tanh(h + 0.1 * Clock.t)
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_list_of_class():
    class Cell:
        log = []  # noqa: RUF012

        def step(self, x, h):
            Cell.log.append(1)
            h = tg.tanh(h + 0.1 * len(Cell.log))
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def counter_in_class_method():
    class Cell:
        t = 0

        @classmethod
        def tick(cls):
            cls.t += 1
            return cls.t

        def step(self, x, h):
            h = tg.tanh(h + 0.1 * self.tick())
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def counter_in_default():
    def step(x, h, count=[0]):  # noqa: B006
        count[0] += 1
        h = tg.tanh(h + 0.1 * count[0])
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_module():
    module = types.ModuleType("tricks_counter")
    module.t = 0

    def step(x, h):
        module.t += 1
        h = tg.tanh(h + 0.1 * module.t)
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_module_function():
    module = types.ModuleType("tricks_counting")
    exec("t = 0\ndef tick():\n    global t\n    t += 1\n    return t\n", vars(module))

    def step(x, h):
        h = tg.tanh(h + 0.1 * module.tick())
        return h, h

    return ScanCase(step)


@cases.refused
def counter_in_slots():
    class Clock:
        __slots__ = ("t",)

        def __init__(self):
            self.t = 0

    clock = Clock()

    def step(x, h):
        clock.t += 1
        h = tg.tanh(h + 0.1 * clock.t)
        return h, h

    return ScanCase(step)


@cases.refused
def remembers_its_state():
    class Cell:
        last: Any = 0.0

        def step(self, x, h):
            h = tg.tanh(h + 0.1 * x.sum(axis=1)[:, None])
            self.last = h
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def appends_its_state():
    log: list[Any] = []

    def step(x, h):
        h = tg.tanh(h + 0.1 * x.sum(axis=1)[:, None])
        log.append(h.detach())
        return h, h

    return ScanCase(step)


@cases.refused
def cached_property():
    class Cell:
        n = 0

        @functools.cached_property
        def scale(self):
            Cell.n += 1
            return 0.1 * Cell.n

        def step(self, x, h):
            h = tg.tanh(h + self.scale * x.sum(axis=1)[:, None])
            if "scale" in vars(self):
                del self.scale
            return h, h

    return ScanCase(Cell().step)


@cases.refused
def lru_cache():
    seen = []

    @functools.lru_cache
    def scale(n):
        seen.append(n)
        return 0.1 * len(seen)

    def step(x, h):
        h = tg.tanh(h + scale(3))
        return h, h

    return ScanCase(step)


# -- the state after a refused trace -----------------------------------------------------------


def test_a_refused_trace_leaves_everything_as_it_was():
    class Cell:
        total = 0

        def __init__(self):
            self.t, self.log, self.by_name, self.seen = 0, [1], {"a": 1}, {1}
            self.array = np.zeros(2)

        def step(self, x, h):
            self.t += 1
            Cell.total += 1
            self.log.append(h)
            self.by_name["b"] = h
            self.seen.add(2)
            module.t += 1
            random.random()
            np.random.random()
            tg.autodiff.state.generator().random()
            rng.random()
            return h, h * x.data

    module = types.ModuleType("tricks_left")
    module.t = 0
    rng = np.random.default_rng(0)
    tg.seed(0)
    default = tg.autodiff.state.generator()
    cell = Cell()

    def everything():
        return (
            cell.t, Cell.total, list(cell.log), dict(cell.by_name), set(cell.seen), module.t, cell.array.tolist(),
            random.getstate(), str(np.random.get_state()), str(default.bit_generator.state), str(rng.bit_generator.state),
        )  # fmt: skip

    before = everything()
    with pytest.raises(ValueError, match="cannot run this step"):
        run(ScanCase(cell.step), "fused")
    assert everything() == before


def test_the_reason_names_the_cell_that_is_changed():
    class Counting(tg.rnn.RNNCell):
        state_size = output_size = 3
        count = 0

        def call(self, x, h):
            self.count += 1
            return h, 0.5 * h + x

    explained = tg.rnn.explain(Counting(), np.ones((2, 3, 3), np.float32))
    assert explained.path == "unrolled"
    assert "the step changes Counting.count" in str(explained)


def test_a_wrong_step_raises_its_own_error():
    w = tg.tensor(draws(3)(D + 1, H))

    def step(x, h):
        h = tg.tanh(x @ w + h)
        return h, h

    with pytest.raises(ValueError, match="matmul: b has shape"):
        tg.scan(step, draws()(B, 4, D), draws()(B, H))

    def fails(x, h):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        tg.scan(fails, draws()(B, 4, D), draws()(B, H))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None

    def grows(x, h):
        return h, tg.concatenate([h, h], axis=1)

    with pytest.raises(ValueError, match="the new state of step 0 is"):
        tg.scan(grows, draws()(B, 4, D), draws()(B, H))
    with pytest.raises(TypeError, match="expected the pair"):
        tg.scan(lambda x, h: h, draws()(B, 4, D), draws()(B, H))


def test_an_op_whose_rule_reads_values_runs_unrolled():
    @tg.primitive(label="odd", samples=lambda r: [r(2)], rows=tg.autodiff.rows.elementwise)
    def odd_op(x):
        return x * 2.0

    @odd_op.vjp
    def _(g, x):
        return g * np.where(
            np.asarray(x.data if hasattr(x, "data") and not isinstance(x, np.ndarray) else x) < 9, 2.0, 0
        )

    try:

        def make():
            def step(x, h):
                h = odd_op(h) + x[:, :1]
                return h, h

            return ScanCase(step)

        for path, _ in compare_with_unrolled(make):
            assert path == "unrolled"
    finally:
        del tg.autodiff.tensor.registry["odd_op"]
