"""Trains with one fault, on one rank or on all.

mpiexec -n N python faults.py FAULT CHECKPOINT [RANK]
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, train

fault, checkpoint, at = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1
parallel = tg.parallel.MPI()
here = parallel.rank == at
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = X.sum(axis=1, keepdims=True)
calls = 0


def loss_fn(batch):
    global calls
    calls += 1
    time.sleep(0.02)
    if calls == 5 and (here or fault == "everywhere"):
        if fault in ("exception", "everywhere"):
            raise ValueError("these data are bad")
        if fault == "exit":
            sys.exit(3)
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "nan":
            return tg.mse(model(batch[0]), batch[1]) * np.nan
        if fault == "changed":
            model.weight.data = model.weight.data + 1e-6
    return tg.mse(model(batch[0]), batch[1])


if fault == "before" and here:
    raise KeyError("nothing trained yet")
if fault == "left" and here:
    sys.exit(0)
tg.seed(parallel.rank if fault == "seeds" else 0)
model = nn.Linear(4, 1, bias=not (fault == "model" and here))
optimizer = optim.Adam(model.parameters(), 0.02 if fault == "rate" and here else 0.01)
size, examples = (1, 60) if fault == "rows" else (6, 60)
batches = data.Batches(X[:examples], Y[:examples], size=size)
if fault == "list":
    batches = [(X[:1], Y[:1])]
if fault == "short" and here:
    batches = data.Batches(X[:18], Y[:18], size=size)
history = train.fit(
    loss_fn,
    batches,
    optimizer,
    epochs=10_000 if fault in ("interrupt", "kill") else 3,
    model=model,
    parallel=None if fault == "copies" else tg.parallel.Serial() if fault == "meant" else parallel,
    checkpoint=None if fault in ("copies", "meant") else checkpoint,
    checkpoint_every=None if fault in ("copies", "meant") else 2,
    keep_best=False,
    on_validation=None,
    progress=fault == "progress",
)
if fault == "after" and here:
    raise KeyError("all is trained")
print(f"rank {parallel.rank}: {history.stopped} after {history.step}\n", end="")
