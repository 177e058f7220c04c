"""The package as a whole: imports between modules, modules loaded by an import, sizes of files, public names."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_rnn as tg

ROOT = Path(tg.__file__).parent
TOP = Path(__file__).parent.parent

# What each part may import, bottom to top. A part's own modules are always allowed.
LAYERS = [
    {"checks", "errors", "autodiff.sparse"},
    {"autodiff.state"},
    {"autodiff.node"},
    {"autodiff.rows", "autodiff.work"},
    {"autodiff.engine"},
    {"autodiff.tensor"},
    {"autodiff.arguments", "autodiff.graph", "autodiff.steps"},
    {"autodiff.op"},
    {"autodiff.functional", "check", "kernels"},
    {"ops"},
    {"config", "initializers", "linalg", "module", "regularizers"},
    {"program"},
    {"rnn"},
    {"data", "saving"},
    {"callbacks", "nn", "layers", "models", "optim", "parallel", "train", "interop"},
    {"viz"},
    {"commands"},
    {"__main__"},
]
LAZY = {("autodiff.graph", "viz")}  # the one function that _repr_mimebundle_ calls


def part(module: str) -> str:
    """The entry of LAYERS that a module (path below the package) belongs to."""
    names = [name for layer in LAYERS for name in layer]
    prefixes = [n for n in names if module == n or module.startswith(n + ".")]
    assert prefixes, f"{module} is missing from the diagram of layers"
    return max(prefixes, key=len)


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


def modules() -> list[tuple[str, Path]]:
    imported = [
        (".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), p) for p in ROOT.rglob("*.py")
    ]
    viz = TOP / "viz"
    paths = [("viz", *p.relative_to(viz).with_suffix("").parts) for p in viz.rglob("*.py")]
    imported += [
        (".".join(parts).removesuffix(".__init__"), TOP.joinpath(*parts).with_suffix(".py")) for parts in paths
    ]
    return sorted((name, p) for name, p in imported if name not in ("__init__", "autodiff"))


def imports(name: str, path: Path) -> set[str]:
    """Every module of this package that a file imports, also inside functions and by import_module."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    out: set[str] = set()
    tree = ast.parse(path.read_text())
    for block in ast.walk(tree):  # names for type checkers are not imports
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING":
            block.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else [])]
            elif node.module and node.module.split(".")[0] == "tinygrad_rnn":
                base = node.module.split(".")[1:]
            else:
                continue
            targets = [[*base, alias.name] for alias in node.names]
            out |= {".".join(t) if _is_module(t) else ".".join(base) for t in targets}
        elif isinstance(node, ast.Import):
            own = [a.name for a in node.names if a.name.split(".")[0] == "tinygrad_rnn"]
            out |= {target.removeprefix("tinygrad_rnn").lstrip(".") for target in own}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            target = str(getattr(node.args[0], "value", ""))
            out |= {target.removeprefix("tinygrad_rnn.")} if target.startswith("tinygrad_rnn.") else set()
    return out


def _is_module(parts: list[str]) -> bool:
    base = TOP.joinpath(*parts) if parts[0] == "viz" else ROOT.joinpath(*parts)
    return base.with_suffix(".py").exists() or (base / "__init__.py").exists()


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_imports_run_one_way(name: str, path: Path) -> None:
    here = part(name)
    for target in sorted(imports(name, path)):
        if target in ("", "autodiff"):  # the package itself: only modules of the highest levels may import it
            assert here in ("viz", "commands", "__main__"), f"{name} imports the whole package"
            continue
        there = part(target)
        assert (
            there == here or level(there) < level(here) or (here, there) in LAZY or {here, there} <= _siblings(here)
        ), f"{name} imports {target}, which is on a higher level"


def _siblings(name: str) -> set[str]:
    """Interfaces and training tools may use one another; so may the modules on the level of `module`."""
    return (
        LAYERS[level(name)]
        if name in next(x for x in LAYERS if "nn" in x) | next(x for x in LAYERS if "module" in x)
        else {name}
    )


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_nothing_private_is_imported_from_another_module(name: str, path: Path) -> None:
    private = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("tinygrad_rnn"))
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__") and alias.name != "_native"  # compiled
    }
    assert not private, f"{name} imports {sorted(private)}: what another module uses has no underscore"


def test_kernels_import_numpy_only() -> None:
    for name, path in modules():
        if name.startswith("kernels"):
            outside = {t for t in imports(name, path) if part(t) != "kernels"}
            assert not outside, f"{name} imports {outside}"


def test_importing_loads_numpy_and_nothing_heavier() -> None:
    code = (
        "import sys, json, numpy; before = set(sys.modules); import tinygrad_rnn;"
        "print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    third_party = set(json.loads(out)) - set(sys.stdlib_module_names) - {"tinygrad_rnn", "numpy"}
    assert not {m for m in third_party if "cython" not in m and not m.startswith("_")}, third_party
    assert not set(json.loads(out)) & {"tqdm", "graphviz", "safetensors", "mpi4py", "viz"}


def test_a_cell_with_a_kernel_needs_no_program() -> None:
    """What traces and plans steps is imported by the first step without a kernel, by tg.scan, and by the list of all ops."""
    code = (
        "import sys, numpy as np, tinygrad_rnn as tg\n"
        "x = tg.tensor(np.ones((1, 2, 3), np.float32), requires_grad=True)\n"
        "tg.rnn.dynamic_rnn(tg.rnn.LSTMCell(2), x)[0].sum().backward()\n"
        "loaded = lambda: 'tinygrad_rnn.program.node' in sys.modules\n"
        "print(loaded(), {'scan', 'fused'} <= {op.name for op in tg.operations()}, loaded())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "True", "True"]


def test_interfaces_and_training_are_imported_at_first_use() -> None:
    parts = [
        "callbacks",
        "data",
        "interop",
        "layers",
        "models",
        "nn",
        "optim",
        "parallel",
        "regularizers",
        "train",
        "viz",
    ]
    code = (
        f"import sys, tinygrad_rnn as tg; parts = {parts}\n"
        "print([f for f in parts if 'tinygrad_rnn.' + f in sys.modules], [getattr(tg, f).__name__[13:] for f in parts])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith(f"[] {parts}")


@pytest.mark.parametrize("where", [str(TOP), "/"])
def test_info_sees_every_part_from_anywhere(where: str) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-m", "tinygrad_rnn", "info", "--json"], cwd=where, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    info = json.loads(run.stdout)
    assert info["viz"] is True
    assert info["version"] == tg.__version__


def test_an_install_makes_only_the_package_importable() -> None:
    code = "import json, sys; print(json.dumps(sys.path))"
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert str(TOP.parent) not in json.loads(out)
