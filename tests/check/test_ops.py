"""Every op raises the errors that its declaration lists; the check detects missing and wrong ones."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.tensor import registry
from tinygrad_rnn.check.ops import check_op, refused, wrong_error


@pytest.mark.parametrize("op", list(tg.operations()), ids=lambda op: op.name)
def test_errors_of_ops_name_the_op_and_the_reason(op: Any) -> None:
    assert not [report for case, text in refused(op) if (report := wrong_error(op, case, text))]


@pytest.fixture
def halve() -> Any:
    @tg.primitive(
        label="x/2",
        samples=lambda r: [r(3)],
        errors=lambda r: [(r(0), "x is empty"), (r(2, 2), "expected a vector")],
    )
    def halve(x: Any) -> Any:
        if not x.size:
            raise ValueError("halve: x is empty, expected a number at least")
        return x / 2

    halve.vjp(lambda g: g / 2)
    yield halve
    del registry["halve"]


def test_a_missing_error_is_reported(halve: Any) -> None:
    report = check_op(halve)
    assert report.orders == {1: "ok", 2: "ok"}
    assert report.refusals == 4
    (text,) = report.reports
    assert text.startswith("halve(array([[")
    assert text.endswith("no error, expected one that says 'expected a vector'")


def test_an_error_with_another_message_is_reported(halve: Any) -> None:
    halve.errors = lambda r: [(np.zeros(0), "no numbers")]
    (text,) = check_op(halve).reports
    assert "the error is 'halve: x is empty, expected a number at least', expected one that begins 'halve: '" in text


def test_a_report_says_how_long_it_took_and_how_far_off_it_was() -> None:
    start = perf_counter()
    report = check_op(tg.floor)
    assert 0 < report.ms <= 1e3 * (perf_counter() - start)
    assert (report.worst, report.orders) == (0.0, {})  # it has no gradients
    assert 0 < check_op(tg.tanh).worst < 1
