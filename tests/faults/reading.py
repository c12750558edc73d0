"""Reads files in a process of its own, with little memory and little time for each."""

import os
import resource
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

_MEMORY = 256 << 20  # bytes beyond what the process has
_SECONDS = 20  # for each file, of the processor's: other work on the machine does not count


def outcomes(read: Callable[[str], object], files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """{name: what ``read(path)`` comes to}: "refused" (a ``ValueError`` of one line), "loaded", or
    what went wrong. A process that is killed is replaced for the files after that."""
    found: dict[str, str] = {}
    files = list(files)
    while len(found) < len(files):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            _read_all(read, [path for _, path in files[len(found) :]], writer)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as lines:
            texts = [line.strip() for line in lines]
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            number = signal.Signals(os.WTERMSIG(status))
            texts.append("no end" if number == signal.SIGPROF else f"killed by {number.name}")
        elif len(texts) < len(files) - len(found):
            texts.append("ended the process")
        found |= dict(zip([name for name, _ in files[len(found) :]], texts, strict=False))
    return found


def _read_all(read: Callable[[str], object], paths: list[Path], writer: int) -> None:
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, used + _MEMORY))
    for path in paths:
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        os.write(writer, f"{_outcome(read, path)}\n".encode())


def _outcome(read: Callable[[str], object], path: Path) -> str:
    try:
        read(str(path))
    except MemoryError:
        return "out of memory"
    except ValueError as error:
        if isinstance(error.__cause__, MemoryError):
            return "out of memory"
        in_one_line = "\n" not in str(error) and len(str(error)) < 2000
        return "refused" if in_one_line else f"no single line: {str(error)[:80]!r}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:80]!r}"
    return "loaded"
