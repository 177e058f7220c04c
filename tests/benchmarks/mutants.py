"""Mutation testing: random mutants of the Python code, and which of them the tests of the same part do not detect.

    python tests/benchmarks/mutants.py [--seed 0] [--count 200] [--these 3,17] [--only PATH] [--seconds 60] [--record FILE]

A mutant is one change: an operator or comparison inverted, a boundary or constant shifted, a `not` or sign dropped, an
`and`/`or` exchanged. Everything happens in a copy of the tree under the temporary folder. The tests of each part (PARTS) run
there once under coverage (which must be installed), to see which test executes which line and how long it takes; --record
keeps that in a file and reads it from there the next time, and test files that it does not know run for every mutant of
their part. Then each mutant is run against the tests that execute its line, the quickest first, up to --seconds of them, and
the first that fails has noticed it. A line that no test executes is not noticed; a run four times longer than the tests took
is. Every mutant has its own line of output, survivors with what was changed; the same seed picks the same mutants.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[2]
PARTS = {  # what is mutated, the longest that fits: where its tests are
    "tinygrad_rnn/autodiff": ["tests/autodiff"],
    "tinygrad_rnn/check": ["tests/check"],
    "tinygrad_rnn/autodiff/engine.py": ["tests/autodiff", "tests/parallel/test_parallel.py"],
    "tinygrad_rnn/autodiff/graph.py": ["tests/autodiff", "tests/rnn", "tests/viz"],
    "tinygrad_rnn/autodiff/steps.py": ["tests/rnn", "tests/viz"],
    "tinygrad_rnn/autodiff/rows.py": ["tests/program/test_every_op.py", "tests/program/test_rows.py"],
    "tinygrad_rnn/ops": ["tests/autodiff", "tests/check/test_ops.py", "tests/nn", "tests/rnn"],
    "tinygrad_rnn/rnn": ["tests/rnn", "tests/autodiff/test_work.py"],
    "tinygrad_rnn/rnn/steps.py": ["tests/viz/test_recorded.py", "tests/viz/test_nets.py"],
    "tinygrad_rnn/nn": ["tests/nn", "tests/rnn/test_streaming.py"],
    "tinygrad_rnn/layers": ["tests/layers", "tests/rnn/test_streaming.py"],
    "tinygrad_rnn/optim": ["tests/train"],
    "tinygrad_rnn/train": ["tests/train", "tests/parallel/test_parallel.py", "tests/parallel/test_parts.py"],
    "tinygrad_rnn/interop": ["tests/interop"],
    "tinygrad_rnn/interop/keras.py": ["tests/interop", "tests/layers"],
}
LEFT_OUT = {"tinygrad_rnn/check/samples.py": "draws the inputs of the gradient checks"}
SIGNATURES = "::test_defaults"  # tests so named read the defaults of functions, and need not execute them
EQUIVALENT = [  # where, a part of the changed line, why nothing can notice it
    ("", "strict=(False)", "an assertion of zip that never fails"),
    ("layers/activations.py", "ops.expm1(ops.where(x > 0, (1), x))", "only keeps eˣ finite where x itself is taken"),
    ("autodiff/op.py", "elif (len(args) != 2):", "the way that all calls can go gives the same, only slower"),
    ("autodiff/op.py", "(a._node,), ((False),)", "no vjp of one input asks whether that needs a gradient"),
    ("", "reshape((-(2), ", "NumPy takes any negative size for the one to be found"),
    ("", ".reshape(-(2), ", "NumPy takes any negative size for the one to be found"),
    ("", ".reshape(-(2))", "NumPy takes any negative size for the one to be found"),
    ("ops/unrolled.py", "(lengths.min(initial=x.shape[axis]) > x.shape[axis])", "a mask of all steps masks nothing"),
    ("ops/unrolled.py", "size = h.shape[(1)]", "of the two axes of a step's h 1 is the last"),
    ("ops/linalg.py", "if b.ndim == 2 and (a.ndim <= 2):", "many products that are added up are the one product"),
    ("optim/clipping.py", "if (factor <= 1):", "it multiplies by 1"),
    ("check/report.py", "(numeric.shape[axis] >= 1)", "the sum over an axis of one element is that element"),
    ("ops/linalg.py", "len(result) == (len(batch) - len(rows))", "the way that all formulas can go gives the same"),
    ("check/ops.py", "NO_OPTION: (2)", "an option that there is not is refused whatever its value"),
    ("ops/linalg.py", "is type(b) is not np.ndarray)", "of tensors both ways are the op, of arrays NumPy or a kernel"),
    ("ops/linalg.py", "b.shape[(1)]))", "b has two axes there"),
    ("onnx/weights.py", 'arrays["R"].shape[(1)]', "R of other than two axes is refused"),
    ("onnx/writer.py", "[*functions, functions[(1)]]", "an LSTM has two functions"),
    ("train/loop.py", ".isdigit() else (1)", "keys without a number are not read"),
    ("ops/recurrent.py", ", axis=(1))", "a step's arrays have two axes, so that axis 1 is the last"),
    ("rnn/attention.py", "[x, attention], axis=(1))", "a step's arrays have two axes, so that axis 1 is the last"),
    ("rnn/cells.py", "axis=(1)", "a step's arrays have two axes, so that axis 1 is the last"),
    ("ops/reduce.py", "/ where(constant, (2), out)", "it divides 0"),
    ("ops/linalg.py", "optimize=(", "in which order einsum multiplies changes its time alone"),
    ("onnx/operators.py", "x.shape[:at])), -(2)))", "NumPy takes any negative size for the one to be found"),
    ("onnx/operators.py", "f(flat, axis=(1))", "what is flat has two axes, so that axis 1 is the last"),
    ("onnx/operators.py", "None if step < (1) and", "a slice's step is never 0"),
    ("ops/decompositions.py", "cond(data)) / np.sqrt(", "cofactors by minors are those by the inverse, only slower"),
    ("nn/utils/rnn.py", "if (steps >= x.shape[1]):", "it fills up with nothing"),
    ("onnx/reader.py", '("", "ai.onnx")), (2))', "no operator changed between opsets 1 and 2"),
    ("train/microbatches.py", "= (1)  # ", "it is set before it is read"),
    ("nn/functional.py", ".max(initial=-(2))", "classes that are all negative are refused either way"),
    ("ops/trigonometric.py", "range((13) + order,", "one term more of a series than float64 holds"),
    ("ops/linalg.py", "if b.ndim == 2 and a.ndim > (3):", "many products that are added up are the one product"),
    ("ops/linalg.py", "if b.ndim == 2 and (a.ndim >= 2):", "the rows of a matrix are the matrix"),
    ("ops/linalg.py", "if (len(dtypes) >= 1):", "NumPy's product gives what the kernel's does"),
    ("ops/decompositions.py", "n = data.shape[-(2)]", "a determinant's matrix is square"),
    (
        "autodiff/tensor.py",
        "self.data = result.data.astype(self.dtype, copy=(True))",
        "a copy of what nobody else holds",
    ),
    ("autodiff/functional.py", "elif (node.counter <= first) or type(node) is Leaf:", "the first is one of the points"),
    ("autodiff/node.py", "return _count(array) if _count else (1)", "CPython counts references"),
    ("rnn/cell.py", "zip(state, size, strict=(True))", "the lengths were compared before"),
    ("layers/recurrent.py", "Options(GatedOptions, total=(True))", "types of arguments, which only type checkers read"),
    ("ops/linalg.py", "or (1) in sizes.values():", "the way that all formulas can go gives the same"),
    ("autodiff/graph.py", "zip(parents, values, strict=(True))", "an assertion of zip that never fails"),
    ("layers/training.py", "cut = int(len(data[(1)]) * (1 - share))", "inputs and targets are as many"),
    ("rnn/attention.py", "self.draw((x.shape[0], (2), x.shape[1])", "of the masks of two steps the first is taken"),
    ("autodiff/op.py", "(a._node, None), (True, (True))", "the gradient of a number is computed and goes nowhere"),
    ("ops/decompositions.py", "gaps = where(one, (2),", "what stands on the diagonal is not read"),
    ("optim/optimizers.py", "float(self.nesterov), 0.0, (1.0), 0.0)", "a number that SGD does not read"),
    ("autodiff/op.py", "(None, b._node), ((True), True)", "the gradient of a number is computed and goes nowhere"),
    ("nn/losses.py", "classes[counted].max(initial=-(2))", "below -1 is no class either"),
    (
        "ops/linalg.py",
        "[c for c in of_a if (c not in of_b) and c not in result]",
        "the way of all formulas gives the same",
    ),
    ("onnx/operators.py", "x.size // rows if rows else (1)", "without rows there is nothing to arrange"),
    ("autodiff/node.py", "others or (array.flags.writeable):", "memory is then copied that could have been taken"),
    ("rnn/cell.py", "self.draw((x.shape[0], (2), x.shape[1])", "of the masks of two steps the first is taken"),
    ("autodiff/op.py", "plain = self.differentiable and (self.several", "the way that all calls can go gives the same"),
    ("nn/losses.py", "classes[counted].min(initial=(1))", "above 0 is no class below 0 either"),
    ("ops/index.py", "np.diff(ordered, prepend=-(2))", "indices begin with 0"),
]
SWAPS: dict[type, list[type]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
}


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """The node with one thing changed, in each way there is."""
    if isinstance(node, (ast.BinOp, ast.BoolOp)):
        for other in SWAPS.get(type(node.op), []):
            changed = copy.deepcopy(node)
            changed.op = other()
            yield changed
    elif isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            for other in SWAPS[type(op)]:
                changed = copy.deepcopy(node)
                changed.ops[i] = other()
                yield changed
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)


def behaviour(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below that decide what the code does. Left out: annotations, which nothing runs; the text of f-strings, whose
    parts have no place of their own in the file; patterns of `case`; the samples of ops, functions of
    `r`, which are inputs of tests."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, (ast.FunctionDef, ast.Lambda)) and [a.arg for a in child.args.args][:1] == ["r"]:
                continue
            if isinstance(child, ast.match_case):
                yield from behaviour(ast.Module(child.body, []))
                continue
            yield child
            yield from behaviour(child)


def mutants(top: Path, path: str) -> Iterator[dict[str, Any]]:
    """Every mutant of a file: its position, the original code and the changed code."""
    for node in behaviour(ast.parse((top / path).read_text())):
        for other in variants(node):
            yield {"path": path, "line": node.lineno, "node": node, "new": ast.unparse(other)}


def mutated(mutant: dict[str, Any], code: bytes) -> str:
    """The file's text with the change made."""
    node, starts = mutant["node"], [0]
    for line in code.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    begin = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    return (code[:begin] + f"({mutant['new']})".encode() + code[end:]).decode()


def span(code: str, line: int) -> tuple[int, int, int, bool]:
    """The first line of the statement that a line is part of, the first and last of the function around it, or of the file,
    and whether the line runs at import, as a default or decorator does."""
    statement, around = 1, (1, 10**6, True)
    for outer in ast.walk(ast.parse(code)):  # from the outside in
        if isinstance(outer, ast.stmt) and outer.lineno <= line <= outer.end_lineno:
            statement = outer.lineno
        if isinstance(outer, ast.Lambda) and outer.lineno == line:
            around = (line, line, True)
        if isinstance(outer, ast.FunctionDef):
            first = min([outer.lineno, *(d.lineno for d in outer.decorator_list)])
            if first <= line <= outer.end_lineno:
                around = (first, outer.end_lineno, line < outer.body[0].lineno)
    return statement, *around


class Recorder:
    """A pytest plugin: the lines each test executes and the seconds it takes."""

    def __init__(self) -> None:
        import coverage

        self.lines = coverage.Coverage(data_file=None, source=["tinygrad_rnn"], config_file=False)
        self.seconds: dict[str, float] = {}
        self.files: set[str] = set()
        self.lines.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.lines.switch_context(nodeid)
        self.files.add(nodeid.split("::")[0])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.passed:
            self.seconds[report.nodeid] = report.duration

    def save(self, path: str) -> None:
        self.lines.stop()
        data = self.lines.get_data()
        names = list(self.seconds)
        number = {name: i for i, name in enumerate(names)}
        lines = {
            os.path.relpath(file): {
                line: [number[c] for c in contexts if c in number]
                for line, contexts in data.contexts_by_lineno(file).items()
            }
            for file in data.measured_files()
        }
        record = {"files": sorted(self.files), "tests": names, "seconds": list(self.seconds.values()), "lines": lines}
        Path(path).write_text(json.dumps(record))


class Chooser:
    """A pytest plugin: only these tests, in this order, after all those of files that the record does not know."""

    def __init__(self, chosen: list[str], known: list[str]) -> None:
        self.order = {name: i for i, name in enumerate(chosen)}
        self.known = set(known)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        place = {item: self.order.get(item.nodeid) for item in items}
        new = [item for item in items if item.nodeid.split("::")[0] not in self.known]
        items[:] = new + sorted((i for i in items if i not in new and place[i] is not None), key=lambda i: place[i])


OPTIONS = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--no-header"]


def record(folder: str, out: str) -> None:
    """In the copy: run a folder of tests under coverage."""
    import pytest

    recorder = Recorder()
    pytest.main([folder, *OPTIONS], plugins=[recorder])
    recorder.save(out)


def serve() -> None:
    """In the copy: for every task on stdin run the chosen tests up to the first failure, in a fork of this process, which
    has imported what takes long; answer with its status, None after the seconds of the task."""
    import numpy  # noqa: F401
    import pytest

    with suppress(ImportError):
        import onnx.reference  # noqa: F401
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            out = os.open(task["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for stream, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
                os.dup2(file, stream)
            options = ["-x", "--tb=line", *OPTIONS]
            status = pytest.main([*task["files"], *options], plugins=[Chooser(task["tests"], task["known"])])
            sys.stdout.flush()
            os._exit(status)
        end, ended = time.monotonic() + task["seconds"], 0
        while not ended and time.monotonic() < end:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)


def files_in(place: Path, pattern: str) -> Iterator[Path]:
    """The files of a folder, or the one file."""
    return place.glob(pattern) if place.is_dir() else iter([place])


class Copy:
    """The tree and an environment that imports it, in the temporary folder."""

    def __init__(self, where: str) -> None:
        self.tree = Path(where) / "tree"
        hidden = shutil.ignore_patterns("__pycache__")
        for name in ("tinygrad_rnn", "tests", "viz", "examples", "pyproject.toml", "README.md"):
            source, target = TOP / name, self.tree / name
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(source, target, ignore=hidden) if source.is_dir() else shutil.copy(source, target)
        (self.tree / "tinygrad_rnn/viz").symlink_to(self.tree / "viz")
        native = importlib.util.find_spec("tinygrad_rnn.kernels._native")
        if native is not None and native.origin is not None:
            shutil.copy(native.origin, self.tree / "tinygrad_rnn/kernels")
        venv.create(Path(where) / "venv", symlinks=True)
        self.python = Path(where) / "venv/bin/python"
        packages = sysconfig.get_path("purelib", vars={"base": str(Path(where) / "venv")})
        Path(packages, "copy.pth").write_text(f"{self.tree}\n{sysconfig.get_path('purelib')}\n")
        self.server: subprocess.Popen[str] | None = None

    def files(self) -> list[str]:
        """The files that are mutated, in order."""
        inside = [p for part in PARTS for p in sorted(files_in(self.tree / part, "**/*.py"))]
        return [p for p in dict.fromkeys(str(p.relative_to(self.tree)) for p in inside) if p not in LEFT_OUT]

    def started(self, code: str, **options: Any) -> subprocess.Popen[str]:
        """A process in the copy that runs code with this module."""
        start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also in the background
        code = f"{start}; sys.path.insert(0, 'tests/benchmarks'); import mutants; {code}"
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return subprocess.Popen([self.python, "-c", code], cwd=self.tree, env=kept, text=True, **options)

    def run(self, task: dict[str, Any]) -> tuple[int, str]:
        """Run chosen tests: the status of pytest and what it printed."""
        if self.server is None:
            self.server = self.started("mutants.serve()", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        out = self.tree / "out.txt"
        self.server.stdin.write(json.dumps({**task, "out": str(out)}) + "\n")
        self.server.stdin.flush()
        status = json.loads(self.server.stdout.readline())
        return (1, "FAILED by taking too long") if status is None else (status, out.read_text(errors="replace"))

    def close(self) -> None:
        """End the process that runs chosen tests."""
        if self.server is not None:
            self.server.communicate()

    def recorded(self, folders: list[str], kept: str | None) -> dict[str, Any]:
        """Per folder of tests: its tests, their seconds, and which of them execute each line."""
        done: dict[str, Any] = json.loads(Path(kept).read_text()) if kept and Path(kept).exists() else {}
        for folder in folders:
            if folder not in done:
                began, out = time.perf_counter(), str(self.tree / "record.json")
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                self.started(f"mutants.record({folder!r}, {out!r})", **quiet).wait()
                done[folder] = json.loads(Path(out).read_text())
                took = time.perf_counter() - began
                print(f"{folder}: {len(done[folder]['tests'])} tests pass, {took:.0f} s", flush=True)
                if kept:
                    Path(kept).write_text(json.dumps(done))
        return done

    def verdict(self, mutant: dict[str, Any], records: list[dict[str, Any]], folders: list[str], most: float) -> str:
        """What noticed the mutant, or why nothing did (then it begins with "survived")."""
        path = self.tree / mutant["path"]
        before = path.read_text()
        place = span(before, mutant["line"])
        tests = sorted({t for r in records for t in executing(mutant, place, r)}, key=lambda t: (t[1], t[0]))
        total, chosen = 0.0, []
        for name, seconds in tests:
            if chosen and total + seconds > most:
                break
            total += seconds
            chosen.append(name)
        known = sorted({file for r in records for file in r["files"]})
        files = sorted({name.split("::")[0] for name in chosen})
        for folder in folders:
            there = sorted(str(p.relative_to(self.tree)) for p in files_in(self.tree / folder, "test_*.py"))
            files += [f for f in there if f not in known]
        if not files:
            return "survived: no test executes the line"
        task = {"files": files, "tests": chosen, "known": known, "seconds": 60 + 4 * total}
        compiled = Path(importlib.util.cache_from_source(str(path)))
        path.write_text(mutated(mutant, before.encode()))
        compiled.unlink(missing_ok=True)
        try:
            status, out = self.run(task)
        finally:
            path.write_text(before)
            compiled.unlink(missing_ok=True)
        if status in (0, 5):
            return f"survived {len(chosen)} of the {len(tests)} tests that execute the line"
        lines = [line for line in out.splitlines() if line.startswith(("FAILED", "ERROR"))] or out.splitlines()[-1:]
        return "noticed: " + (lines or ["the interpreter ended"])[0][:150]


def executing(
    mutant: dict[str, Any], place: tuple[int, int, int, bool], recorded: dict[str, Any]
) -> set[tuple[str, float]]:
    """The tests that execute the mutant's line; of a line that runs at import, those that execute the function around it,
    and those of signatures."""
    lines = recorded["lines"].get(mutant["path"], {})
    statement, first, last, at_import = place
    numbers = lines.get(str(mutant["line"]), []) or lines.get(str(statement), [])
    if not numbers and at_import:
        numbers = [n for line, some in lines.items() if first <= int(line) <= last for n in some]
    if at_import:
        numbers = [*numbers, *(n for n, test in enumerate(recorded["tests"]) if SIGNATURES in test)]
    return {(recorded["tests"][n], recorded["seconds"][n]) for n in numbers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="how many mutants")
    parser.add_argument("--these", help="numbers of them, as 3,17,40; else all")
    parser.add_argument("--only", default="tinygrad_rnn/", help="paths that begin so")
    parser.add_argument("--seconds", type=float, default=60, help="of tests a mutant meets at most")
    parser.add_argument("--record", metavar="FILE", help="where to keep which test executes which line")
    options = parser.parse_args()
    ran, survivors = 0, []
    with tempfile.TemporaryDirectory() as where:
        tree = Copy(where)
        every = [m for path in tree.files() for m in mutants(tree.tree, path) if path.startswith(options.only)]
        picked = random.Random(options.seed).sample(every, min(options.count, len(every)))
        print(f"{len(picked)} of {len(every)} mutants, seed {options.seed}", flush=True)
        for i in map(int, options.these.split(",")) if options.these else range(len(picked)):
            mutant = picked[i]
            folders = PARTS[max((part for part in PARTS if mutant["path"].startswith(part)), key=len)]
            changed = (
                mutated(mutant, (tree.tree / mutant["path"]).read_bytes()).splitlines()[mutant["line"] - 1].strip()
            )
            place = f"{i:4} {mutant['path']}:{mutant['line']}  {changed}"
            reason = next((why for p, part, why in EQUIVALENT if mutant["path"].endswith(p) and part in changed), "")
            if reason:
                print(f"{place}  [equivalent: {reason}]", flush=True)
                continue
            records = tree.recorded(folders, options.record)
            verdict = tree.verdict(mutant, [records[f] for f in folders], folders, options.seconds)
            ran += 1
            survivors += [f"{place}  [{verdict}]"] if verdict.startswith("survived") else []
            print(f"{place}  [{verdict}]", flush=True)
        tree.close()
    share = 1 - len(survivors) / max(ran, 1)
    print(f"{ran} run, {ran - len(survivors)} noticed ({share:.1%}); not noticed:", *survivors, sep="\n")


if __name__ == "__main__":
    main()
