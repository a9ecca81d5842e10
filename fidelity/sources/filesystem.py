"""One small door to local disks, S3, GCS and HDFS: list a folder, open a file, write a small one.

A path keeps the form the user gave it (`logs/a.jsonl`, `s3://bucket/key`, `hdfs://host:port/key`).
Everything here raises plain OSErrors, made safe to show; who calls decides whether a whole stage or
one file is out of reach.
"""

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

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
        """Write a small file whole or not at all."""


class Local:
    """Files of this machine. Links are followed."""

    remote = False

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""
        try:
            return _local_entry(path, os.stat(path), os.path.islink(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder."""
        with os.scandir(folder or ".") as names:
            found = [self._child(name, folder) for name in names]
        return [entry for entry in found if entry is not None]

    def _child(self, name: "os.DirEntry[str]", folder: str) -> Entry | None:
        path, link = os.path.join(folder, name.name), name.is_symlink()
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
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would wait for ever
            raise OSError(None, "is not a regular file")
        return pa.OSFile(path, "rb")

    def write(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, its folder too if need be."""
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        draft = f"{path}.{os.getpid()}.tmp"
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


class ObjectStore:
    """S3 and GCS through pyarrow. A folder exists as long as something is in it."""

    remote = True

    def __init__(self, inner: pafs.FileSystem, scheme: str) -> None:
        self._inner, self._prefix = inner, f"{scheme}://"

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""
        info = self._inner.get_file_info(self._key(path))
        return None if info.type == pafs.FileType.NotFound else self._entry(info)

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder, one request for every thousand."""
        return self._list(folder, recursive=False)

    def tree(self, folder: str) -> list[Entry] | None:
        """Everything below a folder, one request for every thousand names."""
        return self._list(folder, recursive=True)

    def _list(self, folder: str, recursive: bool) -> list[Entry]:
        selector = pafs.FileSelector(self._key(folder), recursive=recursive)
        return [self._entry(info) for info in self._inner.get_file_info(selector)]

    def _entry(self, info: pafs.FileInfo) -> Entry:
        folder = info.type == pafs.FileType.Directory
        modified = -1 if folder or info.mtime_ns is None else info.mtime_ns // 1000
        size = -1 if folder else info.size
        return Entry(self._prefix + info.path.rstrip("/"), size, modified, modified, folder)

    def _key(self, path: str) -> str:
        return path.removeprefix(self._prefix).rstrip("/")

    def open(self, path: str) -> pa.NativeFile:
        """An object open for reading at any place."""
        return self._inner.open_input_file(self._key(path))

    def write(self, path: str, content: bytes) -> None:
        """Write a small object; stores make an upload visible when it is complete."""
        with self._inner.open_output_stream(self._key(path)) as stream:
            stream.write(content)


class Hdfs:
    """HDFS by its own protocol, without Java."""

    remote = True

    def __init__(self, client: Any, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def stat(self, path: str) -> Entry | None:
        """The entry of that name; None if there is none."""
        try:
            return self._entry(self._client.get_file_info(self._key(path)))
        except FileNotFoundError:
            return None

    def children(self, folder: str) -> list[Entry]:
        """The names in a folder."""
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
        return pa.PythonFile(self._client.read(self._key(path)), mode="r")

    def write(self, path: str, content: bytes) -> None:
        """Write a small file whole or not at all, its folder too if need be."""
        from hdfs_native import WriteOptions

        key = self._key(path)
        draft = f"{key}.{os.getpid()}.tmp"
        options = WriteOptions(overwrite=True, create_parent=True)
        with self._client.create(draft, options) as file:
            file.write(content)
        self._client.rename(draft, key, overwrite=True)


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
    if scheme in ("s3", "s3a", "s3n"):
        return ObjectStore(_s3(settings), scheme)
    if scheme in ("gs", "gcs"):
        return ObjectStore(_gcs(settings), scheme)
    if scheme == "hdfs":
        return _hdfs(authority, settings)
    if scheme in ("", "file"):
        return Local()
    raise ConfigError(
        f"paths of the kind {scheme}:// are not known.",
        action="Use a local path, s3://, gs:// or hdfs://.",
    )


_S3_OPTIONS = {
    "access_key": ("access_key", "key", "aws_access_key_id", "access_key_id"),
    "secret_key": ("secret_key", "secret", "aws_secret_access_key", "secret_access_key"),
    "session_token": ("session_token", "token", "aws_session_token"),
    "region": ("region", "aws_region", "aws_default_region"),
    "endpoint_override": (
        *("endpoint", "endpoint_override", "endpoint_url"),
        *("aws_endpoint", "aws_endpoint_url"),
    ),
    "scheme": ("scheme",),
    "anonymous": ("anonymous", "aws_skip_signature", "skip_signature"),
    "role_arn": ("role_arn", "aws_role_arn"),
    "connect_timeout": ("connect_timeout",),
    "request_timeout": ("request_timeout",),
}
_GCS_OPTIONS = {
    "anonymous": ("anonymous",),
    "endpoint_override": ("endpoint", "endpoint_override"),
    "scheme": ("scheme",),
    "project_id": ("project_id", "project"),
    "target_service_account": ("target_service_account",),
}


def _s3(settings: dict[str, str]) -> pafs.FileSystem:
    given: dict[str, Any] = _named(settings, _S3_OPTIONS, "S3", ignored=("aws_", "allow_http"))
    _set_endpoint(given)
    for name, default in (("connect_timeout", 5.0), ("request_timeout", 60.0)):
        given[name] = float(given.get(name, default))
    given["retry_strategy"] = pafs.AwsStandardS3RetryStrategy(max_attempts=4)
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    return pafs.S3FileSystem(**given)


def _gcs(settings: dict[str, str]) -> pafs.FileSystem:
    given: dict[str, Any] = _named(settings, _GCS_OPTIONS, "GCS", ignored=("google_",))
    _set_endpoint(given)
    return pafs.GcsFileSystem(**given)


def _set_endpoint(given: dict[str, Any]) -> None:
    if "anonymous" in given:
        given["anonymous"] = str(given["anonymous"]).lower() in ("true", "1", "yes")
    endpoint = given.get("endpoint_override", "")
    if "://" in endpoint:
        parts = urlsplit(endpoint)
        given["scheme"], given["endpoint_override"] = parts.scheme, parts.netloc


def _named(
    settings: dict[str, str],
    known: Mapping[str, tuple[str, ...]],
    store: str,
    ignored: tuple[str, ...],
) -> dict[str, Any]:
    """The settings under the client's own names; the names that deltalake uses are known too."""
    names = {alias: name for name, aliases in known.items() for alias in aliases}
    named, unknown = {}, []
    for key, value in settings.items():
        if key.lower() in names:
            named[names[key.lower()]] = value
        elif not key.lower().startswith(ignored):
            unknown.append(key)
    if unknown:
        raise ConfigError(
            f"options that {store} does not have: {', '.join(sorted(unknown))}.",
            action=f"Known are: {', '.join(aliases[0] for aliases in known.values())}.",
        )
    return named


def _hdfs(authority: str, settings: dict[str, str]) -> Filesystem:
    from hdfs_native import Client

    kerberos = {name: settings.pop(name) for name in list(settings) if name.startswith("kerberos_")}
    prefix = f"hdfs://{authority}"
    try:
        return Hdfs(Client(prefix if authority else None, settings or None, **kerberos), prefix)
    except TypeError as error:
        raise ConfigError(f"options that HDFS does not have: {error}") from None


def reason(error: BaseException, options: Mapping[str, str] | None = None) -> str:
    """Why a file or folder could not be reached, in a few words and without any secret."""
    text = (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()
    for name, value in (options or {}).items():
        if value and any(mark in name.lower() for mark in _SECRET_MARKS):
            text = text.replace(value, "***")
    return " ".join(text.split())[:300]


_SECRET_MARKS = ("key", "secret", "token", "password", "credential")
