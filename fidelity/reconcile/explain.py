"""Explain: what differs in each scope that does not balance, by the cheapest proof there is.

A sketch is peeled first; what it leaves open is remembered from an earlier trace, or traced.
"""

import numpy as np
from numpy.typing import NDArray

from fidelity.edges import Edge
from fidelity.reconcile import scopes
from fidelity.reconcile.basis import Basis
from fidelity.reconcile.outcome import Outcome, Scope, counted
from fidelity.reconcile.peel import Peeled, outcome_of, peel
from fidelity.reconcile.recount import Memory, Tracer, guessed, look_up, recount
from fidelity.reconcile.scopes import Scopes

_NOT_READ_AGAIN = "the window is open, or was not looked at since it settled"


def outcomes_of(
    basis: Basis, found: Scopes, tracer: Tracer | None, memory: Memory
) -> list[tuple[Scope, Outcome]]:
    """What differs in each scope that does not balance."""
    unbalanced = np.flatnonzero(~found.due_met & ~found.all_met)
    may_trace = _may_trace(basis, found)
    done: list[tuple[Scope, Outcome]] = []
    unknown: dict[Edge, list[Scope]] = {edge: [] for edge in basis.edges}
    half_known: dict[Edge, list[Peeled]] = {edge: [] for edge in basis.edges}
    for scope, cells in scopes.explained(
        basis.connection, basis.edges, found, unbalanced, may_trace, basis.sketches
    ):
        peeled = peel(scope, cells)
        if peeled is not None and len(peeled.open) == 0:
            done.append((scope, outcome_of(peeled)))
        elif not scope.may_trace:
            doubt = _NOT_READ_AGAIN
            outcome = counted(scope, doubt) if peeled is None else guessed(peeled, doubt)
            done.append((scope, outcome))
        elif peeled is None:
            unknown[scope.edge].append(scope)
        else:
            half_known[scope.edge].append(peeled)
    for edge in basis.edges:
        done += zip(unknown[edge], recount(edge, unknown[edge], tracer, memory), strict=True)
        asked = [each.scope for each in half_known[edge]]
        done += zip(asked, look_up(edge, half_known[edge], tracer, memory), strict=True)
    return done


def _may_trace(basis: Basis, found: Scopes) -> NDArray[np.bool_]:
    """Not open windows, which every audit would read again, nor those not looked at since."""
    window, settle = basis.pipeline.window, basis.pipeline.settle
    allowed = basis.settled(found.window)
    for number, edge in enumerate(basis.edges):
        mine = found.edge == number
        for stage in (edge.stage, edge.reference):
            allowed[mine] &= basis.views[stage].audited(found.window[mine], window, settle)
    return allowed
