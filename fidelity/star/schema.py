"""The tables of the star: each column with its unit, its meaning, and whether it may be added up.

They are in the Parquet files as metadata of their fields, and docs/star.md shows them. What has
been published is never renamed and never changes its meaning: VERSION counts what is added.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from fidelity.report import LAG_BUCKETS, TIME

VERSION = 1

Adds = Literal["yes", "no"]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the star: what one row of it is, and its columns."""

    name: str
    grain: str
    schema: pa.Schema
    by_day: bool = False  # the folder day=YYYY-MM-DD of a file is one more column


def _column(name: str, kind: pa.DataType, unit: str, meaning: str, adds: Adds = "no") -> pa.Field:
    """A column; `adds`: over the streams and windows of one stage and reference, current rows."""
    return pa.field(name, kind, metadata={"unit": unit, "meaning": meaning, "additive": adds})


def _count(name: str, meaning: str, unit: str = "records") -> pa.Field:
    return _column(name, pa.int64(), unit, meaning, "yes")


def _text(name: str, meaning: str) -> pa.Field:
    return _column(name, pa.string(), "", meaning)


_PIPELINE = _text("pipeline", "The pipeline's name.")
_RUN = _text("run", "The name of the run that says so.")
_STATEMENT = _column(
    "statement_key", pa.int64(), "",
    "Which statement the row belongs to: joins dim_statement, and so dim_run. A row whose "
    "statement is not there, or is not live, does not count.",
)  # fmt: skip
_STAGE = _text("stage", "The stage's name: joins dim_stage.")
_AGAINST = _text(
    "against",
    "What the stage is held against: `source`, the stage before, or null at the source itself. "
    "Rows of different references tell the same records: never add them up.",
)
_WINDOW = _column("window", TIME, "UTC", "Start of the window of event time: joins dim_window.")
_STREAM = _text("stream", "The kind of record: joins dim_stream.")
_KEYS = [_STATEMENT, _PIPELINE, _RUN]

FACT_BALANCE = Table(
    "fact_balance",
    "one row for each statement, stage, against and stream",
    pa.schema(
        [
            *_KEYS,
            _STAGE,
            _text("after", "The stage before; null at the source."),
            _AGAINST,
            _WINDOW,
            _STREAM,
            _count("observed", "Records seen here: delivered + duplicates + unexpected."),
            _count(
                "expected",
                "Records due here: delivered + lost + in_flight + filtered + unaudited; null at "
                "the source.",
            ),
            _count("delivered", "Records due that are here; null at the source."),
            _count("lost", "Records due that are not here, the window having settled."),
            _count("in_flight", "Records due that are not here yet; the window has not settled."),
            _count("filtered", "Records that a contract (keep, sample) keeps from here."),
            _count("unaudited", "Records due of which nothing can be said: not all could be seen."),
            _count("duplicates", "Copies beyond those that the reference has.", "copies"),
            _count("unexpected", "Records here that the reference does not have."),
            _column(
                "completeness", pa.float64(), "share",
                "delivered / (expected - filtered) of this row; null when nothing was due. Never "
                "average it: divide the sums.",
            ),
            _column(
                "nines", pa.float64(), "nines",
                "-log10 of the share missing; null when nothing is missing.",
            ),
            _column(
                "nines_low", pa.float64(), "nines",
                "Lower end of the 95 % interval of nines (Clopper-Pearson).",
            ),
            _column(
                "nines_high", pa.float64(), "nines",
                "Upper end of that interval; null when nothing is missing.",
            ),
            _column(
                "measurable", pa.bool_(), "",
                "Whether so many records can tell the target from a miss.",
            ),
            _text("evidence", "What the figures rest on: digest, peeled, traced or counts."),
            _text("verdict", "pass, fail, pending or unknown."),
            _column("settled", pa.bool_(), "", "Whether the window had settled."),
            _column(
                "reasons", pa.list_(pa.string()), "",
                "Why the verdict is not pass, as kinds of finding.",
            ),
            _column(
                "surplus_shown",
                pa.bool_(),
                "",
                "Whether duplicates and unexpected are established, not just seen.",
            ),
        ]
    ),
    by_day=True,
)  # fmt: skip

FACT_DIFFERENCE = Table(
    "fact_difference",
    "one row for each statement, stage, against, stream, origin and id whose count differs",
    pa.schema(
        [
            *_KEYS,
            _STAGE,
            _AGAINST,
            _WINDOW,
            _STREAM,
            _text("origin", "Who produced the record: a host, a pod."),
            _column("sequence", pa.int64(), "", "Its producer's number; null for opaque ids."),
            _column("id", pa.int64(), "", "The 4-byte id, as a number from 0 to 2^32 - 1."),
            _text("kind", "lost, duplicate or unexpected."),
            _count("copies", "How many copies are lost, doubled or unexpected.", "copies"),
            _text("path", "Where it can be read: file, or topic; null if that is not known."),
            _column("partition", pa.int32(), "", "Kafka's partition; null elsewhere."),
            _column("offset", pa.int64(), "", "Byte of the file, or offset in the partition."),
        ]
    ),
    by_day=True,
)

FACT_FLAW = Table(
    "fact_flaw",
    "one row for each run, stage and kind of flaw; in the folder of the day of the run's as_of",
    pa.schema(
        [
            *_KEYS,
            _STAGE,
            _text("kind", "malformed, unstamped, untimed, unattributed or future."),
            _column(
                "records", pa.int64(), "records",
                "Flawed records of the stage up to this run: a level, to be compared between runs "
                "and not added up over them. A flawed record has no window that could be trusted.",
            ),
        ]
    ),
    by_day=True,
)  # fmt: skip

FACT_LAG = Table(
    "fact_lag",
    "one row for each statement, stage and stream",
    pa.schema(
        [
            *_KEYS,
            _STAGE,
            _WINDOW,
            _STREAM,
            _count("records", "Records observed."),
            _count("measured", "Records whose arrival is known: the lags are theirs."),
            _column("settled", pa.bool_(), "", "Whether the window had settled."),
            _column(
                "seen",
                pa.bool_(),
                "",
                "Whether it was looked at since it settled, so that no later record may belong to "
                "it unseen.",
            ),
            *(
                _column(
                    f"{name}_us",
                    pa.int64(),
                    "microseconds",
                    f"Arrival - event time, {what}: never understated. Null: nothing measured.",
                )
                for name, what in (
                    ("p50", "that half of the records do not exceed"),
                    ("p90", "that 90 % of the records do not exceed"),
                    ("p99", "that 99 % of the records do not exceed"),
                    ("max", "at most"),
                )
            ),
            _column(
                "buckets",
                LAG_BUCKETS,
                "",
                "The histogram that they are taken from. Add these up, bucket by bucket, and take "
                "the quantiles of the sum.",
            ),
        ]
    ),
    by_day=True,
)

FACT_DAY = Table(
    "fact_day",
    "one row for each merged day, pipeline, stage, against and stream: the current rows of "
    "fact_balance, added up. It counts if `part` and `statements` are those of the day's "
    "statements in dim_statement; of several merges the one counts whose name sorts last",
    pa.schema(
        [
            _column("day", pa.date32(), "UTC", "The day of the windows."),
            _text("merge", "Name of the merge that wrote the row, and its file."),
            _text("part", "Name of the files that they were made from."),
            _column(
                "statements", pa.int64(), "", "How many statements of the day it was made from."
            ),
            _PIPELINE,
            _STAGE,
            _text("after", "The stage before; null at the source."),
            _AGAINST,
            _STREAM,
            *(
                _count(verdict, f"Windows of the stream whose verdict is {verdict}.", "windows")
                for verdict in ("pass", "fail", "pending", "unknown")
            ),
            *(
                pa.field(each.name, each.type, metadata=each.metadata)
                for each in FACT_BALANCE.schema
                if each.metadata[b"additive"] == b"yes"
            ),
        ]
    ),
)

DIM_RUN = Table(
    "dim_run",
    "one row for each run that was published; the row that was published last counts",
    pa.schema(
        [
            _column("run_key", pa.int64(), "", "Key of this publication of the run."),
            _PIPELINE,
            _text("run", "The run's name."),
            _column(
                "as_of", TIME, "UTC",
                "The run's clock, which decides what has settled. Of two runs the one with the "
                "later as_of is the newer; of equal ones, the one whose name sorts last.",
            ),
            _text("known_at", "The version of the ledger that was asked for; null: the newest."),
            _text("verdict", "Of the whole run: pass, fail, pending or unknown."),
            _column(
                "watermark", TIME, "UTC",
                "End of the last window before which every window passed; null if none did.",
            ),
            _column("window_us", pa.int64(), "microseconds", "Length of a window."),
            _column("settle_us", pa.int64(), "microseconds", "When after its end it settles."),
            _column("interval_start", TIME, "UTC", "Of what it was narrowed to; null: everything."),
            _column("interval_end", TIME, "UTC", "The end, which is not part of it."),
            _column(
                "coincident_ids", pa.float64(), "pairs",
                "Expected pairs of records of different producers that share an id in one scope.",
            ),
            _column(
                "hidden_losses", pa.float64(), "records",
                "Expected losses that an equal id may hide: 0 unless ids are opaque.",
            ),
            _column("errors", pa.int64(), "findings", "Findings of severity error."),
            _column("warnings", pa.int64(), "findings", "Findings of severity warning."),
            _column("published_at", TIME, "UTC", "When it was published."),
            _column("content", pa.int64(), "", "Digest of what was published."),
            _column("version", pa.int32(), "", "Version of the star's schema that wrote it."),
        ]
    ),
)  # fmt: skip

DIM_STATEMENT = Table(
    "dim_statement",
    "one row for each window that a run speaks of, and one, without a window, for the run as a "
    "whole; of equal ones the row with the highest level counts",
    pa.schema(
        [
            _STATEMENT,
            _column("run_key", pa.int64(), "", "Joins dim_run."),
            _WINDOW,
            _column("day", pa.date32(), "UTC", "The folder of its rows: the day of the window."),
            _column("level", pa.int32(), "", "How often its rows were merged with others."),
            _text("part", "Name of the files that hold its rows, without .parquet."),
            _column("digest", pa.int64(), "", "Digest of its rows."),
            _column("balances", pa.int64(), "rows", "Its rows of fact_balance."),
            _column("unsettled", pa.int64(), "rows", "... whose window had not settled."),
            _column("differences", pa.int64(), "rows", "Its rows of fact_difference."),
            _column("flaws", pa.int64(), "rows", "Its rows of fact_flaw."),
            _column("lags", pa.int64(), "rows", "Its rows of fact_lag."),
        ]
    ),
)

DIM_STAGE = Table(
    "dim_stage",
    "one row for each stage of a pipeline, as last published",
    pa.schema(
        [
            _PIPELINE,
            _text("stage", "The stage's name."),
            _column("position", pa.int32(), "", "Its place in the pipeline file, from 0."),
            _text("kind", "files, kafka or manifests."),
            _text("after", "The stage before; null at the source."),
            _text("place", "Its paths, or its topics."),
        ]
    ),
)

DIM_STREAM = Table(
    "dim_stream",
    "one row for each stream of a pipeline",
    pa.schema([_PIPELINE, _text("stream", "The stream's name.")]),
)

DIM_WINDOW = Table(
    "dim_window",
    "one row for each window of a month in which something was published",
    pa.schema(
        [
            _column("window", TIME, "UTC", "Start of the window."),
            _column("window_end", TIME, "UTC", "Its end, which is not part of it."),
            _column("window_us", pa.int64(), "microseconds", "Its length."),
            _column("day", pa.date32(), "UTC", "Day of its start."),
            _column("hour", pa.int32(), "", "Hour of its start, 0 to 23."),
            _column("weekday", pa.int32(), "", "Day of the week of its start: 1 Monday, 7 Sunday."),
            _column("week", pa.int32(), "", "Its ISO week."),
            _column("month", pa.date32(), "UTC", "First day of its month."),
        ]
    ),
)

FACTS = (FACT_BALANCE, FACT_DIFFERENCE, FACT_FLAW, FACT_LAG)
DIMENSIONS = (DIM_RUN, DIM_STATEMENT, DIM_STAGE, DIM_STREAM, DIM_WINDOW)
TABLES = (*FACTS, FACT_DAY, *DIMENSIONS)
