"""Python's logging: each record has one id, and the manifest counts what was written."""

import errno
import io
import json
import logging
import logging.handlers
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fidelity.errors import UsageError
from fidelity.identity import sequences_of
from fidelity.stamp import Stamper
from fidelity.stamp.logs import JsonFormatter, StampingHandler, TextFormatter


@pytest.fixture
def stamper(tmp_path: Path) -> Iterator[Stamper]:
    with Stamper("app", "h", state=tmp_path / "s", manifest=tmp_path / "m") as stamper:
        yield stamper


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    # Of its own, so that pytest does not capture what no report can carry (surrogates).
    logger = logging.Logger("shop.orders")
    logger.setLevel(logging.DEBUG)
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def written(log: logging.Logger, formatter: logging.Formatter) -> io.StringIO:
    target = logging.StreamHandler(io.StringIO())
    target.setFormatter(formatter)
    log.addHandler(StampingHandler(target))
    stream = target.stream
    assert isinstance(stream, io.StringIO)
    return stream


def claims(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text().splitlines()]


def test_text_lines_begin_with_the_time_and_end_with_the_id(
    log: logging.Logger, stamper: Stamper
) -> None:
    stream = written(log, TextFormatter(stamper))
    log.info("order %d placed", 7)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z INFO shop\.orders order 7 placed "
        r"fid=[0-9a-f]{8}\n",
        stream.getvalue(),
    )


def test_a_record_is_one_line_of_text_whatever_it_holds(
    log: logging.Logger, stamper: Stamper
) -> None:
    stream = written(log, TextFormatter(stamper))
    try:
        raise ValueError("broken\nin two \ud800 \0")
    except ValueError:
        log.exception("line\r\nbreak")
    (line,) = stream.getvalue().splitlines()
    assert "line\\r\\nbreak" in line
    assert "ValueError: broken\\nin two" in line
    assert re.search(r" fid=[0-9a-f]{8}$", line)
    assert "\0" not in line
    line.encode()


def test_json_lines_hold_the_producer_the_message_and_what_was_given(
    log: logging.Logger, stamper: Stamper
) -> None:
    stream = written(log, JsonFormatter(stamper, stream="type", origin="host"))
    log.warning("größe %s", "🚚", extra={"order": 7, "fid": "mine", "msg_id": [1], "type": "x"})
    said = json.loads(stream.getvalue())
    assert re.fullmatch(r"[0-9a-f]{8}", said.pop("fid"))
    assert re.fullmatch(r"\d{4}-.*\.\d{6}Z", said.pop("ts"))
    assert said == {
        "type": "app",
        "host": "h",
        "level": "WARNING",
        "logger": "shop.orders",
        "msg": "größe 🚚",
        "order": 7,
        "extra_fid": "mine",
        "msg_id": [1],
        "extra_type": "x",
    }


def test_json_survives_what_json_cannot_hold(log: logging.Logger, stamper: Stamper) -> None:
    stream = written(log, JsonFormatter(stamper))
    circle: list[Any] = []
    circle.append(circle)
    log.info("a", extra={"x": float("nan"), "y": circle, "z": {1, 2}})
    log.info("half \ud800")
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("failed", stack_info=True)
    first, second, third = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["x"] == "nan"
    assert second["msg"] == "half ?"
    assert "KeyError" in third["exception"]
    assert third["stack"].startswith("Stack")
    assert len({said["fid"] for said in (first, second, third)}) == 3


def test_a_record_keeps_its_id_through_two_handlers_and_is_counted_once(
    log: logging.Logger, stamper: Stamper, tmp_path: Path
) -> None:
    text = written(log, TextFormatter(stamper))
    objects = written(log, JsonFormatter(stamper))
    for number in range(3):
        log.info("n %d", number)
    ids = [json.loads(line)["fid"] for line in objects.getvalue().splitlines()]
    assert [line[-8:] for line in text.getvalue().splitlines()] == ids
    stamper.flush()
    assert sum(count for line in claims(tmp_path / "m") for _, count in line["runs"]) == 3


def test_the_manifest_counts_records_in_their_window_with_their_size(
    log: logging.Logger, stamper: Stamper, tmp_path: Path
) -> None:
    stream = written(log, JsonFormatter(stamper))
    for created in (1_783_000_859.9999996, 1_783_000_800.0, 1_783_000_859.5):
        record = log.makeRecord("shop.orders", logging.INFO, "f", 1, "größe", (), None)
        record.created = created
        log.handle(record)
    stamper.flush()
    lines = stream.getvalue().splitlines()
    by_window: dict[str, list[str]] = {}
    for line in lines:
        by_window.setdefault(json.loads(line)["ts"][:16], []).append(line)
    for said in claims(tmp_path / "m"):
        those = by_window.pop(said["start"][:16])
        assert said["bytes"] == sum(len(line.encode()) for line in those)
        assert sum(count for _, count in said["runs"]) == len(those)
    assert by_window == {}


def test_a_record_that_could_not_be_written_is_not_counted(
    log: logging.Logger, stamper: Stamper, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    target = logging.StreamHandler(Full())
    target.setFormatter(TextFormatter(stamper))
    log.addHandler(StampingHandler(target))
    log.info("lost")
    stamper.flush()
    assert claims(tmp_path / "m") == []
    assert "No space left" in capsys.readouterr().err


def test_filters_and_levels_of_the_target_hold(
    log: logging.Logger, stamper: Stamper, tmp_path: Path
) -> None:
    target = logging.StreamHandler(io.StringIO())
    target.setFormatter(TextFormatter(stamper))
    target.setLevel(logging.WARNING)
    target.addFilter(lambda record: "secret" not in record.getMessage())
    log.addHandler(StampingHandler(target))
    log.info("too low")
    log.error("secret")
    log.error("kept")
    stamper.flush()
    assert [line["runs"][0][1] for line in claims(tmp_path / "m")] == [1]


def test_a_failing_state_file_costs_the_id_and_never_the_record(
    log: logging.Logger, tmp_path: Path
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    with Stamper("app", "h", state=folder / "s", block=1) as stamper:
        stream = written(log, TextFormatter(stamper, "%(message)s"))
        objects = written(log, JsonFormatter(stamper))
        folder.rename(tmp_path / "away")
        log.info("hello")
        (tmp_path / "away").rename(folder)
        log.info("again")
    first, second = stream.getvalue().splitlines()
    assert first == "hello"
    assert second.startswith("again fid=")
    assert "fid" not in json.loads(objects.getvalue().splitlines()[0])


def test_rotating_files_and_pickled_records_work(
    log: logging.Logger, stamper: Stamper, tmp_path: Path
) -> None:
    target = logging.handlers.RotatingFileHandler(tmp_path / "log", maxBytes=200, backupCount=9)
    target.setFormatter(JsonFormatter(stamper))
    log.addHandler(StampingHandler(target))
    for number in range(5):
        log.info("n %d", number)
    lines = [line for path in tmp_path.glob("log*") for line in path.read_text().splitlines()]
    ids = [int(json.loads(line)["fid"], 16) for line in lines]
    assert len(set(sequences_of(ids, stamper.seed).tolist())) == 5
    record = log.makeRecord("shop.orders", logging.INFO, "f", 1, "m", (), None)
    log.handle(record)
    assert pickle.loads(pickle.dumps(record.__dict__)).keys() == record.__dict__.keys()


def test_a_target_without_a_stamping_formatter_is_refused() -> None:
    with pytest.raises(UsageError, match="no ids"):
        StampingHandler(logging.StreamHandler())
