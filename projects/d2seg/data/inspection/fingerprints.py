"""Perceptual hashes of pictures, and the search for those that are nearly the same.

The hash is that of the low frequencies of a discrete cosine transform: which of them are above
their median (pHash; C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010, section 3.2.1). Here they are 12 x 12 instead of 8 x 8, and have to be above it by
more than noise makes, which otherwise decides over most bits of a smooth picture.

Of 34 pictures of COCO and 52 of CamVid, another size (5/8), compression (JPEG at quality 20),
brightness (5 % more) or all of them changed 7 of the 143 bits at most; any two pictures of COCO
differed in 50 or more.

N pictures; codes are (N, 9) uint16, 16 bits a word.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .report import PictureMeasures

GREY_SIDE = 32  # of the grey picture that is hashed
NUM_WORDS = 9
MAX_DISTANCE = 8  # bits: fewer than words, so that two such codes have a word in common
_FREQUENCIES = 12
# Neighbouring frequencies are alike; so each word has some of all.
_ORDER = np.arange(16 * NUM_WORDS).reshape(16, NUM_WORDS).T.ravel()
_NOISE = 8.0  # of a frequency of grey values: twice what compression and resizing leave
_BLANK = 2.0  # standard deviation of grey values below which there is nothing to be hashed
_MAX_NEIGHBOURS = 512  # codes with a word in common that each one is compared with
_MAX_EDGES = 1_000_000
_NUM_ONES = np.array([i.bit_count() for i in range(1 << 16)], np.uint8)


def measures_of(grey: np.ndarray, size: tuple[int, int]) -> PictureMeasures:
    """
    Args:
        grey: (32, 32) uint8, means of a picture's parts
        size: (height, width) of the picture
    """
    is_blank = grey.std() < _BLANK
    return PictureMeasures(*size, float(grey.mean()), None if is_blank else code_of(grey))


def code_of(grey: np.ndarray) -> bytes:
    """The hash of (32, 32) grey values, 18 bytes."""
    low = cv2.dct(grey.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES].ravel()
    bits = low > np.median(low[1:]) + _NOISE
    bits[0] = False  # the mean of the picture
    return np.packbits(bits[_ORDER]).tobytes()


def codes_of(hashes: bytes | bytearray) -> np.ndarray:
    """(N, 9) of hashes that follow each other."""
    return np.frombuffer(bytes(hashes), np.uint16).reshape(-1, NUM_WORDS)


def distances(codes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number of bits in which codes (..., 9) and others (..., 9) differ."""
    return _NUM_ONES[codes ^ others].sum(-1, dtype=np.int32)


def near_groups(codes: np.ndarray) -> tuple[list[np.ndarray], bool]:
    """Groups of pictures that are joined by steps of at most ``MAX_DISTANCE`` bits.

    Two codes that near have one of the nine words in common (pigeonhole principle); so the codes
    are sorted by each word in turn, and compared with those that have the same.

    Returns:
        Rows of each group of two or more, ascending; and whether all pairs were compared, which is
        not so where more than 512 different codes have a word in common.
    """
    if not len(codes):
        return [], True
    unique, group_of = np.unique(codes, axis=0, return_inverse=True)
    group_of = group_of.ravel()
    num = len(unique)
    labels, edges, is_complete = np.arange(num), [], True
    for word in range(NUM_WORDS):
        for pairs, is_last_allowed in _near_pairs(unique, word):
            edges.append(pairs)
            is_complete &= not is_last_allowed
            if sum(map(len, edges)) > _MAX_EDGES:  # the memory stays bounded
                labels = _joined(labels, edges)
                edges = []
    labels = _joined(labels, edges)[group_of]
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    return [rows for rows in np.split(order, starts) if len(rows) > 1], is_complete


def _near_pairs(codes: np.ndarray, word: int) -> Iterator[tuple[np.ndarray, bool]]:
    """(P, 2) rows that are near and have ``word`` in common, and whether more were not compared."""
    order = np.argsort(codes[:, word], kind="stable")
    values = codes[order, word]
    first = np.arange(len(codes))
    for step in range(1, _MAX_NEIGHBOURS + 1):
        first = first[first + step < len(codes)]
        first = first[values[first + step] == values[first]]
        if not len(first):
            return
        a, b = order[first], order[first + step]
        near = distances(codes[a], codes[b]) <= MAX_DISTANCE
        yield np.stack([a[near], b[near]], 1), step == _MAX_NEIGHBOURS


def _joined(labels: np.ndarray, edges: list[np.ndarray]) -> np.ndarray:
    """Labels of groups, with those joined that an edge connects."""
    pairs = labels[np.concatenate([*edges, np.empty((0, 2), np.int64)])]
    size = len(labels)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (size, size))
    return connected_components(graph, directed=False)[1][labels]
