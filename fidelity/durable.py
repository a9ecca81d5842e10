"""Files that outlive a crash: replaced as a whole, and held by one process at a time."""

import fcntl
import os
from pathlib import Path


class HeldError(Exception):
    """Another process holds the lock; the text says so, with its number if that is known."""


def replace(path: Path, content: bytes) -> None:
    """Write, fsync, rename, fsync of the folder: whatever is killed, one whole content is there.

    Raises:
        OSError: the disk refuses it; what was there before is still there.
    """
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(path: Path, of: str) -> int:
    """Hold a lock file, made if need be, until the handle that is given is closed.

    Args:
        of: what it guards, for the text of the error.

    Raises:
        HeldError: another handle holds it.
        OSError: it cannot be opened or locked.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
        os.close(handle)
        if isinstance(error, BlockingIOError):
            told = f" (process {holder})" if holder else ""
            raise HeldError(f"Another process is using this {of}{told}.") from None
        raise
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
