"""S3, and what goes wrong there: told in a paragraph, soon, and nothing half-counted."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from lakes import Lake
from scans import LATER, lines
from test_store import counted, put

from examples.lakes import S3, MissingError
from examples.lakes import s3 as s3_server
from fidelity import sources
from fidelity.audit import audit
from fidelity.config import Pipeline, RecordSpec, Stage
from fidelity.errors import ConfigError, FidelityError, SourceError, StoreError, UnreadableError
from fidelity.report.json import render
from fidelity.scan import scan
from fidelity.sources.globs import files_of
from fidelity.store import Store
from fidelity.store.storage import told

pytestmark = pytest.mark.servers

SECRET = "not-the-real-secret"
HASTY = {"request_timeout": "1", "connect_timeout": "1", "max_attempts": "2"}
JSON = RecordSpec(format="json")


def made(folder: Path, lake: Lake, store: Lake | None = None, **options: str) -> Pipeline:
    """Local log files, and a lake that should have the same; the store local unless given."""
    (folder / "logs").mkdir(exist_ok=True)
    (folder / "logs" / "a.jsonl").write_bytes(lines("h", 0, 300))
    return Pipeline(
        name="p",
        store=f"{store.uri}/store" if store else str(folder / "store"),
        store_options=store.options | HASTY if store else {},
        stages=(
            Stage(name="hosts", kind="files", paths=(f"{folder}/logs/*.jsonl",), record=JSON),
            Stage(
                name="lake",
                kind="files",
                after="hosts",
                paths=(f"{lake.uri}/lake/*.jsonl",),
                record=JSON,
                options=lake.options | options,
            ),
        ),
    )


def check_told(error: FidelityError, *, where: str, seconds: float, since: float) -> None:
    """One paragraph, with the place, without the secret, and soon."""
    text = str(error)
    assert where in text
    assert "\n" not in text
    assert SECRET not in text
    assert len(text) < 700
    assert time.monotonic() - since < seconds


WRONG = {
    "secret": ({"aws_secret_access_key": SECRET}, "check the keys", "access to the store is"),
    "key": ({"aws_access_key_id": "nobody"}, "check the keys", "access to the store is denied"),
    "region": ({"aws_region": "eu-west-3"}, "check the region", "the region is wrong"),
    "nobody there": (
        {"aws_endpoint_url": "http://127.0.0.1:9"},
        "the server cannot be reached",
        "nobody answers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_wrong_options_are_told_for_stages_and_stores(bucket: Lake, what: str) -> None:
    wrong, of_stage, of_store = WRONG[what]
    bucket.put("lake/a.jsonl", b"{}\n")
    options, began = bucket.options | HASTY | wrong, time.monotonic()
    for path in ("lake/*.jsonl", "lake/a.jsonl"):
        with pytest.raises(SourceError, match=of_stage) as source:
            files_of([f"{bucket.uri}/{path}"], options, "lake")
        check_told(source.value, where=f"stage lake: {bucket.uri}/{path}", seconds=20, since=began)
    with pytest.raises(StoreError, match=of_store) as store:
        Store.open(f"{bucket.uri}/store", "p", options)
    check_told(store.value, where=f"{bucket.uri}/store", seconds=20, since=began)


def test_a_missing_bucket_is_told_for_stages_and_stores(s3: S3) -> None:
    for path in ("*.jsonl", "a.jsonl", "**/*.jsonl"):
        with pytest.raises(SourceError, match="no such bucket"):
            files_of([f"s3://never-made/{path}"], s3.options, "lake")
    with pytest.raises(StoreError, match="no such bucket"):
        Store.open("s3://never-made/store", "p", s3.options)


@pytest.mark.usefixtures("engine")
def test_a_stage_out_of_reach_is_unknown_and_the_others_are_counted(
    bucket: Lake, tmp_path: Path
) -> None:
    pipeline = made(tmp_path, bucket, aws_secret_access_key=SECRET)
    answer = audit(pipeline, as_of=LATER, workers=1)
    (error,) = answer.errors
    assert isinstance(error, SourceError)
    document = json.loads(render(answer.report))
    assert document["verdict"] == "unknown"
    assert {row["stage"]: row["observed"] for row in document["stages"]} == {
        "hosts": 300,
        "lake": 0,
    }
    assert SECRET not in str(error) + render(answer.report)
    # Once the key is right the same store goes on.
    bucket.put("lake/a.jsonl", lines("h", 0, 300))
    assert audit(made(tmp_path, bucket), as_of=LATER, workers=1).report.verdict == "pass"


def test_a_server_that_hangs_is_given_up(s3: S3, bucket: Lake) -> None:
    options = bucket.options | HASTY | {"max_attempts": "1"}
    store = Store.open(f"{bucket.uri}/store", "p", options)
    s3.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(SourceError, match="cannot be reached"):
            files_of([f"{bucket.uri}/*.jsonl"], options, "lake")
        with pytest.raises(StoreError, match="does not answer"):
            store.version()
        assert time.monotonic() - began < 25
    finally:
        s3.thaw()
    assert store.version() == 0


@pytest.mark.parametrize("wrong", ["soon", "0", "-1"])
def test_a_timeout_that_is_no_number_is_a_config_error(s3: S3, wrong: str) -> None:
    options = s3.options | {"request_timeout": wrong}
    with pytest.raises(ConfigError, match="request_timeout"):
        files_of(["s3://bucket/*.jsonl"], options, "lake")
    with pytest.raises(ConfigError, match="request_timeout"):
        Store.open("s3://bucket/store", "p", options)


@pytest.mark.usefixtures("engine")
def test_a_server_that_dies_during_a_read_leaves_nothing_half_counted(
    s3: S3, bucket: Lake, tmp_path: Path
) -> None:
    bucket.put("lake/a.jsonl", lines("h", 0, 300))
    bucket.put("lake/b.jsonl", lines("g", 0, 1) * 200_000)  # more than is read ahead
    pipeline = made(tmp_path, bucket, **HASTY)
    lake = pipeline.stage("lake")
    units = sources.plan(lake, [], LATER, 0).units
    reader = sources.read(units[-1], lake, sources.Wanted())
    next(reader)
    s3.kill()
    try:
        with pytest.raises((SourceError, UnreadableError)):
            list(reader)
        store = Store.open(pipeline.store, "p")
        assert len(scan(pipeline, store, ["lake"], LATER, 1).errors) == 1
        assert counted(store) == 0
    finally:
        s3.launch().wait()
    assert not scan(pipeline, store, ["lake"], LATER, 1).errors
    assert counted(store) == 200_300


@pytest.mark.usefixtures("engine")
def test_a_store_that_dies_during_a_scan_counts_all_or_nothing_of_a_stage(
    s3: S3, bucket: Lake, tmp_path: Path
) -> None:
    bucket.put("lake/a.jsonl", lines("h", 0, 300))
    pipeline = made(tmp_path, bucket, store=bucket)
    store = Store.open(pipeline.store, "p", pipeline.store_options)

    def die(stage: str, done: int, planned: int) -> None:
        if done:
            s3.kill()

    try:
        with pytest.raises(StoreError):
            scan(pipeline, store, ["hosts"], LATER, 1, die)
    finally:
        s3.launch().wait()
    assert counted(store) == 0
    assert not scan(pipeline, store, None, LATER, 1).errors
    assert counted(store) == 600


def test_an_object_replaced_between_plan_and_read_is_unreadable(bucket: Lake) -> None:
    bucket.put("lake/a.jsonl", lines("h", 0, 300))
    lake = Stage(name="lake", kind="files", paths=(f"{bucket.uri}/lake/*.jsonl",), record=JSON,
                 options=bucket.options)  # fmt: skip
    (unit,) = sources.plan(lake, [], LATER, 0).units
    bucket.put("lake/a.jsonl", lines("other", 0, 300))
    with pytest.raises(UnreadableError):
        list(sources.read(unit, lake, sources.Wanted()))


class Role(BaseHTTPRequestHandler):
    """What an EC2 instance asks for the keys of its role (IMDSv2)."""

    answers: dict[str, str] = {}  # noqa: RUF012

    def do_PUT(self) -> None:
        self._say("a-session")

    def do_GET(self) -> None:
        path = self.path.rstrip("/")
        if path in self.answers:
            self._say(self.answers[path])
        else:
            self.send_error(404)

    def _say(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "600")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def role(s3: S3) -> Iterator[str]:
    """Where an instance's role can be asked for."""
    keys = {
        "Code": "Success",
        "LastUpdated": "2026-01-01T00:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": s3.access_key,
        "SecretAccessKey": s3.secret_key,
        "Token": "",
        "Expiration": "2099-01-01T00:00:00Z",
    }
    folder = "/latest/meta-data"
    answers = {
        f"{folder}/iam/security-credentials": "auditor",
        f"{folder}/iam/security-credentials/auditor": json.dumps(keys),
        f"{folder}/placement/region": s3.region,
        f"{folder}/placement/availability-zone": f"{s3.region}a",
    }
    handler = type("Answers", (Role,), {"answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("way", ["environment", "profile", "role"])
def test_credentials_come_the_usual_ways(
    s3: S3, bucket: Lake, tmp_path: Path, role: str, way: str
) -> None:
    bucket.put("lake/a.jsonl", lines("h", 0, 300))
    environment = {
        "environment": {
            "AWS_ACCESS_KEY_ID": s3.access_key,
            "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        },
        "profile": {
            "AWS_PROFILE": "auditor",
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        },
        "role": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": role},
    }[way]
    (tmp_path / "credentials").write_text(
        f"[auditor]\naws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n"
    )
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from lakes import Lake
from test_s3 import made
from fidelity.audit import audit
from scans import LATER
lake = Lake({bucket.uri!r}, None, None, {{"aws_endpoint_url": {s3.endpoint!r}}})
answer = audit(made(Path({str(tmp_path)!r}), lake, lake), as_of=LATER, workers=1)
print(answer.report.verdict, *answer.errors)
"""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    usual = {"AWS_REGION": s3.region, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        env=others | usual | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout.strip(), done.returncode) == ("pass", 0), done.stderr


def test_no_object_is_compressed_behind_our_back(bucket: Lake) -> None:
    from fidelity.sources.filesystem import filesystem

    path = f"{bucket.uri}/runs/r.json.gz"
    place = filesystem(path, bucket.options)
    place.write(path, b"as it is")
    with place.open(path) as file:
        assert file.read() == b"as it is"


def test_the_tables_on_s3_are_read_by_others(bucket: Lake) -> None:
    from deltalake import DeltaTable

    store = Store.open(f"{bucket.uri}/store", "p", bucket.options)
    put(store, ["u1", "u2"], "s1")
    options = bucket.options | {"aws_allow_http": "true"}
    table = DeltaTable(store.observations_table.uri, storage_options=options)
    assert table.to_pyarrow_dataset().count_rows() == 2


def test_without_go_it_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(s3_server, "PROGRAM", tmp_path / "versitygw")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="apt install golang-go"):
        s3_server.fetched()
    (tmp_path / "go").write_text("#!/bin/sh\necho go version go1.19.8 linux/amd64\n")
    (tmp_path / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MissingError, match=r"1\.19 is too old"):
        s3_server.fetched()


def test_a_number_in_a_message_is_no_status() -> None:
    with pytest.raises(StoreError, match="does not answer"), told("s3://b/units", "read"):
        raise OSError("request to 127.0.0.1:40355 timed out after 15.403s: operation timed out")
