"""Dicts and words that a training takes from registered referring data sets."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, DatasetFromList
from torch.utils.data import Dataset

from ...text import SPECIAL_WORDS, Vocabulary
from ..catalog import metadata_of
from ..dicts import check_files_of
from ..preparation import replacing

logger = logging.getLogger(__name__)


class RepeatedDicts(Dataset):
    """Dataset dicts of which each is held once, serialised, and returned some times.

    Copies of RefCOCO's would take a gigabyte.

    Args:
        times: how often each of ``dicts`` comes
    """

    def __init__(self, dicts: list[dict[str, Any]], times: Sequence[int]) -> None:
        self._dicts = DatasetFromList(dicts, copy=False)
        self._indices = np.repeat(np.arange(len(dicts)), times)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._dicts[int(self._indices[index])]


def expanded_dicts(
    names: Sequence[str], num_expressions: int, seconds: float = math.inf
) -> RepeatedDicts:
    """Dicts of the data sets, each as often as its expressions make samples.

    An image with E expressions stands there ceil(E / ``num_expressions``) times, so that each
    expression is drawn about equally often; images without expressions are left out.

    Args:
        seconds: to look for the pictures

    Raises:
        ValueError: a data set is unknown or has no ``expressions``, nothing is left, or a picture
            is missing.
    """
    dicts = [entry for name in names for entry in _referring_dicts(name)]
    times = [-(-len(entry["expressions"]) // num_expressions) for entry in dicts]
    num_empty = times.count(0)
    if num_empty:
        logger.info(
            "Removed %d images without expressions; %d left.", num_empty, len(dicts) - num_empty
        )
    if not any(times):
        raise ValueError(f"no image of {', '.join(names)} has an expression; check the data sets")
    used = [entry for entry, count in zip(dicts, times, strict=True) if count]
    check_files_of(used, names, ("file_name",), seconds)
    logger.info(
        "%d expressions of %d images make %d samples an epoch.",
        sum(len(entry["expressions"]) for entry in dicts),
        len(dicts) - num_empty,
        sum(times),
    )
    return RepeatedDicts(dicts, times)


def collect_vocabulary(dataset_names: Sequence[str]) -> Vocabulary:
    """The words of all expressions of the data sets.

    Raises:
        ValueError: a data set is unknown or has no ``expressions``, or there are no words.
    """
    dicts = [entry for name in dataset_names for entry in _referring_dicts(name)]
    vocabulary = Vocabulary.from_sentences(
        expression["sentence"] for entry in dicts for expression in entry["expressions"]
    )
    if len(vocabulary) == len(SPECIAL_WORDS):
        raise ValueError(
            f"the expressions of {', '.join(dataset_names)} have no words; check the data sets"
        )
    return vocabulary


def write_vocabulary(dataset_names: Sequence[str], file: Path) -> None:
    """Write :func:`collect_vocabulary` to ``file``, whole or not at all."""
    vocabulary = collect_vocabulary(dataset_names)
    with replacing(file) as temporary:
        vocabulary.save(temporary)
    logger.info(
        "%d words of the expressions of %s are written to %s",
        len(vocabulary) - len(SPECIAL_WORDS),
        ", ".join(dataset_names),
        file,
    )


def _referring_dicts(name: str) -> list[dict[str, Any]]:
    metadata_of(name)
    dicts = DatasetCatalog.get(name)
    for entry in dicts:
        if not isinstance(entry.get("expressions"), list):
            raise ValueError(
                f"data set {name!r} has no expressions, which INPUT.MAPPER referring needs; choose "
                "a referring data set, as refcoco_unc_train"
            )
    return dicts
