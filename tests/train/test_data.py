"""Vocabularies, chunks of text, and sampling from logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import train
from tinygrad_rnn.data import Batches, Padded, TextChunks, Vocabulary, generate, pad, read_text, sample


@given(st.text(min_size=1))
def test_encoded_text_decodes_to_itself(text: str) -> None:
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
    batches = list(chunks)
    assert len(batches) == len(chunks)
    read = np.concatenate([x for x, _ in batches], axis=1)
    assert read.shape == (batch, rows if remainder else rows // steps * steps)
    assert np.array_equal(read, np.arange(batch)[:, None] * rows + np.arange(read.shape[1]))
    assert all(np.array_equal(y, x + 1) for x, y in batches)
    assert [x.tolist() for x, _ in chunks] == [x.tolist() for x, _ in batches]


def test_sample_follows_the_probabilities() -> None:
    p = np.array([0.5, 0.3, 0.2, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.broadcast_to(np.log(p), (20000, 4))
    frequencies = np.bincount(sample(logits, seed=0), minlength=4) / 20000
    assert np.allclose(frequencies, p, atol=0.015)
    assert frequencies[3] == 0
    cold = np.bincount(sample(logits, 0.5, seed=0), minlength=4) / 20000
    assert np.allclose(cold, p**2 / (p**2).sum(), atol=0.015)
    assert (sample(tg.tensor([1.0, 5.0, 2.0]), 0) == 1).all()
    assert sample([1e4, -1e4], 0.01) == 0


@given(st.lists(st.sampled_from(["a", "b", "cc", "dd", "é", "<end>"]), min_size=1), st.integers(3, 9))
def test_words_with_marks_and_unknown(words: list[str], size: int) -> None:
    if set(words) == {"<end>"}:
        with pytest.raises(ValueError, match="the text is empty"):
            Vocabulary(words, special_tokens=["<end>"])
        return
    vocabulary = Vocabulary(words, special_tokens=["<end>"], unknown="?", size=size)
    assert vocabulary.tokens[:2] == ("<end>", "?")
    kept, left = set(vocabulary.tokens[2:]), set(words) - set(vocabulary.tokens)
    assert list(vocabulary.tokens[2:]) == sorted(kept)
    assert len(vocabulary) <= size
    assert not left or len(vocabulary) == size
    assert all(words.count(a) >= words.count(b) for a in kept for b in left)
    numbers = vocabulary.encode(iter(words))
    assert [vocabulary.tokens[i] for i in numbers] == ["?" if w in left else w for w in words]
    assert vocabulary.decode(numbers) == " ".join("?" if w in left else w for w in words if w != "<end>")
    assert all((w in vocabulary) == (w not in left) for w in words)
    assert vocabulary["<end>"] == 0


def test_numbers_at_the_ends_of_a_vocabulary() -> None:
    for vocabulary in (
        Vocabulary("abc"),
        Vocabulary(["b", "c"], special_tokens=["a"]),
        Vocabulary(["c"], special_tokens=["a"], unknown="b"),
    ):
        assert len(vocabulary) == 3
        assert vocabulary.decode([2]) == "c"
        assert vocabulary.decode([0]) == ("a" if not vocabulary.special_tokens else "")
        for wrong in (3, -1):
            with pytest.raises(ValueError, match=rf"Vocabulary.decode: number 1 is {wrong}, expected 0 to 2"):
                vocabulary.decode([0, wrong])


def test_the_least_size_of_a_vocabulary() -> None:
    words = ["x", "y", "y"]
    assert Vocabulary(words, special_tokens=["<end>"], unknown="?", size=3).tokens == ("<end>", "?", "y")
    assert Vocabulary(words, size=1).tokens == ("y",)
    for special, unknown, size in ((["<end>"], "?", 2), ([], None, 0), ([], "?", 1), ([], None, True)):
        with pytest.raises(
            ValueError, match=f"size is {size}, expected more than the {len(special) + (unknown is not None)}"
        ):
            Vocabulary(words, special_tokens=special, unknown=unknown, size=size)


@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), min_size=1), st.integers(-9, 9))
def test_padding_can_be_undone(rows: list[list[int]], value: int) -> None:
    padded = pad(rows, value)
    assert padded.values.shape == padded.mask.shape == (len(rows), max(map(len, rows)))
    assert [row[mask].tolist() for row, mask in zip(*padded[:1], padded.mask, strict=True)] == rows
    assert (padded.values[~padded.mask] == value).all()


def test_padding_keeps_dtype_and_features() -> None:
    padded = pad([np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32)], np.nan)
    assert padded.values.dtype == np.float32
    assert padded.values.shape == (2, 2, 3)
    assert np.isnan(padded.values[1]).all()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(1, 7), st.integers(1, 4), st.booleans())
def test_every_example_comes_once_an_epoch(lengths: list[int], size: int, pool: int, shuffle: bool) -> None:
    rows = [[i] * n for i, n in enumerate(lengths)]
    batches = Batches(rows, np.arange(len(rows)), size=size, shuffle=shuffle, pool=pool)
    seen = list(batches)
    assert len(seen) == len(batches) == -(-len(rows) // size)
    order = np.concatenate([numbers for _, numbers in seen]).tolist()
    assert sorted(order) == list(range(len(rows)))
    assert shuffle or order == list(range(len(rows)))
    for padded, numbers in seen:
        assert isinstance(padded, Padded)
        assert padded.lengths.tolist() == [lengths[i] for i in numbers]
        assert all((row[:n] == i).all() for row, n, i in zip(*padded, numbers, strict=True))


def test_batches_of_like_length_need_little_padding_and_change_every_epoch() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 2000)
    rows = [np.zeros(n, int) for n in lengths]

    def padding(pool: int) -> float:
        tg.seed(1)
        batches = list(Batches(rows, size=20, pool=pool))
        return sum(b.values.size for b in batches) / lengths.sum() - 1

    assert padding(1) > 0.6
    assert padding(20) < 0.08
    tg.seed(0)
    batches = Batches(rows, lengths, size=20)
    first, second = ([n.tolist() for _, n in batches] for _ in range(2))
    assert first != second
    tg.seed(0)
    assert [n.tolist() for _, n in batches] == first
    means = [np.mean(n) for n in first]
    assert means != sorted(means)


def test_batches_of_unequal_size_are_weighted_by_their_unpadded_targets() -> None:
    rows = [[1.0], [2.0, 3.0], [4.0, 5.0, 6.0]]

    def loss(padded: Padded) -> tg.Tensor:
        return tg.tensor(padded.values[padded.mask].mean())

    assert train.evaluate(loss, Batches(rows, size=2, shuffle=False)) == pytest.approx(3.5)
    numbered = Batches([0, 1, 2], rows, size=2, shuffle=False)
    assert train.evaluate(lambda batch: loss(batch[1]), numbered) == pytest.approx(3.5)


def test_sample_among_the_likeliest() -> None:
    logits = np.broadcast_to([1.0, 3.0, 2.0, 3.0], (4000, 4))
    assert set(sample(logits, seed=0, top_k=1).tolist()) == {1}
    frequencies = np.bincount(sample(logits, seed=0, top_k=3), minlength=4) / 4000
    wanted = np.exp([-np.inf, 3, 2, 3])
    assert np.allclose(frequencies, wanted / wanted.sum(), atol=0.03)
    assert (sample(logits, seed=0, top_k=9) == sample(logits, seed=0)).all()


def test_generate_feeds_each_sampled_token_back() -> None:
    """A model whose next token is the sum of the last token and the state, modulo 10, and that counts its steps."""
    read: list[Any] = []

    def step(tokens: Any, state: Any) -> Any:
        read.append(tokens.tolist())
        assert not tg.tensor(1.0, requires_grad=True).__mul__(2).requires_grad
        return np.eye(10)[(tokens + state) % 10] * 9, state + 1

    assert generate(step, np.array([[1], [2]]), np.array([[7, 0], [7, 1]]), 4).tolist() == [[1, 3, 6, 0], [3, 6, 0, 5]]
    assert read == [[[7, 0], [7, 1]], [[1], [3]], [[3], [6]], [[6], [0]]]
    assert generate(step, np.array([[1], [2]]), [[0], [1]], 9, end=6).tolist() == [[1, 3, 6], [3, 6, 6]]
    wild = generate(step, np.array([[1]]), [[0]], 9, temperature=50.0, seed=0)
    assert wild.tolist() == generate(step, np.array([[1]]), [[0]], 9, temperature=50.0, seed=0).tolist()
    assert wild.tolist() != generate(step, np.array([[1]]), [[0]], 9).tolist()
    flat = generate(lambda tokens, state: (np.zeros((1, 1, 10)), state), None, [[0]], 50, temperature=1.0, seed=0)
    assert len(set(flat[0].tolist())) > 7


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Vocabulary(""), "Vocabulary: the text is empty"),
        (lambda: Vocabulary("abc").encode("abxc"), r"character 2 of the text is 'x', expected one of the 3 in 'abc'"),
        (lambda: TextChunks([1, 2, 3], 2, 5), r"has 3 elements, expected at least 11 for a batch of 2 rows of 5 steps"),
        (lambda: TextChunks([1, 2, 3], 0, 5), r"TextChunks: batch is 0, expected a positive integer"),
        (lambda: TextChunks([1.5, 2], 1, 1), r"TextChunks: sequence has shape \(2,\) and dtype float64"),
        (lambda: sample([1.0, 2.0], -1), r"sample: temperature is -1, expected a finite number >= 0"),
        (lambda: sample([1.0, 2.0], "1"), r"sample: temperature is '1', expected a finite number >= 0"),  # type: ignore
        (lambda: sample([1.0, 2.0], top_k=0), r"sample: top_k is 0, expected a positive integer"),
        (lambda: sample([[5.0, 2.0], [np.nan, 9.0]]), r"sample: logits\[1, 0\] is NaN, expected numbers"),
        (lambda: sample([5.0, np.nan], 0), r"sample: logits\[1\] is NaN"),
        (
            lambda: sample([[5.0, 2.0], [-np.inf, -np.inf]]),
            r"sample: logits\[1\] are -inf throughout, expected a class",
        ),
        (
            lambda: sample(np.zeros((2, 0))),
            r"sample: logits have shape \(2, 0\), expected \(..., C\) with at least one",
        ),
        (lambda: Vocabulary("abcd").decode([1, 9]), r"Vocabulary.decode: number 1 is 9, expected 0 to 3"),
        (lambda: Vocabulary("abcd").decode([-1]), r"Vocabulary.decode: number 0 is -1, expected 0 to 3"),
        (lambda: pad([[1, 2], [3]], np.nan), r"pad: value is nan, which the sequences' dtype int64 cannot hold"),
        (lambda: pad([[1, 2], [3]], 0.5), r"pad: value is 0.5, which the sequences' dtype int64 cannot hold"),
        (lambda: pad(np.zeros((2, 1), np.uint8), -1), r"pad: value is -1, which the sequences' dtype uint8 cannot"),
        (lambda: pad([[1.0]], "x"), r"pad: value is 'x', which the sequences' dtype float64 cannot hold"),
        (lambda: pad([[1, [2]]]), r"pad: sequence 0 does not form an array \(length, ...\)"),
        (lambda: generate(lambda t, s: (np.zeros((2, 5)), s), 0, [[0], [1]], 3), r"gave logits of shape \(2, 5\) for"),
        (
            lambda: generate(lambda t, s: (np.zeros((1, 1, 5)), s), 0, [[0], [1]], 3),
            r"generate: step gave logits of shape \(1, 1, 5\) for tokens of shape \(2, 1\), expected \(2, 1, C\)",
        ),
        (
            lambda: generate(lambda t, s: (np.full((1, 1, 5), np.nan), s), 0, [[0]], 3),
            r"generate: logits\[0, 0\] is NaN",
        ),
        (lambda: generate(lambda t, s: (t, s), 0, [[0]], 2.5), r"generate: length is 2.5, expected a non-negative"),  # type: ignore
        (
            lambda: generate(lambda t, s: (t, s), 0, [[0]], -1),
            r"generate: length is -1, expected a non-negative integer",
        ),
        (
            lambda: Vocabulary(["a", "b"]).encode(["a", "c"]),
            r"token 1 of the text is 'c', expected one of the 2 in \('a'",
        ),
        (
            lambda: Vocabulary("ab", unknown="?", size=1),
            r"size is 1, expected more than the 1 special tokens and unknown",
        ),
        (lambda: pad([]), r"pad: there are no sequences"),
        (
            lambda: pad([[[1, 2]], [[1, 2, 3]]]),
            r"pad: the sequences' elements have shapes \(2,\), \(3,\), expected one",
        ),
        (lambda: Batches([1, 2], [1], size=2), r"Batches: the columns hold \[2, 1\] examples, expected as many"),
        (
            lambda: Batches([], size=2),
            r"Batches: the columns hold \[0\] examples, expected as many in each, at least one",
        ),
        (lambda: Batches([1, 2], size=0), r"Batches: size is 0, expected a positive integer"),
        (
            lambda: generate(lambda t, s: (t, s), 0, [1, 2], 3),
            r"generate: prompt has shape \(2,\) .* expected integers \(B",
        ),
    ],
)
def test_bad_input(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Vocabulary("abcd").decode([1.7]), r"Vocabulary.decode: numbers have dtype float64, expected integers"),
        (lambda: Vocabulary(5), r"Vocabulary: tokens is int 5, expected a string or a list of strings"),
        (lambda: Vocabulary(["a", 1]), r"Vocabulary: tokens\[1\] is int 1, expected a string"),
        (lambda: Vocabulary([["a"]]), r"Vocabulary: tokens\[0\] is list \['a'\], expected a string"),
        (
            lambda: Vocabulary("hello", special_tokens="<s>"),
            r"Vocabulary: special_tokens is '<s>', expected a list of strings, \['<s>'\]",
        ),
        (lambda: Vocabulary("hello", unknown=1), r"Vocabulary: unknown is int 1, expected a string"),
        (lambda: pad(5), r"pad: sequences is int 5, expected a list of sequences"),
        (lambda: pad([[1], 2]), r"pad: sequence 1 is int 2, expected a sequence \(length, ...\)"),
        (
            lambda: Batches((i for i in range(3)), size=1),
            r"Batches: column 0 is generator .*, expected a list or an array",
        ),
        (lambda: Batches([1, 2], [1, [2]], size=1), r"Batches: column 1 holds sequences, but example 0 is int 1"),
        (
            lambda: generate(lambda t, s: np.zeros((2, 1, 5)), 0, [[0], [1]], 3),
            r"generate: step returned ndarray, expected the pair \(logits, state\)",
        ),
    ],
)
def test_arguments_of_another_type_are_refused(call: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        call()


def test_sample_where_logits_are_infinite() -> None:
    assert sample([1.0, np.inf]) == sample([1.0, np.inf], 0) == 1
    assert set(sample(np.broadcast_to([np.inf, 9.0, np.inf, -np.inf], (99, 4)), seed=0).tolist()) == {0, 2}


def test_sequences_without_a_step_have_no_features_to_differ_in() -> None:
    padded = pad([[], [[1.0, 2.0]]], 7)
    assert padded.values.tolist() == [[[7, 7]], [[1, 2]]]
    assert padded.lengths.tolist() == [0, 1]


@pytest.mark.parametrize("form", [pad, lambda rows: [tg.tensor(row) for row in rows]])
def test_columns_of_unequal_sequences_in_other_forms(form: Any) -> None:
    first, last = Batches(form([[1, 2], [3], [4, 5, 6]]), size=2, shuffle=False)
    assert (first.values.tolist(), first.lengths.tolist()) == ([[1, 2], [3, 0]], [2, 1])
    assert (last.values.tolist(), last.lengths.tolist()) == ([[4, 5, 6]], [3])


def test_text_files(tmp_path: Path) -> None:
    first, second, wrong = tmp_path / "first", tmp_path / "second", tmp_path / "wrong"
    first.write_bytes("née\r\n".encode())
    second.write_bytes(b"")
    wrong.write_bytes(b"n\xe9e")
    assert read_text(first, str(second)) == "née\n\n"
    with pytest.raises(ValueError, match=r"read_text: .*second is empty, expected text"):
        read_text(second)
    with pytest.raises(ValueError, match=r"read_text: .*wrong is not UTF-8 text: .*position 1"):
        read_text(first, wrong)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_text(tmp_path / "nowhere")


def test_the_repr_of_batches_and_chunks_shows_their_sizes() -> None:
    assert repr(TextChunks(np.arange(21), batch=2, steps=3)) == "TextChunks(3 chunks of 2 rows, 3 steps each)"
    assert repr(Batches([[1], [2, 3], [4]], size=2)) == "Batches(2 of up to 2, from 3 examples)"
