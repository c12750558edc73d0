"""Looking up maps of segment ids; class labels as detectron2's evaluators read them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.label_maps import NUM_IDS, advice_on_unlisted, read_labels
from ..data.label_values import LabelValues

_MAX_VALUE = np.iinfo(np.uint16).max


def read_label_map(
    path: str, dtype: Any = int, label_values: LabelValues | None = None
) -> np.ndarray:
    """``read_labels`` with the signature that detectron2's
    ``SemSegEvaluator(sem_seg_loading_fn=...)`` calls, whose own default fails on numpy 2."""
    return read_labels(path, label_values).astype(dtype, copy=False)


def check_encoding(id_map: np.ndarray, segments: Sequence[Mapping[str, Any]], file: str) -> None:
    """See that a map of segment ids was not written as other numbers than those of its segments,
    with which any prediction would score 0.

    Raises:
        ValueError: it has ids, and none is that of a segment.
    """
    listed = {segment["id"] for segment in segments}
    present = [number for number in np.unique(id_map).tolist() if number]
    if listed and present and listed.isdisjoint(present):
        raise ValueError(
            f"{file} has pixels of the segment id {present[0]}, and none of its segments_info: "
            f"{advice_on_unlisted(present[0])}"
        )


class IdLookup:
    """Replaces segment ids by small values with one gather from a table of all possible ids.

    The table (32 MB) lives as long as the object; what a call has set in it, it resets.
    """

    def __init__(self) -> None:
        self._table = np.zeros(NUM_IDS, dtype=np.uint16)

    def __call__(self, id_map: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
        """Value of every id.

        Args:
            id_map: integers in [0, 2**24), of any shape.
            values: id -> value in [1, 65535].

        Returns:
            uint16 of the same shape; 0 where the id has no value.

        Raises:
            ValueError: an id outside [0, 2**24), or more than 65535 ids.
        """
        if len(values) > _MAX_VALUE:
            raise ValueError(f"{len(values)} segments in one map; at most {_MAX_VALUE} are handled")
        ids = np.fromiter(values.keys(), dtype=np.int64, count=len(values))
        if ids.size and not (ids.min() >= 0 and ids.max() < NUM_IDS):
            raise ValueError(
                f"segment ids lie in [{ids.min()}, {ids.max()}], allowed is [0, {NUM_IDS})"
            )
        if id_map.size and not (id_map.min() >= 0 and id_map.max() < NUM_IDS):
            raise ValueError(
                f"the map holds ids in [{id_map.min()}, {id_map.max()}], allowed is [0, {NUM_IDS})"
            )
        self._table[ids] = np.fromiter(values.values(), dtype=np.uint16, count=len(values))
        found = self._table[id_map]
        self._table[ids] = 0
        return found
