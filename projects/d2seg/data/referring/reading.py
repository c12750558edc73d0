"""Reading of COCO annotations and a file of expressions; what does not fit is left out."""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ...pictures import MAX_PIXELS
from ...text import words_of
from ..faults import is_id
from ..inspection.report import Problem
from ..json_files import read_json
from ..segmentations import Segmentation, sound_segmentation, union
from .references import Id, Reference, read_references

logger = logging.getLogger(__name__)


class _Fault(Exception):
    """Why a reference cannot be used: kind of problem, and the particulars."""


@dataclass(frozen=True)
class ReferringSource:
    """The files of one split of a referring data set; calling it gives the dataset dicts.

    These have ``file_name``, ``image_id``, ``height``, ``width`` and ``expressions``, a list of
    dicts with

    - ``id``: a number, unique in the split: the file's ``sent_id`` where these are;
    - ``sentence``: as the file has it;
    - ``annotation_id``: a number, several, or None where the sentence means nothing in the image;
    - ``segmentation``: polygons or RLE of what is meant, the union if it is several; or None.

    References whose image or annotation is missing are left out and counted in a warning.

    Args:
        images: folder that the file names of ``annotations`` are relative to
        annotations: COCO's instances as JSON; categories are not needed
        expressions: as :func:`read_references` takes it

    Raises:
        ValueError: when called: a file cannot be read, or nothing can be used.
    """

    name: str
    images: str
    annotations: str
    expressions: str
    split: str

    def __call__(self) -> list[dict[str, Any]]:
        dicts, problems = self.read()
        by_kind: dict[str, list[Problem]] = {}
        for problem in problems:
            by_kind.setdefault(problem.kind, []).append(problem)
        if not dicts:
            first = f", the first: {problems[0].file}: {problems[0].detail}" if problems else ""
            raise ValueError(f"data set {self.name!r} has no expression that can be used{first}")
        for kind, found in by_kind.items():
            logger.warning(
                "%s: %d entries of the expressions are left out: %s, the first: %s: %s",
                self.name,
                len(found),
                kind,
                found[0].file,
                found[0].detail,
            )
        return dicts

    def read(self) -> tuple[list[dict[str, Any]], list[Problem]]:
        """The dicts, and a problem for each reference or sentence that is left out.

        Raises:
            ValueError: a file cannot be read.
        """
        references = read_references(self.expressions, self.split)
        annotated = _Annotations(self.annotations, self.images, references)
        dicts: dict[Id, dict[str, Any]] = {}
        problems: list[Problem] = []
        ids = _expression_ids(references)
        for reference, numbers in zip(references, ids, strict=True):
            try:
                image = annotated.image(reference.image_id)
                target = annotated.target(reference)
            except _Fault as fault:
                kind, detail = fault.args
                problems.append(Problem(kind, reference.place, f"{detail} {_quoted(reference)}"))
                continue
            meant = reference.annotation_ids or (None,)
            for number, sentence in zip(numbers, reference.sentences, strict=True):
                if not words_of(sentence):
                    problems.append(
                        Problem("empty expression", reference.place, f"{sentence!r} has no words")
                    )
                    continue
                entry = dicts.setdefault(reference.image_id, {**image, "expressions": []})
                entry["expressions"].append(
                    {
                        "id": number,
                        "sentence": sentence,
                        "annotation_id": meant[0] if len(meant) == 1 else list(meant),
                        "segmentation": target,
                    }
                )
        return list(dicts.values()), problems


def _quoted(reference: Reference) -> str:
    """The sentences of a reference, for a message."""
    more = f" and {len(reference.sentences) - 1} more" if len(reference.sentences) > 1 else ""
    return f"({' '.join(reference.sentences[0].split())[:60]!r}{more})"


def _expression_ids(references: list[Reference]) -> Iterator[Iterable[int]]:
    """The file's numbers of the sentences, or their places where these are not unique."""
    own = [number for reference in references for number in reference.sentence_ids]
    count = sum(len(reference.sentences) for reference in references)
    if len(set(own)) == count:
        yield from (reference.sentence_ids for reference in references)
        return
    first = 0
    for reference in references:
        yield range(first, first + len(reference.sentences))
        first += len(reference.sentences)


class _Annotations:
    """The images and annotations that references name, each checked once."""

    def __init__(self, file: str, folder: str, references: list[Reference]) -> None:
        content = _read_coco(file)
        self._file = file
        self._folder = folder
        self._images = {i["id"]: i for i in content["images"] if is_id(i.get("id"))}
        wanted = {number for reference in references for number in reference.annotation_ids}
        self._annotations = {
            a["id"]: a for a in content["annotations"] if is_id(a.get("id")) and a["id"] in wanted
        }
        self._found: dict[Id, dict[str, Any] | _Fault] = {}

    def image(self, number: Id) -> dict[str, Any]:
        if number not in self._found:
            try:
                self._found[number] = self._image(number)
            except _Fault as fault:
                self._found[number] = fault
        found = self._found[number]
        if isinstance(found, _Fault):
            raise found
        return found

    def _image(self, number: Id) -> dict[str, Any]:
        if number not in self._images:
            raise _Fault("expression without its image", f"image {number!r} is not in {self._file}")
        entry = self._images[number]
        name, height, width = (entry.get(key) for key in ("file_name", "height", "width"))
        is_sized = type(height) is type(width) is int and min(height, width) > 0
        if not isinstance(name, str) or not is_sized or height * width > MAX_PIXELS:
            raise _Fault(
                "unusable image entry",
                f"image {number!r} of {self._file} has no file_name, height and width",
            )
        # the file's name of a reference carries the annotation's number in some of the data sets
        path = os.path.join(self._folder, name)
        if not os.path.isfile(path):
            raise _Fault("missing image", f"there is no {path}")
        return {"file_name": path, "image_id": number, "height": height, "width": width}

    def target(self, reference: Reference) -> Segmentation | None:
        """The mask that a reference means; None: nothing."""
        if not reference.annotation_ids:
            return None
        image = self.image(reference.image_id)
        size = image["height"], image["width"]
        return union(
            [self._mask(n, image["image_id"], size) for n in reference.annotation_ids], size
        )

    def _mask(self, number: Id, image_id: Id, size: tuple[int, int]) -> Segmentation:
        annotation = self._annotations.get(number)
        if annotation is None:
            raise _Fault(
                "expression without its annotation", f"annotation {number!r} is not in {self._file}"
            )
        own = annotation.get("image_id")
        if not is_id(own) or own != image_id:
            raise _Fault(
                "annotation of another image",
                f"annotation {number!r} is of image {own if is_id(own) else '?'}, not of "
                f"{image_id!r}",
            )
        try:
            return sound_segmentation(annotation.get("segmentation"), size)
        except ValueError as error:
            raise _Fault("unusable mask", f"annotation {number!r}: {error}") from error


def _read_coco(file: str) -> dict[str, list[dict[str, Any]]]:
    content = read_json(file)
    for key in ("images", "annotations"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{file}: not in COCO's format: '{key}' is no list of entries")
    return content
