"""Callbacks, output and files of Sequential: as in Keras 3.15, with the same numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import callbacks, layers, models
from tinygrad_rnn.callbacks import EarlyStopping, LearningRateScheduler, ModelCheckpoint, ReduceLROnPlateau

X = np.sin(np.arange(40)).reshape(20, 2)
Y = np.cos(3 * np.arange(20)).reshape(20, 1)


def compiled() -> models.Sequential:
    model = models.Sequential([layers.Dense(1, kernel_initializer="ones")])
    model.build((None, 2))
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def fitted(*added: callbacks.Callback, epochs: int = 12, **options: Any) -> tuple[models.Sequential, models.History]:
    model = compiled()
    options = {"validation_split": 0.5, "batch_size": 5, "shuffle": False} | options
    return model, model.fit(X, Y, epochs=epochs, callbacks=added, **options)


worse: dict[str, Any] = {"monitor": "loss", "mode": "max"}  # the loss falls, so nothing is better than the first epoch
KERAS: dict[str, tuple[Any, Any]] = {  # epochs, the last val_loss, the learning rates, the weights after that
    "plain": (lambda: EarlyStopping(patience=2), (12, 0.836568, [], [1.38238, 0.0117])),
    "max": (
        lambda: EarlyStopping(**worse, patience=2, restore_best_weights=True),
        (3, 1.342614, [], [1.94026, 0.00118]),
    ),
    "delta": (
        lambda: EarlyStopping("val_mae", 0.15, 1, restore_best_weights=True),
        (2, 1.418759, [], [1.94026, 0.00118]),
    ),
    "start": (
        lambda: EarlyStopping(**worse, patience=1, start_from_epoch=3, restore_best_weights=True),
        (5, 1.203933, [], [1.77073, 0.00446]),
    ),
    "baseline": (
        lambda: EarlyStopping(baseline=1.3, patience=3, min_delta=0.05),
        (12, 0.836568, [], [1.38238, 0.0117]),
    ),
    "zero": (lambda: EarlyStopping(**worse), (2, 1.418759, [], [1.88216, 0.00231])),
    "reduce": (
        lambda: ReduceLROnPlateau(factor=0.5, min_delta=0.15, patience=2),
        (
            12,
            1.068023,
            [0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.005, 0.0025, 0.0025, 0.00125, 0.00125],
            [1.60289, 0.00769],
        ),
    ),
    "cool": (
        lambda: ReduceLROnPlateau(**worse, factor=0.5, patience=1, cooldown=2, min_lr=0.004),
        (
            12,
            1.129774,
            [0.01, 0.01, 0.005, 0.005, 0.004, 0.004, 0.004, 0.004, 0.004, 0.004, 0.004, 0.004],
            [1.656, 0.00671],
        ),
    ),
    "schedule": (
        lambda: LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        (
            12,
            1.114367,
            [
                0.009,
                0.0081,
                0.00729,
                0.006561,
                0.005905,
                0.005314,
                0.004783,
                0.004305,
                0.003874,
                0.003487,
                0.003138,
                0.002824,
            ],
            [1.64294, 0.00696],
        ),
    ),
}


@pytest.mark.parametrize("name", KERAS)
def test_callbacks_do_as_keras_does(name: str) -> None:
    make, (epochs, loss, rates, weights) = KERAS[name]
    model, history = fitted(make())
    assert len(history.history["loss"]) == epochs
    np.testing.assert_allclose(history.history["val_loss"][-1], loss, atol=3e-6)
    np.testing.assert_allclose(history.history.get("learning_rate", []), rates, rtol=1e-3)
    np.testing.assert_allclose([w.sum() for w in model.get_weights()], weights, atol=2e-5)
    assert history.stopped == ("callback" if epochs < 12 else "epochs")


def test_methods_of_a_custom_callback_are_called_in_order() -> None:
    class Seen(callbacks.Callback):
        def __init__(self) -> None:
            self.seen: list[str] = []

    def noted(name: str) -> Any:
        def call(self: Any, *arguments: Any) -> None:
            numbers = [a for a in arguments if isinstance(a, int)]
            self.seen.append(" ".join([name.removeprefix("on_"), *map(str, numbers)]))
            assert isinstance(arguments[-1], dict)

        return call

    for name in vars(callbacks.Callback):
        if name.startswith("on_"):
            setattr(Seen, name, noted(name))
    seen = Seen()
    model, _ = fitted(seen, epochs=1)
    assert seen.model is model
    assert seen.params == {"epochs": 1, "steps": 2, "verbose": 0, "rank": 0}
    assert seen.seen == [
        *("train_begin", "epoch_begin 0"),
        *("train_batch_begin 0", "train_batch_end 0", "train_batch_begin 1", "train_batch_end 1"),
        *("test_begin", "test_batch_begin 0", "test_batch_end 0", "test_batch_begin 1", "test_batch_end 1", "test_end"),
        *("epoch_end 0", "train_end"),
    ]
    seen.seen.clear()
    model.evaluate(X, Y, callbacks=[seen])
    assert seen.seen == ["test_begin", "test_batch_begin 0", "test_batch_end 0", "test_end"]


def test_logs_and_stopping() -> None:
    logs: list[dict[str, float]] = []
    steps: list[float] = []

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            steps.append(logs["loss"])

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["extra"] = float(epoch)
            self.model.stop_training = epoch == 2

    show = callbacks.LambdaCallback(on_epoch_end=lambda epoch, given: logs.append(dict(given)), on_train_begin=None)
    model, history = fitted(show, Stop())
    assert history.stopped == "callback"
    assert [list(one) for one in logs] == [["loss", "mae", "val_loss", "val_mae"]] * 3
    assert history.history["extra"] == [0.0, 1.0, 2.0]
    assert [one["val_loss"] for one in logs] == history.history["val_loss"]
    assert steps[1::2] == history.history["loss"]
    assert len(model.fit(X, Y, epochs=2).history["loss"]) == 2  # it stopped that run only


def test_the_best_weights_come_back() -> None:
    stop = EarlyStopping(**worse, patience=2, restore_best_weights=True)
    weights: list[Any] = []
    keep = callbacks.LambdaCallback(on_epoch_end=lambda *_: weights.append(stop.model.get_weights()[0].copy()))
    model, _ = fitted(stop, keep)
    assert len(weights) == 3
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])


def test_model_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fitted(ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.2f}.safetensors"), epochs=3)
    assert len(list(tmp_path.iterdir())) == 3
    best = tmp_path / "best.safetensors"
    keep = ModelCheckpoint(best, **worse, save_best_only=True, save_weights_only=True, verbose=1)
    model, _ = fitted(keep, epochs=2)
    said = capsys.readouterr().out
    assert re.search(r"Epoch 1: loss improved from None to \d\.\d{5}, saving model to .*best.safetensors", said)
    assert re.search(r"Epoch 2: loss did not improve from \d\.\d{5}\n", said)
    assert not np.array_equal(tg.load(best)["layers.0.kernel"], model.get_weights()[0])
    keep = ModelCheckpoint(tmp_path / "never.safetensors", save_best_only=True, initial_value_threshold=0.0)
    fitted(keep, ModelCheckpoint(tmp_path / "b{epoch}-{batch}.safetensors", save_freq=3), epochs=3)
    assert sorted(p.name for p in tmp_path.glob("b?-*")) == ["b2-1.safetensors", "b3-2.safetensors"]
    assert not (tmp_path / "never.safetensors").exists()


def test_what_keras_prints(capsys: pytest.CaptureFixture[str]) -> None:
    model, history = fitted(epochs=2, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == ["Epoch 1/2", "Epoch 2/2"]
    figures = [f" - {key}: {values[1]:.4f}" for key, values in sorted(history.history.items())]
    assert re.fullmatch(r"2/2 - 0s - \d+[mu]?s/step" + re.escape("".join(figures)), lines[3])
    fitted(epochs=1, verbose="auto", validation_split=0.0)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "Epoch 1/1"
    assert re.fullmatch(r"4/4 ━{20} 0s \d+[mu]?s/step - loss: \d\.\d{4} - mae: \d\.\d{4}", second)
    model.evaluate(X, Y, verbose=2)
    assert re.fullmatch(r"1/1 - 0s - \d+[mu]?s/step - loss: .* - mae: .*\n", capsys.readouterr().out)
    fitted(EarlyStopping(**worse, patience=1, verbose=1, restore_best_weights=True))
    assert capsys.readouterr().out.splitlines() == [
        "Epoch 2: early stopping",
        "Restoring model weights from the end of the best epoch: 1.",
    ]
    fitted(ReduceLROnPlateau(**worse, patience=1, verbose=1), epochs=2)
    assert capsys.readouterr().out == "\nEpoch 2: ReduceLROnPlateau reducing learning rate to 0.001.\n"
    zero = models.Sequential([layers.Dense(1, kernel_initializer="zeros")])
    zero.compile("sgd", lambda y_true, y_pred: 1e-5 + 0 * y_pred.sum())
    zero.evaluate(X, Y, verbose=2)
    assert capsys.readouterr().out.endswith(" - loss: 1.0000e-05\n")


def test_a_bar_moves_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(1000.0))
    monkeypatch.setattr(callbacks, "perf_counter", lambda: next(clock))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    fitted(epochs=1, verbose=1, validation_split=0.0)
    parts = capsys.readouterr().out.split("\r")
    assert [re.sub(r" \d+s .*", "", part, flags=re.S) for part in parts[1:]] == [
        *(f"{i}/4 {'━' * 5 * i}{'─' * (20 - 5 * i)}" for i in (1, 2, 3, 4)),
        f"4/4 {'━' * 20}",
    ]


def test_models_in_files(tmp_path: Path) -> None:
    model = models.Sequential(
        [layers.Embedding(9, 4, mask_zero=True), layers.Bidirectional(layers.GRU(3)), layers.Dense(2)]
    )
    ids = np.array([[1, 2, 0], [3, 4, 5]])
    path = tmp_path / "model.safetensors"
    model(ids)
    model.save(path)
    other = models.load_model(path)
    np.testing.assert_array_equal(other.predict(ids), model.predict(ids))
    fresh = models.Sequential.from_config(model.get_config())
    fresh.load_weights(path)
    np.testing.assert_array_equal(fresh.predict(ids), model.predict(ids))
    model.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(
        tg.CheckpointError, match=r"contains weights but no model; create the model, then call model.load_weights"
    ):
        models.load_model(tmp_path / "w.safetensors")
    before = fresh.get_weights()
    with pytest.raises(ValueError, match="the state does not fit Sequential"):
        models.Sequential([layers.Input((4,)), layers.Dense(2)]).load_weights(path)
    for call in (model.save, model.save_weights, model.load_weights, models.load_model, ModelCheckpoint):
        for name in ("m.keras", "m.weights.h5"):
            with pytest.raises(ValueError, match=f"{name} is in a format of Keras's own; name it model.safetensors"):
                call(tmp_path / name)
    for a, b in zip(before, fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def bad(*given: Any, **options: Any) -> Any:
    return lambda: fitted(*given, epochs=2, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (bad(object()), TypeError, r"fit: callbacks\[0\] is object .*, expected an object of a callbacks.Callback"),
        (bad(EarlyStopping), TypeError, "the class EarlyStopping"),
        (
            bad(EarlyStopping("val_acc")),
            ValueError,
            "monitor is 'val_acc', which was not measured; there are loss, mae",
        ),
        (bad(EarlyStopping(), validation_split=0.0), ValueError, r"\(val_ ones with validation_data="),
        (lambda: EarlyStopping(mode="up"), ValueError, "EarlyStopping: mode is 'up'"),
        (lambda: ReduceLROnPlateau(factor=1.0), ValueError, "factor is 1.0"),
        (lambda: ModelCheckpoint("m.safetensors", save_freq="batch"), ValueError, "save_freq is 'batch'"),
        (lambda: callbacks.LambdaCallback(on_batch=print), TypeError, "LambdaCallback takes no on_batch"),
        (bad(LearningRateScheduler(lambda epoch, rate: None)), TypeError, r"schedule\(0, …\) gave NoneType"),
        (bad(verbose=3), ValueError, "verbose is 3, expected 0, 1, 2 or 'auto'"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_custom_metric_needs_a_mode() -> None:
    def worst(y_true: Any, y_pred: Any) -> Any:
        return tg.max(tg.abs(y_pred - y_true))

    model = compiled()
    model.compile("sgd", "mse", metrics=[worst])
    with pytest.raises(
        ValueError, match="whether more of 'worst' is better is not known; give mode='min' or mode='max'"
    ):
        model.fit(X, Y, epochs=3, callbacks=[EarlyStopping("worst")])
    assert len(model.fit(X, Y, epochs=3, callbacks=[EarlyStopping("worst", mode="max")]).history["loss"]) < 4
