"""One library of `training.py` in its process: trains a model, and answers questions, one line of JSON each, on standard input.

    python training_step.py LIBRARY THREADS

Every model is written as the library's users write it; the first weights come from a file, and the losses of the first
steps are returned for comparison. LIBRARY is ours, torch, or keras with a backend: keras-torch, keras-jax, keras-tensorflow.
"""

import json
import os
import resource
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np

FIRST = 4  # steps whose losses are compared
CLIP = 1.0
SIZES = {
    "character LM": {"tokens": 100, "embedding": 64, "units": 128, "layers": 1, "rows": 32, "steps": 64},
    "word LM": {"tokens": 10_000, "embedding": 128, "units": 256, "layers": 2, "rows": 20, "steps": 35},
    "BiLSTM classifier": {"tokens": 20_000, "embedding": 128, "units": 64, "rows": 32, "steps": 200, "classes": 2},
    "forecaster": {"units": 64, "layers": 2, "rows": 64, "steps": 48, "features": 8},
    "small": {"units": 16, "layers": 2, "rows": 8, "steps": 16, "features": 4},
    "perceptron": {"features": 64, "units": 128, "classes": 10, "rows": 64},
    "attention": {"tokens": 2000, "embedding": 64, "units": 128, "rows": 32, "steps": 20},
    "fit": {"tokens": 2000, "embedding": 32, "units": 64, "classes": 10, "rows": 32, "steps": 40, "batches": 20},
}


def data(name):
    """The arrays of a few batches, the same for every library."""
    rng, size = np.random.default_rng(1), SIZES[name]
    rows, steps = size["rows"], size.get("steps", 1)

    def words(count=None):
        return rng.integers(0, size["tokens"], (rows, steps) if count is None else (count, steps))

    if name.endswith("LM"):
        text = [words() for _ in range(5)]
        return [(x, np.roll(x, -1, axis=1)) for x in text]
    if name == "BiLSTM classifier":
        return [(words(), rng.integers(0, size["classes"], rows)) for _ in range(4)]
    if name in ("forecaster", "small"):
        series = [rng.standard_normal((rows, steps, size["features"])).astype(np.float32) for _ in range(4)]
        return [(x, x[:, -1:, 0] * 0.5) for x in series]
    if name == "perceptron":
        inputs = [rng.standard_normal((rows, size["features"])).astype(np.float32) for _ in range(4)]
        return [(x, rng.integers(0, size["classes"], rows)) for x in inputs]
    if name == "attention":
        return [(words(), words(), words()) for _ in range(4)]
    count = rows * size["batches"]
    return words(count), rng.integers(0, size["classes"], count)


def products(name):
    """Floating-point operations of one step's matrix products (of the recurrent layers too), backward being two forwards."""
    s = SIZES[name]
    places = s["rows"] * s.get("steps", 1)

    def recurrent(inputs, gates):
        return gates * s["units"] * (inputs + s["units"])

    if name.endswith("LM"):
        inner = recurrent(s["embedding"], 4) + (s["layers"] - 1) * recurrent(s["units"], 4) + s["units"] * s["tokens"]
        return 6 * places * inner
    if name == "BiLSTM classifier":
        return 6 * places * 2 * recurrent(s["embedding"], 4)
    if name in ("forecaster", "small"):
        return 6 * places * (recurrent(s["features"], 3) + recurrent(s["units"], 3))
    if name == "perceptron":
        return 6 * places * s["units"] * (s["features"] + s["units"] + s["classes"])
    if name == "attention":
        units = s["units"]
        attention = units * units + 2 * units * s["steps"] + 2 * units * units
        decoder = recurrent(s["embedding"] + units, 4) + attention + units * s["tokens"]
        return 6 * places * (recurrent(s["embedding"], 4) + decoder)
    return 6 * s["batches"] * (places * recurrent(s["embedding"], 4) + s["rows"] * s["units"] * s["classes"])


class Ours:
    def __init__(self, threads):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        import tinygrad_rnn as tg

        tg.set_num_threads(threads)
        self.tg, self.version = tg, str(tg.kernels.info()["isa"])

    def model(self, name):
        tg, s = self.tg, SIZES[name]
        nn, rnn, module = tg.nn, tg.rnn, tg.Module
        if name.endswith("LM"):

            class Net(module):
                def __init__(self):
                    self.embedding = nn.Embedding(s["tokens"], s["embedding"])
                    self.rnn = nn.LSTM(s["embedding"], s["units"], s["layers"], batch_first=True)
                    self.head = nn.Linear(s["units"], s["tokens"])

                def loss(self, x, y, state=None):
                    outputs, state = self.rnn(self.embedding(x), state)
                    return tg.softmax_cross_entropy(self.head(outputs), targets=y), state
        elif name == "BiLSTM classifier":

            class Net(module):
                def __init__(self):
                    self.embedding = nn.Embedding(s["tokens"], s["embedding"])
                    self.rnn = nn.LSTM(s["embedding"], s["units"], batch_first=True, bidirectional=True)
                    self.head = nn.Linear(2 * s["units"], s["classes"])

                def loss(self, x, y):
                    outputs, _ = self.rnn(self.embedding(x))
                    return tg.softmax_cross_entropy(self.head(outputs.mean(axis=1)), targets=y)
        elif name in ("forecaster", "small"):

            class Net(module):
                def __init__(self):
                    self.rnn = nn.GRU(s["features"], s["units"], s["layers"], batch_first=True)
                    self.head = nn.Linear(s["units"], 1)

                def loss(self, x, y):
                    return tg.mse(self.head(self.rnn(x)[0][:, -1]), y)
        elif name == "perceptron":

            class Net(module):
                def __init__(self):
                    sizes = s["features"], s["units"], s["units"], s["classes"]
                    self.first, self.second, self.third = (nn.Linear(a, b) for a, b in pairwise(sizes))

                def loss(self, x, y):
                    h = tg.relu(self.second(tg.relu(self.first(x))))
                    return tg.softmax_cross_entropy(self.third(h), targets=y)
        else:

            class Net(module):
                def __init__(self):
                    units, memory = s["units"], np.zeros((1, 1, s["units"]), np.float32)
                    self.source = nn.Embedding(s["tokens"], s["embedding"])
                    self.target = nn.Embedding(s["tokens"], s["embedding"])
                    self.encoder = nn.LSTM(s["embedding"], units, batch_first=True)
                    self.attention = rnn.LuongAttention(units, memory)
                    self.decoder = rnn.AttentionWrapper(rnn.LSTMCell(units, forget_bias=0.0), self.attention, units)
                    self.decoder.build(s["embedding"])
                    self.head = nn.Linear(units, s["tokens"])

                def loss(self, x, y, z):
                    outputs, _ = self.encoder(self.source(x))
                    self.attention.setup_memory(outputs)
                    decoded, _ = rnn.dynamic_rnn(self.decoder, self.target(y), dtype=np.float32)
                    return tg.softmax_cross_entropy(self.head(decoded), targets=z)

        return Net()

    def prepare(self, name, weights):
        """The weights are written here, for the others to read."""
        tg = self.tg
        tg.seed(0)
        if name == "fit":
            return self.prepare_fit(weights)
        batches, net = data(name), self.model(name)
        np.savez(weights, **net.state_dict())
        carried = name.endswith("LM")
        optimizer = tg.optim.Adam(net.parameters(), 1e-3)
        self.net, self.optimizer = net, optimizer
        state = None

        def step(i):
            nonlocal state
            optimizer.zero_grad()
            if carried:
                loss, state = net.loss(*batches[i % len(batches)], state)
                state = tg.rnn.detach(state)
            else:
                loss = net.loss(*batches[i % len(batches)])
            loss.backward()
            if carried:
                tg.optim.clip_by_global_norm(optimizer.params, CLIP)
            optimizer.step()
            return loss.item()

        return step

    def prepare_fit(self, weights):
        tg, s = self.tg, SIZES["fit"]
        layers, (x, y) = tg.layers, data("fit")
        model = tg.models.Sequential(
            [
                layers.Embedding(s["tokens"], s["embedding"]),
                layers.LSTM(s["units"]),
                layers.Dense(s["classes"], activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        model(x[:1])
        np.savez(weights, *model.get_weights())

        def step(i):
            return model.fit(x, y, batch_size=s["rows"], epochs=1, shuffle=False, verbose=0).history["loss"][0]

        return step

    def where(self, name, step, steps):
        """Milliseconds of a step by part, measured around every op's forward and vjp and around the optimiser."""
        tg, spent, depth = self.tg, defaultdict(float), [0]
        parts = defaultdict(lambda: "other ops")
        parts |= dict.fromkeys(("matmul", "linear", "product_of"), "products")
        parts |= dict.fromkeys(("softmax_cross_entropy", "mse"), "loss")
        parts |= dict.fromkeys(("getitem", "scatter_add", "embedding"), "indexing")
        parts |= {
            op.name: "kernels" for op in tg.operations() if op.kind == "recurrent" or op.name in ("scan", "_scan")
        }

        def timed(part, f):
            def run(*args, **options):
                if depth[0]:
                    return f(*args, **options)
                depth[0], start = 1, time.perf_counter()
                try:
                    return f(*args, **options)
                finally:
                    depth[0] = 0
                    spent[part] += time.perf_counter() - start

            return run

        saved = []

        def wrap(owner, attribute, part):
            saved.append((owner, attribute, getattr(owner, attribute)))
            setattr(owner, attribute, timed(part, getattr(owner, attribute)))

        for op in tg.operations():
            part = parts[op.name]
            wrap(op, "forward", part)
            wrap(op, "rule", part)
        for owner in (tg.optim.SGD, tg.optim.Adam):
            wrap(owner, "step", "optimiser")
        wrap(tg.optim, "clip_by_global_norm", "optimiser")
        start = time.perf_counter()
        for i in range(steps):
            step(i)
        total = time.perf_counter() - start
        for owner, attribute, before in saved:
            setattr(owner, attribute, before)
        spent["Python"] = total - sum(spent.values())
        return {part: seconds / steps * 1e3 for part, seconds in spent.items()}


class Torch:
    def __init__(self, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.version = torch, torch.__version__

    def model(self, name):
        torch, s = self.torch, SIZES[name]
        nn, functional = torch.nn, torch.nn.functional
        if name.endswith("LM"):

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.embedding = nn.Embedding(s["tokens"], s["embedding"])
                    self.rnn = nn.LSTM(s["embedding"], s["units"], s["layers"], batch_first=True)
                    self.head = nn.Linear(s["units"], s["tokens"])

                def loss(self, x, y, state=None):
                    outputs, state = self.rnn(self.embedding(x), state)
                    logits = self.head(outputs)
                    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1)), state
        elif name == "BiLSTM classifier":

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.embedding = nn.Embedding(s["tokens"], s["embedding"])
                    self.rnn = nn.LSTM(s["embedding"], s["units"], batch_first=True, bidirectional=True)
                    self.head = nn.Linear(2 * s["units"], s["classes"])

                def loss(self, x, y):
                    outputs, _ = self.rnn(self.embedding(x))
                    return functional.cross_entropy(self.head(outputs.mean(dim=1)), y)
        elif name in ("forecaster", "small"):

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.rnn = nn.GRU(s["features"], s["units"], s["layers"], batch_first=True)
                    self.head = nn.Linear(s["units"], 1)

                def loss(self, x, y):
                    return functional.mse_loss(self.head(self.rnn(x)[0][:, -1]), y)
        elif name == "perceptron":

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    sizes = s["features"], s["units"], s["units"], s["classes"]
                    self.first, self.second, self.third = (nn.Linear(a, b) for a, b in pairwise(sizes))

                def loss(self, x, y):
                    h = torch.relu(self.second(torch.relu(self.first(x))))
                    return functional.cross_entropy(self.third(h), y)
        else:

            class Net(nn.Module):
                def __init__(self):
                    super().__init__()
                    units = s["units"]
                    self.source = nn.Embedding(s["tokens"], s["embedding"])
                    self.target = nn.Embedding(s["tokens"], s["embedding"])
                    self.encoder = nn.LSTM(s["embedding"], units, batch_first=True)
                    self.cell = nn.LSTMCell(s["embedding"] + units, units)
                    self.cell.bias_hh.requires_grad_(False)  # ours has one
                    self.keys, self.mix = nn.Linear(units, units, bias=False), nn.Linear(2 * units, units, bias=False)
                    self.head = nn.Linear(units, s["tokens"])

                def load_state_dict(self, state):
                    state = dict(state)
                    cell = "decoder.cell"
                    self.cell.bias_hh.data.zero_()
                    super().load_state_dict(
                        {
                            "cell.weight_ih": state.pop(f"{cell}.kernel").T,
                            "cell.weight_hh": state.pop(f"{cell}.recurrent_kernel").T,
                            "cell.bias_ih": state.pop(f"{cell}.bias"),
                            "cell.bias_hh": self.cell.bias_hh,
                            "keys.weight": state.pop("attention.memory_kernel").T,
                            "mix.weight": state.pop("decoder.attention_kernel").T,
                        }
                        | state
                    )

                def loss(self, x, y, z):
                    values, _ = self.encoder(self.source(x))
                    keys, embedded = self.keys(values), self.target(y)
                    h = c = attention = torch.zeros(len(x), s["units"])
                    outputs = []
                    for t in range(y.shape[1]):
                        h, c = self.cell(torch.cat([embedded[:, t], attention], dim=1), (h, c))
                        score = torch.bmm(keys, h.unsqueeze(2)).squeeze(2)
                        context = torch.bmm(torch.softmax(score, dim=1).unsqueeze(1), values).squeeze(1)
                        attention = self.mix(torch.cat([h, context], dim=1))
                        outputs.append(attention)
                    logits = self.head(torch.stack(outputs, dim=1))
                    return functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), z.reshape(-1))

        return Net()

    def prepare(self, name, weights):
        torch = self.torch
        if name == "fit":
            return None
        net = self.model(name)
        with np.load(weights) as arrays:
            net.load_state_dict({path: torch.tensor(arrays[path]) for path in arrays.files})
        batches = [tuple(map(torch.tensor, batch)) for batch in data(name)]
        carried = name.endswith("LM")
        optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 1e-3)
        state = None

        def step(i):
            nonlocal state
            optimizer.zero_grad()
            if carried:
                loss, state = net.loss(*batches[i % len(batches)], state)
                state = tuple(part.detach() for part in state)
            else:
                loss = net.loss(*batches[i % len(batches)])
            loss.backward()
            if carried:
                torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimizer.step()
            return loss.item()

        return step


class Keras:
    def __init__(self, threads, backend):
        os.environ["KERAS_BACKEND"] = backend
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        self.keras, self.version = keras, f"{keras.__version__} on {backend}"
        if backend == "torch":
            import torch

            torch.set_num_threads(threads)

    def prepare(self, name, weights):
        if name != "fit":
            return None
        layers, s, (x, y) = self.keras.layers, SIZES[name], data(name)
        model = self.keras.Sequential(
            [
                layers.Embedding(s["tokens"], s["embedding"]),
                layers.LSTM(s["units"]),
                layers.Dense(s["classes"], activation="softmax"),
            ]
        )
        model.compile("adam", "sparse_categorical_crossentropy")
        model.build((None, s["steps"]))
        with np.load(weights) as arrays:
            model.set_weights([arrays[key] for key in arrays.files])

        def step(i):
            return model.fit(x, y, batch_size=s["rows"], epochs=1, shuffle=False, verbose=0).history["loss"][0]

        return step


class Gemm:
    version = "NumPy " + np.__version__

    def __init__(self, threads):
        self.a = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)

    def prepare(self, name, weights):
        return lambda i: float((self.a @ self.a)[0, 0])


def resident(key):
    """A figure of /proc/self/status, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def main():
    name, threads = sys.argv[1], int(sys.argv[2])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    if name.startswith("keras"):
        library = Keras(threads, name.partition("-")[2])
    else:
        library = {"ours": Ours, "torch": Torch, "gemm": Gemm}[name](threads)
    answer(library.version)
    base, step, done = resident("VmRSS"), None, 0
    for line in sys.stdin:
        question = json.loads(line)
        if question["do"] == "prepare":
            step, done = library.prepare(question["model"], question["weights"]), 0
            if step is None:
                answer(None)
                continue
            losses = [step(i) for i in range(1 if name == "gemm" else FIRST)]
            done = len(losses)
            answer(losses)
        elif question["do"] == "run":
            times, faults = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            end = time.perf_counter() + question["seconds"]
            while len(times) < 3 or time.perf_counter() < end:
                start = time.perf_counter()
                step(done)
                times.append(time.perf_counter() - start)
                done += 1
            faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
            answer({"seconds": times[1:], "faults": faults / len(times)})
        elif question["do"] == "where":
            answer(library.where(question["model"], step, question["steps"]))
        else:  # the peak memory of a step, minus the memory after the library was loaded
            Path("/proc/self/clear_refs").write_text("5")
            for _ in range(5):
                step(done)
                done += 1
            answer(resident("VmHWM") - base)


if __name__ == "__main__":
    main()
