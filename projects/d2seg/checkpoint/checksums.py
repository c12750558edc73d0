"""Checksums of files: the CRC-32 of an archive's records, and a SHA-256 beside a file."""

import hashlib
import re
from pathlib import Path

try:  # with the processor's own instructions, four to six times as fast
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["check_side_file", "crc32", "sha256_of", "side_file", "side_text"]

SUFFIX = ".sha256"


def sha256_of(path: str | Path) -> str:
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def side_file(path: str | Path) -> Path:
    """Where the SHA-256 of ``path`` is kept."""
    return Path(f"{path}{SUFFIX}")


def side_text(digest: str, path: str | Path) -> str:
    """The line that ``sha256sum -c`` reads."""
    return f"{digest}  {Path(path).name}\n"


def check_side_file(path: str | Path) -> None:
    """Compare a file with the SHA-256 beside it, if there is one.

    Raises:
        ValueError: they differ, or what stands beside is no SHA-256.
    """
    beside = side_file(path)
    if not beside.is_file():
        return
    with open(beside, "rb") as file:
        match = re.match(rb"[0-9a-fA-F]{64}(?=\s|$)", file.read(200))
    if match is None:
        raise ValueError(f"{beside.name} beside it holds no SHA-256; remove it")
    if match[0].decode().lower() != sha256_of(path):
        raise ValueError(f"it is damaged: its SHA-256 is not that of {beside.name} beside it")
