"""The pipe passes every byte on, promptly, and counts only what its reader has taken."""

import dataclasses
import io
import json
import os
import random
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fidelity.config import Place
from fidelity.errors import StampError
from fidelity.identity import sequences_of
from fidelity.stamp import Stamper
from fidelity.stamp import pipe as pipes
from fidelity.stamp.pipe import PipeReport, pipe


def through(data: bytes, stamper: Stamper, **options: Any) -> tuple[bytes, PipeReport]:
    output = io.BytesIO()
    report = pipe(io.BytesIO(data), output, stamper, **options)
    return output.getvalue(), report


def claimed(manifest: Path) -> list[int]:
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    return [f + k for line in lines for f, count in line["runs"] for k in range(count)]


def carried(lines: bytes, seed: int) -> list[int]:
    ids = [int(json.loads(line)["fid"], 16) for line in lines.splitlines()]
    return sequences_of(np.array(ids, np.uint32), seed).tolist()


class Live:
    """A pipe in a forked child, between two real pipes."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        read, self.into = os.pipe()
        self.out, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self.into)
                os.close(self.out)
                self._run(read, write, options)
                status = 0
            finally:
                os._exit(status)
        os.close(read)
        os.close(write)

    def _run(self, read: int, write: int, options: dict[str, Any]) -> None:
        with (
            Stamper("app", "h", state=self.folder / "s", manifest=self.folder / "m") as stamper,
            os.fdopen(read, "rb") as stdin,
            os.fdopen(write, "wb", buffering=0) as stdout,
        ):
            report = pipe(stdin, cast(BinaryIO, stdout), stamper, **options)
        (self.folder / "report").write_text(json.dumps(dataclasses.asdict(report)))

    def line(self) -> bytes:
        """What comes out, up to a newline."""
        got = b""
        while not got.endswith(b"\n"):
            assert select.select([self.out], [], [], 20)[0], f"nothing came after {got!r}"
            got += os.read(self.out, 1)
        return got

    def rest(self) -> bytes:
        got = b""
        while piece := os.read(self.out, 1 << 16):
            got += piece
        return got

    def report(self) -> PipeReport:
        assert os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0
        self.pid = 0
        return PipeReport(**json.loads((self.folder / "report").read_text()))


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    running = Live(tmp_path)
    yield running
    if running.pid:
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)


def test_a_line_comes_out_at_once_while_the_pipe_stays_open(live: Live) -> None:
    for k in range(3):
        os.write(live.into, b'{"k":%d}\n' % k)
        assert json.loads(live.line())["k"] == k
    os.write(live.into, b'{"k":')
    os.write(live.into, b"3}\n")
    assert json.loads(live.line())["k"] == 3
    os.close(live.into)
    assert live.rest() == b""
    assert live.report() == PipeReport(stamped=4)
    assert len(claimed(live.folder / "m")) == 4


def test_a_last_line_without_a_newline_is_stamped_and_stays_without(live: Live) -> None:
    os.write(live.into, b'{"k":1}\n{"k":2}')
    os.close(live.into)
    got = live.rest()
    assert not got.endswith(b"\n")
    assert len(carried(got, Stamper("app", "h").seed)) == 2
    assert live.report().stamped == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_in_order_with_what_was_waiting_passed_on(
    live: Live, number: signal.Signals
) -> None:
    os.write(live.into, b'{"k":0}\n')
    live.line()
    os.write(live.into, b'{"k":1}\n' * 500 + b'{"half":')
    os.kill(live.pid, number)
    got = live.rest()
    assert got.endswith(b'{"half":')
    report = live.report()
    assert (report.stamped, report.malformed) == (501, 1)
    assert (report.ended, report.signal) == ("signal", number)
    assert (
        carried(got[: -len(b'{"half":')], Stamper("app", "h").seed)
        == claimed(live.folder / "m")[1:]
    )
    with Stamper("app", "h", state=live.folder / "s") as again:
        assert sequences_of([again.next()], again.seed)[0] == claimed(live.folder / "m")[-1] + 1


def test_a_reader_that_goes_away_ends_it_and_the_manifest_claims_what_was_taken(
    live: Live,
) -> None:
    os.write(live.into, b'{"k":0}\n')
    live.line()
    os.close(live.out)
    os.write(live.into, b'{"k":1}\n')
    report = live.report()
    assert (report.stamped, report.ended) == (1, "broken pipe")
    assert len(claimed(live.folder / "m")) == 1


def test_lines_that_a_breaking_pipe_took_whole_are_claimed_and_no_others(tmp_path: Path) -> None:
    live = Live(tmp_path)
    block = b"".join(b'{"k":%d,"text":"%s"}\n' % (k, b"x" * 500) for k in range(1000))
    seen = 0
    chance = random.Random(3)
    os.write(live.into, block[: 60_000 - 100])
    while seen < 20_000:
        seen += len(os.read(live.out, chance.randrange(1, 9000)))
    os.close(live.out)
    for at in range(60_000 - 100, len(block), 60_000):
        try:
            os.write(live.into, block[at : at + 60_000])
        except BrokenPipeError:
            break
    report = live.report()
    assert report.ended == "broken pipe"
    # 537 bytes or so a line: the pipe held at most 64 KiB more than was read.
    assert seen // 540 <= report.stamped <= (seen + 65_536) // 510
    assert len(claimed(tmp_path / "m")) == report.stamped


@settings(max_examples=40)
@given(st.binary(max_size=300), st.sampled_from(["json", "text"]), st.integers(1, 20))
def test_chunks_of_any_size_give_what_one_block_gives(data: bytes, kind: str, size: int) -> None:
    data = data.replace(b"7", b'\n{"a":1}\n')

    class Slow(io.BytesIO):
        def read(self, _count: int | None = -1) -> bytes:
            return super().read(size)

    stamper = Stamper("app", "h")
    output = io.BytesIO()
    report = pipe(Slow(data), output, stamper, line_format=cast(Any, kind))
    whole = stamper.stamp(data, cast(Any, kind))
    assert len(output.getvalue()) == len(whole.data)
    assert report == PipeReport(
        stamped=len(whole.ids),
        already=whole.already,
        malformed=whole.malformed,
        blank=whole.blank,
    )


def test_an_over_long_line_is_passed_on_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "_LONGEST_LINE", 3 << 20)
    long = b'{"a":"' + b"x" * (9 << 20) + b'"}'
    output, report = through(b'{"k":1}\n' + long + b'\n{"k":2}\n', Stamper("app", "h"))
    first, second, third = output.splitlines()
    assert second == long
    assert "fid" in json.loads(first)
    assert "fid" in json.loads(third)
    assert report == PipeReport(stamped=2, malformed=1)


def test_lines_go_on_without_ids_while_the_state_fails(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    told: list[str] = []
    with Stamper("app", "h", state=folder / "s", block=1) as stamper:
        stamper.next()
        folder.rename(tmp_path / "away")
        output, report = through(b'{"k":1}\n{"k":2}\n', stamper, warn=told.append)
        (tmp_path / "away").rename(folder)
    assert output == b'{"k":1}\n{"k":2}\n'
    assert report.unstamped == 2
    assert told == [report.problem]
    assert "cannot be" in report.problem


def test_an_output_that_cannot_be_written_is_told_and_nothing_is_claimed(tmp_path: Path) -> None:
    with (
        Stamper("app", "h", manifest=tmp_path / "m") as stamper,
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(StampError, match="No space left"),
    ):
        pipe(io.BytesIO(b'{"k":1}\n'), cast(BinaryIO, full), stamper)
    assert claimed(tmp_path / "m") == []


@pytest.mark.parametrize("line_format", ["json", "text"])
def test_the_manifest_takes_the_event_time_from_the_line_where_told(
    tmp_path: Path, line_format: str
) -> None:
    texts = ["2026-07-01T12:00:05Z", "2026-07-01T14:00:59+02:00", "2026-07-01T12:01:00Z", "never"]
    lines = {
        "json": "".join(json.dumps({"ts": t, "k": 1}) + "\n" for t in texts),
        "text": "".join(f"{t} something\n" for t in texts),
    }[line_format]
    place = {"json": Place(field="ts"), "text": Place(builtin="line_start")}[line_format]
    with Stamper("app", "h", manifest=tmp_path / "m") as stamper:
        output, report = through(
            lines.encode(), stamper, line_format=cast(Any, line_format), time=place
        )
    assert (report.stamped, report.untimed) == (4, 1)
    said = [json.loads(line) for line in (tmp_path / "m").read_text().splitlines()]
    assert [(line["start"], sum(count for _, count in line["runs"])) for line in said] == [
        ("2026-07-01T12:00:00Z", 2),
        ("2026-07-01T12:01:00Z", 1),
    ]
    assert said[1]["bytes"] == len(output.splitlines()[2])


def test_stamping_twice_changes_nothing() -> None:
    stamper = Stamper("app", "h")
    for line_format in ("json", "text"):
        once, _ = through(b'{"a":1}\n{"b":2}\n', stamper, line_format=line_format)
        twice, report = through(once, stamper, line_format=line_format)
        assert twice == once
        assert report == PipeReport(already=2)
