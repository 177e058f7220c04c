"""Guards: the native check and the Python one notice the same changes."""

from collections import Counter, OrderedDict

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.program import guards
from tinygrad_rnn.program.guards import recorded_guard, same_array, same_tensor

CHECKS = [guards.all_hold_in_python, guards.all_hold]


class Holder:
    a = 1


def function():
    def f(x, y=1, *, z=2):
        return x + c

    c = 3.5
    return f


def other(x, y=1, *, z=2):
    return x


class Array:
    """An object with the attributes of an array."""

    shape, dtype = (2, 3), np.dtype(np.float32)


def cases():
    """(guard, change, undo) of every kind. A change by an equal object of another identity counts, too."""
    big, again = float("1e300"), float("1e300")
    for kind in (dict, OrderedDict):
        d = kind(a=big, b=2)
        yield guards.guard_items(d, ""), lambda d=d: d.update(a=again), lambda d=d: d.update(a=big)
        yield guards.guard_items(d, ""), lambda d=d: d.update(c=1), lambda d=d: d.pop("c")
    o = OrderedDict(a=1, b=2)
    yield guards.guard_items(o, ""), lambda: o.move_to_end("a"), lambda: o.move_to_end("b")
    counter = Counter(a=1)
    yield guards.guard_items(counter, ""), lambda: counter.update("a"), lambda: counter.subtract("a")
    names = {"a": big, "b": 1}
    yield guards.guard_names(names, ["a", "none"], ""), lambda: names.update(a=again), lambda: names.update(a=big)
    yield guards.guard_names(names, ["a", "none"], ""), lambda: names.update(none=1), lambda: names.pop("none")
    guard = guards.guard_class(Holder, "")
    yield guard, lambda: setattr(Holder, "a", 2), lambda: setattr(Holder, "a", guard.former["a"])
    yield guards.guard_class(Holder, ""), lambda: setattr(Holder, "b", 2), lambda: delattr(Holder, "b")
    some = [big, 2]
    yield guards.guard_list(some, ""), lambda: some.__setitem__(0, again), lambda: some.__setitem__(0, big)
    yield guards.guard_list(some, ""), lambda: some.append(1), lambda: some.pop()
    members = {1, "a"}
    yield guards.guard_set(members, ""), lambda: members.add(2), lambda: members.remove(2)
    cell = function().__closure__[0]
    yield guards.guard_cell(cell, ""), *changed(cell, "cell_contents", 3)
    held = cell.cell_contents
    yield (
        guards.guard_cell(cell, ""),
        lambda: delattr(cell, "cell_contents"),
        lambda: setattr(cell, "cell_contents", held),
    )
    holder = Holder()
    yield guards.guard_object(holder, ""), *changed(holder, "__dict__", {})
    yield guards.guard_object(holder, ""), *changed(holder, "__class__", type("Other", (), {}))
    yield guards.guard_attribute(Holder, "__name__", ""), *changed(Holder, "__name__", "Other")
    new = {"__defaults__": (2,), "__kwdefaults__": {"z": 3}, "__code__": (lambda x, y, *, z: y).__code__}
    for name, value in new.items():
        yield guards.guard_function(other, ""), *changed(other, name, value)


def changed(holder, name, value):
    """A function that sets an attribute, and one that restores its previous value."""
    was = getattr(holder, name)
    return lambda: setattr(holder, name, value), lambda: setattr(holder, name, was)


@pytest.mark.parametrize("check", CHECKS)
def test_every_change_is_noticed(check):
    for guard, change, undo in cases():
        seen = [recorded_guard(guard.holds, guard.holder, guard.former)]
        assert check(seen), guard
        change()
        assert not check(seen), guard
        undo()


@pytest.mark.parametrize("check", CHECKS)
def test_arrays_are_of_the_same_kind(check):
    t, a = tg.tensor(np.zeros((2, 3)), requires_grad=True), np.zeros((2, 3))
    guard = [
        recorded_guard(same_tensor, t, ((2, 3), np.dtype(np.float64), True)),
        recorded_guard(same_array, a, (a.shape, a.dtype)),
    ]
    assert check(guard)
    t.data = t.data + 1  # another array of the same kind
    assert check(guard)
    for data in (np.zeros((3, 2)), np.zeros(6), np.zeros((2, 3), np.float32)):
        before, t.data = t.data, data
        assert not check(guard)
        t.data = before
    t.requires_grad = False
    assert not check(guard)
    t.requires_grad = True
    assert check(guard)
    for shape, dtype in (((3, 2), np.float32), ((2, 3), np.float64)):
        array = Array()
        guard = [recorded_guard(same_array, array, (Array.shape, Array.dtype))]
        assert check(guard)
        array.shape, array.dtype = shape, np.dtype(dtype)
        assert not check(guard)


def test_errors_of_holders_come_through():
    class Odd(dict):
        def values(self):
            raise RuntimeError("odd")

    for check in CHECKS:
        with pytest.raises(RuntimeError, match="odd"):
            check([recorded_guard(guards._same_items, Odd(), {})])
