"""The section `publish`: where a run goes besides the store."""

from fidelity.config.document import Way
from fidelity.config.masking import mask
from fidelity.config.model import OpenMetrics, OpenTsdb, Publish
from fidelity.config.reading import Reading, Section, located, options_of, unknown
from fidelity.config.values import host_and_port, local_path, web_address, words, yes_or_no

PUBLISH_KEYS = ("star", "options", "openmetrics", "opentsdb")
OPENMETRICS_KEYS = ("file", "push", "origins", "options")
OPENTSDB_KEYS = ("file", "tcp", "http", "origins", "options")
LOGIN_KEYS = ("username", "password", "token")

BUCKETS = ("s3", "s3a", "s3n", "gs", "gcs")
_PATTERN = "*?[]"
"""What stands for other characters to DuckDB, which is given patterns of the star's files."""


def publish_of(read: Reading, top: Section, folder: str) -> Publish:
    """What is under `publish`; relative paths are taken from `folder`."""
    way: Way = ("publish",)
    given = read.section(top.get("publish"), way, PUBLISH_KEYS)
    star = located(read.optional(given, way, "star", star_address, ""), folder)
    if any(each in star for each in _PATTERN):
        what = f"`{mask(star)}` holds one of `* ? [ ]`, which stand for others to who reads a star"
        read.problem((*way, "star"), what)
    options = options_of(read, given, way)
    if options and not star:
        read.problem((*way, "options"), "are settings of the star's file system: name a `star`")
    return Publish(
        star=star,
        options=options,
        openmetrics=_openmetrics(read, given, (*way, "openmetrics"), folder),
        opentsdb=_opentsdb(read, given, (*way, "opentsdb"), folder),
    )


def star_address(text: str) -> str:
    """A folder of this machine, or an address in S3, GCS or HDFS."""
    scheme, colons, rest = words(text).partition("://")
    if colons and scheme == "file":
        if not rest.startswith("/"):
            raise ValueError("is no file of this machine: write file:///folder, or just /folder")
        return rest
    if colons and scheme not in (*BUCKETS, "hdfs"):
        raise ValueError(f"`{scheme}://` is not known: use a local folder, s3://, gs:// or hdfs://")
    if colons and scheme in BUCKETS and not rest.partition("/")[0]:
        raise ValueError(f"names no bucket: write {scheme}://bucket/folder")
    scheme, cut, _ = text.partition(":/")
    if cut and not colons and scheme.lower() in (*BUCKETS, "hdfs", "file"):
        raise ValueError(f"`{scheme}:/` lacks a slash: write {scheme.lower()}://")
    return text


def _openmetrics(read: Reading, publish: Section, way: Way, folder: str) -> OpenMetrics:
    given = read.section(publish.get("openmetrics"), way, OPENMETRICS_KEYS)
    if "openmetrics" in publish and not {"file", "push"} & set(given):
        read.problem(way, "says nothing of where to: give a `file`, or an address to `push` to")
    return OpenMetrics(
        file=located(read.optional(given, way, "file", local_path, ""), folder),
        push=read.optional(given, way, "push", web_address, ""),
        origins=read.optional(given, way, "origins", yes_or_no, False),
        options=_login(read, given, way, "push"),
    )


def _opentsdb(read: Reading, publish: Section, way: Way, folder: str) -> OpenTsdb:
    given = read.section(publish.get("opentsdb"), way, OPENTSDB_KEYS)
    if "opentsdb" in publish and not {"file", "tcp", "http"} & set(given):
        read.problem(way, "says nothing of where to: give a `file`, `tcp` or `http`")
    return OpenTsdb(
        file=located(read.optional(given, way, "file", local_path, ""), folder),
        tcp=read.optional(given, way, "tcp", host_and_port, ""),
        http=read.optional(given, way, "http", web_address, ""),
        origins=read.optional(given, way, "origins", yes_or_no, False),
        options=_login(read, given, way, "http"),
    )


def _login(read: Reading, given: Section, way: Way, server: str) -> dict[str, str]:
    """Who we are to a server: a user and password, or a token."""
    options = options_of(read, given, way)
    for name, value in options.items():
        if name not in LOGIN_KEYS:
            read.problem((*way, "options", name), unknown(name, LOGIN_KEYS))
        elif not value.isprintable() or (name == "token" and not value.isascii()):
            what = "holds a line break or another character that no header can carry"
            read.problem((*way, "options", name), what)
    if "token" in options and len(options) > 1:
        read.problem((*way, "options"), "give a `token`, or a `username` and `password`, not both")
    if options and server not in given:
        read.problem((*way, "options"), f"are for a server: there is no `{server}`")
    return options
