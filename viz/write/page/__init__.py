"""A picture as an interactive page: one HTML file that needs no network and no layout program."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from typing import Any

from ...scene.picture import Picture
from .model import page_data
from .values import Details

SCRIPTS = ("model.js", "place.js", "layers.js", "layout.js", "paint.js", "panel.js", "main.js")


def write(picture: Picture, details: Details | None = None, title: str | None = None) -> str:
    """The page of a picture; `details` adds what is known of each node of the graph that it shows."""
    data = page_data(picture, details)
    return _page(data, title or f"{picture.name}: {len(data['nodes'])} nodes, {len(data['edges'])} edges")


def _page(data: dict[str, Any], title: str) -> str:
    """The template with its style, data and scripts put in. Names only ever stand in the data, where no "<" is left."""
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": html.escape(title),
        "STYLE": _asset("page.css"),
        "DATA": content,
        "SCRIPT": '"use strict";\n{\n' + "".join(_asset(name) for name in SCRIPTS) + "}\n",  # a block: no global names
    }
    pieces = _asset("page.html").split("%%")
    return "".join(parts[piece] if k % 2 else piece for k, piece in enumerate(pieces))


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
