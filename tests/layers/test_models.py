"""Sequential: the notes' tables, building, masks, training by train.fit, invalid input."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models, optim, regularizers

X = np.random.default_rng(0).normal(size=(40, 6, 3)).astype(np.float32)
Y = (X.sum((1, 2)) > 0).astype(np.int64)


def notes_model() -> models.Sequential:
    model = models.Sequential()
    model.add(layers.Embedding(5000, 100))
    model.add(layers.SimpleRNN(128))
    model.add(layers.Dense(1, activation="sigmoid"))
    return model


def table(model: models.Sequential) -> list[str]:
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    return lines


def test_the_notes_table() -> None:
    lines = [" ".join(line.split()) for line in table(notes_model()) if line[0] not in "_="]
    assert lines == [
        'Model: "sequential"',
        "Layer (type) Output Shape Param #",
        "embedding (Embedding) (None, None, 100) 500,000",
        "simple_rnn (SimpleRNN) (None, 128) 29,312",
        "dense (Dense) (None, 1) 129",
        "Total params: 529,441",
        "Trainable params: 529,441",
        "Non-trainable params: 0",
    ]
    assert notes_model().count_params() == 5000 * 100 + 100 * 128 + 128 * 128 + 128 + 128 + 1 == 529441


def test_the_second_notes_table() -> None:
    for sequences, shape in ((False, "(None, 32)"), (True, "(None, None, 32)")):
        model = models.Sequential([layers.Embedding(10000, 32), layers.SimpleRNN(32, return_sequences=sequences)])
        lines = [" ".join(line.split()) for line in table(model)]
        assert "embedding (Embedding) (None, None, 32) 320,000" in lines
        assert f"simple_rnn (SimpleRNN) {shape} 2,080" in lines


def test_columns_do_not_run_into_each_other() -> None:
    model = models.Sequential([layers.Input((None, 5))])
    model.add(layers.Bidirectional(layers.LSTM(3, return_sequences=True, name="a_very_long_name_of_a_layer_indeed")))
    model.add(layers.LSTM(2, return_sequences=True))
    model.add(layers.LSTM(2))
    rows = [line for line in table(model) if "LSTM" in line or "Bidir" in line]
    assert [row[29:55].split(")")[0] for row in rows[:1]] == ["(None, None, 6"]
    assert all(row[28] == " " == row[54] for row in rows)


def test_unbuilt_layers_say_so() -> None:
    model = models.Sequential([layers.LSTM(2), layers.Dense(1)])
    rows = [" ".join(line.split()) for line in table(model)]
    assert "lstm (LSTM) ? 0 (unbuilt)" in rows
    with pytest.raises(
        ValueError, match=r"lstm has no parameters yet: .* Call it once, or lstm.build\(input_shape\), and"
    ):
        layers.LSTM(2).get_weights()
    model(X)
    assert model.count_params() == 4 * 2 * (3 + 2 + 1) + 3
    assert "Total params: 51" in table(model)
    built = models.Sequential([layers.LSTM(2, input_shape=(None, 3)), layers.Dense(1)])
    assert "Total params: 51" in table(built)
    assert built.output_shape == (None, 1)
    other = models.Sequential([layers.LSTM(2), layers.Dense(1)])
    other.build((None, 6, 3))
    assert "Total params: 51" in table(other)


@pytest.mark.parametrize(
    ("layer", "shape", "output"),
    [
        (layers.SimpleRNN(4, batch_input_shape=(1, 5, 3)), (1, 5, 3), (1, 4)),
        (layers.LSTM(4, input_dim=3, input_length=5), (None, 5, 3), (None, 4)),
        (layers.GRU(4, input_dim=3), (None, None, 3), (None, 4)),
        (layers.RNN(layers.GRUCell(4), input_dim=3, return_sequences=True), (None, None, 3), (None, None, 4)),
        (layers.Dense(4, input_dim=3), (None, 3), (None, 4)),
        (layers.Embedding(10, 4, input_length=5), (None, 5), (None, 5, 4)),
        (layers.Embedding(10, 4, batch_input_shape=(2, 5)), (2, 5), (2, 5, 4)),
        (layers.Embedding(10, 4), (None, None), (None, None, 4)),
    ],
)
def test_input_shapes_as_keras_1_and_2_spell_them(layer: Any, shape: Any, output: Any) -> None:
    model = models.Sequential([layer])
    assert layer.batch_input_shape == shape
    assert layer.built
    assert model.output_shape == output


def test_names_number_themselves_and_weights_are_one_list() -> None:
    model = models.Sequential([layers.GRU(2, return_sequences=True), layers.GRU(2), layers.Dense(1, name="head")])
    assert [layer.name for layer in model.layers] == ["gru", "gru_1", "head"]
    y = model(X)
    other = models.Sequential([layers.GRU(2, return_sequences=True), layers.GRU(2), layers.Dense(1)])
    other.build((None, 6, 3))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(other(X).data, y.data)
    assert len(model.get_weights()) == 8
    third = models.Sequential([layers.GRU(2, return_sequences=True), layers.GRU(2), layers.Dense(1)])
    third.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(third(X).data, y.data)
    assert model.pop().name == "head"


def test_masks_are_handed_on() -> None:
    ids = np.array([[1, 2, 0, 0], [3, 0, 0, 0]])
    model = models.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.LSTM(3), layers.Dense(2)])
    wanted = [model(row[None, :n]).data[0] for row, n in zip(ids, (2, 1), strict=True)]
    np.testing.assert_allclose(model(ids).data, wanted, atol=1e-6)
    nested = models.Sequential([models.Sequential(model.layers[:1]), *model.layers[1:]])
    np.testing.assert_array_equal(nested(ids).data, model(ids).data)
    deep = models.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.LSTM(3, return_sequences=True)])
    np.testing.assert_array_equal(deep.compute_mask(ids), ids != 0)


def test_the_optimizer_is_there_after_compile() -> None:
    model = models.Sequential([layers.Input((3,)), layers.Dense(1)])
    assert model.optimizer is None
    model.compile("sgd", "mse")
    optimizer = model.optimizer
    assert sorted(p.shape for p in optimizer.params) == [(1,), (3, 1)]
    optimizer.lr = 0.0
    before = [w.copy() for w in model.get_weights()]
    model.fit(np.ones((4, 3)), np.ones((4, 1)))
    assert model.optimizer is optimizer
    assert all(map(np.array_equal, before, model.get_weights()))  # with the learning rate set before fit
    model.compile("adam", "mse")
    assert type(model.optimizer).__name__ == "Adam"
    assert model.optimizer is not optimizer


def test_the_optimizer_of_a_model_without_shapes_says_what_is_missing() -> None:
    model = models.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"optimizer: the model is not built.*layers\.Input"):
        model.optimizer  # noqa: B018
    model.fit(np.ones((4, 3)), np.ones((4, 1)))
    assert model.optimizer.lr == 0.01


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adamw", lambda p: optim.Adam(p, 1e-2)])
def test_fit_learns(optimizer: Any) -> None:
    tg.seed(0)
    model = models.Sequential([layers.GRU(8), layers.Dense(1, activation="sigmoid")])
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    history = model.fit(X, Y, epochs=8, batch_size=8, validation_data=(X, Y))
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert len(history.history["val_accuracy"]) == len(history.history["loss"]) == 8
    loss, share = model.evaluate(X, Y)
    np.testing.assert_allclose([loss, share], [history.history[k][-1] for k in ("val_loss", "val_accuracy")], rtol=1e-6)
    p = model.predict(X, batch_size=7)
    assert p.shape == (40, 1)
    assert share == ((p[:, 0] > 0.5) == Y).mean()


KERAS = {  # the loss of each of four epochs and the sum of the weights' sizes after them, of Keras 3.15 on TensorFlow 2.21
    "adam": ([1.133265, 1.132026, 1.131272, 1.130618], 38.70932),
    "adamw": ([1.133265, 1.132025, 1.13127, 1.130616], 38.70747),
    "rmsprop": ([1.133466, 1.131783, 1.130885, 1.130178], 38.67981),
    "sgd": ([1.133239, 1.132708, 1.132192, 1.13169], 38.71986),
}


@pytest.mark.parametrize("optimizer", sorted(KERAS))
def test_fit_trains_as_keras_does(optimizer: str) -> None:
    """The same model, weights, batches and optimiser: Keras's losses and weights, epsilon and all."""
    x, y = np.sin(np.arange(12 * 5 * 3)).reshape(12, 5, 3), np.arange(12) % 3
    inner = layers.Bidirectional(layers.LSTM(2, return_sequences=True))
    model = models.Sequential([inner, layers.GRU(2), layers.Dense(3, activation="softmax")])
    model.build((None, 5, 3))
    shapes = [w.shape for w in model.get_weights()]
    model.set_weights([(0.4 * np.cos(np.arange(np.prod(s)) + i)).reshape(s) for i, s in enumerate(shapes)])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, epochs=4, batch_size=5, shuffle=False).history
    losses, size = KERAS[optimizer]
    np.testing.assert_allclose(history["loss"], losses, atol=2e-6)
    np.testing.assert_allclose(history["accuracy"], 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(sum(np.abs(w).sum() for w in model.get_weights()), size, atol=2e-5)


def test_regularizers_reach_the_loss_as_in_keras() -> None:
    """Of weights and of outputs, the latter by the number of rows; numbers of Keras 3.15 on TensorFlow 2.21."""
    x, y = np.sin(np.arange(12 * 5 * 3)).reshape(12, 5, 3), np.arange(12) % 3
    l1, l2, both = regularizers.L1, regularizers.L2, regularizers.L1L2
    first: Any = {"kernel_regularizer": l2(0.03), "recurrent_regularizer": "l1", "activity_regularizer": l1(0.2)}
    last: Any = {"kernel_regularizer": "l2", "bias_regularizer": l1(0.5), "activity_regularizer": l2(0.3)}
    model = models.Sequential([layers.LSTM(2, return_sequences=True, **first)])
    model.add(layers.GRU(2, bias_regularizer=both(0.1, 0.2)))
    model.add(layers.Dense(3, activation="softmax", **last))
    model.build((None, 5, 3))
    shapes = [w.shape for w in model.get_weights()]
    model.set_weights([(0.4 * np.cos(np.arange(np.prod(s)) + i)).reshape(s) for i, s in enumerate(shapes)])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    np.testing.assert_allclose(model.evaluate(x, y, batch_size=5), [2.376577, 1 / 3], atol=2e-6)
    history = model.fit(x, y, epochs=4, batch_size=5, shuffle=False).history
    np.testing.assert_allclose(history["loss"], [2.363514, 2.310341, 2.258539, 2.208152], atol=2e-6)
    np.testing.assert_allclose(sum(np.abs(w).sum() for w in model.get_weights()), 22.7605, atol=2e-5)
    assert len(model.losses) == 7
    assert len(copy.deepcopy(model).losses) == 5  # those of outputs belong to a call


def test_custom_losses_are_added() -> None:
    class Costly(layers.Layer):
        def call(self, inputs: Any) -> Any:
            self.add_loss(inputs.sum())
            return inputs

    model = models.Sequential([Costly(), layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse")
    assert model.evaluate(np.ones((4, 2)), np.zeros((4, 1))) == 8.0
    assert [loss.item() for loss in model.losses] == [8.0]
    with pytest.raises(ValueError, match="costly: add_loss was called outside of a call"):
        Costly().add_loss(1.0)


CONFIGURED: dict[str, Any] = {
    "dense": lambda: layers.Dense(3, "gelu", True, "zeros", tg.initializers.Constant(0.5), regularizers.L1L2(0.1)),
    "lstm": lambda: layers.LSTM(3, "relu", recurrent_initializer=tg.initializers.Orthogonal(0.5, seed=7), name="mine"),
    "gru": lambda: layers.GRU(3, return_sequences=True, reset_after=False, activity_regularizer="l1", dtype="float64"),
    "stack": lambda: layers.RNN([layers.LSTMCell(4, dropout=0.1), layers.GRUCell(3)], return_state=True),
    "both": lambda: layers.Bidirectional(layers.SimpleRNN(2, use_bias=False), "sum"),
    "timed": lambda: layers.TimeDistributed(layers.Dense(2, activation=tg.tanh)),
    "cell": lambda: layers.GRUCell(2, kernel_regularizer="l2", recurrent_dropout=0.2, seed=3),
    "masking": lambda: layers.Masking(np.float32(-1)),
    "embedding": lambda: layers.Embedding(5, 2, mask_zero=True, embeddings_regularizer=regularizers.L2()),
    "model": lambda: models.Sequential([layers.Input((None, 3)), layers.GRU(2), layers.Dropout(0.5), layers.Dense(1)]),
    "open": lambda: models.Sequential([layers.GRU(2), layers.Dense(1)], name="open"),
}


@pytest.mark.parametrize("name", CONFIGURED)
def test_configurations_make_the_same_layer(name: str) -> None:
    layer = CONFIGURED[name]()
    text = json.dumps(layer.get_config(), sort_keys=True)
    other = type(layer).from_config(json.loads(text))
    assert json.dumps(other.get_config(), sort_keys=True) == text
    assert repr(other) == repr(layer)
    x = np.ones((2, 4, 3))
    for one in (layer, other):
        one.build(3) if name == "cell" else one(x.astype(int) if name == "embedding" else x)
    assert [w.shape for w in other.get_weights()] == [w.shape for w in layer.get_weights()]
    other.set_weights(layer.get_weights())
    if name not in ("cell", "stack", "embedding"):
        np.testing.assert_array_equal(other(x).data, layer(x).data)
        assert [float(loss) for loss in other.losses] == [float(loss) for loss in layer.losses]


def test_configurations_contain_the_seeds() -> None:
    make = {"kernel_initializer": tg.initializers.GlorotUniform(seed=5), "recurrent_initializer": "identity"}
    layer = layers.SimpleRNN(3, **make)
    other = layers.SimpleRNN.from_config(layer.get_config())
    np.testing.assert_array_equal(layer(X).data, other(X).data)


def double(x: Any) -> Any:
    return 2 * x


def test_configurations_with_custom_objects() -> None:
    class Scale(layers.Layer):
        def __init__(self, factor: float, **options: Any):
            super().__init__(**options)
            self.factor = 3 * factor

        def call(self, inputs: Any) -> Any:
            return inputs * self.factor

    model = models.Sequential([Scale(2.0), layers.Dense(1, activation=double)])
    config = model.get_config()
    with pytest.raises(ValueError, match=r"activation is the function 'double'; give it in custom_objects={'double'"):
        models.Sequential.from_config(config)
    other = models.Sequential.from_config(config, {"double": double})
    assert other.layers[0].factor == 6.0
    assert other.layers[1].activation is double
    config["layers"][0]["class_name"] = "Unheard"
    with pytest.raises(
        ValueError, match=r"is a 'Unheard', which is not a known class; give it in custom_objects={'Unheard'"
    ):
        models.Sequential.from_config(config, {"double": double})
    config["layers"][0]["class_name"] = "Other"
    own = models.Sequential.from_config(config, {"double": double, "Other": Scale})
    assert isinstance(own.layers[0], Scale)
    for bad in (lambda x: x, np.random.default_rng(0)):
        with pytest.raises(TypeError, match="which a configuration cannot contain; give a name"):
            layers.LSTM(
                2, activation=double, seed=bad if not callable(bad) else None, **activation_option(bad)
            ).get_config()
    kerass = {"trainable": True, "kernel_constraint": None, "units": 2, "dtype": {"class_name": "DTypePolicy"}}
    kerass["dtype"] |= {"config": {"name": "float64"}}
    kerass["kernel_initializer"] = {"class_name": "GlorotUniform", "config": {"seed": None, "input_axes": None}}
    assert layers.Dense.from_config(kerass).dtype == np.float64
    with pytest.raises(TypeError, match="Dense takes no argument kernel_constraint"):
        layers.Dense.from_config({"units": 2, "kernel_constraint": "maxnorm"})


def activation_option(value: Any) -> dict[str, Any]:
    return {"recurrent_activation": value} if callable(value) else {}


def test_models_copy_and_pickle() -> None:
    model = models.Sequential([layers.Bidirectional(layers.LSTM(3, dropout=0.1)), layers.Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.fit(X, Y)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        assert other.evaluate(X, Y) == model.evaluate(X, Y)
        other.fit(X, Y)
        assert not np.array_equal(other.predict(X), model.predict(X))


def test_validation_split_takes_the_end() -> None:
    model = models.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    seen = model.fit(X[:, 0], Y, validation_split=0.25, epochs=1).history
    np.testing.assert_allclose(seen["val_loss"], [model.evaluate(X[30:, 0], Y[30:])])
    with pytest.raises(ValueError, match="validation_split is 0"):
        model.fit(X[:4, 0], Y[:4], validation_split=0.99)


def test_fit_says_why_it_ended() -> None:
    x, calls = np.ones((8, 3, 2), np.float32), []

    def loss(y_true: Any, y_pred: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return (y_pred - y_true).mean()

    model = models.Sequential([layers.GRU(1)])
    model.compile("sgd", loss)
    assert model.fit(x, np.zeros((8, 1)), batch_size=4, epochs=9).stopped == "interrupted"
    assert len(calls) == 3
    assert model.fit(x, np.zeros((8, 1)), batch_size=4, epochs=2).stopped == "epochs"


def test_fit_is_the_same_with_the_same_seed() -> None:
    results = []
    for _ in range(2):
        tg.seed(3)
        model = models.Sequential([layers.LSTM(4, dropout=0.2, recurrent_dropout=0.2), layers.Dense(2, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        results.append(model.fit(X, Y, epochs=2).history["loss"])
        assert model.evaluate(X, Y) == model.evaluate(X, Y)
    assert results[0] == results[1]


def test_losses_are_kerass() -> None:
    p = np.array([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
    t = tg.tensor(p, requires_grad=True)
    f = layers.losses
    np.testing.assert_allclose(f.get("sparse_categorical_crossentropy")([1, 0], t).item(), -np.log([0.7, 0.5]).mean())
    hot = [[0, 1, 0], [1, 0, 0]]
    np.testing.assert_allclose(f.get("categorical_crossentropy")(hot, t).item(), -np.log([0.7, 0.5]).mean())
    wanted = -(np.array(hot) * np.log(p) + (1 - np.array(hot)) * np.log(1 - p)).mean()
    np.testing.assert_allclose(f.get("binary_crossentropy")(hot, t).item(), wanted)
    np.testing.assert_allclose(f.get("mse")(hot, t).item(), ((p - hot) ** 2).mean())
    np.testing.assert_allclose(f.get("mae")(hot, t).item(), np.abs(p - hot).mean())
    for name in f.LOSSES:
        y = [1, 0] if name.startswith("sparse") else hot
        assert tg.gradcheck(lambda q, name=name, y=y: f.get(name)(y, q), [p])
        first = f.get(name)(y[:1], t[:1]).item()
        np.testing.assert_allclose(f.get(name)(y, t, np.array([True, False])).item(), first, rtol=1e-12)
    sure = tg.tensor([[0.0, 1.0]])
    np.testing.assert_allclose(f.get("binary_crossentropy")([[1, 0]], sure).item(), -np.log(1e-7), rtol=0.01)


def test_masked_steps_do_not_count_in_the_loss() -> None:
    ids = np.array([[1, 2, 0, 0], [3, 4, 1, 0]])
    model = models.Sequential(
        [layers.Embedding(5, 4, mask_zero=True), layers.GRU(3, return_sequences=True), layers.Dense(5, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    first = model.evaluate(ids, ids)
    np.testing.assert_allclose(first, model.evaluate(ids, np.where(ids == 0, 3, ids)))


def fitted(model: models.Sequential, loss: str, x: Any, y: Any) -> None:
    model.compile("sgd", loss)
    model.fit(x, y)


@pytest.mark.parametrize("last", [layers.Dense(1, "softmax"), layers.TimeDistributed(layers.Dense(1, "log_softmax"))])
def test_a_softmax_over_one_unit_is_refused(last: Any) -> None:
    model = models.Sequential([layers.GRU(2, return_sequences=isinstance(last, layers.TimeDistributed)), last])
    with pytest.raises(
        ValueError, match="dense: softmax over one unit gives 1 whatever comes; use activation='sigmoid'"
    ):
        fitted(model, "binary_crossentropy", X, Y)


def test_accuracy_is_chosen_by_shapes_as_in_keras() -> None:
    p = np.array([[0.9, 0.6, 0.1], [0.2, 0.7, 0.6]], np.float32)
    y = np.array([[1, 1, 0], [0, 0, 1]])
    model = models.Sequential([layers.Dense(3, "linear", kernel_initializer="identity")])
    for loss in ("binary_crossentropy", "mse"):
        model.compile("sgd", loss, metrics=["accuracy", "binary_accuracy"])
        _, chosen, each = model.evaluate(p, y)  # argmax 0, 1 of p and 0, 2 of y; five of six on their side of ½
        assert (chosen, each) == (0.5, pytest.approx(5 / 6))
    model.compile("sgd", "mse", metrics=["sparse_categorical_accuracy"])
    model.compile("sgd", lambda y_true, y_pred: y_pred.mean(), metrics=["acc"])
    assert model.evaluate(p, np.array([0, 1]))[1] == model.evaluate(p, np.array([[0], [1]]))[1] == 1.0
    one = models.Sequential([layers.Dense(1, kernel_initializer="ones", input_shape=(1,))])
    one.compile("sgd", "mse", metrics=["accuracy"])
    assert one.evaluate(np.array([[0.2], [0.8], [0.7]]), np.array([0, 1, 0]))[1] == pytest.approx(2 / 3)


def test_a_call_leaves_the_number_of_rows_open() -> None:
    model = models.Sequential([layers.LSTM(2, return_sequences=True), layers.Dense(1)])
    model(X[:7])
    assert model.output_shape == (None, 6, 1)
    assert any("(None, 6, 2)" in line for line in table(model))
    model = models.Sequential([layers.Dense(1)])
    model.build((4, 3))  # what one asks for stands
    assert model.output_shape == (4, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m: m.add(3), TypeError, "layer 2 is int 3"),
        (lambda m: m.add(layers.LSTM), TypeError, "the class LSTM"),
        (lambda m: m.compile("adagrad2"), ValueError, "optimizer is 'adagrad2'"),
        (lambda m: m.compile("adam", "hinge"), ValueError, "loss is 'hinge'"),
        (lambda m: m.compile("adam", "mse", ["f1"]), ValueError, "metric is 'f1'"),
        (lambda m: m.compile(3, "mse"), TypeError, "optimizer is int 3"),
        (lambda m: m.fit(X, Y), ValueError, "not compiled"),
        (lambda m: m.evaluate(X, Y), ValueError, "not compiled"),
        (lambda m: (m.compile("adam", "mse"), m.fit(X, Y[:3])), ValueError, "as many targets"),
        (lambda m: (m.compile("adam", "mse"), m.fit(X, X)), ValueError, "targets have shape"),
        (
            lambda m: fitted(m, "mse", [[[1.0]], [[1.0], [2.0]]], [0, 1]),
            ValueError,
            r"fit: x holds .* data.pad\(sequences",
        ),
        (lambda m: fitted(m, "mse", X[:2], [[0], [1, 2]]), ValueError, "fit: y holds sequences of unequal lengths"),
        (lambda m: fitted(m, "mse", X[:2], ["cat", "dog"]), TypeError, r"fit: y holds strings, .* return_inverse=True"),
        (
            lambda m: fitted(m, "mse", np.array([[1], [1, 2]], object), Y[:2]),
            TypeError,
            "fit: x has dtype object, expected",
        ),
        (lambda m: m.predict([[1.0], [1.0, 2.0]]), ValueError, "predict: x holds sequences of unequal lengths"),
        (
            lambda m: fitted(m, "categorical_crossentropy", X, Y),
            ValueError,
            r"predictions have shape \(32, 1\), one class",
        ),
        (
            lambda m: fitted(m, "sparse_categorical_crossentropy", X, Y),
            ValueError,
            "one class, of which the loss is always",
        ),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    model = models.Sequential([layers.GRU(2), layers.Dense(1)])
    with pytest.raises(error, match=message):
        call(model)


def test_a_layer_that_does_not_fit_is_not_added() -> None:
    model = models.Sequential([layers.Embedding(9, 4), layers.GRU(3)])
    before = table(model)
    wanted = r"forward_lstm: inputs have shape \(None, 3\), expected \(B, T, D\); .* needs return_seq"
    with pytest.raises(ValueError, match=wanted):
        model.add(layers.Bidirectional(layers.LSTM(3)))
    assert table(model) == before
    model.add(layers.Dense(1))
    assert model(np.array([[1, 2]])).shape == (1, 1)


def test_metrics_by_name_and_custom_metrics() -> None:
    def worst(y_true: Any, y_pred: Any) -> Any:
        return tg.max(tg.abs(y_pred - y_true))

    ids = np.array([[1, 2, 0], [3, 0, 0], [4, 1, 2], [2, 2, 0]])
    y = np.random.default_rng(0).normal(size=(4, 3, 1))
    model = models.Sequential([layers.Embedding(5, 4, mask_zero=True), layers.GRU(3, return_sequences=True)])
    model.add(layers.Dense(1))
    model.compile("sgd", "mse", metrics=["mae", "mean_squared_error", worst])
    logs = model.evaluate(ids, y, batch_size=3, return_dict=True)
    error = (model.predict(ids) - y)[ids != 0]
    np.testing.assert_allclose(logs["mae"], np.abs(error).mean(), rtol=1e-5)  # a metric counts real steps only
    np.testing.assert_allclose(logs["mean_squared_error"], np.square(error).mean(), rtol=1e-5)
    assert list(logs) == ["loss", "mae", "mean_squared_error", "worst"]
    assert list(model.fit(ids, y, validation_data=(ids, y)).history) == [*logs, *(f"val_{name}" for name in logs)]
    model.compile("sgd", "binary_crossentropy", metrics=["binary_accuracy"])
    with pytest.raises(
        ValueError, match=r"compile: metric is 'auc', expected one of accuracy, binary_accuracy, .* mse, "
    ):
        model.compile("adam", "mse", metrics=["auc"])
    assert list(model.evaluate(ids, y > 0, return_dict=True)) == ["loss", "binary_accuracy"]  # as compiled before


def test_fit_accepts_the_arguments_of_train_fit_too() -> None:
    model = models.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    seen: list[float] = []
    options = {"patience": 1, "on_validation": lambda history: seen.append(history.best[1])}
    logs = model.fit(X[:, 0], Y, epochs=3, validation_data=(X[:, 0], Y), **options)
    assert len(seen) == len(logs.history["val_loss"])


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_batch_sizes(size: Any) -> None:
    model = models.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    for call in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=f"{call.__name__}: batch_size is {size}, expected a positive integer"):
            call(X[:, 0], Y, batch_size=size)
    assert model.predict(X[:, 0], batch_size=None).shape == (40, 1)


def test_a_layer_of_several_outputs_is_refused() -> None:
    with pytest.raises(ValueError, match="lstm gives 3 outputs"):
        models.Sequential([layers.Input((None, 3)), layers.LSTM(2, return_state=True)])
    with pytest.raises(ValueError, match="lstm gives 3 outputs"):
        models.Sequential([layers.LSTM(2, return_state=True)])(X)


def test_frozen_parameters_are_not_trained():
    model = models.Sequential([layers.Dense(3), layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    model(x)
    frozen, trained = (layer.parameters() for layer in model.layers)
    for p in frozen:
        p.requires_grad = False
    before = [p.data for p in (*frozen, *trained)]
    model.compile("adam", "mse")
    model.fit(x, x[:, :1], epochs=2)
    same = [np.array_equal(p.data, old) for p, old in zip((*frozen, *trained), before, strict=True)]
    assert same == [True, True, False, False]
