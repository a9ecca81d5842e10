"""The report as numbers for machines: what each metric is called and means, and its samples.

METRICS is all there is to know about them: the renderings and docs/metrics.md are made of it. What
is not known has no sample, rather than 0. Every metric is a gauge: each run tells totals anew, and
any of them may fall when more is known. No metric has a window among its labels, and streams and
origins are limited in number, what is beyond the limit being added up: a run has a bounded number
of samples, however many windows it has.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc

from fidelity.report import Books, Coverage, Report, Verdict, lag, with_plain_window
from fidelity.report.streams import (
    OTHER,
    Origin,
    StreamBooks,
    by_origin,
    by_stream,
    limited,
    limited_origins,
    named,
)
from fidelity.units import FLAWS

MOST_STREAMS = 1_000
MOST_ORIGINS = 500
"""How many streams, and how many pairs of stream and origin, have samples of their own."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

Number = int | float
Sample = tuple[tuple[str, ...], Number]
"""The values of a metric's labels, in their order, and the number."""


class Facts:
    """A report, and what is reckoned of it once for several metrics."""

    def __init__(self, report: Report, origins: bool) -> None:
        self.report = report
        self.streams, self.other_streams = limited(by_stream(report), MOST_STREAMS)
        self.seen = [each for each in report.coverage if each.units or each.looked_at != -1]
        self.with_origins = origins

    @cached_property
    def origins(self) -> tuple[dict[Origin, int], int]:
        """Copies that differ by origin, and how many origins there was no room for."""
        copies = by_origin(self.report.differences) if self.with_origins else {}
        return limited_origins(copies, MOST_ORIGINS, self.other_streams)

    @cached_property
    def newest_settled(self) -> int | None:
        """The start of the newest settled window, microseconds."""
        settled = self.report.balances.filter(self.report.balances["settled"])
        newest: int | None = pc.max(with_plain_window(settled)["window"]).as_py()
        return newest

    @cached_property
    def lags(self) -> pa.Table:
        """What is known of lags for good (settled windows that were seen), streams as called."""
        table = self.report.lags
        table = with_plain_window(table.filter(pc.and_(table["settled"], table["seen"])))
        names = pc.unique(table["stream"])
        called = [
            OTHER if name in self.other_streams else named(name) for name in names.to_pylist()
        ]
        streams = pa.array(called, pa.string()).take(pc.index_in(table["stream"], names))
        return table.set_column(table.schema.get_field_index("stream"), "stream", streams)

    @cached_property
    def all_lags(self) -> pa.Table:
        """Quantiles by stage and stream."""
        return lag.added_up(self.lags, ("stage", "stream"))

    @cached_property
    def newest_lags(self) -> pa.Table:
        """Quantiles by stage and stream, of the newest settled window."""
        newest = pc.equal(self.lags["window"], pa.scalar(self.newest_settled, pa.int64()))
        return lag.added_up(self.lags.filter(newest), ("stage", "stream"))


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Its unit, if it has one, is the end of its name."""

    name: str
    unit: str
    labels: tuple[str, ...]  # after `pipeline`, which all have
    help: str
    samples: Callable[[Facts], Iterable[Sample]]


def families(report: Report, origins: bool = False) -> Iterator[tuple[Metric, list[Sample]]]:
    """The metrics that have samples, in the order of METRICS. Labels begin with the pipeline."""
    facts = Facts(report, origins)
    for metric in METRICS:
        samples = [((report.pipeline, *labels), value) for labels, value in metric.samples(facts)]
        if samples:
            yield metric, samples


def _one(of: Callable[[Facts], Number | None]) -> Callable[[Facts], Iterable[Sample]]:
    """One sample, without labels of its own, if it is known."""

    def samples(facts: Facts) -> Iterable[Sample]:
        value = of(facts)
        return [] if value is None else [((), value)]

    return samples


def _stage(of: Callable[[Coverage], Number | None]) -> Callable[[Facts], Iterable[Sample]]:
    """One sample for each stage that was looked at."""

    def samples(facts: Facts) -> Iterable[Sample]:
        told = [((each.stage,), of(each)) for each in facts.seen]
        return [(labels, value) for labels, value in told if value is not None]

    return samples


def _edge(of: Callable[[Books], Number | None]) -> Callable[[Facts], Iterable[Sample]]:
    """One sample for each stage and reference, and for the source against nothing."""

    def samples(facts: Facts) -> Iterable[Sample]:
        told = [((each.stage, each.against or ""), of(each)) for each in facts.report.stages]
        return [(labels, value) for labels, value in told if value is not None]

    return samples


def _stream(of: Callable[[StreamBooks], Number | None]) -> Callable[[Facts], Iterable[Sample]]:
    """One sample for each stage, reference and stream, and for the source against nothing."""

    def samples(facts: Facts) -> Iterable[Sample]:
        for each in facts.streams:
            value = of(each)
            if value is not None:
                yield (each.stage, each.against or "", each.stream), value

    return samples


def _count(name: str) -> Callable[[Facts], Iterable[Sample]]:
    """A count of the books. At the source itself only `observed` means anything."""
    return _stream(lambda each: each.counts[name] if each.against or name == "observed" else None)


def _one_hot(labels: tuple[str, ...], verdict: Verdict) -> Iterator[Sample]:
    for each in VERDICTS:
        yield (*labels, each), int(each == verdict)


def _stage_verdicts(facts: Facts) -> Iterator[Sample]:
    for each in facts.report.stages:
        yield from _one_hot((each.stage, each.against or ""), each.verdict)


def _stream_verdicts(facts: Facts) -> Iterator[Sample]:
    for each in facts.streams:
        yield from _one_hot((each.stage, each.against or "", each.stream), each.verdict)


def _windows(facts: Facts) -> Iterator[Sample]:
    for each in facts.report.stages:
        for verdict in VERDICTS:
            yield (each.stage, each.against or "", verdict), each.windows.get(verdict, 0)


def _flaws(facts: Facts) -> Iterator[Sample]:
    found = {each.stage: each.flaws for each in facts.report.stages}
    for each in facts.seen:
        for kind in dict.fromkeys((*FLAWS, *found.get(each.stage, ()))):
            yield (each.stage, kind), found.get(each.stage, {}).get(kind, 0)


def _findings(facts: Facts) -> Iterator[Sample]:
    found: dict[tuple[str, ...], int] = {}
    for each in facts.report.findings:
        key = (each.stage, each.kind, each.severity)
        found[key] = found.get(key, 0) + 1
    yield from found.items()


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None or microseconds == -1 else microseconds / 1e6


def _age(facts: Facts) -> float | None:
    mark = facts.report.watermark
    return None if mark is None else (facts.report.as_of - mark) / 1e6


def _quantiles(lags: pa.Table) -> Iterator[Sample]:
    for row in lags.to_pylist():
        for column, share in lag.QUANTILES.items():
            yield (row["stage"], row["stream"], f"{float(share):g}"), row[column] / 1e6


def _measured(facts: Facts) -> Iterator[Sample]:
    for row in facts.all_lags.to_pylist():
        yield (row["stage"], row["stream"]), row["measured"]


def _newest_end(facts: Facts) -> float | None:
    start = facts.newest_settled
    return None if start is None else (start + facts.report.window) / 1e6


_EDGE = ("stage", "against")
_STREAM = (*_EDGE, "stream")

METRICS = (
    Metric(
        "fidelity_verdict", "", ("verdict",),
        "1 for the verdict of the whole run, 0 for the other verdicts.",
        lambda facts: _one_hot((), facts.report.verdict),
    ),
    Metric(
        "fidelity_run_timestamp_seconds", "seconds", (),
        "The clock of the last run (as_of), Unix time.",
        _one(lambda facts: _seconds(facts.report.as_of)),
    ),
    Metric(
        "fidelity_watermark_timestamp_seconds", "seconds", (),
        "The end of the last window before which every window passed, Unix time."
        " Absent if the first window did not pass.",
        _one(lambda facts: _seconds(facts.report.watermark)),
    ),
    Metric(
        "fidelity_watermark_age_seconds", "seconds", (),
        "How far the watermark was behind the clock of the run. It does not grow between runs.",
        _one(_age),
    ),
    Metric(
        "fidelity_newest_settled_timestamp_seconds", "seconds", (),
        "The end of the newest settled window, Unix time. Absent if none has settled.",
        _one(_newest_end),
    ),
    Metric(
        "fidelity_window_seconds", "seconds", (),
        "The length of a window, as configured.",
        _one(lambda facts: _seconds(facts.report.window)),
    ),
    Metric(
        "fidelity_settle_seconds", "seconds", (),
        "How long after its end a window settles, as configured.",
        _one(lambda facts: _seconds(facts.report.settle)),
    ),
    Metric(
        "fidelity_findings", "", ("stage", "kind", "severity"),
        "Findings of the run. A kind that was not found is absent.",
        _findings,
    ),
    Metric(
        "fidelity_stage_verdict", "", (*_EDGE, "verdict"),
        "1 for the verdict of the stage, 0 for the other verdicts.",
        _stage_verdicts,
    ),
    Metric(
        "fidelity_stage_completeness_ratio", "ratio", _EDGE,
        "Records delivered of those that were due (expected less filtered), of all streams."
        " Absent if none was due.",
        _edge(lambda each: each.completeness),
    ),
    Metric(
        "fidelity_stage_nines_low", "", _EDGE,
        "Nines of completeness, of all streams: the lower bound of the 95 % interval."
        " Absent if none was due.",
        _edge(lambda each: each.nines_low),
    ),
    Metric(
        "fidelity_stage_windows", "windows", (*_EDGE, "verdict"),
        "Windows by verdict; a window is as bad as the worst of its streams.",
        _windows,
    ),
    Metric(
        "fidelity_stage_units", "units", ("stage",),
        "Units (files, parts of files, ranges of offsets) that were read.",
        _stage(lambda each: each.units),
    ),
    Metric(
        "fidelity_stage_unreadable_units", "units", ("stage",),
        "Units that could not be read.",
        _stage(lambda each: each.unreadable),
    ),
    Metric(
        "fidelity_stage_trimmed_units", "units", ("stage",),
        "Units that retention removed before they were read.",
        _stage(lambda each: each.trimmed),
    ),
    Metric(
        "fidelity_stage_truncated_units", "units", ("stage",),
        "Units that were cut before they were read.",
        _stage(lambda each: each.truncated),
    ),
    Metric(
        "fidelity_stage_read_records", "records", ("stage",),
        "Records of the units that were read, flawed ones too.",
        _stage(lambda each: each.records),
    ),
    Metric(
        "fidelity_stage_read_bytes", "bytes", ("stage",),
        "Bytes of the units that were read.",
        _stage(lambda each: each.bytes),
    ),
    Metric(
        "fidelity_stage_flawed_records", "records", ("stage", "kind"),
        "Records that could not be used, by what is wrong with them.",
        _flaws,
    ),
    Metric(
        "fidelity_stage_looked_timestamp_seconds", "seconds", ("stage",),
        "When the stage was last looked at, Unix time. Absent if no look at it succeeded.",
        _stage(lambda each: _seconds(each.looked_at)),
    ),
    Metric(
        "fidelity_stage_first_event_timestamp_seconds", "seconds", ("stage",),
        "The earliest event time that was seen, Unix time.",
        _stage(lambda each: _seconds(each.first_event)),
    ),
    Metric(
        "fidelity_stage_last_event_timestamp_seconds", "seconds", ("stage",),
        "The latest event time that was seen, Unix time.",
        _stage(lambda each: _seconds(each.last_event)),
    ),
    Metric(
        "fidelity_observed_records", "records", _STREAM,
        "Records seen at the stage, duplicates and unexpected ones too.",
        _count("observed"),
    ),
    Metric(
        "fidelity_expected_records", "records", _STREAM,
        "Records of the reference.",
        _count("expected"),
    ),
    Metric(
        "fidelity_delivered_records", "records", _STREAM,
        "Records of the reference that are here, each once.",
        _count("delivered"),
    ),
    Metric(
        "fidelity_lost_records", "records", _STREAM,
        "Records missing from settled windows that were seen at both sides.",
        _count("lost"),
    ),
    Metric(
        "fidelity_in_flight_records", "records", _STREAM,
        "Records missing from windows that have not settled.",
        _count("in_flight"),
    ),
    Metric(
        "fidelity_filtered_records", "records", _STREAM,
        "Records missing by contract (keep, sample).",
        _count("filtered"),
    ),
    Metric(
        "fidelity_unaudited_records", "records", _STREAM,
        "Records missing where the stage was not seen: they may be there.",
        _count("unaudited"),
    ),
    Metric(
        "fidelity_duplicate_records", "records", _STREAM,
        "Copies beyond those of the reference.",
        _count("duplicates"),
    ),
    Metric(
        "fidelity_unexpected_records", "records", _STREAM,
        "Records that the reference does not have.",
        _count("unexpected"),
    ),
    Metric(
        "fidelity_stream_verdict", "", (*_STREAM, "verdict"),
        "1 for the worst verdict of the windows of the stream, 0 for the other verdicts.",
        _stream_verdicts,
    ),
    Metric(
        "fidelity_stream_completeness_ratio", "ratio", _STREAM,
        "Records delivered of those that were due (expected less filtered). Absent if none was.",
        _stream(lambda each: each.completeness),
    ),
    Metric(
        "fidelity_stream_nines_low", "", _STREAM,
        "Nines of completeness: the lower bound of the 95 % interval. Absent if none was due.",
        _stream(lambda each: each.nines_low),
    ),
    Metric(
        "fidelity_lag_seconds", "seconds", ("stage", "stream", "quantile"),
        "Within how long so many records had come (arrival less event time): an upper bound, of all"
        " settled windows that were seen. Absent if no arrival is known.",
        lambda facts: _quantiles(facts.all_lags),
    ),
    Metric(
        "fidelity_newest_lag_seconds", "seconds", ("stage", "stream", "quantile"),
        "The same of the newest settled window. Absent for a stream without records in it.",
        lambda facts: _quantiles(facts.newest_lags),
    ),
    Metric(
        "fidelity_lag_measured_records", "records", ("stage", "stream"),
        "How many records fidelity_lag_seconds is told of.",
        _measured,
    ),
    Metric(
        "fidelity_other_streams", "streams", (),
        "Streams that there was no room for, added up as stream _other.",
        _one(lambda facts: len(facts.other_streams)),
    ),
    Metric(
        "fidelity_differing_records", "records", (*_STREAM, "origin", "kind"),
        "Copies that are lost, duplicate or unexpected, of those that could be named, by producer."
        " Only with origins; a producer without any is absent.",
        lambda facts: (
            (labels, copies) for labels, copies in facts.origins[0].items()
        ),
    ),
    Metric(
        "fidelity_other_origins", "origins", (),
        "Producers with differences that there was no room for, added up as origin _other."
        " Only with origins.",
        lambda facts: [((), facts.origins[1])] if facts.with_origins else [],
    ),
)  # fmt: skip
"""Names, units and labels are a contract: more may be added, none is renamed."""
