"""One small door to local disks, S3, GCS and HDFS: list a folder, open a file, write a small one.

A path keeps the form the user gave it (`logs/a.jsonl`, `s3://bucket/key`, `hdfs://host:port/key`).
Everything here raises plain OSErrors, made safe to show; who calls decides whether a whole stage or
one file is out of reach.
"""

import os
import re
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import pyarrow as pa

from fidelity.errors import ConfigError

OBJECT_STORES = ("s3", "s3a", "s3n", "gs", "gcs")
READ_AHEAD = 8 << 20
"""Bytes asked for at once from a store that is far away."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    path: str
    size: int = -1  # bytes
    modified: int = -1  # microseconds
    changed: int = -1  # microseconds: when content or name last changed, as far as is known
    folder: bool = False
    link: bool = False
    identity: str = ""  # the same for two names of one file; "" if the store cannot tell
    problem: str = ""  # why this name is neither a readable file nor a folder
    unfinished: bool = False  # somebody may have it open for writing, however old it looks

    @property
    def version(self) -> str:
        """What changes whenever the content does."""
        return f"{self.size}:{self.modified}"


class Filesystem(Protocol):
    """What the rest of the package needs of a store of files. Every method may raise OSError."""

    remote: bool

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder. FileNotFoundError, NotADirectoryError as the name says."""

    def tree(self, folder: str) -> list[Entry] | None:
        """Everything below a folder, where one request can tell; None where it cannot."""

    def open(self, path: str) -> pa.NativeFile:
        """A file open for reading at any place."""

    def write(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, its folder too if need be."""

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""


class Local:
    """Files of this machine. Links are followed.

    A name that is not UTF-8 is shown, and known, with `\\x..` for each byte that is none.
    """

    remote = False

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""
        try:
            real = real_name(path)
            return _local_entry(path, os.stat(real), os.path.islink(real))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder."""
        with os.scandir(real_name(folder) or ".") as names:
            found = [self._child(name, folder) for name in names]
        return [entry for entry in found if entry is not None]

    def _child(self, name: "os.DirEntry[str]", folder: str) -> Entry | None:
        path, link = os.path.join(folder, _shown(name.name)), name.is_symlink()
        try:
            return _local_entry(path, name.stat(), link)
        except FileNotFoundError:
            # A file that went away meanwhile is no file; a link that leads nowhere is unreadable.
            return Entry(path, link=True, problem="is a link that leads nowhere") if link else None
        except OSError as error:
            return Entry(path, link=link, problem=reason(error))

    def tree(self, folder: str) -> list[Entry] | None:
        """None: folders are walked one by one."""

    def open(self, path: str) -> pa.NativeFile:
        """A file open for reading at any place."""
        real = real_name(path)
        try:
            kind = os.stat(real).st_mode
        except FileNotFoundError:
            gone = (
                "is a link that leads nowhere" if os.path.islink(real) else "is not there any more"
            )
            raise FileNotFoundError(None, gone) from None
        if not stat.S_ISREG(kind):  # to open a pipe would wait for ever
            what = "a folder, not a file" if stat.S_ISDIR(kind) else "not a regular file"
            raise OSError(None, f"is {what}")
        try:
            return pa.OSFile(os.fsencode(real), "rb")
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise type(error)(None, why) from None

    def write(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, its folder too if need be."""
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        draft = draft_of(path)
        try:
            with open(draft, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)
            raise

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(real_name(path))


def draft_of(path: str) -> str:
    """Where a file is written before it gets its name: readers of folders pass over hidden ones."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name}.{os.getpid()}-{threading.get_ident()}.tmp"


_BYTE = re.compile(rb"\\x([0-9a-f]{2})")


def _shown(name: str) -> str:
    """A name that the system gave, as text that can be stored and printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def real_name(path: str) -> str:
    """The name that the system knows it by."""
    if "\\x" not in path or os.path.lexists(path):
        return path
    return os.fsdecode(_BYTE.sub(lambda at: bytes.fromhex(at[1].decode()), os.fsencode(path)))


def _local_entry(path: str, about: os.stat_result, link: bool) -> Entry:
    folder, regular = stat.S_ISDIR(about.st_mode), stat.S_ISREG(about.st_mode)
    modified = about.st_mtime_ns // 1000
    return Entry(
        path,
        about.st_size,
        modified,
        max(modified, about.st_ctime_ns // 1000),
        folder,
        link,
        f"{about.st_dev}:{about.st_ino}",
        "" if folder or regular else "is not a regular file",
    )


def filesystem(path: str, options: Mapping[str, str]) -> Filesystem:
    """The store that a path lies in.

    Raises:
        ConfigError: a scheme or an option that is not known.
    """
    # A process that was forked must not share its parent's connections.
    return _filesystem(*_place(path), tuple(sorted(options.items())), os.getpid())


def _place(path: str) -> tuple[str, str]:
    scheme, colons, rest = path.partition("://")
    if not colons:
        return "", ""
    # Buckets make no difference to an object store's client, name nodes do.
    return scheme.lower(), "" if scheme.lower() in OBJECT_STORES else rest.partition("/")[0]


@lru_cache(maxsize=64)
def _filesystem(
    scheme: str, authority: str, options: tuple[tuple[str, str], ...], _process: int
) -> Filesystem:
    settings = dict(options)
    if scheme in ("", "file"):
        return Local()
    if scheme in OBJECT_STORES:
        from fidelity.sources.object_store import object_store

        return object_store(scheme, settings)
    if scheme == "hdfs":
        from fidelity.sources.hdfs import hdfs

        return hdfs(authority, settings)
    raise ConfigError(
        f"paths of the kind {scheme}:// are not known.",
        action="Use a local path, s3://, gs:// or hdfs://.",
    )


def reason(error: BaseException, options: Mapping[str, str] | None = None) -> str:
    """Why a file or folder could not be reached, in a few words and without any secret."""
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    for name, value in (options or {}).items():
        if value and any(mark in name.lower() for mark in _SECRET_MARKS):
            text = text.replace(value, "***")
    return " ".join(text.split())[:300]


_SECRET_MARKS = ("key", "secret", "token", "password", "credential")
