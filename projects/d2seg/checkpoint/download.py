"""Fetching files over HTTP: resumed where a download broke off, checked, moved when it is whole.

Files lie where detectron2's ``PathManager`` (iopath) keeps those of its own downloads, so what one
has fetched the other finds.
"""

import hashlib
import logging
import os
import re
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from iopath.common.file_io import file_lock, get_cache_dir
from tqdm import tqdm

logger = logging.getLogger(__name__)

PART = ".part"  # of the name of a file that is not whole yet
TAG = ".tag"  # beside it: which version of the file the server gave
ATTEMPTS = 3  # in a row without a new byte
TIMEOUT = 30  # seconds without a byte
_BLOCK = 1 << 20  # bytes
_HASH = re.compile(r"(sha256|md5)=([0-9a-f]{6,64})")


class DownloadError(OSError):
    """A file that could not be fetched; the message says what to do by hand."""


class _BrokenOffError(OSError):
    """The connection ended before the file did."""


def split_options(path: str) -> tuple[str, str]:
    """The address of a checkpoint, and what follows its question mark for detectron2, as in
    ``model.pkl?matching_heuristics=True``. A question mark in the name of a file is part of it."""
    address, mark, options = path.rpartition("?")
    is_split = "://" in path or options.startswith("matching_heuristics=")
    if mark and not os.path.exists(path) and (is_split or os.path.exists(address)):
        return address, options
    return path, ""


def cached_path(url: str) -> Path:
    """Where the file of a URL lies, or will."""
    parts = urlsplit(urldefrag(url).url)
    name = parts.path.rpartition("/")[2] + (f"?{parts.query}" if parts.query else "")
    return Path(get_cache_dir()) / Path(parts.path.lstrip("/")).parent / name


def download(url: str) -> str:
    """Fetch a file unless it is there already, which costs no request.

    Args:
        url: http or https. After "#", ``sha256=`` or ``md5=`` and at least six hexadecimal digits:
            what the hash of the file must begin with.

    Returns:
        The path of the file.

    Raises:
        DownloadError: the server cannot be reached, has no such file, sends a web page, or what it
            sends has another hash.
        ValueError: what stands after "#" is no hash.
    """
    address, _, wanted = url.partition("#")
    match = _HASH.fullmatch(wanted)
    if wanted and match is None:
        raise ValueError(
            f"'#{wanted}' of {url} is no hash; write #sha256= or #md5= and its digits (6 or more)"
        )
    target = cached_path(address)
    if target.is_file():
        return str(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + PART)
    with file_lock(str(target)):
        if not target.is_file():  # another process may have been faster
            try:
                _fetch(address, part)
                if match is not None:
                    _check_hash(part, *match.groups(), address)
            except (OSError, HTTPException) as error:
                raise DownloadError(_by_hand(address, target, error)) from error
            os.replace(part, target)
            _tag_of(part).unlink(missing_ok=True)
    return str(target)


def _by_hand(address: str, target: Path, error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    if isinstance(error, urllib.error.HTTPError):
        reason = f"the server answers {error.code} {error.reason}"
    return (
        f"cannot fetch the checkpoint {address}: {reason}; fetch it by hand and put it at "
        f"{target}, or give the path where you have it"
    )


def _fetch(address: str, part: Path) -> None:
    """Bring ``part`` to the whole file; it is kept where that fails, to go on from."""
    failures = 0
    logger.info("Downloading %s", address)
    while True:
        before = _size(part)
        try:
            return _fetch_rest(address, part)
        except (urllib.error.HTTPError, DownloadError):
            raise
        except (OSError, HTTPException) as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS or isinstance(error, urllib.error.URLError):
                raise
            logger.warning("%s broke off after %d bytes; going on", address, _size(part))


def _fetch_rest(address: str, part: Path) -> None:
    offset = _size(part)
    tag = _tag_of(part).read_text() if _tag_of(part).is_file() else ""
    request = urllib.request.Request(address, headers={"User-Agent": "d2seg"})
    if offset and tag:  # without it, it might be half of another version
        request.add_header("Range", f"bytes={offset}-")
        request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the range begins at the end
            raise
        part.unlink()
        raise _BrokenOffError(f"{part} could not be gone on with") from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise DownloadError("the server sends a web page, not a file")
        is_rest = response.status == 206
        _tag_of(part).write_text(_version(response))
        _save(response, part, offset if is_rest else 0)


def _save(response: HTTPResponse, part: Path, offset: int) -> None:
    """Append the body behind the first ``offset`` bytes."""
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length is not None else None
    with (
        part.open("r+b" if offset else "wb") as file,
        tqdm(
            desc=part.name.removesuffix(PART),
            total=total,
            initial=offset,
            unit="B",
            unit_scale=True,
            disable=None,  # shown on a terminal
        ) as bar,
    ):
        file.seek(offset)
        file.truncate()
        while block := response.read(_BLOCK):
            file.write(block)
            bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and _size(part) < total:
        raise _BrokenOffError(f"the connection ended after {_size(part)} of {total} bytes")
    if not _size(part):
        raise DownloadError("the file is empty")


def _version(response: HTTPResponse) -> str:
    """What If-Range takes: a strong ETag or a date."""
    tag = response.headers.get("ETag", "")
    return response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag


def _check_hash(part: Path, kind: str, wanted: str, address: str) -> None:
    """Remove the file and raise where its hash begins with other digits."""
    digest = hashlib.new(kind)
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    if not found.startswith(wanted):
        part.unlink()
        _tag_of(part).unlink(missing_ok=True)
        raise DownloadError(
            f"the {kind} of what the server sent is {found}, and {wanted} was expected"
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tag_of(part: Path) -> Path:
    return part.with_name(part.name + TAG)
