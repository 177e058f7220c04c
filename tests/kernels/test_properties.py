"""Random shapes, lengths, states and memory layouts.

The implementations agree, rows are independent, threads change no bit.
"""

import os

import numpy as np
import pytest
from common import CELLS, Problem, threads
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinygrad_rnn import kernels

NATIVE = kernels.implementations()[:-1]
EXAMPLES = int(os.environ.get("TINYGRAD_RNN_EXAMPLES", "60"))
many = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
pytestmark = pytest.mark.skipif(not NATIVE, reason=f"no native kernels: {kernels.info()['missing']}")


@pytest.fixture(autouse=True)
def threads_for_small_shapes():
    with threads():
        yield


@st.composite
def problems(draw, dtypes=(np.float32, np.float64), most=40, contracting=False):
    """A random problem; contracting: ||U|| <= 1, so that differences in rounding do not grow along the sequence."""
    size = st.one_of(st.integers(0, 5), st.integers(0, most))
    B, T, D, H = (
        draw(size),
        draw(st.integers(0, 20)),
        draw(size),
        draw(st.one_of(size, st.sampled_from([15, 16, 17, 31, 33, 64, 65]))),
    )
    lengths = draw(st.one_of(st.none(), st.lists(st.integers(0, T), min_size=B, max_size=B)))
    p = Problem(
        draw(st.sampled_from(CELLS)),
        B,
        T,
        D,
        H,
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 10**6)),
        lengths=lengths,
        reverse=draw(st.booleans()),
        time_major=draw(st.booleans()),
    )
    if contracting and H:
        p.args[2] /= max(1.0, float(np.linalg.norm(p.args[2].astype(np.float64), 2)))
    return p


def results(p, save=True, **options):
    outputs, state, saved = p.forward(save=save, **options)
    return [outputs, *state, *p.backward(saved)]


def close(got, want, tolerance):
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        if b is None:
            assert a is None
            continue
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        size = max(1.0, np.abs(b).max()) if b.size else 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * size, err_msg=f"result {k}")


def same_bits(got, want):
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert (a is None and b is None) or a.tobytes() == b.tobytes(), f"result {k}"


@many
@given(
    p=problems(contracting=True), isa=st.sampled_from(NATIVE or ("none",)), save=st.sampled_from([True, "recompute"])
)
def test_native_agrees_with_the_reference(p, isa, save):
    with kernels.using("reference"):
        want = results(p)
    with kernels.using(isa):
        close(results(p, save), want, 1e-12 if p.args[0].dtype == np.float64 else 1e-5)


@many
@given(p=problems(), isa=st.sampled_from(NATIVE or ("none",)))
def test_one_and_more_threads_and_recomputed_gates_give_the_same_bits(p, isa):
    with kernels.using(isa):
        kernels.set_num_threads(1)
        want = results(p)
        same_bits(results(p, "recompute"), want)
        outputs, state, _ = p.forward(save=False)
        same_bits([outputs, *state], want[: 1 + len(state)])
        for threads in (2, 3, 5):
            kernels.set_num_threads(threads)
            same_bits(results(p), want)


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_few_rows_of_weights_too_large_to_be_packed_by_each_thread(cell, reverse, isa):
    """Each thread packs its own copy if all copies take 8 MB at most. Two of the LSTM's take more here, four of the RNN's."""
    p = Problem(cell, 5, 6, 300, 560, lengths=[6, 1, 4, 0, 3], reverse=reverse)
    with kernels.using(isa):
        kernels.set_num_threads(1)
        want = results(p)
        for threads in (2, 3, 4):
            kernels.set_num_threads(threads)
            same_bits(results(p), want)
            same_bits(results(p, "recompute"), want)
            outputs, state, _ = p.forward(save=False)
            same_bits([outputs, *state], want[: 1 + len(state)])


@many
@given(p=problems(), isa=st.sampled_from(NATIVE or ("none",)), data=st.data())
def test_a_row_alone_gives_the_same_bits(p, isa, data):
    if p.B == 0:
        return
    row = data.draw(st.integers(0, p.B - 1))
    states = {"c0", "h0"}

    def only(array, axis):
        return np.ascontiguousarray(np.take(array, [row], axis=axis))

    axis = 1 if p.options["time_major"] else 0
    with kernels.using(isa):
        outputs, state, saved = p.forward()
        every = dict(zip(p.names, p.backward(saved), strict=True))
        args = [
            only(a, axis) if n == "x" else only(a, 0) if n in states else a
            for n, a in zip(p.names, p.args, strict=True)
        ]
        lengths = None if p.lengths is None else [p.lengths[row]]
        alone, state_alone, saved_alone = p.forward(args, lengths=lengths)
        inferred, state_inferred, _ = p.forward(args, lengths=lengths, save=False)
        same_bits([inferred, *state_inferred], [alone, *state_alone])
        p.cotangents = [only(p.cotangents[0], axis), *(only(c, 0) for c in p.cotangents[1:])]
        gradients = dict(zip(p.names, p.backward(saved_alone), strict=True))
    same_bits([alone, *state_alone], [only(outputs, axis), *(only(s, 0) for s in state)])
    same_bits([gradients["x"]], [only(every["x"], axis)])
    same_bits(
        [gradients[n] for n in sorted(states & set(p.names))],
        [only(every[n], 0) for n in sorted(states & set(p.names))],
    )


def in_layout(array, layout):
    """The same values in memory laid out otherwise."""
    if layout == "misaligned":
        raw = (
            np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
            if array.size
            else array.copy()
        )
        raw[...] = array
        return raw
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "stepped":
        wide = np.zeros(tuple(2 * n for n in array.shape), array.dtype)[
            tuple(slice(None, None, 2) for _ in array.shape)
        ]
        wide[...] = array
        return wide
    if layout == "backwards":
        flipped = tuple(slice(None, None, -1) for _ in array.shape)
        return array[flipped].copy()[flipped]
    if layout == "padded":
        wide = np.full(tuple(n + 3 for n in array.shape), np.nan, array.dtype)[
            tuple(slice(1, n + 1) for n in array.shape)
        ]
        wide[...] = array
        return wide
    array = array.copy()
    array.flags.writeable = False
    return array


@many
@given(p=problems(), isa=st.sampled_from(NATIVE or ("none",)), data=st.data())
def test_memory_layout_does_not_matter(p, isa, data):
    layout = st.sampled_from(["misaligned", "fortran", "stepped", "backwards", "padded", "readonly"])
    with kernels.using(isa):
        want = results(p)
        p.args = [None if a is None else in_layout(a, data.draw(layout)) for a in p.args]
        p.cotangents = [in_layout(a, data.draw(layout)) for a in p.cotangents]
        before = [None if a is None else a.copy() for a in p.args]
        same_bits(results(p), want)
    for a, b in zip(p.args, before, strict=True):
        assert a is None or np.array_equal(a, b, equal_nan=True)


def padding(p):
    """Where x and the outputs lie past the lengths."""
    mask = np.arange(p.T)[None, :] >= np.asarray(p.lengths)[:, None]
    return mask.T if p.options["time_major"] else mask


@many
@given(p=problems(), isa=st.sampled_from([*NATIVE, "reference"]), save=st.sampled_from([True, "recompute"]))
def test_padding_changes_neither_results_nor_gradients(p, isa, save):
    if p.lengths is None:
        return
    with kernels.using(isa):
        want = results(p, save)
        p.args[0][padding(p)] = np.nan
        p.cotangents[0][padding(p)] = np.nan
        got = results(p, save)
    same_bits(got, want)
    dx = got[len(got) - len(p.names)]
    assert not got[0][padding(p)].any()
    assert not dx[padding(p)].any()


@many
@given(
    p=problems(most=12),
    isa=st.sampled_from([*NATIVE, "reference"]),
    poison=st.sampled_from([np.nan, np.inf, -np.inf]),
    data=st.data(),
)
def test_nan_and_inf_stay_in_their_rows(p, isa, poison, data):
    if min(p.B, p.T, p.D, p.H) == 0 or p.B < 2:
        return
    row = data.draw(st.integers(0, p.B - 1))
    where = data.draw(st.sampled_from(["x", "h0"]))
    others = [b for b in range(p.B) if b != row]
    axis = 1 if p.options["time_major"] else 0
    with kernels.using(isa):
        clean = p.forward()
        clean_dx, clean_dh = [dict(zip(p.names, p.backward(clean[2]), strict=True))[n] for n in ("x", "h0")]
        target = p.args[p.names.index(where)]
        (np.moveaxis(target, axis, 0) if where == "x" else target)[row, ..., 0] = poison
        with np.errstate(all="raise"):
            outputs, state, saved = p.forward()
            gradients = dict(zip(p.names, p.backward(saved), strict=True))
    same = np.testing.assert_allclose if isa == "reference" else np.testing.assert_array_equal
    more = {"rtol": 1e-4, "atol": 1e-4} if isa == "reference" else {}
    same(np.take(outputs, others, axis), np.take(clean[0], others, axis), **more)
    same(np.take(gradients["x"], others, axis), np.take(clean_dx, others, axis), **more)
    same(gradients["h0"][others], clean_dh[others], **more)
    for a, b in zip(state, clean[1], strict=True):
        same(a[others], b[others], **more)


@many
@given(
    p=problems(dtypes=(np.float64,)),
    isa=st.sampled_from(NATIVE or ("none",)),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_one_step_is_within_its_rounding(p, isa, dtype):
    """|dz| <= 4 K eps (|x| |W| + |h| |U| + |b|), seen through a relu net, whose output is z where it is positive."""
    q = Problem("rnn-relu", p.B, min(p.T, 1), p.D, p.H, dtype=np.float64, seed=1)
    q.args = [a.astype(dtype) for a in q.args]
    with kernels.using(isa):
        got = q.forward()[0]
    x, W, U, b, h = (a.astype(np.longdouble) for a in q.args)
    if q.T == 0:
        return
    z = x[:, 0] @ W + b + h @ U
    size = np.abs(x[:, 0]) @ np.abs(W) + np.abs(b) + np.abs(h) @ np.abs(U)
    assert (np.abs(got[:, 0] - np.maximum(z, 0)) <= 4 * (p.D + p.H + 1) * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("isa", NATIVE)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_streaming_steps_are_the_sequence_bit_for_bit(cell, dtype, isa):
    p = Problem(cell, 3, 9, 5, 18, dtype=dtype, seed=9)
    with kernels.using(isa):
        outputs, state, _ = p.forward()
        more = {"recurrent_bias": p.args[4], **p.fixed} if p.cell_type == "gru" else p.fixed
        stepper = kernels.Stepper(p.cell_type, *p.args[1:4], batch=3, **more)
    stepper.h[...] = p.args[-1]
    if p.cell_type == "lstm":
        stepper.c[...] = p.args[4]
    for t in range(p.T):
        assert stepper.step(p.args[0][:, t]).tobytes() == np.ascontiguousarray(outputs[:, t]).tobytes()
    assert stepper.h.tobytes() == state[-1].tobytes()
    stepper.reset()
    assert not stepper.h.any()


def test_streaming_on_the_reference_and_reloading():
    p = Problem("lstm", 2, 4, 5, 6, seed=9)
    for name in kernels.implementations():
        with kernels.using(name):
            stepper = kernels.Stepper("lstm", *p.args[1:4], batch=2)
            want = kernels.lstm_forward(*p.args[:4])[0]
        for t in range(4):
            np.testing.assert_allclose(stepper.step(p.args[0][:, t]), want[:, t], rtol=1e-12, atol=1e-14)
        p.args[3] += 1
        stepper.reset(), stepper.reload()
        with kernels.using(name):
            np.testing.assert_allclose(
                stepper.step(p.args[0][:, 0]), kernels.lstm_forward(*p.args[:4])[0][:, 0], rtol=1e-12
            )


@pytest.mark.parametrize("cell", CELLS)
def test_work_follows_the_lengths_in_memory(cell):
    """The time of a long row among short ones is proportional to its length, not to B times its length."""
    ragged = Problem(cell, 50, 100, 4, 8, dtype=np.float32, lengths=[100, *[1] * 49]).forward()[2]
    full = Problem(cell, 50, 100, 4, 8, dtype=np.float32).forward()[2]
    assert ragged.nbytes <= full.nbytes * 0.04
