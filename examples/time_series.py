"""Forecast a time series: monthly sunspots, three years ahead, compared with two naive forecasts.

    pip install -e '.[examples]'                    # brings pmdarima, whose files hold the data: 1749 to 1983
    python examples/time_series.py
    python examples/time_series.py --file mine.txt --season 12 --horizon 12 --holdout 48

The number of sunspots varies in cycles of nine to fourteen years. An LSTM reads the months one after another and predicts
the next 36 at each. The last fifty years are held out. For each of their months its forecast is compared with the naive
one (the current value) and the seasonal naive one (the values eleven years before). The program prints the mean absolute
error of all three by the number of months ahead: for the next month the LSTM is hardly better than the naive forecast,
from half a year to two years ahead it is much better than both, and for three years the seasonal naive one is close. Over
all months ahead the LSTM's error is about 25 spots, the naive one's 43, the seasonal naive one's 33. The plot shows
three-year forecasts on the held-out years, and the errors.
"""

import gzip
import importlib.util
import os

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import plots
import program
import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim, rnn, train

CELLS = {"rnn": rnn.BasicRNNCell, "lstm": rnn.LSTMCell, "gru": rnn.GRUCell}


def sunspots():
    """Monthly mean sunspot numbers, January 1749 to December 1983 (Swiss Federal Observatory; Tokyo from 1960)."""
    package = importlib.util.find_spec("pmdarima")
    if package is None:
        raise ImportError("the sunspots are in a file of pmdarima: pip install -e '.[examples]' (or give --file)")
    path = os.path.join(package.submodule_search_locations[0], "datasets", "data", "sunspots.txt.gz")
    with gzip.open(path, "rt") as file:
        return np.array(file.read().split(), float)


def numbers(path):
    """A series from a text file."""
    return np.array(data.read_text(path).replace(",", " ").split(), float)


class Forecaster(tg.Module):
    """Months in, at every month the change from now to each of the next `horizon`."""

    def __init__(self, cell, horizon):
        self.cell, self.head = cell.build(1), nn.Linear(cell.output_size, horizon)

    def forward(self, months):
        outputs, _ = rnn.dynamic_rnn(self.cell, months)
        return months + self.head(outputs)  # (B, T, 1) + (B, T, horizon)

    def loss(self, batch):
        months, to_come = batch
        warm = months.shape[1] // 4  # before that it has seen too little
        return tg.mse(self(months)[:, warm:], to_come[:, warm:])


def pieces(series, count, rows, length, horizon, generator):
    """`count` batches of random pieces (rows, length, 1), and what follows each month of them (rows, length, horizon)."""
    follows = sliding_window_view(series[1:], horizon)
    for _ in range(count):
        starts = generator.integers(0, len(series) - length - horizon + 1, rows)
        months = starts[:, None] + np.arange(length)
        yield series[months, None], follows[months]


def learn(series, options, generator):
    """A forecast for every month of the series (months, horizon), by a net that learned from all but the held-out end."""
    z = np.sign(series) * np.sqrt(np.abs(series))  # large values swing more; their square roots do not
    known = z[: -options.holdout]
    mean, spread = known.mean(), known.std()
    z = ((z - mean) / spread).astype(np.float32)
    length, steps = min(2 * options.season, len(known) // 2), 5 if options.quick else 400
    model = Forecaster(CELLS[options.cell](options.units), options.horizon)
    optimizer = optim.Adam(model.parameters(), 5e-3)
    batches = pieces(z[: len(known)], steps, 16, length, options.horizon, generator)
    schedule = optim.CosineLR(optimizer, steps)
    history = train.fit(model.loss, batches, optimizer, steps=steps, clip=1.0, schedule=schedule)
    if history.stopped == "interrupted":
        raise KeyboardInterrupt
    with tg.no_grad():
        told = model(z[None, :, None]).data[0] * spread + mean
    return np.sign(told) * told**2


def walk(series, forecast, options):
    """(truth, {name: forecasts}) of every month of the held-out end that has a whole horizon: (months, horizon) each."""
    months = np.arange(len(series) - options.holdout - 1, len(series) - options.horizon)
    ahead = months[:, None] + np.arange(1, options.horizon + 1)
    back = -(-np.arange(1, options.horizon + 1) // options.season) * options.season  # whole seasons, to what is known
    said = {options.cell.upper(): forecast[months], "naive": np.repeat(series[months, None], options.horizon, axis=1)}
    return months, series[ahead], {**said, "seasonal naive": series[ahead - back]}


def draw(series, months, said, errors, options):
    top, bottom = plots.axes("Forecasts of what was held out", rows=2, size=(8.5, 6.5)).flat
    years = (lambda m: 1749 + m / 12) if options.file is None else (lambda m: m)
    held = np.arange(months[0] + 1, len(series))
    top.plot(years(held), series[held], color=plots.GREY, lw=1, label="observed")
    name = next(iter(errors))
    for first in range(0, len(months), options.horizon):
        at = months[first] + np.arange(1, options.horizon + 1)
        top.plot(years(at), said[name][first], color=plots.HUES[0], label=f"{name}, {options.horizon} ahead")
        top.axvline(years(months[first]), color="#DDDDDD", lw=0.8, zorder=0)
    top.legend(*(found[:2] for found in top.get_legend_handles_labels()))
    for label, error in errors.items():
        bottom.plot(np.arange(1, options.horizon + 1), error, label=label)
    bottom.set_xlabel("months ahead" if options.file is None else "steps ahead")
    bottom.set(ylabel="mean absolute error", ylim=(0, None))
    bottom.legend()
    plots.save(np.array([top, bottom]), options.plot)


def main():
    parser = program.parser(__doc__, "time_series.svg")
    add = parser.add_argument
    add("--file", help="a series of your own, numbers between spaces, commas or lines (the sunspots)")
    add("--season", type=int, default=132, help="steps of one season (%(default)s)")
    add("--horizon", type=int, default=36, help="steps to look ahead (%(default)s)")
    add("--holdout", type=int, default=600, help="steps at the end that are not learned from (%(default)s)")
    add("--cell", choices=CELLS, default="lstm", help="kind of recurrent cell (%(default)s)")
    add("--units", type=int, default=32, help="units of the cell (%(default)s)")
    options = program.parse(parser)
    series = sunspots() if options.file is None else numbers(options.file)
    if not options.horizon <= options.holdout <= len(series) - 2 * (options.season + options.horizon):
        raise ValueError(f"{len(series)} values are too few for this season, horizon and holdout; make those smaller")
    print(f"{len(series):,} values, the last {options.holdout} held out", flush=True)
    tg.seed(options.seed)
    forecast = learn(series, options, np.random.default_rng(options.seed))
    months, truth, said = walk(series, forecast, options)
    errors = {name: np.abs(told - truth).mean(axis=0) for name, told in said.items()}
    shown = sorted({1, 3, 6, 12, 24, options.horizon} & set(range(1, options.horizon + 1)))
    print(f"{len(months)} forecasts on the held-out end, mean absolute error")
    print(f"{'ahead':<16}" + "".join(f"{k:8}" for k in shown) + f"{'mean':>10}")
    for name, error in errors.items():
        print(f"{name:<16}" + "".join(f"{error[k - 1]:8.1f}" for k in shown) + f"{error.mean():10.2f}")
    best = [min(errors, key=lambda name: errors[name][k]) for k in range(options.horizon)]
    print("best at: " + ", ".join(f"{name} {best.count(name)} of {options.horizon} distances" for name in errors))
    if options.plot:
        draw(series, months, said, errors, options)
    return 0


if __name__ == "__main__":
    program.run(main)
