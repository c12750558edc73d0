"""What the ``tools/prepare_*.py`` scripts have in common.

Every file is written under another name and renamed when it is complete, and files that are there
are kept: a script may be stopped, started again, or run twice at the same time.
"""

import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..names import OneLine, printable

logger = logging.getLogger(__name__)

_STEM = 40  # characters of a file's stem in the name that it has until it is complete

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_script(main: Callable[[], None]) -> None:
    """Run ``main``; what is wrong with the data becomes one line on stderr and exit code 2."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        main()
    except (OSError, ValueError, MemoryError, ImportError) as error:
        sys.stderr.write(f"error: {printable(str(error) or type(error).__name__)}\n")
        sys.exit(2)


def require(path: Path, remedy: str) -> Path:
    """Return ``path``, or raise ``ValueError`` with the remedy where it does not exist."""
    if not path.exists():
        raise ValueError(f"there is no {path}; {remedy}")
    return path


def require_any(paths: Sequence[Path], remedy: str) -> list[Path]:
    """Return those of ``paths`` that exist, with a warning for the others.

    Raises:
        ValueError: none exists.
    """
    present = [path for path in paths if path.exists()]
    if not present:
        raise ValueError(f"there is no {paths[0]}; {remedy}")
    for path in paths:
        if path not in present:
            logger.warning("left out, as it is not there: %s", path)
    return present


def run_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    description: str,
    delay: float = 0,
) -> list[Result]:
    """``work`` of every item, in order, by threads, with a progress bar.

    Threads serve well: decoding, encoding and numpy release Python's lock. The first exception
    stops the rest.

    Args:
        delay: seconds until a terminal shows the bar; 0: it is shown at once, and in logs, too
    """
    bar = {"delay": delay, "disable": None} if delay else {}
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            with tqdm(futures, desc=printable(description), unit="file", **bar) as progress:
                return [future.result() for future in progress]
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what is written there becomes ``path`` at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # of a name that may be as long as names can be
    name = f".{path.stem[:_STEM]}.{os.getpid()}.{threading.get_ident()}{path.suffix}"
    temporary = path.with_name(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_image(array: np.ndarray, path: Path, **options: Any) -> None:
    """Write (H, W) uint8 or uint16 or (H, W, 3) uint8 in the format of the file's extension."""
    with replacing(path) as temporary:
        Image.fromarray(array).save(temporary, **options)


def save_json(content: dict[str, Any], path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Give ``source`` the second name ``target``, or copy it where there are no hard links."""
    with replacing(target) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


def link_image(image: Path, target: Path, labels: np.ndarray) -> None:
    """Call :func:`link_or_copy` for an image, which must have the size of its labels (H, W).

    Raises:
        ValueError: it has another size.
    """
    with Image.open(image) as opened:
        if opened.size != labels.shape[::-1]:
            raise ValueError(
                f"{image} is {opened.size}, its annotation {labels.shape[::-1]} (width, height)"
            )
    link_or_copy(image, target)
