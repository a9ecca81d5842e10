"""Publish: a run goes to where people and machines look, as `publish:` of the pipeline file says.

The star for BI tools lies in fidelity/star, the destinations of metrics in fidelity/destinations.
A run that is published again replaces its own rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fidelity.config import Pipeline, mask
from fidelity.errors import ConfigError, FidelityError
from fidelity.report import Report

Destination = Callable[[Pipeline, Report], "Published"]


@dataclass(frozen=True, slots=True)
class Published:
    """What was written to one destination."""

    destination: str  # by its key in the pipeline file
    where: str  # its address, fit to be shown
    what: str  # a few words for people: what was written
    unchanged: bool = False  # the run was there already, just so


def publish(pipeline: Pipeline, report: Report) -> tuple[Published, ...]:
    """Write a run to everything that `publish:` names, each whatever becomes of the others.

    Args:
        report: a run, whole or narrowed to windows; not to stages.

    Raises:
        ConfigError: the pipeline file names nothing.
        FidelityError: why one or more of them could not be written.
    """
    done, failed = written(pipeline, report)
    if len(failed) > 1:
        raise FidelityError("\n".join(str(error) for error in failed))
    if failed:
        raise failed[0]
    return done


def written(
    pipeline: Pipeline, report: Report
) -> tuple[tuple[Published, ...], tuple[FidelityError, ...]]:
    """As `publish`, with the errors besides what was written. Raises ConfigError."""
    wanted = destinations(pipeline)
    if not wanted:
        action = "Name one under `publish:`, for instance `publish: {star: star}`."
        raise ConfigError("nothing is named to publish to.", where=pipeline.name, action=action)
    done: list[Published] = []
    failed: list[FidelityError] = []
    for each in wanted:
        try:
            done.append(each(pipeline, report))
        except FidelityError as error:
            failed.append(error)
    return tuple(done), tuple(failed)


def destinations(pipeline: Pipeline) -> list[Destination]:
    """What the pipeline file names, in the order in which it is written to."""
    wanted: list[Destination] = []
    if pipeline.publish.star:
        wanted.append(_to_star)
    if pipeline.publish.openmetrics.named or pipeline.publish.opentsdb.named:
        from fidelity.destinations import of_metrics

        wanted += of_metrics(pipeline.publish)
    return wanted


def _to_star(pipeline: Pipeline, report: Report) -> Published:
    # Here, since other destinations need neither DuckDB nor Parquet.
    from fidelity.star import Place, catalogue
    from fidelity.star.write import publish_star

    place = Place(pipeline.publish.star, pipeline.publish.options)
    done = publish_star(place, pipeline, report)
    if place.local:
        catalogue.keep(place)
    return Published("star", mask(place.uri), str(done), done.unchanged)
