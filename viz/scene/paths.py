"""Paths of arrows: straight, along corners, or past what stands between on a free lane beside it."""

from __future__ import annotations

from collections.abc import Sequence

from .picture import Point

CLEAR = 6.0  # how far an arrow keeps from what it passes
BEND = 24.0
ROUND = 9.0  # the radius of corners


def straight(a: Point, b: Point) -> tuple[Point, ...]:
    """A straight line as a Bézier curve."""
    third = ((b[0] - a[0]) / 3, (b[1] - a[1]) / 3)
    return a, (a[0] + third[0], a[1] + third[1]), (b[0] - third[0], b[1] - third[1]), b


def upwards(
    low: Point,
    low_half: float,
    high: Point,
    high_half: float,
    blocked: Sequence[tuple[float, float]],
    lanes: Sequence[float],
) -> tuple[Point, ...]:
    """From the middle of a top edge to the middle of a bottom edge further up, past the blocked spans of x.

    low_half, high_half: how far from its middle each edge may be met. lanes: further places to go up if neither end's
    own is free.
    """
    free = [x for x in (low[0], high[0], *lanes) if all(x <= a - CLEAR or x >= b + CLEAR for a, b in blocked)]
    if not blocked:
        begin = (_into(_into(low[0], high[0], high_half), low[0], low_half), low[1])
        return straight(begin, (_into(begin[0], high[0], high_half), high[1]))
    lane = min(free, key=lambda x: abs(x - low[0]) + abs(x - high[0])) if free else low[0]
    begin, end = (_into(lane, low[0], low_half), low[1]), (_into(lane, high[0], high_half), high[1])
    path: list[Point] = [begin]
    turn_in, turn_out = (lane, begin[1] + BEND), (lane, end[1] - BEND)
    if begin[0] != lane:
        path += [(begin[0], begin[1] + BEND * 0.7), (lane, begin[1] + BEND * 0.3), turn_in]
    up = straight(path[-1], turn_out if end[0] != lane else end)
    path += up[1:]
    if end[0] != lane:
        path += [(lane, end[1] - BEND * 0.3), (end[0], end[1] - BEND * 0.7), end]
    return tuple(path)


def _into(x: float, middle: float, half: float) -> float:
    return min(max(x, middle - half), middle + half)


def rounded(points: Sequence[Point]) -> tuple[Point, ...]:
    """A line through corners, with round corners, as a Bézier curve."""
    path: list[Point] = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        into, out = _towards(corner, before), _towards(corner, after)
        path += [*_third(path[-1], into), into, _mid(into, corner), _mid(out, corner), out]
    path += [*_third(path[-1], points[-1]), points[-1]]
    return tuple(path)


def _towards(a: Point, b: Point) -> Point:
    far = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5 or 1.0
    part = min(ROUND, far / 2) / far
    return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part


def _third(a: Point, b: Point) -> tuple[Point, Point]:
    dx, dy = (b[0] - a[0]) / 3, (b[1] - a[1]) / 3
    return (a[0] + dx, a[1] + dy), (b[0] - dx, b[1] - dy)


def _mid(a: Point, corner: Point) -> Point:
    return a[0] + (corner[0] - a[0]) * 0.55, a[1] + (corner[1] - a[1]) * 0.55
