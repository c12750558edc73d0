"""A model over columns of a table, as Ray Data and its like hand out batches of rows."""

import os
from typing import Any

import numpy as np

from .batch import BatchPredictor

Columns = dict[str, Any]  # arrays of equal length
_OF_PATH_MANAGER = ("http://", "https://", "detectron2://", "hf://")
_ADDED = {"height": int, "width": int, "result": object, "png": object, "error": object}


class ColumnPredictor:
    """A ``BatchPredictor`` of columns; its model is built at the first call."""

    def __init__(self, predictor: BatchPredictor, base: str) -> None:
        """
        Args:
            base: folder that relative paths start from.
        """
        self.predictor, self.base = predictor, base

    def __call__(self, batch: Columns) -> Columns:
        """
        Args:
            batch: ``path``, or ``bytes`` of the files, and what else a table has. Addresses such as
                s3://bucket/a.jpg are opened by pyarrow, those of http by detectron2's PathManager.

        Returns:
            The columns without ``bytes``, and ``height``, ``width``, ``result`` (JSON), ``png`` and
            ``error``, see ``BatchPredictor``.
        """
        length = len(next(iter(batch.values())))
        rows = [{name: column[i] for name, column in batch.items()} for i in range(length)]
        results = self.predictor([self._located(row, i) for i, row in enumerate(rows)])
        kept = {name: column for name, column in batch.items() if name != "bytes"}
        return kept | {
            # through an iterator: an array of texts would get one length for all
            name: np.fromiter((result[name] for result in results), dtype, length)
            for name, dtype in _ADDED.items()
        }

    def _located(self, row: dict[str, Any], place: int) -> dict[str, Any]:
        """What a ``BatchPredictor`` takes: an id, and the file's content or where it lies."""
        found = {"id": row.get("id", place), "path": row.get("path")}
        if row.get("bytes") is not None:
            return found | {"bytes": row["bytes"]}
        path = str(found["path"])
        if "://" not in path:
            return found | {"path": os.path.join(self.base, path)}
        if path.startswith(_OF_PATH_MANAGER):
            return found
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem

        try:
            system, inner = FileSystem.from_uri(path)
            with system.open_input_stream(inner) as file:
                return found | {"bytes": file.read()}
        except (OSError, ValueError, ArrowException) as error:
            return found | {"error": " ".join(str(error).split()) or type(error).__name__}
