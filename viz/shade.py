"""Shades for numbers over many powers of ten: pale where they vanish, dark orange where they are large."""

from __future__ import annotations

import math
from collections.abc import Iterable

from .picture import Node, Picture
from .places import Places

LEVELS = 24
PALE, DARK = (255, 250, 240), (226, 122, 30)
THIN, THICK = (205, 205, 205), (170, 70, 0)


class Scale:
    """Colours for positive numbers by their logarithm, between the smallest and the largest of those given."""

    def __init__(self, numbers: Iterable[float]):
        powers = [math.log10(n) for n in numbers if n > 0 and math.isfinite(n)] or [0.0]
        self.low, self.high = math.floor(min(powers)), math.ceil(max(powers))
        self.high = max(self.high, self.low + 1)

    def part(self, number: float) -> float:
        """Where a number lies on the scale, from 0 to 1."""
        if not number > 0:
            return 0.0
        power = math.log10(number) if math.isfinite(number) else self.high
        part = min(max((power - self.low) / (self.high - self.low), 0.0), 1.0)
        return round(part * LEVELS) / LEVELS

    def fill(self, number: float) -> str:
        return "#FFFFFF" if number == 0 else _mix(PALE, DARK, self.part(number))

    def line(self, number: float) -> tuple[str, float]:
        """Colour and width of an arrow."""
        part = self.part(number)
        return _mix(THIN, THICK, part), 1.0 + 3.0 * part

    def legend(self, picture: Picture, places: Places, title: str) -> None:
        """A row of swatches below the picture, one for each of up to seven powers of ten."""
        step = max(1, math.ceil((self.high - self.low) / 6))
        powers = list(range(self.low, self.high + 1, step))
        y = min((n.at[1] - n.size[1] / 2 for n in picture.nodes if n.at and n.size), default=0.0)
        y = min(y, places.bottom) - 34
        x = places.centres[0] - places.pitch / 2 + 13 + 80
        picture.nodes.append(Node("legend", (title,), "text", at=(x, y), size=(160, 24)))
        for i, power in enumerate(powers):
            fill = self.fill(10.0**power)
            at = (x + 80 + 30 + 50 * i, y)
            picture.nodes.append(Node(f"legend{i}", (f"1e{power}",), "swatch", at=at, size=(48, 24), fill=fill))


def _mix(a: tuple[int, int, int], b: tuple[int, int, int], part: float) -> str:
    return "#" + "".join(f"{round(x + (y - x) * part):02X}" for x, y in zip(a, b, strict=True))
