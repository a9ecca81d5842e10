"""Edges: which stage is held against which, and what is meant to pass on the way.

Each stage but the first is held against the stage before it (hop) and against the first stage (end
to end). Contracts compose along the path: what passes it must pass each of its stages' contracts.
"""

from dataclasses import dataclass
from math import lcm

from fidelity.config import Pipeline, Stage

SOURCE = "source"
"""What a row that is held against the first stage says, whatever that stage is called."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One comparison. `labels` are the values of `against` that it answers, often two."""

    stage: str
    reference: str
    labels: tuple[str, ...]
    hop: bool  # the reference is the stage before, which may be the first one too
    keep_streams: frozenset[str] | None  # None: all
    keep_origins: frozenset[str] | None
    sample: int  # only ids divisible by it are due
    opaque: bool  # ids cannot be turned back into sequence numbers


def path(pipeline: Pipeline, stage: str) -> list[Stage]:
    """The stages from the first to this one."""
    by_name = {each.name: each for each in pipeline.stages}
    found = [by_name[stage]]
    while found[-1].after is not None:
        found.append(by_name[found[-1].after])
    return found[::-1]


def edges_of(pipeline: Pipeline) -> list[Edge]:
    """All comparisons, in the order of the stages, end to end before hop."""
    found = []
    for stage in pipeline.stages[1:]:
        way = path(pipeline, stage.name)
        first, before = way[0].name, way[-2].name
        if first == before:
            labels = (SOURCE,) if first == SOURCE else (SOURCE, first)
            found.append(_edge(way, labels))
        else:
            found += [_edge(way, (SOURCE,)), _edge(way[-2:], (before,))]
    return found


def samples_of(pipeline: Pipeline, stage: str) -> tuple[int, ...]:
    """The samples that a stage's observations must carry: 1, and one for each sampled edge."""
    found = {edge.sample for edge in edges_of(pipeline) if edge.reference == stage}
    return (1, *sorted(found - {1}))


def _edge(way: list[Stage], labels: tuple[str, ...]) -> Edge:
    passed = way[1:]
    return Edge(
        stage=way[-1].name,
        reference=way[0].name,
        labels=labels,
        hop=len(passed) == 1,
        keep_streams=_intersection([stage.keep_streams for stage in passed]),
        keep_origins=_intersection([stage.keep_origins for stage in passed]),
        sample=lcm(*(stage.sample for stage in passed)),
        opaque=way[0].record.opaque or way[-1].record.opaque,
    )


def _intersection(kept: list[tuple[str, ...] | None]) -> frozenset[str] | None:
    given = [frozenset(each) for each in kept if each is not None]
    return frozenset.intersection(*given) if given else None
