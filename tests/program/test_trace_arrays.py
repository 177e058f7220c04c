"""Arrays that a step reads; dtypes and modes; gradients that stop. See cases.py."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Cases
from scan_cases import B, D, H, ScanCase, T, compare_with_unrolled, draws, leaf, run

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_fused_as_unrolled = cases.test_of_fused()
test_refused_with_the_line = cases.test_of_refused()


# -- arrays ------------------------------------------------------------------------------------


@cases.fused
def array_changed_in_place():
    a = draws(3)(H)
    weights = {"deep": [a]}

    def change(k):
        a[:] += k

    def step(x, h):
        h = tg.tanh(h * a + weights["deep"][0])
        return h, h

    return ScanCase(step, change=change)


@cases.fused
def array_rebound():
    a = draws(3)(H)

    def change(k):
        nonlocal a
        a = a + k

    def step(x, h):
        h = tg.tanh(h * a)
        return h, h

    return ScanCase(step, change=change)


@cases.fused
def array_of_another_shape():
    a = draws(3)(H)

    def change(k):
        nonlocal a
        a = [draws(3)(1), draws(3)(2, H)][k - 1]

    def step(x, h):
        for row in a.reshape(-1, a.shape[-1]):
            h = tg.tanh(h * row)
        return h, h

    return ScanCase(step, change=change)


@cases.fused
def weight_of_another_shape_in_the_same_tensor():
    w = tg.tensor(draws(3)(D, H))

    def change(k):
        w.data = draws(k)(D, [1, H][k - 1])

    def step(x, h):
        h = tg.tanh(x @ w + h)
        return h, h

    return ScanCase(step, change=change)


@cases.fused
def weight_data_rebound():
    cell = tg.Module()
    cell.w = tg.Parameter(draws(3)(D, H), dtype=np.float64)

    def change(k):
        cell.w.data = cell.w.data - 0.1 * cell.w.grad

    def step(x, h):
        h = tg.tanh(x @ cell.w + h)
        return h, h

    return ScanCase(step, change=change, weights=lambda: [cell.w])


@cases.fused
def weight_replaced():
    cell = tg.Module()
    cell.w = tg.Parameter(draws(3)(D, H), dtype=np.float64)

    def change(k):
        cell.w = tg.Parameter(draws(10 + k)(D, H), dtype=np.float64)

    def step(x, h):
        h = tg.tanh(x @ cell.w + h)
        return h, h

    return ScanCase(step, change=change, weights=lambda: [cell.w])


@cases.fused
def weight_frozen_and_thawed():
    w, v = leaf(draws(3)(D, H)), leaf(draws(4)(H))

    def change(k):
        w.requires_grad = k == 2
        if k == 2:
            v.requires_grad = False

    def step(x, h):
        h = tg.tanh(x @ w + h * v)
        return h, h

    return ScanCase(step, change=change, weights=lambda: [t for t in (w, v) if t.requires_grad])


@cases.fused
def weight_converted():
    cell = tg.Module()
    cell.w = tg.Parameter(draws(3)(D, H), dtype=np.float32)
    x = tg.tensor(draws(1)(B, 4, D).astype(np.float32))
    scan_case = ScanCase(None, x=x, state=tg.tensor(np.zeros((B, H), np.float32)), weights=lambda: [cell.w])

    def change(k):
        cell.astype([np.float64, np.float32][k - 1])
        scan_case.x = scan_case.x.astype(cell.w.dtype)
        scan_case.state = scan_case.state.astype(cell.w.dtype)

    def step(x, h):
        h = tg.tanh(x @ cell.w + h)
        return h, h

    scan_case.step, scan_case.change = step, change
    return scan_case


@cases.fused
def shared_weight_then_two():
    ws = [leaf(draws(3)(H))] * 2

    def change(k):
        ws[1] = leaf(draws(4)(H))

    def step(x, h):
        h = tg.tanh(h * ws[0] + ws[1])
        return h, h

    return ScanCase(step, change=change, weights=lambda: list(dict.fromkeys(ws)))


@cases.refused
def rows_captured():
    memory = tg.tensor(draws(3)(B, H))

    def step(x, h):
        h = tg.tanh(h + memory)
        return h, h

    return ScanCase(step)


@pytest.mark.parametrize("batch", [1, 2, 5, 7])
def test_captured_rows_of_the_sizes_of_the_traces(batch):
    """An array with a row for each of the batch, whatever the batch: never the rows of another batch."""

    def make():
        memory = leaf(draws(3)(batch, H))

        def step(x, h):
            h = tg.tanh(h + memory)
            return h, h

        return ScanCase(step, leaf(draws(1)(batch, 4, D)), leaf(draws(2)(batch, H)), weights=lambda: [memory])

    ((path, reason), *_) = compare_with_unrolled(make)
    if batch > 1:
        assert path == "unrolled"
        assert "inputs or constants" in reason
        assert HERE in reason


@pytest.mark.parametrize("size", [1, 5, 7, 35])
@pytest.mark.parametrize("batch", [0, 1, 2, 5, 7])
def test_sizes_that_equal_those_of_the_traces(size, batch):
    def make():
        w, u = leaf(draws(3)(size, size)), leaf(draws(4)(size))

        def step(x, h):
            h = tg.tanh(x @ w + (h * u) @ tg.tanh(w) + u) + h.mean(axis=1, keepdims=True)
            return h.reshape(h.shape[0], size, 1), h

        x, h = leaf(draws(1)(batch, 4, size)), leaf(draws(2)(batch, size))
        return ScanCase(step, x, h, weights=lambda: [w, u])

    for path, reason in compare_with_unrolled(make, 2):
        assert path == "fused", reason


# -- dtypes and modes ---------------------------------------------------------------------------


@cases.fused
def training_and_inference():
    class Cell(tg.Module):
        def step(self, x, h):
            h = tg.tanh(h * (0.5 if self.training else 0.25))
            return h, h

    cell = Cell()
    return ScanCase(cell.step, change=lambda k: cell.train(k == 2))


def test_the_training_flag_is_part_of_the_key_of_a_program():
    class Cell(tg.Module):
        def step(self, x, h):
            h = h * (0.5 if self.training else 0.25)
            return h, h

    cell = Cell()
    scan_case = ScanCase(cell.step)
    for _ in range(2):
        for mode, want in ((True, 0.5**4), (False, 0.25**4)):
            with tg.training(mode):
                values, path, *_ = run(scan_case, "auto")
            assert path == "fused"
            np.testing.assert_allclose(values[1], scan_case.state.data * want)


@cases.fused
def float32_beside_integers():
    x = np.arange(B * 4 * D).reshape(B, 4, D) % 3
    table, counts, listed = tg.tensor(np.arange(H)), np.arange(H), [1.0, 0.5, 0.25]
    w = tg.tensor(draws(3)(D, H), dtype=np.float32, requires_grad=True)

    def step(x, h):
        h = tg.tanh(h * table + counts * h + (x @ w) * listed + x[:, :1] + (h > 0) * 2 + np.int64(3) * (x[:, :1] > 1))
        return (h, x), h

    return ScanCase(step, tg.tensor(x), tg.tensor(draws(1)(B, H), dtype=np.float32), weights=lambda: [w])


@cases.fused
def integers_and_floats_captured_as_arrays():
    ints, floats = np.arange(H), draws(2)(H).astype(np.float32)

    def step(x, h):
        h = tg.tanh((h * (ints * floats)).astype(np.float32))
        return h, h

    return ScanCase(step, state=tg.tensor(draws(1)(B, H), dtype=np.float32))


@cases.fused
def numpy_numbers_beside_captured_arrays():
    """Computed by NumPy's rules, not by those of tensors: the first is 57 or 56, the second is in float64."""
    flags, thirds, counts = np.array([True, False, True]), np.full(H, 1 / 3, np.float32), np.arange(H)
    number, third = np.uint8(200), np.float64(1 / 3)

    def step(x, h):
        h = tg.tanh(h * ((flags - number) * 0.01 + thirds * third + thirds / (counts + 3)))
        return h, h

    return ScanCase(step)


@cases.refused
def number_computed_from_arrays_of_another_dtype():
    a, b = np.array(3.0), np.array(0.5)

    def step(x, h):
        h = tg.tanh(h * 0.3)
        return h * (a * b), h  # a NumPy scalar here, which does not promote h as the array a would

    return ScanCase(step, x=leaf(draws(1)(B, T, D).astype(np.float32)), state=leaf(draws(2)(B, H).astype(np.float32)))


@cases.fused
def joined_with_integers():
    w = tg.tensor(draws(3)(D + H, H), dtype=np.float32, requires_grad=True)

    def step(x, h):
        h = tg.tanh(tg.concatenate([x, h], axis=1) @ w)
        return h, h

    x = tg.tensor(np.arange(B * 4 * D).reshape(B, 4, D) % 3)
    return ScanCase(step, x, tg.tensor(draws(1)(B, H), dtype=np.float32), weights=lambda: [w])


@cases.fused
def float32_and_float64():
    x = tg.tensor(draws(1)(B, 4, D), requires_grad=True)
    w = tg.tensor(draws(3)(D, H), dtype=np.float32, requires_grad=True)
    u = tg.tensor(draws(4)(H), dtype=np.float32, requires_grad=True)

    def step(x, h):
        z = x @ w + h + u
        h = tg.tanh(z).astype(np.float32)
        return (h, z), h

    h = tg.tensor(draws(1)(B, H), dtype=np.float32, requires_grad=True)
    return ScanCase(step, x, h, weights=lambda: [w, u])


@cases.fused
def inputs_of_another_type_between_calls():
    def step(x, h):
        h = tg.tanh(h + x.sum(axis=1, keepdims=True))
        return h, h

    scan_case = ScanCase(step)

    def change(k):
        dtype = [np.float32, np.float64][k - 1]
        scan_case.x = tg.tensor(draws(k)(B, 4, D), dtype=dtype)
        scan_case.state = tg.tensor(draws(k)(B, H), dtype=dtype)

    scan_case.change = change
    return scan_case


@cases.fused
def integer_inputs_as_masks():
    ids = np.arange(B * 4).reshape(B, 4) % 3

    def step(ids, h):
        h = tg.tanh(h * (ids == 1)[:, None] + h * 0.1)
        return (h, ids), h

    return ScanCase(step, ids)


@cases.refused
def integer_inputs_as_indices():
    table = leaf(draws(3)(3, H))

    def step(ids, h):
        h = tg.tanh(h + tg.take(table, ids, axis=0))
        return h, h

    return ScanCase(step, tg.tensor(np.arange(B * 4).reshape(B, 4) % 3), weights=lambda: [table])


@cases.refused
def index_by_a_traced_array():
    table = leaf(draws(3)(3, H))

    def step(ids, h):
        h = tg.tanh(h + table[ids] + h[:, ids[0]][:, None])
        return h, h

    return ScanCase(step, tg.tensor(np.arange(B * 4).reshape(B, 4) % 3), weights=lambda: [table])


# -- gradients that stop -----------------------------------------------------------------------


@cases.fused
def no_grad_inside():
    w, u = leaf(draws(3)(D, H)), leaf(draws(4)(H))

    def step(x, h):
        with tg.no_grad():
            scale = tg.sigmoid(h @ tg.tanh(w).T).sum(axis=1, keepdims=True)
            norm = (w * w).sum()
        h = tg.tanh(x @ w + h * u * scale / norm)
        return h, h

    return ScanCase(step, weights=lambda: [w, u])


@cases.fused
def detached_inside():
    w, u = leaf(draws(3)(D, H)), leaf(draws(4)(H))

    def step(x, h):
        h = tg.tanh(x @ w.detach() + h.detach() * u + w[0] * tg.detach(u))
        return h, h

    return ScanCase(step, weights=lambda: [w, u])


@cases.fused
def all_detached():
    w = leaf(draws(3)(D, H))

    def step(x, h):
        h = tg.tanh(x @ w + h).detach()
        return h, h

    return ScanCase(step, weights=lambda: [w])


@cases.fused
def rounding():
    u = leaf(draws(4)(H))

    def step(x, h):
        h = tg.tanh(h * u) + tg.floor(h * 3) * u + tg.sign(h) * 0.1
        return h, h

    return ScanCase(step, weights=lambda: [u])
