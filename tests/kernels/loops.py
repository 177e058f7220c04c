"""Loop programs written by hand, for the tests of the interpreter: short ways to say slots, operands and instructions."""

import numpy as np

from tinygrad_rnn import kernels

TEMP, SEQUENCE, STATE, CONSTANT, ONCE, SCRATCH = range(6)


def steps_of(shape):
    """Row-major strides."""
    return tuple(int(np.prod(shape[k + 1 :])) for k in range(len(shape)))


def at(slot, shape, offset=0, strides=None):
    """Elements of a slot's row."""
    return (0, slot, offset, tuple(steps_of(shape) if strides is None else strides), 0.0)


def weight(index, shape, offset=0, strides=None):
    return (1, index, offset, tuple(steps_of(shape) if strides is None else strides), 0.0)


def number(value):
    return (2, 0, 0, (), float(value))


class Builder:
    """Collects the tables of one loop; `build()` makes it, `run()` runs it with arrays by name."""

    def __init__(self, dtype=np.float64):
        self.dtype = np.dtype(dtype)
        self.slots, self.sequences, self.states, self.constants = [], [], [], []
        self.sums, self.accumulators, self.outers = [], [], []
        self.lists = {"once": [], "before": [], "body": [], "after": []}
        self.where = "body"
        self.loop = None

    def _slot(self, storage, index, size):
        self.slots.append((storage, index, size))
        return len(self.slots) - 1

    def temp(self, size):
        return self._slot(TEMP, 0, size)

    def scratch(self, size):
        return self._slot(SCRATCH, 0, size)

    def once(self, size):
        return self._slot(ONCE, 0, size)

    def sequence(self, size, *, written=False, packed=False, shifted=-1):
        self.sequences.append((packed, shifted, written))
        return self._slot(SEQUENCE, len(self.sequences) - 1, size)

    def again(self, slot):
        """Another slot for the same sequence."""
        return self._slot(*self.slots[slot])

    def state(self, size):
        """A state; `becomes` sets its value after the step."""
        self.states.append(None)
        return self._slot(STATE, len(self.states) - 1, size)

    def becomes(self, state, slot, offset=0):
        index, size = self.slots[state][1:]
        self.states[index] = (slot, offset, size)

    def constant(self, size):
        self.constants.append(size)
        return self._slot(CONSTANT, len(self.constants) - 1, size)

    def size(self, slot):
        return self.slots[slot][2]

    def emit(self, code, shape, out, inputs, extra=()):
        self.lists[self.where].append((code, tuple(shape), out, tuple(inputs), tuple(extra)))

    def map(self, code, out, *inputs, n=None, at_=0):
        """Elementwise over whole slots of one size; a tuple (slot, offset) is a part, a float a number."""
        n = self.size(out) if n is None else n

        def operand(x):
            if isinstance(x, float):
                return number(x)
            return at(x[0], (n,), x[1]) if isinstance(x, tuple) else at(x, (n,))

        self.emit(code, (n,), at(out, (n,), at_), [operand(x) for x in inputs])

    def product(self, out, left, index, N, K, *, out_offset=0, bias=None, transposed=False, accumulate=False, **more):
        m, offset, left_offset = more.get("m", 1), more.get("offset", 0), more.get("left_offset", 0)
        row = more.get("row", K if transposed else N)
        inputs = [at(left, (), left_offset, (K, 0, 1)), weight(index, (), offset, (0, row, 1))]
        if bias is not None:
            inputs.append(weight(bias, (), more.get("bias_offset", 0), (0, 1, 0)))
        self.emit("product", (m, N, K), at(out, (), out_offset, (N, 1, 0)), inputs, (int(transposed), int(accumulate)))

    def sum(self, target, left, right, left_size=0, right_size=0, left_offset=0, right_offset=0, multiple=1):
        self.sums.append((target, left, left_offset, left_size, right, right_offset, right_size, multiple))

    def build(self):
        self.loop = kernels._native.Loop(
            str(self.dtype), self.slots, *self.lists.values(),
            self.sequences, self.states, self.constants, self.sums, self.accumulators, self.outers,
        )  # fmt: skip
        return self.loop

    def run(self, B, T, sequences, **more):
        """Run the loop; arguments left out are None or empty. `isa` defaults to the fastest."""
        none = [None] * len(self.states)
        (self.loop or self.build()).run(
            more.get("isa", kernels.implementations()[0]), B, T, more.get("lengths"),
            more.get("reverse", False), more.get("backward", False), list(sequences),
            more.get("initial", none), more.get("final", none), more.get("constants", []), more.get("weights", []),
            more.get("targets", []), more.get("accumulated", []), more.get("initials", []), more.get("prepared"),
            more.get("time_major", False),
        )  # fmt: skip


def lstm_forward(D, H, dtype, *, saves=False):
    """x (B, T, D) -> h; weights kernel, recurrent kernel, bias; states c, h. Saves i f g o and c in packed sequences."""
    b = Builder(dtype)
    x, out = b.sequence(D), b.sequence(H, written=True)
    c0, h0 = b.state(H), b.state(H)
    if saves:
        gates, c = b.sequence(4 * H, written=True, packed=True), b.sequence(H, written=True, packed=True)
        z = b.temp(4 * H)
    else:
        z = gates = b.temp(4 * H)
        c = b.temp(H)
    fc, ig = b.scratch(H), b.scratch(H)
    b.where = "before"
    b.product(z, x, 0, 4 * H, D, bias=2)
    b.where = "body"
    b.product(z, h0, 1, 4 * H, H, accumulate=True)
    b.map("sigmoid", gates, (z, 0), n=2 * H)
    b.map("tanh", gates, (z, 2 * H), n=H, at_=2 * H)
    b.map("sigmoid", gates, (z, 3 * H), n=H, at_=3 * H)
    b.map("mul", fc, (gates, H), c0)
    b.map("mul", ig, (gates, 0), (gates, 2 * H))
    b.map("add", c, fc, ig)
    b.map("tanh", fc, c)
    b.map("mul", out, fc, (gates, 3 * H))
    b.becomes(c0, c)
    b.becomes(h0, out)
    return b


def lstm_backward(D, H, dtype):
    """Sequences: x, h before each step, gates, c, c before each step, d_outputs, dx. States dc, dh. Targets: dW, dU, db."""
    b = Builder(dtype)
    x, h_before = b.sequence(D), b.sequence(H, shifted=0)
    gates, c, c_before = (
        b.sequence(4 * H, packed=True),
        b.sequence(H, packed=True),
        b.sequence(H, packed=True, shifted=1),
    )
    d_out, dx = b.sequence(H), b.sequence(D, written=True)
    dc0, dh0 = b.state(H), b.state(H)
    dz, dc, dh = b.temp(4 * H), b.temp(H), b.temp(H)
    t, d, u = b.scratch(H), b.scratch(H), b.scratch(H)
    i, f, g, o = ((gates, k * H) for k in range(4))
    b.where = "body"
    b.map("add", d, dh0, d_out)  # dh of this step
    b.map("tanh", t, c)
    b.map("mul", u, t, t)
    b.map("sub", u, 1.0, u)
    b.map("mul", u, u, d)
    b.map("mul", u, u, o)
    b.map("add", u, u, dc0)  # dc of this step
    b.map("mul", dc, u, f)
    b.map("mul", d, d, t)  # do

    def through_sigmoid(gate, k, cotangent, other):
        b.map("sub", t, 1.0, gate)
        b.map("mul", t, t, gate)
        b.map("mul", t, t, cotangent)
        if other is None:
            b.map("copy", dz, t, n=H, at_=k * H)
        else:
            b.map("mul", dz, t, other, n=H, at_=k * H)

    through_sigmoid(o, 3, d, None)
    through_sigmoid(i, 0, u, g)
    through_sigmoid(f, 1, u, c_before)
    b.map("mul", t, g, g)
    b.map("sub", t, 1.0, t)
    b.map("mul", t, t, u)
    b.map("mul", dz, t, i, n=H, at_=2 * H)
    b.product(dh, dz, 1, H, 4 * H, transposed=True)
    b.where = "after"
    b.product(dx, dz, 0, D, 4 * H, transposed=True)
    b.sum(0, x, dz, D, 4 * H)
    b.sum(1, h_before, dz, H, 4 * H)
    b.sum(2, -1, dz, 0, 4 * H)
    b.becomes(dc0, dc)
    b.becomes(dh0, dh)
    return b


# ---- the meaning of a loop program, one row at a time, in NumPy

CODES = {
    "copy": lambda x: x, "neg": np.negative, "abs": np.abs, "sign": np.sign, "exp": np.exp, "exp2": np.exp2,
    "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10, "log1p": np.log1p, "sqrt": np.sqrt,
    "square": np.square, "reciprocal": lambda x: 1 / x, "sin": np.sin, "cos": np.cos, "tan": np.tan, "sinh": np.sinh,
    "cosh": np.cosh, "tanh": np.tanh, "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "arcsinh": np.arcsinh, "arccosh": np.arccosh, "arctanh": np.arctanh,
    "sigmoid": lambda x: np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint, "isnan": np.isnan, "isinf": np.isinf,
    "isfinite": np.isfinite, "logical_not": np.logical_not,
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power,
    "remainder": np.remainder, "floor_divide": np.floor_divide, "maximum": np.maximum, "minimum": np.minimum,
    "fmax": np.fmax, "fmin": np.fmin, "arctan2": np.arctan2, "hypot": np.hypot, "logaddexp": np.logaddexp,
    "logaddexp2": np.logaddexp2, "copysign": np.copysign, "gt": np.greater, "ge": np.greater_equal, "lt": np.less,
    "le": np.less_equal, "eq": np.equal, "ne": np.not_equal, "logical_and": np.logical_and,
    "logical_or": np.logical_or, "logical_xor": np.logical_xor, "where": lambda c, a, b: np.where(c != 0, a, b),
}  # fmt: skip
_FIRST = {"add": np.add, "sub": np.subtract, "mul": np.multiply}
_SECOND = {**_FIRST, "rsub": lambda x, y: np.subtract(y, x)}
PAIRS = {
    f"{first}_{second}": lambda a, b, c, f=f, g=g: g(f(a, b), c)
    for first, f in _FIRST.items()
    for second, g in _SECOND.items()
}
CODES.update(PAIRS)
REDUCTIONS = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all}


def interpret(b, B, T, sequences, *, lengths=None, reverse=False, backward=False, initial=None, final=None, constants=(),
              weights=(), targets=(), accumulated=(), initials=(), isa=None, prepared=None):  # fmt: skip
    """Does what `b.run` does with the same arguments, step by step from the definition."""
    lengths = np.full(B, T) if lengths is None else lengths
    order = sorted(range(B), key=lambda row: -lengths[row])
    alive = [sum(int(n > s) for n in lengths) for s in range(T)]
    states = initial or [None] * len(b.states)
    for array in (*targets, *accumulated):
        array[...] = 0
    for array, (packed, _, written) in zip(sequences, b.sequences, strict=True):
        if written and not packed:
            array[...] = 0

    def view(operand, row, shape):
        where, index, offset, strides, value = operand
        if where == 2:
            return np.full(shape, value, b.dtype)
        flat = row[index] if where == 0 else weights[index].reshape(-1)
        strides = tuple(n * flat.itemsize for n in strides[: len(shape)])
        return np.lib.stride_tricks.as_strided(flat[offset:], shape, strides)

    def execute(code, shape, out, inputs, extra, row):
        if code == "product":
            m, N, K = shape
            a = view((*inputs[0][:3], (inputs[0][3][0], 1), 0), row, (m, K))
            w = view((*inputs[1][:3], (inputs[1][3][1], 1), 0), row, (N, K) if extra[0] else (K, N))
            c = view((*out[:3], (out[3][0], 1), 0), row, (m, N))
            start = view(inputs[2], row, (N,)) if len(inputs) == 3 else 0
            start = view((*inputs[2][:3], (1,), 0), row, (N,)) if len(inputs) == 3 else start
            c[...] = (c if extra[1] else start) + a @ (w.T if extra[0] else w)
        elif code == "rowproduct":
            sizes = dict(zip("bmnk", shape, strict=True))
            a = view((*inputs[0][:3], [inputs[0][3][k] for k in (0, 1, 3)], 0), row, [sizes[k] for k in "bmk"])
            w = view((*inputs[1][:3], [inputs[1][3][k] for k in (0, 2, 3)], 0), row, [sizes[k] for k in "bnk"])
            view(out, row, shape[:3])[...] = np.einsum("bmk,bnk->bmn", a, w)
        elif code in REDUCTIONS:
            kept = len(shape) - extra[0]
            x = view(inputs[0], row, shape).reshape(*shape[:kept], -1)
            view(out, row, shape[:kept])[...] = REDUCTIONS[code](x, axis=-1)
        else:
            values = [view(x, row, shape).copy() for x in inputs]
            view(out, row, shape)[...] = CODES[code](*values)

    for batch, length in enumerate(lengths):
        rank = order.index(batch)
        state = [None if s is None else s[batch].copy() for s in states]
        state = [np.zeros(of[2], b.dtype) if s is None else s for s, of in zip(state, b.states, strict=True)]
        held = {k: np.zeros(size, b.dtype) for k, (storage, _, size) in enumerate(b.slots) if storage == ONCE}
        for k, (storage, index, _) in enumerate(b.slots):
            if storage == CONSTANT:
                held[k] = constants[index][batch]

        def place(index, s, size, batch=batch, rank=rank, length=length):
            packed, shifted, _ = b.sequences[index]
            if shifted >= 0:
                s -= 1
                if s < 0:
                    return np.zeros(size, b.dtype) if initials[shifted] is None else initials[shifted][batch]
            if sequences[index] is None:
                return np.zeros(size, b.dtype)
            if packed:
                return sequences[index][sum(alive[:s]) + rank]
            return sequences[index][batch, length - 1 - s if reverse else s]

        for s in reversed(range(length)) if backward else range(length):
            row = dict(held)
            for k, (storage, index, size) in enumerate(b.slots):
                if storage in (TEMP, SCRATCH):
                    row[k] = np.zeros(size, b.dtype)
                if storage == SEQUENCE:
                    row[k] = place(index, s, size)
                if storage == STATE:
                    row[k] = state[index]
            for name in ("once", "before", "body", "after"):
                for instruction in b.lists[name]:
                    execute(*instruction, row)
            for target, left, left_offset, left_size, right, right_offset, right_size, m in b.sums:
                y = row[right][right_offset : right_offset + m * right_size].reshape(m, right_size)
                if left < 0:
                    targets[target][...] += y.sum(0)
                else:
                    x = row[left][left_offset : left_offset + m * left_size].reshape(m, left_size)
                    targets[target][...] += x.T @ y
            for array, (slot, offset, size) in zip(accumulated, b.accumulators, strict=True):
                if slot >= 0:
                    array[batch] += row[slot][offset : offset + size]
            for which, left, left_offset, m, right, right_offset, n in b.outers:
                product = np.outer(
                    row[left][left_offset : left_offset + m], row[right][right_offset : right_offset + n]
                )
                accumulated[which][batch] += product.reshape(-1)
            state = [row[slot][offset : offset + size].copy() for slot, offset, size in b.states]
        for array, value in zip(final or [None] * len(state), state, strict=True):
            if array is not None:
                array[batch] = value
