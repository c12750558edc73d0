"""Reading what ``torch.save`` wrote, in its zip form and in the older one.

torch's own reader checks no checksum, unpacks whatever is packed and lets a tensor be larger than
its file. Here each record is checked against the CRC-32 that torch wrote, while it is read.
"""

import logging
import os
import pickle
import struct
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, BinaryIO

import torch

from .allowance import Allowance
from .checksums import crc32
from .rebuilding import Storage
from .weight_pickles import WeightMachine, described_storage
from .zip_directory import check_directory

logger = logging.getLogger(__name__)

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_MAX_PICKLE = 256 << 20  # bytes of data.pkl, which holds names and sizes
_MAGIC = 0x1950A86A20F9469CFC6C  # of the older form
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")


class _Archive:
    """The records of a zip file, read in several threads."""

    def __init__(self, file: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self._file, self._pool = file, pool
        self.size = file.seek(0, os.SEEK_END)
        check_directory(file)
        with zipfile.ZipFile(file) as directory:
            records = directory.infolist()
        self._records = {record.filename: record for record in records}
        if len(self._records) < len(records):
            raise ValueError("two records have one name")
        # torch.serialization.set_crc32_options(False) leaves them all zero
        self.has_checksums = any(record.CRC for record in records)
        self._started: list[Future[None]] = []

    def folder(self) -> str:
        """That of data.pkl, with a slash."""
        [found] = [n for n in self._records if n.count("/") == 1 and n.endswith("/data.pkl")]
        return found.removesuffix("data.pkl")

    def names(self) -> set[str]:
        return set(self._records)

    def length(self, name: str) -> int:
        if name not in self._records:
            raise ValueError(f"the record {name} is missing")
        return self._records[name].file_size

    def read(self, name: str) -> bytes:
        values = bytearray(self.length(name))
        self._read_into(name, memoryview(values))
        return bytes(values)

    def start_reading(self, name: str, into: memoryview) -> None:
        self._started.append(self._pool.submit(self._read_into, name, into))

    def finish_reading(self) -> None:
        for future in self._started:
            future.result()

    def _read_into(self, name: str, into: memoryview) -> None:
        record = self._records[name]
        if record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1:
            raise ValueError(f"the record {name} is compressed, as torch.save never does")
        header = self._at(record.header_offset, _LOCAL_HEADER.size)
        signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        start = record.header_offset + _LOCAL_HEADER.size
        if signature != b"PK\3\4" or self._at(start, name_length) != name.encode():
            raise ValueError(f"the record {name} is not where the directory says")
        self._fill(start + name_length + extra_length, into)
        if self.has_checksums and crc32(into) != record.CRC:
            raise ValueError(f"the record {name} is damaged: its checksum is another one")

    def _at(self, position: int, count: int) -> bytes:
        values = bytearray(count)
        self._fill(position, memoryview(values))
        return bytes(values)

    def _fill(self, position: int, into: memoryview) -> None:
        while len(into):
            count = os.preadv(self._file.fileno(), [into[: 1 << 30]], position)
            if not count:
                raise ValueError("it is cut off")
            into, position = into[count:], position + count


@contextmanager
def _open_archive(file: BinaryIO) -> Iterator[_Archive]:
    workers = min(4, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="read checkpoint") as pool:
        yield _Archive(file, pool)


def read_archive(file: BinaryIO) -> Any:
    """What ``torch.save`` wrote into a zip file, on the CPU.

    Raises:
        UnsafePickleError: it names anything that is not permitted.
        ValueError and others: it is damaged, or asks for more memory than it has bytes.
    """
    with _open_archive(file) as archive:
        folder = archive.folder()
        if f"{folder}constants.pkl" in archive.names():
            raise ValueError("it is a TorchScript program; save its state_dict")
        order = f"{folder}byteorder"
        if order in archive.names() and (
            archive.length(order) != len(b"little") or archive.read(order) != b"little"
        ):
            raise ValueError("its byte order is that of another machine")
        if archive.length(f"{folder}data.pkl") > min(_MAX_PICKLE, archive.size):
            raise ValueError("its data.pkl is too large")
        if not archive.has_checksums:
            logger.info("The file has no checksums, so damage in it would not be noticed")
        allowance, storages = Allowance(archive.size), {}

        def load(described: tuple) -> Storage:
            dtype, key, num_bytes = described_storage(described)
            if key not in storages:
                name = f"{folder}data/{key}"
                if archive.length(name) != num_bytes:
                    raise ValueError(f"the record {name} does not have {num_bytes} bytes")
                allowance.charge(num_bytes)
                storages[key] = torch.UntypedStorage(num_bytes)
                if num_bytes:
                    archive.start_reading(name, _memory_of(storages[key]))
            return Storage(storages[key], dtype)

        value = WeightMachine(archive.read(f"{folder}data.pkl"), allowance, load).run()
        archive.finish_reading()
    return value


def read_older_form(data: bytes, allowance: Allowance) -> Any:
    """What ``torch.save`` wrote before torch 1.6: pickles, and the values one after the other.

    Raises:
        UnsafePickleError: it names anything that is not permitted.
        ValueError and others: it is damaged, or asks for more memory than it has bytes.
    """
    storages: dict[str, torch.UntypedStorage] = {}
    sizes: dict[str, int] = {}

    def load(described: tuple) -> Storage:
        dtype, key, num_bytes = described_storage(described)
        if key not in storages:
            if sum(sizes.values()) + num_bytes > len(data):
                raise ValueError("it is cut off")
            allowance.charge(num_bytes)
            storages[key], sizes[key] = torch.UntypedStorage(num_bytes), dtype.itemsize
        return Storage(storages[key], dtype)

    parts, position = [], 0
    for _ in range(5):  # magic number, protocol, kind of machine, value, keys of the storages
        machine = WeightMachine(data, allowance, load, position)
        parts.append(machine.run())
        position = machine.position
        if parts[0] != _MAGIC:
            raise pickle.UnpicklingError("not a file of torch.save")
    _, protocol, system, value, keys = parts
    if protocol != _PROTOCOL or not system.get("little_endian", True):
        raise ValueError("its protocol or byte order is another one")
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    for key in keys:
        (count,) = _COUNT.unpack_from(data, position)
        position += _COUNT.size
        num_bytes = storages[key].nbytes()
        if count * sizes[key] != num_bytes or len(data) - position < num_bytes:
            raise ValueError("it is cut off, or a storage has another size")
        if num_bytes:
            _memory_of(storages[key])[:] = data[position : position + num_bytes]
        position += num_bytes
    return value


def _memory_of(storage: torch.UntypedStorage) -> memoryview:
    return memoryview(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())
