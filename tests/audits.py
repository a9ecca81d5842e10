"""A pipeline in a folder, audited by the real command line: for the tests of bad input."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fidelity.cli import run
from fidelity.identity import id_of, producer_seed

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
SOURCE = 'source: {kind: files, path: "source/*"}'
LAKE = 'lake: {kind: files, path: "lake/*", after: source}'
COMMAND = (sys.executable, "-m", "fidelity")
REPOSITORY = Path(__file__).parent.parent


def lines(
    count: int = 60, origin: str = "h1", stream: str = "access", first: int = 0
) -> list[bytes]:
    """Stamped JSON lines of one producer, one every 30 s."""
    return [line(number, origin, stream) for number in range(first, first + count)]


def line(number: int, origin: str = "h1", stream: str = "access", **members: object) -> bytes:
    """One stamped record, with some members replaced."""
    record = {
        "ts": (START + timedelta(seconds=30 * number)).isoformat(),
        "type": stream,
        "host": origin,
        "fid": f"{id_of(number, producer_seed(stream, origin)):08x}",
    }
    return json.dumps(record | members).encode() + b"\n"


@dataclass(frozen=True)
class Outcome:
    """What a command ended with."""

    status: int
    out: str
    err: str

    @property
    def report(self) -> Any:
        return json.loads(self.out)

    @property
    def verdict(self) -> str:
        return str(self.report["verdict"])

    def books(self, stage: str = "lake", against: str | None = "source") -> Any:
        rows = self.report["stages"]
        return next(r for r in rows if (r["stage"], r["against"]) == (stage, against))

    def counts(self, stage: str = "lake") -> tuple[int, ...]:
        """(expected, delivered, lost, unaudited, duplicates, unexpected) against the source."""
        row = self.books(stage)
        names = ("expected", "delivered", "lost", "unaudited", "duplicates", "unexpected")
        return tuple(row[name] for name in names)

    def flaws(self, stage: str) -> dict[str, int]:
        rows = self.report["stages"]
        return next(dict(row["flaws"]) for row in rows if row["stage"] == stage)

    def told(self, kind: str) -> str:
        """The one finding of a kind: its message."""
        (found,) = (each for each in self.report["findings"] if each["kind"] == kind)
        return str(found["message"])


class Folder:
    """Stages `source` and `lake`, of any files, and a pipeline file that says so."""

    def __init__(self, path: Path, *stages: str, more: str = "") -> None:
        self.path, self.file = path, path / "pipeline.yaml"
        for name in ("source", "lake"):
            (path / name).mkdir(parents=True, exist_ok=True)
        self.configure(*stages or (SOURCE, LAKE), more=more)

    def configure(self, *stages: str, more: str = "") -> None:
        self.file.write_text(
            "pipeline: trial\nstore: store\nsettle: 5m\n"
            "record: {id: fid, time: ts, stream: type, origin: host}\n"
            f"{more}stages:\n" + "".join(f"  {stage}\n" for stage in stages)
        )

    def put(self, name: str, content: bytes | list[bytes]) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else b"".join(content))
        return path

    def filled(self) -> "Folder":
        """60 records in each stage: nothing is wrong yet."""
        for stage in ("source", "lake"):
            self.put(f"{stage}/a", lines())
        return self

    def run(self, command: str, *options: str) -> Outcome:
        """A command in this process. Whatever it says must be fit to be read."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run([command, str(self.file), *options])
        outcome = Outcome(status, out.getvalue(), err.getvalue())
        assert_readable(outcome)
        return outcome

    def audit(self, status: int, *options: str) -> Outcome:
        """An audit as JSON, which must end with this status."""
        outcome = self.run("audit", "--json", *options)
        assert outcome.status == status, outcome.err + outcome.out[:2000]
        return outcome

    def start(self, *arguments: str, **more: Any) -> "subprocess.Popen[bytes]":
        """A command in a process of its own."""
        return subprocess.Popen(
            [*more.pop("before", ()), *COMMAND, *arguments],
            cwd=REPOSITORY,
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=more.pop("stderr", subprocess.PIPE),
            **more,
        )

    def left(self) -> list[str]:
        """What is in the folder."""
        return sorted(os.listdir(self.path))


_ODD = re.compile(
    r"Traceback|(?<!\.)\.\.(?![./])|\. \.|: \.|\s$|  |<unknown>|None\b|[a-z]Error\b|\d+ unit"
)


def assert_readable(outcome: Outcome) -> None:
    """Errors are one paragraph each; findings are sentences; nothing of ours shows through."""
    assert "Traceback" not in outcome.err
    paragraphs = outcome.err.splitlines()
    if outcome.status == 2:
        assert paragraphs
        assert paragraphs[0].startswith(("fidelity: ", "Usage: "))
    for paragraph in paragraphs:
        if paragraph.startswith("fidelity: "):
            assert not _ODD.search(paragraph), paragraph
            assert len(paragraph) < 1500
    if outcome.out.startswith("{") and '"findings"' in outcome.out:
        for finding in outcome.report["findings"]:
            for text in (finding["message"], finding["action"]):
                assert not _ODD.search(text), text
                assert text.endswith((".", "?")), text
