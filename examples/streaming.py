"""Streaming: a trained network reads one sample every millisecond, as from a sensor, and answers before the next.

    python examples/streaming.py
    python examples/streaming.py --cell gru --units 128 --seconds 30

A noisy wave with slowly changing frequency and amplitude is sampled 1000 times a second. The network learns, on whole
sequences, to predict the clean wave 10 ms after each sample. Then a stepper is made of its cell and its head, which keeps
the state and processes one sample at a time, without recording or allocating anything. The program prints the time of an
answer: some ten microseconds for the step and the output layer, and some hundred from the sample to the answer, most of
which the operating system needs to wake the program. It also prints how many answers were late, and the error of the
prediction, about a fifth of that of the sample itself. The plot shows the last half second of the wave, and all
latencies.
"""

import gc
import time

import numpy as np

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, rnn, train

CELLS = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}
RATE, AHEAD, NOISE, WARM = 1000, 10, 0.2, 50  # samples a second and ahead; samples before the net must have tuned in


def waves(rows, samples, generator):
    """Noisy samples and the clean wave AHEAD samples later, (rows, samples, 1) each."""
    total = samples + AHEAD

    def wander(low, high):
        """Slow and smooth ways between low and high, (rows, total)."""
        phase, pace = generator.uniform(0, 2 * np.pi, (rows, 1)), generator.uniform(0.2, 1.0, (rows, 1))
        return low + (high - low) * (0.5 + 0.5 * np.sin(phase + 2 * np.pi * pace * np.arange(total) / RATE))

    angle = np.cumsum(2 * np.pi * wander(8, 20) / RATE, axis=1) + generator.uniform(0, 2 * np.pi, (rows, 1))
    clean = wander(0.5, 1.5) * np.sin(angle)
    noisy = clean + NOISE * generator.standard_normal((rows, total))
    return noisy[:, :samples, None].astype(np.float32), clean[:, AHEAD:, None].astype(np.float32)


class Foreteller(tg.Module):
    """A cell over time, and a linear layer that reads the wave to come from its output."""

    def __init__(self, cell):
        self.cell, self.head = cell.build(1), nn.Linear(cell.output_size, 1)

    def forward(self, samples):
        outputs, _ = rnn.dynamic_rnn(self.cell, samples)
        return self.head(outputs)

    def loss(self, batch):
        samples, to_come = batch
        return tg.mse(self(samples)[:, WARM:], to_come[:, WARM:])


def stream(model, samples):
    """The answers to samples (n,) that come one a millisecond, and when each: the sample was due, work began, it ended."""
    stepper = rnn.stepper(model.cell, model.head)
    answers, times = np.zeros(len(samples)), np.zeros((len(samples), 3))
    gc.collect()
    gc.disable()  # no pauses by the garbage collector
    try:
        start = time.perf_counter() + 0.01
        for n, sample in enumerate(samples.reshape(-1, 1, 1)):
            due = start + n / RATE
            time.sleep(max(0.0, due - time.perf_counter()))
            began = time.perf_counter()
            answers[n] = stepper.step(sample).item()
            times[n] = due, began, time.perf_counter()
    finally:
        gc.enable()
    return answers, times


def report(name, microseconds):
    median, high = np.percentile(microseconds, [50, 99])
    print(f"{name:<28} median {median:7.1f} us   99 % below {high:7.1f} us   worst {microseconds.max():8.1f} us")


def draw(samples, to_come, answers, step, response, path):
    wave, latency = plots.axes("A sample a millisecond", rows=2, size=(7.5, 5.5)).flat
    last = np.arange(max(0, len(samples) - 500), len(samples))
    ahead = (last + AHEAD) / RATE
    wave.plot(last / RATE, samples[last], ".", ms=2, color=plots.GREY, label="samples")
    wave.plot(ahead, to_come[last], color="black", lw=1, label="the wave")
    wave.plot(ahead, answers[last], color=plots.BAD, label=f"foretold {AHEAD} ms before")
    wave.set_xlabel("seconds")
    wave.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    bins = np.geomspace(1, max(2000, response.max()), 80)
    latency.hist(step, bins, label="the step and its read-out")
    latency.hist(response, bins, alpha=0.7, label="from the sample to its answer")
    latency.axvline(1e6 / RATE, color=plots.BAD, ls="--", label="the next sample comes")
    latency.set(xscale="log", yscale="log", xlabel="microseconds", ylabel="answers")
    latency.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    plots.save(np.array([wave, latency]), path)


def main():
    parser = program.parser(__doc__, "streaming.svg")
    parser.add_argument("--cell", choices=CELLS, default="lstm", help="kind of recurrent cell (%(default)s)")
    parser.add_argument("--units", type=int, default=64, help="units of the cell (%(default)s)")
    parser.add_argument("--seconds", type=float, help="how long to stream (10; 0.3 with --quick)")
    options = program.parse(parser)
    if options.seconds is not None and not 0 < options.seconds < float("inf"):
        raise ValueError(f"--seconds is {options.seconds:g}, expected a positive number")
    tg.seed(options.seed)
    generator = np.random.default_rng(options.seed)

    steps = 5 if options.quick else 400
    model = Foreteller(CELLS[options.cell](options.units))
    optimizer = optim.Adam(model.parameters(), 3e-3)
    batches = (waves(32, 300, generator) for _ in range(steps))
    history = train.fit(
        model.loss, batches, optimizer, steps=steps, clip=1.0, schedule=optim.CosineLR(optimizer, steps)
    )
    if history.stopped == "interrupted":
        return 130

    count = max(2 * WARM, int(RATE * (options.seconds or (0.3 if options.quick else 10))))
    samples, to_come = (part[0, :, 0] for part in waves(1, count, generator))
    print(f"streaming {count:,} samples in {count / RATE:g} s to {model.cell}", flush=True)
    answers, times = stream(model, samples)
    due, began, ended = 1e6 * times.T
    report("the step and its read-out:", ended - began)
    report("from sample to answer:", ended - due)
    print(f"answers after the next sample came: {np.sum(ended - due > 1e6 / RATE)} of {count:,}")

    with tg.no_grad():
        whole = model(samples[None, :, None]).data[0, :, 0]
    print(f"farthest from what the net says to the whole sequence: {np.abs(answers - whole).max():.1e}")
    error, held = (np.sqrt(np.mean((x[WARM:] - to_come[WARM:]) ** 2)) for x in (answers, samples))
    print(f"error {AHEAD} ms ahead (root mean square): {error:.3f}; taking the sample for the answer: {held:.3f}")
    if options.plot:
        draw(samples, to_come, answers, ended - began, ended - due, options.plot)
    return 0


if __name__ == "__main__":
    program.run(main)
