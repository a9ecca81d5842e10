"""What is said of a scope that does not meet a target, and what to do about it."""

from typing import Any

from fidelity.config.values import duration_text, share_text
from fidelity.reconcile.findings.differing import ADVICE
from fidelity.report import Kind, iso
from fidelity.report.figures import percent, records

_KINDS: dict[str, Kind] = {
    "completeness": "lost",
    "duplicates": "duplicate",
    "unexpected": "unexpected",
}
_WHY = {
    "unaudited": "a stage was not looked at since the window settled, or since the other one grew",
    "unseen": "records that could not be read may belong to it",
    "silent": "a producer fell silent",
    "lower-bound": "records could only be counted, so more may differ",
    "nothing": "nothing was seen there",
    "surplus": "duplicates are not established while the reference may have grown",
}
_DO = {
    "unaudited": "Scan and audit again.",
    "unseen": "See the findings of the report: a unit is unreadable, trimmed or cut.",
    "silent": "Check that the producer runs and that its records reach the source.",
    "lower-bound": "Audit again while the records of both stages can still be read.",
    "nothing": "Check where the stage is, and that it was scanned.",
    "surplus": "Scan and audit again.",
}


def missed(kind: str, part: int, whole: int, target: float) -> str:
    """By how much a share misses its target."""
    share = part / max(whole, 1)
    if kind == "completeness":
        told = f"{part:,} of {records(whole)} {_are(part)} lost: {percent(1 - share)} came"
        return f"{told}, at least {_wanted(target)} wanted."
    what = {
        "duplicates": "a further copy" if part == 1 else "further copies",
        "unexpected": "unexpected",
        "flaws": "flawed",
    }[kind]
    told = f"{part:,} of {records(whole)} {_are(part)} {what}: {_percent_up(share)}"
    return f"{told}, at most {_wanted(target)} allowed."


def unproven(kind: str, whole: int, target: float, needed: int) -> str:
    """A target that so few records cannot prove."""
    return f"{records(whole)} cannot prove {kind} of {_wanted(target)}: it takes {records(needed)}."


def late(quantile: str, count: int, upper: int | None, lower: int | None, most: int) -> str:
    """A lag beyond its target."""
    share = "all of" if quantile == "max" else f"{quantile[1:]} % of"
    least = "" if lower is None else f" at least {_duration(lower)}"
    upto = "" if upper is None else f" (at most {_duration(upper)})"
    return f"{share} {records(count)} took{least}{upto} to come, at most {_duration(most)} allowed."


def lag_unknown(row: dict[str, Any], upper: int | None, lower: int | None, most: int) -> str:
    """Why a lag cannot be told from its target."""
    if not row["seen"]:
        return "the stage was not seen as a whole: later records may be among the unseen."
    if row["measured"] < row["records"]:
        rest = row["records"] - row["measured"]
        return f"the arrival of {rest:,} of {records(row['records'])} is not known."
    return (
        f"it lies between {_duration(lower or 0)} and {_duration(upper or 0)}, and so does the "
        f"target of {_duration(most)}: the histogram is no finer."
    )


def lag_action(row: dict[str, Any], upper: int | None) -> str:
    """What to do about a lag that cannot be told."""
    if not row["seen"]:
        return _DO["unaudited"]
    if row["measured"] < row["records"]:
        return "Set no lag for a stage whose records carry no arrival."
    bound = _duration(-(-(upper or 0) // 1000) * 1000)
    return f"Set the target to {bound}, a bound of the histogram."


def old(as_of: int, watermark: int | None, age: int, most: int) -> str:
    """A watermark that is older than it may be."""
    what = "there is no watermark" if watermark is None else f"the watermark is {iso(watermark)}"
    least = "at least " if watermark is None else ""
    return (
        f"{what}, {least}{_duration(age)} before {iso(as_of)}; at most {_duration(most)} allowed."
    )


OLD_ACTION = "Look at the first window that did not pass: nothing after it counts until it does."


def unknown(reasons: list[str]) -> str:
    """Why something is unknown, in a sentence."""
    return "; ".join(_WHY.get(each, each) for each in reasons) + "."


def unknown_action(reasons: list[str]) -> str:
    """What to do about the first of the reasons."""
    return next((_DO[each] for each in reasons if each in _DO), "")


def action(kind: str, stage: str, reference: str, hops: list[str]) -> str:
    """What to do about a target missed; `hops`: where what is seen end to end came about."""
    if kind == "flaws":
        return "Look at the positions in the findings: a broken record counts for nothing."
    if hops:
        return f"It came about on the way, at {' and '.join(hops)}: look there."
    return ADVICE[_KINDS[kind]].format(stage=stage, reference=reference)


def lag_advice(stage: str) -> str:
    """What to do about records that come late."""
    return f"Look at what carries records to {stage}: its backlog, its batches, its clock."


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _wanted(target: float) -> str:
    return share_text(target).replace("%", " %")


def _percent_up(share: float) -> str:
    """A share of what should not be, rounded up: never better than it is."""
    if share >= 1:
        return "100 %"
    rest = percent(1 - share).removesuffix(" %")
    whole, _, fraction = rest.partition(".")
    units = 10 ** len(fraction)
    left = 100 * units - int(whole + fraction)
    text = f"{left // units}.{left % units:0{len(fraction)}d}" if fraction else f"{left}"
    return f"{text} %"


def _duration(microseconds: int) -> str:
    """A duration without what is finer than matters."""
    size = abs(microseconds)
    step = 1_000_000 if size >= 60_000_000 else 1_000 if size >= 1_000_000 else 1
    text = duration_text(size // step * step) if size >= 1_000 else f"{size}us"
    return text if microseconds >= 0 else f"-{text}"
