"""Steps that depend on more than the values of variables: the identity of an object, class or module, attributes by
computed names, the types of tensors, files and settings. See cases.py."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
import tempfile
import types
from typing import Any

import numpy as np
import pytest
from cases import Cases
from scan_cases import H, ScanCase

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_fused_as_unrolled = cases.test_of_fused()
test_refused_with_the_line = cases.test_of_refused()
test_refused_at_first = cases.test_of_refused_first()

RATE = 0.5


def set_rate(k: int) -> None:
    globals()["RATE"] = 0.5 + k


class Holder:
    rate = 0.5


class Half:
    def scaled(self, h: Any) -> Any:
        return h * 0.5


class Most:
    def scaled(self, h: Any) -> Any:
        return h * 0.9


@cases.fused
def class_of_an_object_changed():
    value: Any = Half()

    def step(x, h):
        h = tg.tanh(value.scaled(h))
        return h, h

    return ScanCase(step, change=lambda k: setattr(value, "__class__", Most if k % 2 else Half))


@cases.fused
def dict_of_an_object_replaced():
    value = Holder()

    def step(x, h):
        h = tg.tanh(value.rate * h)
        return h, h

    return ScanCase(step, change=lambda k: setattr(value, "__dict__", {"rate": 0.5 + k}))


@cases.fused
def dict_of_a_function_replaced():
    def scaled(h):
        return h * scaled.rate

    scaled.rate = 0.5

    def step(x, h):
        h = tg.tanh(scaled(h))
        return h, h

    return ScanCase(step, change=lambda k: setattr(scaled, "__dict__", {"rate": 0.5 + k}))


@cases.fused
def bases_changed():
    class Own(Half):
        pass

    value = Own()

    def step(x, h):
        h = tg.tanh(value.scaled(h))
        return h, h

    return ScanCase(step, change=lambda k: setattr(Own, "__bases__", (Most,) if k % 2 else (Half,)))


@cases.fused
def names_changed():
    def scaled(h):
        return h * len(scaled.__name__)

    class Own:
        pass

    def step(x, h):
        h = tg.tanh(scaled(h) * 0.1 * len(Own.__name__))
        return h, h

    def change(k):
        (scaled if k % 2 else Own).__name__ = "longer" + "x" * k

    return ScanCase(step, change=change)


def namespace(**attributes: Any) -> types.ModuleType:
    module = types.ModuleType("settings", "0.5")
    vars(module).update(attributes)
    return module


@cases.fused
def module_attribute_by_a_computed_name():
    settings, names = namespace(rate_a=0.5), ["a"]

    def step(x, h):
        h = tg.tanh(getattr(settings, "rate_" + names[0]) * h)
        return h, h

    return ScanCase(step, change=lambda k: setattr(settings, "rate_a", 0.5 + k))


@cases.fused
def module_array_by_a_name_in_a_tuple():
    settings = namespace(a=np.full(H, 0.5), b=np.full(H, 0.7))

    def step(x, h):
        for name in ("a", "b"):
            h = tg.tanh(getattr(settings, name) * h)
        return h, h

    return ScanCase(step, change=lambda k: setattr(settings, "b", np.full(H, 0.5 + k)))


@cases.fused
def module_attribute_through_its_dict():
    settings = namespace(rate=0.5)
    key = "".join(["ra", "te"])

    def step(x, h):
        h = tg.tanh(settings.__dict__[key] * h)
        return h, h

    return ScanCase(step, change=lambda k: setattr(settings, "rate", 0.5 + k))


@cases.fused
def module_matched_by_a_pattern():
    settings = namespace(rate=0.5)

    def step(x, h):
        match settings:
            case types.ModuleType(rate=rate):
                h = tg.tanh(rate * h)
        return h, h

    return ScanCase(step, change=lambda k: setattr(settings, "rate", 0.5 + k))


@cases.fused
def docstring_of_a_module():
    settings = namespace()

    def step(x, h):
        h = tg.tanh(float(settings.__doc__ or 0) * h)
        return h, h

    return ScanCase(step, change=lambda k: setattr(settings, "__doc__", str(0.5 + k)))


class Functions:
    @staticmethod
    def scaled_1(h: Any) -> Any:
        return h * RATE

    @property
    def rate_1(self) -> float:
        return RATE


@cases.fused
def function_of_a_class_by_a_computed_name():
    set_rate(0)
    numbers = ["1"]

    def step(x, h):
        h = tg.tanh(getattr(Functions, "scaled_" + numbers[0])(h))
        return h, h

    return ScanCase(step, change=set_rate)


@cases.fused
def property_by_a_computed_name():
    set_rate(0)
    value, numbers = Functions(), ["1"]

    def step(x, h):
        h = tg.tanh(getattr(value, "rate_" + numbers[0]) * h)
        return h, h

    return ScanCase(step, change=set_rate)


@cases.fused
def enumeration_with_attributes():
    class Mode(enum.Enum):
        SOFT = (0.5, 0.1)
        HARD = [0.7]  # noqa: RUF012 - a member whose value changes

        def scaled(self, h):
            return h * RATE

    set_rate(0)
    held = Holder()
    held.mode, Mode.SOFT.more = Mode.SOFT, 1.0

    def step(x, h):
        h = tg.tanh(held.mode.scaled(h) * held.mode.value[0] * getattr(held.mode, "more", 0.3))
        return h, h

    def change(k):
        if k == 1:
            Mode.SOFT.more = 2.0
        else:
            held.mode = Mode.HARD
            Mode.HARD.value[0] = 0.9

    return ScanCase(step, change=change)


@cases.fused
def method_of_an_enumeration_reads_a_global():
    class Mode(enum.Enum):
        SOFT = 1

        def scaled(self, h):
            return h * RATE

    set_rate(0)

    def step(x, h):
        h = tg.tanh(Mode.SOFT.scaled(h))
        return h, h

    return ScanCase(step, change=set_rate)


@cases.fused
def types_of_what_is_captured():
    array, parameter = np.full(H, 0.5), tg.Parameter(np.full(H, 0.3))
    constant, Tensor = tg.tensor(np.full(H, 0.2)), type(tg.tensor(0.0))

    def step(x, h):
        messages = (
            *(isinstance(array, np.ndarray), isinstance(array, Tensor), isinstance(parameter, tg.Parameter)),
            *(isinstance(constant, tg.Parameter), isinstance(h, Tensor), isinstance(np.tanh(array), np.ndarray)),
            *(isinstance(parameter * 1.0, tg.Parameter), isinstance(parameter, (int, Tensor))),
        )
        h = tg.tanh(h * array * parameter * constant * sum(2.0**k * each for k, each in enumerate(messages)))
        return h, h

    return ScanCase(step, weights=lambda: [parameter])


@cases.fused
def parameters_of_a_module():
    linear = tg.nn.Linear(2, 3)
    linear.astype(np.float64)

    def step(x, h):
        h = tg.tanh(sum([(p * p).sum() for p in linear.parameters()]) * 0.1 * h)
        return h, h

    return ScanCase(step, weights=linear.parameters)


class Tripled(tg.Parameter):
    def __mul__(self, other: Any) -> Any:
        return 3.0 * other


@cases.refused
def operator_of_a_parameter_of_ones_own():
    weight = Tripled(np.full(H, 0.5))

    def step(x, h):
        h = tg.tanh(weight * h)
        return h, h

    return ScanCase(step)


@cases.refused
def method_of_an_array_of_ones_own():
    class Own(np.ndarray):
        def __rmul__(self, other):
            return other * RATE

    array = np.full(H, 0.5).view(Own)

    def step(x, h):
        h = tg.tanh(h * 1.0 * array.max())
        return h, h

    return ScanCase(step)


@cases.refused
def module_that_computes_its_attributes():
    state = {"rate": 0.5}
    settings: Any = namespace(__getattr__=lambda name: state[name])

    def step(x, h):
        h = tg.tanh(settings.rate * h)
        return h, h

    return ScanCase(step, change=lambda k: state.update(rate=0.5 + k))


@cases.refused
def globals_of_a_function():
    set_rate(0)
    name = "".join(["RA", "TE"])

    def step(x, h):
        h = tg.tanh(set_rate.__globals__[name] * h)
        return h, h

    return ScanCase(step, change=set_rate)


@cases.refused
def number_of_subclasses():
    class Own:
        pass

    subclasses = []

    def step(x, h):
        h = tg.tanh(h * (0.5 + len(Own.__subclasses__())))
        return h, h

    return ScanCase(step, change=lambda k: subclasses.append(type("Other", (Own,), {})))


@cases.refused
def settings_of_numpy():
    def step(x, h):
        h = tg.tanh(h * (0.5 if np.geterr()["over"] == "warn" else 0.9))
        return h, h

    return ScanCase(step)


@cases.refused
def settings_of_the_package():
    def step(x, h):
        h = tg.tanh(h * 0.1 * tg.get_num_threads())
        return h, h

    return ScanCase(step)


load = np.load


@cases.refused
def file_read_by_a_function_of_numpy():
    path = os.path.join(tempfile.mkdtemp(), "rate.npy")
    np.save(path, 0.5)

    def step(x, h):
        h = tg.tanh(h * float(load(path)))
        return h, h

    return ScanCase(step, change=lambda k: np.save(path, 0.5 + k))


@cases.refused
def object_that_replaces_its_own_dict():
    value: Any = Holder()
    value.count = 1

    def step(x, h):
        value.__dict__ = {"count": value.count + 1}
        h = tg.tanh(h * 0.1 * value.count)
        return h, h

    return ScanCase(step)


@cases.refused_first
def object_that_changes_its_own_class():
    value: Any = Half()

    def step(x, h):
        h = tg.tanh(value.scaled(h))
        value.__class__ = Most
        return h, h

    return ScanCase(step)


SCALES = np.full(H, 0.5, np.float32)


class Typed:
    """Asks for types in functions that a trace cannot copy."""

    @staticmethod
    def by_type(a):
        return type(a) is np.ndarray

    def __call__(self, a):
        return isinstance(a, np.ndarray)


TYPED = Typed()
ASK = {
    "type": lambda a: type(a) is np.ndarray,
    "type_name": lambda a: type(a).__name__ == "ndarray",
    "type_in_a_map": lambda a: [*map(type, [a])] == [np.ndarray],
    "type_of_a_result": lambda a: type(a * 2) is np.ndarray,
    "type_of_a_type": lambda a: isinstance(type(a), type) and type(type(a)) is type,
    "class": lambda a: a.__class__ is np.ndarray,
    "isinstance": lambda a: isinstance(a, np.ndarray),
    "match": lambda a: match_array(a),
    "isinstance_in_a_callable_object": lambda a: TYPED(a),
    "no_gradient": lambda a: not hasattr(a, "grad"),
    "no_detach": lambda a: not hasattr(a, "detach"),
    "no_backward": lambda a: getattr(a, "backward", None) is None,
}
ASK_IN_VAIN = {
    "ctypes": lambda a: hasattr(a, "ctypes"),
    "array_interface": lambda a: hasattr(a, "__array_interface__"),
    "type_in_a_static_method": lambda a: TYPED.by_type(a),
    "type_of_a_sum": lambda a: type(a.sum()) is np.float32,
}


def match_array(a: Any) -> bool:
    match a:
        case np.ndarray():
            return True
    return False


def what_an_array_is(ask: Any) -> Any:
    def make():
        def step(x, h):
            h = tg.tanh(h * (SCALES if ask(SCALES) else 3 * SCALES))
            return h, h

        return ScanCase(step)

    return make


for _name, _ask in ASK.items():
    cases.fused_steps[f"what_an_array_is_{_name}"] = what_an_array_is(_ask)
for _name, _ask in ASK_IN_VAIN.items():
    cases.refused_steps[f"what_an_array_is_{_name}"] = what_an_array_is(_ask)


@cases.refused
def name_of_a_parameter():
    weight = tg.tensor(SCALES, requires_grad=True, name="scale")

    def step(x, h):
        h = tg.tanh(h * weight * (1 if weight.name == "scale" else 3))
        return h, h

    return ScanCase(step)


@cases.refused
def gradient_of_a_parameter():
    weight = tg.tensor(SCALES, requires_grad=True)

    def step(x, h):
        h = tg.tanh(h * weight * (1 if weight.grad is None else 3))
        return h, h

    return ScanCase(step)


def test_the_first_trace_imports_no_module() -> None:
    """Modules that NumPy loads when they are first used (numpy.ma) would take longer than the trace."""
    code = """
import sys, numpy as np, tinygrad_rnn as tg
before = set(sys.modules)
w = tg.tensor(np.ones(3), requires_grad=True)
tg.scan(lambda x, h: (h * w + x, h), np.ones((2, 4, 3)), np.ones((2, 3)))[0].backward(np.ones((2, 4, 3)))
print(sorted(m for m in set(sys.modules) - before if not m.startswith(("tinygrad_rnn", "numpy.random", "numpy.linalg"))))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy.ma" not in run.stdout, run.stdout
