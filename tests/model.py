"""What the books mean, in plain Python: the model that the audit must equal.

A stage is a list of Record; ids are a multiset per (window, stream, origin).
"""

from collections import Counter
from typing import NamedTuple

WINDOW = 600_000_000


class Record(NamedTuple):
    """One stamped record, as a producer made it."""

    stream: str
    origin: str
    id: int
    time: int  # microseconds


class Books(NamedTuple):
    """The books of one scope, or of a whole stage."""

    expected: int
    delivered: int
    lost: int
    duplicates: int
    unexpected: int

    @property
    def observed(self) -> int:
        return self.delivered + self.duplicates + self.unexpected


Key = tuple[int, str, str, int]  # window, stream, origin, id


def multiset(records: list[Record]) -> Counter[Key]:
    """How often each id stands in each (window, stream, origin)."""
    return Counter((r.time - r.time % WINDOW, r.stream, r.origin, r.id) for r in records)


def books(reference: Counter[Key], here: Counter[Key]) -> Books:
    """The books of `here` against `reference`, by DESIGN section 5."""
    delivered = (reference & here).total()
    surplus = here - reference
    duplicates = sum(count for key, count in surplus.items() if reference[key])
    return Books(
        expected=reference.total(),
        delivered=delivered,
        lost=reference.total() - delivered,
        duplicates=duplicates,
        unexpected=surplus.total() - duplicates,
    )


def differences(reference: Counter[Key], here: Counter[Key]) -> Counter[tuple[Key, str]]:
    """Every id whose count differs, by kind, with the number of copies."""
    found: Counter[tuple[Key, str]] = Counter()
    for key, copies in (reference - here).items():
        found[key, "lost"] = copies
    for key, copies in (here - reference).items():
        found[key, "duplicate" if reference[key] else "unexpected"] = copies
    return found


def scopes(multiset: Counter[Key]) -> dict[tuple[int, str], Counter[Key]]:
    """A multiset by (window, stream)."""
    split: dict[tuple[int, str], Counter[Key]] = {}
    for key, copies in multiset.items():
        split.setdefault(key[:2], Counter())[key] = copies
    return split
