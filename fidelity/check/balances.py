"""The targets of the balances: completeness, duplicates, unexpected, and that all was seen.

Law: the verdict of a row here is the verdict that reconciling gives it by the same targets, since
both ask `report.judging`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fidelity.check import words
from fidelity.check.checked import Row
from fidelity.check.questions import (
    JUDGED,
    NOT_ASKED,
    PENDING,
    UNKNOWN,
    UNPROVEN,
    Question,
    States,
    Table,
    at_least,
    at_most,
    iso_column,
    judged,
    known,
)
from fidelity.config import Pipeline
from fidelity.config.values import nearest
from fidelity.edges import SOURCE, path
from fidelity.reconcile.books import BLIND
from fidelity.report import Report, with_plain_window
from fidelity.report.judging import beyond, enough, kept, needed, share_of, short

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KINDS = ("completeness", "duplicates", "unexpected")
TARGETS = "targets"
"""What is told of a stream's targets as a whole."""


def balances(pipeline: Pipeline, report: Report) -> Table:
    """The table of balances with its questions."""
    return _Balances(pipeline, report).table()


def streams_unseen(pipeline: Pipeline, report: Report) -> list[Row]:
    """A row for each stream with targets of its own that nobody saw: it may be misspelt.

    It may as well have had no records yet, of which none are lost, so it is not judged.
    """
    seen = sorted(set(report.balances["stream"].to_pylist()))
    return [
        Row(
            TARGETS, stage="", against=None, stream=name, window=None, observed=None, target=None,
            verdict="not judged",
            message=f"no stream `{name}` was seen, so its targets are held against nothing.",
            action=nearest(name, seen) or "Names under `targets: streams:` are taken as written.",
        )
        for name in pipeline.stream_targets
        if name not in seen
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Kind:
    """One target for every row."""

    part: Ints
    whole: Ints
    target: Floats
    missed: Bools
    states: States


class _Balances:
    def __init__(self, pipeline: Pipeline, report: Report) -> None:
        self.pipeline = pipeline
        self.rows = with_plain_window(report.balances).combine_chunks()
        # A row that fails is told in words: a list is read ten times as fast as a column.
        told = ("stage", "after", "against", "stream", "window")
        self.told: dict[str, list[Any]] = {name: self.rows[name].to_pylist() for name in told}
        self.source = _mask(pc.is_null(self.rows["against"]))
        self.settled = _mask(self.rows["settled"])
        self.reasons: list[list[str]] = self.rows["reasons"].to_pylist()
        self.blind = np.array([any(why in BLIND for why in each) for each in self.reasons], bool)
        self.hop_rows: dict[str, set[tuple[str, int, str]]] = {}
        self.kinds = {kind: self.judge(kind) for kind in KINDS}

    def ints(self, name: str) -> Ints:
        return np.asarray(self.rows[name].fill_null(0).to_numpy(), np.int64)

    def judge(self, kind: str) -> _Kind:
        """Where a target is missed, and where that can be told."""
        target = self.targets(kind)
        if kind == "completeness":
            part, whole = self.ints("lost"), self.ints("expected") - self.ints("filtered")
            shown, over = np.ones(len(part), bool), short(whole, part, target)
            proven = enough(whole, target)
        else:
            part, whole = self.ints(kind), self.ints("observed")
            shown, over = self.shown(), beyond(part, whole, target)
            proven = enough(whole, 1 - target)
        missed = over & shown & self.settled & ~self.source
        # What would miss the target, were it established, hides behind what was not seen.
        self.blind |= over & ~shown & self.settled & ~self.source
        states = np.full(len(part), JUDGED, np.int8)
        states[~proven] = UNPROVEN
        states[self.blind] = UNKNOWN
        states[missed] = JUDGED
        states[~self.settled] = PENDING
        states[self.source | (whole == 0) & ~missed] = NOT_ASKED
        return _Kind(part, whole, target, missed, states)

    def targets(self, kind: str) -> Floats:
        streams = self.rows["stream"].combine_chunks().dictionary_encode()
        names = streams.dictionary.to_pylist()
        each = np.array([getattr(self.pipeline.targets_for(name), kind) for name in names], float)
        return each[np.asarray(streams.indices)] if len(names) else np.empty(0)

    def shown(self) -> Bools:
        """Where a surplus is established. Older runs tell by their reasons only."""
        column = self.rows["surplus_shown"]
        found = _mask(column.fill_null(False))
        if not column.null_count:
            return found
        told = [not set(each) & {*BLIND} or bool(set(each) & {*KINDS}) for each in self.reasons]
        return np.where(_mask(pc.is_null(column)), np.array(told, bool), found)

    def table(self) -> Table:
        missed = np.logical_or.reduce([kind.missed for kind in self.kinds.values()])
        seen = np.full(len(self.rows), JUDGED, np.int8)
        seen[~self.settled] = PENDING
        unknown = self.blind & ~missed & (seen == JUDGED)
        reasons = pa.array([",".join(each) for each in self.reasons], pa.string())
        at = self.rows.schema.get_field_index("window")
        data = self.rows.set_column(at, "window", iso_column(self.told["window"]))
        data = data.drop_columns(["reasons", "settled", "surplus_shown", "measurable"])
        table = Table("balances", data, self.settled)
        table.add(reasons=reasons, unknown=_unknown(self.reasons, unknown))
        table.questions = [self.question(kind, table) for kind in KINDS]
        table.questions.append(
            Question(
                name="seen",
                over="balances",
                tell=self.tell_unknown,
                **known("unknown", seen),
                notes="Every settled window was seen as a whole, so nothing can hide in it.",
            )
        )
        return table

    def question(self, kind: str, table: Table) -> Question:
        found = self.kinds[kind]
        name = "not_lost" if kind == "completeness" else f"{kind}_share"
        target = name.replace("_share", "") + "_target"
        if kind == "completeness":
            share, words_of = kept(found.whole, found.part), at_least
        else:
            share, words_of = share_of(found.part, found.whole), at_most
        table.add(
            **{name: judged(share, found.states), target: pa.array(found.target, pa.float64())}
        )
        return Question(
            name=kind,
            over="balances",
            tell=lambda at, state: self.tell(kind, at, state),
            **words_of(name, target, found.states, notes=_NOTES[kind]),
        )

    def tell(self, kind: str, at: int, state: int) -> Row:
        """A row that misses a target, or that has too few records for it."""
        found = self.kinds[kind]
        part, whole = int(found.part[at]), int(found.whole[at])
        target, stage = float(found.target[at]), self.text("stage", at)
        share, hops = part / max(whole, 1), self.hops(kind, at)
        verdict, action = "fail", words.action(kind, stage, self.reference(at), hops)
        message = words.missed(kind, part, whole, target)
        if state == UNPROVEN:
            least = needed(target if kind == "completeness" else 1 - target)
            message = words.unproven(kind, whole, target, least)
            verdict, action = "not measurable", "Judge it over longer windows, or by the totals."
        return self.row(
            kind, at, verdict, message, action,
            observed=1 - share if kind == "completeness" else share,
            target=target,
            records=part,
            elsewhere=bool(hops),
        )  # fmt: skip

    def tell_unknown(self, at: int, state: int) -> Row:  # noqa: ARG002 - there is one state only
        why = _blind_reasons(self.reasons[at])
        message, action = words.unknown(why), words.unknown_action(why)
        observed = ",".join(why)
        return self.row("seen", at, "unknown", message, action, observed=observed, target=None)

    def row(self, name: str, at: int, verdict: Any, message: str, action: str, **more: Any) -> Row:
        return Row(
            name,
            stage=self.text("stage", at),
            against=self.told["against"][at],
            stream=self.text("stream", at),
            window=self.told["window"][at],
            verdict=verdict,
            message=message,
            action=action,
            **more,
        )

    def text(self, column: str, at: int) -> str:
        return str(self.told[column][at])

    def reference(self, at: int) -> str:
        against = self.text("against", at)
        return self.pipeline.source.name if against == SOURCE else against

    def hops(self, kind: str, at: int) -> list[str]:
        """The stages on the way at which what is told end to end came about."""
        stage, window, stream = (self.told[name][at] for name in ("stage", "window", "stream"))
        if self.told["against"][at] == self.told["after"][at]:
            return []
        way = [each.name for each in path(self.pipeline, stage)[1:]]
        return [name for name in way if (name, window, stream) in self.missed_hops(kind)]

    def missed_hops(self, kind: str) -> set[tuple[str, int, str]]:
        """(stage, window, stream) of the hops that miss a target."""
        if kind not in self.hop_rows:
            hop = _mask(pc.equal(self.rows["against"], self.rows["after"]).fill_null(False))
            rows = self.rows.filter(pa.array(hop & self.kinds[kind].missed))
            names = ("stage", "window", "stream")
            self.hop_rows[kind] = set(zip(*(rows[n].to_pylist() for n in names), strict=True))
        return self.hop_rows[kind]


_NOTES = {
    "completeness": "What was due came: 1 - lost / due is at least the target.",
    "duplicates": "Further copies are at most this share of what was observed.",
    "unexpected": "Records that the reference lacks are at most this share.",
}


def _mask(column: pa.ChunkedArray) -> Bools:
    return np.asarray(column.to_numpy(), np.bool_)


def _blind_reasons(reasons: list[str]) -> list[str]:
    return [why for why in reasons if why in BLIND] or ["surplus"]


def _unknown(reasons: list[list[str]], unknown: Bools) -> pa.Array:
    told = [
        ",".join(_blind_reasons(why)) if is_so else None
        for why, is_so in zip(reasons, unknown.tolist(), strict=True)
    ]
    return pa.array(told, pa.string())
