"""Errors of parts in terms of a config: the parts know no keys, their builders do."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def naming_keys(keys: str) -> Iterator[None]:
    """For a builder: a ``ValueError`` raised inside is raised anew, with ``keys`` before it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{keys}: {error}") from error
