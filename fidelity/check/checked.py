"""What checking a report came to: a verdict, the expectations, and what did not pass."""

from dataclasses import dataclass, field
from typing import Any, Literal

from fidelity.errors import FidelityError
from fidelity.report import Verdict, iso

RowVerdict = Literal["fail", "unknown", "not measurable", "not judged"]
Judgement = Verdict | Literal["not measurable", "not judged"]
Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Row:
    """One expectation that one scope does not meet, or of which that cannot be told."""

    expectation: str  # completeness, duplicates, lag p99, seen, ...; else by the user's name
    stage: str  # "" if it is about no single stage
    against: str | None  # "source" or the stage before; None if nothing is compared
    stream: str
    window: int | None  # start, microseconds
    observed: Any  # in the unit of the target: a share, microseconds, or a column's value
    target: Any
    verdict: RowVerdict
    message: str
    action: str
    records: int = 0  # how many records it is about: what is worse stands first
    elsewhere: bool = False  # it came about at another hop, which has a row of its own

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("expectation", "stage", "against", "stream", "observed", "target", "verdict")
        plain = {name: getattr(self, name) for name in names}
        window = None if self.window is None else iso(self.window)
        more = {"records": self.records, "message": self.message, "action": self.action}
        return {**plain, "window": window, **more}


@dataclass(frozen=True, slots=True)
class Expected:
    """One expectation, and how many scopes it was held against."""

    name: str
    over: str  # balances, lags, stages, pipeline
    kind: str  # by Great Expectations' name
    verdict: Judgement
    passed: int = 0
    failed: int = 0
    unknown: int = 0
    pending: int = 0
    not_measurable: int = 0
    tolerated: int = 0  # miss it, and `mostly` lets them
    observed: Any = None  # of an expectation about a whole table

    @property
    def counts(self) -> tuple[int, ...]:
        """Scopes that pass, fail, are unknown, pending, or too small to prove it."""
        return self.passed, self.failed, self.unknown, self.pending, self.not_measurable

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer. `rows` are the worst first; what passed is only counted."""

    pipeline: str
    run: str
    as_of: int  # microseconds
    within: tuple[int, int] | None  # the windows that were judged; None: all
    verdict: Verdict
    expectations: tuple[Expected, ...]
    rows: tuple[Row, ...]
    results: tuple[Any, ...] = field(default=(), repr=False, compare=False)  # the library's own
    place: str = ""  # where they are kept, the page's address
    errors: tuple[FidelityError, ...] = ()  # what went wrong without keeping it from being judged

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "pipeline": self.pipeline,
            "run": self.run,
            "as_of": iso(self.as_of),
            "within": None if self.within is None else [iso(at) for at in self.within],
            "verdict": self.verdict,
            "page": self.place or None,
            "expectations": [each.document() for each in self.expectations],
            "rows": [row.document() for row in self.rows],
        }
