"""Recount: scopes that observations cannot resolve are settled by reading their records again.

The trace is handed in, so that this module decides only what to ask and whether the answer still
explains the observations: data that changed since it was scanned proves nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import accumulate
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fidelity.edges import Edge
from fidelity.errors import SourceError, UnreadableError
from fidelity.reconcile.outcome import Outcome, Scope, counted, passes
from fidelity.reconcile.peel import Peeled, outcome_of
from fidelity.reconcile.sides import Counts, Ids, meets, same
from fidelity.report import TIME

ASKED = pa.schema([("window", TIME), ("stream", pa.string()), ("id", pa.uint32())])
ANSWER = pa.schema(
    [
        ("origin", pa.string()),
        ("id", pa.uint32()),
        ("r", pa.int64()),  # copies at the reference
        ("d", pa.int64()),  # copies at the stage
    ]
)
CHANGED = "the records read again are not those that were scanned"


class Traced(Protocol):
    """What a trace answers: rows (window, stream, origin, id, r, d), and the scopes it cannot."""

    @property
    def rows(self) -> pa.Table:
        """(window, stream, origin, id, r, d)."""

    @property
    def untraceable(self) -> Mapping[tuple[int, str], str]:
        """(window in microseconds, stream) -> why."""


class Tracer(Protocol):
    """Counts ids at two stages again: all that differ, or those that are asked for."""

    def __call__(
        self,
        reference: str,
        stage: str,
        scopes: Sequence[tuple[int, str]],
        ids: pa.Table | None,
    ) -> Traced:
        """Scopes are (window in microseconds, stream); ids a table of ASKED."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a trace is asked of one scope, told so that a change of either side is another question.

    `sides` is a digest of what both stages saw, producer by producer; `asked` one of the ids to be
    looked up, "" for all that differ.
    """

    reference: str
    stage: str
    window: int  # microseconds
    stream: str
    sides: str
    asked: str


class Memory(Protocol):
    """Answers of earlier traces: tables of ANSWER."""

    def recall(self, questions: Sequence[Question], /) -> Mapping[Question, pa.Table]:
        """Those answers that are known."""

    def note(self, question: Question, answer: pa.Table, /) -> None:
        """Remember an answer that explains what was observed."""


class Forgetful:
    """A memory of nothing."""

    def recall(self, _: Sequence[Question]) -> Mapping[Question, pa.Table]:
        """Nothing."""
        return {}

    def note(self, _: Question, __: pa.Table) -> None:
        """Forgotten at once."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A scope to be counted again, and how an answer becomes its outcome (None: it does not)."""

    scope: Scope
    ids: Ids | None  # to be looked up; None: all that differ
    explain: Callable[[pa.Table], Outcome | None]

    @property
    def question(self) -> Question:
        asked = "" if self.ids is None else sha256(np.unique(self.ids).tobytes()).hexdigest()
        edge, scope = self.scope.edge, self.scope
        return Question(
            edge.reference, edge.stage, scope.window, scope.stream, sides_of(scope), asked
        )

    @property
    def key(self) -> tuple[int, str]:
        return self.scope.window, self.scope.stream


def recount(
    edge: Edge, scopes: Sequence[Scope], tracer: Tracer | None, memory: Memory
) -> list[Outcome]:
    """Scopes of one edge by an exact count of their records; by numbers alone where that fails."""
    cases = [_Case(scope, None, partial(_of_trace, scope)) for scope in scopes]
    answers = _answers(edge, cases, tracer, memory)
    return [
        counted(scope, answer) if isinstance(answer, str) else answer
        for scope, answer in zip(scopes, answers, strict=True)
    ]


def look_up(
    edge: Edge, peeled: Sequence[Peeled], tracer: Tracer | None, memory: Memory
) -> list[Outcome]:
    """Peeled scopes of one edge whose surplus ids must be looked up in the reference."""
    cases = [_Case(each.scope, each.open, partial(_filled_in, each)) for each in peeled]
    answers = _answers(edge, cases, tracer, memory)
    return [
        guessed(each, answer) if isinstance(answer, str) else answer
        for each, answer in zip(peeled, answers, strict=True)
    ]


def sides_of(scope: Scope) -> str:
    """A digest of what both stages saw of a scope, producer by producer."""
    digest = sha256()
    for line in sorted(scope.lines, key=lambda line: line.origin):
        sides = [(side.records, side.id_sum, side.id_xor) for side in (line.reference, line.here)]
        digest.update(f"{line.origin!r} {sides}\n".encode())
    return digest.hexdigest()


def _answers(
    edge: Edge, cases: Sequence[_Case], tracer: Tracer | None, memory: Memory
) -> list[Outcome | str]:
    """The outcome of each case, remembered or traced, or why there is none."""
    if not cases:
        return []
    questions = [case.question for case in cases]
    known = memory.recall(questions)
    found: list[Outcome | str | None] = [
        case.explain(known[question]) if question in known else None
        for case, question in zip(cases, questions, strict=True)
    ]
    left = [at for at, outcome in enumerate(found) if outcome is None]
    rows, lacking = _trace(edge, [cases[at] for at in left], tracer)
    for at in left:
        case = cases[at]
        if case.key in lacking:
            found[at] = lacking[case.key]
            continue
        answer = rows.get(case.key, ANSWER.empty_table())
        outcome = case.explain(answer)
        found[at] = outcome or CHANGED
        if outcome is not None:
            memory.note(questions[at], answer)
    return [each for each in found if each is not None]


def _trace(
    edge: Edge, cases: Sequence[_Case], tracer: Tracer | None
) -> tuple[Mapping[tuple[int, str], pa.Table], Mapping[tuple[int, str], str]]:
    """Answers (ANSWER) by scope, and why some have none."""
    scopes = [case.key for case in cases]
    if not scopes:
        return {}, {}
    if tracer is None:
        return {}, dict.fromkeys(scopes, "records were not read again")
    try:
        traced = tracer(edge.reference, edge.stage, scopes, _ids_asked(cases))
    except (SourceError, UnreadableError) as error:
        return {}, dict.fromkeys(scopes, str(error))
    return _by_scope(traced.rows), traced.untraceable


def _by_scope(rows: pa.Table) -> dict[tuple[int, str], pa.Table]:
    """The rows of a trace as one table (ANSWER) for each scope."""
    window = pc.cast(rows.column("window"), pa.int64())
    rows = rows.set_column(rows.schema.get_field_index("window"), "window", window)
    rows = rows.sort_by([("window", "ascending"), ("stream", "ascending")])
    scopes = rows.group_by(["window", "stream"], use_threads=False).aggregate([([], "count_all")])
    keys = zip(scopes["window"].to_pylist(), scopes["stream"].to_pylist(), strict=True)
    counts = scopes["count_all"].to_pylist()
    answers = rows.select(ANSWER.names).cast(ANSWER)
    ends = accumulate(counts)
    return {
        key: answers.slice(end - count, count)
        for key, end, count in zip(keys, ends, counts, strict=True)
    }


def _ids_asked(cases: Sequence[_Case]) -> pa.Table | None:
    """A table of ASKED, or None: all that differ."""
    lists = [case.ids for case in cases if case.ids is not None]
    if not lists:
        return None
    repeat = [len(ids) for ids in lists]
    windows = np.repeat(np.array([case.scope.window for case in cases], np.int64), repeat)
    streams = np.repeat(np.array([case.scope.stream for case in cases], object), repeat)
    columns = [pa.array(windows).cast(TIME), pa.array(streams, pa.string())]
    return pa.Table.from_arrays([*columns, pa.array(np.concatenate(lists))], schema=ASKED)


def _origins(answer: pa.Table) -> Iterator[tuple[str, Ids, Counts, Counts]]:
    """(origin, id, r, d) of one scope, producer by producer."""
    ids, r, d = (answer.column(name).to_numpy() for name in ("id", "r", "d"))
    codes = answer.column("origin").combine_chunks().dictionary_encode()
    if isinstance(codes, pa.ChunkedArray):  # of no chunks
        return
    index = codes.indices.to_numpy(zero_copy_only=False)
    for code, origin in enumerate(codes.dictionary.to_pylist()):
        mine = index == code
        yield origin, ids[mine], r[mine], d[mine]


def guessed(peeled: Peeled, doubt: str) -> Outcome:
    """What is missing is exact; a surplus id that may be a copy is taken to be one."""
    known = [np.where(known < 0, 1, known) for known in peeled.known]
    outcome = outcome_of(replace(peeled, known=known))
    outcome.evidence, outcome.doubt = "counts", doubt
    return outcome


def _of_trace(scope: Scope, answer: pa.Table) -> Outcome | None:
    """The outcome of exact counts, or None if they do not explain the observations."""
    outcome = Outcome(evidence="traced")
    open_lines = {line.origin: line for line in scope.lines}
    filtered = 0
    for origin, ids, r, d in _origins(answer):
        line = open_lines.pop(origin, None)
        if line is None or not meets(line.reference, line.here, ids, r - d):
            return None
        due = passes(scope.edge, scope.stream, origin, ids)
        lost, over = (r > d) & due, d > r
        filtered += int((r - d)[(r > d) & ~due].sum())
        outcome.add(origin, "lost", ids[lost], (r - d)[lost])
        again, never = over & (r > 0), over & (r == 0)
        outcome.add(origin, "duplicate", ids[again], (d - r)[again])
        outcome.add(origin, "unexpected", ids[never], (d - r)[never])
    if not all(same(line.reference, line.here) for line in open_lines.values()):
        return None
    # What is neither due nor filtered came through all the same.
    not_due = sum(line.reference.records - line.due.records for line in scope.lines)
    outcome.excused = not_due - filtered
    return outcome


def _filled_in(peeled: Peeled, answer: pa.Table) -> Outcome | None:
    """The outcome with looked-up counts where they were open. None if an id is not where it was."""
    by_origin = {origin: (ids, r, d) for origin, ids, r, d in _origins(answer)}
    known = list(peeled.known)
    for at, (line, ids, copies) in enumerate(peeled.surplus):
        was_open = known[at] < 0
        if not was_open.any():
            continue
        if line.origin not in by_origin:
            return None
        held, r, d = by_origin[line.origin]
        order = np.argsort(held)
        place = np.minimum(np.searchsorted(held, ids, sorter=order), len(held) - 1)
        place = order[place]
        due = passes(peeled.scope.edge, peeled.scope.stream, line.origin, ids)
        over = np.where(due, d[place] - r[place], d[place])
        if not ((held[place] == ids) & (over == copies))[was_open].all():
            return None
        known[at] = np.where(was_open, r[place], known[at])
    outcome = outcome_of(replace(peeled, known=known))
    outcome.evidence = "traced"
    return outcome
