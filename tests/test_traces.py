"""What was traced is remembered: read once, exact for ever, and never in the way."""

from pathlib import Path

import pytest
from scans import LATER, append, lines, opened, pipeline

from fidelity.audit import Answer, audit, reconcile
from fidelity.config import Pipeline, Place, RecordSpec
from fidelity.report import Books
from fidelity.store.compact import compact

HALF = 1_500


@pytest.fixture
def made(tmp_path: Path) -> Pipeline:
    """A source of one window, and a sink that lost every other record of it: no sketch can tell."""
    whole = lines("h1", 0, 2 * HALF, step=0)
    append(tmp_path / "source" / "a.jsonl", whole)
    append(tmp_path / "sink" / "a.jsonl", b"".join(whole.splitlines(keepends=True)[::2]))
    return pipeline(tmp_path, source="", sink="")


def sink(answer: Answer) -> Books:
    assert not answer.errors
    return answer.report.stages[1]


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store" / "traces").glob("*"))


def retained_no_longer(tmp_path: Path) -> None:
    (tmp_path / "source" / "a.jsonl").unlink()


def test_an_exact_answer_outlives_its_records(made: Pipeline, tmp_path: Path) -> None:
    first = audit(made, as_of=LATER)
    assert (sink(first).lost, sink(first).evidence) == (HALF, "traced")
    retained_no_longer(tmp_path)
    again = audit(made, as_of=LATER)
    assert (sink(again).lost, sink(again).evidence) == (HALF, "traced")
    assert again.report.differences == first.report.differences
    assert len(again.report.differences) == HALF
    for path in kept(tmp_path):
        path.unlink()
    assert sink(reconcile(made, as_of=LATER)).evidence == "counts"


def test_looked_up_ids_are_remembered_too(made: Pipeline, tmp_path: Path) -> None:
    spec = RecordSpec(format="json", id=Place(field="fid", encoding="opaque"))
    stages = tuple(stage.model_copy(update={"record": spec}) for stage in made.stages)
    made = made.model_copy(update={"stages": stages})
    whole = lines("h1", 0, 2 * HALF, step=0)
    (tmp_path / "sink" / "a.jsonl").write_bytes(whole + whole[: whole.index(b"\n") + 1])
    for _ in range(2):
        books = sink(audit(made, as_of=LATER))
        assert (books.duplicates, books.lost, books.evidence) == (1, 0, "traced")
        (tmp_path / "source" / "a.jsonl").unlink(missing_ok=True)
    assert len(kept(tmp_path)) == 1


def test_a_scope_that_changed_is_traced_anew(made: Pipeline, tmp_path: Path) -> None:
    audit(made, as_of=LATER)
    late = lines("h1", 0, 2 * HALF, step=0).splitlines(keepends=True)[1]
    append(tmp_path / "sink" / "a.jsonl", late)
    assert sink(audit(made, as_of=LATER)).lost == HALF - 1
    assert len(kept(tmp_path)) == 2


def test_nothing_of_a_window_that_is_open_is_remembered(made: Pipeline, tmp_path: Path) -> None:
    answer = audit(made.model_copy(update={"settle": 40 * 366 * 86_400_000_000}))
    assert sink(answer).in_flight == HALF
    assert kept(tmp_path) == []


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied"])
def test_a_damaged_memory_is_traced_again(made: Pipeline, tmp_path: Path, harm: str) -> None:
    audit(made, as_of=LATER)
    (path,) = kept(tmp_path)
    whole = bytearray(path.read_bytes())
    if harm == "flipped":
        whole[len(whole) // 8] ^= 0xFF
    path.write_bytes(
        whole[: len(whole) // 2] if harm == "cut" else whole if harm != "emptied" else b""
    )
    books = sink(audit(made, as_of=LATER))
    assert (books.lost, books.evidence) == (HALF, "traced")
    assert len(kept(tmp_path)) == 2


def test_a_memory_that_cannot_be_written_costs_a_second_reading(
    made: Pipeline, tmp_path: Path
) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "traces").write_text("in the way")
    for _ in range(2):
        assert sink(audit(made, as_of=LATER)).lost == HALF


def test_compacting_leaves_out_what_holds_no_more(made: Pipeline, tmp_path: Path) -> None:
    audit(made, as_of=LATER)
    late = lines("h1", 0, 2 * HALF, step=0).splitlines(keepends=True)[1]
    append(tmp_path / "sink" / "a.jsonl", late)
    audit(made, as_of=LATER)
    sizes = sum(path.stat().st_size for path in kept(tmp_path))
    compact(made, opened(made))
    assert len(kept(tmp_path)) == 1  # the older answer is young enough to be asked for
    compact(made, opened(made), everything=True)
    (path,) = kept(tmp_path)
    assert path.stat().st_size < sizes * 0.7
    retained_no_longer(tmp_path)
    assert sink(audit(made, as_of=LATER)).evidence == "traced"


def test_a_memory_holds_nothing_of_a_scope_that_came_to_balance(
    made: Pipeline, tmp_path: Path
) -> None:
    audit(made, as_of=LATER)
    rest = lines("h1", 0, 2 * HALF, step=0).splitlines(keepends=True)[1::2]
    append(tmp_path / "sink" / "a.jsonl", b"".join(rest))
    assert audit(made, as_of=LATER).report.verdict == "pass"
    compact(made, opened(made), everything=True)
    assert kept(tmp_path) == []
