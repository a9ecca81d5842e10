"""Reconcile: observations and the ledger become the report. Reads no record, if it need not.

seen -> books -> scopes that balance | peeled | read again -> rows with verdicts -> findings.
Invariant: every row's books close, and what was not seen is unknown, never lost and never passed.
"""

from fidelity.reconcile.close import reconcile
from fidelity.reconcile.recount import Memory, Tracer

__all__ = ["Memory", "Tracer", "reconcile"]
