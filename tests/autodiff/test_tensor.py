"""Tensors: conversion, operators, attributes, and the conversions that are refused."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import optim


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1.0, 2.0], np.float32),
        ([[1, 2]], np.int64),
        ([True, False], np.bool_),
        (np.zeros(2), np.float64),
        (np.zeros(2, np.float32), np.float32),
        (np.float64(3), np.float64),
        ([np.float64(3)], np.float64),
        ([np.zeros(2), np.ones(2)], np.float64),
        ([], np.float32),
    ],
)
def test_dtype_of_new_tensors(data: Any, dtype: Any) -> None:
    assert tg.tensor(data).dtype == dtype


def test_tensor_copies() -> None:
    a = np.zeros(2)
    t = tg.tensor(a)
    a[0] = 1
    assert t.tolist() == [0, 0]


@pytest.mark.parametrize("data", [["a", "b"], {"a": 1}, None, [1, None], [[1, 2], [3]], 1j, np.zeros(2, complex)])
def test_values_that_are_not_arrays_of_numbers_are_refused(data: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="tensor: data"):
        tg.tensor(data)


@pytest.mark.parametrize("data", [[1, 2], [True], np.arange(3)])
def test_integers_cannot_require_grad(data: Any) -> None:
    with pytest.raises(TypeError, match=r"requires_grad=True with dtype .*constants; give floating-point data"):
        tg.tensor(data, requires_grad=True)


def test_attributes() -> None:
    t = tg.tensor(np.zeros((2, 3), np.float32), name="w")
    assert (t.shape, t.dtype, t.ndim, t.size, t.name, len(t)) == ((2, 3), np.float32, 2, 6, "w", 2)
    assert t.T.shape == (3, 2)
    assert t.is_leaf
    assert not t.requires_grad
    t.name = "v"
    assert t.name == "v"


def test_assignment_is_refused() -> None:
    t = tg.tensor([1.0, 2.0])
    with pytest.raises(TypeError, match=r"cannot be assigned into.*tg\.where"):
        t[0] = 3.0
    assert t.tolist() == [1, 2]


def test_second_backward_names_the_op_and_the_remedy() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    y = tg.exp(x)
    y.backward()
    with pytest.raises(tg.GraphError, match=r"'exp' was freed.*retain_graph=True.*rnn\.detach\(state\)"):
        y.backward()
    z = tg.exp(x)
    z.backward(retain_graph=True)
    z.backward()
    assert x.grad == pytest.approx(3 * np.exp(2.0))


def test_a_chain_of_add_is_freed_too() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    y = x + 1
    y.backward()
    with pytest.raises(tg.GraphError, match="'add' was freed"):
        y.backward()


def test_backward_needs_a_graph_and_a_cotangent() -> None:
    with pytest.raises(TypeError, match="does not require grad"):
        tg.tensor(1.0).backward()
    y = tg.tensor([1.0, 2.0], requires_grad=True) * 2
    with pytest.raises(ValueError, match=r"shape \(2,\); without a grad argument"):
        y.backward()
    with pytest.raises(ValueError, match=r"grad has shape \(3,\), expected the tensor's shape \(2,\)"):
        y.backward(np.ones(3))


def test_gradients_add_up_until_set_to_none() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(2):
        (x * x).sum().backward()
    assert x.grad.tolist() == [4, 8]
    x.grad = None
    (x * x).sum().backward()
    assert x.grad.tolist() == [2, 4]
    with pytest.raises(ValueError, match=r"grad: got shape \(3,\), expected the tensor's shape \(2,\)"):
        x.grad = np.zeros(3)


def test_two_leaves_never_share_a_gradient_array() -> None:
    x, y = tg.tensor([1.0], requires_grad=True), tg.tensor([1.0], requires_grad=True)
    (x + y).backward()
    x.grad += 1
    assert y.grad.tolist() == [1]


def test_gradient_of_a_leaf_itself() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    x.backward()
    assert x.grad == 1


def test_rebinding_data_leaves_the_graph_alone() -> None:
    """Optimisers rebind p.data; a graph recorded before keeps the old values."""
    x = tg.tensor(3.0, requires_grad=True)
    y = x * x
    x.data = np.float32(100.0) + np.zeros((), np.float32)
    y.backward()
    assert x.grad == 6


def test_no_grad_as_block_and_as_decorator() -> None:
    x = tg.tensor(3.0, requires_grad=True)
    with tg.no_grad():
        assert not (x * x).requires_grad

    @tg.no_grad()
    def f() -> Any:
        return x * x

    assert not f().requires_grad
    assert not f().requires_grad
    assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        raise ZeroDivisionError
    assert (x * x).requires_grad


def test_a_decorated_generator_does_not_leak_out_of_its_yields() -> None:
    x = tg.tensor(3.0, requires_grad=True)

    @tg.no_grad()
    def numbers() -> Any:
        try:
            got = yield (x * x).requires_grad
            assert not (x * x).requires_grad
            yield got
        except KeyError:
            yield (x * x).requires_grad
        finally:
            seen.append((x * x).requires_grad)

    seen: list[bool] = []
    first, second = numbers(), numbers()
    for generator in (first, second):
        assert next(generator) is False
        assert (x * x).requires_grad
    assert first.send("sent") == "sent"
    assert first.throw(KeyError("raised")) is False
    second.close()
    first.close()
    assert seen == [False, False]
    assert (x * x).requires_grad
    assert list(numbers()) == [False, None]
    assert numbers.__name__ == "numbers"


def test_a_decorated_coroutine_runs_inside_and_leaves_other_tasks_alone() -> None:
    x = tg.tensor(3.0, requires_grad=True)

    @tg.no_grad()
    async def inside() -> bool:
        await asyncio.sleep(0)
        return (x * x).requires_grad

    async def outside() -> bool:
        await asyncio.sleep(0)
        return (x * x).requires_grad

    async def both() -> Any:
        return await asyncio.gather(inside(), outside(), inside())

    assert asyncio.run(both()) == [False, True, False]
    with pytest.raises(TypeError, match="recording: numbers is an asynchronous generator"):

        @tg.no_grad()
        async def numbers() -> Any:
            yield 1


class Slow(np.ndarray):
    """An array with a slow sum, so that another thread runs between the reading and the writing of a gradient."""

    def __add__(self, other: Any) -> Any:
        total = np.asarray(self) + other
        time.sleep(0.001)
        return total.view(Slow)


def test_threads_lose_no_gradient() -> None:
    """Backward onto one leaf from many threads at once: every update arrives."""
    w = tg.tensor([0.0], requires_grad=True)
    w._node.grad = np.zeros(1).view(Slow)
    threads, rounds = 8, 5

    def work() -> None:
        for _ in range(rounds):
            (w * 1.0).sum().backward()

    pool = [threading.Thread(target=work) for _ in range(threads)]
    for t in pool:
        t.start()
    for t in pool:
        t.join()
    assert w.grad.tolist() == [threads * rounds]


def test_updates_in_place_under_no_grad() -> None:
    """p -= lr · grad trains the tensor that the list holds, in its own dtype; its array is a new one."""
    p, q = tg.Parameter([1.0, 2.0]), tg.Parameter([4.0])
    y = (p * p).sum()
    before = p.data
    y.backward()
    with tg.no_grad():
        for t in (p, q):
            t -= np.float64(0.5) * (t.grad if t.grad is not None else 2)
    assert (p.tolist(), q.tolist(), p.dtype) == ([0, 0], [3], np.float32)
    assert before.tolist() == [1, 2]
    assert isinstance(p, tg.Parameter)
    with tg.no_grad():
        alias = q
        q += 1
        q *= np.array([3.0])
        q /= 2
    assert alias is q
    assert (q.tolist(), q.dtype, q.requires_grad) == ([6], np.float32, True)
    with (
        tg.no_grad(),
        pytest.raises(ValueError, match=r"add: in place .* shape \(1,\), it has \(3,\)"),
    ):
        q += np.ones(3)
    constant = kept = tg.tensor([1.0])
    with tg.no_grad():
        constant += 1
    assert (kept.tolist(), constant.tolist()) == ([1], [2])


def test_comparisons_are_plain_booleans() -> None:
    t, u = tg.tensor([1.0, 2.0, 3.0], requires_grad=True), np.array([3.0, 2.0, 1.0])
    for actual, expected in [
        (t == u, [False, True, False]),
        (t != u, [True, False, True]),
        (t < u, [True, False, False]),
        (u < t, [False, False, True]),
        (t >= 2, [False, True, True]),
        (t <= 2, [True, True, False]),
    ]:
        assert isinstance(actual, np.ndarray)
        assert actual.tolist() == expected
    assert hash(t) == hash(t)


def test_python_conversions() -> None:
    t = tg.tensor(2.5, requires_grad=True)
    assert (float(t), int(t), bool(t), t.item(), f"{t:.2f}") == (2.5, 2, True, 2.5, "2.50")
    assert [1, 2, 3][tg.tensor(1)] == 2
    with pytest.raises(ValueError, match="ambiguous"):
        bool(tg.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="0-d"):
        iter(t)
    with pytest.raises(TypeError):
        len(t)


def test_iteration_cuts_once_and_carries_gradients() -> None:
    t = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    first, second = t
    (first * 2 + second).sum().backward()
    assert t.grad.tolist() == [[2, 2], [1, 1]]
    assert tg.snapshot(first * 2 + second).count("unstack") == 1


def test_repr_helps() -> None:
    t = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    assert repr(t) == "tensor([1., 2.], float32, requires_grad=True, name='x')"
    assert repr(t * 2) == "tensor([2., 4.], float32, op=multiply)"
    assert "shape=(50, 4)" in repr(tg.tensor(np.zeros((50, 4))))
    assert repr(tg.tensor(np.zeros((0, 3)))) == "tensor([], float64, shape=(0, 3))"
    assert repr(tg.unstack(t)[0]) == "tensor(1., float32, op=unstack)"


def test_leaves_copy_and_pickle_and_computed_tensors_say_why_not() -> None:
    t = tg.tensor([1.0], requires_grad=True, name="w")
    for c in (copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t))):
        assert (c.tolist(), c.requires_grad, c.name, c is t) == ([1], True, "w", False)
    p = copy.deepcopy(tg.Parameter([2.0]))
    assert isinstance(p, tg.Parameter)
    with pytest.raises(TypeError, match=r"made by exp cannot be copied.*detach"):
        copy.deepcopy(tg.exp(t))


def test_zero_d_and_empty_arrays() -> None:
    x = tg.tensor(np.float64(2.0), requires_grad=True)
    y = (x**2 + tg.tanh(x)) * 1.0
    assert isinstance(y.data, np.ndarray)
    y.backward()
    assert isinstance(x.grad, np.ndarray)
    e = tg.tensor(np.zeros((0, 3)), requires_grad=True)
    tg.sum(tg.tanh(e) * 2).backward()
    assert e.grad.shape == (0, 3)


# -- dtypes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        2,
        2.5,
        True,
        np.float64(1.5),
        np.sqrt(2),
        np.int64(3),
        np.arange(1, 4),
        np.array([True, True, True]),
        [1.0, 2.0, 3.0],
    ],
    ids=str,
)
@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide", "power", "maximum"])
def test_scalars_integers_and_booleans_do_not_promote(op: str, other: Any) -> None:
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    for y in (getattr(tg, op)(x, other), getattr(tg, op)(other, x)):
        assert y.dtype == np.float32
        tg.sum(y).backward()
        assert x.grad.dtype == np.float32
        assert np.all(np.isfinite(x.grad))


def test_integer_tensors_do_not_promote_and_float_arrays_do() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert (x * tg.tensor([1, 2])).dtype == np.float32
    y = x * np.array([1.0, 2.0])
    assert y.dtype == np.float64
    y.sum().backward()
    assert x.grad.dtype == np.float32


def test_integer_tensors_compute_as_numpy_does() -> None:
    t = tg.tensor([1, 2])
    assert (t + 1).dtype == np.int64
    assert (t * t).tolist() == [1, 4]
    assert not (t + 1).requires_grad


def test_astype_casts_and_casts_gradients_back() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x.astype(np.float64)
    assert y.dtype == np.float64
    (y * y).sum().backward()
    assert x.grad.dtype == np.float32


@pytest.mark.parametrize("bad", ["2", None, object(), {}])
def test_operands_that_are_no_numbers_are_named(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"add: b is .*expected a tensor, an array or a number"):
        tg.tensor([1.0]) + bad


def test_shape_errors_name_the_op_and_the_operands() -> None:
    a, b = tg.tensor(np.zeros((2, 3))), tg.tensor(np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"add: .*a of shape \(2, 3\).*b of shape \(4, 5\)"):
        a + b
    with pytest.raises(
        ValueError, match=r"matmul: b has shape \(3, 4\), expected \(5, \*\) to follow a of shape \(2, 5\)"
    ):
        tg.matmul(np.zeros((2, 5)), tg.tensor(np.zeros((3, 4))))
    with pytest.raises(ValueError, match=r"concatenate: .*arrays\[0\] of shape \(2, 3\)"):
        tg.concatenate([a, b])
    with pytest.raises(ValueError, match=r"concatenate: arrays is empty"):
        tg.concatenate([])
    with pytest.raises(TypeError, match=r"stack: arrays is of shape \(2, 3\)"):
        tg.stack(a)
    with pytest.raises(IndexError, match=r"getitem: index 7 is out of bounds"):
        a[7]
    with pytest.raises(TypeError, match=r"sum: got an option 'axs', expected one of \('axis', 'keepdims'\)"):
        tg.sum(a, axs=1)
    with pytest.raises(TypeError, match="sum: got 5 positional arguments"):
        tg.sum(a, 1, True, 3, 4)


def test_arrays_are_copied_only_where_numpy_may() -> None:
    t = tg.tensor([1.0, 2.0])
    assert np.asarray(t) is t.data
    assert np.asarray(t, copy=False) is t.data
    assert not np.shares_memory(np.array(t), t.data)
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="Unable to avoid copy"):
        np.asarray(t, dtype=np.float64, copy=False)
    with pytest.raises(
        TypeError, match=r"from_dlpack: source is list, expected an array with __dlpack__; use tg.tensor"
    ):
        tg.from_dlpack([1.0])


def test_dlpack_shares_memory_both_ways() -> None:
    a = np.arange(6.0).reshape(2, 3)
    t = tg.from_dlpack(a)
    assert np.shares_memory(t.data, a)
    assert np.shares_memory(np.from_dlpack(t), a)
    assert tg.from_dlpack(t).tolist() == a.tolist()
    with pytest.raises(TypeError, match=r"\.detach\(\)"):
        np.from_dlpack(tg.tensor([1.0], requires_grad=True))


def test_a_tensor_in_a_text_is_its_numbers() -> None:
    t = tg.tensor([[0.5, 1.25]], requires_grad=True)
    assert f"{t}, shape: {t.shape}" == "[[0.5  1.25]], shape: (1, 2)"
    assert f"{t.sum():.3f} {t.sum()}" == "1.750 1.75"
    with pytest.raises(ValueError, match=r"format: '.3f' on a tensor of shape \(1, 2\): .*; try .data.round\(3\)"):
        f"{t:.3f}"
    assert f"{t:>15}" == "  [[0.5  1.25]]"
    rounded = round(t.sum() / 3, 2)
    assert (rounded, type(rounded), round(t.sum())) == (0.58, float, 2)
    assert f"{t!r}" == str(t) == "tensor([[0.5 , 1.25]], float32, requires_grad=True)"


def test_a_name_makes_a_leaf_but_no_gradient() -> None:
    t = tg.tensor([1.0, 2.0])
    assert t.name is None
    t.name = "constant"
    assert (t.name, t.is_leaf, t.requires_grad, (t * 2).requires_grad) == ("constant", True, False, False)
    t.name = None
    assert t.name is None


def test_membership_is_numpys() -> None:
    t = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert [value in t for value in (3.0, 5.0, tg.tensor(2.0), np.array([3.0, 4.0]))] == [True, False, True, True]


def test_generators_and_seeds() -> None:
    """A seed gives numpy's generator of that seed, a generator itself, and None the one that tg.seed sets."""
    generator = tg.autodiff.state.generator
    for seed in (5, np.int64(5)):
        assert generator(seed).random(3).tolist() == np.random.default_rng(5).random(3).tolist()
    own = np.random.default_rng(1)
    assert generator(own) is own
    assert generator() is generator(None)
    tg.seed(7)
    assert generator().random(3).tolist() == np.random.default_rng(7).random(3).tolist()
    for bad in (True, 1.0, "1"):
        with pytest.raises(TypeError, match=rf"generator: got {type(bad).__name__}, expected a numpy.random.Generator"):
            generator(bad)  # type: ignore[arg-type]


def test_options_that_are_none_are_ignored() -> None:
    """NumPy's functions pass on arguments such as out=None, which are ignored; others are not."""
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    assert tg.tanh(tg.tensor(x), out=None).tolist() == np.tanh(x).tolist()
    assert tg.sum(tg.tensor(x), axis=0, out=None, foreign=None).tolist() == [4.0, 7.0]
    with pytest.raises(TypeError, match=r"sum: got an option 'out', expected one of"):
        tg.sum(tg.tensor(x), axis=0, out=x)
    with pytest.raises(TypeError, match=r"tanh: x is an array and must be passed by position"):
        tg.tanh(x=tg.tensor(x))


def test_lists_in_the_place_of_an_array() -> None:
    t = tg.tensor([1.0, 2.0])
    for listed in ([3, 5], (3.0, 5.0), [tg.tensor(3.0), 5]):
        total = tg.add(t, listed)
        assert (total.tolist(), total.dtype) == ([4.0, 7.0], np.float32)
    for bad in ({1, 2}, [1, "a"], [[1, 2], [3]], [object()], (n for n in (1, 2)), [{1: tg.tensor(1.0)}]):
        with pytest.raises(TypeError, match=r"add: b is .*, expected a tensor, an array or a number"):
            tg.add(t, bad)


JOINED = {  # functions whose rule gives a gradient to both arguments, whether asked or not
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "where": lambda a, b: tg.where([True, False, True], a, b),
    "maximum": tg.maximum,
    "concatenate": lambda a, b: tg.concatenate([a, b]),
    "stack": lambda a, b: tg.stack([a, b]),
    "mse": tg.mse,
    "multiply": lambda a, b: a * b,
}


@pytest.mark.parametrize("name", JOINED)
def test_a_frozen_leaf_gets_no_gradient_and_is_not_trained(name):
    a, b = tg.Parameter(np.array([1.0, 2.0, 3.0])), tg.Parameter(np.array([3.0, 2.0, 2.0]))
    step = optim.SGD([a, b], lr=0.1).step
    JOINED[name](a, b).sum().backward()
    wanted = b.grad
    a.grad = b.grad = None
    a.requires_grad = False
    JOINED[name](a, b).sum().backward()
    assert a.grad is None
    np.testing.assert_array_equal(b.grad, wanted)
    step()
    assert a.tolist() == [1, 2, 3]
    a.requires_grad = True
    JOINED[name](a, b).sum().backward()
    assert a.grad is not None


@pytest.mark.parametrize("name", [None, "x"])
def test_a_constant_that_is_made_to_require_grad_gets_one(name):
    x, w = tg.tensor(np.array([1.0, 2.0]), name=name), tg.tensor([3.0, 4.0], requires_grad=True)
    before = (x + w).sum()
    x.requires_grad = True
    before.backward()
    assert x.grad is None
    (x * w).sum().backward()
    np.testing.assert_array_equal(x.grad, [3, 4])
    assert x.name == name
    np.testing.assert_array_equal(tg.grad((x * x).sum(), [x])[0].data, [2, 4])


def test_what_counts_is_whether_a_leaf_was_frozen_when_the_op_was_called():
    """A discriminator frozen while the generator's loss is computed, say."""
    a, b = tg.tensor([1.0, 2.0], requires_grad=True, name="a"), tg.tensor([3.0, 4.0], requires_grad=True)
    trained = (a + b).sum()
    a.requires_grad = False
    frozen = (a + b).sum()
    assert a.name == "a"
    a.name = "c"
    a.requires_grad = True
    frozen.backward()
    assert a.grad is None
    trained.backward()
    assert a.grad.tolist() == [1, 1]
    assert a.name == "c"
    held = a.grad
    last = (a * 2).sum()
    a.requires_grad = False
    assert a.grad is held
    last.backward()
    assert a.grad.tolist() == [1, 1]  # as in PyTorch: frozen when the gradient arrives
    a.grad = None
    with pytest.raises(TypeError, match="only a leaf tensor that requires grad"):
        a.grad = held
    a.requires_grad = True
    assert a.grad is None


def test_requires_grad_of_other_tensors_is_not_set():
    x = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"made by an op; use .detach\(\)"):
        (x * 2).requires_grad = False
    with pytest.raises(TypeError, match="integer and boolean data are constants"):
        tg.tensor([1]).requires_grad = True


def test_zero_grad_of_a_module_with_frozen_parameters():
    net = tg.nn.Linear(2, 3)
    net.bias.requires_grad = False
    net(np.ones((1, 2), np.float32)).sum().backward()
    net.zero_grad()
    assert [p.grad for p in net.parameters()] == [None, None]


@pytest.mark.parametrize("dtype", [">f8", ">f4", "<f8"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "RMSprop"])
def test_numbers_in_another_byte_order(dtype, optimizer):
    values = np.random.default_rng(0).normal(size=(40, 40))
    trained = []
    for array in (values.astype(dtype), values.astype(np.dtype(dtype).newbyteorder("="))):
        p = tg.Parameter(array)
        assert p.dtype.isnative
        step = getattr(optim, optimizer)([p], lr=0.1).step
        (p * p).sum().backward()
        step()
        trained.append(p.data)
    np.testing.assert_array_equal(*trained)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("product", [lambda t, m: t * m, lambda t, m: m * t])
def test_a_matrix_is_an_array_like_any_other(product):
    """np.matrix, which scipy.sparse's todense() returns, multiplies as a matrix by *; tensors never do."""
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    t = tg.tensor(values, requires_grad=True)
    product(t, np.matrix(values * 2)).sum().backward()
    np.testing.assert_array_equal(t.grad, values * 2)
    assert type(tg.tensor(np.matrix(values)).data) is np.ndarray


def test_masked_elements_are_refused():
    values = np.ma.array([1.0, 2.0], mask=[False, True])
    with pytest.raises(TypeError, match=r"tensor: data has masked elements, .*array.filled\(value\)"):
        tg.tensor(values)
    with pytest.raises(TypeError, match="multiply: b has masked elements"):
        tg.tensor([1.0, 2.0]) * values
    assert tg.tensor(np.ma.array([1.0, 2.0])).tolist() == [1, 2]


@pytest.mark.parametrize("loss", [lambda p: (p * 2).sum(), lambda p: (p @ np.ones((3, 2))).sum()])
def test_data_of_another_shape_get_no_gradient_of_the_old_one(loss):
    p = tg.Parameter(np.ones((1, 3)))
    step = optim.SGD([p], lr=0.1).step
    p.data = np.ones((4, 3))
    text = r"grad: the tensor was made with the shape \(1, 3\), its .data has been given the shape \(4, 3\)"
    loss(p).backward()
    with pytest.raises(ValueError, match=text):
        step()
    with pytest.raises(ValueError, match=text):
        tg.grad(loss(p), [p])


def test_data_of_another_shape_are_named_where_a_rule_fails():
    layer = tg.nn.Linear(3, 2)
    layer.weight.data = np.ones((4, 3), np.float32)
    layer.bias.data = np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"vjp of linear: .*whose .data has been given another shape"):
        layer(np.ones((1, 3), np.float32)).sum().backward()
