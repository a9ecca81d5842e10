"""HDFS as a Filesystem, through hdfs-native."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from hdfs_native import Client, WriteOptions

from fidelity.errors import ConfigError
from fidelity.sources.filesystem import Entry, Filesystem


class Hdfs:
    """HDFS by its own protocol, without Java."""

    remote = True

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""
        try:
            with _as_os_error():
                return self._entry(self._client.get_file_info(self._key(path)))
        except FileNotFoundError:
            return None

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder."""
        with _as_os_error():
            about = self._client.get_file_info(self._key(folder))
            if not about.isdir:
                raise NotADirectoryError(None, "is a file, not a folder")
            return [self._entry(found) for found in self._client.list_status(self._key(folder))]

    def tree(self, folder: str) -> list[Entry] | None:
        """None: folders are walked one by one, so that hidden ones cost nothing."""

    def _entry(self, about: Any) -> Entry:
        modified = about.modification_time * 1000
        path = self._prefix + about.path.removeprefix(self._prefix)
        return Entry(path, about.length, modified, modified, about.isdir)

    def _key(self, path: str) -> str:
        return path.removeprefix(self._prefix) or "/"

    def open(self, path: str) -> pa.NativeFile:
        """A file open for reading at any place."""
        with _as_os_error():
            return pa.PythonFile(_HdfsFile(self._client.read(self._key(path))), mode="r")

    def write(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, its folder too if need be."""
        key = self._key(path)
        draft = f"{key}.{os.getpid()}.tmp"
        options = WriteOptions(overwrite=True, create_parent=True)
        with _as_os_error():
            with self._client.create(draft, options) as file:
                file.write(content)
            self._client.rename(draft, key, overwrite=True)


class _HdfsFile:
    """A file of hdfs-native whose failures are OSErrors; what pyarrow asks of a Python file."""

    closed = False

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def read(self, size: int = -1) -> bytes:
        with _as_os_error():
            content: bytes = self._inner.read(size)
            return content

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        self._inner.seek(offset, whence)

    def tell(self) -> int:
        return int(self._inner.tell())

    def close(self) -> None:
        self.closed = True


@contextmanager
def _as_os_error() -> Iterator[None]:
    """hdfs-native tells what a server refused as a RuntimeError with a Java stack trace."""
    try:
        yield
    except RuntimeError as error:
        text = str(error).partition("\\n")[0]
        kind = PermissionError if "AccessControlException" in text else OSError
        raise kind(None, text.rpartition('", "')[2]) from None


_HDFS_PATIENCE = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.max.millis": "2000",
}
"""By default a name node that is down is asked for three minutes."""


def hdfs(authority: str, settings: dict[str, str]) -> Filesystem:
    """The file system of a name node (`host:port`, a name service, or "" for the default).

    Raises:
        ConfigError: an option that is not known.
    """
    kerberos = {name: settings.pop(name) for name in list(settings) if name.startswith("kerberos_")}
    prefix = f"hdfs://{authority}"
    try:
        return Hdfs(
            Client(prefix if authority else None, _HDFS_PATIENCE | settings, **kerberos), prefix
        )
    except TypeError as error:
        raise ConfigError(f"options that HDFS does not have: {error}") from None
