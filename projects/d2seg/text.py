"""Words of expressions: splitting, vocabularies, word vectors.

ReSTR (Kim et al. 2022, section 3.1) embeds the words of an expression with GloVe vectors. Splitting
and the order of special words are those of the vocabulary files that are published with RefCOCO's
and ReferIt's benchmarks. Data and models both need this module; it imports nothing of the package.

Shapes: V words of a vocabulary, D numbers of a word's vector.
"""

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tokenize import TokenError

import numpy as np
import torch

logger = logging.getLogger(__name__)

PAD, UNKNOWN = "<pad>", "<unk>"
SPECIAL_WORDS = (PAD, "<go>", "<eos>", UNKNOWN)  # the first lines of a vocabulary file
# typographic quotes and dashes, which no vocabulary has, and what stands for them
_PLAIN = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")
_PARSER_ERRORS = (SyntaxError, RecursionError, MemoryError, TokenError)  # of the header of an .npy
_MAX_SHOWN = 60  # characters of an expression in a message


def words_of(sentence: str) -> list[str]:
    """Split an expression into lower-case words.

    A word is a run of letters, digits and underscores of any alphabet, or a run of symbols ("'",
    ":)", ". ."), as in the published vocabularies: "it's" has the words "it", "'" and "s". A
    full stop at the end is dropped. Nothing but spaces and a full stop has no words.
    """
    text = unicodedata.normalize("NFC", sentence).translate(_PLAIN).lower()
    if text.isascii():  # the same, ten times as fast
        runs = re.findall(r"\w+|\W+", text)
    else:
        runs = ["".join(run) for _, run in groupby(text, _is_of_word)]
    words = [word for run in runs if (word := " ".join(run.split()))]
    return words[:-1] if words[-1:] == ["."] else words


def _is_of_word(character: str) -> bool:
    """Whether a character is a letter, digit, underscore or mark, as Indic vowel signs are."""
    is_letter = character.isalnum() or character == "_"
    return is_letter or unicodedata.category(character).startswith("M")


class Vocabulary:
    """Words and their ids; the first are ``SPECIAL_WORDS``, so that padding has id 0.

    Of a word that is listed twice the last id counts, and an empty line has an id that no word
    gets: the file published for RefCOCO has both, and ids are the rows of trained weights.

    Args:
        words: all of them, in the order of their ids
        source: where they come from, for messages: "the vocabulary words.txt"

    Raises:
        ValueError: the special words are not the first ones, or a word has a line break in it.
    """

    def __init__(self, words: Iterable[str], source: str = "the vocabulary") -> None:
        self.words = tuple(words)
        self.source = source
        self._warned_of_length = False
        if self.words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
            raise ValueError(
                f"{source} begins with {_shown(', '.join(self.words[:4]))}; its first words are "
                f"{', '.join(SPECIAL_WORDS)}, one a line"
            )
        self._ids = {word: index for index, word in enumerate(self.words) if word}
        for word in self._ids:
            if "\n" in word:
                raise ValueError(f"{source}: the word {_shown(word)} has a line break in it")

    @classmethod
    def from_file(cls, path: str | Path) -> "Vocabulary":
        """Read a file of one word a line.

        Raises:
            ValueError: it cannot be read, or as the class.
        """
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the vocabulary {path}: {error}") from error
        lines = text.removesuffix("\n").split("\n")
        return cls((line.strip() for line in lines), f"the vocabulary {path}")

    @classmethod
    def from_sentences(cls, sentences: Iterable[str], min_count: int = 1) -> "Vocabulary":
        """The words that occur ``min_count`` times or more: frequent ones first, then by name."""
        counts = Counter(word for sentence in sentences for word in words_of(sentence))
        kept = [word for word, count in counts.items() if count >= min_count]
        words = sorted(set(kept) - set(SPECIAL_WORDS), key=lambda word: (-counts[word], word))
        return cls((*SPECIAL_WORDS, *words), "the vocabulary of the training expressions")

    def save(self, path: str | Path) -> None:
        """Write one word a line, for :meth:`from_file`."""
        Path(path).write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")

    def to_tensor(self) -> torch.Tensor:
        """The words, joined by line breaks, as UTF-8: a uint8 tensor that a checkpoint can hold."""
        return torch.frombuffer(bytearray("\n".join(self.words).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(
        cls, tensor: torch.Tensor, source: str = "the vocabulary of the checkpoint"
    ) -> "Vocabulary":
        """The inverse of :meth:`to_tensor`.

        Raises:
            ValueError: the tensor holds something else.
        """
        try:
            text = bytes(tensor.to("cpu", torch.uint8).flatten().tolist()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{source} is not text: {error}") from error
        return cls(text.split("\n"), source)

    def encode(
        self, sentence: str, num_tokens: int, *, allow_unknown: bool = False
    ) -> tuple[list[int], list[bool]]:
        """Ids of the first ``num_tokens`` words, with padding in front, as the published code.

        Args:
            allow_unknown: True: an expression may have unknown words only, as some of a data set
                have that the vocabulary was not made from

        Returns:
            ``num_tokens`` ids; as many flags, True where there is a word

        Raises:
            ValueError: the expression has no word, or none that is known.
        """
        words = words_of(sentence)
        if not words:
            raise ValueError(f"the expression {_shown(sentence)} has no words; say what to segment")
        if len(words) > num_tokens and not self._warned_of_length:
            self._warned_of_length = True
            logger.warning(
                "an expression of %d words is cut to its first %d; so are all longer ones: %s",
                len(words),
                num_tokens,
                _shown(sentence),
            )
        words = words[:num_tokens]
        if not allow_unknown and not any(word in self._ids for word in words):
            raise ValueError(
                f"none of the words of the expression {_shown(sentence)} is known: "
                f"{_shown(', '.join(words))} are not in {self.source}; use other words, or a model "
                "whose vocabulary has them"
            )
        unknown = self._ids[UNKNOWN]
        padding = num_tokens - len(words)
        ids = [self._ids[PAD]] * padding + [self._ids.get(word, unknown) for word in words]
        return ids, [False] * padding + [True] * len(words)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)


def load_word_vectors(path: str | Path, words: Sequence[str]) -> tuple[np.ndarray, int]:
    """Vectors of ``words`` from GloVe's text format, word2vec's, or an ``.npy`` matrix.

    A text file has a word and its D numbers in each line, after an optional line of word2vec with
    their counts. A matrix has one row for each of ``words``. Words that are not in a text file get
    normal random numbers of the deviation that the others' have, always the same ones; padding
    gets zeros.

    Returns:
        float32 (V, D); the number of words that were found

    Raises:
        ValueError: the file cannot be read, is of neither format, has numbers that are not finite
            or not as many as its first line, or has none of ``words``.
    """
    if str(path).endswith(".npy"):
        return _load_matrix(path, len(words)), len(words)
    found = dict(_read_vectors(path, set(words)))
    if not found:
        raise ValueError(f"{path} has none of the {len(words)} words of the vocabulary")
    known = np.stack(list(found.values()))
    generator = np.random.default_rng(0)
    matrix = generator.normal(0.0, known.std(), (len(words), known.shape[1])).astype(np.float32)
    for index, word in enumerate(words):
        if word in found:
            matrix[index] = found[word]
        elif word == PAD:
            matrix[index] = 0.0
    return matrix, len(found)


def _load_matrix(path: str | Path, num_words: int) -> np.ndarray:
    try:
        # mapped, so that a header cannot ask for more memory than the file has bytes
        matrix = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, *_PARSER_ERRORS) as error:
        raise ValueError(f"cannot read the word vectors {path}: {error}") from error
    if matrix.ndim != 2 or matrix.shape[0] != num_words or matrix.dtype.kind not in "fiu":
        raise ValueError(
            f"{path} is {matrix.dtype} of shape {matrix.shape}; the vectors of this vocabulary "
            f"are a matrix of {num_words} rows"
        )
    if not np.isfinite(matrix).all():
        raise ValueError(f"{path} has numbers that are not finite")
    return np.array(matrix, dtype=np.float32)


def _read_vectors(path: str | Path, wanted: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Pairs of a wanted word and its vector; only the lines of wanted words are parsed."""
    firsts = {word.split(" ")[0] for word in wanted}
    size = 0
    try:
        with open(path, encoding="utf-8", errors="strict", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if number == 1 and _is_header(line):
                    continue
                line = line.rstrip()
                size = size or max(len(line.split()) - 1, 1)
                if line.split(" ", 1)[0] not in firsts:
                    continue
                word, *numbers = line.rsplit(" ", size)  # a word may have spaces in it
                vector = _vector(numbers, size)
                if vector is None or _ends_in_number(word):
                    raise ValueError(
                        f"{path}, line {number}: after a word come {size} finite numbers, as in "
                        "the file's first line"
                    )
                if word in wanted:
                    yield word, vector
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the word vectors {path}: {error}") from error


def _is_header(line: str) -> bool:
    fields = line.split()
    return len(fields) == 2 and all(field.isdecimal() for field in fields)


def _vector(numbers: list[str], size: int) -> np.ndarray | None:
    try:
        vector = np.array(numbers, dtype=np.float32)
    except ValueError:
        return None
    return vector if size and len(vector) == size and np.isfinite(vector).all() else None


def _ends_in_number(word: str) -> bool:
    """Whether a line has one number too many, so that its word ends in a number."""
    last = word.rpartition(" ")
    return bool(last[1]) and _vector([last[2]], 1) is not None


def _shown(text: str) -> str:
    """A text of the user in a message of one line."""
    text = " ".join(text.split())
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}...")
