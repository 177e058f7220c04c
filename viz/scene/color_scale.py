"""Colour scales: pale for small numbers, dark for large ones; the legend shows which number has which colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

LEVELS = 24
RGB = tuple[int, int, int]
GREY: RGB = (205, 205, 205)
HUES: dict[str, tuple[RGB, RGB, RGB]] = {  # pale and dark of a fill, dark of a line; black text is read on all
    "grad_norm": ((255, 250, 240), (226, 122, 30), (170, 70, 0)),
    "activation": ((243, 250, 255), (86, 180, 233), (0, 95, 155)),
    "time": ((253, 245, 250), (204, 121, 167), (130, 50, 100)),
}
NO_NUMBER = ("#A0A0A0", "#000000")  # fill and line of what is not a number
MOST_SWATCHES = 7


class ColorScale:
    """Colours for numbers that are not negative: by their logarithm between the smallest and the largest, or from 0 up.

    An infinite one is as dark as the largest; one that is not a number (NaN) has a colour of its own.

    title: what is measured. what: a key of HUES. text: how a number is written in the legend.
    """

    def __init__(
        self,
        numbers: Iterable[float],
        title: str,
        what: str,
        log: bool = True,
        text: Callable[[float], str] | None = None,
    ):
        self.title, self.log = title, log
        self.pale, self.dark, self.line_dark = HUES[what]
        numbers = list(numbers)
        self.holes = any(map(math.isnan, numbers))
        finite = [n for n in numbers if n > 0 and math.isfinite(n)] or [1.0]
        if log:
            self.low = float(math.floor(math.log10(min(finite))))
            self.high = max(float(math.ceil(math.log10(max(finite)))), self.low + 1)
            self.text = text or (lambda n: f"1e{round(math.log10(n))}")
        else:
            self.low, self.high = 0.0, round_up(max(finite))
            self.text = text or (lambda n: f"{n:g}")

    def part(self, number: float) -> float:
        """Where a number lies on the scale, from 0 to 1."""
        if not number > 0:
            return 0.0
        number = math.log10(number) if self.log and math.isfinite(number) else min(number, self.high)
        return round(min(max((number - self.low) / (self.high - self.low), 0.0), 1.0) * LEVELS) / LEVELS

    def fill(self, number: float) -> str:
        if math.isnan(number):
            return NO_NUMBER[0]
        return "#FFFFFF" if number == 0 and self.log else _mix(self.pale, self.dark, self.part(number))

    def line(self, number: float) -> tuple[str, float]:
        """Colour and width of an arrow."""
        if math.isnan(number):
            return NO_NUMBER[1], 3.0
        part = self.part(number)
        return _mix(GREY, self.line_dark, part), 1.0 + 3.0 * part

    def numbers(self) -> list[float]:
        """The numbers that the legend shows, from the smallest to the largest."""
        if self.log:
            step = max(1, math.ceil((self.high - self.low) / (MOST_SWATCHES - 1)))
            return [10.0**power for power in range(int(self.low), int(self.high) + 1, step)]
        return [self.high * k / 4 for k in range(5)]

    def swatches(self) -> list[tuple[str, str]]:
        """Texts and fills for the legend."""
        return [
            *((self.text(n), self.fill(n)) for n in self.numbers()),
            *([("NaN", NO_NUMBER[0])] if self.holes else []),
        ]


def round_up(number: float) -> float:
    """The next of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(number))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= number * 0.9999)


def _mix(a: RGB, b: RGB, part: float) -> str:
    return "#" + "".join(f"{round(x + (y - x) * part):02X}" for x, y in zip(a, b, strict=True))
