"""The interpreter of loop programs: programs written by hand against NumPy, row by row and step by step."""

import numpy as np
import pytest
from common import Problem, naive
from loops import Builder, at, interpret, lstm_backward, lstm_forward

from tinygrad_rnn import kernels

NATIVE = kernels.implementations()[:-1]
pytestmark = pytest.mark.skipif(not NATIVE, reason=f"no native kernels: {kernels.info()['missing']}")
TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-13}


def draw(rng, dtype, *shape):
    return (rng.standard_normal(shape) * 0.7).astype(dtype)


def assert_same(b, B, T, sequences, *, outputs, **more):
    """`outputs` names what a run writes: indices of sequences, and "final", "targets", "accumulated"."""
    copies = {
        k: v if v is None else [None if a is None else a.copy() for a in v] for k, v in more.items() if k in outputs
    }
    others = [a.copy() if k in outputs else a for k, a in enumerate(sequences)]
    for a in [a for k, a in enumerate(sequences) if k in outputs] + [a for v in copies.values() for a in v]:
        a[...] = np.nan
    arrays = list(sequences)
    b.run(B, T, arrays, **{**more, **copies})
    wanted = {k: [a.copy() for a in more[k]] for k in copies}
    want = {**more, **wanted}
    interpret(b, B, T, others, **{k: v for k, v in want.items() if k not in ("isa", "prepared")})
    for k in outputs:
        if isinstance(k, int):
            assert_close(arrays[k], others[k], f"sequence {k}")
        else:
            for n, (a, c) in enumerate(zip(copies[k], wanted[k], strict=True)):
                assert_close(a, c, f"{k}[{n}]")


def assert_close(a, b, what):
    scale = max(1.0, float(np.abs(b).max(initial=0)))
    np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[a.dtype] * scale, err_msg=what)


def rnn(dtype, D, H):
    """x -> h = tanh(x W + b + h U)."""
    b = Builder(dtype)
    x, out, h = b.sequence(D), b.sequence(H, written=True), b.state(H)
    z = b.temp(H)
    b.where = "before"
    b.product(z, x, 0, H, D, bias=2)
    b.where = "body"
    b.product(z, h, 1, H, H, accumulate=True)
    b.map("tanh", out, z)
    b.becomes(h, out)
    return b


LENGTHS = [None, [6, 0, 2, 6, 3]]
isas = pytest.mark.parametrize("isa", NATIVE)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@isas
@dtypes
@pytest.mark.parametrize("lengths", LENGTHS, ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("H", [1, 7, 32, 70])
def test_an_rnn(isa, dtype, lengths, reverse, H):
    rng = np.random.default_rng(H)
    B, T, D = 5, 6, 3
    lengths = None if lengths is None else np.array(lengths, np.int64)
    x, out = draw(rng, dtype, B, T, D), np.empty((B, T, H), dtype)
    weights = [draw(rng, dtype, D, H), draw(rng, dtype, H, H) / H**0.5, draw(rng, dtype, H)]
    more = {"initial": [draw(rng, dtype, B, H)], "final": [np.empty((B, H), dtype)], "weights": weights}
    more |= {"lengths": lengths, "reverse": reverse, "isa": isa}
    assert_same(rnn(dtype, D, H), B, T, [x, out], outputs=[1, "final"], **more)


@isas
@dtypes
@pytest.mark.parametrize("lengths", LENGTHS, ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True])
def test_an_lstm_and_its_gradients(isa, dtype, lengths, reverse):
    B, T, D, H = 5, 6, 3, 19
    lengths = None if lengths is None else np.array(lengths, np.int64)
    p = Problem("lstm", B, T, D, H, dtype=dtype, lengths=lengths, reverse=reverse)
    x, W, U, bias, c0, h0 = p.args
    total = B * T if lengths is None else int(lengths.sum())
    out, gates, c = np.empty((B, T, H), dtype), np.empty((total, 4 * H), dtype), np.empty((total, H), dtype)
    final = [np.empty((B, H), dtype), np.empty((B, H), dtype)]
    more = {"lengths": lengths, "reverse": reverse, "isa": isa}
    forward = lstm_forward(D, H, dtype, saves=True)
    forward.run(B, T, [x, out, gates, c], initial=[c0, h0], final=final, weights=[W, U, bias], **more)
    want, states = naive(p)
    for name, a, b in zip(("outputs", "c", "h"), (out, *final), (want, *states), strict=True):
        assert_close(a, b, name)

    d_out, d_h, d_c = p.cotangents
    dx, d_states = np.empty_like(x), [np.empty((B, H), dtype), np.empty((B, H), dtype)]
    targets = [np.empty_like(a) for a in (W, U, bias)]
    lstm_backward(D, H, dtype).run(
        B, T, [x, out, gates, c, c, d_out, dx], backward=True, initial=[d_c, d_h], final=d_states, weights=[W, U],
        targets=targets, initials=[h0, c0], **more,
    )  # fmt: skip
    gradients = (dx, *targets, *d_states)
    if dtype == np.float64:  # against differences of a plain loop over the equations
        rng = np.random.default_rng(1)
        direction = [rng.standard_normal(a.shape) for a in p.args]

        def loss(eps):
            q = Problem("lstm", B, T, D, H, lengths=lengths, reverse=reverse)
            q.args = [a + eps * d for a, d in zip(p.args, direction, strict=True)]
            outputs, state = naive(q)
            return sum(float((a * g).sum()) for a, g in zip((outputs, *state), (d_out, d_c, d_h), strict=True))

        slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
        along = sum(float((a * d).sum()) for a, d in zip(gradients, direction, strict=True))
        assert along == pytest.approx(slope, rel=1e-7)


def attention(dtype, D, H, S):
    """Scores of a memory (S, H), a constant, by its keys, computed once; its weighted mean enters an RNN."""
    b = Builder(dtype)
    x, out, weights, h = b.sequence(D), b.sequence(H, written=True), b.sequence(S, written=True), b.state(H)
    memory, keys = b.constant(S * H), b.once(S * H)
    z, score, most, context = b.temp(H), b.scratch(S), b.scratch(1), b.scratch(H)
    b.where = "once"
    b.product(keys, memory, 3, H, H, m=S)
    b.where = "before"
    b.product(z, x, 0, H, D, bias=2)
    b.where = "body"
    a, c = at(h, (), 0, (0, 0, 0, 1)), at(keys, (), 0, (0, 0, H, 1))
    b.emit("rowproduct", (1, 1, S, H), at(score, (), 0, (0, 0, 1)), [a, c])
    b.emit("max", (S,), at(most, ()), [at(score, (S,))], (1,))
    b.emit("sub", (S,), at(score, (S,)), [at(score, (S,)), at(most, (), 0, (0,))])
    b.map("exp", score, score)
    b.emit("sum", (S,), at(most, ()), [at(score, (S,))], (1,))
    b.emit("div", (S,), at(weights, (S,)), [at(score, (S,)), at(most, (), 0, (0,))])
    a, c = at(weights, (), 0, (0, 0, 0, 1)), at(memory, (), 0, (0, 0, 1, H))
    b.emit("rowproduct", (1, 1, H, S), at(context, (), 0, (0, 0, 1)), [a, c])
    b.product(z, h, 1, H, H, accumulate=True)
    b.map("add", z, z, context)
    b.map("tanh", out, z)
    b.becomes(h, out)
    return b


@isas
@dtypes
@pytest.mark.parametrize(("H", "S"), [(5, 3), (32, 16), (33, 70)])
def test_attention_over_a_constant_memory(isa, dtype, H, S):
    rng = np.random.default_rng(0)
    B, T, D = 5, 6, 4
    x, memory = draw(rng, dtype, B, T, D), draw(rng, dtype, B, S * H)
    out, share = np.empty((B, T, H), dtype), np.empty((B, T, S), dtype)
    scale = dtype(H**-0.5)
    weights = [
        draw(rng, dtype, D, H),
        scale * draw(rng, dtype, H, H),
        draw(rng, dtype, H),
        scale * draw(rng, dtype, H, H),
    ]
    more = {"constants": [memory], "weights": weights, "lengths": np.array([6, 0, 2, 6, 3], np.int64), "isa": isa}
    b = attention(dtype, D, H, S)
    assert_same(b, B, T, [x, out, share], outputs=[1, 2, "final"], final=[np.empty((B, H), dtype)], **more)
    np.testing.assert_allclose(share[0].sum(-1), 1, rtol=1e-5)


def everything(dtype, n):
    """Two states, one copied to the other; shifted, packed and missing sequences; all kinds of sums and accumulators."""
    b = Builder(dtype)
    x, y = b.sequence(n), b.sequence(2 * n, written=True)
    kept, history, packed_history = (
        b.sequence(n, written=True, packed=True),
        b.sequence(n, shifted=0),
        b.sequence(n, packed=True, shifted=1),
    )
    missing = b.sequence(n)
    scale, s, delayed, still = b.constant(n), b.state(n), b.state(n), b.state(n)
    twice, early, new, late, some = b.once(n), b.temp(n), b.temp(n), b.temp(n), b.scratch(n)
    b.where = "once"
    b.map("mul", twice, scale, 2.0)
    b.where = "before"
    b.map("mul", early, x, twice)
    b.map("add", early, early, history)
    b.map("sub", early, early, packed_history)
    b.where = "body"
    b.map("add", some, s, early)
    b.map("add", some, some, missing)
    b.map("tanh", new, some)
    b.map("copy", kept, new)
    b.map("add", y, delayed, still, n=n)
    b.where = "after"
    b.map("mul", late, new, s)
    b.map("sub", y, late, delayed, n=n, at_=n)
    b.becomes(s, new)
    b.becomes(delayed, s)
    b.becomes(still, still)
    b.sum(0, new, late, n, n)
    b.sum(0, s, history, n, n)
    b.sum(1, -1, y, 0, 2, 0, 0, n)
    b.sum(2, y, y, 1, 2, 0, 0, n)
    b.sum(3, scale, delayed, n, n)
    b.accumulators += [(y, n - 1, 2), (s, 0, n), (-1, 0, n * (n + 1))]
    b.outers += [(2, s, 0, n, y, n - 1, n + 1), (1, new, n - 1, 1, late, 0, n), (2, scale, 0, n, y, 0, n + 1)]
    return b


@isas
@pytest.mark.parametrize("backward", [False, True])
def test_outer_products_of_many_steps(isa, backward):
    """A row's sum of outer products: np.einsum's, and to the bit the same alone and in a batch, however time is cut."""
    rng = np.random.default_rng(0)
    B, T, m, n = 5, 700, 7, 20
    b = Builder(np.float32)
    x, y, total = b.sequence(m), b.sequence(n), b.temp(n)
    b.where = "before"
    b.map("copy", total, y)
    b.accumulators.append((-1, 0, m * n))
    b.outers.append((0, x, 0, m, y, 0, n))
    b.sum(0, -1, total, 0, n)  # with sums, chunks depend on the batch
    rows = [draw(rng, np.float32, B, T, k) for k in (m, n)]
    lengths = np.array([700, 3, 0, 650, 131], np.int64)

    def of(selected):
        accumulated = np.empty((len(lengths[selected]), m * n), np.float32)
        b.run(len(accumulated), T, [r[selected] for r in rows], lengths=lengths[selected], backward=backward, isa=isa,
              targets=[np.empty(n, np.float32)], accumulated=[accumulated])  # fmt: skip
        return accumulated

    sums = of(slice(None))
    for k in range(B):
        x64, y64 = (r[k, : lengths[k]].astype(np.float64) for r in rows)
        np.testing.assert_allclose(sums[k], (x64.T @ y64).reshape(-1), rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(of(slice(k, k + 1))[0], sums[k])


@isas
@dtypes
@pytest.mark.parametrize("lengths", [None, [9, 0, 12, 5, 12, 1, 1]], ids=["full", "ragged"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("n", [1, 6, 16])
def test_every_kind_of_slot(isa, dtype, lengths, reverse, backward, n):
    rng = np.random.default_rng(n)
    B, T = 7, 12
    lengths = None if lengths is None else np.array(lengths, np.int64)
    total = B * T if lengths is None else int(lengths.sum())
    sequences = [
        draw(rng, dtype, T, B, n).swapaxes(0, 1), np.empty((B, T, 2 * n), dtype), np.empty((total, n), dtype),
        draw(rng, dtype, B, T, 2 * n)[..., :n], draw(rng, dtype, total, n), None,
    ]  # fmt: skip
    more = {"constants": [draw(rng, dtype, B, n)], "initials": [draw(rng, dtype, B, n), None]}
    more["initial"] = [draw(rng, dtype, B, n), None, draw(rng, dtype, B, n)]
    more["final"] = [np.empty((B, n), dtype) for _ in range(3)]
    more["targets"] = [np.empty(shape, dtype) for shape in ((n, n), (2,), (1, 2), (n, n))]
    more["accumulated"] = [np.empty((B, size), dtype) for size in (2, n, n * (n + 1))]
    more |= {"lengths": lengths, "reverse": reverse, "backward": backward, "isa": isa}
    assert_same(everything(dtype, n), B, T, sequences, outputs=[1, 2, "final", "targets", "accumulated"], **more)


@isas
@pytest.mark.parametrize(("B", "T"), [(0, 4), (3, 0), (0, 0), (2, 3)])
def test_loops_without_rows_or_steps(isa, B, T):
    lengths = np.zeros(B, np.int64)
    x, out = np.zeros((B, T, 3)), np.full((B, T, 4), 7.0)
    h0, h = np.arange(B * 4.0).reshape(B, 4), np.empty((B, 4))
    weights = [np.ones((3, 4)), np.ones((4, 4)), np.ones(4)]
    rnn(np.float64, 3, 4).run(B, T, [x, out], initial=[h0], final=[h], weights=weights, lengths=lengths, isa=isa)
    assert not out.any()
    np.testing.assert_array_equal(h, h0)


@isas
@dtypes
def test_prepared_weights_give_the_same_bits(isa, dtype):
    rng = np.random.default_rng(0)
    b, x = lstm_forward(8, 32, dtype), draw(rng, dtype, 1, 9, 8)
    weights = [draw(rng, dtype, 8, 128), draw(rng, dtype, 32, 128), draw(rng, dtype, 128)]
    loop, outputs = b.build(), []
    for prepared in (None, loop.prepare(isa, weights)):
        outputs.append(np.empty((1, 9, 32), dtype))
        b.run(1, 9, [x, outputs[-1]], weights=weights, prepared=prepared, isa=isa)
    np.testing.assert_array_equal(*outputs)


@pytest.fixture
def threads():
    """Sets the number of threads, which even the smallest loops then use."""
    before = kernels.get_num_threads()
    kernels._native.set_worth_a_thread(1.0)
    yield kernels.set_num_threads
    kernels.set_num_threads(before)
    kernels._native.set_worth_a_thread(2e6)


def lstm_run(isa, arrays, lengths, rows, time):
    """All outputs of forward and backward for some of the rows, with x and cotangents cut or padded to `time` steps."""
    x, W, U, bias, c0, h0, d_out = arrays
    D, H, dtype = x.shape[-1], len(U), x.dtype
    B = len(rows)
    lengths = lengths[rows]
    x, d_out = (np.concatenate([a[rows], np.full_like(a[rows], np.nan)], 1)[:, :time] for a in (x, d_out))
    total = int(lengths.sum())
    out, gates, c = np.empty((B, time, H), dtype), np.empty((total, 4 * H), dtype), np.empty((total, H), dtype)
    final = [np.empty((B, H), dtype), np.empty((B, H), dtype)]
    d_states, dx = [np.empty((B, H), dtype), np.empty((B, H), dtype)], np.empty_like(x)
    more = {"lengths": lengths, "isa": isa}
    lstm_forward(D, H, dtype, saves=True).run(
        B, time, [x, out, gates, c], initial=[c0[rows], h0[rows]], final=final, weights=[W, U, bias], **more
    )
    targets = [np.empty_like(a) for a in (W, U, bias)]
    lstm_backward(D, H, dtype).run(
        B, time, [x, out, gates, c, c, d_out, dx], backward=True, final=d_states, weights=[W, U], targets=targets,
        initials=[h0[rows], c0[rows]], **more,
    )  # fmt: skip
    return (out, dx, *final, *d_states), targets


@isas
@dtypes
@pytest.mark.parametrize(("B", "D", "H"), [(7, 5, 19), (70, 8, 32), (300, 3, 24)])
def test_the_same_bits_with_any_threads_alone_and_padded(isa, dtype, B, D, H, threads):
    rng = np.random.default_rng(0)
    T = 9
    arrays = [draw(rng, dtype, *s) for s in ((B, T, D), (D, 4 * H), (H, 4 * H), (4 * H,), (B, H), (B, H), (B, T, H))]
    lengths = rng.integers(0, T + 1, B)
    everything = np.arange(B)
    threads(1)
    want, targets = lstm_run(isa, arrays, lengths, everything, T)
    for n in (2, 3):
        threads(n)
        results, sums = lstm_run(isa, arrays, lengths, everything, T)
        for a, b in zip((*results, *sums), (*want, *targets), strict=True):
            np.testing.assert_array_equal(a, b)
        padded, _ = lstm_run(isa, arrays, lengths, everything, T + 4)
        for a, b in zip(padded, want, strict=True):
            np.testing.assert_array_equal(a[:, :T] if a.ndim == 3 else a, b)
    for row in (0, B // 2, B - 1):
        alone, _ = lstm_run(isa, arrays, lengths, np.array([row]), T)
        for a, b in zip(alone, want, strict=True):
            np.testing.assert_array_equal(a[0], b[row])


@isas
def test_every_kind_of_slot_the_same_with_any_threads(isa, threads):
    rng = np.random.default_rng(0)
    B, T, n, dtype = 37, 11, 6, np.float32
    lengths = rng.integers(0, T + 1, B)
    total = int(lengths.sum())
    x, history, packed = draw(rng, dtype, B, T, n), draw(rng, dtype, B, T, n), draw(rng, dtype, total, n)
    constants, initials, initial = (
        [draw(rng, dtype, B, n)],
        [draw(rng, dtype, B, n), None],
        [draw(rng, dtype, B, n)] * 3,
    )
    for backward in (False, True):
        runs = []
        for count in (1, 2, 3):
            threads(count)
            y, kept = np.empty((B, T, 2 * n), dtype), np.empty((total, n), dtype)
            written = {
                "final": [np.empty((B, n), dtype) for _ in range(3)],
                "targets": [np.empty(shape, dtype) for shape in ((n, n), (2,), (1, 2), (n, n))],
                "accumulated": [np.empty((B, k), dtype) for k in (2, n, n * (n + 1))],
            }
            everything(dtype, n).run(
                B, T, [x, y, kept, history, packed, None], constants=constants, initials=initials, initial=initial,
                lengths=lengths, backward=backward, isa=isa, **written,
            )  # fmt: skip
            runs.append([y, kept, *(a for arrays in written.values() for a in arrays)])
        for a, b, c in zip(*runs, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)
