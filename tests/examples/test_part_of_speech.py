"""The tagger, from the command line."""

from __future__ import annotations

import re
from pathlib import Path

from .programs import interrupted, run

SHOWN = """\
I/pronoun work/verb at/preposition google/noun
I/pronoun google/verb at/preposition work/noun
we/pronoun want/verb with/preposition our/determiner friend/noun to/particle work/verb
we/pronoun went/verb with/preposition our/determiner friend/noun to/preposition work/noun
they/pronoun email/verb the/determiner plan/noun
"""


def test_it_tags_both_sentences_right(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "part_of_speech", "--quick", "they email the plan")
    assert code == 0, err
    assert SHOWN in out
    match = re.search(r"in 1,000 unseen sentences: ([\d.]+)% \(each word's most frequent tag: ([\d.]+)%\)", out)
    assert match
    assert float(match[1]) > 99 > 92 > float(match[2]) > 80
    picture = (tmp_path / "part_of_speech.svg").read_text()
    assert all(f">{words}<" in picture for words in ("work: verb", "work: noun", "google: verb", "google: noun"))


def test_bad_input(tmp_path: Path) -> None:
    code, out, err = run(tmp_path, "part_of_speech", "I xerox it", "--plot", "")
    assert (code, out) == (2, "")
    assert re.fullmatch(r"part_of_speech\.py: Vocabulary: token 1 of the text is 'xerox', expected one of .*\n", err)
    assert {"--seed", "--quick", "--plot", "--cell"} <= set(run(tmp_path, "part_of_speech", "--help")[1].split())


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    code, out, err = interrupted(tmp_path, "part_of_speech", "--cell", "gru", after="Non-trainable")
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
    assert "unseen" not in out
