"""Plan the text files of a stage: what of them is new, and what the ledger should know besides.

Law: the units of a plan and the ranges that the ledger has read never overlap, and together they
are all that the files hold (but for a last line that may still grow).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property

from fidelity.config import Stage
from fidelity.sources import columnar
from fidelity.sources.filesystem import Entry, Filesystem, filesystem
from fidelity.sources.fingerprint import Fingerprint, tail_of
from fidelity.sources.globs import files_of
from fidelity.sources.lineage import (
    Known,
    Likeness,
    Probe,
    known_files,
    matched,
    new_identity,
    originals,
)
from fidelity.sources.planning import YEAR_2000, Plan, modified_at, size_at
from fidelity.units import LOOKED, LedgerRow, Status, Unit

SPLIT = 256 << 20
"""Bytes of a plain file that one unit holds at most."""

UNPACKED = 5
"""Bytes of text in a byte of a compressed file, roughly: only to balance the work."""


def plan(stage: Stage, ledger: list[LedgerRow], now: int, settle: int, split: int = SPLIT) -> Plan:
    """What is new in the files of a stage. See sources.plan."""
    if stage.record.format == "parquet":
        return columnar.plan(stage, ledger, now)
    known = known_files(ledger)
    paths = {row.unit.path for row in ledger}
    planner = _Planner(
        stage, _look(stage, known, paths, now, settle), _last_look(ledger), now, settle, split
    )
    if planner.misses_files:
        # A file that is renamed while its folder is listed may be missed under both names.
        planner = replace(planner, look=_look(stage, known, paths, now, settle))
    return planner.plan()


@dataclass
class _Look:
    """What is there, and which known file each is."""

    entries: dict[str, Entry]
    unchanged: list[tuple[Entry, Known]] = field(default_factory=list)
    blocked: list[tuple[Entry, Known | None]] = field(default_factory=list)  # cannot be opened
    changed: list[tuple[Probe, Known | None]] = field(default_factory=list)  # None: a new file
    gone: list[Known] = field(default_factory=list)


def _look(stage: Stage, known: list[Known], paths: set[str], now: int, settle: int) -> _Look:
    holders = _holders(known)
    entries = files_of(stage.paths, stage.options, stage.name, paths)
    look = _Look({entry.path: entry for entry in entries})
    to_probe = []
    for entry in entries:
        holder = holders.get(entry.path)
        if holder and _is_unchanged(entry, holder):
            look.unchanged.append((entry, holder))
        elif entry.size != 0 or entry.problem:
            to_probe.append(entry)
    probes = _probed(to_probe, stage)
    look.blocked = [(p.entry, holders.get(p.entry.path)) for p in probes if p.error]
    there = {one.file for _, one in (*look.unchanged, *look.blocked) if one}
    pool = [one for one in known if one.file not in there]
    readable = [probe for probe in probes if not probe.error and not probe.empty]
    # Later on it is always right to let a file leave and its successor enter; the source's
    # files keep their books, so there what may be the same has to be taken for it.
    least = Likeness.NAME if stage.after is None else Likeness.SURE
    pairs = matched(readable, pool, least)
    settled = now - settle
    live = {entry.path: entry for entry, _ in look.unchanged}
    live |= {path: look.entries[path] for path in pairs}
    look.changed = [
        (probe, pairs.get(probe.entry.path))
        for probe in readable
        if probe.entry.path in pairs or not _is_copy_being_made(probe, live, settled)
    ]
    found = {one.file for one in pairs.values()}
    look.gone = [one for one in pool if one.file not in found]
    return look


def _holders(known: list[Known]) -> dict[str, Known]:
    """The known file that was last seen at each path."""
    holders: dict[str, Known] = {}
    for one in known:
        other = holders.get(one.path)
        newer = other is None or _age(one) > _age(other)
        if newer and not one.lost:
            holders[one.path] = one
    return holders


def _is_unchanged(entry: Entry, one: Known) -> bool:
    same = one.last.unit.version == entry.version and one.fingerprint.head_bytes > 0
    return same and not one.mistaken


def _age(one: Known) -> tuple[int, int]:
    return one.last.commit, one.last.scanned_at


def _probed(entries: list[Entry], stage: Stage) -> list[Probe]:
    stores = [filesystem(entry.path, stage.options) for entry in entries]
    if not any(store.remote for store in stores):
        return [Probe(entry, store) for entry, store in zip(entries, stores, strict=True)]
    with ThreadPoolExecutor(max_workers=32) as threads:
        return list(threads.map(Probe, entries, stores))


def _is_copy_being_made(probe: Probe, live: dict[str, Entry], settled: int) -> bool:
    """Whether rotation is just copying or compressing a file that is still there under its name.

    Such a copy waits for the next scan: its original is then gone or emptied, and the copy is it.
    A copy that is left beside its original is a file of its own after a while.
    """
    if probe.entry.changed <= settled:
        return False
    beside = originals(probe.entry.path) & live.keys()
    return any(_begins_with(live[path], probe) for path in beside)


def _begins_with(original: Entry, copy: Probe) -> bool:
    store: Filesystem = copy.store
    try:
        with store.open(original.path) as raw:
            if not copy.codec and copy.entry.size > original.size:
                return False
            begins = raw.read_at(len(copy.head), 0) == copy.head
            tail = copy.fingerprint.tail
            return begins and (bool(copy.codec) or not tail or tail_of(raw, tail.place) == tail)
    except OSError:
        return False


def _last_look(ledger: list[LedgerRow]) -> int:
    """When the stage was last looked at whole, microseconds; -1 if never."""
    looks = [row.scanned_at for row in ledger if row.unit.key == LOOKED and row.status == "read"]
    return max(looks, default=-1)


@dataclass
class _Planner:
    """Turns a look into units and notes."""

    stage: Stage
    look: _Look
    last_look: int
    now: int
    settle: int
    split: int

    @property
    def misses_files(self) -> bool:
        """Whether a file is nowhere that should still be somewhere."""
        return any(
            one.consumed
            and not one.lost
            and (
                one.path in self.look.entries
                or self.stage.after is not None
                or not self._was_finished(one)
            )
            for one in self.look.gone
        )

    def plan(self) -> Plan:
        plan = Plan()
        identities = {one.file for _, one in self.look.unchanged}
        identities |= {one.file for one in self.look.gone}
        identities |= {one.file for _, one in (*self.look.changed, *self.look.blocked) if one}
        for entry, one in self.look.unchanged:
            self._add(plan, list(self._again(entry, one)), one)
        for entry, holder in self.look.blocked:
            plan.units.append(self._blocked_unit(entry, holder, identities))
        for probe, found in self.look.changed:
            one = found or Known(new_identity(probe.entry.path, probe.fingerprint, identities))
            identities.add(one.file)
            units = list(self._units(probe.entry, one, _print_of(probe, found)))
            self._add(plan, units, one)
            if found and not units:
                plan.rows.append(self._moved(probe, found))
        for one in self.look.gone:
            notes = {note.unit.key: note for note in self._gone(one)}  # the last of a key holds
            plan.rows.extend(notes.values())
        plan.units.sort(key=lambda unit: (unit.path, unit.start))
        return plan

    def _add(self, plan: Plan, units: list[Unit], one: Known) -> None:
        plan.units.extend(units)
        keys = {unit.key for unit in units}
        # What could not be read is read now, or was, in units of other cuts.
        plan.rows.extend(
            self._note(row, "vanished", "is read in other units")
            for row in one.unreadable
            if row.unit.key not in keys
        )

    def _again(self, entry: Entry, one: Known) -> Iterator[Unit]:
        """What is left of a file that did not change: what failed, a last line that stays half."""
        if one.unreadable or (self._still(entry) and not one.fingerprint.compressed):
            yield from self._units(entry, one, one.fingerprint)

    def _still(self, entry: Entry) -> bool:
        return not entry.unfinished and self.now - entry.modified >= self.settle

    def _units(self, entry: Entry, one: Known, print_: Fingerprint) -> Iterator[Unit]:
        size = -1 if print_.compressed else entry.size
        for start, end in self._cut(_gaps(one.consumed, size)):
            stored = entry.size * UNPACKED if end < 0 else end - start
            yield Unit(
                stage=self.stage.name,
                key=f"{one.file}:{start}",
                kind="text",
                path=entry.path,
                start=start,
                end=end,
                file=one.file,
                version=entry.version,
                fingerprint=str(print_),
                fingerprint_bytes=print_.head_bytes,
                size=stored,
                # A compressed file has been written to its end.
                closed=print_.compressed or self._still(entry),
            )

    def _cut(self, gaps: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Ranges cut at multiples of the split, so that what failed keeps its key."""
        for start, end in gaps:
            while end >= 0 and start < end:
                stop = min(end, (start // self.split + 1) * self.split)
                yield start, stop
                start = stop
            if end < 0:
                yield start, end

    def _blocked_unit(self, entry: Entry, one: Known | None, identities: set[str]) -> Unit:
        """A unit that will fail, so that the books know of a file that nobody could open."""
        file = one.file if one else new_identity(entry.path, Fingerprint("", 0), identities)
        start = one.end if one else 0
        print_ = one.fingerprint if one else Fingerprint("", 0)
        return Unit(
            stage=self.stage.name,
            key=f"{file}:{start}",
            kind="text",
            path=entry.path,
            start=start,
            end=max(entry.size, start),
            file=file,
            version=entry.version,
            fingerprint=str(print_),
            fingerprint_bytes=print_.head_bytes,
        )

    def _moved(self, probe: Probe, one: Known) -> LedgerRow:
        """Nothing new to read, but another name or time: told, to spare opening it again."""
        entry, print_ = probe.entry, probe.fingerprint
        unit = replace(
            one.last.unit,
            key=f"{one.file}:{one.end}",
            path=entry.path,
            start=one.end,
            end=one.end,
            version=entry.version,
            fingerprint=str(print_),
            fingerprint_bytes=print_.head_bytes,
            size=0,
            closed=False,
        )
        return LedgerRow(unit, "read", "", self.now, "", reason=f"was {one.path}")

    def _gone(self, one: Known) -> Iterator[LedgerRow]:
        """Notes about a known file that is nowhere any more."""
        here = self.look.entries.get(one.path)
        first = self.stage.after is None
        for row in one.mistaken:
            yield self._note(row, "vanished", "is another file")
        if not one.consumed:
            if not first or (here and self._was_unread(one)):
                yield from self._leave(one)
        elif first:
            if not one.lost and (here or not self._was_finished(one)):
                yield self._truncated(one, here)
        else:
            yield from self._leave(one)
            if here and not one.lost and here.size < size_at(one.last.unit.version):
                yield self._truncated(one, here)

    def _was_unread(self, one: Known) -> bool:
        """Whether the file that could not be read can be read now, as another identity."""
        print_, probe = one.fingerprint, self._probes.get(one.path)
        if probe is None:
            return False
        return not print_.head_bytes or probe.begins(print_.head_bytes) == print_.head

    @cached_property
    def _probes(self) -> dict[str, Probe]:
        return {probe.entry.path: probe for probe, _ in self.look.changed}

    def _was_finished(self, one: Known) -> bool:
        """Whether a file that is gone had been read whole, and was not written to any more."""
        version = one.last.unit.version
        whole = one.fingerprint.compressed or one.consumed == [(0, size_at(version))]
        looked = self.last_look if self.last_look >= 0 else one.last.scanned_at
        return whole and not one.unreadable and looked - modified_at(version) >= self.settle

    def _leave(self, one: Known) -> Iterator[LedgerRow]:
        for row in one.rows:
            if row.status != "truncated":
                yield self._note(row, "vanished", "is not there any more")

    def _truncated(self, one: Known, here: Entry | None) -> LedgerRow:
        """What was written after the last look, and before the file went, may never be seen."""
        tallies = [row.tally for row in one.rows]
        if self.stage.after is None:
            seen = max((tally.last_event for tally in tallies), default=-1)
            lower = max(seen - self.settle, -1) if seen >= 0 else -1
        else:  # what had been read of it has left the books as well
            lower = min((t.first_event for t in tallies if t.first_event >= 0), default=-1)
        upper = here.modified + 1 if here and here.modified > YEAR_2000 else self.now
        unit = replace(
            one.last.unit, key=f"{one.file}:{one.end}", start=one.end, end=one.end, size=0
        )
        what = "was truncated or replaced" if here else "is gone"
        return LedgerRow(
            unit=unit,
            status="truncated",
            scan="",
            scanned_at=self.now,
            spec="",
            reason=f"{one.path} {what}; what was written to it after byte {one.end} was not seen",
            unseen_from=lower,
            unseen_to=upper,
        )

    def _note(self, row: LedgerRow, status: Status, reason: str) -> LedgerRow:
        return LedgerRow(row.unit, status, "", self.now, "", reason=reason)


def _print_of(probe: Probe, one: Known | None) -> Fingerprint:
    """The fingerprint to read by; a file that was plain and now is compressed has to prove it."""
    if one and probe.codec and not one.fingerprint.compressed:
        return probe.fingerprint.expecting(one.fingerprint.tail)
    return probe.fingerprint


def _gaps(consumed: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """The ranges of [0, size) that are not consumed; size -1: to the end, wherever that is."""
    gaps, at = [], 0
    for start, end in consumed:
        if at < start:
            gaps.append((at, start))
        at = max(at, end)
    if size < 0 or at < size:
        gaps.append((at, size))
    return gaps
