"""Files of referring expressions: who says what of which annotation.

The authors' layouts: a pickled list of RefCOCO, RefCOCO+, RefCOCOg and ReferIt (``refs(unc).p``;
Yu et al. 2016 and the refer toolkit), the same as JSON with several annotations or none for
gRefCOCO (``grefs(unc).json``; Liu et al. 2023), and the one of a user's own: a JSON list of
``{image_id, annotation_id, sentences}``.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checkpoint.pickles import UnsafePickleError
from ...checkpoint.plain_pickles import load_plain_pickle
from ...pictures import refuse_special_file
from ..faults import is_id
from ..json_files import read_json

_PICKLES = (".p", ".pkl", ".pickle")
_FORM = "{image_id, annotation_id, sentences}"
_MAX_SHOWN = 20  # splits in a message
Id = int | str


@dataclass(frozen=True)
class Reference:
    """Sentences that mean the same in one image.

    ``annotation_ids`` is empty where they mean nothing in it. ``sentence_ids`` are those of the
    file, one for each sentence, or empty where it has none.
    """

    place: str  # in the file, for messages
    image_id: Id
    annotation_ids: tuple[Id, ...]
    sentences: tuple[str, ...]
    sentence_ids: tuple[int, ...]


def read_references(file: str | Path, split: str) -> list[Reference]:
    """The references of one split; all of them, where the file does not know splits.

    Raises:
        ValueError: the file cannot be read or has another form, a pickle names a function or class,
            or there is no such split; the message has those that there are.
    """
    content = _read(Path(file))
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise ValueError(f"{file}: expressions are a list of {_FORM}")
    if not content:
        raise ValueError(f"{file} is empty; expressions are a list of {_FORM}")
    if any("split" in entry for entry in content):
        splits = [s if isinstance(s := entry.get("split"), str) else "" for entry in content]
        chosen = [_is_in(own, split) for own in splits]
        if not any(chosen):
            known = [*filter(None, dict.fromkeys(splits))][:_MAX_SHOWN]
            raise ValueError(
                f"{file} has no split {split!r}; it has {', '.join(known) or 'none'}, see "
                "docs/datasets.md"
            )
    else:
        chosen = [True] * len(content)
    return [
        _reference(entry, f"{file}, entry {number}")
        for number, (entry, is_chosen) in enumerate(zip(content, chosen, strict=True))
        if is_chosen
    ]


def _read(file: Path) -> Any:
    if file.suffix not in _PICKLES:
        return read_json(file, "expressions")
    try:
        refuse_special_file(file)
        content = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"the expressions cannot be read: {file}: {reason}") from error
    try:
        return load_plain_pickle(content)
    except UnsafePickleError as error:
        raise ValueError(
            f"{file} names {error}, which a file of expressions has no use for: it is refused, "
            "since to load it could run anything; get it from its authors again"
        ) from error
    except pickle.UnpicklingError as error:
        raise ValueError(f"{file} is a damaged pickle: {error}; get it again") from error


def _is_in(own: str, wanted: str) -> bool:
    """Whether a reference of split ``own`` is in ``wanted``; ReferIt has some in "testAB"."""
    if own == wanted:
        return True
    letter = wanted.removeprefix("test")
    return (
        wanted.startswith("test")
        and own.startswith("test")
        and len(letter) == 1
        and (letter in own.removeprefix("test"))
    )


def _reference(entry: dict[str, Any], place: str) -> Reference:
    image_id = entry.get("image_id")
    if not is_id(image_id):
        raise ValueError(f"{place}: 'image_id' is missing, or no number; see docs/own_data.md")
    key = "annotation_id" if "annotation_id" in entry else "ann_id"
    if key not in entry:
        raise ValueError(
            f"{place}: 'annotation_id' is missing; null stands for an expression that means nothing"
        )
    ids = entry[key] if isinstance(entry[key], list | tuple) else [entry[key]]
    # gRefCOCO has -1 where there is no target
    has_none = entry.get("no_target") is True or all(i is None or i == -1 for i in ids)
    if not has_none and not all(map(is_id, ids)):
        raise ValueError(f"{place}: '{key}' is neither a number, a list of numbers nor null")
    sentences, sentence_ids = _sentences(entry.get("sentences"), place)
    return Reference(
        place, image_id, () if has_none else tuple(dict.fromkeys(ids)), sentences, sentence_ids
    )


def _sentences(entries: Any, place: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not isinstance(entries, list | tuple) or not entries:
        raise ValueError(f"{place}: 'sentences' is a list of at least one expression")
    texts, ids = [], []
    for entry in entries:
        is_dict = isinstance(entry, dict)
        text = entry.get("sent", entry.get("raw")) if is_dict else entry
        if not isinstance(text, str):
            raise ValueError(f"{place}: one of 'sentences' is no text")
        texts.append(text)
        if is_dict and type(entry.get("sent_id")) is int:
            ids.append(entry["sent_id"])
    return tuple(texts), tuple(ids) if len(ids) == len(texts) else ()
