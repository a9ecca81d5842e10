"""Metrics reach files and servers as they are, and once; or it is told why not."""

import base64
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from audits import LAKE, SOURCE, Folder, Outcome, lines
from listeners import Request, nobody, port, silent, web
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from put_protocol import parsed, unescaped
from reports import Row, report_of

from fidelity import sending
from fidelity.config import Pipeline, load
from fidelity.errors import FidelityError, PublishError
from fidelity.publish import publish
from fidelity.report import Report, openmetrics, opentsdb
from fidelity.report.narrow import narrowed

REPORT = report_of([Row(stream=f"str eam {n}", lost=n, verdict="fail") for n in range(20)])


def pipeline_of(**destinations: dict[str, Any]) -> Pipeline:
    return Pipeline.model_validate({"name": "logs", "store": "none", "publish": destinations})


def told(report: Report = REPORT, **destinations: dict[str, Any]) -> str:
    with pytest.raises(PublishError) as caught:
        publish(pipeline_of(**destinations), report)
    return str(caught.value)


def points(body: bytes) -> list[tuple[object, ...]]:
    return [(p["metric"], p["timestamp"], p["value"], p["tags"]) for p in json.loads(body)]


EXPECTED = [(p.metric, p.timestamp, p.value, dict(p.tags)) for p in opentsdb.points(REPORT)]


def test_the_file_is_the_rendering_and_everybody_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "logs.prom"
    before = os.umask(0o077)
    try:
        (done,) = publish(pipeline_of(openmetrics={"file": str(file)}), REPORT)
    finally:
        os.umask(before)
    assert file.read_bytes() == openmetrics.render(REPORT).encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["logs.prom"]
    samples = sum(len(f.samples) for f in text_string_to_metric_families(file.read_text()))
    assert (done.destination, done.what) == ("openmetrics.file", f"{samples:,} samples")


def test_a_file_is_replaced_as_a_whole_and_a_link_to_it_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link.prom").symlink_to(tmp_path / "real.prom")
    for report in (report_of([Row(stream="first")]), REPORT):
        publish(pipeline_of(opentsdb={"file": str(tmp_path / "link.prom")}), report)
    assert (tmp_path / "link.prom").is_symlink()
    found = [parsed(line) for line in (tmp_path / "real.prom").read_text().splitlines()]
    assert [(p.metric, p.timestamp, p.value, p.tags) for p in found] == EXPECTED


@pytest.mark.parametrize("kind", ["openmetrics", "opentsdb"])
def test_a_named_pipe_stays_one_and_is_written_to(tmp_path: Path, kind: str) -> None:
    pipe = tmp_path / "metrics"
    os.mkfifo(pipe)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()), daemon=True)
    reader.start()
    publish(pipeline_of(**{kind: {"file": str(pipe)}}), REPORT)
    reader.join(10)
    assert pipe.is_fifo()
    assert heard[0].startswith(b"# TYPE" if kind == "openmetrics" else b"put ")
    assert os.listdir(tmp_path) == ["metrics"]


def test_samples_are_counted_whatever_line_ends_the_names_have(tmp_path: Path) -> None:
    def counted(*streams: str) -> str:
        report = report_of([Row(stream=name, lost=1, verdict="fail") for name in streams])
        (done,) = publish(pipeline_of(openmetrics={"file": str(tmp_path / "a.prom")}), report)
        return done.what

    assert counted("a\rb", "a\u2028b", "a\x85b") == counted("a", "b", "c")


def test_a_push_is_one_put_of_text_that_a_pushgateway_reads() -> None:
    with web() as server:
        publish(pipeline_of(openmetrics={"push": server.url}), REPORT)
    (request,) = server.asked
    assert (request.method, request.target) == ("PUT", "/metrics/job/fidelity/pipeline/logs")
    assert request.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert request.body == openmetrics.render(REPORT).encode()
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/metrics/job/fidelity/pipeline/logs"),
        ("/metrics/job/mine", "/metrics/job/mine"),
        ("/api/v1/import/prometheus?extra_label=a=b", "/api/v1/import/prometheus?extra_label=a=b"),
        ("/pfad/ü%20x", "/pfad/%C3%BC%20x"),
    ],
)
def test_an_address_with_a_path_is_taken_as_written(path: str, target: str) -> None:
    with web() as server:
        publish(pipeline_of(openmetrics={"push": server.url + path}), REPORT)
    assert [request.target for request in server.asked] == [target]


def test_who_we_are_is_told_to_the_server_and_to_nobody_else() -> None:
    with web(lambda request: (401, request.headers["Authorization"].encode())) as server:
        address = server.url.replace("//", "//me:s3cr%C3%A9t@")
        told_all = told(openmetrics={"push": address})
        options = {"username": "me", "password": "other-secret"}
        told_all += told(openmetrics={"push": server.url, "options": options})
    codes = [request.headers["Authorization"] for request in server.asked]
    assert codes == [
        f"Basic {base64.b64encode(pair.encode()).decode()}"
        for pair in ("me:s3crét", "me:other-secret")
    ]
    assert "status 401" in told_all
    assert "Give a `username` and `password`, or a `token`" in told_all
    for secret in ("s3cr", "other-secret", *(code.split()[1] for code in codes)):
        assert secret not in told_all


def test_a_token_is_sent_as_such() -> None:
    with web() as server:
        publish(
            pipeline_of(opentsdb={"http": server.url, "options": {"token": "t0ken-of-ours"}}),
            REPORT,
        )
    assert {r.headers["Authorization"] for r in server.asked} == {"Bearer t0ken-of-ours"}


def test_points_go_by_http_in_batches_over_one_connection() -> None:
    with web(lambda _: (204, b"")) as server:
        (done,) = publish(pipeline_of(opentsdb={"http": server.url}), REPORT)
    assert {(r.method, r.target) for r in server.asked} == {("POST", "/api/put?details")}
    assert [point for r in server.asked for point in points(r.body)] == EXPECTED
    assert max(len(r.body) for r in server.asked) <= 8_000
    assert len(server.connections) == 1
    assert done.what == f"{len(EXPECTED):,} data points"


def test_points_that_are_refused_are_counted_and_the_others_sent() -> None:
    def picky(request: Request) -> tuple[int, bytes]:
        bad = [p for p in json.loads(request.body) if p["metric"] == "fidelity.lost_records"]
        errors = [{"datapoint": p, "error": "Unknown metric\n\x1b[31m"} for p in bad]
        details = {"success": 0, "failed": len(bad), "errors": errors}
        return 400 if bad else 200, json.dumps(details).encode()

    with web(picky) as server:
        said = told(opentsdb={"http": server.url})
    assert [point for r in server.asked for point in points(r.body)] == EXPECTED
    assert f"refused 20 of {len(EXPECTED)} data points, first" in said
    assert '"fidelity.lost_records"' in said
    assert "Unknown metric" in said
    assert said.isprintable()


def test_a_server_that_fails_is_not_asked_again() -> None:
    answers = iter([(204, b""), (500, b"<html>java.lang.OutOfMemoryError</html>")])
    with web(lambda _: next(answers)) as server:
        said = told(opentsdb={"http": server.url})
    assert len(server.asked) == 2
    first = len(json.loads(server.asked[0].body))
    assert f"status 500: <html>java.lang.OutOfMemoryError</html> (after {first} of " in said


@pytest.mark.parametrize(
    ("status", "advice"),
    [(302, "Name the address that it points to"), (404, "Look at the path"), (503, "status 503")],
)
def test_every_answer_but_a_success_is_told(status: int, advice: str) -> None:
    with web(lambda _: (status, b"")) as server:
        assert advice in told(openmetrics={"push": server.url})


def test_lines_go_by_tcp_and_silence_means_that_all_is_well() -> None:
    with port() as server:
        publish(pipeline_of(opentsdb={"tcp": server.address}), REPORT)
        assert server.done.wait(10)
    found = [parsed(line.decode().removesuffix("\n")) for line in server.lines]
    assert [(p.metric, p.timestamp, p.value, p.tags) for p in found] == EXPECTED
    assert {unescaped(p.tags["stream"]) for p in found if "stream" in p.tags} == {
        f"str eam {n}" for n in range(20)
    }


def test_complaints_by_tcp_are_told_however_many_there_are() -> None:
    complaint = b"put: illegal argument: " + b"x" * 100_000 + b"\n"
    with port(lambda _: complaint) as server:
        said = told(opentsdb={"tcp": server.address})
        assert server.done.wait(20)
    assert len(server.lines) == len(EXPECTED)  # sent to the end, though nobody was heard out
    assert said.startswith(f"{server.address}: complains of what was sent: put: illegal argument")
    assert len(said) < 1_200


def test_who_cannot_be_reached_or_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobody() as address:
        for where in ({"tcp": address}, {"http": f"http://{address}"}):
            assert "Connection refused" in told(opentsdb=where)
    monkeypatch.setattr(sending, "TIMEOUT", 0.2)
    with silent() as address:
        assert "no answer in 0.2 s" in told(openmetrics={"push": f"http://{address}"})
    assert "no such host" in told(opentsdb={"tcp": "no-such-host.invalid:4242"})


def test_what_does_not_speak_http_is_told() -> None:
    with port(lambda _: b"SSH-2.0-OpenSSH\r\n") as server:
        said = told(openmetrics={"push": f"http://{server.address}"})
        assert "the answer is not HTTP" in said
        assert "https" not in said
    with web() as plain:
        said = told(openmetrics={"push": plain.url.replace("http:", "https:")})
    assert "cannot be reached: " in said
    assert "SSL" in said.upper()


def test_one_destination_that_fails_keeps_no_other_from_being_written(tmp_path: Path) -> None:
    file = tmp_path / "logs.prom"
    with nobody() as address, port() as server:
        wanted = pipeline_of(
            openmetrics={"file": str(tmp_path / "missing" / "x.prom"), "push": f"http://{address}"},
            opentsdb={"file": str(file), "tcp": server.address},
        )
        with pytest.raises(FidelityError) as caught:
            publish(wanted, REPORT)
        assert server.done.wait(10)
    assert len(file.read_text().splitlines()) == len(server.lines) == len(EXPECTED)
    first, second = str(caught.value).splitlines()
    assert "No such file or directory. Make its folder first." in first
    assert "Connection refused" in second


def test_a_part_of_a_run_leaves_metrics_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "logs.prom"
    file.write_text("before")
    part = narrowed(REPORT, (), (0, 1))
    (done,) = publish(pipeline_of(openmetrics={"file": str(file)}), part)
    assert (done.unchanged, file.read_text()) == (True, "before")
    assert "whole runs" in done.what


def configured(folder: Folder, text: str) -> Outcome:
    folder.configure(SOURCE, LAKE, more=f"publish:\n{text}")
    return folder.run("check-config")


def test_the_command_publishes_what_the_pipeline_file_names(tmp_path: Path) -> None:
    folder = Folder(tmp_path).filled()
    folder.put("lake/a", lines()[:-3])
    with web() as server:
        text = f"  openmetrics: {{file: x.prom, push: '{server.url}', origins: true}}\n"
        shown = configured(folder, text)
        assert "openmetrics file " in shown.out
        assert "openmetrics origins true" in shown.out
        folder.audit(1)
        done = folder.run("publish")
    assert done.status == 0, done.err
    assert done.out.count(" samples: ") == 2
    assert (tmp_path / "x.prom").read_bytes() == server.asked[0].body
    assert b'fidelity_differing_records{pipeline="trial",stage="lake",' in server.asked[0].body
    with nobody() as address:
        configured(folder, f"  opentsdb: {{tcp: '{address}', file: x.put}}\n")
        failed = folder.run("publish")
    points = len((tmp_path / "x.put").read_text().splitlines())
    assert failed.status == 2
    assert f"{address}: cannot be sent to: Connection refused" in failed.err
    assert failed.out == f"opentsdb.file  {points} data points: {tmp_path / 'x.put'}\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("openmetrics: {file: 's3://bucket/x.prom'}", "must be a file of this machine"),
        ("openmetrics: {push: 'pushgateway:9091'}", "is not an address as http://host:9091"),
        ("openmetrics: {push: 'http://host:99999'}", "is not an address"),
        ("openmetrics: {origins: true}", "says nothing of where to"),
        ("openmetrics: {file: x, origins: perhaps}", "neither `true` nor `false`"),
        ("openmetrics: {file: x, options: {token: t}}", "there is no `push`"),
        ("openmetrics: {push: 'http://h', options: {pasword: t}}", "Did you mean `password`?"),
        ("openmetrics: {push: 'http://h', options: {token: t, password: p}}", "not both"),
        ('opentsdb: {http: "http://h", options: {token: "a\\r\\nb"}}', "no header can carry"),
        ("opentsdb: {tcp: host}", "is not a host and port"),
        ("opentsdb: {tcp: 'host:0'}", "is not a host and port"),
        ("opentsdb: {tpc: 'host:1'}", "Did you mean `tcp`?"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, wrong: str, said: str) -> None:
    outcome = configured(Folder(tmp_path), f"  {wrong}\n")
    assert outcome.status == 2
    assert said in outcome.err


def test_what_is_shown_of_a_pipeline_is_read_as_the_same_without_its_secrets(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path)
    text = (
        "  openmetrics: {push: 'https://u:hidden-1@h/x', options: {token: hidden-2}}\n"
        "  opentsdb: {tcp: '[::1]:4242', file: x.put}\n"
    )
    shown = configured(folder, text)
    assert shown.status == 0, shown.err
    assert "hidden" not in shown.out + shown.err + repr(load(folder.file))
    assert "opentsdb tcp [::1]:4242" in shown.out
    assert load(folder.file).publish.opentsdb.file == str(tmp_path / "x.put")
