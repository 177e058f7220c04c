"""The encoder and decoder of dates, from the command line."""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

import pytest

from .programs import ROOT, run


def test_it_learns_the_form_and_draws(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "dates", "--quick", "3.3.1997")
    assert code == 0, err
    assert "34,525 days to learn from, 2,000 held out" in out
    assert re.search(r"held-out dates right in every place: [\d.]+%\n3\.3\.1997 -> (19|20)\d\d-[01]\d-[0-3]\d\n", out)
    losses = [float(x) for x in re.findall(r"held-out loss ([\d.]+)", err)]
    assert len(losses) == 5
    assert losses[-1] < 1.2 < losses[0]
    picture = (tmp_path / "dates.svg").read_text()
    assert "Which letters of the text each written letter depends on" in picture


def test_bad_input(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "dates", "3 März 1997", "--plot", "")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"dates\.py: Vocabulary: character 3 of the text is 'ä', expected one of .*\n", err)
    assert {"--seed", "--quick", "--plot"} <= set(run(tmp_path, "dates", "--help")[1].split())


def test_every_form_writes_the_date_correctly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import dates

    monkeypatch.setitem(sys.modules, "dates", dates)
    assert [dates.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th", "31st"]
    )
    assert [form(datetime.date(2026, 11, 1)) for form in dates.FORMS] == [
        "Nov 1st, 2026",
        "November 1, 2026",
        "1st of November 2026",
        "01-Nov-26",
        "Sunday, 1 Nov 2026",
        "Sun November 1 '26",
        "11/1/2026",
        "1.11.2026",
        "20261101",
        "2026년 11월 1일",
    ]
    last = dates.FIRST + datetime.timedelta(dates.DAYS - 1)
    assert last == datetime.date(2049, 12, 31)
