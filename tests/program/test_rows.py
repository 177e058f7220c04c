"""How rules of rows judge a call: whether each row of the result comes from one row of the inputs."""

from __future__ import annotations

from typing import Any

import pytest

from tinygrad_rnn.autodiff.rows import (
    NONE,
    SUMMED,
    Layout,
    MixesRows,
    Operand,
    Rows,
    broadcast,
    contraction,
    elementwise,
    indexed,
    sums,
)

ROWS = Layout(1)
MIXED = object()


def judged(rule: Any, *arguments: Any) -> Any:
    try:
        return rule(*arguments)
    except MixesRows:
        return MIXED


@pytest.mark.parametrize(
    ("formula", "with_rows", "wanted"),
    [
        ("bi,ij->bj", (True, False), ROWS),
        ("bi,bi->b", (True, True), ROWS),
        ("bi,bj->ij", (True, True), SUMMED),
        ("bi,ij->jb", (True, False), MIXED),
        ("bi,cj->bc", (True, True), MIXED),
        ("bi,bj->bj", (True, False), MIXED),
        ("ij,jk->ik", (False, False), NONE),
    ],
)
def test_contractions(formula: str, with_rows: tuple[bool, ...], wanted: Any) -> None:
    inputs = [Operand((3, 3), ROWS if has else NONE) for has in with_rows]
    assert judged(contraction, inputs, (3, 3), {"formula": formula}) == wanted


@pytest.mark.parametrize(
    ("index", "wanted"),
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
def test_indices(index: Any, wanted: Any) -> None:
    assert judged(indexed, [Operand((3, 4, 5), ROWS)], (3,), {"index": index}) == wanted
    assert judged(indexed, [Operand((3, 4, 5), NONE)], (3,), {"index": index}) == NONE


@pytest.mark.parametrize(
    ("shape", "layout", "to", "wanted"),
    [
        ((4,), NONE, (Rows(1, 3), 4), ROWS),
        ((4,), NONE, (Rows(2, 3), 4), Layout(2)),
        ((), NONE, Rows(1, 3), ROWS),
        ((4,), NONE, (3, 4), NONE),
        ((), NONE, 3, NONE),
        ((), NONE, (), NONE),
        ((3, 1), ROWS, (Rows(1, 3), 4), ROWS),
        ((3,), ROWS, (Rows(1, 3), 3), MIXED),
        ((4, 3), Layout(1, last=True), (4, 3), MIXED),
    ],
)
def test_broadcasts(shape: Any, layout: Layout, to: Any, wanted: Any) -> None:
    out = tuple(map(int, to)) if isinstance(to, tuple) else (int(to),)
    assert judged(broadcast, [Operand(shape, layout)], out, {"shape": to}) == wanted


@pytest.mark.parametrize(
    ("layouts", "wanted"),
    [
        ((ROWS, ROWS), ROWS),
        ((Layout(2), Layout(2)), Layout(2)),
        ((Layout(1), Layout(2)), MIXED),
        ((Layout(1, last=True), Layout(1, last=True)), MIXED),
        ((NONE, Layout(1, last=True)), MIXED),
        ((Layout(1, last=True),), Layout(1, last=True)),
        ((NONE, NONE), NONE),
    ],
)
def test_entries_of_several_arrays(layouts: tuple[Layout, ...], wanted: Any) -> None:
    assert judged(elementwise, [Operand((6, 6), layout) for layout in layouts], (6, 6), {}) == wanted


@pytest.mark.parametrize(("axis", "wanted"), [(None, SUMMED), (0, SUMMED), (-2, SUMMED), (1, ROWS), ((1, 0), SUMMED)])
def test_sums(axis: Any, wanted: Any) -> None:
    assert judged(sums, [Operand((3, 4), ROWS)], (), {"axis": axis}) == wanted
    assert judged(sums, [Operand((3, 4), NONE)], (), {"axis": axis}) == NONE


def test_sizes_that_name_the_batch() -> None:
    two = Rows(2, 3)
    assert (int(two), two.per, two.batch, repr(two), repr(Rows(1, 3))) == (6, 2, 3, "2·batch", "batch")
    for product in (two * 2, 2 * two):
        assert (type(product), int(product), product.per, product.batch) == (Rows, 12, 4, 3)
    for other, value in ((0, 0), (-1, -6), (2.5, 15.0), (True, 6)):
        assert two * other == value
        assert type(two * other) is not Rows
