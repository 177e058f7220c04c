"""Invalid loops raise errors; forks and threads around a loop have no effect."""

import concurrent.futures
import os
import random

import numpy as np
import pytest
from common import check_in_forked_children, threads
from loops import Builder, at, lstm_backward, lstm_forward, number, weight
from test_loop import attention, everything

from tinygrad_rnn import kernels

NATIVE = kernels.implementations()[:-1]
pytestmark = pytest.mark.skipif(not NATIVE, reason=f"no native kernels: {kernels.info()['missing']}")


def small():
    """x, y -> z = x + y, with a state."""
    b = Builder(np.float64)
    x, out, state, t = b.sequence(4), b.sequence(4, written=True), b.state(4), b.temp(4)
    b.map("add", t, x, state)
    b.map("copy", out, t)
    b.becomes(state, t)
    return b


def emit(*instruction, where="body"):
    def change(b):
        b.where = where
        b.emit(*instruction)

    return change


def product(shape, out, left, matrix):
    """A product with slots (index, distance of sub-rows) and the distance of the matrix's rows."""
    left, out = at(left[0], (), 0, (left[1], 0, 1)), at(out[0], (), 0, (out[1], 1, 0))
    return emit(
        "product", shape, out, [left, matrix if isinstance(matrix, tuple) else weight(0, (), 0, (0, matrix, 1))], (0, 0)
    )


V = (4,)
BAD_LOOPS = [
    (lambda b: setattr(b, "dtype", "int8"), "neither float32 nor float64"),
    (lambda b: b.slots.append((6, 0, 4)), "storage is out of range"),
    (lambda b: b.slots.append((0, 0, -1)), "size is out of range"),
    (lambda b: b.slots.append((1, 2, 4)), "sequence is out of range"),
    (lambda b: b.slots.append((1, 0, 5)), "different sizes"),
    (lambda b: b.slots.append((2, 0, 5)), "have different sizes"),
    (lambda b: b.slots.append((3, 0, 4)), "constant is out of range"),
    (lambda b: b.sequences.__setitem__(1, (False, 0, True)), "cannot be written"),
    (lambda b: b.states.__setitem__(0, (9, 0, 4)), "slot is out of range"),
    (lambda b: b.states.__setitem__(0, (3, 1, 4)), "does not fit"),
    (lambda b: b.becomes(2, b.scratch(4)), "scratch"),
    (lambda b: b.becomes(2, b.temp(4)), "no instruction up to the end of the body"),
    (emit("nothing", V, at(1, V), [at(0, V)]), "no instruction is named nothing"),
    (emit("add", V, at(1, V), [at(0, V)]), "wrong number of inputs"),
    (emit("neg", V, at(0, V), [at(0, V)]), "may only read"),
    (emit("neg", V, at(2, V), [at(0, V)]), "may only read"),
    (emit("neg", V, weight(0, V), [at(0, V)]), "output's slot"),
    (emit("neg", V, at(1, V), [at(7, V)]), "operand's slot"),
    (emit("neg", V, at(1, V), [(3, 0, 0, (1,), 0.0)]), "neither slot, weight nor number"),
    (emit("neg", (5,), at(1, V), [at(0, (5,))]), "beyond its slot"),
    (emit("neg", V, at(1, V, 1), [at(0, V)]), "beyond its slot"),
    (emit("neg", V, at(1, V), [at(0, V, 0, (-1,))]), "beyond its slot"),
    (emit("neg", V, at(1, V), [at(0, V, 0, (2**60,))]), "stride is out of range"),
    (emit("neg", V, at(1, V), [at(0, V, 2**62)]), "offset is out of range"),
    (emit("neg", V, at(1, V, 0, (0,)), [at(0, V)]), "stride is 0"),
    (emit("neg", V, at(1, V), [at(0, (2, 2))]), "not one for each dimension"),
    (emit("neg", (2**40,), at(1, V), [at(0, V)]), "shape is out of range"),
    (emit("neg", (1,) * 6, at(1, (1,) * 6), [at(0, (1,) * 6)]), "too many dimensions"),
    (emit("sum", V, at(1, ()), [at(0, V)], (2,)), "number of reduced dimensions"),
    (emit("max", (0,), at(1, ()), [at(0, (0,))], (1,)), "maximum or minimum over no elements"),
    (product((1, 4, 4), (1, 4), (0, 4), number(1)), "operands are wrong"),
    (product((1, 5, 4), (1, 5), (0, 4), 5), "beyond its slot"),
    (product((2, 2, 4), (1, 1), (0, 0), 2), "overlap"),
    (product((1, 4, 4), (3, 4), (3, 4), 4), "overlaps its left"),
    (emit("rowproduct", (1, 2, 2), at(1, (), 0, (4, 2, 1)), [at(0, (2, 2, 2)), at(0, (2, 2, 2))]), "operands are wrong"),
    (emit("neg", V, at(1, V), [at(3, V)], where="before"), "no instruction before it writes"),
    (emit("neg", V, at(1, V), [at(2, V)], where="before"), "does not exist when its list runs"),
    (emit("neg", V, at(1, V), [at(0, V)], where="once"), "does not exist when its list runs"),
    (lambda b: b.sum(0, 0, 9, 4, 4), "beyond its slot"),
    (lambda b: b.sum(0, 0, 3, 4, 5), "beyond its slot"),
    (lambda b: b.sum(-1, 0, 3, 4, 4), "out of range"),
    (lambda b: b.sum(0, 0, 3, 2, 2, multiple=3), "beyond its slot"),
    (lambda b: (b.sum(0, 0, 3, 4, 1), b.sum(0, 0, 3, 1, 4)), "different sizes"),
    (lambda b: b.accumulators.append((3, 1, 4)), "beyond its slot"),
    (lambda b: b.accumulators.append((b.scratch(1), 0, 1)), "no instruction writes"),
    (lambda b: (b.accumulators.append((-1, 0, 8)), b.outers.append((0, 0, 0, 2, 3, 1, 4))), "beyond its slot"),
    (lambda b: (b.accumulators.append((-1, 0, 8)), b.outers.append((0, 0, 0, 2, 3, 0, 3))), "different sizes"),
    (lambda b: b.outers.append((0, 0, 0, 2, 3, 0, 2)), "accumulator is out of range"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BAD_LOOPS, ids=[str(k) for k in range(len(BAD_LOOPS))])
def test_bad_loops(change, words):
    small().build()
    b = small()
    change(b)
    with pytest.raises(ValueError, match=words):
        b.build()


def test_bad_runs():
    b, x, out = small(), np.ones((2, 3, 4)), np.empty((2, 3, 4))
    b.run(2, 3, [x, out])
    frozen = out.copy()
    frozen.flags.writeable = False
    for sequences in (
        [x], [x, None], [x, out, out], [x[:1], out], [x, out[:, :2]], [x, out.astype(np.float32)], [x, out[..., ::-1]],
        [x, frozen], [x, [1.0]], [x[0], out], [x, unaligned()], [x, out.astype(">f8")], [x, out.tolist()],
    ):  # fmt: skip
        with pytest.raises(ValueError, match="native kernels: "):
            b.run(2, 3, sequences)
    for more in (
        {"initial": [np.zeros((2, 5))]}, {"initial": []}, {"final": [np.zeros((4, 2)).T]}, {"constants": [x]},
        {"weights": [3]}, {"targets": [x]}, {"initials": [None]}, {"isa": "sse9"},
        {"lengths": np.array([1, 4])}, {"lengths": np.array([-1, 2])}, {"lengths": np.array([1])},
    ):  # fmt: skip
        if more != {"weights": [3]}:
            with pytest.raises(ValueError, match="native kernels: "):
                b.run(2, 3, [x, out], **more)
    for B, T in ((-1, 3), (2, -1), (2**40, 3), (2, 2**40), (3, 3)):
        with pytest.raises(ValueError, match="native kernels: "):
            b.run(B, T, [x, out])
    c = small()
    c.product(3, 0, 0, 4, 4)
    with pytest.raises(ValueError, match="too few elements"):
        c.run(2, 3, [x, out], weights=[np.zeros((3, 4))])
    with pytest.raises(ValueError, match="too few weights"):
        c.run(2, 3, [x, out])
    prepared = c.build().prepare(NATIVE[0], [np.zeros((4, 4))])
    with pytest.raises(ValueError, match="prepared for another loop"):
        b.run(2, 3, [x, out], prepared=prepared)


def unaligned():
    """Zeros (2, 3, 4) whose elements begin at odd addresses."""
    return np.frombuffer(bytearray(8 * 24 + 1), np.uint8)[1:].view(np.float64).reshape(2, 3, 4)


def test_arrays_that_a_loop_reads_may_have_any_layout():
    rng = np.random.default_rng(0)
    b, x, w = small(), rng.integers(-9, 9, (2, 3, 4)).astype(float), rng.integers(-9, 9, (4, 4)).astype(float)
    b.product(3, 0, 0, 4, 4)
    want = np.empty((2, 3, 4))
    b.run(2, 3, [x, want], weights=[w])
    odd = unaligned()
    odd[...] = x
    wide = np.zeros((8, 4))
    wide[::2] = w
    forms = [x, odd, x.astype(np.float32), x.astype(">f8"), x.astype(int), np.repeat(x, 2, -1)[..., ::2], x.tolist()]
    for form in (*forms, np.asfortranarray(x)):
        for weights in (w, wide[::2], w.astype(np.float32), np.asfortranarray(w)):
            out = np.empty((2, 3, 4))
            b.run(2, 3, [form, out], weights=[weights])
            np.testing.assert_array_equal(out, want)
    out = np.empty((3, 2, 4))
    b.run(2, 3, [x.swapaxes(0, 1).copy(), out], weights=[w], time_major=True)
    np.testing.assert_array_equal(out.swapaxes(0, 1), want)
    with pytest.raises((TypeError, ValueError)):
        b.run(2, 3, ["x", out], weights=[w])


def test_a_stepper_reads_and_writes_the_same_arrays_at_every_step():
    b, x, out, state = small(), np.ones((2, 1, 4)), np.empty((2, 1, 4)), np.zeros((2, 4))
    loop = b.build()
    stepper = loop.stepper(NATIVE[0], 2, [x, out], [state], [])
    for n in range(1, 4):
        stepper.step()
        assert (out == n).all()
        assert (state == n).all()
    state[...], x[...] = 10, 2
    stepper.step()
    assert (out == 12).all()
    frozen = state.copy()
    frozen.flags.writeable = False
    for B, sequences, states in (
        (2, [x], [state]), (3, [x, out], [state]), (-1, [x, out], [state]), (2**40, [x, out], [state]), (2, [x, None], [state]),
        (2, [x, out], []), (2, [x, out], [None]), (2, [x, out], [frozen]), (2, [x, out], [state[:1]]), (2, [x, out], [[1.0]]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="native kernels: "):
            loop.stepper(NATIVE[0], B, sequences, states, [])
    with pytest.raises(ValueError, match="native kernels: "):
        loop.stepper("sse9", 2, [x, out], [state], [])


ODD = [-(2**62), -(2**31), -1, 0, 1, 2, 3, 5, 7, 64, 2**31, 2**40, 2**62, 2**80, 1.5, None, "x", (), [1]]


def modified(rng, value):
    """The value with something somewhere in it replaced, dropped or doubled."""
    if isinstance(value, list | tuple) and value and rng.random() < 0.9:
        k = rng.randrange(len(value))
        choice = rng.random()
        parts = list(value)
        if choice < 0.85:
            parts[k] = modified(rng, parts[k])
        elif choice < 0.92:
            del parts[k]
        else:
            parts.insert(k, parts[k])
        return type(value)(parts)
    if isinstance(value, int) and rng.random() < 0.7:
        return value + rng.choice([-3, -1, 1, 2, 5])
    return rng.choice(ODD)


def arrays_for(b, B, T, total, dtype):
    """Arrays of the sizes that the tables of a loop ask for."""
    width = {index: size for storage, index, size in b.slots if storage == 1}
    sequences = [
        np.zeros((total, width[k]) if packed else (B, T, width[k]), dtype)
        for k, (packed, _, _) in enumerate(b.sequences)
    ]
    states = [np.zeros((B, size), dtype) for _, _, size in b.states]
    shapes = {}
    for target, _, _, left, _, _, right, _ in b.sums:
        shapes[target] = max(left, 1) * right
    shifts = {shifted: width[k] for k, (_, shifted, _) in enumerate(b.sequences) if shifted >= 0}
    return {
        "sequences": sequences, "initial": states, "final": [s.copy() for s in states],
        "constants": [np.zeros((B, n), dtype) for n in b.constants],
        "targets": [np.zeros(shapes.get(k, 1), dtype) for k in range(max(shapes, default=-1) + 1)],
        "accumulated": [np.zeros((B, n), dtype) for _, _, n in b.accumulators],
        "initials": [np.zeros((B, shifts.get(k, 1)), dtype) for k in range(max(shifts, default=-1) + 1)],
    }  # fmt: skip


def test_random_bad_loops_never_crash():
    """Every modified loop raises an error or stays within its arrays."""
    rng = random.Random(0)
    makers = [
        lambda: lstm_forward(3, 5, np.float32, saves=True), lambda: lstm_backward(3, 5, np.float64),
        lambda: attention(np.float64, 4, 5, 3), lambda: everything(np.float32, 6), small,
    ]  # fmt: skip
    ran = refused = 0
    for _ in range(int(os.environ.get("TINYGRAD_RNN_BAD_CALLS", "4000"))):
        b = rng.choice(makers)()
        tables = ("slots", "sequences", "states", "constants", "sums", "accumulators", "outers")
        for _ in range(rng.randint(1, 2)):
            where, name = rng.choice(list(b.lists)), rng.choice(tables)
            if rng.random() < 0.6:
                b.lists[where] = modified(rng, b.lists[where])
            else:
                setattr(b, name, modified(rng, getattr(b, name)))
        B, T = rng.randint(0, 3), rng.randint(0, 3)
        lengths = np.array([rng.randint(0, T) for _ in range(B)], np.int64)
        try:
            b.build()
            arrays = arrays_for(b, B, T, int(lengths.sum()), b.dtype)
            if rng.random() < 0.3:
                name = rng.choice([name for name in arrays if arrays[name]])
                arrays[name][0] = rng.choice(
                    [None, arrays[name][0][:0], arrays[name][0].T, 3, arrays[name][0].astype("f2")]
                )
            weights = [np.zeros(2000, b.dtype) for _ in range(4)]
            sequences = arrays.pop("sequences")
            b.run(B, T, sequences, lengths=lengths, weights=weights, backward=rng.random() < 0.5, **arrays)
            ran += 1
        except (TypeError, ValueError, KeyError, IndexError):  # some invalid tables fail when the arrays are created
            refused += 1
    assert min(ran, refused) > 200


def work(seed=0):
    rng = np.random.default_rng(seed)
    B, T, D, H, dtype = 8, 20, 16, 64, np.float32
    x, out = rng.standard_normal((B, T, D)).astype(dtype), np.empty((B, T, H), dtype)
    weights = [(rng.standard_normal(s) * 0.1).astype(dtype) for s in ((D, 4 * H), (H, 4 * H), (4 * H,))]
    gates, c = np.empty((B * T, 4 * H), dtype), np.empty((B * T, H), dtype)
    lstm_forward(D, H, dtype, saves=True).run(B, T, [x, out, gates, c], weights=weights)
    targets, dx = [np.empty_like(w) for w in weights], np.empty_like(x)
    lstm_backward(D, H, dtype).run(
        B, T, [x, out, gates, c, c, out, dx], backward=True, weights=weights, targets=targets, initials=[None, None]
    )
    return out.tobytes(), dx.tobytes(), *(t.tobytes() for t in targets)


@pytest.fixture
def three_threads():
    with threads(3):
        yield


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.usefixtures("three_threads")
def test_a_forked_child_computes_correctly():
    check_in_forked_children(work)


@pytest.mark.usefixtures("three_threads")
def test_many_python_threads_at_once():
    want = [work(seed) for seed in range(4)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda k: work(k % 4) == want[k % 4], range(200)))


@pytest.mark.usefixtures("three_threads")
def test_one_loop_in_many_threads():
    b, x = small(), np.arange(24.0).reshape(2, 3, 4)
    loop = b.build()
    want = np.empty_like(x)
    b.run(2, 3, [x, want])

    def one(_):
        out = np.empty_like(x)
        loop.run(NATIVE[0], 2, 3, None, False, False, [x, out], [None], [None], [], [], [], [], [], None)
        return np.array_equal(out, want)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(400)))
