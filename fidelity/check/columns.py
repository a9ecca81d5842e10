"""The columns of what expectations are held against: one table for each grain of the report."""

SHARES = ("completeness", "not_lost", "duplicates_share", "unexpected_share", "flaws_share")
"""Columns whose values are shares: an argument may be written `99.9%`."""

_SCOPE = {
    "stage": "the stage",
    "window": "start of the window, ISO 8601 in UTC",
    "stream": "the stream",
}
_COUNTS = {
    "observed": "records seen at the stage",
    "expected": "records of the reference; null at the source",
    "delivered": "records of the reference that are here; null at the source",
    "lost": "missing, and established as lost",
    "in_flight": "missing in windows that have not settled",
    "filtered": "missing by contract",
    "unaudited": "missing where the stage was not seen",
    "duplicates": "further copies",
    "unexpected": "records that the reference does not have",
}
_PROOF = {
    "completeness": "delivered / (expected - filtered); null if nothing was due",
    "nines": "-log10(1 - completeness); null if nothing is missing",
    "nines_low": "lower end of its 95 % interval",
    "nines_high": "upper end of it; null if nothing is missing",
    "evidence": "digest, peeled, traced or counts; null at the source",
    "verdict": "the report's own: pass, fail, unknown or pending",
    "reasons": "why it is not pass, with commas; empty if it is",
}
_AGAINST = {
    "after": "the stage before; null at the source",
    "against": "`source`, the stage before, or null at the source",
}

COLUMNS: dict[str, dict[str, str]] = {
    "balances": {
        **_SCOPE,
        **_AGAINST,
        **_COUNTS,
        **_PROOF,
        "not_lost": "1 - lost / (expected - filtered); null where it is not judged",
        "not_lost_target": "the target for completeness",
        "duplicates_share": "duplicates / observed; null where it is not judged",
        "duplicates_target": "the target for duplicates",
        "unexpected_share": "unexpected / observed; null where it is not judged",
        "unexpected_target": "the target for unexpected records",
        "unknown": "what was not seen, if that may hide something; else null",
    },
    "lags": {
        **_SCOPE,
        "records": "records seen at the stage",
        "measured": "... whose arrival is known",
        "p50_us": "microseconds within which half of them had come, never understated",
        "p90_us": "... nine of ten",
        "p99_us": "... 99 of 100",
        "max_us": "... all",
    },
    "stages": {
        "stage": "the stage",
        **_AGAINST,
        **_COUNTS,
        **_PROOF,
        "records": "records read at the stage, flawed ones too",
        "flawed": "flawed records; null in a report of some windows: they have none",
        "flaws_share": "flawed / records, once for each stage; null where it is not judged",
        "flaws_target": "the target for flaws",
        "unknown": "what was not seen, if no window tells it and it may hide something; else null",
    },
    "pipeline": {
        "pipeline": "its name",
        "run": "the run",
        "watermark_age_us": "as_of - watermark, microseconds; null where it is not judged",
        "watermark_age_target_us": "the target for it",
        "unknown": "why it cannot be told, else null",
    },
}
"""By table, what each column means. A row of `balances` is a stage, against, window and stream; of
`lags` a stage, window and stream; of `stages` a stage and against; `pipeline` has one row."""

TEXTS = (
    "stage", "window", "stream", "after", "against", "evidence", "verdict", "reasons", "unknown",
    "pipeline", "run",
)  # fmt: skip
"""Columns of text: what is compared with them stays as it is written in the file."""
