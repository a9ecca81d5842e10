"""Destinations of metrics: files, a push URL, an OpenTSDB server. One of `publish`'s ways out.

Metrics are those of a whole run: a series must mean the same each time. Publishing again replaces
what was there, a file or a group of metrics as a whole, and data points by the same ones.
"""

import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from fidelity import sending
from fidelity.config import Pipeline, Publish, mask
from fidelity.errors import PublishError
from fidelity.publish import Destination, Published
from fidelity.report import Report, openmetrics, opentsdb
from fidelity.report.opentsdb import Point

_FAMILIAR = "/metrics/job/fidelity/pipeline/"
_JSON = "application/json; charset=utf-8"


def of_metrics(publish: Publish) -> Iterator[Destination]:
    """Where metrics go to, by what the pipeline file names."""
    prometheus, tsdb = publish.openmetrics, publish.opentsdb
    ways = (
        ("openmetrics.file", prometheus.file, _openmetrics_file),
        ("openmetrics.push", prometheus.push, _openmetrics_push),
        ("opentsdb.file", tsdb.file, _opentsdb_file),
        ("opentsdb.tcp", tsdb.tcp, _opentsdb_tcp),
        ("opentsdb.http", tsdb.http, _opentsdb_http),
    )
    for name, where, write in ways:
        if where:
            yield _of_whole_runs(name, mask(where), write)


def _of_whole_runs(name: str, where: str, write: Any) -> Destination:
    def destination(pipeline: Pipeline, report: Report) -> Published:
        if report.within is not None or report.only:
            return Published(name, where, "left as it was, metrics are of whole runs", True)
        return Published(name, where, write(pipeline, report))

    return destination


def _openmetrics_file(pipeline: Pipeline, report: Report) -> str:
    wanted = pipeline.publish.openmetrics
    text = openmetrics.render(report, wanted.origins)
    sending.to_file(wanted.file, text.encode())
    return _samples(text)


def _openmetrics_push(pipeline: Pipeline, report: Report) -> str:
    wanted = pipeline.publish.openmetrics
    text = openmetrics.render(report, wanted.origins)
    target = _target(urlsplit(wanted.push), _FAMILIAR + quote(pipeline.name, safe=""))
    with sending.Http(wanted.push, wanted.options) as server:
        answer = server.send("PUT", target, text.encode(), openmetrics.CONTENT_TYPE)
        if not 200 <= answer.status < 300:
            raise sending.refused(answer, server.where)
    return _samples(text)


def _opentsdb_file(pipeline: Pipeline, report: Report) -> str:
    wanted = pipeline.publish.opentsdb
    out = io.StringIO()
    opentsdb.write(report, out, wanted.origins)
    sending.to_file(wanted.file, out.getvalue().encode())
    return _points(out.getvalue().count("\n"))


def _opentsdb_tcp(pipeline: Pipeline, report: Report) -> str:
    wanted = pipeline.publish.opentsdb
    out = io.StringIO()
    opentsdb.write(report, out, wanted.origins)
    host, _, port = wanted.tcp.rpartition(":")
    told = sending.to_port(host.strip("[]"), int(port), out.getvalue().encode())
    if told:
        raise PublishError(f"complains of what was sent: {told}", where=wanted.tcp)
    return _points(out.getvalue().count("\n"))


def _opentsdb_http(pipeline: Pipeline, report: Report) -> str:
    wanted = pipeline.publish.opentsdb
    points = list(opentsdb.points(report, wanted.origins))
    target = _target(urlsplit(wanted.http), "/api/put", "details")
    refused, first, sent = 0, "", 0
    with sending.Http(wanted.http, wanted.options) as server:
        for batch in opentsdb.batches(iter(points)):
            number, why = _put(server, target, batch, f"{sent:,} of {_points(len(points))}")
            refused, first, sent = refused + number, first or why, sent + len(batch)
    if refused:
        what = f"refused {refused:,} of {_points(len(points))}, first {first}"
        raise PublishError(what, where=server.where)
    return _points(len(points))


def _put(server: sending.Http, target: str, batch: list[Point], done: str) -> tuple[int, str]:
    """Send a batch. Returns how many points were refused, and the first with its reason."""
    body = json.dumps([point.document() for point in batch]).encode()
    try:
        answer = server.send("POST", target, body, _JSON)
    except PublishError as error:
        raise _after(error, done) from None
    number, first = _refusals(answer)
    if not number and not 200 <= answer.status < 300:
        raise _after(sending.refused(answer, server.where), done)
    return number, first


def _after(error: PublishError, done: str) -> PublishError:
    what = f"{error.what.rstrip('.')} (after {done})."
    return PublishError(what, where=error.where, action=error.action)


def _refusals(answer: sending.Answer) -> tuple[int, str]:
    """How many points were refused, and the first with its reason, if an answer has such details.

    They have the members `success`, `failed` and `errors`, a list of `datapoint` and `error`.
    """
    try:
        told = json.loads(answer.body)
        number = int(told["failed"])
        errors = list(told.get("errors") or [])
    except (ValueError, TypeError, KeyError, AttributeError):
        number, errors = 0, []
    if number == 0:
        return 0, ""
    first = errors[0] if errors and isinstance(errors[0], dict) else {}
    point = json.dumps(first.get("datapoint"), ensure_ascii=False)
    reason = f"{point}: {first['error']}" if "error" in first else "for a reason that is not told"
    return number, sending.said(reason.encode())


def _target(url: SplitResult, familiar: str, query: str = "") -> str:
    """Path and query to ask for: of an address without a path the familiar one."""
    path = quote(url.path, safe="/%:@!$&'()*+,;=~") if url.path.strip("/") else familiar
    asked = quote(url.query, safe="/%:@!$&'()*+,;=~?[]") or query
    return f"{path}?{asked}" if asked else path


def _samples(text: str) -> str:
    # Not `splitlines`: in names of the data there may be other line ends.
    lines = text.removesuffix("\n").split("\n")
    return f"{sum(not line.startswith('#') for line in lines):,} samples"


def _points(number: int) -> str:
    return f"{number:,} data points"
