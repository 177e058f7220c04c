"""What PyTorch's users write: methods, functions, buffers, packed sequences; numbers by NumPy, or by the way without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
import tinygrad_rnn.nn.functional as F
from tinygrad_rnn import nn, optim
from tinygrad_rnn.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence

A = np.random.default_rng(0).normal(size=(2, 3, 4))

METHODS: dict[str, tuple[Any, Any]] = {
    "view": (lambda x: x.view(6, -1), A.reshape(6, 4)),
    "view of a shape": (lambda x: x.view(x.shape), A),
    "unsqueeze": (lambda x: x.unsqueeze(1), A[:, None]),
    "squeeze": (lambda x: x[:, :1].squeeze(dim=1), A[:, 0]),
    "permute": (lambda x: x.permute(2, 0, 1), A.transpose(2, 0, 1)),
    "transpose": (lambda x: x.transpose(1, 2), A.swapaxes(1, 2)),
    "transpose as NumPy": (lambda x: x.transpose(2, 0, 1), A.transpose(2, 0, 1)),
    "t": (lambda x: x[0].t(), A[0].T),
    "exp": (lambda x: x.exp(), np.exp(A)),
    "tanh": (lambda x: x.tanh(), np.tanh(A)),
    "sigmoid": (lambda x: x.sigmoid(), 1 / (1 + np.exp(-A))),
    "log": (lambda x: x.pow(2).log(), np.log(A**2)),
    "clamp": (lambda x: x.clamp(min=0), A.clip(0)),
    "clone": (lambda x: x.clone(), A),
    "contiguous": (lambda x: x.contiguous().cpu().to("cpu"), A),
    "expand": (lambda x: x[:1].expand(5, -1, 4), np.broadcast_to(A[:1], (5, 3, 4))),
    "chunk": (lambda x: x.chunk(2, dim=2)[1], A[..., 2:]),
    "unbind": (lambda x: x.unbind(1)[2], A[:, 2]),
    "masked_fill": (lambda x: x.masked_fill(A > 0, -1.0), np.where(A > 0, -1, A)),
    "mm": (lambda x: x[0].mm(x[1].t()), A[0] @ A[1].T),
    "add": (lambda x: x.add(x, alpha=2).sub(1).mul(3).div(2), (3 * A - 1) * 1.5),
    "sum": (lambda x: x.sum(dim=1), A.sum(1)),
    "mean": (lambda x: x.mean(dim=[0, 2], keepdim=True), A.mean((0, 2), keepdims=True)),
    "var": (lambda x: x.var(dim=2), A.var(2, ddof=1)),  # by dim= as in PyTorch, else as in NumPy
    "var biased": (lambda x: x.var(dim=2, unbiased=False, keepdim=True), A.var(2, keepdims=True)),
    "var as NumPy": (lambda x: x.var(axis=2), A.var(2)),
    "std": (lambda x: x.std(dim=0, correction=0), A.std(0)),
    "softmax": (lambda x: x.softmax(dim=1), np.exp(A) / np.exp(A).sum(1, keepdims=True)),
    "log_softmax": (lambda x: x.log_softmax(-1), A - np.log(np.exp(A).sum(-1, keepdims=True))),
    "max": (lambda x: x.max(dim=2)[0], A.max(2)),
    "min": (lambda x: x.min(dim=0, keepdim=True).values, A.min(0, keepdims=True)),
    "max as NumPy": (lambda x: x.max(axis=2), A.max(2)),
    "abs": (lambda x: x.abs().sqrt(), np.sqrt(np.abs(A))),
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_tensors(name: str) -> None:
    run, wanted = METHODS[name]
    np.testing.assert_allclose(run(tg.tensor(A)).data, wanted, atol=1e-12)
    assert tg.gradcheck(run, [A])


def test_what_has_no_gradient() -> None:
    x = tg.tensor(A)
    assert (x.dim(), x.numel()) == (3, 24)
    np.testing.assert_array_equal(x.argmax(dim=1), A.argmax(1))
    np.testing.assert_array_equal(x.max(dim=1).indices, A.argmax(1))
    assert (x > 0).all() is not None
    assert [x.float().dtype, x.double().dtype, x.long().dtype, x.to(tg.float32).dtype] == ["f4", "f8", "i8", "f4"]
    assert x.to(x.float()).dtype == "f4"
    copy = x.clone()
    copy.data[0] = 0
    assert x.data[0].any()
    w = tg.zeros(2).requires_grad_()
    w.sum().backward()
    assert w.grad is not None
    with pytest.raises(ValueError, match="was made by an op"):
        (w * 2).requires_grad_(False)
    with pytest.raises(ValueError, match=r"computes on the CPU: leave out .cuda\(\)"):
        x.cuda()
    with pytest.raises(ValueError, match=r"device is 'cuda:0': this package computes on the CPU"):
        x.to("cuda:0")
    with pytest.raises(ValueError, match="computes on the CPU"):
        tg.zeros(2, device="cuda")
    assert tg.device("cuda" if tg.cuda.is_available() else "cpu") == "cpu"
    with pytest.raises(ValueError, match="computes on the CPU"):
        tg.device("mps")


def test_making_tensors() -> None:
    assert tg.zeros(2, 3).shape == tg.ones((2, 3)).shape == tg.rand([2, 3]).shape == (2, 3)
    assert tg.ones(2, dtype=tg.float64, requires_grad=True).requires_grad
    assert tg.zeros(2, dtype=tg.long).dtype == np.int64
    tg.manual_seed(3)
    first = tg.randn(4)
    tg.seed(3)
    np.testing.assert_array_equal(first.data, tg.randn(4).data)
    assert first.dtype == np.float32
    assert tg.cat([tg.ones(1, 2), tg.zeros(1, 2)]).shape == (2, 2)
    assert tg.cat((tg.ones(1, 2), tg.zeros(1, 2)), dim=-1).shape == (1, 4)
    assert tg.from_numpy(A).dtype == np.float64


def test_functions() -> None:
    x, target = tg.tensor(A[0]), np.array([0, 3, 1])
    log = A[0] - np.log(np.exp(A[0]).sum(-1, keepdims=True))
    loss = -log[np.arange(3), target].mean()
    np.testing.assert_allclose(F.cross_entropy(x, target).item(), loss)
    np.testing.assert_allclose(F.nll_loss(F.log_softmax(x, dim=1), target, reduction="sum").item(), 3 * loss)
    np.testing.assert_allclose(F.softmax(x, dim=0).data.sum(0), 1)
    np.testing.assert_allclose(F.l1_loss(x, 0 * x).item(), np.abs(A[0]).mean())
    np.testing.assert_allclose(nn.L1Loss("none")(x, 0 * x).data, np.abs(A[0]))
    np.testing.assert_allclose(F.mse_loss(x, 0 * x, reduction="sum").item(), (A[0] ** 2).sum())
    np.testing.assert_allclose(F.leaky_relu(x, 0.1).data, np.where(A[0] > 0, A[0], 0.1 * A[0]))
    np.testing.assert_allclose(F.linear(x, tg.tensor(A[1]), tg.ones(3)).data, A[0] @ A[1].T + 1)
    np.testing.assert_allclose(F.logsigmoid(x).data, -np.log1p(np.exp(-A[0])))
    assert F.one_hot(np.array([[1], [0]]), num_classes=3).tolist() == [[[0, 1, 0]], [[1, 0, 0]]]
    dropped = F.dropout(tg.ones(2000), 0.25).data
    assert set(np.unique(dropped.round(4)).tolist()) == {0.0, np.float32(1.3333)}
    assert abs((dropped == 0).mean() - 0.25) < 0.05
    with pytest.raises(ValueError, match="one_hot: classes of dtype int64, expected integers from 0 to 1"):
        F.one_hot([0, 2], 2)
    with pytest.raises(ValueError, match=r"L1Loss: input has shape \(3, 4\) and target \(4,\)"):
        F.l1_loss(x, x[0])


class Normed(nn.Module):
    def __init__(self) -> None:
        self.inner = nn.Linear(2, 2)
        self.register_buffer("mean", tg.ones(2))
        self.register_buffer("loose", tg.zeros(2), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x: Any) -> Any:
        return self.inner(x - self.mean)


def test_buffers_are_saved_and_not_trained() -> None:
    net, other = Normed(), Normed()
    assert list(net.state_dict()) == ["inner.weight", "inner.bias", "mean"]
    assert len(net.parameters()) == 2
    assert [name for name, _ in net.named_buffers()] == ["mean"]
    assert net.nothing is None
    net.mean.data = np.array([3.0, 4.0], np.float32)
    other.load_state_dict(net.state_dict())
    assert other.mean.tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(other(tg.ones(1, 2)).data, net(tg.ones(1, 2)).data)
    state = net.state_dict()
    before = other.inner.weight.data
    for bad in ({k: v for k, v in state.items() if k != "mean"}, state | {"mean": np.ones(3, np.float32)}):
        with pytest.raises(ValueError, match=r"missing mean \(2,\)|mean has shape \(3,\), expected \(2,\)"):
            other.load_state_dict(bad)
    with pytest.raises(ValueError, match=r"missing inner\.bias"):
        other.load_state_dict({"inner.weight": before + 1, "mean": np.zeros(2, np.float32)})
    assert other.mean.tolist() == [3.0, 4.0]
    np.testing.assert_array_equal(other.inner.weight.data, before)
    other.load_state_dict({"mean": np.zeros(2, np.float32)}, strict=False)
    assert other.mean.tolist() == [0.0, 0.0]


def test_modules() -> None:
    nets = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Identity()})
    nets["c"] = nn.Linear(2, 1)
    assert list(nets) == nets.keys() == ["a", "b", "c"]
    assert ("a" in nets, len(nets), len(nets.values())) == (True, 3, 3)
    assert [name for name, _ in nets.items()] == ["a", "b", "c"]
    assert list(nets.state_dict()) == ["a.weight", "a.bias", "c.weight", "c.bias"]
    with pytest.raises(KeyError, match="there is no 'd', only a, b, c"):
        nets["d"]
    with pytest.raises(KeyError, match="'keys' is an attribute of ModuleDict"):
        nets["keys"] = nn.Identity()
    with pytest.raises(TypeError, match="'d' is int, expected a Module"):
        nets["d"] = 3  # type: ignore[assignment]
    seen: list[str] = []
    assert nets.apply(lambda m: seen.append(type(m).__name__)) is nets
    assert seen == ["Linear", "Identity", "Linear", "ModuleDict"]
    assert [type(m).__name__ for m in nets.children()] == ["Linear", "Identity", "Linear"]
    assert nets.to("cpu").double()["a"].weight.dtype == np.float64
    assert nets.float().cpu() is nets
    with pytest.raises(ValueError, match="computes on the CPU"):
        nets.cuda()
    assert not nets.requires_grad_(False)["a"](tg.ones(1, 2)).requires_grad


def test_zero_grad_and_clipping() -> None:
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), 0.1)
    for owner in (net, optimizer):
        net(tg.ones(1, 2)).sum().backward()
        owner.zero_grad(set_to_none=False)
        assert net.weight.grad is not None
        assert not net.weight.grad.any()
        owner.zero_grad()
        assert net.weight.grad is None
        owner.zero_grad(set_to_none=False)
        assert net.weight.grad is None
    net.weight.grad = np.array([[3.0, 4.0]])
    assert nn.utils.clip_grad_norm_(net.parameters(), max_norm=1.0) == 5.0
    np.testing.assert_allclose(net.weight.grad, [[0.6, 0.8]], rtol=1e-6)
    net.weight.grad = np.array([[3.0, 4.0]])
    nn.utils.clip_grad_norm_(net.weight, 1.0)
    np.testing.assert_allclose(net.weight.grad, [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("cls", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("first", [True, False])
def test_packed_sequences_are_lengths(cls: Any, first: bool) -> None:
    layer = cls(4, 5, num_layers=2, bidirectional=True, batch_first=first, dtype=np.float64)
    lengths, x = [2, 0, 3], np.random.default_rng(1).normal(size=(3, 4, 4))
    inputs = x if first else x.swapaxes(0, 1)
    output, final = layer(inputs, lengths=lengths)
    packed, state = layer(pack_padded_sequence(inputs, lengths, batch_first=first, enforce_sorted=False))
    padded, sizes = pad_packed_sequence(packed, batch_first=first, total_length=4)
    np.testing.assert_array_equal(padded.data, output.data)
    assert sizes.tolist() == lengths
    for a, b in zip(state if cls is nn.LSTM else [state], final if cls is nn.LSTM else [final], strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    turned, _ = pad_packed_sequence(layer(pack_padded_sequence(x, lengths, batch_first=True))[0], padding_value=7.0)
    wanted = (output.data if first else output.data.swapaxes(0, 1))[:, :3]
    real = np.arange(3) < np.array(lengths)[:, None]
    np.testing.assert_array_equal(turned.data.swapaxes(0, 1), np.where(real[..., None], wanted, 7.0))


def test_packing_by_hand() -> None:
    rows = [np.ones((2, 3)), np.zeros((4, 3))]
    assert pad_sequence(rows).shape == (4, 2, 3)
    assert pad_sequence([[1, 2], [3]]).dtype == np.float32
    assert pad_sequence([np.ones(2, np.int64), np.ones(3, np.int64)]).dtype == np.int64
    packed = pack_sequence(rows)
    assert (packed.lengths.tolist(), packed.padded.shape) == ([2, 4], (2, 4, 3))
    assert pad_packed_sequence(packed, total_length=6)[0].shape == (6, 2, 3)
    wide = pack_padded_sequence(np.ones((3, 2, 9), np.float32), [3, 1])  # more features than steps
    assert pad_packed_sequence(wide, total_length=4)[0].shape == (4, 2, 9)
    x = tg.tensor(np.ones((2, 4, 3)))
    assert tg.gradcheck(lambda x: pad_packed_sequence(pack_padded_sequence(x, [1, 3], True), True)[0], [x.data])
    for lengths in ([1, 5], [1], [1.0, 2.0], [-1, 2]):
        with pytest.raises(ValueError, match="expected 2 integers from 0 to 4"):
            pack_padded_sequence(x, lengths, batch_first=True)
    with pytest.raises(ValueError, match="total_length is 3, expected at least 4"):
        pad_packed_sequence(packed, total_length=3)


def test_files_of_pytorch_are_told_from_other_files(tmp_path: Path) -> None:
    for name, content in (
        ("model.pt", b"anything"),
        ("weights", b"PK\x03\x04archive"),
        ("old.safetensors", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(
            tg.CheckpointError, match=r"is a file of torch.save, a pickle, .*safetensors.torch.save_file"
        ):
            tg.load(path)
