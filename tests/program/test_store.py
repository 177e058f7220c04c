"""The store of programs: which calls trace again, how many programs are kept, and which are deleted with their owner."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref
from time import perf_counter

import numpy as np
import pytest
from scan_cases import D, H, draws, leaf

import tinygrad_rnn as tg
from tinygrad_rnn.program import scan as module
from tinygrad_rnn.program.scan import store


class Cell(tg.Module):
    """A gated unit, at the top of a module so that it pickles."""

    def __init__(self, rate=1.0, seed=0, size=H):
        normal = draws(seed)
        self.rate = rate
        self.w = tg.Parameter(normal(D, 2 * size) * 0.5, dtype=np.float64)
        self.u = tg.Parameter(normal(size, 2 * size) * 0.5, dtype=np.float64)

    def step(self, x, h):
        z, n = tg.split(x @ self.w + h @ self.u, 2, axis=1)
        h = h + self.rate * tg.sigmoid(z) * (tg.tanh(n) - h)
        return h, h

    def run(self, batch=3, impl="auto", time=4, h=None):
        x = draws(1)(batch, time, D)
        size = self.u.shape[0]
        return tg.scan(self.step, x, np.zeros((batch, size)) if h is None else h, impl=impl)[0].data


@pytest.fixture
def traces(monkeypatch):
    """Counts the steps traced, for new programs and for sizes of batches not met before."""
    count = {"new": 0, "batch": 0}

    def counting(name, kind):
        f = getattr(module, name)

        def counted(*args):
            count[kind] += 1
            return f(*args)

        monkeypatch.setattr(module, name, counted)

    counting("trace", "new")
    counting("verify", "batch")
    store.traced.clear()
    return count


def test_one_trace_serves_all_objects_of_a_class_with_the_same_options_and_shapes(traces):
    for seed in range(4):
        cell = Cell(seed=seed)
        for _ in range(2):
            np.testing.assert_allclose(cell.run(), cell.run(impl="unrolled"), rtol=1e-12)
    assert traces == {"new": 1, "batch": 0}  # the second trace used this batch size


def test_which_changes_cause_a_new_trace(traces):
    cell = Cell()
    cell.run()
    assert traces == {"new": 1, "batch": 0}  # the second trace used this batch size
    cell.run(time=9)
    cell.w.data = cell.w.data * 2
    cell.w = tg.Parameter(cell.w.data)
    cell.run()
    assert traces == {"new": 1, "batch": 0}  # the second trace used this batch size
    cell.run(batch=6)
    cell.run(batch=6)
    assert traces == {"new": 1, "batch": 1}
    Cell(rate=0.5).run()
    cell.rate = 0.25
    np.testing.assert_allclose(cell.run(), cell.run(impl="unrolled"), rtol=1e-12)
    assert traces["new"] == 3
    cell.rate = 0.5
    cell.run()
    assert traces["new"] == 3
    Cell(size=H + 1).run()
    assert traces["new"] == 4
    cell.run(h=leaf(np.zeros((3, H))))
    assert traces["new"] == 5
    with tg.training(False):
        cell.run()
    assert traces["new"] == 6
    with tg.no_grad():
        cell.run()
    assert traces["new"] == 6


def test_a_refused_step_is_not_tried_again(traces):
    class Reads(Cell):
        def step(self, x, h):
            return h * x.data[0, 0].item(), h

    cell = Reads()
    for _ in range(3):
        cell.run()
        Reads().run()
    assert traces == {"new": 1, "batch": 0}

    class Sized(Cell):
        def step(self, x, h):
            return (h * 2 if x.shape[0] == 3 else h), h

    cell = Sized()
    for batch in (3, 2, 3, 2):
        np.testing.assert_array_equal(cell.run(batch), cell.run(batch, impl="unrolled"))
    assert traces == {"new": 2, "batch": 0}


def test_the_store_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "KEPT", 8)
    for k in range(20):
        Cell(rate=k / 7).run()
    assert len(store.traced) <= 8
    most, store.environments.most = store.environments.most, 8
    try:
        cells = [Cell(seed=k) for k in range(20)]
        for cell in cells:
            cell.run()
        assert len(store.environments.known) <= 8
        for cell in cells:
            np.testing.assert_allclose(cell.run(), cell.run(impl="unrolled"), rtol=1e-12)
    finally:
        store.environments.most = most


def test_cells_and_closures_are_not_kept_alive():
    def closed(w):
        return lambda x, h: (tg.tanh(h + x @ w),) * 2

    class Holder:
        """An object that a closure reads; a weak reference shows whether it is kept alive."""

    cell, step, held = Cell(), closed(leaf(draws()(D, H))), Holder()
    held.w = leaf(draws()(D, H))

    def reads(x, h):
        return tg.tanh(h + x @ held.w), h

    for s in (cell.step, step, reads):
        tg.scan(s, draws()(2, 3, D), draws()(2, H))
    alive = [weakref.ref(o) for o in (cell, step, held, reads)]
    cell = step = held = reads = s = None
    gc.collect()
    assert [r() for r in alive] == [None] * 4


def test_cells_that_a_driver_ran_are_not_kept_alive():
    cell = tg.rnn.DropoutWrapper(tg.rnn.GRUCell(2), input_keep_prob=0.5)
    tg.rnn.dynamic_rnn(cell, draws()(2, 3, D), dtype=np.float64)
    alive = weakref.ref(cell)
    del cell
    gc.collect()
    assert alive() is None


def test_copies_and_pickles_run_on_their_own_weights(traces):
    cell = Cell()
    cell.run()
    before = set(vars(cell))
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell)), copy.copy(cell)):
        assert set(vars(twin)) == before
        twin.w = tg.Parameter(cell.w.data * 3)
        np.testing.assert_allclose(twin.run(), twin.run(impl="unrolled"), rtol=1e-12)
        assert np.abs(twin.run() - cell.run()).max() > 1e-3
    np.testing.assert_allclose(cell.run(), cell.run(impl="unrolled"), rtol=1e-12)
    assert traces == {"new": 1, "batch": 0}  # the second trace used this batch size


def test_a_new_step_at_the_address_of_a_deleted_one_is_traced_again():
    """A new function may get the id of a deleted one."""
    for k in range(200):
        got = tg.scan(lambda x, h, k=k: (h + k, h), np.zeros((2, 1, 1)), np.zeros((2, 1)))[0]
        assert got.data[0, 0, 0] == k
        step = eval(f"lambda x, h: (h + {k}, h)")
        assert tg.scan(step, np.zeros((2, 1, 1)), np.zeros((2, 1)))[0].data[0, 0, 0] == k
        del step


def test_threads_at_once():
    cells = [Cell(rate=0.1 + k % 3, seed=k) for k in range(6)]
    want = [[c.run(batch, "unrolled") for batch in (1, 2, 3)] for c in cells]
    store.traced.clear()
    wrong = []
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def work(start):
        for n in range(30):
            c = (start + n) % len(cells)
            for batch in (1, 2, 3):
                if not np.allclose(cells[c].run(batch), want[c][batch - 1], rtol=1e-12):
                    wrong.append((start, n))
            if n % 10 == 0:
                store.traced.clear()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    try:
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_threads_with_scalars_of_their_own():
    """Tracing in one thread neither affects nor is affected by computations in another."""
    stop, wrong = threading.Event(), []

    def computes():
        a = tg.tensor([1.0, 2.0], requires_grad=True)
        while not stop.is_set():
            (a * a).sum().backward()
            if a.grad.tolist() != [2.0, 4.0]:
                wrong.append(a.grad)
            a.grad = None

    other = threading.Thread(target=computes)
    other.start()
    for k in range(40):
        Cell(rate=k / 3).run()
    stop.set()
    other.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_forked_while_another_thread_traces():
    held, done = threading.Event(), threading.Event()

    def holds():
        with store.lock, store.environments.lock:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=holds)
    thread.start()
    held.wait()
    pid = os.fork()
    if not pid:
        try:
            Cell(rate=0.77).run()
            os._exit(0)
        finally:
            os._exit(1)
    done.set()
    thread.join()
    deadline = perf_counter() + 20
    while (status := os.waitpid(pid, os.WNOHANG)) == (0, 0) and perf_counter() < deadline:
        threading.Event().wait(0.01)
    if status == (0, 0):
        os.kill(pid, 9)
        status = os.waitpid(pid, 0)
    assert status[1] == 0, "the child waits for a lock that nobody will give back"


def test_a_first_call_where_nobody_has_imported_random():
    """Python's random generator is checked only if it was imported; a step is traced in either case."""
    code = """
import sys
import numpy as np
import tinygrad_rnn as tg
assert "random" not in sys.modules
class Decay(tg.rnn.RNNCell):
    state_size = output_size = 3
    def call(self, x, h):
        h = 0.5 * h + x
        return h, h
how = tg.rnn.explain(Decay(), np.ones((1, 2, 3), np.float32))
print(how.path)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fused", done.stderr
