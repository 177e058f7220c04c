"""One library of `recurrent.py` in its process: answers questions, one line of JSON each, on standard input and output.

Every library gets the same numbers (weights in the order of this package, converted to its own) and trains by forward,
backward and the gradient of the input. Ours is called as users call it, batch-major; the others take time-major input
where that is their default.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def arrays(case):
    """x (T, B, D), W (D, GH), U (H, GH), b (GH), and for the GRU a second bias; then the cotangent of the outputs."""
    cell, B, T, D, H = case
    rng, G = np.random.default_rng(7), GATES[cell]
    x = rng.standard_normal((T, B, D))
    W, U, b = (
        rng.standard_normal((D, G * H)) / D**0.5,
        rng.standard_normal((H, G * H)) / H**0.5 * 0.7,
        rng.standard_normal(G * H) * 0.1,
    )
    c, g = rng.standard_normal(G * H) * 0.1, rng.standard_normal((T, B, H))
    return [a.astype(np.float32) for a in (x, W, U, b, c, g)]


def sample(**arrays):
    """A fingerprint of each array: a few values, its sum of absolutes and a random projection."""
    out = {}
    for name, a in arrays.items():
        a = np.asarray(a, np.float64)
        flat = a.reshape(-1)
        probe = np.random.default_rng(3).standard_normal(flat.size)
        out[name] = [*flat[:: max(1, flat.size // 50)].tolist(), float(flat @ probe) / flat.size**0.5]
    return out


class Ours:
    """`rnn.dynamic_rnn`, batch-major as is its default; training is a loss's `.backward()`."""

    def __init__(self, threads):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        import tinygrad_rnn as tg

        tg.set_num_threads(threads)
        self.tg, self.version = tg, str(tg.kernels.info())

    def prepare(self, case, mode):
        tg, (x, W, U, b, c, g) = self.tg, arrays(case)
        x = tg.tensor(x.swapaxes(0, 1), requires_grad=mode == "train")
        g = np.ascontiguousarray(g.swapaxes(0, 1))
        net, parameters, gradients = self.net(case, (W, U, b, c))

        def infer():
            with tg.no_grad():
                return net(x)

        def train():
            for p in (x, *parameters):
                p.grad = None
            (net(x) * g).sum().backward()

        if mode == "infer":
            return infer, sample(outputs=infer().data.swapaxes(0, 1))
        train()
        names = ("kernel", "recurrent", "bias")
        return train, sample(x=x.grad.swapaxes(0, 1), **dict(zip(names, gradients(), strict=True)))

    def net(self, case, weights):
        """A function of x, its parameters, and a function that gives their gradients in the layout of cells."""
        rnn, (cell, _, _, D, H), (W, U, b, c) = self.tg.rnn, case, weights
        cls = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}[cell]
        made = cls(H, **{"reset_after": True} if cell == "gru" else {}).build(D)
        state = {"kernel": W, "recurrent_kernel": U, "bias": b}
        made.load_state_dict(state | ({"recurrent_bias": c} if cell == "gru" else {}))
        parameters = (made.kernel, made.recurrent_kernel, made.bias)
        return lambda x: rnn.dynamic_rnn(made, x)[0], made.parameters(), lambda: [p.grad for p in parameters]


class Nn(Ours):
    """`nn.RNN`, `nn.LSTM`, `nn.GRU`, batch first."""

    def net(self, case, weights):
        from tinygrad_rnn.interop.torch import from_cell, to_cell

        cell, _, _, D, H = case
        layer = getattr(self.tg.nn, cell.upper())(D, H, batch_first=True)
        names = ("kernel", "recurrent_kernel", "bias", *(("recurrent_bias",) if cell == "gru" else ()))
        own = from_cell(cell, dict(zip(names, weights, strict=False)))
        layer.load_state_dict({f"{name}_l0": value for name, value in own.items()})

        def gradients():
            converted = to_cell(cell, {name: np.asarray(getattr(layer, f"{name}_l0").grad) for name in own})
            bias = converted["bias"] if cell == "gru" else converted["bias"] / 2  # the sum of two that are the same
            return converted["kernel"], converted["recurrent_kernel"], bias

        return lambda x: layer(x)[0], layer.parameters(), gradients


class Layers(Ours):
    """`layers.SimpleRNN`, `layers.LSTM`, `layers.GRU`, returning sequences."""

    def net(self, case, weights):
        layers, (cell, _, _, D, H), (W, U, b, c) = self.tg.layers, case, weights
        cls = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}[cell]
        layer = cls(H, return_sequences=True)
        layer(np.zeros((1, 1, D), np.float32))
        layer.set_weights([W, U, np.stack([b, c]) if cell == "gru" else b])
        kernel, recurrent, bias = layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias

        def gradients():
            return kernel.grad, recurrent.grad, bias.grad[0] if cell == "gru" else bias.grad

        return layer, layer.parameters(), gradients


class Kernels:
    """The kernels alone, arrays in and arrays out, time-major."""

    def __init__(self, threads):
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        from tinygrad_rnn import kernels

        kernels.set_num_threads(threads)
        self.kernels, self.version = kernels, str(kernels.info())

    def prepare(self, case, mode):
        cell, (x, W, U, b, c, g), k = case[0], arrays(case), self.kernels
        forward, backward = getattr(k, f"{cell}_forward"), getattr(k, f"{cell}_backward")
        more = {"reset_after": True, "recurrent_bias": c} if cell == "gru" else {}

        def infer():
            return forward(x, W, U, b, **more, time_major=True, save=False)

        def train():
            return backward(forward(x, W, U, b, **more, time_major=True)[2], g)

        if mode == "infer":
            return infer, sample(outputs=infer()[0])
        results = train()
        return train, sample(x=results[0], kernel=results[1], recurrent=results[2], bias=results[3])


class Gemm:
    version = "NumPy " + np.__version__

    def __init__(self, threads):
        self.a = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)

    def prepare(self, case, mode):
        return lambda: self.a @ self.a, {}


class Torch:
    def __init__(self, threads):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.version = torch, torch.__version__

    def prepare(self, case, mode):
        torch, (cell, _, _, D, H), (x, W, U, b, c, g) = self.torch, case, arrays(case)
        net = getattr(torch.nn, cell.upper())(D, H)
        order = [1, 0, 2] if cell == "gru" else range(GATES[cell])

        def turned(a):
            return torch.tensor(np.concatenate([np.split(a, GATES[cell], axis=-1)[k] for k in order], axis=-1).T.copy())

        second = c if cell == "gru" else np.zeros_like(b)
        for parameter, value in zip(
            (net.weight_ih_l0, net.weight_hh_l0, net.bias_ih_l0, net.bias_hh_l0), (W, U, b, second), strict=True
        ):
            parameter.data = turned(value)
        net.flatten_parameters()
        x, g = torch.tensor(x, requires_grad=mode == "train"), torch.tensor(g)

        def infer():
            with torch.inference_mode():
                return net(x)[0]

        def train():
            x.grad = None
            net.zero_grad(set_to_none=True)
            (net(x)[0] * g).sum().backward()

        if mode == "infer":
            return infer, sample(outputs=infer().numpy())
        train()

        def back(a):
            a = a.numpy().T if a.ndim == 2 else a.numpy()
            parts = np.split(a, GATES[cell], axis=-1)
            return np.concatenate([parts[list(order).index(k)] for k in range(GATES[cell])], axis=-1)

        return train, sample(
            x=x.grad.numpy(),
            kernel=back(net.weight_ih_l0.grad),
            recurrent=back(net.weight_hh_l0.grad),
            bias=back(net.bias_ih_l0.grad),
        )


class Jax:
    def __init__(self, threads):
        import jax

        self.jax, self.version = jax, jax.__version__

    def prepare(self, case, mode):
        jax, (cell, B, _, _, H), (x, W, U, b, c, g) = self.jax, case, arrays(case)
        np_ = jax.numpy

        def step(carry, z, U, c):
            if cell == "rnn":
                h = np_.tanh(z + carry[0] @ U)
                return (h,), h
            if cell == "lstm":
                i, f, j, o = np_.split(z + carry[1] @ U, 4, axis=-1)
                new = jax.nn.sigmoid(f) * carry[0] + jax.nn.sigmoid(i) * np_.tanh(j)
                h = jax.nn.sigmoid(o) * np_.tanh(new)
                return (new, h), h
            (h,), (zz, zr, zn), (uz, ur, un) = carry, np_.split(z, 3, axis=-1), np_.split(carry[0] @ U + c, 3, axis=-1)
            u, r = jax.nn.sigmoid(zz + uz), jax.nn.sigmoid(zr + ur)
            h = u * h + (1 - u) * np_.tanh(zn + r * un)
            return (h,), h

        def run(x, W, U, b):
            zero = np_.zeros((B, H), x.dtype)
            return jax.lax.scan(lambda s, z: step(s, z, U, c), (zero,) * (2 if cell == "lstm" else 1), x @ W + b)[1]

        values = [jax.device_put(a) for a in (x, W, U, b)]
        forward = jax.jit(run)
        gradient = jax.jit(lambda x, W, U, b: jax.vjp(run, x, W, U, b)[1](g))
        if mode == "infer":
            return lambda: forward(*values).block_until_ready(), sample(outputs=forward(*values))
        return lambda: jax.block_until_ready(gradient(*values)), sample(
            **dict(zip(("x", "kernel", "recurrent", "bias"), gradient(*values), strict=True))
        )


class Tensorflow:
    def __init__(self, threads):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self.tf, self.version = tf, tf.__version__

    def prepare(self, case, mode):
        tf, (cell, _, _, _, H), (x, W, U, b, c, g) = self.tf, case, arrays(case)
        layer = {"rnn": tf.keras.layers.SimpleRNN, "gru": tf.keras.layers.GRU, "lstm": tf.keras.layers.LSTM}[cell](
            H, return_sequences=True
        )
        x, g = tf.constant(np.swapaxes(x, 0, 1).copy()), tf.constant(np.swapaxes(g, 0, 1).copy())
        layer(x)
        layer.set_weights([W, U, np.stack([b, c]) if cell == "gru" else b])
        infer = tf.function(lambda: layer(x))

        @tf.function
        def train():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x)
            return tape.gradient(y, [x, *layer.trainable_variables], output_gradients=g)

        if mode == "infer":
            return infer, sample(outputs=np.swapaxes(infer().numpy(), 0, 1))
        dx, dW, dU, db = (a.numpy() for a in train())
        return train, sample(x=np.swapaxes(dx, 0, 1), kernel=dW, recurrent=dU, bias=db[0] if cell == "gru" else db)


class Onnxruntime:
    def __init__(self, threads):
        import onnxruntime

        self.threads, self.ort, self.version = threads, onnxruntime, onnxruntime.__version__

    def prepare(self, case, mode):
        if mode != "infer":
            return None
        from onnx import TensorProto, helper, numpy_helper

        (cell, B, T, D, H), (x, W, U, b, c, _) = case, arrays(case)
        order = {"rnn": [0], "gru": [0, 1, 2], "lstm": [0, 3, 1, 2]}[cell]  # iofc from ifgo

        def turned(a):
            return np.concatenate([np.split(a, GATES[cell], axis=-1)[k] for k in order], axis=-1)

        second = c if cell == "gru" else np.zeros_like(b)
        weights = {
            "W": turned(W).T[None],
            "R": turned(U).T[None],
            "B": np.concatenate([turned(b), turned(second)])[None],
        }
        more = {"linear_before_reset": 1} if cell == "gru" else {}
        node = helper.make_node(cell.upper(), ["X", "W", "R", "B"], ["Y"], hidden_size=H, **more)
        values = (
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, [T, B, D])],
            [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        )
        constants = [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in weights.items()]
        model = helper.make_model(
            helper.make_graph([node], "g", *values, constants), opset_imports=[helper.make_opsetid("", 17)]
        )
        model.ir_version = 9
        options = self.ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        session = self.ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"X": x}), sample(outputs=session.run(None, {"X": x})[0][:, 0])


LIBRARIES = {
    "tinygrad_rnn": Ours,
    "nn": Nn,
    "layers": Layers,
    "kernels": Kernels,
    "gemm": Gemm,
    "torch": Torch,
    "jax": Jax,
    "tensorflow": Tensorflow,
    "onnxruntime": Onnxruntime,
}


def serve(library_class, threads):
    """Answer questions on standard input until it ends, with a library held to the first `threads` cores."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(value):
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    library = library_class(threads)
    answer(library.version)
    run = None
    for line in sys.stdin:
        question = json.loads(line)
        if question["do"] == "prepare":
            prepared = library.prepare(question["case"], question["mode"])
            if prepared is None:
                answer(None)
                continue
            run, fingerprint = prepared
            run()
            answer(fingerprint)
        else:
            clock = getattr(time, question["clock"])
            times, end, most = [], time.perf_counter() + question["seconds"], question.get("most", 10**9)
            while not times or (time.perf_counter() < end and len(times) < most):
                start = clock()
                run()
                times.append(clock() - start)
            answer(times[len(times) > 2 :])


if __name__ == "__main__":
    serve(LIBRARIES[sys.argv[1]], int(sys.argv[2]))
