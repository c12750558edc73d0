"""A bound for the directory at the end of a zip file, of which Python makes objects all at once."""

import os
import struct
from typing import BinaryIO

# each entry takes 46 bytes and becomes an object of half a kB; torch.save writes 100 per tensor
_LARGEST = 8 << 20
_LONGEST_COMMENT = 1 << 16
_END, _END_64 = b"PK\5\6", b"PK\6\6"
_END_SIZE, _LOCATOR_SIZE, _END_64_SIZE = 22, 20, 56


def check_directory(file: BinaryIO) -> None:
    """See to it that ``file`` has no directory of more than 8 MiB; leaves its position anywhere.

    Raises:
        ValueError: it has.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT - _LOCATOR_SIZE - _END_64_SIZE))
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < _END_SIZE:
        return  # no zip file; whoever reads it says so
    (length,) = struct.unpack_from("<I", tail, end + 12)
    end_64 = end - _LOCATOR_SIZE - _END_64_SIZE
    if end_64 >= 0 and tail.startswith(_END_64, end_64):
        (length,) = struct.unpack_from("<Q", tail, end_64 + 40)
    elif length == 0xFFFFFFFF:
        return  # zip64 without its record
    if length > _LARGEST:
        raise ValueError(f"the directory of its records has {length} bytes")
