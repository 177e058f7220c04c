"""Every public name has a docstring with an example, and the examples run."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.op import Op
from tinygrad_rnn.autodiff.tensor import registry

# The public modules; the others are internal. The figures of commands.gallery are examples themselves.
PUBLIC = [
    *(
        "",
        "callbacks",
        "data",
        "errors",
        "initializers",
        "kernels",
        "layers",
        "linalg",
        "models",
        "nn",
        "optim",
        "parallel",
        "regularizers",
        "rnn",
    ),
    *("check", "train", "viz"),
    *("interop.keras", "interop.onnx", "interop.tf1", "interop.torch"),
]


def modules() -> list[ModuleType]:
    """Every module of the package, without those that begin with an underscore."""
    top = Path(__file__).parent.parent
    files = [p.relative_to(top) for p in (top / "tinygrad_rnn").rglob("*.py")]
    files += ["tinygrad_rnn" / p.relative_to(top) for p in (top / "viz").rglob("*.py")]
    names = {".".join(p.with_suffix("").parts).removesuffix(".__init__") for p in files}
    if tg.kernels.info()["missing"]:
        names.remove("tinygrad_rnn.kernels.compiled")  # it is imported with the extension only
    return [import_module(n) for n in sorted(names) if not n.rpartition(".")[2].startswith("_")]


def short(name: str) -> str:
    return name.removeprefix("tinygrad_rnn").lstrip(".")


def explains(thing: Any) -> bool:
    """Whether this must have a docstring: a function, class or op of the package."""
    ours = str(getattr(thing, "__module__", "")).startswith("tinygrad_rnn")
    return ours and (inspect.isclass(thing) or inspect.isfunction(thing) or isinstance(thing, Op))


def defined_objects(module: ModuleType) -> dict[str, Any]:
    """The public objects that a module defines, by name."""
    public = {n: t for n, t in vars(module).items() if not n.startswith("_") and explains(t)}
    return {n: t for n, t in public.items() if t.__module__ == module.__name__}


def public() -> dict[tuple[str, str], Any]:
    """What users reach, by (file, name)."""
    objects: list[Any] = []
    for name in PUBLIC:
        module = import_module(f"tinygrad_rnn.{name}".rstrip("."))
        names = dir(module) if module is tg else getattr(module, "__all__", defined_objects(module))
        objects += [getattr(module, n) for n in names if not n.startswith("_")]
    return {(short(t.__module__), t.__name__): t for t in objects if explains(t)}


def methods(kind: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties that a class adds; those documented by an ancestor are left out."""
    for name, thing in vars(kind).items():
        function = getattr(thing, "__func__", getattr(thing, "fget", thing))
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, getattr(kind, name)


def documented(thing: Any) -> bool:
    return bool((inspect.getdoc(thing) or "").strip())


@pytest.mark.parametrize("module", modules(), ids=lambda m: short(m.__name__))
def test_everything_public_has_a_docstring(module: ModuleType) -> None:
    file = short(module.__name__)
    silent = {
        name for name, thing in {"the module": module, **defined_objects(module)}.items() if not documented(thing)
    }
    for (where, name), thing in public().items():
        if where == file and inspect.isclass(thing):
            silent |= {f"{name}.{m}" for m, method in methods(thing) if not documented(method)}
    assert not silent, f"{file}: no docstring"


def test_every_public_name_shows_itself() -> None:
    silent = [f"{file}: {name}" for (file, name), thing in public().items() if ">>>" not in (thing.__doc__ or "")]
    assert not silent, "no example"


def test_the_list_of_public_modules_is_whole() -> None:
    insides = {
        "autodiff",
        "checks",
        "config",
        "interop",
        "module",
        "ops",
        "program",
        "saving",
    }  # their public names are in tg itself
    reachable = {n for n in dir(tg) if isinstance(getattr(tg, n), ModuleType) and not n.startswith("_")}
    assert reachable - insides - {"commands"} <= set(PUBLIC)


def examples(module: ModuleType) -> Iterator[doctest.DocTest]:
    """The docstrings' examples. Those of public names begin with nothing imported, as at a reader's prompt."""
    shown = {name for file, name in public() if file == short(module.__name__)}
    doctests = doctest.DocTestFinder().find(module)
    for name, thing in defined_objects(module).items():
        if isinstance(thing, Op):  # the finder does not know ops
            text = doctest.DocTestParser().get_doctest(thing.__doc__ or "", {}, name, module.__file__, 0)
            doctests.append(text)
    for test in doctests:
        name = short(test.name).removeprefix(short(module.__name__)).lstrip(".").split(".")[0]
        if name in shown:
            test.globs = {"__name__": "__main__"}
        yield test


@pytest.mark.parametrize("module", modules(), ids=lambda m: short(m.__name__))
def test_examples_run(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if ".onnx" in module.__name__:
        pytest.importorskip("onnx")
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    before = dict(registry)
    with np.printoptions(legacy=False):
        for test in examples(module):
            tg.seed(0)
            runner.run(test)
    for name in set(registry) - set(before):  # an example declares an op
        del registry[name]
    assert runner.failures == 0
