"""All known ways to mislead the trace of a step. Each step runs fused with the results of the plain loop, call after call
while what it reads changes, or it is refused with a reason that names the file and line of the step."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import random
import sys
import time
import types
from typing import Any, NamedTuple

import numpy as np
import pytest
from worlds import B, D, H, World, draws, held_to_unrolled, run, seeded, wanted

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("way")
HERE = __file__.rpartition("/")[2]
FUSED: dict[str, Any] = {}
REFUSED: dict[str, Any] = {}
REFUSED_FIRST: dict[str, Any] = {}  # until what the step changes is what it is


def fused(make):
    assert make.__name__ not in FUSED
    FUSED[make.__name__] = make
    return make


def refused(make):
    assert make.__name__ not in REFUSED
    REFUSED[make.__name__] = make
    return make


def refused_first(make):
    assert make.__name__ not in REFUSED_FIRST
    REFUSED_FIRST[make.__name__] = make
    return make


@pytest.mark.parametrize("name", FUSED)
def test_fused_as_unrolled(name):
    for path, reason in held_to_unrolled(FUSED[name]):
        assert path == "fused", reason


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_line(name):
    for path, reason in held_to_unrolled(REFUSED[name]):
        assert path == "unrolled"
        assert f"{HERE}:" in reason, reason
    world = seeded(REFUSED[name])
    with pytest.raises(ValueError, match="impl='fused' cannot run this step") as caught:
        run(world, "fused")
    assert f"{HERE}:" in str(caught.value)


@pytest.mark.parametrize("name", REFUSED_FIRST)
def test_refused_until_it_changes_nothing(name):
    (path, reason), *_ = held_to_unrolled(REFUSED_FIRST[name])
    assert path == "unrolled"
    assert f"{HERE}:" in reason, reason


# -- values read ------------------------------------------------------------------------------------


def reading(read):
    """A step that reads something of its state, and adds it."""

    def make():
        w = wanted(draws()(D, H))

        def step(x, h):
            h = tg.tanh(x @ w + h) + read(h)
            return h, h

        return World(step, weights=lambda: [w])

    return make


READS = {
    "item": lambda h: h[0, 0].item(),
    "data": lambda h: 0.1 * h.data,
    "float": lambda h: float(h[0, 0].detach()),
    "int": lambda h: int(h[0, 0].detach()),
    "bool": lambda h: 0.3 if bool(h[0, 0] > 0) else 0.1,
    "asarray": lambda h: np.asarray(h.detach()),
    "numpy": lambda h: h.detach().numpy() * 0.1,
    "tolist": lambda h: tg.tensor(h.tolist(), dtype=np.float64),
    "format": lambda h: len(f"{h}") * 0.001,
    "repr": lambda h: len(repr(h)) * 0.001,
    "str": lambda h: len(str(h)) * 0.001,
    "percent": lambda h: len("%s" % h) * 0.001,  # noqa: UP031
    "argmax": lambda h: 0.1 * h.argmax(axis=1)[:, None],
    "any": lambda h: 0.1 * h.any(),
    "np_any": lambda h: 0.1 * np.any(h),
    "round": lambda h: np.asarray(h.round()),
    "zeros_like": lambda h: np.zeros_like(h),
    "contains": lambda h: 0.1 * (0.0 in h),
    "if": lambda h: h * 0.5 if h.sum() > 0 else h,
    "max": lambda h: max(h[0, 0], h[0, 1]).detach(),
    "sorted": lambda h: sorted([h[0, 0], h[0, 1]], key=float)[0].detach(),
    "index": lambda h: h[:, tg.detach(h[0] > 0)].sum(axis=1)[:, None],
    "where_index": lambda h: h[(h > 0)].sum(),
    "take_computed": lambda h: tg.take(tg.tensor(np.eye(3)), (h[:, 0] > 0).astype(int), axis=0),
    "caught": lambda h: caught(h),
    "caught_bare": lambda h: caught_bare(h),
    "requires_grad": lambda h: 0.1 * h if h.requires_grad else h * 0.2,
    "copied": lambda h: __import__("copy").copy(h.detach()),
    "hasattr": lambda h: 0.1 if hasattr(h, "data") else 0.2,
    "backward": lambda h: tg.grad((h * h).sum(), h)[0] if h.requires_grad else 0.0 * h,
    "len_of_nonzero": lambda h: 0.01 * len(np.nonzero(h)[0]),
    "memoryview": lambda h: float(np.frombuffer(h.data.tobytes())[0]),
    "iterated": lambda h: tg.stack([r * 2 for r in h]),
}


def caught(h):
    try:
        return 0.1 * h.detach().item()
    except Exception:
        return 0.2


def caught_bare(h):
    try:
        return 0.1 * float(h[0, 0].data)
    except:  # noqa: E722
        return 0.2


for name, read in READS.items():
    REFUSED[f"reads_{name}"] = reading(read)


@refused
def prints():
    def step(x, h):
        h = tg.tanh(x.sum(axis=1)[:, None] + h)
        print(h, end="")
        return h, h

    return World(step)


@refused_first
def read_once():
    """The value is read at the first step only; all later ones reuse it."""
    first = []

    def step(x, h):
        if not first:
            first.append(float(x.detach().data[0, 0]))
        h = tg.tanh(h + first[0])
        return h, h

    return World(step)


# -- the batch --------------------------------------------------------------------------------------


def sized(f):
    def make():
        def step(x, h):
            h = tg.tanh(f(x, h) + h)
            return h, h

        return World(step)

    return make


SIZES = {
    "len": lambda x, h: h.reshape(len(x), 3),
    "if_batch": lambda x, h: h * 0.5 if x.shape[0] > 3 else h * 0.2,
    "if_batch_5": lambda x, h: h * 0.5 if len(x) == 3 else h * 0.2,
    "times_batch": lambda x, h: h * x.shape[0],
    "over_batch": lambda x, h: h / len(x),
    "over_size": lambda x, h: h / h.size,
    "batch_literal": lambda x, h: h + x.shape[0],
    "batch_floordiv": lambda x, h: h * (x.shape[0] // 2),
    "batch_float": lambda x, h: h * float(x.shape[0]),
    "batch_log": lambda x, h: h * np.log(x.shape[0]),
    "batch_in_clip": lambda x, h: tg.clip(h, 0.0, 0.1 * x.shape[0]),
    "batch_power": lambda x, h: (h * h) ** x.shape[0],
    "arange": lambda x, h: h + np.arange(x.shape[0])[:, None],
    "zeros": lambda x, h: h + np.ones((x.shape[0], 1)),
    "mean_over_batch": lambda x, h: h - tg.mean(h, axis=0),
    "norm_over_batch": lambda x, h: h - h.mean(axis=0, keepdims=True),
    "sum_all": lambda x, h: h.sum(),
    "sum_batch": lambda x, h: h * h.sum(axis=0),
    "max_batch": lambda x, h: h - h.max(axis=0),
    "softmax_batch": lambda x, h: tg.softmax(h, axis=0),
    "first_row": lambda x, h: h[0],
    "row_slice": lambda x, h: h[:1],
    "reversed_rows": lambda x, h: h[::-1],
    "picked_rows": lambda x, h: h[[0, 0, 1]],
    "flip": lambda x, h: tg.flip(h, axis=0),
    "cumsum": lambda x, h: tg.cumsum(h, axis=0),
    "gram": lambda x, h: (h @ h.T) @ h,
    "transposed": lambda x, h: (h.T @ h)[:1],
    "outer": lambda x, h: tg.tanh(h.reshape(-1, 1) @ h.reshape(1, -1))[: x.shape[0], :1],
    "joined_rows": lambda x, h: tg.concatenate([h, h], axis=0)[: x.shape[0]],
    "einsum": lambda x, h: tg.einsum("bi,cj->ij", h, h)[:1],
    "moved": lambda x, h: tg.swapaxes(h[:, :, None], 0, 2)[0, 0, 0],
    "separated_index": lambda x, h: tg.reshape(h, (x.shape[0], 3, 1, 1))[:, 0, :, [0]].reshape(-1, 1),
    "rolled": lambda x, h: tg.roll(h, 1, axis=0) if hasattr(tg, "roll") else h[::-1],
}
for name, f in SIZES.items():
    REFUSED[f"size_{name}"] = sized(f)

ROW_SIZES = {
    "reshape": lambda x, h: tg.reshape(tg.reshape(h, (x.shape[0], 3, 1)), (x.shape[0], 3)),
    "reshape_auto": lambda x, h: h.reshape(-1, 3),
    "reshape_flat": lambda x, h: tg.sigmoid(h.reshape(x.shape[0] * 3)).reshape(x.shape[0], -1),
    "split_rows": lambda x, h: tg.sigmoid(tg.reshape(h, (x.shape[0] * 3, 1))).reshape(x.shape[0], 3),
    "broadcast": lambda x, h: tg.broadcast_to(tg.tensor([1.0, 2.0, 3.0], dtype=np.float64), (x.shape[0], 3)) * h,
    "mean_features": lambda x, h: h - h.mean(axis=1, keepdims=True),
    "mean_features_negative": lambda x, h: h - h.mean(axis=-1, keepdims=True),
    "softmax": lambda x, h: tg.softmax(h),
    "sorted_index": lambda x, h: h[:, ::-1][:, [0, 2, 1]],
    "ellipsis": lambda x, h: h[..., None][..., 0] + h[..., :1],
    "transposed_inside": lambda x, h: tg.swapaxes(h[:, :, None] * h[:, None, :], 1, 2).sum(axis=1),
    "einsum_rows": lambda x, h: tg.einsum("bi,bj->bj", h, h),
    "row_products": lambda x, h: (h[:, None, :] @ h[:, :, None])[:, :, 0],
    "squeezed": lambda x, h: tg.squeeze(h[:, :1], axis=1)[:, None],
    "where": lambda x, h: tg.where(h > 0, h, 0.1 * h),
    "mask": lambda x, h: h * (h > 0.1),
    "mask_negated": lambda x, h: h * tg.logical_not(h > 0.1),
    "maximum": lambda x, h: tg.maximum(h, 0.05),
    "clip": lambda x, h: tg.clip(h, -0.2, 0.3),
    "constant_5_rows": lambda x, h: h * 0.1 + np.linspace(0, 1, 5).sum(),
    "listed": lambda x, h: h * [1.0, 2.0, 3.0],
    "listed_ints": lambda x, h: h * [1, 2, 3],
    "numpy_scalar": lambda x, h: h * np.float64(0.3),
    "numpy_constant": lambda x, h: h * np.linspace(0, 1, 3),
    "numpy_function": lambda x, h: np.tanh(h) + np.where(h > 0, h, 0.0),
    "stack": lambda x, h: tg.stack([h, h * h], axis=1).sum(axis=1),
    "pad": lambda x, h: tg.pad(h[:, :2], ((0, 0), (0, 1))),
}
for name, f in ROW_SIZES.items():
    FUSED[f"rows_{name}"] = sized(f)


# -- state outside ----------------------------------------------------------------------------------


@refused
def counter_in_closure():
    n = 0

    def step(x, h):
        nonlocal n
        n += 1
        h = tg.tanh(h + 0.1 * n)
        return h, h

    return World(step)


COUNT = 0
LAST: Any = None
RATE = 0.5
WEIGHT = wanted(draws(5)(H))
OPTIONS = {"rate": 0.5}


def set_global(name, value):
    globals()[name] = value


@refused
def counter_in_global():
    set_global("COUNT", 0)

    def step(x, h):
        global COUNT
        COUNT = COUNT + 1
        h = tg.tanh(h + 0.1 * COUNT)
        return h, h

    return World(step)


@refused
def global_written_only():
    set_global("LAST", None)

    def step(x, h):
        global LAST
        LAST = h
        h = tg.tanh(h + x.sum(axis=1)[:, None])
        return h, h

    return World(step)


@refused_first
def global_made():
    globals().pop("MADE", None)

    def step(x, h):
        global MADE
        MADE = 1
        h = tg.tanh(h + x.sum(axis=1)[:, None])
        return h, h

    return World(step)


@refused
def counter_in_list():
    count = [0]

    def step(x, h):
        count[0] += 1
        h = tg.tanh(h + 0.1 * count[0])
        return h, h

    return World(step)


@refused
def counter_in_array():
    count = np.zeros(1)

    def step(x, h):
        c = count
        c += 1
        h = tg.tanh(h + 0.1 * c)
        return h, h

    return World(step)


@refused
def counter_in_part_of_array():
    count = np.zeros((2, 1))

    def step(x, h):
        c = count[0]
        c += 1
        h = tg.tanh(h + 0.1 * count[0])
        return h, h

    return World(step)


@refused
def counter_in_array_by_item():
    count = np.zeros(1)

    def step(x, h):
        count[0] = count[0] + 1
        h = tg.tanh(h + 0.1 * count)
        return h, h

    return World(step)


@refused
def counter_in_array_by_out():
    count = np.zeros(1)

    def step(x, h):
        np.add(count, 1, out=count)
        h = tg.tanh(h + 0.1 * count)
        return h, h

    return World(step)


@refused
def counter_in_dict():
    count = {}

    def step(x, h):
        count["n"] = count.get("n", 0) + 1
        h = tg.tanh(h + 0.1 * count["n"])
        return h, h

    return World(step)


@refused
def counter_in_set():
    seen = set()

    def step(x, h):
        seen.add(len(seen))
        h = tg.tanh(h + 0.1 * len(seen))
        return h, h

    return World(step)


@refused
def counter_in_deque():
    seen = collections.deque(maxlen=9)

    def step(x, h):
        seen.append(1)
        h = tg.tanh(h + 0.1 * len(seen))
        return h, h

    return World(step)


@refused
def counter_in_iterator():
    import itertools

    numbers = itertools.count()

    def step(x, h):
        h = tg.tanh(h + 0.1 * next(numbers))
        return h, h

    return World(step)


@refused
def generator_of_scales():
    numbers = (0.1 * k for k in range(1000))

    def step(x, h):
        h = tg.tanh(h + next(numbers))
        return h, h

    return World(step)


@refused
def counter_in_bound_method():
    log = []
    add = log.append

    def step(x, h):
        add(1)
        h = tg.tanh(h + 0.1 * len(log))
        return h, h

    return World(step)


@refused
def counter_in_function():
    def step(x, h):
        step.n += 1
        h = tg.tanh(h + 0.1 * step.n)
        return h, h

    step.n = 0
    return World(step)


@refused
def counter_in_object():
    class Cell:
        def __init__(self):
            self.t = 0

        def step(self, x, h):
            self.t += 1
            h = tg.tanh(h + 0.1 * self.t)
            return h, h

    return World(Cell().step)


@refused
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

    return World(Cell().step)


@refused
def counter_in_class():
    class Cell:
        t = 0

        def step(self, x, h):
            type(self).t += 1
            h = tg.tanh(h + 0.1 * self.t)
            return h, h

    return World(Cell().step)


@refused
def counter_in_named_class():
    class Clock:
        t = 0

    def step(x, h):
        Clock.t += 1
        h = tg.tanh(h + 0.1 * Clock.t)
        return h, h

    return World(step)


@refused
def counter_in_list_of_class():
    class Cell:
        log = []  # noqa: RUF012

        def step(self, x, h):
            Cell.log.append(1)
            h = tg.tanh(h + 0.1 * len(Cell.log))
            return h, h

    return World(Cell().step)


@refused
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

    return World(Cell().step)


@refused
def counter_in_default():
    def step(x, h, count=[0]):  # noqa: B006
        count[0] += 1
        h = tg.tanh(h + 0.1 * count[0])
        return h, h

    return World(step)


@refused
def counter_in_module():
    module = types.ModuleType("tricks_counter")
    module.t = 0

    def step(x, h):
        module.t += 1
        h = tg.tanh(h + 0.1 * module.t)
        return h, h

    return World(step)


@refused
def counter_in_module_function():
    module = types.ModuleType("tricks_counting")
    exec("t = 0\ndef tick():\n    global t\n    t += 1\n    return t\n", vars(module))

    def step(x, h):
        h = tg.tanh(h + 0.1 * module.tick())
        return h, h

    return World(step)


@refused
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

    return World(step)


@refused
def remembers_its_state():
    class Cell:
        last: Any = 0.0

        def step(self, x, h):
            h = tg.tanh(h + 0.1 * x.sum(axis=1)[:, None])
            self.last = h
            return h, h

    return World(Cell().step)


@refused
def appends_its_state():
    log: list[Any] = []

    def step(x, h):
        h = tg.tanh(h + 0.1 * x.sum(axis=1)[:, None])
        log.append(h.detach())
        return h, h

    return World(step)


@refused
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

    return World(Cell().step)


@refused
def lru_cache():
    seen = []

    @functools.lru_cache
    def scale(n):
        seen.append(n)
        return 0.1 * len(seen)

    def step(x, h):
        h = tg.tanh(h + scale(3))
        return h, h

    return World(step)


# -- random draws and the clock ---------------------------------------------------------------------


@refused
def draws_numpy():
    def step(x, h):
        h = tg.tanh(h * np.random.normal())
        return h, h

    return World(step)


@refused
def draws_numpy_coin():
    def step(x, h):
        h = tg.tanh(h * (0.5 if np.random.randint(2) < 2 else 0.25))
        return h, h

    return World(step)


@refused
def draws_random():
    def step(x, h):
        h = tg.tanh(h * random.random())
        return h, h

    return World(step)


@refused
def draws_random_coin():
    def step(x, h):
        h = tg.tanh(h * (0.5 if random.random() < 2 else 0.2))
        return h, h

    return World(step)


@refused
def draws_generator():
    rng = np.random.default_rng(0)

    def step(x, h):
        h = tg.tanh(h * (0.5 if rng.integers(2) else 0.25))
        return h, h

    return World(step)


@refused
def draws_generator_method():
    draw = np.random.default_rng(0).random

    def step(x, h):
        h = tg.tanh(h * draw())
        return h, h

    return World(step)


@refused
def draws_random_state():
    rng = np.random.RandomState(0)

    def step(x, h):
        h = tg.tanh(h * (0.5 if rng.randint(2) else 0.25))
        return h, h

    return World(step)


@refused
def draws_random_instance():
    rng = random.Random(0)

    def step(x, h):
        h = tg.tanh(h * (0.5 if rng.randint(0, 1) else 0.25))
        return h, h

    return World(step)


@refused
def draws_default_generator():
    def step(x, h):
        h = tg.tanh(h * (0.5 if tg.autodiff.state.generator().integers(2) else 0.25))
        return h, h

    return World(step)


@refused
def draws_dropout():
    drop = tg.nn.Dropout(0.5)

    def step(x, h):
        h = tg.tanh(drop(h) + x.sum(axis=1)[:, None])
        return h, h

    return World(step)


@refused
def draws_new_generator():
    def step(x, h):
        h = tg.tanh(h * (0.5 if np.random.default_rng().integers(2) < 2 else 0.25))
        return h, h

    return World(step)


@refused
def reads_the_clock():
    def step(x, h):
        h = tg.tanh(h * (0.5 if time.time() > 0 else 0.25))
        return h, h

    return World(step)


@refused
def reads_globals():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(h * globals()["RATE"])
        return h, h

    return World(step, change=lambda k: set_global("RATE", 0.1 * k))


@refused
def evaluates():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(h * eval("RATE"))
        return h, h

    return World(step, change=lambda k: set_global("RATE", 0.1 * k))


@refused
def imports():
    sys.modules["tricks_imported"] = types.ModuleType("tricks_imported")
    sys.modules["tricks_imported"].rate = 0.5

    def step(x, h):
        from tricks_imported import rate

        h = tg.tanh(h * rate)
        return h, h

    return World(step, change=lambda k: setattr(sys.modules["tricks_imported"], "rate", 0.1 * k))


@fused
def imports_numpy():
    def step(x, h):
        import math

        h = tg.tanh(h * math.sqrt(0.5))
        return h, h

    return World(step)


# -- what changes between calls ---------------------------------------------------------------------


@fused
def number_in_closure_rebound():
    rate = 0.5

    def change(k):
        nonlocal rate
        rate = 0.5 + k

    def step(x, h):
        h = tg.tanh(h * rate)
        return h, h

    return World(step, change=change)


@fused
def number_in_global_rebound():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(h * RATE)
        return h, h

    return World(step, change=lambda k: set_global("RATE", 0.5 + k))


def uses_rate(h):
    return h * RATE


@fused
def function_that_reads_a_global():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(uses_rate(h))
        return h, h

    return World(step, change=lambda k: set_global("RATE", 0.5 + k))


@fused
def global_tensor_rebound():
    set_global("WEIGHT", wanted(draws(5)(H)))

    def step(x, h):
        h = tg.tanh(h * WEIGHT)
        return h, h

    return World(step, weights=lambda: [WEIGHT], change=lambda k: set_global("WEIGHT", wanted(draws(k)(H))))


@fused
def global_function_rebound():
    set_global("LAST", tg.tanh)

    def step(x, h):
        h = LAST(h + 0.1)
        return h, h

    return World(step, change=lambda k: set_global("LAST", [tg.tanh, tg.sigmoid, tg.sin][k]))


@fused
def global_that_shadows_a_builtin():
    globals().pop("abs", None)

    def step(x, h):
        h = tg.tanh(h + abs(-0.5))
        return h, h

    def change(k):
        globals()["abs"] = lambda v: v * k
        if k == 2:
            del globals()["abs"]

    return World(step, change=change)


@fused
def dict_entry_changed():
    options = {"rate": 0.5, "deep": {"list": [1.0, 2.0]}}

    def change(k):
        options["rate"] += 1
        options["deep"]["list"][1] += 1

    def step(x, h):
        h = tg.tanh(h * options["rate"] + options["deep"]["list"][1])
        return h, h

    return World(step, change=change)


@fused
def dict_in_another_order():
    weights = {"a": wanted(draws(1)(H)), "b": wanted(draws(2)(H))}

    def change(k):
        weights["a"] = weights.pop("a")

    def step(x, h):
        for w in weights.values():
            h = tg.tanh(h * w + 0.1)
        return h, h

    return World(step, change=change, weights=lambda: list(weights.values()))


@fused
def dict_grown():
    weights = {"a": wanted(draws(1)(H))}

    def change(k):
        weights[f"b{k}"] = wanted(draws(k)(H))

    def step(x, h):
        for w in weights.values():
            h = tg.tanh(h * w + 0.1)
        return h, h

    return World(step, change=change, weights=lambda: list(weights.values()))


@fused
def list_of_weights_changed():
    weights = [wanted(draws(1)(H)), wanted(draws(2)(H))]

    def change(k):
        weights[0] = wanted(draws(10 + k)(H))
        weights.append(wanted(draws(20 + k)(H)))

    def step(x, h):
        for w in weights:
            h = tg.tanh(h * w + 0.1)
        return h, h

    return World(step, change=change, weights=lambda: list(weights))


@fused
def set_changed():
    names = {"a"}

    def step(x, h):
        h = tg.tanh(h * (0.5 if "b" in names else 0.25))
        return h, h

    return World(step, change=lambda k: names.add("b"))


@fused
def attribute_changed():
    class Cell:
        def __init__(self):
            self.rate = 0.5

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    cell = Cell()
    return World(cell.step, change=lambda k: setattr(cell, "rate", 0.5 + k))


@fused
def attribute_added_and_removed():
    class Cell:
        def step(self, x, h):
            h = tg.tanh(h * getattr(self, "rate", 0.25))
            return h, h

    cell = Cell()
    return World(cell.step, change=lambda k: setattr(cell, "rate", 0.5) if k == 1 else delattr(cell, "rate"))


@fused
def class_attribute_changed():
    class Cell:
        rate = 0.5

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    return World(Cell().step, change=lambda k: setattr(Cell, "rate", 0.5 + k))


@fused
def base_class_attribute_changed_then_covered():
    class Base:
        rate = 0.5

    class Cell(Base):
        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    return World(Cell().step, change=lambda k: setattr([Base, Cell][k - 1], "rate", 0.5 + k))


@fused
def class_as_namespace_changed():
    class Options:
        rate = 0.5

    def step(x, h):
        h = tg.tanh(h * Options.rate)
        return h, h

    return World(step, change=lambda k: setattr(Options, "rate", 0.5 + k))


@refused
def class_as_namespace_of_arrays():
    class Options:
        rate = np.ones(H)

    def step(x, h):
        h = tg.tanh(h * Options.rate)
        return h, h

    return World(step, change=lambda k: setattr(Options, "rate", np.full(H, 0.5 + k)))


@fused
def method_replaced():
    class Cell:
        def gate(self, h):
            return h * 0.5

        def step(self, x, h):
            h = tg.tanh(self.gate(h))
            return h, h

    return World(Cell().step, change=lambda k: setattr(Cell, "gate", lambda self, h: h * (0.5 + k)))


@fused
def method_replaced_on_the_object():
    class Cell:
        def gate(self, h):
            return h * 0.5

        def step(self, x, h):
            h = tg.tanh(self.gate(h))
            return h, h

    cell = Cell()
    return World(cell.step, change=lambda k: setattr(cell, "gate", lambda h: h * (0.5 + k)))


@fused
def property_of_an_attribute():
    class Cell:
        def __init__(self):
            self.log_rate = wanted(draws(3)(H))

        @property
        def rate(self):
            return tg.exp(self.log_rate) * RATE

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    set_global("RATE", 0.5)
    cell = Cell()
    return World(cell.step, change=lambda k: set_global("RATE", 0.5 + k), weights=lambda: [cell.log_rate])


@refused
def property_of_a_global_array():
    class Cell:
        @property
        def rate(self):
            return WEIGHT

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    set_global("WEIGHT", wanted(draws(5)(H)))
    return World(Cell().step, weights=lambda: [WEIGHT], change=lambda k: set_global("WEIGHT", wanted(draws(k)(H))))


@fused
def property_replaced():
    class Cell:
        @property
        def rate(self):
            return 0.5

        def step(self, x, h):
            h = tg.tanh(h * self.rate)
            return h, h

    return World(Cell().step, change=lambda k: setattr(Cell, "rate", property(lambda self: 0.5 + k)))


@fused
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
    return World(Cell().step, change=change)


@fused
def method_of_the_base_class():
    class Base:
        def step(self, x, h):
            return tg.tanh(h * RATE + self.bias), h

    class Cell(Base):
        def __init__(self):
            self.bias = wanted(draws(4)(H))

        def step(self, x, h):
            h, _ = super().step(x, h)
            return h, h

    set_global("RATE", 0.5)
    cell = Cell()
    return World(cell.step, change=lambda k: set_global("RATE", 0.5 + k), weights=lambda: [cell.bias])


@refused
def method_of_the_base_class_reads_a_global_array():
    class Base:
        def step(self, x, h):
            return tg.tanh(h * WEIGHT), h

    class Cell(Base):
        def step(self, x, h):
            h, _ = super().step(x, h)
            return h, h

    set_global("WEIGHT", tg.tensor(draws(5)(H)))
    return World(Cell().step, change=lambda k: set_global("WEIGHT", tg.tensor(draws(k)(H))))


@fused
def callable_object():
    class Gate:
        def __init__(self):
            self.w = wanted(draws(4)(H))

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
    return World(cell, change=lambda k: set_global("RATE", 0.5 + k), weights=lambda: [cell.gate.w])


@fused
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
    return World(step, change=change)


@fused
def defaults_changed():
    def step(x, h, rate=0.5, *, shift=0.1):
        h = tg.tanh(h * rate + shift)
        return h, h

    def change(k):
        step.__defaults__ = (0.5 + k,)
        step.__kwdefaults__ = {"shift": 0.1 * k}

    return World(step, change=change)


@fused
def function_attribute_changed():
    def step(x, h):
        h = tg.tanh(h * step.rate * getattr(step, "extra", 1.0))
        return h, h

    step.rate = 0.5

    def change(k):
        step.rate = 0.5 + k
        step.extra = 0.1 * k

    return World(step, change=change)


@fused
def code_changed():
    def step(x, h):
        h = tg.tanh(h * 0.5)
        return h, h

    def other(x, h):
        h = tg.tanh(h * 0.25)
        return h, h

    return World(step, change=lambda k: setattr(step, "__code__", other.__code__))


@fused
def partial():
    w = wanted(draws(4)(H))

    def step(w, x, h, *, rate):
        h = tg.tanh(h * w * rate)
        return h, h

    world = World(functools.partial(step, w, rate=0.5), weights=lambda: [w])
    world.change = lambda k: setattr(world, "step", functools.partial(step, w, rate=0.5 + k))
    return world


@fused
def partial_in_place():
    options = {"rate": 0.5}

    def step(options, x, h, **more):
        h = tg.tanh(h * options["rate"] * more["scale"])
        return h, h

    f = functools.partial(step, options, scale=2.0)

    def change(k):
        options["rate"] += k
        f.keywords["scale"] += k

    return World(f, change=change)


@fused
def lambdas_made_anew():
    world = World(None)

    def change(k):
        world.step = lambda x, h: (tg.tanh(h * (0.5 + k)),) * 2

    change(0)
    world.change = change
    return world


@fused
def wrapped_as_another():
    @functools.wraps(np.tanh)
    def squash(h):
        return tg.tanh(h * RATE)

    squash.__module__ = "numpy"

    def step(x, h):
        h = squash(h)
        return h, h

    set_global("RATE", 0.5)
    return World(step, change=lambda k: set_global("RATE", 0.5 + k))


@fused
def module_attribute_changed():
    module = types.ModuleType("tricks_options")
    module.rate = 0.5

    def step(x, h):
        h = tg.tanh(h * module.rate)
        return h, h

    return World(step, change=lambda k: setattr(module, "rate", 0.5 + k))


@fused
def module_function_reads_its_global():
    module = types.ModuleType("tricks_functions")
    exec("rate = 0.5\ndef scaled(h):\n    return h * rate\n", vars(module))

    def step(x, h):
        h = tg.tanh(module.scaled(h))
        return h, h

    return World(step, change=lambda k: setattr(module, "rate", 0.5 + k))


@fused
def module_array():
    module = types.ModuleType("tricks_arrays")
    module.rate = np.full(H, 0.5)

    def step(x, h):
        h = tg.tanh(h * module.rate)
        return h, h

    return World(step, change=lambda k: setattr(module, "rate", np.full(H, 0.5 + k)))


@refused
def slots_changed():
    class Options:
        __slots__ = ("rate",)

        def __init__(self):
            self.rate = 0.5

    options = Options()

    def step(x, h):
        h = tg.tanh(h * options.rate)
        return h, h

    return World(step, change=lambda k: setattr(options, "rate", 0.5 + k))


@refused
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

    return World(step, change=lambda k: setattr(options, "rate", 0.5 + k))


@refused
def simple_namespace():
    options = types.SimpleNamespace(rate=0.5)

    def step(x, h):
        h = tg.tanh(h * options.rate)
        return h, h

    return World(step, change=lambda k: setattr(options, "rate", 0.5 + k))


class Mode(enum.Enum):
    SOFT = 0
    HARD = 1


@fused
def enumeration():
    class Cell:
        mode = Mode.SOFT

        def step(self, x, h):
            h = tg.tanh(h) if self.mode is Mode.SOFT else tg.clip(h, -0.1, 0.1)
            return h, h

    cell = Cell()
    return World(cell.step, change=lambda k: setattr(cell, "mode", Mode.HARD))


@dataclasses.dataclass(frozen=True)
class Equal:
    """Two of these are equal and hash alike whatever w is."""

    rate: float
    w: Any = dataclasses.field(compare=False)

    def step(self, x, h):
        h = tg.tanh(h * self.w * self.rate)
        return h, h


@fused
def equal_objects_with_other_weights():
    cells = [Equal(0.5, wanted(draws(k)(H))) for k in range(3)]
    world = World(cells[0].step)
    here = [0]

    def change(k):
        here[0] = k
        world.step = cells[k].step

    world.weights = lambda: [cells[here[0]].w]
    world.change = change
    return world


@fused
def number_of_another_type():
    options = [1]

    def step(x, h):
        h = tg.tanh(h * options[0]) if options[0] is not True else tg.sin(h)
        return h, h

    return World(step, change=lambda k: options.__setitem__(0, [True, 1.0][k - 1]))


@fused
def negative_zero():
    options = [0.0]

    def step(x, h):
        h = tg.tanh(h + (1.0 if np.signbit(options[0]) else 2.0))
        return h, h

    return World(step, change=lambda k: options.__setitem__(0, -0.0))


class Scale(float):
    """A number with an attribute."""


@refused
def number_with_an_attribute():
    scale = Scale(1.0)
    scale.rate = 0.5

    def step(x, h):
        h = tg.tanh(h * scale.rate)
        return h, h

    return World(step, change=lambda k: setattr(scale, "rate", 0.5 + k))


@fused
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
    return World(cell.step)


@fused
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
    return World(step, change=change)


# -- arrays -----------------------------------------------------------------------------------------


@fused
def array_changed_in_place():
    a = draws(3)(H)
    weights = {"deep": [a]}

    def change(k):
        a[:] += k

    def step(x, h):
        h = tg.tanh(h * a + weights["deep"][0])
        return h, h

    return World(step, change=change)


@fused
def array_rebound():
    a = draws(3)(H)

    def change(k):
        nonlocal a
        a = a + k

    def step(x, h):
        h = tg.tanh(h * a)
        return h, h

    return World(step, change=change)


@fused
def array_of_another_shape():
    a = draws(3)(H)

    def change(k):
        nonlocal a
        a = [draws(3)(1), draws(3)(2, H)][k - 1]

    def step(x, h):
        for row in a.reshape(-1, a.shape[-1]):
            h = tg.tanh(h * row)
        return h, h

    return World(step, change=change)


@fused
def weight_of_another_shape_in_the_same_tensor():
    w = tg.tensor(draws(3)(D, H))

    def change(k):
        w.data = draws(k)(D, [1, H][k - 1])

    def step(x, h):
        h = tg.tanh(x @ w + h)
        return h, h

    return World(step, change=change)


@fused
def weight_data_rebound():
    cell = tg.Module()
    cell.w = tg.Parameter(draws(3)(D, H), dtype=np.float64)

    def change(k):
        cell.w.data = cell.w.data - 0.1 * cell.w.grad

    def step(x, h):
        h = tg.tanh(x @ cell.w + h)
        return h, h

    return World(step, change=change, weights=lambda: [cell.w])


@fused
def weight_replaced():
    cell = tg.Module()
    cell.w = tg.Parameter(draws(3)(D, H), dtype=np.float64)

    def change(k):
        cell.w = tg.Parameter(draws(10 + k)(D, H), dtype=np.float64)

    def step(x, h):
        h = tg.tanh(x @ cell.w + h)
        return h, h

    return World(step, change=change, weights=lambda: [cell.w])


@fused
def weight_frozen_and_thawed():
    w, v = wanted(draws(3)(D, H)), wanted(draws(4)(H))

    def change(k):
        w.requires_grad = k == 2
        if k == 2:
            v.requires_grad = False

    def step(x, h):
        h = tg.tanh(x @ w + h * v)
        return h, h

    return World(step, change=change, weights=lambda: [t for t in (w, v) if t.requires_grad])


@fused
def weight_converted():
    cell = tg.Module()
    cell.w = tg.Parameter(draws(3)(D, H), dtype=np.float32)
    x = tg.tensor(draws(1)(B, 4, D).astype(np.float32))
    world = World(None, x=x, state=tg.tensor(np.zeros((B, H), np.float32)), weights=lambda: [cell.w])

    def change(k):
        cell.astype([np.float64, np.float32][k - 1])
        world.x = world.x.astype(cell.w.dtype)
        world.state = world.state.astype(cell.w.dtype)

    def step(x, h):
        h = tg.tanh(x @ cell.w + h)
        return h, h

    world.step, world.change = step, change
    return world


@fused
def shared_weight_then_two():
    ws = [wanted(draws(3)(H))] * 2

    def change(k):
        ws[1] = wanted(draws(4)(H))

    def step(x, h):
        h = tg.tanh(h * ws[0] + ws[1])
        return h, h

    return World(step, change=change, weights=lambda: list(dict.fromkeys(ws)))


@refused
def rows_captured():
    memory = tg.tensor(draws(3)(B, H))

    def step(x, h):
        h = tg.tanh(h + memory)
        return h, h

    return World(step)


@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_captured_rows_of_the_sizes_of_the_traces(batch):
    """An array with a row for each of the batch, whatever the batch: never the rows of another batch."""

    def make():
        memory = wanted(draws(3)(batch, H))

        def step(x, h):
            h = tg.tanh(h + memory)
            return h, h

        return World(step, wanted(draws(1)(batch, 4, D)), wanted(draws(2)(batch, H)), weights=lambda: [memory])

    ((path, reason), *_) = held_to_unrolled(make)
    if batch > 1:
        assert path == "unrolled"
        assert "inputs or constants" in reason
        assert HERE in reason


@pytest.mark.parametrize("size", [1, 5, 7, 35])
@pytest.mark.parametrize("batch", [0, 1, 2, 5, 7])
def test_sizes_that_equal_those_of_the_traces(size, batch):
    def make():
        w, u = wanted(draws(3)(size, size)), wanted(draws(4)(size))

        def step(x, h):
            h = tg.tanh(x @ w + (h * u) @ tg.tanh(w) + u) + h.mean(axis=1, keepdims=True)
            return h.reshape(h.shape[0], size, 1), h

        x, h = wanted(draws(1)(batch, 4, size)), wanted(draws(2)(batch, size))
        return World(step, x, h, weights=lambda: [w, u])

    for path, reason in held_to_unrolled(make, 2):
        assert path == "fused", reason


# -- kinds and modes --------------------------------------------------------------------------------


@fused
def training_and_inference():
    class Cell(tg.Module):
        def step(self, x, h):
            h = tg.tanh(h * (0.5 if self.training else 0.25))
            return h, h

    cell = Cell()
    return World(cell.step, change=lambda k: cell.train(k == 2))


def test_training_is_part_of_what_a_program_is_known_by():
    class Cell(tg.Module):
        def step(self, x, h):
            h = h * (0.5 if self.training else 0.25)
            return h, h

    cell = Cell()
    world = World(cell.step)
    for _ in range(2):
        for mode, want in ((True, 0.5**4), (False, 0.25**4)):
            with tg.training(mode):
                values, path, *_ = run(world, "auto")
            assert path == "fused"
            np.testing.assert_allclose(values[1], world.state.data * want)


@fused
def float32_beside_integers():
    x = np.arange(B * 4 * D).reshape(B, 4, D) % 3
    table, counts, listed = tg.tensor(np.arange(H)), np.arange(H), [1.0, 0.5, 0.25]
    w = tg.tensor(draws(3)(D, H), dtype=np.float32, requires_grad=True)

    def step(x, h):
        h = tg.tanh(h * table + counts * h + (x @ w) * listed + x[:, :1] + (h > 0) * 2 + np.int64(3) * (x[:, :1] > 1))
        return (h, x), h

    return World(step, tg.tensor(x), tg.tensor(draws(1)(B, H), dtype=np.float32), weights=lambda: [w])


@fused
def integers_and_floats_captured_as_arrays():
    ints, floats = np.arange(H), draws(2)(H).astype(np.float32)

    def step(x, h):
        h = tg.tanh((h * (ints * floats)).astype(np.float32))
        return h, h

    return World(step, state=tg.tensor(draws(1)(B, H), dtype=np.float32))


@fused
def joined_with_integers():
    w = tg.tensor(draws(3)(D + H, H), dtype=np.float32, requires_grad=True)

    def step(x, h):
        h = tg.tanh(tg.concatenate([x, h], axis=1) @ w)
        return h, h

    x = tg.tensor(np.arange(B * 4 * D).reshape(B, 4, D) % 3)
    return World(step, x, tg.tensor(draws(1)(B, H), dtype=np.float32), weights=lambda: [w])


@fused
def float32_and_float64():
    x = tg.tensor(draws(1)(B, 4, D), requires_grad=True)
    w = tg.tensor(draws(3)(D, H), dtype=np.float32, requires_grad=True)
    u = tg.tensor(draws(4)(H), dtype=np.float32, requires_grad=True)

    def step(x, h):
        z = x @ w + h + u
        h = tg.tanh(z).astype(np.float32)
        return (h, z), h

    h = tg.tensor(draws(1)(B, H), dtype=np.float32, requires_grad=True)
    return World(step, x, h, weights=lambda: [w, u])


@fused
def inputs_of_another_type_between_calls():
    def step(x, h):
        h = tg.tanh(h + x.sum(axis=1, keepdims=True))
        return h, h

    world = World(step)

    def change(k):
        dtype = [np.float32, np.float64][k - 1]
        world.x = tg.tensor(draws(k)(B, 4, D), dtype=dtype)
        world.state = tg.tensor(draws(k)(B, H), dtype=dtype)

    world.change = change
    return world


@fused
def integer_inputs_as_masks():
    ids = np.arange(B * 4).reshape(B, 4) % 3

    def step(ids, h):
        h = tg.tanh(h * (ids == 1)[:, None] + h * 0.1)
        return (h, ids), h

    return World(step, ids)


@refused
def integer_inputs_as_indices():
    table = wanted(draws(3)(3, H))

    def step(ids, h):
        h = tg.tanh(h + tg.take(table, ids, axis=0))
        return h, h

    return World(step, tg.tensor(np.arange(B * 4).reshape(B, 4) % 3), weights=lambda: [table])


@refused
def index_by_a_traced_array():
    table = wanted(draws(3)(3, H))

    def step(ids, h):
        h = tg.tanh(h + table[ids] + h[:, ids[0]][:, None])
        return h, h

    return World(step, tg.tensor(np.arange(B * 4).reshape(B, 4) % 3), weights=lambda: [table])


# -- gradients that stop ----------------------------------------------------------------------------


@fused
def no_grad_inside():
    w, u = wanted(draws(3)(D, H)), wanted(draws(4)(H))

    def step(x, h):
        with tg.no_grad():
            scale = tg.sigmoid(h @ tg.tanh(w).T).sum(axis=1, keepdims=True)
            norm = (w * w).sum()
        h = tg.tanh(x @ w + h * u * scale / norm)
        return h, h

    return World(step, weights=lambda: [w, u])


@fused
def detached_inside():
    w, u = wanted(draws(3)(D, H)), wanted(draws(4)(H))

    def step(x, h):
        h = tg.tanh(x @ w.detach() + h.detach() * u + w[0] * tg.detach(u))
        return h, h

    return World(step, weights=lambda: [w, u])


@fused
def all_detached():
    w = wanted(draws(3)(D, H))

    def step(x, h):
        h = tg.tanh(x @ w + h).detach()
        return h, h

    return World(step, weights=lambda: [w])


@fused
def rounding():
    u = wanted(draws(4)(H))

    def step(x, h):
        h = tg.tanh(h * u) + tg.floor(h * 3) * u + tg.sign(h) * 0.1
        return h, h

    return World(step, weights=lambda: [u])


# -- shapes of what a step does ---------------------------------------------------------------------


@fused
def weight_used_twice():
    w = wanted(draws(3)(H, H))

    def step(x, h):
        h = tg.tanh(h @ w + tg.sin(h) @ w + (h @ w.T) * w[0] + w.sum())
        return h, h

    return World(step, weights=lambda: [w])


@fused
def expressions_of_weights():
    w = wanted(draws(3)(H, 2 * H))

    def step(x, h):
        a, b = tg.split(tg.tanh(w), 2, axis=1)
        h = tg.tanh(h @ a) * tg.sigmoid(h @ b + w[0, :3])
        return h, h

    return World(step, weights=lambda: [w])


@fused
def terms_in_every_order():
    w, u, b = wanted(draws(3)(D, H)), wanted(draws(4)(H, H)), wanted(draws(5)(H))

    def step(x, h):
        one = h + h + x @ w
        two = 1 + h @ u + 2.0 + x @ w + b + (x[:, :1] + b[0] + h[:, :1]) + (x[:, :1] + x[:, 1:])
        three = x[:, :1] + x[:, 1:] + h + 1
        four = (x[:, :1] + 1) + (x[:, 1:] + b) + h + x[:, :1]
        five = (one + two) + (one + three) + (h + x[:, :1]) + (h + x[:, :1])
        h = tg.tanh(one + two) + 0.1 * tg.tanh(three + four + five)
        return (h, one), h

    return World(step, weights=lambda: [w, u, b])


@fused
def narrow_terms():
    """Sums of values of one column and of more."""
    w, u, v = wanted(draws(3)(D, 1)), wanted(draws(4)(H, 1)), wanted(draws(5)(D, H))

    def step(x, h):
        out = tg.tanh(x @ v + 1 + h @ u)
        h = tg.tanh((x @ w + x[:, :1]) + (x @ w + h) + h @ u)
        return out, h

    return World(step, weights=lambda: [w, u, v])


@fused
def product_of_joined():
    w = wanted(draws(3)(D + H + H, H))

    def step(x, h):
        h = tg.tanh(tg.concatenate([x, h, tg.sin(h)], axis=-1) @ w)
        return h, h

    return World(step, weights=lambda: [w])


@fused
def product_of_a_constant_and_joined():
    w, c = wanted(draws(3)(D + H + H, H)), draws(7)(B, H)

    def step(x, h, c):
        z = tg.concatenate([c, x, h], axis=1)
        h = tg.tanh(z @ w + z.sum(axis=1, keepdims=True))
        return (h, c), h

    return World(step, weights=lambda: [w], constants=(wanted(c),))


@fused
def states_pass_through_and_swap():
    normal = draws(9)

    def step(x, state):
        a, b, c, _ = state
        return (a, c), (b, a, c, tg.tanh(x.sum(axis=1, keepdims=True)))

    state = tuple(wanted(normal(B, n)) for n in (H, H, 2, 1))
    return World(step, state=state)


@fused
def output_is_the_input():
    def step(x, h):
        return (x, h), h

    return World(step)


@fused
def outputs_not_used():
    def step(x, h):
        return (), tg.tanh(h + x[:, :1])

    return World(step)


class Pair(NamedTuple):
    c: Any
    h: Any


class Both(NamedTuple):
    first: Pair
    rest: tuple[Any, ...]


@fused
def nested_states_inputs_and_outputs():
    normal = draws(9)
    w = wanted(normal(H, H))

    def step(x, state):
        a, (b, _) = x
        c = tg.tanh(state.first.c @ w + a[:, :1] + b)
        h = c * tg.sigmoid(state.first.h) + state.rest[0][0]
        return Pair(h, (c, (a,), None)), Both(Pair(c, h), ((state.rest[0][0] * 0.5,), None))

    state = Both(Pair(wanted(normal(B, H)), wanted(normal(B, H))), ((wanted(normal(B, 1)),), None))
    x = (wanted(normal(B, 4, D)), (wanted(normal(B, 4, H)), None))
    return World(step, x, state, weights=lambda: [w])


@fused
def no_inputs():
    def step(x, h):
        h = tg.tanh(h * (2 if x is None else 3) + 0.1)
        return h, h

    return World(step, options={"length": 5})


@fused
def rows_with_more_axes():
    memory = wanted(draws(3)(B, 4, H))

    def step(x, h, memory):
        keys = tg.tanh(memory)
        scores = tg.softmax((keys @ h[:, :, None])[:, :, 0])
        h = tg.tanh((memory * scores[:, :, None]).sum(axis=1) + x[:, :, None].sum(axis=1))
        return (h, scores), h

    return World(step, constants=(memory,))


@fused
def matrix_state():
    normal = draws(3)
    w = wanted(normal(H, H))

    def step(x, state):
        m, n = state
        m = m * 0.9 + n[:, :, None] * x[:, None, :]
        n = tg.tanh((m @ x[:, :, None])[:, :, 0] @ w)
        return n, (m, n)

    return World(step, state=(wanted(normal(B, H, D)), wanted(normal(B, H))), weights=lambda: [w])


@fused
def scan_inside_a_scan():
    w = wanted(draws(3)(H, H))

    def inner(x, h):
        h = tg.tanh(h @ w + x)
        return h, h

    def step(x, h):
        parts = tg.stack([x[:, :1] * h, x[:, 1:] + h], axis=1)
        outputs, h = tg.scan(inner, parts, h)
        return outputs.sum(axis=1), h

    return World(step, weights=lambda: [w])


@fused
def cell_of_the_package_inside():
    cell = tg.rnn.GRUCell(H)
    cell.build(D, dtype=np.float64)

    def step(x, h):
        out, h = cell(x, h)
        return out * 2, h

    return World(step, weights=lambda: cell.parameters())


@fused
def driver_of_the_package_inside():
    cell = tg.rnn.LSTMCell(H)
    cell.build(D, dtype=np.float64)

    def step(x, h):
        outputs, state = tg.rnn.dynamic_rnn(
            cell, tg.stack([x, 2 * x], axis=1), initial_state=tg.rnn.LSTMState(h, tg.tanh(h))
        )
        return outputs.sum(axis=1), state.c

    return World(step, weights=lambda: cell.parameters())


@fused
def layers_of_the_package_inside():
    tg.seed(3)
    lin, norm = tg.nn.Linear(D, H), tg.nn.LayerNorm(H)
    for m in (lin, norm):
        m.astype(np.float64)

    def step(x, h):
        h = norm(tg.tanh(lin(x) + h))
        return h, h

    return World(step, weights=lambda: [*lin.parameters(), *norm.parameters()])


# -- what a refused trace leaves behind -------------------------------------------------------------


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
        run(World(cell.step), "fused")
    assert everything() == before


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

            return World(step)

        for path, _ in held_to_unrolled(make):
            assert path == "unrolled"
    finally:
        del tg.autodiff.tensor.registry["odd_op"]
