"""Steps that draw random numbers or read the clock. See cases.py."""

from __future__ import annotations

import random
import sys
import time
import types

import numpy as np
import pytest
from cases import Cases
from scan_cases import ScanCase

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_fused_as_unrolled = cases.test_of_fused()
test_refused_with_the_line = cases.test_of_refused()


RATE = 0.5


def set_global(name, value):
    globals()[name] = value


@cases.refused
def draws_numpy():
    def step(x, h):
        h = tg.tanh(h * np.random.normal())
        return h, h

    return ScanCase(step)


@cases.refused
def draws_numpy_coin():
    def step(x, h):
        h = tg.tanh(h * (0.5 if np.random.randint(2) < 2 else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def draws_random():
    def step(x, h):
        h = tg.tanh(h * random.random())
        return h, h

    return ScanCase(step)


@cases.refused
def draws_random_coin():
    def step(x, h):
        h = tg.tanh(h * (0.5 if random.random() < 2 else 0.2))
        return h, h

    return ScanCase(step)


@cases.refused
def draws_generator():
    rng = np.random.default_rng(0)

    def step(x, h):
        h = tg.tanh(h * (0.5 if rng.integers(2) else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def draws_generator_method():
    draw = np.random.default_rng(0).random

    def step(x, h):
        h = tg.tanh(h * draw())
        return h, h

    return ScanCase(step)


@cases.refused
def draws_random_state():
    rng = np.random.RandomState(0)

    def step(x, h):
        h = tg.tanh(h * (0.5 if rng.randint(2) else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def draws_random_instance():
    rng = random.Random(0)

    def step(x, h):
        h = tg.tanh(h * (0.5 if rng.randint(0, 1) else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def draws_default_generator():
    def step(x, h):
        h = tg.tanh(h * (0.5 if tg.autodiff.state.generator().integers(2) else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def draws_dropout():
    drop = tg.nn.Dropout(0.5)

    def step(x, h):
        h = tg.tanh(drop(h) + x.sum(axis=1)[:, None])
        return h, h

    return ScanCase(step)


@cases.refused
def draws_new_generator():
    def step(x, h):
        h = tg.tanh(h * (0.5 if np.random.default_rng().integers(2) < 2 else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def reads_the_clock():
    def step(x, h):
        h = tg.tanh(h * (0.5 if time.time() > 0 else 0.25))
        return h, h

    return ScanCase(step)


@cases.refused
def reads_globals():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(h * globals()["RATE"])
        return h, h

    return ScanCase(step, change=lambda k: set_global("RATE", 0.1 * k))


@cases.refused
def evaluates():
    set_global("RATE", 0.5)

    def step(x, h):
        h = tg.tanh(h * eval("RATE"))
        return h, h

    return ScanCase(step, change=lambda k: set_global("RATE", 0.1 * k))


@cases.refused
def imports():
    sys.modules["tricks_imported"] = types.ModuleType("tricks_imported")
    sys.modules["tricks_imported"].rate = 0.5

    def step(x, h):
        from tricks_imported import rate

        h = tg.tanh(h * rate)
        return h, h

    return ScanCase(step, change=lambda k: setattr(sys.modules["tricks_imported"], "rate", 0.1 * k))


@cases.fused
def imports_numpy():
    def step(x, h):
        import math

        h = tg.tanh(h * math.sqrt(0.5))
        return h, h

    return ScanCase(step)
