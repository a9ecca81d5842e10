"""Six hosts write three log files each, for one hour of event time; one of them falls silent."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from fidelity.stamp import Stamper

HOSTS = tuple(f"host{n}" for n in range(1, 7))
STREAMS = ("access", "app", "audit")
PER_MINUTE = 520  # records of one stream on one host
MINUTES = 60
ROTATED_AT = 30  # minute
SILENT = ("host6", 40)  # who stops logging, and at which minute
MALFORMED = ("host3", "access", 17)  # where a line is cut short, and at which minute

_VERBS = ("GET /api/v1/orders", "POST /api/v1/orders", "GET /health", "login", "cache miss")


def write_logs(folder: Path, start: datetime) -> Iterator[tuple[str, int]]:
    """Write every host's files below `folder`. Yields (host, records) as each host is done."""
    for host in HOSTS:
        written = sum(_write_stream(folder / host, host, stream, start) for stream in STREAMS)
        yield host, written


def _write_stream(folder: Path, host: str, stream: str, start: datetime) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    random = Random(f"{host}/{stream}")
    current = folder / f"{stream}.jsonl"
    last = SILENT[1] if host == SILENT[0] else MINUTES
    written = 0
    with Stamper(stream, host, state=folder / f".{stream}.fid") as stamper:
        for minute in range(last):
            if minute == ROTATED_AT:
                current.rename(folder / f"{stream}.jsonl.1")
            lines = _minute(random, host, stream, start + timedelta(minutes=minute), stamper)
            if (host, stream, minute) == MALFORMED:
                lines.insert(len(lines) // 2, '{"ts": "2026-')
            with current.open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
            written += PER_MINUTE
    return written


def _minute(random: Random, host: str, stream: str, start: datetime, stamper: Stamper) -> list[str]:
    ids = stamper.take(PER_MINUTE)
    step = timedelta(microseconds=60_000_000 // PER_MINUTE)
    lines = []
    for number, fid in enumerate(ids.tolist()):
        at = (start + number * step).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        message = f"{random.choice(_VERBS)} {random.getrandbits(64):016x} {random.random():.6f}"
        lines.append(
            f'{{"ts": "{at}", "host": "{host}", "type": "{stream}", "fid": "{fid:08x}", '
            f'"level": "info", "msg": {json.dumps(message)}}}'
        )
    return lines
