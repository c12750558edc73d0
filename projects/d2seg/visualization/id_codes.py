"""Small numbers in place of the ids of a map."""

from collections.abc import Iterator, Sequence

import numpy as np

_MAX_TABLE = 1 << 24  # entries: as many as a COCO panoptic PNG has ids


class IdCodes:
    """Numbers 1, 2, ... for the distinct ids of a list, in its order, which it iterates over."""

    def __init__(self, wanted: Sequence[int]) -> None:
        self._numbers = {number: code for code, number in enumerate(dict.fromkeys(wanted), start=1)}
        self._lowest = min(wanted, default=0)
        self._highest = max(wanted, default=0)
        self._table: np.ndarray | None = None
        if self._highest - self._lowest < _MAX_TABLE:
            # an entry more at both ends: of all ids beyond them
            self._table = np.zeros(self._highest - self._lowest + 3, np.int32)
            for number, code in self._numbers.items():
                self._table[number - self._lowest + 1] = code

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def code(self, number: int) -> int:
        return self._numbers[number]

    def of(self, ids: np.ndarray) -> np.ndarray:
        """(H, W) integers to int32 codes, 0 for an id that is not in the list."""
        if ids.dtype.itemsize < 4:  # ids beyond its range are compared with
            ids = ids.astype(np.int32)
        if self._table is not None:
            clipped = np.clip(ids, self._lowest - 1, self._highest + 1)
            return self._table[clipped - (self._lowest - 1)]
        present, places = np.unique(ids, return_inverse=True)
        codes = np.array([self._numbers.get(i, 0) for i in present.tolist()], np.int32)
        return codes[places].reshape(ids.shape)
