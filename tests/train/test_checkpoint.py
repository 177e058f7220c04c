"""Files of arrays and of training runs: written atomically, and invalid files change nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim, rnn, train

ROOT = Path(tg.__file__).parent.parent


def test_round_trip(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "matrix": np.arange(6.0).reshape(2, 3),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "scalar": np.float64(0.1),
        "number": 7,
        "empty": np.zeros((0, 3), np.float32),
        "flags": np.array([True, False]),
        "big_endian": np.arange(3, dtype=">i4"),
        "tensor": tg.Parameter([1.0, 2.0]),
        "": np.ones(1),
    }
    metadata = {"epoch": 3, "rate": 0.1, "words": ["ü", "\n"], "nested": {"a": None}}
    path = tmp_path / "file.safetensors"
    tg.save(path, arrays, metadata)
    loaded = tg.load(str(path))
    assert set(loaded) == set(arrays)
    for k, v in arrays.items():
        expected = v.data if isinstance(v, tg.Tensor) else np.asarray(v)
        assert np.array_equal(loaded[k], expected)
        assert loaded[k].shape == expected.shape
    assert loaded["scalar"].item() == 0.1
    assert loaded.metadata == metadata
    assert os.listdir(tmp_path) == ["file.safetensors"]
    tg.save(path, {})
    assert tg.load(path) == {}
    assert tg.load(path).metadata == {}


def test_files_of_others_are_read(tmp_path: Path) -> None:
    save_file({"w": np.ones(2, np.float16)}, tmp_path / "other", metadata={"format": "np"})
    loaded = tg.load(tmp_path / "other")
    assert loaded["w"].dtype == np.float16
    assert loaded.metadata == {"format": "np"}


def test_permissions_and_links(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    tg.save(target, {"w": np.ones(1)})
    link.symlink_to(target)
    tg.save(link, {"w": np.zeros(1)})
    assert link.is_symlink()
    assert tg.load(target)["w"] == 0
    plain = tmp_path / "plain"
    plain.touch()
    assert target.stat().st_mode == plain.stat().st_mode


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_file_cut_short_or_changed_is_refused_or_read(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("damaged") / "file"
    tg.save(path, {"w": np.arange(10.0), "b": np.ones(3, np.float32)}, {"epoch": 1})
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:cut])
    with pytest.raises(tg.CheckpointError, match=rf"load: .*file \({cut} bytes\) is not a complete safetensors file"):
        tg.load(path)
    at = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :])
    with contextlib.suppress(tg.CheckpointError):
        tg.load(path)


def test_metadata_that_is_something_else(tmp_path: Path) -> None:
    save_file({"w": np.ones(2)}, tmp_path / "odd", metadata={"tinygrad_rnn": "[1, 2]"})
    with pytest.raises(tg.CheckpointError, match="is not a complete safetensors file"):
        tg.load(tmp_path / "odd")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x00" * 64, os.urandom(4096), b'{"w": 1}', b"\xff" * 9])
def test_garbage_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(content)
    with pytest.raises(
        tg.CheckpointError, match=r"garbage \(\d+ bytes\) is not a complete safetensors file.*another copy"
    ):
        tg.load(path)


def test_a_dtype_that_numpy_lacks(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "bf16").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(tg.CheckpointError, match=r"bf16 holds an array of dtype BF16, expected one of bool, int8"):
        tg.load(tmp_path / "bf16")


@pytest.mark.parametrize(
    ("tensors", "metadata", "text"),
    [
        (nn.Linear(2, 2), None, r"save: tensors is a Linear, expected a dict.*pass model.state_dict\(\)"),
        ([1], None, r"save: tensors is a list, expected a dict"),
        ({1: np.ones(1)}, None, r"save: the name 1 is a int, expected a string"),
        ({"w": "text"}, None, r"save: 'w' is a str of dtype <U4|str.*metadata="),
        ({"w": np.array([object()])}, None, r"save: 'w' is a ndarray of dtype object"),
        ({"w": np.ones(1, complex)}, None, r"save: 'w' is a ndarray of dtype complex128"),
        ({"w": np.ones(1)}, {"f": print}, r"save: metadata cannot be written as JSON"),
    ],
)
def test_a_failed_save_leaves_the_old_file(tmp_path: Path, tensors: Any, metadata: Any, text: str) -> None:
    path = tmp_path / "file"
    tg.save(path, {"w": np.ones(1)})
    before = path.read_bytes()
    with pytest.raises(TypeError, match=text):
        tg.save(path, tensors, metadata)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load: there is no file .*nowhere; tg.save writes one"):
        tg.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"save: there is no folder .*away to write file into"):
        tg.save(tmp_path / "away" / "file", {})
    with pytest.raises(IsADirectoryError, match=r"save: .* is a folder, expected the name of a file"):
        tg.save(tmp_path, {})
    with pytest.raises(IsADirectoryError):
        tg.load(tmp_path)


@pytest.mark.parametrize("call", ["os.fsync", "os.replace", "builtins.open"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: Any, call: str, error: Any) -> None:
    path = tmp_path / "file"
    tg.save(path, {"w": np.ones(1)})
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(call, fail)
    with pytest.raises(type(error)):
        tg.save(path, {"w": np.zeros(1)})
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_is_forced_to_the_disk_before_the_name_changes(tmp_path: Path, monkeypatch: Any) -> None:
    calls: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (calls.append("fsync"), sync(*a))[1])
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a))[1])
    tg.save(tmp_path / "file", {"w": np.ones(1)})
    assert calls == ["fsync", "replace", "fsync"]


WRITER = """
import sys, numpy as np
sys.path.insert(0, {root!r})
import tinygrad_rnn as tg
i = 0
while True:
    i += 1
    tg.save({path!r}, {{"w": np.full(300_000, i, np.float64)}}, {{"i": i}})
    if i == 1: print("begun", flush=True)
"""


def test_an_error_of_any_kind_changes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    """Errors that NumPy's generators raise for invalid states leave everything unchanged."""
    train.save_checkpoint(tmp_path / "run", *parts())
    for error, wanted in ((OverflowError("too large"), tg.CheckpointError), (MemoryError(), MemoryError)):
        run = parts()
        some_steps(*run, 2)
        before = everything(*run)
        calls: list[int] = []
        plain = train.checkpoint.set_random_state

        def fail(*args: Any, error: Any = error, calls: Any = calls, plain: Any = plain) -> None:
            calls.append(1)
            if len(calls) == 1:
                raise error
            plain(*args)

        monkeypatch.setattr(train.checkpoint, "set_random_state", fail)
        with pytest.raises(wanted):
            train.load_checkpoint(tmp_path / "run", *run)
        monkeypatch.undo()
        assert everything(*run) == before


def test_temporary_files_of_a_killed_writer_are_removed_by_the_next_save(tmp_path: Path) -> None:
    """Killed before the rename, a writer leaves its file; one that still writes, and files of other names, are left alone."""
    path = tmp_path / "file"
    code = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1]); import numpy as np, tinygrad_rnn as tg\n"
        "os.replace = lambda *_: (print('here', flush=True), time.sleep(60))\n"
        "tg.save(sys.argv[2], {'w': np.ones(3)})"
    )
    others = [".file.0123456789ab.tmp2", ".other.0123456789ab.tmp", ".file.notes.tmp", "file.0123456789ab.tmp"]
    for name in others:
        (tmp_path / name).touch()
    with subprocess.Popen([sys.executable, "-c", code, str(ROOT), str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        (left,) = set(os.listdir(tmp_path)) - set(others)
        tg.save(path, {"w": np.zeros(3)})
        assert set(os.listdir(tmp_path)) == {*others, left, "file"}
        process.send_signal(signal.SIGKILL)
    assert set(os.listdir(tmp_path)) == {*others, left, "file"}
    tg.save(path, {"w": np.ones(3)})
    assert set(os.listdir(tmp_path)) == {*others, "file"}
    assert tg.load(path)["w"].tolist() == [1, 1, 1]


def test_metadata_nested_too_deep_is_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    save_file({"w": np.ones(2)}, tmp_path / "deep", metadata={"tinygrad_rnn": deep})
    with pytest.raises(tg.CheckpointError, match=r"deep .*is not a complete safetensors file.*recursion"):
        tg.load(tmp_path / "deep")


def test_the_header_s_own_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"save: the name '__metadata__' is reserved for the file.*another name"):
        tg.save(tmp_path / "file", {"__metadata__": np.ones(1)})
    assert not os.listdir(tmp_path)


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    rng = np.random.default_rng()
    seen = set()
    for _ in range(12):
        code = WRITER.format(root=str(ROOT), path=str(path))
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        loaded = tg.load(path)
        assert (loaded["w"] == loaded.metadata["i"]).all()
        seen.add(loaded.metadata["i"])
    assert seen


# -- whole runs ----------------------------------------------------------------------------------------------------


class Net(tg.Module):
    def __init__(self, units: int = 4):
        self.cell = rnn.LSTMCell(units).build(3)
        self.drop = nn.Dropout(0.5, seed=1)
        self.head = nn.Linear(units, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.drop(rnn.dynamic_rnn(self.cell, x)[0]))


def parts(units: int = 4) -> tuple[Net, optim.Adam, optim.StepLR]:
    net = Net(units)
    optimizer = optim.Adam(net.parameters(), 0.1)
    return net, optimizer, optim.StepLR(optimizer, 2, 0.5)


def some_steps(net: Net, optimizer: optim.Adam, schedule: optim.StepLR, n: int) -> None:
    for _ in range(n):
        optimizer.zero_grad()
        x = tg.tensor(np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32))
        (net(x) ** 2).mean().backward()
        optimizer.step()
        schedule.step()


def everything(net: Net, optimizer: optim.Adam, schedule: optim.StepLR) -> list[Any]:
    numbers = [v.tolist() if isinstance(v, np.ndarray) else v for v in optimizer.state_dict().values()]
    arrays = [a.tolist() for a in net.state_dict().values()]
    return [arrays, numbers, schedule.state_dict(), optimizer.lr, train.checkpoint.random_state(net)]


def test_a_checkpoint_restores_parameters_optimizer_and_generators(tmp_path: Path) -> None:
    tg.seed(0)
    run = parts()
    some_steps(*run, 3)
    train.save_checkpoint(tmp_path / "run", *run, arrays={"x": np.arange(3)}, metadata={"note": "three"})
    saved = everything(*run)
    some_steps(*run, 3)
    later = everything(*run)
    tg.seed(9)
    other = parts()
    loaded = train.load_checkpoint(tmp_path / "run", *other)
    assert everything(*other) == saved
    assert loaded["x"].tolist() == [0, 1, 2]
    assert loaded.metadata == {"note": "three"}
    some_steps(*other, 3)
    assert everything(*other) == later


def test_a_model_that_is_not_built_yet_is_built_to_fit(tmp_path: Path) -> None:
    built, fresh = rnn.GRUCell(3).build(2), rnn.GRUCell(3)
    train.save_checkpoint(tmp_path / "run", built)
    train.load_checkpoint(tmp_path / "run", fresh)
    assert np.array_equal(fresh.kernel.data, built.kernel.data)


def test_a_failed_load_leaves_an_unbuilt_model_unbuilt(tmp_path: Path) -> None:
    train.save_checkpoint(tmp_path / "run", rnn.GRUCell(3).build(2), random={"other": {}})
    cell = rnn.GRUCell(3)
    with pytest.raises(tg.CheckpointError, match=r"does not fit: it holds random generators \['other'\]"):
        train.load_checkpoint(tmp_path / "run", cell)
    assert not cell.built
    cell.build(5)


def bad_files(tmp_path: Path) -> dict[str, tuple[Any, str]]:
    """By name: the content of the file, and a text of the error."""
    good = tmp_path / "good"
    net, optimizer, schedule = parts()
    train.save_checkpoint(good, net, optimizer, schedule)
    tensors, metadata = dict(tg.load(good)), tg.load(good).metadata

    def changed(**changes: Any) -> tuple[Any, Any]:
        result = {k: v for k, v in {**tensors, **changes}.items() if v is not None}
        return result, metadata

    key = "optimizer.m.0"
    random = metadata["random"]
    return {
        "other shape": (changed(**{"model.head.weight": np.ones((2, 9))}), r"head.weight has shape \(2, 9\), expected"),
        "part missing": (changed(**{"model.head.bias": None}), r"does not fit.*missing head.bias \(2,\)"),
        "optimiser's shape": (changed(**{key: np.ones(3)}), r"does not fit Adam.*m.0 has shape \(3,\), expected"),
        "schedule": (changed(**{"schedule.count": None}), r"StepLR got \['base', 'part'\], expected"),
        "negative count": (changed(**{"schedule.count": np.array(-3)}), r"does not fit: StepLR: count is .*-3"),
        "infinite count": (changed(**{"schedule.count": np.array(np.inf)}), r"does not fit: StepLR: count is .*inf"),
        "NaN rate": (changed(**{"optimizer.lr": np.array(np.nan)}), r"does not fit Adam.*lr is nan"),
        "NaN base": (changed(**{"schedule.base": np.array(np.nan)}), r"does not fit: StepLR: base is .*nan"),
        "negative steps": (
            changed(**{"optimizer.counts": -np.ones(len(optimizer.params), int)}),
            r"does not fit Adam.*counts is \[-1",
        ),
        "infinite steps": (
            changed(**{"optimizer.counts": np.full(len(optimizer.params), np.inf)}),
            r"does not fit Adam.*counts is \[inf",
        ),
        "no random state": ((tensors, {}), r"holds no random generators' state"),
        "random state": ((tensors, {"random": {"default": {}}}), r"holds random generators \['default'\], expected"),
        "broken random": ((tensors, {"random": {k: {"bit_generator": "x"} for k in random}}), r"does not fit: "),
        "plain arrays": (({"w": np.ones(2)}, {}), r"holds 'w', which is not part of a checkpoint.*tg.load"),
        "no optimiser": (
            ({k: v for k, v in tensors.items() if k[0] == "m"}, metadata),
            r"the file has no section optimizer",
        ),
    }


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    for i, (name, ((tensors, metadata), text)) in enumerate(bad_files(tmp_path).items()):
        path = tmp_path / f"bad{i}"
        tg.save(path, tensors, metadata)
        run = parts()
        some_steps(*run, 2)
        before = everything(*run)
        with pytest.raises(tg.CheckpointError, match=text):
            train.load_checkpoint(path, *run)
        assert everything(*run) == before, name


def test_another_architecture_names_every_difference(tmp_path: Path) -> None:
    train.save_checkpoint(tmp_path / "run", *parts(4))
    with pytest.raises(
        tg.CheckpointError, match=r"run does not fit: .*cell.kernel has shape \(3, 16\), expected \(3, 20\)"
    ):
        train.load_checkpoint(tmp_path / "run", *parts(5))
