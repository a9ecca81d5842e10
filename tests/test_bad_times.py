"""Times and names that nobody expects: each is understood, or a flaw of its own kind."""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from audits import START, Folder, line, lines

from fidelity.identity import ids_of, producer_seed
from fidelity.report import iso

pytestmark = pytest.mark.usefixtures("engine")

# What `ts` says, and the window of ten minutes that it lies in ("": no time).
TIMES: list[tuple[object, str]] = [
    ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ("1970-01-01", "1970-01-01T00:00:00Z"),
    ("2026-03-01T23:59:60Z", "2026-03-02T00:00:00Z"),
    ("2026-03-01t10:00:00z", "2026-03-01T10:00:00Z"),
    ("2026-03-01 10:00:00", "2026-03-01T10:00:00Z"),
    ("20260301T100000Z", "2026-03-01T10:00:00Z"),
    ("2026-03-01T10:00:00+05:30", "2026-03-01T04:30:00Z"),
    ("2026-03-01T10:00:00-00:00", "2026-03-01T10:00:00Z"),
    ("2026-03-01T10:00:00,5Z", "2026-03-01T10:00:00Z"),
    ("2026-03-01T10:09:59.999999999999Z", "2026-03-01T10:00:00Z"),
    ("1772359200", "2026-03-01T10:00:00Z"),
    ("1.7723592e9", "2026-03-01T10:00:00Z"),
    (1772359200, "2026-03-01T10:00:00Z"),
    (1772359200.5, "2026-03-01T10:00:00Z"),
    (1772359200123, "2026-03-01T10:00:00Z"),
    (1772359200123456, "2026-03-01T10:00:00Z"),
    (1772359200123456789, "2026-03-01T10:00:00Z"),
    (0, "1970-01-01T00:00:00Z"),
    (1e-5, "1970-01-01T00:00:00Z"),
    ("1969-12-31T23:59:59Z", ""),
    ("0001-01-01T00:00:00Z", ""),
    ("0000-00-00T00:00:00Z", ""),
    ("10000-01-01T00:00:00Z", ""),
    ("2026-02-30T10:00:00Z", ""),
    ("2026-03-01T25:00:00Z", ""),
    ("2026-03-01T10:00:00+24:00", ""),
    (" 2026-03-01T10:00:00Z", ""),
    ("\uff12\uff10\uff12\uff16-03-01T10:00:00Z", ""),
    ("Sun, 01 Mar 2026 10:00:00 GMT", ""),
    ("yesterday", ""),
    ("", ""),
    (-1, ""),
    (-5.5, ""),
    (1e300, ""),
    (10**40, ""),
    (True, ""),
    (None, ""),
    ([1772359200], ""),
]


def test_every_shape_of_time_is_its_window_or_a_flaw(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    records = [line(0, f"h{n}", f"s{n}", ts=time) for n, (time, _) in enumerate(TIMES)]
    for stage in ("source", "lake"):
        folder.put(f"{stage}/a", records)
    found = folder.audit(0)
    windows = {
        row["stream"]: row["window"]
        for row in found.report["balances"]
        if row["against"] is None and row["observed"]
    }
    assert windows == {f"s{n}": window for n, (_, window) in enumerate(TIMES) if window}
    untimed = sum(not window for _, window in TIMES)
    assert found.flaws("source") == found.flaws("lake") == {"untimed": untimed}
    assert found.counts() == (len(TIMES) - untimed, len(TIMES) - untimed, 0, 0, 0, 0)


def test_a_record_of_the_year_9999_is_a_flaw_that_waits_for_its_time(tmp_path: Path) -> None:
    folder = Folder(tmp_path).filled()
    folder.put("source/b", line(0, "h2", ts="9999-12-31T23:59:59Z"))
    found = folder.audit(0)
    assert found.flaws("source") == {"future": 1}
    assert found.books()["in_flight"] == 1
    assert found.report["watermark"] == iso(int(START.timestamp() + 1800) * 1_000_000)


NAMES = [
    ("ünï", "日本"),
    ('a"b', "c'd\\"),
    ("a\x1fb", "c"),
    ("a", "b\x1fc"),
    ("a\nb", "c\td\r"),
    ("[red]x[/]", "{x} $y %s"),
    (" ", "  "),
    ("\u202e\u200b", "\x1b[31m\x07"),
    ("é", "e\u0301"),
    ("x" * 1024, "ä" * 512),
    ("null", "-1"),
    ("../..", "'; DROP TABLE seen; --"),
]


def test_any_name_of_a_stream_or_an_origin_is_told_as_it_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.put("source/a", [each for s, o in NAMES for each in lines(20, o, s)])
    folder.put("lake/a", [each for s, o in NAMES for each in lines(19, o, s)])
    found = folder.audit(1)
    told = sorted((each["stream"], each["origin"]) for each in found.report["differences"])
    assert told == sorted(NAMES)
    assert found.counts() == (20 * len(NAMES), 19 * len(NAMES), len(NAMES), 0, 0, 0)
    shown = folder.run("report").out
    assert "\x1b" not in shown
    assert "\x07" not in shown


def audited(folder: Folder, produced: Iterable[bytes]) -> tuple[int, ...]:
    """All but the last record arrive."""
    folder.put("source/a", whole := list(produced))
    folder.put("lake/a", whole[:-1])
    return folder.audit(1).counts()


def test_ten_thousand_producers_are_counted_one_by_one(tmp_path: Path) -> None:
    produced = (line(0, f"host-{number}") for number in range(10_000))
    assert audited(Folder(tmp_path), produced) == (10_000, 9_999, 1, 0, 0, 0)


def test_months_of_windows_are_counted_one_by_one(tmp_path: Path) -> None:
    windows = 5_000
    ids = ids_of(range(windows), producer_seed("access", "h1")).tolist()
    produced = (
        b'{"ts":"%s","type":"access","host":"h1","fid":"%08x"}\n'
        % ((START - timedelta(minutes=10 * n)).isoformat().encode(), ids[n])
        for n in range(windows)
    )
    assert audited(Folder(tmp_path), produced) == (windows, windows - 1, 1, 0, 0, 0)
