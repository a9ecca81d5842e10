"""Standing: whether scopes still are as they were when a question was asked of them."""

from collections.abc import Sequence
from typing import Any

from fidelity.config import Pipeline
from fidelity.edges import edges_of
from fidelity.questions import connect
from fidelity.reconcile import scopes
from fidelity.reconcile.recount import Question, sides_of
from fidelity.units import LedgerRow


def standing(
    pipeline: Pipeline,
    ledger: Sequence[LedgerRow],
    observations: Any,
    questions: Sequence[Question],
) -> list[bool]:
    """Which questions speak of scopes just as both stages see them now.

    Args:
        pipeline: an edge that it no longer has makes a question void.
        ledger, observations: as `reconcile` takes them.
        questions: of any edges.
    """
    edges = edges_of(pipeline)
    number = {(edge.reference, edge.stage): at for at, edge in enumerate(edges)}
    asked = [at for at, each in enumerate(questions) if (each.reference, each.stage) in number]
    answer = [False] * len(questions)
    if not asked:
        return answer
    named = [
        (number[each.reference, each.stage], each.window, each.stream)
        for each in (questions[at] for at in asked)
    ]
    with connect() as connection:
        scopes.load(connection, ledger, observations, edges)
        found = scopes.with_lines(connection, edges, named)
    for at, scope in zip(asked, found, strict=True):
        answer[at] = sides_of(scope) == questions[at].sides
    return answer
