"""Words of expressions, vocabularies and word vectors."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from d2seg.text import SPECIAL_WORDS, Vocabulary, load_word_vectors, words_of

WORDS = (*SPECIAL_WORDS, "the", "dog", "on", "left")


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("The dog on the LEFT.", ["the", "dog", "on", "the", "left"]),
        ("  a\tman ,  sitting\n", ["a", "man", ",", "sitting"]),
        ("the man's 2nd hot-dog", ["the", "man", "'", "s", "2nd", "hot", "-", "dog"]),
        ("the man\u2019s", ["the", "man", "'", "s"]),
        ("left . right :) end?!", ["left", ".", "right", ":)", "end", "?!"]),
        ("one. . two", ["one", ". .", "two"]),
        ("der Hund LINKS, größer", ["der", "hund", "links", ",", "größer"]),
        ("Σκυλί ψηλα", ["σκυλί", "ψηλα"]),
        ("बड़ा कुत्ता", ["बड\u093cा", "कुत्ता"]),  # vowel signs and a nukta belong to their letters
        ("<pad> dog", ["<", "pad", ">", "dog"]),  # a special word cannot be asked for
        (" . ", []),
        ("", []),
    ],
)
def test_words_of_a_sentence(sentence: str, words: list[str]) -> None:
    assert words_of(sentence) == words


def test_both_ways_of_splitting_agree() -> None:
    sentence = "a_b 3rd,  ':) . x--y\t.. z."
    assert words_of(sentence + " é")[:-1] == words_of(sentence + " e")[:-1]


@pytest.mark.parametrize(("name", "size"), [("Gref", 12112), ("referit", 8803)])
def test_published_vocabularies_hold_what_splitting_gives(
    name: str, size: int, shared_dir: Path
) -> None:
    path = shared_dir / "data" / "refer" / "refcocog" / f"vocabulary_{name}.txt"
    vocabulary = Vocabulary.from_file(path)
    assert len(vocabulary) == size  # as many as the published weights have rows
    own = set(vocabulary.words) - {*SPECIAL_WORDS, "", "."}
    assert [word for word in own if words_of(word) != [word]] == []
    assert Vocabulary.from_tensor(vocabulary.to_tensor()) == vocabulary


def test_the_last_id_of_a_word_listed_twice_counts(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("\n".join([*SPECIAL_WORDS, "dog", "", "dog", "cat"]) + "\n")
    vocabulary = Vocabulary.from_file(file)
    assert len(vocabulary) == 8
    assert vocabulary.encode("dog cat", 2)[0] == [6, 7]


def test_a_vocabulary_of_sentences_is_sorted_by_count_then_name() -> None:
    sentences = ["the red dog", "The dog.", "a dog", "<pad>"]
    words = Vocabulary.from_sentences(sentences).words
    assert words == (*SPECIAL_WORDS, "dog", "the", "<", ">", "a", "pad", "red")
    assert Vocabulary.from_sentences(sentences, 2).words == (*SPECIAL_WORDS, "dog", "the")
    assert Vocabulary.from_sentences(reversed(sentences)).words == words


def test_encoding_pads_in_front_and_marks_words() -> None:
    vocabulary = Vocabulary(WORDS)
    ids, is_word = vocabulary.encode("The dog, left.", 6)
    assert ids == [0, 0, 4, 5, 3, 7]  # the comma is unknown
    assert is_word == [False, False, True, True, True, True]


def test_long_expressions_are_cut_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = Vocabulary(WORDS)
    with caplog.at_level(logging.WARNING):
        ids, is_word = vocabulary.encode("the dog " * 100, 20)
        vocabulary.encode("left " * 50, 20)
    assert ids == [4, 5] * 10
    assert all(is_word)
    [record] = caplog.records
    assert "200 words is cut to its first 20" in record.getMessage()
    assert len(record.getMessage()) < 200


@pytest.mark.parametrize("sentence", ["", "   ", ".", "\n"])
def test_an_expression_without_words_is_refused(sentence: str) -> None:
    with pytest.raises(ValueError, match=r"the expression '\.?' has no words; say what") as caught:
        Vocabulary(WORDS).encode(sentence, 20)
    assert "\n" not in str(caught.value)


def test_an_expression_of_unknown_words_names_them_and_the_vocabulary(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    Vocabulary(WORDS).save(file)
    vocabulary = Vocabulary.from_file(file)
    with pytest.raises(ValueError, match=r"'ψηλη, σκυλί' are not in the vocabulary .*words.txt;"):
        vocabulary.encode("ψηλη\nσκυλί", 20)  # noqa: RUF001
    # the only known word lies behind the cut
    with pytest.raises(ValueError, match="'big, red' are not in"):
        vocabulary.encode("big red dog", 2)
    assert vocabulary.encode("big red", 3, allow_unknown=True) == ([0, 3, 3], [False, True, True])


def test_a_vocabulary_survives_file_and_tensor(tmp_path: Path) -> None:
    vocabulary = Vocabulary((*WORDS, "größer", "σκυλί", ". ."))
    vocabulary.save(tmp_path / "words.txt")
    assert Vocabulary.from_file(tmp_path / "words.txt") == vocabulary
    tensor = vocabulary.to_tensor()
    assert tensor.dtype == torch.uint8
    assert Vocabulary.from_tensor(tensor) == vocabulary
    assert Vocabulary(WORDS) != vocabulary
    (tmp_path / "windows.txt").write_bytes("\ufeff".encode() + "\r\n".join(WORDS).encode())
    assert Vocabulary.from_file(tmp_path / "windows.txt") == Vocabulary(WORDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"dog\ncat\n", "begins with 'dog, cat'; its first words are <pad>, <go>"),
        (b"", "begins with ''; its first words"),
        (b"\xff\xfe\x00", "cannot read the vocabulary .*utf-8"),
    ],
)
def test_a_file_that_is_no_vocabulary(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Vocabulary.from_file(file)
    assert "\n" not in str(caught.value)


def test_a_missing_vocabulary_and_a_damaged_tensor() -> None:
    with pytest.raises(ValueError, match="cannot read the vocabulary /nowhere"):
        Vocabulary.from_file("/nowhere")
    with pytest.raises(ValueError, match="the vocabulary of the checkpoint is not text"):
        Vocabulary.from_tensor(torch.tensor([255, 254], dtype=torch.uint8))
    with pytest.raises(ValueError, match="the vocabulary of the checkpoint begins with"):
        Vocabulary.from_tensor(torch.zeros(0, dtype=torch.uint8))
    with pytest.raises(ValueError, match="has a line break in it"):
        Vocabulary((*WORDS, "a\nb"))


@pytest.mark.parametrize("header", ["", "4 2\n"])
def test_word_vectors_from_text(header: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text(f"{header}dog 1.0 2\n. . 5 6\nunused 7 8\nthe -3 4e-1\n")
    words = [*WORDS, ". ."]
    matrix, num_found = load_word_vectors(file, words)
    assert num_found == 3
    assert matrix.shape == (9, 2)
    assert matrix.dtype == np.float32
    assert matrix[[4, 5, 8]].tolist() == [[-3.0, pytest.approx(0.4)], [1.0, 2.0], [5.0, 6.0]]
    assert matrix[0].tolist() == [0.0, 0.0]  # padding
    assert (matrix[[1, 2, 3, 6, 7]] != 0).all()  # drawn
    assert np.array_equal(matrix, load_word_vectors(file, words)[0])


def test_drawn_vectors_have_the_deviation_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("dog 3 -3 3 -3\n")
    matrix, _ = load_word_vectors(file, ["dog", *(f"w{i}" for i in range(2000))])
    assert matrix[1:].std() == pytest.approx(3.0, rel=0.05)
    assert math.isclose(matrix[1:].mean(), 0.0, abs_tol=0.1)


def test_word_vectors_from_a_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.arange(16.0).reshape(8, 2))
    matrix, num_found = load_word_vectors(tmp_path / "vectors.npy", WORDS)
    assert (num_found, matrix.dtype, matrix[7].tolist()) == (8, np.float32, [14.0, 15.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("the 1 2\ndog 1\n", "line 2: after a word come 2 finite numbers"),
        ("the 1 2\ndog 1 2 3\n", "line 2: after a word come 2 finite numbers"),
        ("the 1 2\ndog 1 x\n", "line 2: after a word"),
        ("the 1 nan\n", "line 1: after a word"),
        ("the\nthe 1 2\n", "line 1: after a word come 1 finite"),
        ("cat 1 2\n", "has none of the 8 words of the vocabulary"),
        ("", "has none of the 8 words"),
    ],
)
def test_damaged_word_vectors(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_word_vectors(file, WORDS)
    assert "vectors.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_matrices_and_missing_files(tmp_path: Path) -> None:
    file = tmp_path / "vectors.npy"
    np.save(file, np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"shape \(3, 2\); .* matrix of 8 rows"):
        load_word_vectors(file, WORDS)
    np.save(file, np.array([["a"] * 2] * 8))
    with pytest.raises(ValueError, match="matrix of 8 rows"):
        load_word_vectors(file, WORDS)
    np.save(file, np.full((8, 2), np.nan))
    with pytest.raises(ValueError, match="not finite"):
        load_word_vectors(file, WORDS)
    np.save(file, np.array([{}] * 8), allow_pickle=True)  # a pickle may run anything
    with pytest.raises(ValueError, match=r"cannot read the word vectors .*vectors.npy"):
        load_word_vectors(file, WORDS)
    header = b"\x93NUMPY\x01\x00" + (8000).to_bytes(2, "little") + b"(" * 8000  # nested too deep
    with (tmp_path / "vectors.npz").open("wb") as archive:
        np.savez(archive, np.zeros((8, 2)))
    for content in (header, (tmp_path / "vectors.npz").read_bytes(), b"\x93NUMPY\x01\x00"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"cannot read the word vectors .*vectors.npy"):
            load_word_vectors(file, WORDS)
    for missing in ("nowhere.npy", "nowhere.txt"):
        with pytest.raises(ValueError, match=f"cannot read the word vectors .*{missing}"):
            load_word_vectors(tmp_path / missing, WORDS)
