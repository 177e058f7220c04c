"""Invalid calls raise errors; forks, threads and the state of the process are not affected."""

import concurrent.futures
import multiprocessing
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
from common import CELLS, Problem, check_in_forked_children, threads

from tinygrad_rnn import kernels

NATIVE = kernels.implementations()[:-1]
native_only = pytest.mark.skipif(not NATIVE, reason=f"no native kernels: {kernels.info()['missing']}")


def changed(args, k, value):
    return [*args[:k], value, *args[k + 1 :]]


BAD = [
    (0, lambda a: a.tolist(), TypeError, "x is a list, expected a NumPy array of rank 3"),
    (0, lambda a: a[0], ValueError, r"x has shape \(4, 3\), expected rank 3"),
    (0, lambda a: a.astype(np.int64), TypeError, "x has dtype int64, expected float32 or float64"),
    (0, lambda a: a.astype(np.float16), TypeError, "x has dtype float16"),
    (0, lambda a: a.astype(">f8"), TypeError, "native byte order"),
    (1, lambda a: a[:-1], ValueError, r"kernel has shape \(2, 20\), expected \(3, 20\)"),
    (1, lambda a: a.astype(np.float32), TypeError, "kernel has dtype float32, expected float64 as x has"),
    (2, lambda a: a[:, :-1], ValueError, r"recurrent_kernel has shape \(5, 19\), expected \(5, 20\)"),
    (2, lambda a: None, TypeError, "recurrent_kernel is a NoneType"),
    (3, lambda a: a[None], ValueError, r"bias has shape \(1, 20\), expected \(20,\)"),
    (4, lambda a: a[:1], ValueError, r"c0 has shape \(1, 5\), expected \(2, 5\)"),
    (5, lambda a: a.T, ValueError, r"h0 has shape \(5, 2\), expected \(2, 5\)"),
]


@pytest.mark.parametrize(("k", "change", "error", "words"), BAD, ids=[b[3] for b in BAD])
def test_bad_arguments_are_named(k, change, error, words):
    p = Problem("lstm", 2, 4, 3, 5)
    with pytest.raises(error, match=f"lstm_forward: .*{words}"):
        p.forward(changed(p.args, k, change(p.args[k])))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"lengths": [1, 5]}, ValueError, r"lengths\[1\] is 5, expected 0..4, x having 4 steps"),
        ({"lengths": [-1, 2]}, ValueError, r"lengths\[0\] is -1"),
        ({"lengths": [1]}, ValueError, r"lengths has shape \(1,\), expected \(2,\)"),
        ({"lengths": [1.0, 2.0]}, TypeError, "lengths has dtype float64, expected integers"),
        ({"lengths": [True, False]}, TypeError, "lengths has dtype bool"),
        ({"lengths": "ab"}, TypeError, "lengths has dtype"),
        ({"lengths": [[1], [2, 3]]}, TypeError, "lengths"),
        ({"lengths": np.array([2**63, 1], np.uint64)}, ValueError, r"lengths\[0\] is 9223372036854775808"),
        ({"reverse": 1}, TypeError, "reverse is 1, expected True or False"),
        ({"time_major": "yes"}, TypeError, "time_major is 'yes'"),
    ],
)
def test_bad_options_are_named(options, error, words):
    p = Problem("lstm", 2, 4, 3, 5)
    with pytest.raises(error, match=f"lstm_forward: .*{words}"):
        p.forward(**options)
    with pytest.raises(ValueError, match="save is 'all', expected one of True, False, 'recompute'"):
        p.forward(save="all")


def test_other_bad_calls():
    p, q = Problem("lstm", 2, 4, 3, 5), Problem("gru-before", 2, 4, 3, 5)
    saved = p.forward()[2]
    with pytest.raises(ValueError, match="activation is 'gelu', expected one of 'tanh', 'relu'"):
        kernels.rnn_forward(*Problem("rnn-tanh", 2, 4, 3, 5).args, activation="gelu")
    with pytest.raises(ValueError, match="recurrent_bias was given, expected None with reset_after=False"):
        kernels.gru_forward(*changed(q.args, 4, q.args[3]), reset_after=False)
    with pytest.raises(TypeError, match="gru_backward: saved is from lstm_forward, expected what gru_forward returned"):
        kernels.gru_backward(saved)
    with pytest.raises(TypeError, match="lstm_backward: saved is a NoneType"):
        kernels.lstm_backward(p.forward(save=False)[2])
    with pytest.raises(ValueError, match=r"d_outputs has shape \(2, 3, 5\), expected \(2, 4, 5\)"):
        kernels.lstm_backward(saved, p.cotangents[0][:, 1:])
    with pytest.raises(ValueError, match=r"d_c has shape \(5,\), expected \(2, 5\)"):
        kernels.lstm_backward(saved, None, np.zeros(5))
    with pytest.raises(TypeError, match="d_h has dtype float32"):
        kernels.lstm_backward(saved, None, None, np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match=r"needs is .* expected 6 truth values"):
        kernels.lstm_backward(saved, needs=[True])
    for bad, error in ((0, ValueError), (1.5, TypeError), (True, TypeError), (10**9, ValueError)):
        with pytest.raises(error, match="set_num_threads: n is"):
            kernels.set_num_threads(bad)
    with pytest.raises(ValueError, match="using: name is 'sse9'"), kernels.using("sse9"):
        pass
    stepper = kernels.Stepper("lstm", *p.args[1:4])
    with pytest.raises(ValueError, match=r"step: x has shape \(2, 3\), expected \(1, 3\)"):
        stepper.step(p.args[0][:, 0])
    with pytest.raises(TypeError, match="step: x is a list"):
        stepper.step([[1.0, 2.0, 3.0]])
    with pytest.raises(TypeError, match="reset_after is None"):
        kernels.Stepper("gru", *q.args[1:4])


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
def test_random_bad_calls_never_crash():
    """Every call returns, or raises TypeError or ValueError."""
    rng = random.Random(0)
    good = {cell: Problem(cell, 2, 3, 2, 4) for cell in CELLS}
    refused = 0
    for _ in range(int(os.environ.get("TINYGRAD_RNN_BAD_CALLS", "4000"))):
        p = good[rng.choice(CELLS)]
        args, options = list(p.args), dict(p.options)
        for _ in range(rng.randint(1, 2)):
            k = rng.randrange(len(args))
            a = args[k] if isinstance(args[k], np.ndarray) else np.zeros(3)
            args[k] = rng.choice(
                [
                    None,
                    3,
                    "x",
                    a.tolist(),
                    a[..., :-1],
                    a[:0],
                    a.T,
                    a.astype(np.float32),
                    a.astype(object),
                    a.astype(complex),
                    a[None],
                    a[::-1],
                    np.broadcast_to(a.ravel()[:1].reshape((1,) * a.ndim) if a.size else a, a.shape),
                    a.astype(">f8"),
                    np.asfortranarray(a),
                    np.ma.masked_array(a),
                    a.view(np.recarray),
                    np.zeros(a.shape, "timedelta64[s]"),
                    np.float64(1),
                    a.astype("U3"),
                    object(),
                ]
            )
        if rng.random() < 0.4:
            options["lengths"] = rng.choice(
                [
                    [1],
                    [9, 1],
                    [-1, 0],
                    2,
                    "ab",
                    [None, 1],
                    [1.5, 2],
                    np.array([3, 3], np.uint8),
                    np.array([[1, 2]]),
                    [10**30, 1],
                    {},
                    [],
                ]
            )
        if rng.random() < 0.1:
            options[rng.choice(["reverse", "time_major"])] = rng.choice([None, 1, "no", np.True_])
        try:
            saved = p.forward(args, rng.choice([True, False, "recompute", None, 1, "x"]), **options)[2]
            p.backward(saved)
        except (TypeError, ValueError):
            refused += 1
    assert refused > 100


def work(seed=0):
    p = Problem("lstm", 8, 20, 16, 64, dtype=np.float32, seed=seed)
    return p.forward()[0].tobytes(), *[g.tobytes() for g in p.backward(p.forward()[2])]


def in_child(queue):
    queue.put(hash(work()))


@native_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_computes_correctly():
    with threads(3):
        check_in_forked_children(work)


CHILD = """
import multiprocessing, sys
sys.path[:0] = {path!r}
import test_calls
if __name__ == "__main__":
    test_calls.kernels.set_num_threads(2)
    want = test_calls.work()
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(test_calls.work, [0, 0]) == [want, want]
    print("same")
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_worker_processes_of_every_kind(method, tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD.format(path=sys.path, method=method))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "same", done.stderr


@native_only
def test_many_python_threads_at_once():
    kernels._native.set_worth_a_thread(1.0)
    before = kernels.get_num_threads()
    kernels.set_num_threads(2)
    try:
        want = [work(seed) for seed in range(4)]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            correct = list(pool.map(lambda k: work(k % 4) == want[k % 4], range(200)))
        assert all(correct)
    finally:
        kernels.set_num_threads(before)
        kernels._native.set_worth_a_thread(2e6)


@native_only
def test_the_gil_is_free_while_a_kernel_runs():
    p = Problem("lstm", 16, 200, 64, 128, dtype=np.float32)
    done, ticks = threading.Event(), []

    def tick():
        while not done.is_set():
            ticks.append(0)

    thread = threading.Thread(target=tick)
    thread.start()
    before = len(ticks)
    for _ in range(5):
        p.forward(save=False)
    during = len(ticks) - before
    done.set()
    thread.join()
    assert during > 1000


@native_only
def test_a_call_leaves_the_state_of_the_process_unchanged():
    """Denormals, rounding, floating-point flags' handling, signals and other libraries' threads."""
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import numpy as np, signal\n"
        "tiny = np.float32(1e-40)\n"
        "before = [signal.getsignal(s) for s in signal.valid_signals()], np.geterr()\n"
        "import test_calls; test_calls.kernels.set_num_threads(2); test_calls.work()\n"
        "assert np.array([tiny])[0] * np.float32(0.5) > 0, 'denormals are flushed'\n"
        "assert np.float32(1) + np.float32(2) ** -24 == 1 and -(np.float32(1) + np.float32(2) ** -24) == -1\n"
        "assert before == ([signal.getsignal(s) for s in signal.valid_signals()], np.geterr())\n"
        "print('same')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "same", done.stderr


@native_only
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system does not tell a thread's processors")
def test_threads_sleep_between_calls_and_may_run_anywhere_again():
    """After a pause a thread is woken on another core than its caller; this does not persist after the call."""
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import os, time, numpy as np\n"
        "from tinygrad_rnn import kernels\n"
        "kernels.set_num_threads(3)\n"
        "kernels._native.set_worth_a_thread(1.0)\n"
        "x, W, U, b = (np.ones(s, np.float32) for s in [(60, 20, 30), (30, 200), (50, 200), 200])\n"
        "allowed = os.sched_getaffinity(0)\n"
        "for _ in range(5):\n"
        "    kernels.lstm_forward(x, W, U, b, save=False)\n"
        "    time.sleep(0.02)\n"
        "    used = time.process_time()\n"
        "    time.sleep(0.2)\n"
        "    assert time.process_time() - used < 0.02, 'a thread spins'\n"
        "threads = [int(t) for t in os.listdir('/proc/self/task')]\n"
        "assert len(threads) >= 3\n"
        "assert all(os.sched_getaffinity(t) == allowed for t in threads), 'a thread stays bound'\n"
        "print('as before')\n"
    )
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "TINYGRAD_RNN_ISA": NATIVE[0]}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.strip() == "as before", done.stderr


@native_only
def test_ctrl_c_reaches_python():
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import os, signal, threading, test_calls\n"
        "test_calls.kernels.set_num_threads(2)\n"
        "threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    while True: test_calls.work()\n"
        "except KeyboardInterrupt:\n"
        "    assert test_calls.work(); print('stopped')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "stopped", done.stderr


def test_the_environment_chooses_and_requires():
    def ask(**more):
        code = (
            f"import sys; sys.path[:0] = {sys.path!r}\nfrom tinygrad_rnn import kernels; print(kernels.info()['isa'])"
        )
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **more}, timeout=60
        )

    for name in kernels.implementations():
        assert ask(TINYGRAD_RNN_ISA=name).stdout.strip() == (name if name != "reference" else "None")
    assert "TINYGRAD_RNN_ISA is 'mmx', expected one of" in ask(TINYGRAD_RNN_ISA="mmx").stderr
    done = ask(TINYGRAD_RNN_REQUIRE_NATIVE="1")
    assert (done.returncode == 0) == bool(NATIVE)


def test_only_numpy_is_imported():
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\nimport numpy; had = set(sys.modules); import tinygrad_rnn.kernels\n"
        "imported = {m.split('.')[0] for m in set(sys.modules) - had} - set(sys.stdlib_module_names)\n"
        "print(sorted(imported - {'tinygrad_rnn', 'numpy'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@native_only
@pytest.mark.skipif(not os.environ.get("TINYGRAD_RNN_BIG"), reason="takes 9 GB: set TINYGRAD_RNN_BIG=1 to run it")
def test_more_than_two_to_the_31_outputs():
    B, T, H = 64, 2**20 + 3, 32
    p = Problem("rnn-tanh", B, 1, 1, H, dtype=np.float32)
    x = np.broadcast_to(np.float32(0.5), (B, T, 1))
    outputs, h, _ = kernels.rnn_forward(x, *p.args[1:], save=False)
    assert outputs.size > 2**31
    np.testing.assert_array_equal(outputs[:, -1], h)
    short = kernels.rnn_forward(np.ascontiguousarray(x[:, :500]), *p.args[1:], save=False)[0]
    np.testing.assert_array_equal(outputs[:, :500], short)
    np.testing.assert_allclose(
        outputs[-1, -1], np.tanh(0.5 * p.args[1][0] + outputs[-1, -2] @ p.args[2] + p.args[3]), rtol=1e-4, atol=1e-5
    )
