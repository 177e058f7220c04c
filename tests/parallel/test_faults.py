"""A failure on one process ends all within seconds, with one message that names the rank."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from mpiexec import FAULTS, command, environment, run

import tinygrad_rnn as tg

MESSAGES = {  # fault -> the rank that reports it, its message
    "exception": (1, "ValueError: these data are bad"),
    "everywhere": (0, "ValueError: these data are bad"),
    "exit": (1, "SystemExit: 3"),
    "nan": (1, "FloatingPointError: fit: the loss is nan at step 5"),
    "changed": (0, r"fit: after step 6 parameter weight differs on rank 1 from rank 0's"),
    "before": (1, "KeyError: 'nothing trained yet'"),
    "after": (1, "KeyError: 'all is trained'"),
    "left": (0, "rank 1 exited while rank 0 waits for it"),
    "short": (0, "fit: after step 3 some processes have a batch and others none"),
    "model": (0, "fit: parameter 1 is missing on rank 1 and bias (1,) float32 on rank 0; every process must build"),
    "rate": (0, "fit: optimizer.lr is 0.02 on rank 1 and 0.01 on rank 0"),
    "rows": (0, "fit: a batch has 1 rows for {n} processes; give batches of at least {n} rows, or fewer processes"),
    "list": (0, "fit: a batch has 1 rows for {n} processes"),
}


@pytest.mark.parametrize(
    ("fault", "processes"),
    [*((fault, 2) for fault in MESSAGES), *((f, 3) for f in ("exception", "everywhere", "left"))],
)
def test_one_message_names_the_rank_and_all_end(fault: str, processes: int, tmp_path: Path) -> None:
    start = time.monotonic()
    done = run(processes, FAULTS, fault, tmp_path / "run.safetensors", timeout=60)
    rank, message = MESSAGES[fault]
    assert done.returncode != 0
    assert f"rank {rank} of {processes} failed, all processes end: " in done.stderr
    assert message.format(n=processes) in done.stderr
    assert done.stderr.count("all processes end") == 1
    assert done.stderr.count("Traceback") == 1
    assert time.monotonic() - start < 30  # apart from starting Python, 3 seconds at most


def test_a_killed_process_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = run(2, FAULTS, "kill", path, timeout=60)
    assert done.returncode != 0
    assert tg.load(path).metadata["training"]["step"] == 4
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("whom", ["mpiexec", "all", "limit"])
def test_ctrl_c_saves_once_and_leaves(whom: str, tmp_path: Path) -> None:
    """Sent to mpiexec, which passes it on; or by a terminal to every process as well; or SIGTERM, at a time limit."""
    path = tmp_path / "run.safetensors"
    process = subprocess.Popen(
        command(3, FAULTS, "interrupt", path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    until = time.monotonic() + 60
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.05)
    if whom == "mpiexec":
        process.send_signal(signal.SIGINT)
    else:
        os.killpg(process.pid, signal.SIGINT) if whom == "all" else process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    step = tg.load(path).metadata["training"]["step"]
    assert sorted(line for line in out.split("\n") if line.startswith("rank")) == [
        f"rank {rank}: interrupted after {step}" for rank in range(3)
    ]
    assert err.count("stopping after this step") == 1
    assert "Traceback" not in err


def test_parameters_that_differ_at_the_start_are_sent(tmp_path: Path) -> None:
    done = run(3, FAULTS, "seeds", tmp_path / "run.safetensors")
    assert done.returncode == 0
    assert done.stderr.count("fit: weight differed on rank 1 at the start; rank 0's parameters were sent to all") == 1
    assert done.stdout.count("epochs after 30") == 3


def test_copies_are_warned_of(tmp_path: Path) -> None:
    done = run(2, FAULTS, "copies", tmp_path / "run.safetensors")
    assert done.stderr.count("UserWarning: fit: mpiexec started 2 processes and each trains a copy of its own") == 1
    assert "parallel=tg.parallel.MPI()" in done.stderr
    assert "Warning" not in run(2, FAULTS, "meant", tmp_path / "run.safetensors").stderr


def test_only_the_first_rank_shows_progress(tmp_path: Path) -> None:
    done = run(3, FAULTS, "progress", tmp_path / "run.safetensors")
    assert done.stderr.count("step 30, loss") == 1
