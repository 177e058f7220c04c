"""Versions, kernels, and the programs available for drawing."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import textwrap
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import numpy as np

from .. import __version__, kernels
from ..errors import DrawingError

COMPILER = "To have them, install a C++17 compiler (g++ or clang++) and run pip install again, with -v to see it build."
PROGRAM = (
    "To draw SVG and PNG: pip install graphviz-pure, or install Graphviz. HTML pages, DOT and Mermaid need no program."
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def info() -> dict[str, Any]:
    """The properties of this installation, as plain data."""
    properties: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "viz": find_spec("tinygrad_rnn.viz") is not None,
    }
    native = kernels.info()
    properties |= {"kernels": native["implementation"], "instruction set": native["isa"], "threads": native["threads"]}
    if native["missing"]:
        properties["no native kernels"] = native["missing"]
    if properties["viz"]:
        try:
            properties["graphviz program"] = import_module("tinygrad_rnn.viz.write.program").find()
        except DrawingError:
            properties["graphviz program"] = None
    for name in ("graphviz", "safetensors", "tqdm"):
        try:
            properties[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            properties[name] = None
    return properties


def run(options: argparse.Namespace) -> int:
    """Print the properties of this installation."""
    properties = info()
    if options.json:
        print(json.dumps(properties))
        return 0
    shown = {
        k: v for k, v in properties.items() if k != "no native kernels" and (v is not None or k != "instruction set")
    }
    width = max(map(len, shown))
    for key, value in shown.items():
        text = "not found" if value is None else "yes" if value is True else "no" if value is False else value
        print(f"{key:<{width}}  {text}")
    if properties["viz"] and "no native kernels" in properties:
        reason = properties["no native kernels"]
        print("\n" + _wrap(f"The C++ kernels are not here, so NumPy does their work: {reason}. {COMPILER}"))
    if properties["viz"] and properties["graphviz program"] is None:
        print("\n" + _wrap(PROGRAM))
    if not properties["viz"]:
        print("\nThis is the bare source tree. To install it with everything: pip install -e .", file=sys.stderr)
    return 0


def _wrap(text: str) -> str:
    return textwrap.fill(text, 79, break_on_hyphens=False)
