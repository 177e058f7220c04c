"""LSTMCell's peepholes, clips and projection: both paths, wrappers, streaming errors, and the plain cell."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from .cases import Run, assert_same, leaves_of, random_state

ALL = {"use_peepholes": True, "cell_clip": 0.9, "num_proj": 2, "proj_clip": 0.4}
OPTIONS: list[dict[str, Any]] = [
    {"use_peepholes": True},
    {"cell_clip": 0.9},
    {"num_proj": 2},
    {"num_proj": 2, "proj_clip": 0.4},
    ALL,
]


def make(options: dict[str, Any], dtype: Any = np.float64) -> Any:
    rng = np.random.default_rng(3)
    cell = rnn.LSTMCell(3, **options).build(4, dtype)
    for p in cell.parameters():
        p.data = (0.7 * rng.normal(size=p.shape)).astype(dtype)
    return cell


def inputs(batch: int = 4, steps: int = 5, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, steps, 4)).astype(dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("lengths", [None, [3, 0, 5, 1]])
def test_fused_is_unrolled(options: dict[str, Any], lengths: Any) -> None:
    cell = make(options)
    state = random_state(cell, 4)
    runs = [Run(cell, inputs(), lengths, state, impl=impl) for impl in ("fused", "unrolled")]
    assert_same(*runs)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
@pytest.mark.parametrize("impl", ["fused", "unrolled"])
def test_gradients(options: dict[str, Any], impl: str) -> None:
    cell = make(options)

    def loss(x: Any, c: Any, h: Any) -> Any:
        outputs, final = rnn.dynamic_rnn(cell, x, [2, 3], rnn.LSTMState(c, h), impl=impl)
        return outputs, final.c, final.h

    state = random_state(cell, 2)
    x = tg.tensor(inputs(2, 3), requires_grad=True)
    assert tg.gradcheck(loss, [x, *leaves_of(state)])


def test_it_runs_as_one_native_node() -> None:
    cell = make(ALL, np.float32)
    assert cell.fused() is None
    (path,) = rnn.explain(cell, inputs(dtype=np.float32)).paths
    assert path[1:] == ("fused", "the whole sequence is one node")


def test_a_plain_cell_keeps_its_kernel_and_its_numbers() -> None:
    plain, wide = rnn.LSTMCell(3, seed=0).build(4), rnn.LSTMCell(3, use_peepholes=True, seed=0).build(4)
    assert plain.fused() == "lstm"
    assert list(plain.state_dict()) == ["kernel", "recurrent_kernel", "bias"]
    assert all(np.array_equal(plain.state_dict()[k], wide.state_dict()[k]) for k in plain.state_dict())
    assert sorted(set(wide.state_dict()) - set(plain.state_dict())) == ["peephole_f", "peephole_i", "peephole_o"]


def test_peepholes_of_zero_and_wide_clips_change_nothing() -> None:
    cell = make({"use_peepholes": True, "cell_clip": 1e3})
    for letter in "ifo":
        getattr(cell, f"peephole_{letter}").data = np.zeros(3)
    plain = rnn.LSTMCell(3)
    plain.load_state_dict({k: v for k, v in cell.state_dict().items() if "peephole" not in k})
    a, b = (rnn.dynamic_rnn(one, inputs())[0].data for one in (cell, plain))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)


def test_clips_hold() -> None:
    outputs, state, trace = rnn.dynamic_rnn(
        make({"cell_clip": 0.1, "num_proj": 2, "proj_clip": 0.05}), inputs(), return_trace=True
    )
    assert np.abs(outputs.data).max() == 0.05
    assert np.abs(trace["c"].data).max() == np.abs(state.c.data).max() == 0.1


@pytest.mark.parametrize("options", [{"use_peepholes": True}, ALL])
def test_inside_wrappers_and_stacks(options: dict[str, Any]) -> None:
    def stack() -> Any:
        cells = [rnn.ZoneoutWrapper(make(options)), rnn.DropoutWrapper(rnn.LSTMCell(3, num_proj=1), 0.5, 0.5, 0.5)]
        return rnn.MultiRNNCell(cells).eval()

    cell = stack()
    outputs, state = rnn.dynamic_rnn(cell, inputs())
    assert outputs.shape == (4, 5, 1)
    assert [part.shape for part in leaves_of(state)] == [(4, 3), (4, cell.cells[0].output_size), (4, 3), (4, 1)]


def test_peepholes_begin_at_the_scale_of_tensorflow() -> None:
    """Glorot's rule on a vector of H: uniform on ±√(3/H)."""
    cell = rnn.LSTMCell(1000, use_peepholes=True, seed=0).build(1)
    bound = np.sqrt(3 / 1000)
    for letter in "ifo":
        p = getattr(cell, f"peephole_{letter}").data
        assert 0.98 * bound < np.abs(p).max() <= bound
        assert abs(np.std(p) / (bound / np.sqrt(3)) - 1) < 0.1


def test_state_dicts_and_the_repr() -> None:
    cell = make(ALL)
    other = rnn.LSTMCell(3, **ALL)
    other.load_state_dict(cell.state_dict())
    a, b = (rnn.dynamic_rnn(one, inputs())[0].data for one in (cell, other))
    assert np.array_equal(a, b)
    assert repr(other) == "LSTMCell(3, input_size=4, use_peepholes=True, cell_clip=0.9, num_proj=2, proj_clip=0.4)"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        *(
            ({name: v}, rf"LSTMCell: {name} is {v!r}, expected a positive number")
            for name, v in product(("cell_clip", "proj_clip"), (0, -1.0, True, "1"))
        ),
        *(({"num_proj": v}, rf"LSTMCell: num_proj is {v!r}, expected a positive integer") for v in (0, -1, 1.5, True)),
        ({"proj_clip": 1.0}, r"proj_clip is 1.0 without num_proj.*set num_proj"),
    ],
)  # fmt: skip
def test_bad_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        rnn.LSTMCell(3, **options)


def test_a_state_of_the_wrong_size_is_named() -> None:
    cell = make({"num_proj": 2})
    wrong = rnn.LSTMState(np.zeros((4, 3)), np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"initial_state.h has shape \(4, 3\), expected \(4, 2\)"):
        rnn.dynamic_rnn(cell, inputs(), initial_state=wrong)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o))
def test_streaming(options: dict[str, Any]) -> None:
    cell = make(options)
    x = inputs(2)
    stepper = cell.stepper(2)
    streamed = np.stack([np.array(stepper.step(x[:, t])) for t in range(x.shape[1])], axis=1)
    np.testing.assert_allclose(streamed, rnn.dynamic_rnn(cell, x)[0].data, rtol=0, atol=1e-12)


def test_onnx_has_no_operator_for_it(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(TypeError, match=r"peepholes, cell_clip and num_proj are not written"):
        tg.interop.onnx.export(make(ALL), tmp_path / "cell.onnx")
    with pytest.raises(TypeError, match=r"no projection of h \(proj_size\)"):
        tg.interop.onnx.export(tg.nn.LSTM(3, 4, proj_size=2), tmp_path / "layer.onnx")
