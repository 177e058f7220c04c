"""One process of `parallel.py`: trains a model for some steps and prints, on rank 0, how long they took (JSON).

    python parallel_step.py LIBRARY MODEL ROWS THREADS STEPS

Both libraries train the same net (embedding, LSTM, linear, cross-entropy, Adam) on random text with a state that is carried,
each as its users would: ours by `train.fit`, torch by a loop, with DistributedDataParallel (gloo) on several processes.
ROWS is the batch of all processes together.
"""

import json
import os
import sys
import time

import numpy as np

MODELS = {  # tokens, embedding, units, layers, rows, steps of time
    "character": (100, 64, 128, 1, 32, 64),
    "word": (10_000, 128, 256, 2, 20, 35),
}
WARM = 5


def text(tokens, rows, length, steps):
    return np.random.default_rng(0).integers(0, tokens, rows * length * steps + 1)


def ours(name, rows, threads, steps):
    import tinygrad_rnn as tg
    from tinygrad_rnn import data, nn, optim, train
    from tinygrad_rnn.autodiff import engine

    parallel = tg.parallel.MPI(threads=threads)
    tokens, embedding, units, layers, _, length = MODELS[name]

    class Net(tg.Module):
        def __init__(self):
            self.embedding, self.lstm = (
                nn.Embedding(tokens, embedding),
                nn.LSTM(embedding, units, layers, batch_first=True),
            )
            self.head = nn.Linear(units, tokens)

        def loss(self, batch, state):
            outputs, state = self.lstm(self.embedding(batch[0]), state)
            return tg.softmax_cross_entropy(self.head(outputs), targets=batch[1]), state

    tg.seed(0)
    net = Net()
    optimizer = optim.Adam(net.parameters(), 1e-3)
    state = tuple(np.zeros((layers, rows, units), np.float32) for _ in "hc")
    times, waits = [], []

    def batches(_):
        for batch in data.TextChunks(text(tokens, rows, length, steps + WARM), rows, length):
            times.append(time.perf_counter())
            waits.append(parallel.waited)
            yield batch

    train.fit(net.loss, batches, optimizer, epochs=1, state=state, parallel=parallel, progress=False)
    sizes = [p.data.nbytes for p in net.parameters()]
    result = {"step": np.diff(times[WARM:]).tolist(), "wait": np.diff(waits[WARM:]).tolist(), "bytes": sum(sizes)}
    if parallel.size > 1:  # the same sums without computation that could overlap with them
        alone = []
        arrays = [np.ones(size // 4, np.float32) for size in sizes]
        for _ in range(20):
            parallel.sum(0.0)
            start = time.perf_counter()
            for under_way in [parallel.start(array) for array in arrays]:
                under_way.wait()
            alone.append(time.perf_counter() - start)
        result["communication"] = float(np.median(alone))
    else:  # when the sweep finishes each gradient: it could be sent while the sweep continues
        chunk = text(tokens, rows, length, 1)[: rows * length].reshape(rows, length)
        names, timings = {p._node: path for path, p in net.named_parameters()}, []
        for _ in range(6):
            start, marks = time.perf_counter(), []
            loss, _ = net.loss((chunk, chunk), state)

            def mark(leaf, g, marks=marks):
                marks.append((names[leaf], g.nbytes, time.perf_counter()))

            engine.sweep([loss._seed(None, "")], finished=mark)
            end = time.perf_counter()
            timings.append([(path, size, end - at, end - start) for path, size, at in marks])
        middle = sorted(timings[1:], key=lambda one: one[0][3])[len(timings) // 2 - 1]
        result["finished"] = [(path, size, left) for path, size, left, _ in middle]
    if parallel.rank == 0:
        print(json.dumps(result), flush=True)


def torchs(name, rows, threads, steps):
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(threads)
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size > 1:
        distributed.init_process_group("gloo")
    tokens, embedding, units, layers, _, length = MODELS[name]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(tokens, embedding)
            self.lstm = torch.nn.LSTM(embedding, units, layers, batch_first=True)
            self.head = torch.nn.Linear(units, tokens)

        def forward(self, x, state):
            outputs, state = self.lstm(self.embedding(x), state)
            return self.head(outputs), state

    torch.manual_seed(0)
    net = Net()
    net = DistributedDataParallel(net) if size > 1 else net
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    own = rows // size
    ids = torch.tensor(text(tokens, rows, length, steps + WARM))
    ids = ids[:-1].reshape(rows, -1)[rank * own : (rank + 1) * own]
    state = tuple(torch.zeros(layers, own, units) for _ in "hc")
    times = []
    for i in range(steps + WARM):
        times.append(time.perf_counter())
        x = ids[:, i * length : (i + 1) * length]
        optimizer.zero_grad()
        logits, state = net(x, state)
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, tokens), x.reshape(-1))
        loss.backward()
        optimizer.step()
        state = tuple(s.detach() for s in state)
    if rank == 0:
        print(json.dumps({"step": np.diff(times[WARM:]).tolist(), "version": torch.__version__}), flush=True)
    if size > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    library, model, *numbers = sys.argv[1:]
    {"ours": ours, "torch": torchs}[library](model, *map(int, numbers))
