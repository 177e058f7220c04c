"""The reference as a site: the README, the guide and every public name. `sphinx-build -W -c .docs . build/docs` builds it.

The pages of the package are written from what it exports, one for each module. Docstrings here are plain text with
examples; `as_markup` brings them into the form that Sphinx reads.
"""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

WIDTH = 110  # of a docstring's text within its indentation
HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from test_docstrings import PUBLIC, explains  # noqa: E402

import tinygrad_rnn as tg  # noqa: E402
from tinygrad_rnn.autodiff.op import Op  # noqa: E402

project = "tinygrad_rnn"
version = release = tg.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "myst_parser"]
root_doc = ".docs/index"
include_patterns = [
    *(".docs/**", "README.md", "README.ko.md", "examples/guide/*.md"),
    *("tinygrad_rnn/kernels/native/README.md", "tests/benchmarks/RESULTS.md"),
]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "tinygrad_rnn"
html_show_sphinx = html_show_copyright = False
html_extra_path = ["root"]
autodoc_member_order = "groupwise"
autodoc_typehints = "none"
toc_object_entries = False
suppress_warnings = ["myst.header"]


def names(module: ModuleType) -> list[str]:
    """What a module offers, functions and classes and ops by name."""
    listed = dir(module) if module is tg else getattr(module, "__all__", [*vars(module)])
    return sorted(n for n in listed if not n.startswith("_") and explains(getattr(module, n)))


def page(module: ModuleType, shown: set[Any]) -> str:
    """The page of a module in reStructuredText; the index names the first page that shows a class."""
    title = module.__name__
    lines = [title, "=" * len(title), "", f".. py:module:: {title}", "", *as_markup(module.__doc__ or ""), ""]
    for name in names(module):
        thing = getattr(module, name)
        if inspect.isclass(thing):
            again = ["   :no-index:"] if thing in shown else []
            lines += [f".. autoclass:: {title}.{name}", "   :members:", *again, ""]
            shown.add(thing)
            continue
        function = thing.forward if isinstance(thing, Op) else thing
        lines += [f".. py:function:: {title}.{name}{signature(function)}", ""]
        lines += [f"   {line}".rstrip() for line in as_markup(inspect.getdoc(thing) or "")] + [""]
    return "\n".join(lines)


def signature(function: Any) -> str:
    """A signature without its annotations, which say less than the text."""
    full = inspect.signature(function)
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in full.parameters.values() if p.name != "keep"]
    return str(full.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def as_markup(text: str) -> list[str]:
    """Plain text with examples as lines of reStructuredText: every character of it means itself."""
    out: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        lines = paragraph.split("\n")
        if lines[0].lstrip().startswith(">>>") or any(line.startswith((" ", "+", "|")) for line in lines):
            language = "pycon" if lines[0].lstrip().startswith(">>>") else "text"
            out += [f".. code-block:: {language}", "", *(f"   {line}" for line in lines), ""]
        else:
            start = next((i for i, line in enumerate(lines) if line.startswith(">>>")), len(lines))
            out += wrapped(lines[:start])
            if start < len(lines):
                out += [".. code-block:: pycon", "", *(f"   {line}" for line in lines[start:]), ""]
    return out


def wrapped(lines: list[str]) -> list[str]:
    """A paragraph that keeps the ends of lines that the author meant: those where the next word had room (an equation)."""
    out: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        meant = len(before) + 1 + len(line.split(" ")[0]) <= WIDTH
        out.append(("| " if meant else "  ") + literals(line))
    single = not any(line.startswith("| ") for line in out[1:])
    return [*([line[2:] for line in out] if single else out), ""]


def literals(line: str) -> str:
    """A line of text: `code` as a literal, the signs that have a meaning in markup escaped."""
    parts = re.split(r"`+([^`]+)`+", line)
    parts[::2] = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts[::2]]
    for i in range(1, len(parts), 2):
        before, after = parts[i - 1][-1:], parts[i + 1][:1]
        parts[i] = ("\\ " if before.isalnum() else "") + f"``{parts[i].strip()}``" + ("\\ " if after.isalnum() else "")
    text = "".join(parts)
    return re.sub(r"^([-+•]|\w+[.)])( |$)", r"\\\1\2", text)


def write_pages(_: Any) -> None:
    """One page for each public module, and the list of them."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    modules = [import_module(f"tinygrad_rnn.{name}".rstrip(".")) for name in PUBLIC]
    shown: set[Any] = set()
    for module in modules:
        keep(folder / f"{module.__name__}.rst", page(module, shown))
    heading = ["Reference", "=========", "", ".. toctree::", ""]
    keep(folder / "index.rst", "\n".join([*heading, *(f"   {m.__name__}" for m in modules), ""]))


def write_gallery(_: Any) -> None:
    """All pictures of the gallery on one page."""
    pictures = sorted((HERE.parent / "examples" / "gallery").glob("*.svg"))
    parts = [f"## {p.stem.replace('_', ' ')}\n\n![{p.stem}](../examples/gallery/{p.name})\n" for p in pictures]
    keep(HERE / "gallery.md", "\n".join(["# The gallery\n", *parts]))


def link_gallery(app: Any, name: str, source: list[str]) -> None:
    """Links to the folder of pictures lead to their page."""
    source[0] = re.sub(r"\]\((?:\.\./)*(?:examples/)?gallery/?\)", "](/.docs/gallery.md)", source[0])


def keep(path: Path, text: str) -> None:
    """Write a file unless it says this already, so that a second build is quick."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def to_markup(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """autodoc's docstrings of classes and their members."""
    lines[:] = as_markup("\n".join(lines))


def skip_fields(app: Any, kind: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """The fields of named tuples have no text of their own: the class's says what they are."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("builder-inited", write_gallery)
    app.connect("source-read", link_gallery)
    app.connect("autodoc-process-docstring", to_markup)
    app.connect("autodoc-skip-member", skip_fields)
