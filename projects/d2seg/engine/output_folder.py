"""OUTPUT_DIR of a training: one run at a time, and no earlier run is lost."""

import errno
import fcntl
import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"  # stays; what is locked is the file, by a process that lives
_FILES = ("metrics.json", "last_checkpoint", "log.txt", "config.yaml")
_LEAST_ROOM = 1 << 16  # bytes, for the config and the first lines of the log
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)  # of some network file systems


def check_folder(folder: str, option: str = "OUTPUT_DIR") -> None:
    """See that ``folder``, made where it is missing, can be written to.

    Args:
        option: the key or the option that names it, for the message.

    Raises:
        ValueError: it is empty, a file, below a file, or cannot be written to.
    """
    if not folder.strip():
        raise ValueError(f"{option} is empty; name the folder that logs and results go to")
    if "://" in folder:
        raise ValueError(f"{option} {folder} is an address; name a folder of this machine")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_LEAST_ROOM))
            file.flush()
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error, option) from error


def _unwritable(
    folder: str | Path, error: OSError | ValueError, option: str = "OUTPUT_DIR"
) -> ValueError:
    is_file = isinstance(error, FileExistsError)
    reason = "it is a file" if is_file else getattr(error, "strerror", str(error))
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "make room" if is_full else "change its permissions"
    return ValueError(
        f"{option} {folder} cannot be written to ({reason}); choose another, or {remedy}"
    )


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """``folder``, made where it is missing, is this run's alone inside. The end of the process, of
    any kind, gives it back. Only the main process of a run asks for it.

    Raises:
        ValueError: another run has it, or it cannot be written to.
    """
    if not comm.is_main_process():
        yield
        return
    file = _lock(Path(folder))
    try:
        yield
    finally:
        os.close(file)  # which gives back all locks of this process on the file


def hold(folder: str | Path) -> None:
    """As :func:`locked`, until that is left, or else to the end of the process.

    Raises:
        ValueError: as :func:`locked`.
    """
    if comm.is_main_process():
        _lock(Path(folder))  # and is never closed by itself


def _lock(folder: Path) -> int:
    """The open file of the lock."""
    file = _opened(folder)
    try:
        # one of the process, and not inherited by data loaders' workers that may outlive it
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            owner = _owner(file)
            os.close(file)
            raise ValueError(
                f"OUTPUT_DIR {folder} is in use by another run (process {owner}); end "
                "that one, or give this one another OUTPUT_DIR"
            ) from error
        logger.warning("%s cannot be locked: %s; let no second run write there", folder, error)
    os.pwrite(file, f"{os.getpid()}\n".encode().ljust(20), 0)
    return file


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError(f"OUTPUT_DIR {folder}: {LOCK_FILE} is no file; remove it")
    return file


def _owner(file: int) -> str:
    return os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"


def claim_folder(folder: str | Path, resume: bool, overwrite: bool) -> None:
    """See to it that a training may write to ``folder``. Call it in every process.

    Args:
        resume: the run goes on with the checkpoints that are there.
        overwrite: without ``resume``, the earlier run's checkpoints, metrics and their tag are
            moved to a folder ``earlier-N`` in it.

    Raises:
        ValueError: another run has it, it cannot be written to, or it holds checkpoints of an
            earlier run and neither ``resume`` nor ``overwrite`` is set.
    """
    folder = Path(folder)
    with locked(folder):
        for name in _FILES:
            if os.path.lexists(folder / name) and not (folder / name).is_file():
                raise ValueError(
                    f"OUTPUT_DIR {folder}: {name} is no file and cannot be written to; remove it"
                )
        earlier = [] if resume else sorted(folder.glob("model_*.pth"))
        if earlier and not overwrite:
            raise ValueError(
                f"OUTPUT_DIR {folder} holds {len(earlier)} checkpoints of an earlier run "
                f"({earlier[-1].name}): add --resume to go on with it, choose another OUTPUT_DIR, "
                "or set SOLVER.OVERWRITE True to move them aside and train anew"
            )
        comm.synchronize()  # all have looked before anything is moved
        if earlier and comm.is_main_process():
            _move_aside(folder, earlier)


def _move_aside(folder: Path, checkpoints: list[Path]) -> None:
    number = 1
    while (folder / f"earlier-{number}").exists():
        number += 1
    aside = folder / f"earlier-{number}"
    aside.mkdir()
    others = [folder / name for name in ("last_checkpoint", "metrics.json", "results.json")]
    for path in [*checkpoints, *others]:
        if path.is_symlink() or path.exists():
            path.rename(aside / path.name)
    logger.warning("The earlier run's %d checkpoints are now in %s", len(checkpoints), aside)


def in_subfolder(cfg: CfgNode, name: str) -> CfgNode:
    """``cfg`` with its output in a folder ``name`` of its own."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, name)
    return cfg
