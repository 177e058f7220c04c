"""The third note's cells: dynamic_rnn with an initial state, and `lossFun`, a character LSTM with gradients by hand: checked,
found wrong, mended, and given a weight for every gate.

In the note's LSTM all four gates read the same numbers, tmp[:H], and its backward pass divides the gates' summed gradients by
4. The check (`tg.gradcheck`, the hand-written gradients declared as the vjp of an op) says: dWhy and dby are right; dWxh, dWhh
and dbh are wrong: over one step every element is off by the factor 0.25. Over several steps no one factor holds: the gradient
is divided again each time it passes back through Whh, so what has passed k times through Whh is off by 4^-(k+1); what comes
back through c alone is divided once. Without the division all five are right.

What is seen when all three learn two sentences by heart (24 units, 1500 chunks of 25 characters, three seeds, bits a
character over the last tenth): the note's 0.14 to 0.18, mended 0.12 to 0.13, a weight per gate 0.03 (once 0.12, after a
jump). So all three learn, though the note says that its own did not: Adagrad divides a constant factor out again.
A weight per gate learns many times faster, 0.3 bits where the others stand at 1.1; most of that is its
four times as many weights: with 12 units, about as many weights as the others, it ends at 0.11 to 0.13, as the mended one.

Edits to the first cell: `tf.nn.dynamic_rnn` became `rnn.dynamic_rnn`, `tf.float32` became `np.float32`; a cell, x and
batch_size were added, which the note takes for given. Edits to lossFun: the weights are arguments instead of globals;
tmp[:H], four times, became rows(tmp, k, H), which is tmp[:H] as long as there is one block of weights; di, df, do and dg stand
where they were used; the sum divided by 4 became
`combine`, which is that sum (`note`), the sum undivided (`mended`) or, with a block of weights for each gate, the note's own
commented line, np.hstack (`apart`); commented prints are dropped, and so is the clipping at the end, which `train` does.

    python examples/notes/char_lstm.py [iterations]
"""

import sys

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

# The first cell
batch_size = 3
cell = rnn.BasicLSTMCell(4)
x = np.ones((batch_size, 5, 2), np.float32)
initial_state = cell.zero_state(batch_size, np.float32)
output, _states = rnn.dynamic_rnn(cell, x, initial_state=initial_state, dtype=np.float32)


# The second cell
def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rows(tmp, k, H):
    """What gate k reads: its own block, or all gates the only one."""
    return tmp[:H] if len(tmp) == H else tmp[k * H : (k + 1) * H]


def lossFun(inputs, targets, hprev, cprev, Wxh, Whh, Why, bh, by, combine):
    xs, hs, cs, is_, fs, os, gs, ys, ps = {}, {}, {}, {}, {}, {}, {}, {}, {}
    hs[-1] = np.copy(hprev)  # t=0일때 t-1 시점의 hidden state가 필요하므로
    cs[-1] = np.copy(cprev)
    loss = 0
    H = len(hprev)
    # forward pass
    for t in range(len(inputs)):
        xs[t] = np.zeros((Wxh.shape[1], 1))
        xs[t][inputs[t]] = 1
        tmp = np.dot(Wxh, xs[t]) + np.dot(Whh, hs[t - 1]) + bh
        is_[t] = sigmoid(rows(tmp, 0, H))
        fs[t] = sigmoid(rows(tmp, 1, H))
        os[t] = sigmoid(rows(tmp, 2, H))
        gs[t] = np.tanh(rows(tmp, 3, H))
        cs[t] = fs[t] * cs[t - 1] + is_[t] * gs[t]
        hs[t] = os[t] * np.tanh(cs[t])

    # compute loss
    for i in range(len(targets)):
        idx = len(inputs) - len(targets) + i
        ys[idx] = np.dot(Why, hs[idx]) + by  # unnormalized log probabilities for next chars
        ps[idx] = np.exp(ys[idx]) / np.sum(np.exp(ys[idx]))  # probabilities for next chars
        loss += -np.log(ps[idx][targets[i], 0])  # softmax (cross-entropy loss)

    # backward pass: compute gradients going backwards
    dWxh, dWhh, dWhy = np.zeros_like(Wxh), np.zeros_like(Whh), np.zeros_like(Why)
    dbh, dby = np.zeros_like(bh), np.zeros_like(by)
    dhnext, dcnext = np.zeros_like(hs[0]), np.zeros_like(cs[0])
    n = 1
    a = len(targets) - 1
    for t in reversed(range(len(inputs))):
        if n > len(targets):
            continue
        dy = np.copy(ps[t])
        dy[targets[a]] -= 1  # backprop into y
        dWhy += np.dot(dy, hs[t].T)
        dby += dy
        dh = np.dot(Why.T, dy) + dhnext  # backprop into h
        dc = dcnext + (1 - np.tanh(cs[t]) * np.tanh(cs[t])) * dh * os[t]  # backprop through tanh nonlinearity
        dcnext = dc * fs[t]
        ddi = (1 - is_[t]) * is_[t] * (dc * gs[t])
        ddf = (1 - fs[t]) * fs[t] * (dc * cs[t - 1])
        ddo = (1 - os[t]) * os[t] * (dh * np.tanh(cs[t]))
        ddg = (1 - gs[t] ** 2) * (dc * is_[t])
        da = combine(ddi, ddf, ddo, ddg)
        dWxh += np.dot(da[:, np.newaxis], xs[t].T)
        dWhh += np.dot(da[:, np.newaxis], hs[t - 1].T)
        dbh += da[:, np.newaxis]
        dhnext = np.dot(Whh.T, da[:, np.newaxis])
        n += 1
        a -= 1

    return loss, dWxh, dWhh, dWhy, dbh, dby, hs[len(inputs) - 1], cs[len(inputs) - 1]


def note(ddi, ddf, ddo, ddg):
    """The gates' gradients as the note joins them."""
    return np.add(np.add(ddi.ravel(), ddf.ravel()), np.add(ddo.ravel(), ddg.ravel())) / 4


def mended(ddi, ddf, ddo, ddg):
    """tmp is read four times, so its gradient is the sum of four."""
    return np.add(np.add(ddi.ravel(), ddf.ravel()), np.add(ddo.ravel(), ddg.ravel()))


def apart(ddi, ddf, ddo, ddg):
    """A block of weights for each gate: each has its own gradient."""
    return np.hstack((ddi.ravel(), ddf.ravel(), ddo.ravel(), ddg.ravel()))


WEIGHTS = ("Wxh", "Whh", "Why", "bh", "by")
VARIANTS = {"the note's": (note, 1), "mended": (mended, 1), "a weight per gate": (apart, 4)}


def make_weights(variant, vocab_size, hidden_size, seed, scale=0.01):
    """Wxh (G·H, V), Whh (G·H, H), Why (V, H), bh (G·H, 1), by (V, 1), with G blocks; biases 0."""
    wide = VARIANTS[variant][1] * hidden_size
    shapes = ((wide, vocab_size), (wide, hidden_size), (vocab_size, hidden_size))
    rng = np.random.default_rng(seed)
    return [scale * rng.normal(size=s) for s in shapes] + [np.zeros((wide, 1)), np.zeros((vocab_size, 1))]


# Is it right? The loss as an op whose derivative is the one written by hand.
def as_op(variant):
    """lossFun as an op of its five weights, from a state of noise."""

    @tg.primitive(label="lossFun", samples=lambda r: [])
    def char_loss(Wxh, Whh, Why, bh, by, *, inputs, targets, keep=False):
        hprev, cprev = np.random.default_rng(7).normal(size=(2, Whh.shape[1], 1))
        loss, *rest = lossFun(inputs, targets, hprev, cprev, Wxh, Whh, Why, bh, by, VARIANTS[variant][0])
        return (np.asarray(loss), rest[:5]) if keep else np.asarray(loss)

    @char_loss.vjp
    def _(g, residuals, *, inputs, targets):
        return tuple(g * d for d in residuals)

    return char_loss


def check(variant, steps, say=print):
    """What gradcheck finds for each weight: True, or the likely cause ("" where there is no pattern)."""
    inputs, targets = np.random.default_rng(1).integers(5, size=(2, steps))
    weights = make_weights(variant, 5, 3, seed=0, scale=0.6)
    loss, found = as_op(variant), {}
    for i, name in enumerate(WEIGHTS):

        def of_one(w, i=i):
            return loss(*weights[:i], w, *weights[i + 1 :], inputs=inputs, targets=targets)

        try:
            found[f"d{name}"] = tg.gradcheck(of_one, [weights[i]], names=[name])
        except tg.GradcheckError as error:
            found[f"d{name}"] = error.report.cause or ""
    for name, verdict in found.items():
        words = "is right" if verdict is True else f"is wrong: {verdict or 'no one factor'}"
        say(f"  {variant}, {steps} steps: {name} {words}")
    return found


# Does it learn? Adagrad, chunks of 25 characters, gradients clipped to ±5, as in the note.
TEXT = (
    "the cell keeps what it is told to keep and forgets what it is told to forget. "
    "what the gates let in stays for a while, and what they let out is all that the others see. "
)


def train(variant, iterations=1500, hidden_size=24, seq_length=25, learning_rate=0.1, seed=0):
    """The loss, in bits a character, averaged over each tenth of the training."""
    chars = sorted(set(TEXT))
    data = [chars.index(c) for c in TEXT]
    weights = make_weights(variant, len(chars), hidden_size, seed)
    memory = [np.zeros_like(w) for w in weights]
    losses, p = [], len(data)
    for _ in range(iterations):
        if p + seq_length + 1 >= len(data):
            h, c, p = np.zeros((hidden_size, 1)), np.zeros((hidden_size, 1)), 0
        inputs, targets = data[p : p + seq_length], data[p + 1 : p + seq_length + 1]
        loss, *gradients, h, c = lossFun(inputs, targets, h, c, *weights, VARIANTS[variant][0])
        for w, g, m in zip(weights, gradients, memory, strict=True):
            np.clip(g, -5, 5, out=g)  # clip to mitigate exploding gradients
            m += g * g
            w -= learning_rate * g / np.sqrt(m + 1e-8)
        losses.append(loss / seq_length / np.log(2))
        p += seq_length
    return [float(np.mean(part)) for part in np.array_split(losses, 10)]


def main(iterations=1500):
    found = {(v, steps): check(v, steps) for v in VARIANTS for steps in (1, 6)}
    learned = {}
    for variant in VARIANTS:
        learned[variant] = train(variant, iterations)
        bits = " ".join(f"{b:.2f}" for b in learned[variant])
        print(f"{variant:>18}: bits a character in each tenth of {iterations} iterations: {bits}")
    return found, learned


if __name__ == "__main__":
    found, learned = main(*map(int, sys.argv[1:]))
