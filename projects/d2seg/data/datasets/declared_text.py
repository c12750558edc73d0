"""What a declaration says as text: names, paths, suffixes, whatever YAML makes of unquoted words.

YAML reads ``no`` as false, ``010`` as 8, ``1.10`` as 1.1 and ``null`` as nothing. So a file is read
twice, once with the types of YAML and once as it is written; where a text is wanted and the two
differ, the file has to say it in quotes.
"""

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...checkpoint.nesting import check_nesting
from ...checkpoint.plain_yaml import load_plain_yaml, reason_of
from ...checkpoint.shown import brief as shown
from ...pictures import refuse_special_file
from ..json_files import once_each

_MAX_BYTES, _MAX_VALUES = 5_000_000, 1_000_000  # of a file; values with all aliases written out
_MAX_SEPARATED = 400_000  # values of a file, which take some seconds
_MAX_LENGTH = 1000  # of a name or path
_TEXTS = ("name", "task", "label_suffix", "root")


# libyaml's, where PyYAML has been built with it, takes a fifth of the time
_Base = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _AsWritten(_Base):
    """Leaves every value as text, and takes no key twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in seen:
                raise yaml.YAMLError(f"the key '{shown(key.value)}' stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> tuple[Any, Any]:
    """The content of a YAML or JSON file, with YAML's types and with every value as it is written.

    Raises:
        ValueError: no such file, no YAML, too large, or nested too deep or without end.
    """
    if not file.is_file():
        raise ValueError(f"there is no declaration {file} of a data set")
    try:
        refuse_special_file(file)
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"a declaration has at most {_MAX_BYTES} bytes")
        text = decoded(file.read_bytes())
        if file.suffix.lower() == ".json" and (content := _of_json(text)):
            return content
        if text.count(",") + text.count("\n") > _MAX_SEPARATED:
            raise ValueError(f"a declaration has at most {_MAX_SEPARATED} values")
        written = yaml.load(text, _AsWritten)
        check_nesting(written, _MAX_VALUES)
        typed = load_plain_yaml(text, _MAX_VALUES)
    except RecursionError as error:
        raise ValueError(f"{file}: not valid YAML: its values are nested too deep") from error
    except (OSError, yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(f"{file}: not valid YAML: {reason_of(error)}") from error
    return typed, written


def encoding_of(start: bytes) -> str:
    """UTF-8, or the UTF-16 that Windows writes, by the byte order mark at the start of a file."""
    is_utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "utf-16" if is_utf16 else "utf-8-sig"


def decoded(data: bytes) -> str:
    """The text of a file in the encoding of :func:`encoding_of`.

    Raises:
        ValueError: it is in another one.
    """
    try:
        return data.decode(encoding_of(data))
    except UnicodeDecodeError as error:
        raise ValueError(f"{error}; save it in UTF-8") from error


def _of_json(text: str) -> tuple[Any, Any] | None:
    """As :func:`read_yaml`, of what is JSON: YAML takes most of it, but neither tabs nor pairs of
    surrogates, in which JSON escapes some letters. None: it is no JSON, and may be YAML."""
    try:
        written = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=once_each)
        return json.loads(text), written
    except json.JSONDecodeError:
        return None


def with_texts(content: dict[str, Any], written: Any) -> dict[str, Any]:
    """The keys of a declaration that are set to something, names and paths in them as text.

    Raises:
        ValueError: as :func:`text_of`.
    """
    found = dict(content)
    for key, value in content.items():
        raw = _under(written, key)
        if raw == "" or (value is None and key != "name"):  # nothing behind the colon, or null
            del found[key]
        elif key in _TEXTS:
            found[key] = text_of(value, raw, f"'{key}'")
        elif key == "classes" and isinstance(value, list):
            found[key] = _classes(value, raw)
        elif key == "values" and isinstance(value, dict):
            found[key] = {
                pixel: text_of(value[pixel], _under(raw, as_written), f"the class of value {pixel}")
                for pixel, as_written in _keys(value, raw).items()
            }
        elif key == "splits" and isinstance(value, dict):
            found[key] = _splits(value, raw)
    return found


def _classes(names: list[Any], written: Any) -> list[str]:
    is_known = isinstance(written, list) and len(written) == len(names)
    raw = written if is_known else [None] * len(names)
    pairs = enumerate(zip(names, raw, strict=True))
    return [text_of(name, as_written, f"class {number}") for number, (name, as_written) in pairs]


def _splits(splits: dict[Any, Any], written: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for split, raw_split in _keys(splits, written).items():
        name = text_of(split, raw_split, "the name of a split")
        found[name] = splits[split]
        if isinstance(splits[split], dict):
            found[name] = _paths(splits[split], _under(written, raw_split), name)
    return found


def _paths(paths: dict[Any, Any], written: Any, split: str) -> dict[Any, Any]:
    return {
        key: value
        if key == "part"
        else text_of(value, _under(written, key), f"'{shown(key)}' of split '{split}'")
        for key, value in paths.items()
        if value is not None and _under(written, key) != ""
    }


def text_of(value: Any, written: Any, what: str) -> str:
    """A name, path or suffix as it is written in the file.

    Args:
        value: with YAML's type
        written: the same as it is written; None where that is not known
        what: the value is, for the message

    Raises:
        ValueError: it is no single value, is empty or too long, or YAML has made another type of it
            that is written differently.
    """
    if isinstance(value, list | dict | tuple | set):
        raise ValueError(f"{what} is {shown(value)}; it is one name, not several values")
    is_same = isinstance(value, str) or (value is not None and str(value) == written)
    if not is_same and written != "":
        word = f"written {shown(written)}, which YAML reads as " if written is not None else ""
        quoted = f"'{shown(written if isinstance(written, str) else value)}'"
        raise ValueError(f"{what} is {word}{shown(repr(value))}; put it in quotes: {quoted}")
    text = str(value) if value is not None else ""
    if not text.strip():
        raise ValueError(f"{what} is empty; give it a name")
    if not text.isprintable():
        raise ValueError(f"{what} is {shown(repr(text))}, with characters that cannot be printed")
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"{what} is {shown(text)}; it has at most {_MAX_LENGTH} characters")
    return text


def _under(written: Any, key: Any) -> Any:
    """What is written under ``key``, which itself may have been of another type; None: unknown."""
    if not isinstance(written, Mapping):
        return None
    return written.get(key if isinstance(key, str) else str(key))


def _keys(typed: Mapping[Any, Any], written: Any) -> dict[Any, str | None]:
    """The keys of a mapping, each with how it is written; None where that is not known.

    Raises:
        ValueError: two of them are one number, of which YAML would keep the last.
    """
    if isinstance(written, Mapping) and len(written) == len(typed):
        return dict(zip(typed, written, strict=True))
    if isinstance(written, Mapping) and len(written) > len(typed) and "<<" not in written:
        keys = shown(", ".join(map(str, written)))
        raise ValueError(f"two of the keys {keys} are one, written differently; keep one of both")
    return dict.fromkeys(typed)
