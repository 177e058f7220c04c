"""Vocabularies, chunks of text, and drawing from logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import TextChunks, Vocabulary, draw, read_text


@given(st.text(min_size=1))
def test_text_comes_back(text: str) -> None:
    vocabulary = Vocabulary(text)
    numbers = vocabulary.encode(text)
    assert numbers.dtype == np.int64
    assert len(vocabulary) == len(set(text)) == numbers.max() + 1
    assert vocabulary.decode(numbers) == text
    assert vocabulary.encode("").shape == (0,)


@given(st.integers(2, 60), st.integers(1, 5), st.integers(1, 7), st.booleans())
def test_chunks_follow_one_another(length: int, batch: int, steps: int, remainder: bool) -> None:
    rows = (length - 1) // batch
    if rows < (1 if remainder else steps):
        with pytest.raises(ValueError, match="TextChunks: the sequence has"):
            TextChunks(np.arange(length), batch, steps, remainder)
        return
    chunks = TextChunks(np.arange(length), batch, steps, remainder)
    found = list(chunks)
    assert len(found) == len(chunks)
    read = np.concatenate([x for x, _ in found], axis=1)
    assert read.shape == (batch, rows if remainder else rows // steps * steps)
    assert np.array_equal(read, np.arange(batch)[:, None] * rows + np.arange(read.shape[1]))
    assert all(np.array_equal(y, x + 1) for x, y in found)
    assert [x.tolist() for x, _ in chunks] == [x.tolist() for x, _ in found]


def test_draw_follows_the_probabilities() -> None:
    p = np.array([0.5, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.broadcast_to(np.log(p), (20000, 4))
    found = np.bincount(draw(logits, seed=0), minlength=4) / 20000
    assert np.allclose(found, p, atol=0.015)
    assert found[3] == 0
    cold = np.bincount(draw(logits, 0.5, seed=0), minlength=4) / 20000
    assert np.allclose(cold, p**2 / (p**2).sum(), atol=0.015)
    assert (draw(tg.tensor([1.0, 5.0, 2.0]), 0) == 1).all()
    assert draw([1e4, -1e4], 0.01) == 0


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Vocabulary(""), "Vocabulary: the text is empty"),
        (lambda: Vocabulary("abc").encode("abxc"), r"character 2 of the text is 'x', expected one of the 3 in 'abc'"),
        (lambda: TextChunks([1, 2, 3], 2, 5), r"has 3 elements, expected at least 11 for a batch of 2 rows of 5 steps"),
        (lambda: TextChunks([1, 2, 3], 0, 5), r"TextChunks: batch is 0, expected a positive integer"),
        (lambda: TextChunks([1.5, 2], 1, 1), r"TextChunks: sequence has shape \(2,\) and dtype float64"),
        (lambda: draw([1.0, 2.0], -1), r"draw: temperature is -1, expected a number >= 0"),
    ],
)
def test_bad_input(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


def test_text_files(tmp_path: Path) -> None:
    first, second, wrong = tmp_path / "first", tmp_path / "second", tmp_path / "wrong"
    first.write_bytes("née\r\n".encode())
    second.write_bytes(b"")
    wrong.write_bytes(b"n\xe9e")
    assert read_text(first, str(second)) == "née\n\n"
    with pytest.raises(ValueError, match=r"read_text: .*second is empty, expected text"):
        read_text(second)
    with pytest.raises(ValueError, match=r"read_text: .*wrong is no UTF-8 text: .*position 1"):
        read_text(first, wrong)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_text(tmp_path / "nowhere")
