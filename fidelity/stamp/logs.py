"""Python's logging, stamped: a record gets its id when it is formatted.

Invariant: a record has one id for each stamper, however many handlers format it; a failing state
file costs a record its id, never the record; the manifest counts what a handler has written.
"""

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from fidelity.errors import FidelityError, UsageError
from fidelity.identity import hex_of
from fidelity.stamp.stamper import Stamper

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT = "_fidelity"  # on a log record: what each stamper did with it, by seed
_ID, _SIZE, _COUNTED = range(3)  # plain numbers, since records are pickled by other handlers
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", _KEPT}


class _Stamping(logging.Formatter):
    """What both formatters share: the stamper, and times in UTC to the microsecond."""

    def __init__(self, stamper: Stamper, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.stamper = stamper

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        """ISO 8601 in UTC, unless a date format was given."""
        if datefmt:
            return super().formatTime(record, datefmt)
        moment = _EPOCH + timedelta(microseconds=_time(record))
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def _given(self, record: logging.LogRecord) -> list[int] | None:
        """The record's id; None if none can be had: then the line goes out without one."""
        kept: dict[int, list[int]] = record.__dict__.setdefault(_KEPT, {})
        given = kept.get(self.stamper.seed)
        if given is None:
            try:
                given = kept[self.stamper.seed] = [self.stamper.next(), 0, 0]
            except FidelityError:
                return None
        return given


class TextFormatter(_Stamping):
    """Lines of text that end in ` fid=xxxxxxxx`. A record is one line: line breaks are escaped.

    Args:
        stamper: gives the ids.
        fmt, datefmt, style: as for logging.Formatter; by default a line begins with the time.
    """

    def __init__(
        self,
        stamper: Stamper,
        fmt: str = "%(asctime)s %(levelname)s %(name)s %(message)s",
        datefmt: str | None = None,
        style: Any = "%",
    ) -> None:
        super().__init__(stamper, fmt, datefmt, style)

    def format(self, record: logging.LogRecord) -> str:
        """The stamped line."""
        line = _one_line(super().format(record))
        given = self._given(record)
        if given is None:
            return line
        line = f"{line} fid={hex_of(given[_ID])}"
        given[_SIZE] = len(line.encode())
        return line


class JsonFormatter(_Stamping):
    """One JSON object a line: ts, level, logger, msg, what was given as `extra`, and fid.

    Args:
        stamper: gives the ids; its names are the members `stream` and `origin`.
        time, stream, origin: what these members are called.
    """

    def __init__(
        self, stamper: Stamper, *, time: str = "ts", stream: str = "stream", origin: str = "origin"
    ) -> None:
        super().__init__(stamper)
        self._time = time
        self._producer = {stream: stamper.stream, origin: stamper.origin}

    def format(self, record: logging.LogRecord) -> str:
        """The stamped line."""
        members = {
            self._time: self.formatTime(record),
            **self._producer,
            "level": record.levelname,
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            members["stack"] = record.stack_info
        for name, value in vars(record).items():
            if name not in _STANDARD:
                members[f"extra_{name}" if name in members or name == "fid" else name] = value
        given = self._given(record)
        if given is not None:
            members["fid"] = hex_of(given[_ID])
        line = _json(members)
        if given is not None:
            given[_SIZE] = len(line.encode())
        return line


class StampingHandler(logging.Handler):
    """Hands records to another handler, and counts those it has written in the manifest.

    Args:
        target: a handler that writes at once (a stream, a file, a rotating file), with one of the
            formatters above. Its errors are told as its own `handleError` tells them.

    Raises:
        UsageError: the target's formatter is none of the above.
    """

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        if not isinstance(target.formatter, _Stamping):
            raise UsageError(
                "The handler's formatter gives no ids.",
                action="Set a TextFormatter or JsonFormatter of fidelity.stamp.logs on it.",
            )
        self.target = target
        self._stamper = target.formatter.stamper
        self._failed = False
        self._tell = target.handleError
        target.handleError = self._note  # type: ignore[method-assign]  # how logging tells failure

    def emit(self, record: logging.LogRecord) -> None:
        """Write and count one record."""
        self._failed = False
        if record.levelno < self.target.level or not self.target.handle(record) or self._failed:
            return
        given = record.__dict__.get(_KEPT, {}).get(self._stamper.seed)
        if given is None or given[_COUNTED]:
            return
        given[_COUNTED] = 1
        try:
            self._stamper.written(given[_ID], _time(record), given[_SIZE])
        except FidelityError:
            self.handleError(record)

    def flush(self) -> None:
        """Flush the target, and write the manifest's counts."""
        self.target.flush()
        try:
            self._stamper.flush()
        except FidelityError as error:
            logging.getLogger(__name__).warning("%s", error)

    def close(self) -> None:
        """Close the target. The stamper stays open: it may have other handlers."""
        self.flush()
        self.target.close()
        super().close()

    def _note(self, record: logging.LogRecord) -> None:
        self._failed = True
        self._tell(record)


def _time(record: logging.LogRecord) -> int:
    return round(record.created * 1_000_000)


def _one_line(text: str) -> str:
    for octet, escaped in (("\r", "\\r"), ("\n", "\\n"), ("\0", "\\0")):
        text = text.replace(octet, escaped)
    return text.encode("utf-8", "replace").decode()


def _json(members: dict[str, Any]) -> str:
    try:
        line = json.dumps(members, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError):  # NaN, a circle, a key that is no text: the record comes first
        plain = {name: v if isinstance(v, str | int) else repr(v) for name, v in members.items()}
        line = json.dumps(plain, ensure_ascii=False)
    return line.encode("utf-8", "replace").decode()
