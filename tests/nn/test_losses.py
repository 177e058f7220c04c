"""Losses and activations of nn: PyTorch's numbers, its ignore_index, its axis of classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import load

import tinygrad_rnn as tg
from tinygrad_rnn import nn

F8 = np.float64


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scale", ["ordinary", "huge"])
@pytest.mark.parametrize("ignored", [-100, 3, 99])
def test_cross_entropy_and_nll(scale: str, reduction: str, ignored: int) -> None:
    golden = load(f"torch_op_cross_entropy_{scale}_{reduction}")
    if ignored == 3:  # one of the classes: it is then left out everywhere
        kept = golden["mask"] & (golden["targets"] != 3)
        targets = np.where(kept, golden["targets"], 3)
        wanted = tg.softmax_cross_entropy(golden["logits"], golden["targets"], mask=kept, reduction=reduction)
    else:
        targets, wanted = np.where(golden["mask"], golden["targets"], ignored), golden["output"]
    logits = tg.tensor(golden["logits"], requires_grad=True)
    scores = tg.moveaxis(logits, -1, 1)
    loss = nn.CrossEntropyLoss(ignore_index=ignored, reduction=reduction)(scores, targets)
    assert np.allclose(loss.data, wanted, rtol=1e-12, atol=1e-12)
    nll = nn.NLLLoss(ignore_index=ignored, reduction=reduction)(tg.log_softmax(scores, axis=1), targets)
    assert np.allclose(nll.data, wanted, rtol=1e-12, atol=1e-12)
    if ignored == 3:
        return
    for one in (loss, nll):
        logits.grad = None
        one.backward(golden["R/output"], retain_graph=True)
        assert np.allclose(logits.grad, golden["grad/logits"], atol=1e-12)


@pytest.mark.parametrize("scale", ["ordinary", "huge"])
def test_binary_cross_entropy(scale: str) -> None:
    golden = load(f"torch_op_binary_cross_entropy_{scale}")
    logits = tg.tensor(golden["logits"], requires_grad=True)
    loss = nn.BCEWithLogitsLoss(reduction="none")(logits, tg.tensor(golden["targets"]))
    assert np.allclose(loss.data, golden["output"], rtol=1e-12, atol=1e-12)
    loss.backward(golden["R/output"])
    assert np.allclose(logits.grad, golden["grad/logits"], atol=1e-12)
    assert np.isclose(nn.BCEWithLogitsLoss()(logits, golden["targets"]).item(), golden["output"].mean())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_probabilities(reduction: str, dtype: Any) -> None:
    """By its equation; at 0 and 1 the logarithm is -100."""
    p = np.array([[0.25, 0.5, 1.0], [0.0, 0.875, 0.0]], dtype)
    t = np.array([[1.0, 0.25, 1.0], [1.0, 0.0, 0.0]], dtype)
    log, complement = (np.maximum(np.log(v, where=v > 0, out=np.full(v.shape, -np.inf)), -100) for v in (p, 1 - p))
    weight = np.array([2.0, 0.5, 3.0])
    losses = -weight * (t * log + (1 - t) * complement)
    wanted = {"mean": losses.mean(), "sum": losses.sum(), "none": losses}[reduction]
    x = tg.tensor(p, requires_grad=True)
    loss = nn.BCELoss(weight, reduction)(x, t)
    assert loss.dtype == dtype
    assert np.allclose(loss.data, wanted, rtol=1e-6)
    assert np.array_equal(nn.functional.binary_cross_entropy(x, t, weight, reduction).data, loss.data)
    loss.backward(np.ones(loss.shape, dtype))
    inside = (p > 0) & (p < 1)
    slope = weight * (p - t) / np.where(inside, p * (1 - p), 1) * (1 / p.size if reduction == "mean" else 1)
    assert np.allclose(x.grad[inside], slope[inside], rtol=1e-6)
    assert np.isfinite(x.grad).all()


def test_probabilities_and_logits_give_the_same() -> None:
    z, t = array(4, 3), np.random.default_rng(1).random((4, 3))
    p = 1 / (1 + np.exp(-z))
    weight, positive = np.array([[1.0], [2.0], [0.0], [4.0]]), np.array([0.5, 3.0, 1.0])
    losses = -weight * (positive * t * np.log(p) + (1 - t) * np.log(1 - p))
    assert np.allclose(nn.BCEWithLogitsLoss(weight, pos_weight=positive)(z, t).item(), losses.mean(), rtol=1e-12)
    plain = nn.BCEWithLogitsLoss(weight, "sum")(z, t).item()
    assert np.allclose(nn.BCELoss(weight, "sum")(p, t).item(), plain, rtol=1e-12)
    assert np.allclose(nn.BCEWithLogitsLoss(weight, "sum", pos_weight=1)(z, t).item(), plain, rtol=1e-12)
    huge = tg.tensor([[-1e4, 1e4]], requires_grad=True)
    loss = nn.BCEWithLogitsLoss(reduction="sum", pos_weight=[2.0, 2.0])(huge, [[1.0, 0.0]])
    loss.backward()
    assert (loss.item(), huge.grad.tolist()) == (3e4, [[-2.0, 1.0]])
    assert tg.gradcheck(lambda z: nn.BCEWithLogitsLoss(weight, pos_weight=positive)(z, t), z)
    assert tg.gradgradcheck(lambda p: nn.BCELoss(weight)(p, t), p)


def test_mse_and_shapes_of_classes() -> None:
    x, y = array(3, 4), array(3, 4, seed=1)
    assert np.isclose(nn.MSELoss()(tg.tensor(x), y).item(), np.square(x - y).mean())
    assert nn.MSELoss(reduction="none")(x, y).shape == (3, 4)
    loss = nn.CrossEntropyLoss()
    assert np.isclose(loss(x[0], 2).item(), loss(x[:1], [2]).item())
    assert loss(x, np.full(3, -100)).item() == 0
    assert loss(np.zeros((0, 4)), np.zeros(0, int)).item() == 0


OF_TORCH = {  # mean, sum and none, of PyTorch 2.13: by whether classes have weights, and the smoothing
    (False, 0.0): (4.3010547, 8.6021094, [4.8442709, 0.0, 3.7578384]),
    (False, 0.2): (3.968562, 7.9371239, [4.3663588, 0.0, 3.5707652]),
    (True, 0.0): (4.7235562, 10.6280015, [9.6885419, 0.0, 0.9394596]),
    (True, 0.2): (4.196967, 9.4431759, [8.3706828, 0.0, 1.0724931]),
}


@pytest.mark.parametrize(("weighed", "smoothing"), OF_TORCH)
def test_weights_of_classes_and_smoothed_labels(weighed: bool, smoothing: float) -> None:
    x, targets = array(3, 4, seed=3), [1, -100, 3]
    weight = [0.5, 2.0, 1.0, 0.25] if weighed else None
    for reduction, wanted in zip(("mean", "sum", "none"), OF_TORCH[weighed, smoothing], strict=True):
        loss = nn.CrossEntropyLoss(weight, reduction=reduction, label_smoothing=smoothing)
        assert np.allclose(loss(x, targets).data, wanted, atol=1e-7)
        assert np.allclose(loss(x[..., None], np.array(targets)[:, None]).data.ravel(), wanted, atol=1e-7)
    assert tg.gradcheck(lambda x: nn.CrossEntropyLoss(weight, label_smoothing=smoothing)(x, targets), [x])
    nll = nn.NLLLoss(weight)(x, targets).item()
    assert np.isclose(nll, 2.3108834 if weighed else 1.4541479)


def test_gradients() -> None:
    x = tg.tensor(array(3, 4, 2), requires_grad=True)
    targets = np.array([[0, 3], [-100, 1], [2, 2]])
    for loss in (nn.CrossEntropyLoss(), nn.NLLLoss(), nn.NLLLoss(reduction="sum")):
        assert tg.gradcheck(lambda x, loss=loss: loss(x, targets), [x])
        assert tg.gradgradcheck(lambda x, loss=loss: loss(x, targets), [x])


def test_activations_are_layers_of_a_sequential() -> None:
    x = array(2, 3)
    net = nn.Sequential(nn.Tanh(), nn.ReLU(), nn.Sigmoid())
    assert np.allclose(net(x).data, 1 / (1 + np.exp(-np.maximum(np.tanh(x), 0))))
    assert repr(net) == "Sequential(\n  (0): Tanh()\n  (1): ReLU()\n  (2): Sigmoid()\n)"
    assert np.allclose(nn.Softmax(dim=0)(x).data.sum(0), 1)
    assert np.allclose(nn.LogSoftmax(dim=1)(x).data, np.log(nn.Softmax(dim=1)(x).data))
    assert repr(nn.CrossEntropyLoss(None, 0, "sum")) == "CrossEntropyLoss(ignore_index=0, reduction='sum')"


X = array(3, 4)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.MSELoss("avg"), ValueError, r"MSELoss: reduction is 'avg'"),
        (lambda: nn.MSELoss()(X, X[0]), ValueError, r"mse: target has shape \(4,\)"),
        (lambda: nn.CrossEntropyLoss(weight=[[1.0]]), ValueError, r"CrossEntropyLoss: weight has shape \(1, 1\)"),
        (
            lambda: nn.NLLLoss([1.0, 2.0])(X, [0, 1, 2]),
            ValueError,
            r"NLLLoss: weight has shape \(2,\), expected \(4,\)",
        ),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), ValueError, r"label_smoothing is 2, expected a number in"),
        (lambda: nn.NLLLoss(ignore_index=0.5), TypeError, r"NLLLoss: ignore_index is 0.5"),
        (
            lambda: nn.CrossEntropyLoss()(X, X),
            TypeError,
            r"CrossEntropyLoss: target has dtype float64, expected integers",
        ),
        (
            lambda: nn.CrossEntropyLoss()(X, [1, 2]),
            ValueError,
            r"CrossEntropyLoss: input has shape \(3, 4\) and target \(2,\), expected \(B, C, \.\.\.\)",
        ),
        (
            lambda: nn.CrossEntropyLoss()(array(3, 2, 4), np.zeros((3, 2), int)),
            ValueError,
            r"input has shape \(3, 2, 4\) and target \(3, 2\).*axis 1",
        ),
        (
            lambda: nn.CrossEntropyLoss()(X, [0, 4, 1]),
            ValueError,
            r"CrossEntropyLoss: target holds 4, expected 0 <= target < 4",
        ),
        (lambda: nn.NLLLoss()(X, [0, -1, 1]), ValueError, r"NLLLoss: target holds -1, expected 0 <= target < 4"),
        (lambda: nn.BCEWithLogitsLoss()(X, X), ValueError, r"BCEWithLogitsLoss: targets lie in"),
        (lambda: nn.BCELoss()(X * 0, X), ValueError, r"BCELoss: targets lie in"),
        (lambda: nn.BCELoss()(X, X * 0), ValueError, r"input lies in .* for logits use BCEWithLogitsLoss"),
        (lambda: nn.BCELoss()(X * 0, X[0] * 0), ValueError, r"target has shape \(4,\), expected the input's shape"),
        (
            lambda: nn.BCELoss(np.ones(3))(X * 0, X * 0),
            ValueError,
            r"weight has shape \(3,\), expected one that broadcasts to",
        ),
        (lambda: nn.BCELoss("big"), ValueError, r"BCELoss: weight has dtype .*expected numbers"),
    ],
)
def test_bad_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_what_is_ignored_needs_no_second_class() -> None:
    assert nn.CrossEntropyLoss()(np.ones((3, 1), np.float32), np.array([0, -100, 0])).item() == 0.0


def test_the_repr_leaves_default_options_out() -> None:
    assert repr(nn.CrossEntropyLoss()) == "CrossEntropyLoss()"
    assert repr(nn.CrossEntropyLoss(ignore_index=-101)) == "CrossEntropyLoss(ignore_index=-101)"


def test_the_error_for_targets_of_another_form_names_the_remedy() -> None:
    with pytest.raises(
        TypeError, match=r"of one-hot rows take target\.argmax\(-1\), of whole numbers .* target\.astype\(int\)"
    ):
        nn.CrossEntropyLoss()(np.zeros((2, 3)), np.eye(2, 3))
    with pytest.raises(TypeError, match=r"targets have dtype float64.*targets\.argmax\(-1\)"):
        tg.softmax_cross_entropy(np.zeros((2, 3)), np.zeros(2))


def test_the_error_for_rows_of_different_lengths_names_the_remedy() -> None:
    with pytest.raises(
        ValueError, match=r"Embedding: indices is a list whose rows have different lengths.*tg\.data\.pad"
    ):
        nn.Embedding(5, 3)([[1, 2], [3]])
    with pytest.raises(ValueError, match=r"no array of numbers can be made; tg\.data\.pad\(data\)"):
        tg.tensor([[1, 2], [3]])


def test_the_way_out_of_a_wrong_dtype() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(TypeError, match=r"use x\.astype\(np\.float32\) or layer\.astype\(np\.float64\)$"):
        layer(np.ones((1, 2)))
    with pytest.raises(TypeError, match=r"use x\.astype\(np\.float32\)$"):
        layer(np.ones((1, 2), int))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_classes_of_any_integer_dtype(dtype: Any) -> None:
    scores, log = array(3, 4), np.log
    wanted = np.mean(log(np.exp(scores).sum(1)) - scores[np.arange(3), [1, 3, 0]])
    assert np.isclose(nn.CrossEntropyLoss()(scores, np.array([1, 3, 0], dtype)).item(), wanted, rtol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_binary_targets_that_require_grad_get_one(reduction: str) -> None:
    """As in PyTorch: d/dt of -t log p - (1 - t) log(1 - p) is -log(p / (1 - p))."""
    z, share = array(2, 3), 6 if reduction == "mean" else 1
    p, start = 1 / (1 + np.exp(-z)), np.random.default_rng(1).random((2, 3))
    weight, pos_weight = np.array([1.0, 2.0, 0.5]), np.array([3.0, 0.5, 1.0])
    for loss, value, wanted in (
        (nn.BCELoss(reduction=reduction), p, -z),
        (nn.BCELoss(weight, reduction), p, -z * weight),
        (nn.BCEWithLogitsLoss(reduction=reduction), z, -z),
        (nn.BCEWithLogitsLoss(weight, reduction, pos_weight), z, (-pos_weight * np.log(p) + np.log(1 - p)) * weight),
    ):
        t, x = tg.tensor(start, requires_grad=True), tg.tensor(value, requires_grad=True)
        result = loss(x, t)
        plain = loss(x, start)
        assert np.isclose(result.item(), plain.item(), rtol=1e-12)
        by_x, by_t = tg.grad(result, [x, t])
        assert np.allclose(by_t.data, wanted / share, rtol=1e-10)
        assert np.allclose(by_x.data, tg.grad(plain, [x])[0].data, rtol=1e-10)
