"""Steps that read values of tensors, or depend on the size of the batch. See cases.py."""

from __future__ import annotations

import numpy as np
import pytest
from cases import Cases
from scan_cases import D, H, ScanCase, draws, leaf, run

import tinygrad_rnn as tg

pytestmark = pytest.mark.usefixtures("backend")
HERE = __file__.rpartition("/")[2]
cases = Cases(HERE)
test_fused_as_unrolled = cases.test_of_fused()
test_refused_with_the_line = cases.test_of_refused()
test_refused_until_it_changes_nothing = cases.test_of_refused_first()


# -- values read -------------------------------------------------------------------------------


def reading(read):
    """A step that reads something of its state, and adds it."""

    def make():
        w = leaf(draws()(D, H))

        def step(x, h):
            h = tg.tanh(x @ w + h) + read(h)
            return h, h

        return ScanCase(step, weights=lambda: [w])

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
    cases.refused_steps[f"reads_{name}"] = reading(read)


@cases.refused
def prints():
    def step(x, h):
        h = tg.tanh(x.sum(axis=1)[:, None] + h)
        print(h, end="")
        return h, h

    return ScanCase(step)


@cases.refused_first
def read_once():
    """The value is read at the first step only; all later ones reuse it."""
    first = []

    def step(x, h):
        if not first:
            first.append(float(x.detach().data[0, 0]))
        h = tg.tanh(h + first[0])
        return h, h

    return ScanCase(step)


# -- the batch ---------------------------------------------------------------------------------


def sized(f):
    def make():
        def step(x, h):
            h = tg.tanh(f(x, h) + h)
            return h, h

        return ScanCase(step)

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
    cases.refused_steps[f"size_{name}"] = sized(f)

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
    cases.fused_steps[f"rows_{name}"] = sized(f)


def test_the_reason_names_the_function_that_reads():
    def reason(f):
        def step(x, h):
            h = f(h)
            return h, h

        return run(ScanCase(step), "auto")[2]

    assert "the step's sort reads a tensor's value" in reason(lambda h: tg.sort(h, axis=-1))
    assert "the step reads a tensor's value" in reason(lambda h: h * h.data)
    assert reason(lambda h: tg.nn.functional.leaky_relu(h)) == "the whole sequence is one node"
