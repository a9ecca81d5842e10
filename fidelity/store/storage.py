"""Where a store lies: options by deltalake's names, and failures told in one paragraph."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import pyarrow as pa
from deltalake.exceptions import DeltaError, TableNotFoundError

from fidelity.config import mask
from fidelity.errors import StoreError
from fidelity.sources.object_store import PATIENCE, leave_instance_alone, number


def storage_options(uri: str, options: Mapping[str, str]) -> dict[str, str]:
    """The user's options by the names of deltalake's object store. Raises ConfigError."""
    if uri.startswith("hdfs://"):
        from fidelity.sources.hdfs import PATIENCE as HDFS_PATIENCE

        return {**HDFS_PATIENCE, **options}
    if not uri.startswith(("s3://", "s3a://")):
        return dict(options)
    leave_instance_alone()
    given = {_S3_NAMES.get(name.lower(), name): value for name, value in options.items()}
    given = _patience(given) | given
    scheme = given.pop("scheme", "https")
    endpoint = given.get("AWS_ENDPOINT_URL")
    if endpoint is not None and "://" not in endpoint:
        given["AWS_ENDPOINT_URL"] = endpoint = f"{scheme}://{endpoint}"
    if endpoint is not None and endpoint.startswith("http://"):
        given.setdefault("AWS_ALLOW_HTTP", "true")
    if not {"aws_access_key_id", "aws_skip_signature"} & {name.lower() for name in given}:
        # Without it profiles and roles do not count as soon as an endpoint is given.
        given.setdefault("aws_force_credential_load", "true")
    return given


def _patience(given: dict[str, str]) -> dict[str, str]:
    """How long to wait for S3, in deltalake's words; by default that is minutes."""
    asked = {name: number(given.pop(name, ""), name, usual) for name, usual in PATIENCE.items()}
    seconds = 2 * asked["request_timeout"]  # for a whole answer, not for its next byte
    return {
        "connect_timeout": f"{asked['connect_timeout']:g}s",
        "timeout": f"{seconds:g}s",
        "max_retries": f"{asked['max_attempts'] - 1:.0f}",
        "retry_timeout": f"{2 * seconds:g}s",
    }


_S3_NAMES = {
    "timeout": "request_timeout",
    **dict.fromkeys(("access_key", "key"), "AWS_ACCESS_KEY_ID"),
    **dict.fromkeys(("secret_key", "secret"), "AWS_SECRET_ACCESS_KEY"),
    **dict.fromkeys(("session_token", "token"), "AWS_SESSION_TOKEN"),
    "region": "AWS_REGION",
    **dict.fromkeys(
        ("endpoint", "endpoint_override", "endpoint_url", "aws_endpoint", "aws_endpoint_url"),
        "AWS_ENDPOINT_URL",
    ),
    "anonymous": "AWS_SKIP_SIGNATURE",
    **dict.fromkeys(("role_arn", "aws_role_arn"), "AWS_IAM_ROLE_ARN"),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What lies there, in the words of failures."""

    name: str
    key: str  # of the pipeline file
    unwritable: str  # what can be done with it all the same
    anew: str  # what to do if it is damaged


STORE = Kind(
    "store",
    "`store:`",
    "Reports can be made from it; a scan needs a store that it can write.",
    "Restore it from a copy, or name a new `store:` and scan everything again.",
)


@contextmanager
def told(where: str, done: str, kind: Kind = STORE) -> Iterator[None]:
    """Turn what storage, Arrow and deltalake raise into a StoreError of one paragraph.

    Args:
        where: the address of what failed: a store, a star, or a table or file of it.
        done: what could not be done, as in "cannot be written".
        kind: what it is a part of.
    """
    try:
        yield
    except (OSError, DeltaError, pa.ArrowException, ValueError) as error:
        what, action = _told(error, done, kind)
        raise StoreError(what, where=mask(where), action=action) from error


_ADVICE = (
    (
        ("safemodeexception", "safe mode"),
        "the name node is in safe mode.",
        "Wait until it has left it (`hdfs dfsadmin -safemode get`), and try again.",
    ),
    (
        ("no space left", "errno 28", "os error 28", "disk quota", "errno 122", "os error 122"),
        "the disk is full.",
        "Free some space and run again: what was committed before still counts.",
    ),
    (
        ("file too large", "errno 27", "os error 27"),
        "a file would grow over the limit that is set for this process (ulimit -f).",
        "Raise the limit and run again: what was committed before still counts.",
    ),
    (
        ("read-only file system", "errno 30", "os error 30"),
        "the {name} lies on a read-only file system.",
        "{unwritable}",
    ),
    (
        (
            *("permission denied", "errno 13", "os error 13", "accessdenied", "forbidden"),
            *("signaturedoesnotmatch", "invalidaccesskeyid", "usernotfound", "expiredtoken"),
            *("invalidtoken", "did not provide any credentials", "accesscontrolexception"),
        ),
        "access to the {name} is denied.",
        "Check its permissions, or the credentials under `options`.",
    ),
    (
        ("nosuchbucket", "bucket does not exist"),
        "there is no such bucket.",
        "Make the bucket, or name another in {key}.",
    ),
    (
        ("connection refused", "dns error", "failed to lookup address"),
        "nobody answers at its address.",
        "Check the address, under `options` and in {key}, and the network.",
    ),
    (
        ("authorizationheadermalformed",),
        "the region is wrong.",
        "Set `aws_region` under `options`.",
    ),
    (
        ("has not answered", "timed out", "operation timeout", "timeout was reached"),
        "the server does not answer.",
        "Check it, and try again: what was committed before still counts.",
    ),
    (
        ("not a directory", "notadirectory", "errno 20", "os error 20"),
        "there is a file where a folder should be.",
        "Name a new or empty folder as {key}.",
    ),
)
_DAMAGED = ("parquet", "json error", "gzipped", "is damaged", "no such file", "not found")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m\u21b3?|\u21b3")
_CALLS = re.compile(r"\s+0: .*")
"""The calls that led to an error, which deltalake adds to some."""


def _told(error: BaseException, done: str, kind: Kind) -> tuple[str, str]:
    text = _CALLS.sub("", " ".join(_COLOURS.sub("", mask(str(error))).split()))
    start = f"the {kind.name} cannot be {done}: "
    for marks, what, action in _ADVICE:
        if any(mark in text.lower() for mark in marks):
            words = asdict(kind)
            return start + what.format(**words), action.format(**words)
    if isinstance(error, TableNotFoundError):
        return f"{start}this part of it is gone.", kind.anew
    damaged = any(mark in text.lower() for mark in _DAMAGED)
    action = kind.anew if damaged else f"Check that the {kind.name} can be reached, and try again."
    return f"{start}{text[:400].rstrip('.')}.", action
