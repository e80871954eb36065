"""Files written whole or not at all, and folders that one process at a time may write.

Both lean on `flock`, which ends with the process that holds it, whatever that dies of: a file that
was being written, or a lock, that nobody holds is what a killed process left.
"""

import fcntl
import glob
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

UNFINISHED = ".part"  # ends the names of files that are being written
LOCK = ".lock"


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside and rename, so that `path` is the old file or the whole new one.

    What a killed process left beside `path` is removed.

    Raises:
        OSError: naming `path`, for instance when the disk is full; nothing is left behind.
    """
    beside, handle = None, None
    try:
        remove_unfinished(path.parent, glob.escape(path.name))
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
        beside = Path(name)
        _try_to_lock(handle)  # nobody else knows the file
        write(beside)
        beside.chmod(0o644)
        beside.replace(path)
    except BaseException as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError) or type(error).__name__ == "SafetensorError":
            raise OSError(f"could not write {path}: {_reason(error)}") from error
        raise
    finally:
        if handle is not None:
            os.close(handle)


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what killed processes were writing in a folder; what is being written stays.

    Args:
        name: of the files that were to be written, a pattern.
    """
    for path in folder.glob(f".{name}.*{UNFINISHED}"):
        with suppress(FileNotFoundError):  # somebody else was quicker
            handle = os.open(path, os.O_RDWR)
            try:
                if _try_to_lock(handle):
                    path.unlink(missing_ok=True)
            finally:
                os.close(handle)


def write_text_whole(path: Path, text: str) -> None:
    """Write a text in UTF-8 as `write_whole` does; raises as it does."""
    write_whole(path, lambda beside: beside.write_text(text, "utf-8"))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder to oneself, which is made if need be; nothing of the lock is left behind.

    Raises:
        ValueError: another process has it.
        OSError: the folder cannot be made or written, naming it.
    """
    is_new = not folder.exists()
    handle = _lock(folder)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is still held
        if is_new:
            with suppress(OSError):  # something is in it
                folder.rmdir()
        os.close(handle)


def _lock(folder: Path) -> int:
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OSError(f"cannot write in {folder}: {_reason(error)}") from error
        if not _try_to_lock(handle):
            os.close(handle)
            raise ValueError(f"another process is at work in {folder}")
        # Whoever held it may have removed it meanwhile: then this lock keeps nobody out.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)


def _try_to_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _reason(error: BaseException) -> str:
    """Return an error's cause without the name of a file that nobody asked for."""
    return getattr(error, "strerror", None) or str(error)
