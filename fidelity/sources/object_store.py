"""S3 and GCS as a Filesystem, through pyarrow, and the options that their clients take."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from fidelity.errors import ConfigError
from fidelity.sources.filesystem import Entry, Filesystem


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
        key = path.removeprefix(self._prefix).rstrip("/")
        if not key:
            raise OSError(None, "the address names no bucket")
        return key

    def open(self, path: str) -> pa.NativeFile:
        """An object open for reading at any place."""
        return self._inner.open_input_file(self._key(path))

    def write(self, path: str, content: bytes) -> None:
        """Write a small object; stores make an upload visible when it is complete."""
        # By default pyarrow compresses what is called .gz.
        with self._inner.open_output_stream(self._key(path), compression=None) as stream:
            stream.write(content)

    def remove(self, path: str) -> None:
        """Remove an object, if it is there."""
        with suppress(FileNotFoundError):
            self._inner.delete_file(self._key(path))


def object_store(scheme: str, settings: dict[str, str]) -> Filesystem:
    """The store of a scheme (s3, gs and their other names), with a stage's options.

    Raises:
        ConfigError: an option that is not known.
    """
    client = _gcs(settings) if scheme in ("gs", "gcs") else _s3(settings)
    return ObjectStore(client, scheme)


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
    "role_arn": ("role_arn", "aws_role_arn", "aws_iam_role_arn"),
    "connect_timeout": ("connect_timeout",),
    "request_timeout": ("request_timeout", "timeout"),
    "max_attempts": ("max_attempts",),
}
_GCS_OPTIONS = {
    "anonymous": ("anonymous",),
    "endpoint_override": ("endpoint", "endpoint_override"),
    "scheme": ("scheme",),
    "project_id": ("project_id", "project"),
    "target_service_account": ("target_service_account",),
}


_OF_STORES = (
    *("allow_http", "aws_allow_http", "aws_force_", "aws_s3_", "aws_conditional_put"),
    *("aws_copy_if_not_exists", "aws_virtual_hosted_style_request", "aws_metadata_endpoint"),
)
"""How options begin that mean something to a store's client alone, and may be shared with one. Not
all of `aws_`: a mistyped key would fall back to whatever other rights there are."""


def _s3(settings: dict[str, str]) -> pafs.FileSystem:
    given: dict[str, Any] = _named(settings, _S3_OPTIONS, "S3", ignored=_OF_STORES)
    _set_endpoint(given)
    patience = {name: number(given.pop(name, ""), name, usual) for name, usual in PATIENCE.items()}
    attempts = int(patience.pop("max_attempts"))
    retry = pafs.AwsStandardS3RetryStrategy(max_attempts=attempts)
    leave_instance_alone()
    return pafs.S3FileSystem(**given, **patience, retry_strategy=retry)


PATIENCE = {"connect_timeout": 5.0, "request_timeout": 15.0, "max_attempts": 4.0}
"""Seconds without a byte, and how often to try: a server that hangs is given up in a minute."""


def number(text: str, name: str, usual: float) -> float:
    """An option that is a number of seconds or of times. Raises ConfigError."""
    try:
        found = float(text.removesuffix("s")) if text else usual
    except ValueError:
        found = 0.0
    if found <= 0 or (name == "max_attempts" and found < 1):
        raise ConfigError(f"the option `{name}` must be a number above 0, not `{text}`.")
    return found


def leave_instance_alone() -> None:
    """Off EC2 nobody answers where an instance's role is asked for, which costs many seconds."""
    asked = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
    if not any(name in os.environ for name in asked) and not _on_ec2():
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")


@cache
def _on_ec2() -> bool:
    """Whether the machine's firmware says so: `Amazon EC2` is its vendor, or its own version."""
    for name in ("sys_vendor", "bios_vendor", "bios_version"):
        with suppress(OSError):
            if "amazon" in Path("/sys/class/dmi/id", name).read_text().lower():
                return True
    return False


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
