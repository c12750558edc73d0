"""Finding, reading and writing checkpoint files."""

import contextlib
import difflib
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import Detectron2Handler, PathManager
from safetensors.torch import load_file as load_safetensors

from .checksums import check_side_file, sha256_of, side_file, side_text
from .contents import ContentError, check_header, normalise
from .download import DownloadError, download
from .hub import HUB, fetch_from_hub
from .naming import StateDict
from .npz import read_npz
from .pickles import UnsafePickleError, load_pickle, load_torch
from .shown import brief

# what transformers writes into a model's folder, the better format first
IN_FOLDER = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
TEMPORARY = ".tmp"
_WRITER = re.sub(r"\W", "_", socket.gethostname())
_TEMPORARY_NAME = re.compile(
    rf".+\.(?P<writer>\w+)-(?P<process>[0-9]{{1,9}})-[0-9a-f]{{8}}{re.escape(TEMPORARY)}"
)
_DAY = 24 * 3600  # seconds


class CheckpointFileError(ValueError):
    """A checkpoint that is missing, damaged, unsafe or without weights."""


class WriteError(OSError):
    """A file could not be written; the message says which, why, and what to do."""


def find_file(path: str) -> str:
    """The local file of a path or URL; for a folder of transformers, of the weights in it.

    Args:
        path: a file or folder, a URL (see :func:`download`), "hf://owner/name" of Hugging Face, or
            what else detectron2's ``PathManager`` resolves.

    Raises:
        CheckpointFileError: there is none; says where it was looked for.
        ValueError: the URL ends in something that is no hash, or a repository is not written so.
        ImportError: "hf://" without the package huggingface_hub.
    """
    try:
        local = _fetch(path)
    except DownloadError as error:
        raise CheckpointFileError(str(error)) from error
    except (OSError, RuntimeError) as error:  # of the network, or of detectron2's model catalog
        raise CheckpointFileError(
            f"cannot fetch the checkpoint {path}: {error}; download it by hand and give its path"
        ) from error
    if os.path.isdir(local):
        found = [name for name in IN_FOLDER if os.path.isfile(os.path.join(local, name))]
        if not found:
            raise CheckpointFileError(
                f"the folder {os.path.abspath(local)} has none of {', '.join(IN_FOLDER)}; give "
                "the path of a checkpoint file"
            )
        return os.path.join(local, found[0])
    if not os.path.isfile(local):
        raise CheckpointFileError(f"no checkpoint at {os.path.abspath(local)}{_near(local)}")
    return local


def _fetch(path: str) -> str:
    if path.startswith(HUB):
        return fetch_from_hub(path, IN_FOLDER)
    if path.startswith(Detectron2Handler.PREFIX):
        path = Detectron2Handler.S3_DETECTRON2_PREFIX + path.removeprefix(Detectron2Handler.PREFIX)
    if path.startswith(("http://", "https://")):
        return download(path)
    return PathManager.get_local_path(os.path.expanduser(path))


def _near(path: str) -> str:
    """A hint at what the missing file may have been meant to be."""
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        return f"; there is no folder {folder}"
    near = difflib.get_close_matches(name, os.listdir(folder), cutoff=0.5)
    return f"; near it: {', '.join(near)}" if near else ""


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a local checkpoint of any known format: .safetensors, transformers' index of shards,
    detectron2's and Caffe2's .pkl, JAX's .npz, and what ``torch.save`` wrote under any other name.

    Nothing in it is run, and no more is allocated than a few times its size. Checksums are
    compared where there are some: those of the records of zip files (of ``torch.save``, .npz), and
    the SHA-256 in ``<path>.sha256``.

    Returns:
        ``model``: {name: tensor on the CPU}; besides, what else the file holds, and for Caffe2's
        and pycls' files the entries with which detectron2 marks them for its matching heuristics.

    Raises:
        CheckpointFileError: the file is damaged, would run code when read, or has no weights.
    """
    if path.lower().endswith((".onnx", ".xml", ".pt2")):  # of d2seg export
        raise CheckpointFileError(
            f"{path} is an exported model, which can be run, but not trained or exported again; "
            "give the checkpoint that it was made of"
        )
    try:
        check_side_file(path)
        return normalise(_read(path), is_pickle=path.endswith(".pkl"))
    except UnsafePickleError as error:
        raise CheckpointFileError(
            f"{path} holds more than weights: reading its '{brief(error)}' could run code, so it "
            "is refused. Save it anew where it was made, with tensors alone: "
            "torch.save({'model': model.state_dict()}, ...); or, if you know that class or "
            "function to be harmless, name it to torch.serialization.add_safe_globals, read the "
            "file with torch.load and save its tensors"
        ) from error
    except CheckpointFileError:
        raise
    except ContentError as error:
        raise CheckpointFileError(f"{path}{error}") from error
    except OSError as error:
        raise CheckpointFileError(f"cannot read the checkpoint {path}: {error}") from error
    except Exception as error:  # a damaged file can raise anything
        reason = brief(str(error).strip().split("\n")[0]) or type(error).__name__
        raise CheckpointFileError(
            f"{path} is truncated or not a checkpoint ({_look(path)}; {reason})"
        ) from error


def _look(path: str) -> str:
    """A few words on a file that could not be read."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer; fetch the file itself, git lfs pull"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page, so the download went wrong"
    return f"{os.path.getsize(path)} bytes"


def _read(path: str) -> Any:
    if path.endswith(".safetensors"):
        check_header(path)
        return load_safetensors(path)
    if path.endswith(".index.json"):
        return _read_shards(Path(path))
    if path.endswith(".npz"):
        return read_npz(path)
    with open(path, "rb") as file:
        is_zip = file.read(2) == b"PK"  # torch.save, also where a .pkl was asked for
        if path.endswith(".pkl") and not is_zip:
            file.seek(0)
            return load_pickle(file)
    return load_torch(path)


def _read_shards(index: Path) -> StateDict:
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    for shard in shards:
        is_name = Path(shard).name == shard and shard.isprintable() and len(shard) < 256
        if not is_name or shard.lower().endswith(".json"):
            raise ValueError(
                f"it lists '{brief(shard, 80)}', which is no file of weights beside it"
            )
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise CheckpointFileError(
            f"{index} lists {len(shards)} files, of which {len(missing)} are missing: "
            f"{', '.join(missing[:3])}"
        )
    state: StateDict = {}
    for shard in shards:
        state |= read_checkpoint(str(index.parent / shard))["model"]
    return state


def write_with_checksum(path: str, write: Callable[[str], None]) -> None:
    """As :func:`write_atomically`, and the file's SHA-256 in ``<path>.sha256``, which
    ``sha256sum -c`` reads too, for formats that hold no checksum of their own."""
    digest = ""

    def write_and_hash(temporary: str) -> None:
        nonlocal digest
        write(temporary)
        digest = sha256_of(temporary)

    side_file(path).unlink(missing_ok=True)  # never the new file beside the old one's
    write_atomically(path, write_and_hash)
    write_atomically(
        str(side_file(path)), lambda temporary: Path(temporary).write_text(side_text(digest, path))
    )


def write_atomically(path: str, write: Callable[[str], None]) -> None:
    """Have ``write`` write a file beside ``path``, in a folder that is made where it is missing,
    and put it there once it is whole on the disk.

    The file has a name of its own until then, so that several processes may write to one folder.

    Raises:
        OSError: it could not be written; a file that was at ``path`` is untouched.
    """
    folder = os.path.dirname(os.path.abspath(path))
    temporary = f"{path}.{_WRITER}-{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}"
    try:
        os.makedirs(folder, exist_ok=True)
        write(temporary)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
        _flush_to_disk(folder)
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        remedy = "choose another place"
        if os.path.isdir(folder):
            remedy = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB are free there"
        raise WriteError(f"cannot write {path}: {error}; {remedy}") from error
    finally:
        with contextlib.suppress(OSError):  # of a disk that is not to be written to
            Path(temporary).unlink(missing_ok=True)


def clear_remains(folder: str | Path) -> None:
    """Remove the half-written files of processes that were killed, and never those of others that
    write to the same folder just now."""
    for path in Path(folder).glob(f"*{TEMPORARY}"):
        try:
            if path.name.endswith(f".pth{TEMPORARY}"):  # of older versions
                path.unlink()
                continue
            match = _TEMPORARY_NAME.fullmatch(path.name)
            if match is None:
                continue
            is_dead = match["writer"] == _WRITER and not _is_alive(int(match["process"]))
            if is_dead or time.time() - path.stat().st_mtime > _DAY:
                path.unlink()
        except OSError:  # gone meanwhile, or not ours to remove
            continue


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _flush_to_disk(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
