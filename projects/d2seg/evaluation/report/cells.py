"""Cells of tables: a text, the number to sort by, and a bar behind it."""

import math
from collections.abc import Mapping
from typing import Any

from ...reports.page import count, number

Cell = dict[str, Any]


def percent(share: float | None, digits: int = 1) -> Cell:
    """A share in [0, 1] as percent, with a bar."""
    if share is None or not math.isfinite(share):
        return {"text": number(None), "value": None}
    value = 100 * share
    return {"text": number(value, digits), "value": round(value, 4), "share": max(0.0, share)}


def value(given: float | None, digits: int = 2) -> Cell:
    is_defined = given is not None and math.isfinite(given)
    return {"text": number(given, digits), "value": round(given, 6) if is_defined else None}


def whole(given: float | None) -> Cell:
    return {"text": count(given), "value": given}


def divided(over: float, under: float) -> float:
    """NaN where it is not defined."""
    return over / under if under else math.nan


def gallery_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A record's pictures; one of boxes has none.

    Raises:
        ValueError: an entry is not as the template needs it.
    """
    entries = record.get("gallery", [])
    if not isinstance(entries, list):
        raise ValueError("its gallery is no list")
    for place, entry in enumerate(entries):
        texts = [entry[key] for key in ("group", "title", "note")]
        for panel in entry["panels"]:
            uri, description, caption = panel
            texts += [uri, description, caption]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"entry {place} of its gallery has no text where one has to be")
    return entries


def shown_classes(record: Mapping[str, Any]) -> list[tuple[int, str, str]]:
    """Number, name and colour of the classes in a record's gallery, by name."""
    names, colors = record["classes"], record["colors"]
    present = {k for entry in record.get("gallery", ()) for k in entry["classes"]}
    found = [(k, names[k], "rgb({} {} {})".format(*colors[k])) for k in present]
    return sorted(found, key=lambda entry: entry[1])
