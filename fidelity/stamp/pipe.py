"""`fidelity stamp`: lines in, the same lines with ids out. Prompt on a live pipe, fast in bulk.

Invariant: every byte that was read is written, once and in order, whatever cannot be stamped
included; the manifest is told only of lines whose last byte the output has taken.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

import numpy as np

from fidelity.config import Place
from fidelity.errors import FidelityError
from fidelity.stamp.embed import LineFormat, Stamped, embed
from fidelity.stamp.stamper import Stamper
from fidelity.stamp.streams import Input, Output, Signals
from fidelity.stamp.times import EventTimes

_LONGEST_LINE = 64 << 20  # what the audit takes for a record at most

Ending = Literal["end of input", "signal", "broken pipe"]


@dataclass(frozen=True, slots=True)
class PipeReport:
    """What a pipe did. `ended` and `signal` say why it stopped (0: not by a signal)."""

    stamped: int = 0
    already: int = 0  # carried an id, or a member `fid`, and were passed on as they were
    malformed: int = 0  # passed on as they were: not UTF-8, NUL, not a JSON object, over 64 MiB
    blank: int = 0
    untimed: int = 0  # of the stamped ones: not claimed by the manifest, no event time was found
    unstamped: int = 0  # lines (about) that got no id because the state file failed
    problem: str = ""  # that failure, or the manifest's
    ended: Ending = "end of input"
    signal: int = 0


def pipe(
    stdin: BinaryIO,
    stdout: BinaryIO,
    stamper: Stamper,
    *,
    line_format: LineFormat = "json",
    time: Place | None = None,
    warn: Callable[[str], None] = lambda _message: None,
) -> PipeReport:
    """Stamp lines until the input ends, the output breaks, or SIGTERM, SIGINT or SIGHUP comes.

    The stamper stays open: `with Stamper(stream, origin, ...) as s: report = pipe(i, o, s)`.

    Args:
        stdin: binary stream; read through its file descriptor where it has one, so nothing may
            have been read from it before.
        stdout: binary stream, likewise.
        stamper: gives the ids; its manifest, if any, is told what was written.
        line_format: "json" (one object a line) or "text".
        time: where a line's event time is, for the manifest. None takes the moment of writing,
            which is right only where the audit has no better time for the record either.
        warn: told once of each problem that does not stop the lines (state or manifest failing).

    After a signal what is waiting in the input is still passed on. A second signal ends it at once
    (KeyboardInterrupt, or SystemExit with 128 + the signal).

    Raises:
        StampError: the input cannot be read, or the output not written for another reason than
            that its reader went away.
    """
    with Signals() as signals:
        source = Input(stdin, signals)
        flow = _Flow(Output(stdout), stamper, line_format, time, warn)
        ended: Ending = "end of input"
        try:
            for chunk in source:
                flow.push(chunk)
            flow.finish(cut=not source.exhausted)
        except BrokenPipeError:
            ended = "broken pipe"
        if signals.received:
            ended = "signal"
        return replace(flow.report, ended=ended, signal=signals.received)


class _Flow:
    """Blocks of whole lines: stamped, written, counted."""

    def __init__(
        self,
        output: Output,
        stamper: Stamper,
        line_format: LineFormat,
        time: Place | None,
        warn: Callable[[str], None],
    ) -> None:
        self._output, self._stamper, self._format = output, stamper, line_format
        self._times = EventTimes(time, line_format)
        self._warn = warn
        self._parts: list[bytes] = []  # of the last line, whose newline has not come
        self._waiting = 0
        self._passing = False  # in the middle of an over-long line
        self.report = PipeReport()

    def push(self, chunk: bytes) -> None:
        if self._passing:
            chunk = self._pass_on(chunk)
        cut = chunk.rfind(b"\n") + 1
        if cut:
            self._block(b"".join([*self._parts, chunk[:cut]]))
            self._parts, self._waiting = [], 0
        if cut < len(chunk):
            self._parts.append(chunk[cut:])
            self._waiting += len(chunk) - cut
        if self._waiting > _LONGEST_LINE:
            self._over_long()

    def finish(self, cut: bool) -> None:
        """The last line without a newline: a record, unless a signal cut it short."""
        rest = b"".join(self._parts)
        if rest and not cut:
            self._block(rest)
        elif rest:
            self._output.write(rest)
            self.report = replace(self.report, malformed=self.report.malformed + 1)

    def _over_long(self) -> None:
        for part in self._parts:
            self._output.write(part)
        self._parts, self._waiting, self._passing = [], 0, True
        self.report = replace(self.report, malformed=self.report.malformed + 1)

    def _pass_on(self, chunk: bytes) -> bytes:
        end = chunk.find(b"\n") + 1
        self._passing = not end
        self._output.write(chunk[:end] if end else chunk)
        return chunk[end:] if end else b""

    def _block(self, lines: bytes) -> None:
        try:
            stamped = embed(lines, self._format, self._stamper.take)
        except FidelityError as error:
            # Losing the lines would be worse than losing their ids.
            self._problem(error)
            self._output.write(lines)
            unstamped = self.report.unstamped + max(1, lines.count(b"\n"))
            self.report = replace(self.report, unstamped=unstamped)
            return
        try:
            self._output.write(stamped.data)
        finally:
            self._count(stamped, self._output.taken)

    def _count(self, stamped: Stamped, accepted: int) -> None:
        written = int(np.searchsorted(stamped.ends, accepted, "right"))
        report = self.report
        self.report = replace(
            report,
            stamped=report.stamped + written,
            already=report.already + stamped.already,
            malformed=report.malformed + stamped.malformed,
            blank=report.blank + stamped.blank,
        )
        try:
            untimed = self._times.count(self._stamper, stamped, written)
            self.report = replace(self.report, untimed=self.report.untimed + untimed)
        except FidelityError as error:
            self._problem(error)

    def _problem(self, error: FidelityError) -> None:
        if str(error) != self.report.problem:
            self.report = replace(self.report, problem=str(error))
            self._warn(str(error))
