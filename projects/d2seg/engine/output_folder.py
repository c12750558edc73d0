"""OUTPUT_DIR of a training: one run at a time, and no earlier run is lost."""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"  # stays; what is locked is the file, by a process that lives
_FILES = ("metrics.json", "last_checkpoint", "log.txt", "config.yaml")
_RECORDS = ("last_checkpoint", "metrics.json", "results.json", "report.html", "run.json")
_held: dict[Path, int] = {}  # the open lock of each folder of this process
_NO_FILE = "OUTPUT_DIR {}: {} is no file and cannot be written to; remove it"
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
    reason = getattr(error, "strerror", str(error))
    if isinstance(error, FileExistsError):
        reason = "it is a file" if os.path.exists(folder) else "it is a link to nowhere"
    is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "make room" if is_full else "change its permissions"
    return ValueError(
        f"{option} {folder} cannot be written to ({reason}); choose another, or {remedy}"
    )


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """``folder``, made where it is missing, is this run's alone inside. The end of the process, of
    any kind, gives it back. Only the main process of a run asks for it.

    Raises:
        ValueError: another run has it, or it cannot be written to.
    """
    if not comm.is_main_process():
        yield
        return
    _lock(Path(folder))
    try:
        yield
    finally:
        os.close(_held.pop(Path(folder)))  # which gives back all locks of this process on the file


def hold(folder: str | Path) -> None:
    """As :func:`locked`, until that is left, or else to the end of the process.

    Raises:
        ValueError: as :func:`locked`.
    """
    if comm.is_main_process():
        _lock(Path(folder))  # and is never closed by itself


def keep(folder: str | Path) -> None:
    """Before a run writes to its folder: take it anew where it, or its lock, has been removed.

    Raises:
        ValueError: as :func:`locked`.
    """
    file = _held.get(Path(folder))
    if file is None:
        return
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(file), os.stat(Path(folder) / LOCK_FILE)):
            return
    logger.warning("%s, or %s in it, was removed and is made anew", folder, LOCK_FILE)
    _lock(Path(folder))


def _lock(folder: Path) -> None:
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
    _held[folder] = file


def _opened(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if os.path.lexists(folder / LOCK_FILE) and not (folder / LOCK_FILE).is_file():
            raise ValueError(_NO_FILE.format(folder, LOCK_FILE)) from error
        raise _unwritable(folder, error) from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ValueError(_NO_FILE.format(folder, LOCK_FILE))
    return file


def _owner(file: int) -> str:
    return os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"


def claim_folder(folder: str | Path, resume: bool, overwrite: bool) -> None:
    """See to it that a training may write to ``folder``. Call it in every process.

    Args:
        resume: the run goes on with the checkpoints that are there.
        overwrite: without ``resume``, the earlier run's checkpoints and records, and a copy of its
            config, go to a folder ``earlier-N`` in it.

    Raises:
        ValueError: another run has it, it cannot be written to, or it holds checkpoints of an
            earlier run and neither ``resume`` nor ``overwrite`` is set.
    """
    folder = Path(folder)
    with locked(folder):
        for name in _FILES:
            if os.path.lexists(folder / name) and not (folder / name).is_file():
                raise ValueError(_NO_FILE.format(folder, name))
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
    others = [folder / name for name in _RECORDS]
    for path in [*checkpoints, *others, *folder.glob("events.out.tfevents.*")]:
        if path.is_symlink() or path.exists():
            path.rename(aside / path.name)
    if (folder / "config.yaml").exists():  # may be what this run is called with
        shutil.copy2(folder / "config.yaml", aside)
    logger.warning("The earlier run's %d checkpoints are now in %s", len(checkpoints), aside)


def in_subfolder(cfg: CfgNode, name: str) -> CfgNode:
    """``cfg`` with its output in a folder ``name`` of its own."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.OUTPUT_DIR = os.path.join(cfg.OUTPUT_DIR, name)
    return cfg
