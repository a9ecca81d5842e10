"""Working one step ahead changes nothing but when the steps are made."""

import threading
from collections.abc import Generator

import pytest

from fidelity.sources import ahead as module
from fidelity.sources.ahead import Ahead


@pytest.fixture(params=[True, False], ids=["cores to spare", "none"])
def spare(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "_cores_to_spare", request.param)
    return bool(request.param)


def test_a_thread_is_started_where_there_are_cores_to_spare(spare: bool) -> None:
    made_by = []

    def items() -> Generator[int]:
        for n in range(3):
            made_by.append(threading.current_thread())
            yield n

    assert list(Ahead(items())) == [0, 1, 2]
    assert (set(made_by) == {threading.current_thread()}) is not spare


@pytest.mark.usefixtures("spare")
def test_the_items_are_the_generators_items_in_their_order() -> None:
    assert list(Ahead(one for one in range(100))) == list(range(100))
    assert list(Ahead(one for one in range(0))) == []
    assert list(Ahead(one for one in range(1))) == [0]


@pytest.mark.usefixtures("spare")
def test_an_error_comes_where_its_item_would_have_come() -> None:
    def broken(good: int) -> Generator[int]:
        yield from range(good)
        raise ValueError("broken")

    for good in (0, 1, 2, 5):
        ahead = Ahead(broken(good))
        assert [next(ahead) for _ in range(good)] == list(range(good))
        with pytest.raises(ValueError, match="broken"):
            next(ahead)
        assert list(ahead) == []


def test_no_more_than_one_item_is_made_before_it_is_asked_for() -> None:
    made = [threading.Event() for _ in range(4)]

    def items() -> Generator[int]:
        for n, event in enumerate(made):
            event.set()
            yield n

    ahead = Ahead(items())
    assert not made[0].is_set()
    assert next(ahead) == 0
    assert made[1].wait(10)
    assert not made[2].is_set()
    assert next(ahead) == 1
    assert made[2].wait(10)
    assert not made[3].is_set()
    ahead.close()


@pytest.mark.parametrize("taken", [0, 1, 2])
@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_generator_that_is_not_needed_any_more_is_closed(taken: int, how: str) -> None:
    closed = threading.Event()

    def items() -> Generator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    source = items()
    ahead = Ahead(source)
    for _ in range(taken):
        next(ahead)
    if how == "closed":
        ahead.close()
        assert list(ahead) == []
    del ahead, source
    assert taken == 0 or closed.wait(10)
