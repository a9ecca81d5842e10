"""An iterator that works one step ahead, in a thread of its own.

For steps that leave Python's lock alone (system calls, decompression, kernels): while the caller
works on one item the next is being made.
"""

from collections.abc import Generator, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import Generic, Literal, TypeVar

T = TypeVar("T")
_Asked = Literal["next", "close"]

_cores_to_spare = True


def no_cores_to_spare() -> None:
    """From now on, in this process, whoever asks for an item makes it.

    For a process beside others like it, one for each core: its threads would only take turns with
    theirs, which costs a tenth of the time.
    """
    global _cores_to_spare
    _cores_to_spare = False


class Ahead(Generic[T]):
    """The items of a generator, which must leave an item alone until the one after next is made.

    The first item is made by the caller: who wants one only needs no thread. What the generator
    raises comes where its item would have come. It is closed when this is closed or forgotten.
    """

    def __init__(self, source: Generator[T]) -> None:
        self._source = source
        self._asked: SimpleQueue[_Asked] = SimpleQueue()
        self._made: SimpleQueue[T | BaseException] = SimpleQueue()
        self._state: Literal["new", "running", "over"] = "new"

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._state == "over":
            raise StopIteration
        made = _step(self._source) if self._state == "new" else self._made.get()
        if isinstance(made, BaseException):
            self._state = "over"
            raise made
        if self._state == "new":
            if not _cores_to_spare:
                return made
            work = (self._source, self._asked, self._made)
            Thread(target=_run, args=work, name="fidelity-ahead", daemon=True).start()
            self._state = "running"
        self._asked.put("next")
        return made

    def close(self) -> None:
        """Have the generator closed, as soon as the step that is being made is done."""
        if self._state == "new":
            self._source.close()
        self._asked.put("close")
        self._state = "over"

    def __del__(self) -> None:
        self._asked.put("close")


def _step(source: Generator[T]) -> T | BaseException:
    try:
        return next(source)
    except BaseException as error:  # noqa: BLE001 - for the caller, who is another thread
        return error


def _run(
    source: Generator[T], asked: "SimpleQueue[_Asked]", made: "SimpleQueue[T | BaseException]"
) -> None:
    while asked.get() == "next":
        item = _step(source)
        made.put(item)
        if isinstance(item, BaseException):
            return
        del item  # it is the caller's
    source.close()
