"""The one reader of XML files, with errors that name the file.

A document type is refused: its entities can expand to gigabytes or name other files, and no format
of annotations needs one.
"""

import os
from pathlib import Path
from xml.etree import ElementTree

from ..pictures import refuse_special_file

_MAX_BYTES = 1 << 29  # of a file; its tree takes ten times as much memory
_MAX_DEPTH = 100
_CHUNK = 1 << 20


class _Builder(ElementTree.TreeBuilder):
    """Builds the tree, without document types and with a bounded depth."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(
            "it declares a document type (<!DOCTYPE ...>), which is refused; delete it"
        )

    def start(self, tag: str, attributes: dict[str, str]) -> ElementTree.Element:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ValueError(f"its elements are nested more than {_MAX_DEPTH} deep")
        return super().start(tag, attributes)

    def end(self, tag: str) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def read_xml(file: str | Path) -> ElementTree.Element:
    """The root element of an XML file.

    Raises:
        ValueError: it cannot be read, is no XML, declares a document type, is nested too deep or
            has more than 512 MiB.
    """
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        refuse_special_file(file)
        if os.path.getsize(file) > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES} bytes; export it in parts")
        with open(file, "rb") as opened:
            while chunk := opened.read(_CHUNK):
                parser.feed(chunk)
        return parser.close()
    except (OSError, ValueError, LookupError, ElementTree.ParseError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ValueError(f"{file}: not a readable XML file: {reason}") from error
