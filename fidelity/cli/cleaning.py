"""`dedup`: a clean copy of a stage, and its books. The job for spark-submit calls the same."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from threading import current_thread, main_thread
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fidelity.cli import options
from fidelity.cli.output import as_json, opened
from fidelity.errors import UsageError

if TYPE_CHECKING:
    from fidelity.config import Engine, Pipeline
    from fidelity.dedup.job import Books

Of = Annotated[str, typer.Option("--stage", metavar="NAME", help="The stage to copy.")]
Output = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FOLDER|TOPIC",
        help="Where the copy goes: a folder that is empty or not there, or an empty topic.",
    ),
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="STAGE",
        help="The stage whose brokers and options are the copy's. Default: the one that is copied.",
    ),
]
Paths = Annotated[
    list[str] | None,
    typer.Option(
        "--path",
        metavar="GLOB",
        help="Only these of the stage's files; a relative one from the working directory. "
        "May be repeated.",
    ),
]
Offsets = Annotated[
    list[str] | None,
    typer.Option(
        "--offsets",
        metavar="PARTITION:FIRST-END",
        help="Only these offsets of a topic, END not among them. May be repeated.",
    ),
]
ByWindow = Annotated[
    bool,
    typer.Option(
        "--by-window",
        help="Records of one id are copies only if their event times lie in one window.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dedup)


def dedup(
    pipeline: options.PipelineFile,
    stage: Of,
    output: Output,
    at: At = None,
    path: Paths = None,
    offsets: Offsets = None,
    by_window: ByWindow = False,
    json: options.AsJson = False,
    workers: options.Workers = None,
    engine: options.EngineKind = None,
    master: options.Master = None,
    conf: options.Conf = None,
) -> int:
    """Copy a stage without duplicates: the first record of every id, in the same files."""
    from fidelity.config import load

    loaded = load(pipeline)
    chosen = options.engine(engine, master, conf, loaded.engine)
    asked = Asked(stage, output, at, path or (), offsets or (), by_window)
    return copied(loaded, chosen, asked, json, workers)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for."""

    stage: str
    to: str
    at: str | None
    paths: Sequence[str]
    offsets: Sequence[str]
    by_window: bool


def copied(
    pipeline: "Pipeline", engine: "Engine", asked: Asked, json: bool, workers: int | None = None
) -> int:
    """Make the copy and print its books. Returns the exit status."""
    copy = _copy(pipeline, asked)  # a mistake is told before Spark starts
    with _ended_in_order():
        if engine.kind == "spark":
            from fidelity.spark.mapping import Mapping

            with Mapping(engine) as mapper:
                books = copy(mapper)
        else:
            books = copy(_local(workers or pipeline.workers))
    with opened(None) as out:
        if json:
            as_json(asdict(books), out)
        else:
            out.writelines(f"{line}\n" for line in as_lines(books))
    return 0


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM, by which Kubernetes and Airflow end a process, counts as an interrupt.

    So what was written is removed, and Spark's jobs are cancelled.
    """
    if current_thread() is not main_thread():  # no other may set a handler
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        handler = signal.getsignal(signal.SIGINT)  # it may be Spark's
        (handler if callable(handler) else signal.default_int_handler)(number, frame)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _local(workers: int) -> Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]:
    from fidelity.dedup.local import mapped
    from fidelity.scheduler import cores

    return lambda function, tasks: mapped(function, tasks, workers or cores())


def _copy(pipeline: "Pipeline", asked: Asked) -> Callable[[Any], "Books"]:
    """What makes the copy, given who does its tasks. Raises UsageError."""
    there = pipeline.stage(asked.at or asked.stage)
    topic = pipeline.stage(asked.stage).kind == "kafka"
    if topic and asked.paths:
        raise UsageError("a topic has no files.", where="--path")
    if asked.offsets and not topic:
        raise UsageError("files have no offsets.", where="--offsets")
    if topic:
        from fidelity.dedup.topic import clean_topic

        return partial(
            clean_topic,
            pipeline,
            asked.stage,
            asked.to,
            brokers=there.brokers,
            options=there.options,
            offsets=ranges(asked.offsets) or None,
            by_window=asked.by_window,
        )
    from fidelity.dedup.job import clean_copy

    return partial(
        clean_copy,
        pipeline,
        asked.stage,
        asked.to,
        options=there.options,
        paths=asked.paths,
        by_window=asked.by_window,
    )


def ranges(texts: Sequence[str]) -> dict[int, tuple[int, int]]:
    """partition -> (first, end) of `0:100-250`. Raises UsageError."""
    found = {}
    for text in texts:
        partition, _, rest = text.partition(":")
        first, _, end = rest.partition("-")
        if not all(part.isascii() and part.isdigit() for part in (partition, first, end)):
            action = "Write it as PARTITION:FIRST-END, for instance 0:100-250."
            raise UsageError(f"`{text}` is no range of offsets.", where="--offsets", action=action)
        if int(partition) in found:
            raise UsageError(f"partition {partition} is given twice.", where="--offsets")
        found[int(partition)] = int(first), int(end)
    return found


def as_lines(books: "Books") -> list[str]:
    """The books, for a person."""
    lines = [
        f"{books.stage} → {books.output}",
        f"  read     {books.read:>15,}",
        f"  kept     {books.kept:>15,}",
        f"  dropped  {books.dropped:>15,}  read = kept + dropped",
    ]
    if books.flaws:
        told = ", ".join(f"{count:,} {kind}" for kind, count in books.flaws.items())
        lines.append(f"  kept for want of a usable id: {told}")
    if books.elsewhere:
        lines += [
            f"  of those dropped, {books.elsewhere:,} lie in another window than the first copy of",
            "  their id. If a producer began again without a state file, or made more than 2^32",
            "  records, these may be other records: copy again with --by-window.",
        ]
    return lines
