"""HDFS as a Filesystem, through hdfs-native."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
from hdfs_native import Client, WriteOptions

from fidelity.errors import ConfigError
from fidelity.sources.filesystem import Entry, Filesystem, draft_of

T = TypeVar("T")

PATIENCE = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.max.millis": "2000",
    "dfs.client.socket-timeout": "15000",
}
"""By default a name node that is down is asked for three minutes, and a data node that hangs for
one."""

_LIMIT = "ipc.client.rpc-timeout.ms"
_LIMIT_MS = "30000"


class Hdfs:
    """HDFS by its own protocol, without Java."""

    remote = True

    def __init__(self, client: Any, prefix: str, limit: float) -> None:
        self._client, self._prefix, self._limit = client, prefix, limit

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""
        try:
            (about,) = self._asked(lambda: [self._client.get_file_info(self._key(path))])
            return self._entry(about)
        except FileNotFoundError:
            return None

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder."""
        key = self._key(folder)
        (about,) = self._asked(lambda: [self._client.get_file_info(key)])
        if not about.isdir:
            raise NotADirectoryError(None, "is a file, not a folder")
        return [self._entry(found) for found in self._asked(lambda: self._client.list_status(key))]

    def tree(self, folder: str) -> list[Entry] | None:
        """None: folders are walked one by one, so that hidden ones cost nothing."""

    def _entry(self, about: Any) -> Entry:
        modified = about.modification_time * 1000
        path = self._prefix + about.path.removeprefix(self._prefix)
        # Of a file that is open the name node tells the size of its full blocks, and as its time
        # when it was made, though that be hours ago.
        full = not about.isdir and about.blocksize and about.length % about.blocksize == 0
        return Entry(path, about.length, modified, modified, about.isdir, unfinished=bool(full))

    def _key(self, path: str) -> str:
        return path.removeprefix(self._prefix) or "/"

    def open(self, path: str) -> pa.NativeFile:
        """A file open for reading at any place."""
        (file,) = self._asked(lambda: [self._client.read(self._key(path))])
        return pa.PythonFile(_HdfsFile(file), mode="r")

    def write(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, its folder too if need be."""
        key = self._key(path)
        draft = draft_of(key)
        options = WriteOptions(overwrite=True, create_parent=True)

        def written() -> list[None]:
            with self._client.create(draft, options) as file:
                file.write(content)
            self._client.rename(draft, key, overwrite=True)
            return []

        self._asked(written)

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""
        self._asked(lambda: [self._client.delete(self._key(path))])

    def _asked(self, question: Callable[[], Iterable[T]]) -> list[T]:
        with _as_os_error():
            return _within(self._limit, question)


def _within(seconds: float, question: Callable[[], Iterable[T]]) -> list[T]:
    """The answers to a question, unless nothing comes for so long: hdfs-native waits for ever."""
    found: list[T] = []
    failed: list[BaseException] = []
    done = threading.Event()

    def ask() -> None:
        try:
            for each in question():
                found.append(each)
        except BaseException as error:  # noqa: BLE001 - it is raised again by who asked
            failed.append(error)
        done.set()

    threading.Thread(target=ask, name="hdfs", daemon=True).start()
    before = -1
    while not done.wait(seconds):
        if len(found) == before:
            raise TimeoutError(None, f"the name node has not answered for {seconds:g} s")
        before = len(found)
    if failed:
        raise failed[0]
    return found


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
        if "DataTransferError" in text or "BlocksNotFound" in text:
            raise OSError(None, "no data node gives all of it: is one down?") from None
        kind = PermissionError if "AccessControlException" in text else OSError
        raise kind(None, text.rpartition('", "')[2]) from None


def hdfs(authority: str, settings: dict[str, str]) -> Filesystem:
    """The file system of a name node (`host:port`, a name service, or "" for the default).

    Raises:
        ConfigError: an option that is not known, or no name node.
    """
    kerberos = {name: settings.pop(name) for name in list(settings) if name.startswith("kerberos_")}
    folder = settings.pop("config_dir", None)
    prefix = f"hdfs://{authority}"
    try:
        limit = int(settings.get(_LIMIT, _LIMIT_MS)) / 1000
        client = Client(prefix if authority else None, PATIENCE | settings, folder, **kerberos)
    except TypeError as error:
        raise ConfigError(f"options that HDFS does not have: {error}") from None
    except ValueError:
        raise ConfigError(f"`{_LIMIT}` must be a number of milliseconds.") from None
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"no name node is known for `{prefix}` ({str(error).strip()}).",
            action="Write hdfs://host:port, or set HADOOP_CONF_DIR to the folder that has the "
            "cluster's core-site.xml and hdfs-site.xml.",
        ) from None
    return Hdfs(client, prefix, limit)
