"""How rules of rows judge a call: whether each row of the result comes from one row of the inputs."""

from __future__ import annotations

from typing import Any

import pytest

from tinygrad_rnn.autodiff.rows import (
    NO_ROWS,
    ROW_SUM,
    Layout,
    MixesRows,
    Operand,
    Rows,
    along_axis,
    between_axes,
    broadcast,
    contraction,
    elementwise,
    holds_rows,
    indexed,
    joined,
    new_axes,
    padded,
    product,
    reshaped,
    sums,
    with_rows,
)

ROWS, LAST = Layout(1), Layout(1, transposed=True)
MIXED = object()


def layout_of(rule: Any, *arguments: Any) -> Any:
    try:
        return rule(*arguments)
    except MixesRows:
        return MIXED


@pytest.mark.parametrize(
    ("formula", "with_rows", "expected"),
    [
        ("bi,ij->bj", (True, False), ROWS),
        ("bi,bi->b", (True, True), ROWS),
        ("bi,bj->ij", (True, True), ROW_SUM),
        ("bi,ij->jb", (True, False), MIXED),
        ("bi,cj->bc", (True, True), MIXED),
        ("bi,bj->bj", (True, False), MIXED),
        ("ij,jk->ik", (False, False), NO_ROWS),
    ],
)
def test_contractions(formula: str, with_rows: tuple[bool, ...], expected: Any) -> None:
    inputs = [Operand((3, 3), ROWS if has else NO_ROWS) for has in with_rows]
    assert layout_of(contraction, inputs, (3, 3), {"formula": formula}) == expected


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ((slice(None), 0), ROWS),
        ((..., 0), ROWS),
        ((..., None, 0), ROWS),
        ((..., 0, 1), ROWS),
        ((..., 0, 1, 2), MIXED),
        ((..., slice(None), 0, 1), MIXED),
        ((slice(1, None),), MIXED),
        (0, MIXED),
        ((), ROWS),
        ((slice(None), [0, 1]), ROWS),
        ((slice(None), [0, 1], [0, 1]), MIXED),
    ],
)
def test_indices(index: Any, expected: Any) -> None:
    assert layout_of(indexed, [Operand((3, 4, 5), ROWS)], (3,), {"index": index}) == expected
    assert layout_of(indexed, [Operand((3, 4, 5), NO_ROWS)], (3,), {"index": index}) == NO_ROWS


@pytest.mark.parametrize(
    ("shape", "layout", "to", "expected"),
    [
        ((4,), NO_ROWS, (Rows(1, 3), 4), ROWS),
        ((4,), NO_ROWS, (Rows(2, 3), 4), Layout(2)),
        ((), NO_ROWS, Rows(1, 3), ROWS),
        ((4,), NO_ROWS, (3, 4), NO_ROWS),
        ((), NO_ROWS, 3, NO_ROWS),
        ((), NO_ROWS, (), NO_ROWS),
        ((3, 1), ROWS, (Rows(1, 3), 4), ROWS),
        ((3,), ROWS, (Rows(1, 3), 3), MIXED),
        ((4, 3), Layout(1, transposed=True), (4, 3), MIXED),
    ],
)
def test_broadcasts(shape: Any, layout: Layout, to: Any, expected: Any) -> None:
    out = tuple(map(int, to)) if isinstance(to, tuple) else (int(to),)
    assert layout_of(broadcast, [Operand(shape, layout)], out, {"shape": to}) == expected


@pytest.mark.parametrize(
    ("layouts", "expected"),
    [
        ((ROWS, ROWS), ROWS),
        ((Layout(2), Layout(2)), Layout(2)),
        ((Layout(1), Layout(2)), MIXED),
        ((Layout(1, transposed=True), Layout(1, transposed=True)), MIXED),
        ((NO_ROWS, Layout(1, transposed=True)), MIXED),
        ((Layout(1, transposed=True),), Layout(1, transposed=True)),
        ((NO_ROWS, NO_ROWS), NO_ROWS),
    ],
)
def test_entries_of_several_arrays(layouts: tuple[Layout, ...], expected: Any) -> None:
    assert layout_of(elementwise, [Operand((6, 6), layout) for layout in layouts], (6, 6), {}) == expected


@pytest.mark.parametrize(
    ("axis", "expected"), [(None, ROW_SUM), (0, ROW_SUM), (-2, ROW_SUM), (1, ROWS), ((1, 0), ROW_SUM)]
)
def test_sums(axis: Any, expected: Any) -> None:
    assert layout_of(sums, [Operand((3, 4), ROWS)], (), {"axis": axis}) == expected
    assert layout_of(sums, [Operand((3, 4), NO_ROWS)], (), {"axis": axis}) == NO_ROWS


def test_sizes_that_name_the_batch() -> None:
    two = Rows(2, 3)
    assert (int(two), two.per_row, two.batch, repr(two), repr(Rows(1, 3))) == (6, 2, 3, "2·batch", "batch")
    for rows in (two * 2, 2 * two):
        assert (type(rows), int(rows), rows.per_row, rows.batch) == (Rows, 12, 4, 3)
    for other, value in ((0, 0), (-1, -6), (2.5, 15.0), (True, 6)):
        assert two * other == value
        assert type(two * other) is not Rows


# The batch has 3 rows below. The expected layout describes the effect of changing the entries of one row: ROWS where only the
# same row of the result changes, ROW_SUM where the result is a sum over rows, MIXED for anything else.


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (((2, 4), NO_ROWS), ((4, 5), NO_ROWS), NO_ROWS),
        (((3, 4), ROWS), ((4, 5), NO_ROWS), ROWS),
        (((3, 4), ROWS), ((4,), NO_ROWS), ROWS),
        (((6, 4), Layout(2)), ((4, 5), NO_ROWS), Layout(2)),
        (((3, 2, 4), ROWS), ((4, 5), NO_ROWS), ROWS),
        (((3, 2, 4), ROWS), ((1, 4, 5), NO_ROWS), ROWS),
        (((3, 2, 4), ROWS), ((3, 4, 5), NO_ROWS), MIXED),
        (((3, 6, 2, 4), ROWS), ((6, 4, 5), NO_ROWS), ROWS),
        (((3, 2, 4), ROWS), ((6, 1, 4, 5), NO_ROWS), MIXED),
        (((3, 4), ROWS), ((2, 4, 5), NO_ROWS), MIXED),
        (((3,), ROWS), ((3, 5), NO_ROWS), MIXED),
        (((3,), ROWS), ((3,), NO_ROWS), MIXED),
        (((2, 4), NO_ROWS), ((3, 4, 5), ROWS), ROWS),
        (((4,), NO_ROWS), ((3, 4, 5), ROWS), ROWS),
        (((1, 2, 4), NO_ROWS), ((3, 4, 5), ROWS), ROWS),
        (((3, 2, 4), NO_ROWS), ((3, 4, 5), ROWS), MIXED),
        (((6, 1, 2, 4), NO_ROWS), ((3, 4, 5), ROWS), MIXED),
        (((2, 3), NO_ROWS), ((3, 5), ROWS), MIXED),
        (((3, 2, 4), ROWS), ((3, 4, 5), ROWS), ROWS),
        (((3, 6, 2, 4), ROWS), ((3, 6, 4, 5), ROWS), ROWS),
        (((6, 2, 4), Layout(2)), ((6, 4, 5), ROWS), MIXED),
        (((3, 6, 2, 4), ROWS), ((6, 4, 5), Layout(2)), MIXED),
        (((3, 3, 2, 4), ROWS), ((3, 4, 5), ROWS), MIXED),
        (((3, 3), ROWS), ((3, 5), ROWS), MIXED),
        (((4, 3), LAST), ((3, 5), ROWS), ROW_SUM),
        (((4, 6), Layout(2, transposed=True)), ((6, 5), Layout(2)), ROW_SUM),
        (((4, 6), Layout(2, transposed=True)), ((6, 5), Layout(1)), MIXED),
        (((4, 3), LAST), ((3, 5), NO_ROWS), MIXED),
        (((4, 3), LAST), ((3, 4), LAST), MIXED),
        (((3, 4), ROWS), ((4, 3), LAST), MIXED),
        (((2, 4), NO_ROWS), ((4, 3), LAST), MIXED),
        (((4, 3), LAST), ((3, 3, 5), ROWS), MIXED),
    ],
)
def test_products(a: Any, b: Any, expected: Any) -> None:
    assert layout_of(product, [Operand(*a), Operand(*b)], (), {}) == expected


@pytest.mark.parametrize(
    ("shape", "out", "axis", "expected"),
    [
        ((3, 4), (3, 1, 4), 1, ROWS),
        ((3, 4), (3, 4, 1), -1, ROWS),
        ((3, 4), (3, 1, 1, 4), (1, 2), ROWS),
        ((3, 4), (1, 3, 4), 0, MIXED),
        ((3, 4), (1, 3, 4), -3, MIXED),
        ((3, 4), (1, 3, 1, 4), (0, 2), MIXED),
        ((3, 1, 4), (3, 4), 1, ROWS),
        ((3, 1, 4), (3, 4), -2, ROWS),
        ((3, 1, 4), (3, 4), None, MIXED),
        ((1, 3, 4), (3, 4), -3, MIXED),
    ],
)
def test_axes_of_size_one(shape: Any, out: Any, axis: Any, expected: Any) -> None:
    assert layout_of(new_axes, [Operand(shape, ROWS)], out, {"axis": axis}) == expected
    assert layout_of(new_axes, [Operand(shape, NO_ROWS)], out, {"axis": axis}) == NO_ROWS
    assert layout_of(new_axes, [Operand(shape, LAST)], out, {"axis": axis}) is MIXED


@pytest.mark.parametrize(
    ("inputs", "out", "options", "expected"),
    [
        ([((3, 4), ROWS), ((3, 5), ROWS)], (3, 9), {"axis": 1}, ROWS),
        ([((3, 4), ROWS), ((3, 5), ROWS)], (3, 9), {"axis": -1}, ROWS),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (6, 4), {"axis": 0}, MIXED),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (6, 4), {"axis": -2}, MIXED),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (6, 4), {}, MIXED),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (24,), {"axis": None}, MIXED),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (3, 2, 4), {"axis": 1}, ROWS),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (3, 2, 4), {"axis": -2}, ROWS),
        ([((3, 4), ROWS), ((3, 4), ROWS)], (2, 3, 4), {"axis": -3}, MIXED),
        ([((3, 4, 5), ROWS)], (3, 5), {"axis": -2}, ROWS),
        ([((3, 4, 5), ROWS)], (4, 5), {"axis": -3}, MIXED),
        ([((3, 4), ROWS), ((3, 4), NO_ROWS)], (3, 8), {"axis": 1}, MIXED),
        ([((6, 4), Layout(2)), ((6, 4), Layout(2))], (6, 8), {"axis": 1}, Layout(2)),
        ([((3, 4), NO_ROWS), ((3, 4), NO_ROWS)], (6, 4), {"axis": 0}, NO_ROWS),
    ],
)
def test_joined_and_cut_arrays(inputs: Any, out: Any, options: Any, expected: Any) -> None:
    assert layout_of(joined, [Operand(*one) for one in inputs], out, options) == expected


@pytest.mark.parametrize(
    ("shape", "layout", "options", "expected"),
    [
        ((3, 4), ROWS, {"axes": None}, LAST),
        ((4, 3), LAST, {"axes": None}, ROWS),
        ((6, 4), Layout(2), {"axes": (1, 0)}, Layout(2, transposed=True)),
        ((3, 4), ROWS, {"axes": (0, 1)}, ROWS),
        ((4, 3), LAST, {"axes": (-2, -1)}, LAST),
        ((3, 4, 5), ROWS, {"axes": (0, 2, 1)}, ROWS),
        ((3, 4, 5), ROWS, {"axes": (-3, -1, -2)}, ROWS),
        ((3, 4, 5), ROWS, {"axes": None}, MIXED),
        ((3, 4, 5), ROWS, {"axes": (1, 0, 2)}, MIXED),
        ((3,), ROWS, {"axes": None}, ROWS),
        ((3, 4, 5), ROWS, {"axis1": 1, "axis2": 2}, ROWS),
        ((3, 4, 5), ROWS, {"axis1": -1, "axis2": -2}, ROWS),
        ((3, 4, 5), ROWS, {"axis1": 0, "axis2": 2}, MIXED),
        ((3, 4, 5), ROWS, {"axis1": 2, "axis2": -3}, MIXED),
        ((3, 4), ROWS, {"axis1": 0, "axis2": 1}, LAST),
        ((3, 4), ROWS, {"axis1": -1, "axis2": 1}, ROWS),
        ((4, 3), LAST, {"axis1": -1, "axis2": 0}, ROWS),
        ((3, 4), NO_ROWS, {"axes": None}, NO_ROWS),
    ],
)
def test_exchanged_axes(shape: Any, layout: Layout, options: Any, expected: Any) -> None:
    assert layout_of(between_axes, [Operand(shape, layout)], (), options) == expected


@pytest.mark.parametrize(
    ("layout", "out", "expected"),
    [
        (Layout(2), (6, 4), Layout(2)),
        (Layout(2), (3, 8), ROWS),
        (Layout(2), (3, 2, 4), ROWS),
        (Layout(2), (12, 2), Layout(4)),
        (Layout(2), (24,), Layout(8)),
        (Layout(2), (2, 12), MIXED),
        (Layout(2), (1, 24), MIXED),
        (Layout(2), (), MIXED),
        (Layout(2), (3, 0), MIXED),
        (Layout(2, transposed=True), (6, 4), MIXED),
        (NO_ROWS, (24,), NO_ROWS),
    ],
)
def test_reshapes(layout: Layout, out: Any, expected: Any) -> None:
    assert layout_of(reshaped, [Operand((6, 4), layout)], out, {}) == expected


@pytest.mark.parametrize(
    ("axis", "expected"),
    [(1, ROWS), (-1, ROWS), ((1, 2), ROWS), (0, MIXED), (-3, MIXED), ((1, 0), MIXED), (None, MIXED)],
)
def test_combined_entries(axis: Any, expected: Any) -> None:
    assert layout_of(along_axis, [Operand((3, 4, 5), ROWS)], (), {"axis": axis}) == expected
    assert layout_of(along_axis, [Operand((3, 4, 5), NO_ROWS)], (), {"axis": axis}) == NO_ROWS
    other = Layout(2) if expected == ROWS else expected
    assert layout_of(along_axis, [Operand((6, 4, 5), Layout(2))], (), {"axis": axis}) == other


@pytest.mark.parametrize(
    ("layout", "out", "expected"),
    [
        (ROWS, (3, 6), ROWS),
        (ROWS, (4, 4), MIXED),
        (NO_ROWS, (4, 4), NO_ROWS),
        (LAST, (3, 6), MIXED),
        (Layout(3), (3, 6), Layout(3)),
    ],
)
def test_padded_arrays(layout: Layout, out: Any, expected: Any) -> None:
    assert layout_of(padded, [Operand((3, 4), layout)], out, {}) == expected


@pytest.mark.parametrize(
    ("inputs", "out", "expected"),
    [
        ([((3, 4), ROWS), ((4,), NO_ROWS)], (3, 4), ROWS),
        ([((3, 4), ROWS), ((), NO_ROWS)], (3, 4), ROWS),
        ([((3, 4), ROWS), ((1, 4), NO_ROWS)], (3, 4), ROWS),
        ([((3, 4), ROWS), ((3, 4), NO_ROWS)], (3, 4), MIXED),
        ([((3, 4), NO_ROWS), ((3, 4), ROWS)], (3, 4), MIXED),
        ([((3,), ROWS), ((2, 3), NO_ROWS)], (2, 3), MIXED),
        ([((3,), ROWS), ((3, 3), ROWS)], (3, 3), MIXED),
        ([((3,), NO_ROWS), ((3,), NO_ROWS)], (3,), NO_ROWS),
        ([((), NO_ROWS), ((3,), ROWS)], (3,), ROWS),
    ],
)
def test_entries_that_are_broadcast(inputs: Any, out: Any, expected: Any) -> None:
    assert layout_of(elementwise, [Operand(*one) for one in inputs], out, {}) == expected


def test_options_that_name_the_batch() -> None:
    batch, two = Rows(1, 3), Rows(2, 3)
    for value, named, of_five in (
        (two, True, 10),
        ((4, two), True, (4, 10)),
        ([batch, (4, two)], True, [5, (4, 10)]),
        ((3, 4), False, (3, 4)),
        (6, False, 6),
        ("text", False, "text"),
        ({"shape": (two, 4)}, False, {"shape": (10, 4)}),
    ):
        assert holds_rows(value) is named
        assert with_rows(value, 5) == of_five
        assert type(with_rows(value, 5)) is (int if isinstance(value, Rows) else type(value))
