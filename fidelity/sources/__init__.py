"""Plan what is new at a stage, and read it: one door for every kind of stage.

plan(stage, ledger) -> units -> read(unit) -> batches of Lines or Table.
Invariant: what a plan gives and what the ledger has already read never overlap.
"""

from fidelity.config import Stage
from fidelity.sources.planning import Plan, Reader, Wanted, rest_of, unseen
from fidelity.units import LedgerRow, Unit

__all__ = ["Plan", "Reader", "Wanted", "plan", "read", "rest_of", "unseen"]


def plan(stage: Stage, ledger: list[LedgerRow], now: int, settle: int) -> Plan:
    """What is there at the stage and not yet in the ledger.

    Args:
        stage: the stage to look at.
        ledger: the stage's rows in force, the row LOOKED among them.
        now: the clock, microseconds.
        settle: microseconds after which a file that did not change is taken to be finished.

    Raises:
        SourceError: the stage as a whole cannot be looked at.
    """
    if _is_kafka(stage):
        from fidelity.sources import kafka

        return kafka.plan(stage, ledger, now, settle)
    from fidelity.sources import files

    return files.plan(stage, ledger, now, settle)


def read(unit: Unit, stage: Stage, wanted: Wanted) -> Reader:
    """The unit's records in batches; `.end` tells how far it came once they are exhausted.

    Raises (here or while iterating):
        UnreadableError: the unit cannot be read whole; nothing of it may be counted.
        SourceError: the stage itself is out of reach.
    """
    if unit.kind == "kafka":
        from fidelity.sources import kafka

        return kafka.read(unit, stage, wanted)
    if unit.kind == "parquet":
        from fidelity.sources import columnar

        return columnar.read(unit, stage, wanted)
    from fidelity.sources import text

    return text.read(unit, stage)


def _is_kafka(stage: Stage) -> bool:
    return stage.kind == "kafka" or (stage.kind == "manifests" and bool(stage.brokers))
