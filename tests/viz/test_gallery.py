"""The gallery: its DOT text is held to golden files. Run this file to write them anew, and look at the pictures then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_unrolled import check_places

from tinygrad_rnn.commands import gallery

GOLDEN = Path(__file__).parent / "golden"
PICTURES = Path(__file__).parents[2] / "examples" / "gallery"


@pytest.mark.parametrize("name", sorted(gallery.FIGURES))
def test_a_figure_is_as_it_was(name: str) -> None:
    drawing = gallery.FIGURES[name]()
    assert drawing.source == (GOLDEN / f"{name}.dot").read_text(encoding="utf-8")
    if drawing.picture.placed:
        check_places(drawing)


def test_every_figure_is_rendered_and_shown(tmp_path: Path) -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.dot")) == sorted(gallery.FIGURES)
    assert sorted(path.stem for path in PICTURES.glob("*.svg")) == sorted([*gallery.FIGURES, *gallery.PLOTS])
    written = gallery.render(tmp_path / "new")
    assert all(path.read_text(encoding="utf-8").rstrip().endswith("</svg>") for path in written)


def test_plots_tell_the_nets_apart() -> None:
    plot = gallery.PLOTS["gradient_flow"]()
    first = {name: values[0] / values[-1] for name, values in plot.lines.items()}
    assert first["RNN"] < 1e-20 < first["GRU"] < 1e-10 < first["LSTM"]
    assert plot.svg().count("<polyline") == 3


def _write() -> Any:
    GOLDEN.mkdir(exist_ok=True)
    for name, make in gallery.FIGURES.items():
        (GOLDEN / f"{name}.dot").write_text(make().source, encoding="utf-8")
    return gallery.render(PICTURES)


if __name__ == "__main__":
    print(*_write(), sep="\n")
