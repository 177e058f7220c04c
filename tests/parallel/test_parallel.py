"""Tests on one process: accumulated parts, shares of rows, states, buckets, errors, MPI with one process."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train
from tinygrad_rnn.autodiff import engine
from tinygrad_rnn.parallel import launch, shards
from tinygrad_rnn.parallel.reducer import Reducer

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(29, 4))
Y = X.sum(axis=1, keepdims=True)
TEXT = RANDOM.integers(0, 5, 200)


def regression(batches: Any, **options: Any) -> tuple[Any, train.TrainingLog]:
    tg.seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).astype(np.float64)
    opt = optim.Adam(model.parameters(), 0.1)
    options = {"epochs": 2, "clip": 0.5} | options
    history = train.fit(lambda b: tg.mse(model(b[0]), b[1]), batches, opt, model=model, progress=False, **options)
    return model, history


# -- accumulated parts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_accumulated_gradients_equal_those_of_the_whole_batch(parts: int) -> None:
    """Batches of 7 and a last one of 1, of which all parts but one are empty."""
    whole, once = regression(data.Batches(X, Y, size=7, shuffle=False))
    model, history = regression(data.Batches(X, Y, size=7, shuffle=False), accumulate=parts)
    np.testing.assert_allclose(history.losses, once.losses, rtol=1e-12)
    for name, array in whole.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], array, rtol=1e-9, atol=1e-12)


def test_a_state_is_carried_part_by_part() -> None:
    def run(**options: Any) -> Any:
        tg.seed(0)
        cell, head = rnn.LSTMCell(4).build(5, np.float64), nn.Linear(4, 5).astype(np.float64)
        one_hot = np.eye(5)

        def loss_fn(batch: Any, state: Any) -> Any:
            outputs, state = rnn.dynamic_rnn(cell, one_hot[batch[0]], initial_state=state)
            return tg.softmax_cross_entropy(head(outputs), targets=batch[1]), state

        opt = optim.SGD([*cell.parameters(), *head.parameters()], 0.5)
        state = cell.zero_state(5, np.float64)
        return train.fit(loss_fn, data.TextChunks(TEXT, 5, 6), opt, epochs=1, state=state, progress=False, **options)

    np.testing.assert_allclose(run(accumulate=3).losses, run().losses, rtol=1e-12)


def test_each_part_is_weighted_by_the_number_of_targets_in_its_mean() -> None:
    """Targets of 0 do not count: the parts hold unequal numbers of those that do."""
    x, y = np.arange(8.0)[:, None], np.array([1, 0, 0, 0, 1, 1, 1, 0])

    def gradient(**options: Any) -> float:
        w = tg.Parameter(np.array([0.5]))

        def loss_fn(batch: Any) -> Any:
            counts = batch[1] != 0
            return ((batch[0] * w)[:, 0] * counts).sum() / int(counts.sum())

        train.fit(loss_fn, [(x, y)], optim.SGD([w], 1.0), steps=1, progress=False, **options)
        return float(w.data[0])

    counted = {"weight": lambda batch: int((batch[1] != 0).sum())}
    assert gradient(accumulate=2, **counted) == pytest.approx(gradient(), rel=1e-12)
    assert gradient(accumulate=2) != pytest.approx(gradient(), rel=1e-3)


def test_dropout_of_a_part_does_not_depend_on_the_parts_before_it() -> None:
    drop, seen = nn.Dropout(0.5), []
    w = tg.Parameter(np.ones(1))

    def loss_fn(batch: Any) -> Any:
        seen.append(drop(np.ones(64)).data.tobytes())
        return (w * batch[0]).mean()

    tg.seed(0)
    batches = [(np.ones((2, 1)), np.ones((2, 1)))] * 2
    train.fit(loss_fn, batches, optim.SGD([w], 0.1), epochs=2, accumulate=2, progress=False)
    assert len(set(seen)) == 8  # of two epochs, two steps, two parts
    first, begin = list(seen), seen.clear()
    assert begin is None
    tg.seed(0)
    one = [(np.ones((2, 1)), np.ones((2, 1)))]
    train.fit(loss_fn, one, optim.SGD([w], 0.1), steps=1, accumulate=2, progress=False)
    assert seen == first[:2]


def test_accumulated_parts_resume_bit_for_bit(tmp_path: Path) -> None:
    batches, path = data.Batches(X, Y, size=7), tmp_path / "run.safetensors"
    whole, _ = regression(batches, epochs=None, steps=8, accumulate=2)
    regression(batches, epochs=None, steps=3, accumulate=2, checkpoint=path)
    again, history = regression(batches, epochs=None, steps=8, accumulate=2, checkpoint=path, resume=True)
    assert history.step == 8
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)


def test_too_few_rows_for_the_parts() -> None:
    with pytest.raises(ValueError, match="a batch has 3 rows for 4 parts; give batches of at least 4 rows"):
        regression(data.Batches(X, Y, size=3), accumulate=4)
    with pytest.raises(ValueError, match="a batch has 2 rows for 4 parts"):
        regression([(X[:2], Y[:2])], accumulate=4)
    with pytest.raises(ValueError, match="accumulate is 0, expected a whole number of at least 1"):
        regression([(X, Y)], accumulate=0)
    with pytest.raises(ValueError, match=r"split by rows: it is arrays of 3, 4 rows, expected arrays \(B, ...\)"):
        regression([(X[:3], Y[:4])], accumulate=2)
    with pytest.raises(TypeError, match=r"parallel is int 2, expected tg\.parallel\.MPI\(\)"):
        regression([(X, Y)], parallel=2)


# -- shares ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("size", "parts"), [(7, 2), (7, 3), (4, 4), (29, 5), (40, 3)])
def test_every_example_is_in_exactly_one_part(size: int, parts: int, shuffle: bool) -> None:
    source = data.Batches(np.arange(29), size=size, shuffle=shuffle)
    split = []
    for part in range(parts):
        tg.seed(1)
        split.append([one.tolist() for (one,) in shards.SplitBatches(source, [part], parts, copied=True)])
    batches = [[i for part in split for i in part[k]] for k in range(len(source))]
    assert sorted(i for batch in batches for i in batch) == list(range(29))
    assert sorted(len(batch) for batch in batches) == sorted(min(size, 29 - i) for i in range(0, 29, size))
    if not shuffle:
        assert [i for batch in batches for i in batch] == list(range(29))
    else:
        own = [sorted(i for batch in part for i in batch) for part in split]
        assert [i for part in own for i in part] == list(range(29))  # each part has a contiguous share


def test_batches_of_similar_length_are_the_same_batches_in_all_parts() -> None:
    lengths = RANDOM.integers(1, 50, 120)
    source = data.Batches([np.ones(n) for n in lengths], size=6, pool=10)
    tg.seed(0)
    spread = [
        max(longest) - min(shortest)
        for batch in shards.SplitBatches(source, range(3), 3)
        for longest, shortest in [([p.lengths.max() for p in batch], [p.lengths.min() for p in batch])]
    ]
    assert np.median(spread) < 20


def sources(x: Any) -> list[Any]:
    return [data.Batches(x, size=10), data.Batches(x, size=10, shuffle=False), data.TextChunks(x.ravel(), 10, 5)]


@pytest.mark.parametrize("kind", range(3))
def test_a_share_does_not_keep_the_whole_array_in_memory(kind: int) -> None:
    x = np.arange(4000).reshape(1000, 4)
    base = weakref.ref(x)
    own = shards.Shard(shards.SplitBatches(sources(x)[kind], [1], 4, copied=True))
    del x
    assert base() is None
    assert len(list(own)) == len(own)


@pytest.mark.parametrize("kind", [0, 2])
def test_a_share_of_a_mapped_file_stays_in_the_file(kind: int, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(1_000_000).reshape(10_000, 100))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    own = shards.Shard(shards.SplitBatches(sources(mapped)[kind], [1], 4, copied=True))
    next(iter(own))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 500_000  # of a share of 2 MB: the numbers of the examples


def test_states_are_dealt_along_their_rows() -> None:
    h = np.arange(24.0).reshape(2, 4, 3)
    assert shards.state_axis((h, h), 4) == 1
    assert shards.state_axis(rnn.LSTMCell(3).zero_state(4), 4) == 0
    parts = [shards.cut_state((h, tg.tensor(h)), 1, k, 3) for k in range(3)]
    assert [p[0].shape[1] for p in parts] == [1, 1, 2]
    for joined in shards.joined_state(parts, 1):
        np.testing.assert_array_equal(joined, h)
    with pytest.raises(ValueError, match="both the first and the second axis fit"):
        shards.state_axis((np.zeros((2, 2, 3)),), 2)
    with pytest.raises(ValueError, match=r"the batch has 5, its arrays have shapes \[\(2, 4, 3\)\]"):
        shards.state_axis((h,), 5)


# -- gradients on their way ------------------------------------------------------------------------------------------


def test_the_sweep_calls_back_when_the_gradient_of_a_leaf_is_complete() -> None:
    a, b, c = (tg.Parameter(np.array([n])) for n in (2.0, 3.0, 5.0))
    loss = (((a * b) * c + b) * c).sum()
    finished: list[tuple[str, float]] = []
    names = {a._node: "a", b._node: "b", c._node: "c"}
    gradients = engine.sweep(
        [loss._seed(None, "test")], finished=lambda leaf, g: finished.append((names[leaf], float(g[0])))
    )
    assert finished[0] == ("c", 63.0)  # 2 a b c + b, before the others
    assert dict(finished) == {names[leaf]: float(g[0]) for leaf, g in gradients.items()}
    assert len(finished) == 3


class Late:
    """A sum over two processes with equal values, complete when waited for."""

    def __init__(self, array: Any, log: list[Any]):
        self.array, self.log = array.copy(), log
        log.append(array.size)

    def progress(self) -> None:
        self.log.append("progress")

    def wait(self) -> Any:
        self.log.append("wait")
        return self.array + self.array


def test_gradients_are_sent_while_the_sweep_is_still_running() -> None:
    """The last layer's gradient is under way before the first one's is computed; small ones share a bucket."""
    layers = [tg.Parameter(np.full((600, 600), 0.01)) for _ in range(3)]
    bias, unused, log = tg.Parameter(np.zeros(600)), tg.Parameter(np.zeros(3)), []

    def loss() -> Any:
        h = tg.tensor(np.ones((2, 600)))
        for w in layers:
            h = tg.tanh(h @ w + bias)
        return h.mean()

    reducer = Reducer(lambda a: Late(a, log), lambda order: order, [bias, *layers, unused])
    for _ in range(2):
        log.clear()
        for p in (bias, unused, *layers):
            p.grad = None
        reducer.backward(loss(), 0.5, last=True)
        during = list(log)
        assert reducer.finish([7.0]) == [14.0]
    sizes = [entry for entry in during if isinstance(entry, int)]
    assert sizes == [360_000, 360_000, 360_600]  # the bias is finished by the last node, like the first layer's weight
    assert "progress" in during[during.index(360_000) :]
    assert "wait" not in during
    reduced = [p.grad for p in (bias, *layers)]
    for p in (bias, *layers):
        p.grad = None
    loss().backward()
    for p, g in zip((bias, *layers), reduced, strict=True):
        np.testing.assert_allclose(g, p.grad, rtol=1e-12)
    assert unused.grad is None


# -- how it is started -----------------------------------------------------------------------------------------------


def test_without_mpiexec_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*launch.SIZES, *launch.RANKS):
        monkeypatch.delenv(name, raising=False)
    code = "import sys, tinygrad_rnn as tg; print(tg.parallel.detect().size, 'mpi4py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_mpi_on_one_process_is_a_plain_run() -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: pip install -e '.[mpi]'")
    code = (
        "import numpy as np, tinygrad_rnn as tg; tg.seed(0); net = tg.nn.Linear(1, 1); x = np.ones((4, 1), np.float32)\n"
        "h = tg.train.fit(lambda b: tg.mse(net(b[0]), b[1]), [(x, x)], tg.optim.SGD(net.parameters(), 0.1), steps=3,\n"
        "  progress=False, parallel={}); print(h.losses)"
    )
    env = {k: v for k, v in os.environ.items() if k not in (*launch.SIZES, *launch.RANKS)}
    runs = [
        subprocess.run([sys.executable, "-c", code.format(p)], capture_output=True, text=True, check=True, env=env)
        for p in ("None", "tg.parallel.MPI()")
    ]
    assert runs[0].stdout == runs[1].stdout


def test_without_mpi4py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"MPI: mpi4py is not installed.*pip install 'tinygrad_rnn\[mpi\]'"):
        tg.parallel.MPI()


def test_an_mpi_library_that_does_not_load_is_an_error_that_names_the_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("")
    (tmp_path / "mpi4py" / "MPI.py").write_text("raise RuntimeError('cannot load MPI library')")
    for name in [name for name in sys.modules if name.split(".")[0] == "mpi4py"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"no MPI library loads: cannot load MPI library.*\[mpi\]"):
        tg.parallel.MPI()


def test_an_mpiexec_of_another_mpi_is_refused() -> None:
    if subprocess.run([sys.executable, "-c", "import mpi4py"], capture_output=True).returncode:
        pytest.skip("mpi4py is not installed: pip install -e '.[mpi]'")
    env = {k: v for k, v in os.environ.items() if k not in (*launch.SIZES, *launch.RANKS)}
    code = "import tinygrad_rnn as tg; tg.parallel.MPI()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env | {"OMPI_COMM_WORLD_SIZE": "4"}
    )
    assert "MPI: mpiexec started 4 processes, but mpi4py sees only this one" in done.stderr


def test_threads_are_the_cores_of_a_node_divided_by_its_processes() -> None:
    assert launch.threads_each([set(range(8))] * 3) == 2
    assert launch.threads_each([{0, 1}, {2, 3}]) == 2  # bound by mpiexec
    assert launch.threads_each([{0}] * 4) == 1
