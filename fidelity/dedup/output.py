"""Where a clean copy is written: aside, until all of it is there; then it gets its name.

Invariant: whoever lists the output's folder sees nothing of the copy before `publish`. On local
disks and HDFS `publish` is one rename. Object stores have no rename: there the objects are copied
within the store one by one, and `_SUCCESS` is made last; if that fails, what was copied is removed.
"""

import os
import posixpath
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from fidelity.config import mask
from fidelity.errors import DedupError, UsageError
from fidelity.sources.filesystem import filesystem, reason

_MARK = "_SUCCESS"
_FILES = "files"
_DRAFT = re.compile(r"_fidelity-[0-9a-f]{12}")
_CHUNK = 8 << 20
LARGEST_COPY = 5 << 30
"""Bytes. S3 copies no larger object in one request."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A copy in the making, in a hidden folder. Can be pickled: tasks write their files into it."""

    output: str
    folder: str
    options: dict[str, str]

    @contextmanager
    def file(self, name: str) -> Iterator[pa.NativeFile]:
        """A new file of the copy, open for writing; there once the block ends without an error.

        A task that is done twice writes it twice, each time aside: one of the two takes the place.

        Raises:
            DedupError: it cannot be written.
        """
        path = posixpath.join(self.folder, _FILES, name)
        aside = posixpath.join(self.folder, "attempts", secrets.token_hex(8))
        with self._told(path), _door(path, self.options).create(path, aside) as file:
            yield file

    def publish(self) -> None:
        """Give the copy its name. Raises DedupError."""
        with self._told(self.output):
            door = _door(self.output, self.options)
            door.rename(posixpath.join(self.folder, _FILES), self.output)
        self.discard()

    def discard(self) -> None:
        """Remove what was written, as far as that is possible."""
        with suppress(OSError):
            _door(self.folder, self.options).remove(self.folder)

    @contextmanager
    def _told(self, path: str) -> Iterator[None]:
        try:
            yield
        except _StuckError as error:
            raise DedupError(
                f"the copy cannot be published: {reason(error, self.options)}; nor can what was"
                f" copied be removed: {error.left:,} of its objects remain, without {_MARK}.",
                where=mask(path),
                action="Remove what is there, and run again.",
            ) from None
        except OSError as error:
            raise DedupError(
                f"the copy cannot be written: {reason(error, self.options)}.",
                where=mask(path),
                action="Check the free space and the rights, and run again: nothing was published.",
            ) from None


def resolved(output: str) -> str:
    """The folder that an output names: `~` is the home folder, links are followed."""
    output = output.removeprefix("file://")
    if "://" in output:
        return output.rstrip("/")
    return os.path.realpath(os.path.expanduser(output))


def draft(output: str, options: Mapping[str, str]) -> Draft:
    """A new draft of an output folder, `resolved`, that is empty or not there.

    Raises:
        UsageError: the output is not empty, or a file.
        DedupError: it cannot be looked at.
        ConfigError: it is of an unknown kind.
    """
    try:
        there = filesystem(output, options).children(output)
    except FileNotFoundError:
        there = []
    except NotADirectoryError:
        raise UsageError("the output is a file.", where=output, action=_ANOTHER) from None
    except OSError as error:
        told = f"the output cannot be looked at: {reason(error, options)}."
        raise DedupError(told, where=mask(output), action="Check its address.") from None
    names = [posixpath.basename(entry.path) for entry in there]
    if names and all(map(_DRAFT.fullmatch, names)):
        raise UsageError(
            f"the output holds the draft of another run, {' and '.join(sorted(names))}.",
            where=output,
            action="If that run was killed, remove its draft; else wait for it.",
        )
    if names:
        raise UsageError("the output is not empty.", where=output, action=_ANOTHER)
    token = f"_fidelity-{secrets.token_hex(6)}"
    store = _door(output, options)
    return Draft(output, store.aside(output, token), dict(options))


_ANOTHER = "Name a folder that is empty, or not there."


class _Local:
    """Files of this machine."""

    def aside(self, output: str, token: str) -> str:
        return os.path.join(os.path.dirname(output), token)

    @contextmanager
    def create(self, path: str, aside: str) -> Iterator[pa.NativeFile]:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.makedirs(os.path.dirname(aside), exist_ok=True)
        with open(aside, "wb") as file:
            yield pa.PythonFile(file, mode="w")
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)

    def rename(self, folder: str, output: str) -> None:
        os.makedirs(folder, exist_ok=True)
        with suppress(FileNotFoundError):
            os.rmdir(output)
        os.rename(folder, output)

    def remove(self, folder: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)


class _Objects:
    """S3 and GCS: an object is seen when it is complete."""

    def __init__(self, inner: pafs.FileSystem) -> None:
        self._inner = inner

    def aside(self, output: str, token: str) -> str:
        return f"{output}/{token}"

    @contextmanager
    def create(self, path: str, aside: str) -> Iterator[pa.NativeFile]:  # noqa: ARG002
        # What an error cuts short becomes an object all the same: of the draft, and goes with it.
        with self._inner.open_output_stream(_key(path), compression=None) as stream:
            yield stream

    def rename(self, folder: str, output: str) -> None:
        # An object stands for nothing before it is complete, nor are there folders to be renamed.
        selector = pafs.FileSelector(_key(folder), recursive=True, allow_not_found=True)
        objects = [info for info in self._inner.get_file_info(selector) if info.is_file]
        made: list[str] = []
        try:
            for info in objects:
                made.append(_key(output) + info.path.removeprefix(_key(folder)))
                self._copy(info, made[-1])
            made.append(f"{_key(output)}/{_MARK}")
            self._inner.open_output_stream(made[-1], compression=None).close()
        except BaseException as error:
            left = self._taken_back(made, _key(output))
            if left:
                raise _StuckError(left, str(error) or "interrupted") from None
            raise

    def _copy(self, source: pafs.FileInfo, target: str) -> None:
        if source.size <= LARGEST_COPY:
            self._inner.copy_file(source.path, target)
            return
        with (
            self._inner.open_input_stream(source.path, compression=None) as stream,
            self._inner.open_output_stream(target, compression=None) as out,
        ):
            while piece := stream.read(_CHUNK):
                out.write(piece)

    def _taken_back(self, objects: list[str], output: str) -> int:
        """Remove objects, the last first, and folders that nothing is in then; how many stay."""
        left = 0
        for path in reversed(objects):
            try:
                with suppress(FileNotFoundError):
                    self._inner.delete_file(path)
            except OSError:
                left += 1
        for folder in _folders_between(objects, output):
            with suppress(OSError):
                if not self._inner.get_file_info(pafs.FileSelector(folder)):
                    self._inner.delete_dir(folder)  # some stores keep an object for a folder
        return left

    def remove(self, folder: str) -> None:
        self._inner.delete_dir(_key(folder))


def _folders_between(paths: list[str], top: str) -> list[str]:
    """The folders of these paths below a folder, the deepest first."""
    folders = set()
    for path in paths:
        while (path := posixpath.dirname(path)) != top:
            folders.add(path)
    return sorted(folders, key=len, reverse=True)


class _StuckError(OSError):
    """A copy got its name in part, and that part could not be removed."""

    def __init__(self, left: int, why: str) -> None:
        super().__init__(why)
        self.left = left


class _HdfsFiles:
    """HDFS by its own protocol."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def aside(self, output: str, token: str) -> str:
        return f"{posixpath.dirname(output)}/{token}"

    @contextmanager
    def create(self, path: str, aside: str) -> Iterator[pa.NativeFile]:
        from hdfs_native import WriteOptions

        options = WriteOptions(overwrite=True, create_parent=True)
        with self._client.create(self._key(aside), options) as file:
            yield pa.PythonFile(file, mode="w")
        self._client.mkdirs(self._key(posixpath.dirname(path)), create_parent=True)
        self._client.rename(self._key(aside), self._key(path), overwrite=True)

    def rename(self, folder: str, output: str) -> None:
        self._client.mkdirs(self._key(folder), create_parent=True)
        with suppress(FileNotFoundError):
            self._client.delete(self._key(output))
        self._client.rename(self._key(folder), self._key(output))

    def remove(self, folder: str) -> None:
        self._client.delete(self._key(folder), recursive=True)

    def _key(self, path: str) -> str:
        return path.removeprefix(self._prefix) or "/"


def _key(path: str) -> str:
    return path.partition("://")[2].rstrip("/")


def _door(path: str, options: Mapping[str, str]) -> _Local | _Objects | _HdfsFiles:
    from fidelity.sources.object_store import ObjectStore

    store = filesystem(path, options)
    if isinstance(store, ObjectStore):
        return _Objects(store._inner)
    if path.startswith("hdfs://"):
        return _HdfsFiles(store._client, store._prefix)  # type: ignore[attr-defined]
    return _Local()
