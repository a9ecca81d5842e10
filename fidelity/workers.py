"""Worker processes: tasks go in, results come out as they complete.

A process apart, the nursery, imports the heavy modules once and forks the workers, so that a
worker starts in milliseconds, and the caller may have threads and go on planning meanwhile. Whoever
dies takes along what hangs on it: the nursery ends with its caller, the workers with the nursery.
Nothing of the caller's own program is imported or run again.
"""

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from types import TracebackType
from typing import Any, NoReturn, Self

from fidelity.errors import FidelityError

Function = Callable[[Any], Any]

_FORK, _DEATHS = b"f", b"?"
_START = """
import gc; gc.disable()  # what is imported stays: looking for garbage takes a sixth of the start
import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)
import sys; sys.path[:] = {path!r}
from fidelity.lean import become_lean; become_lean()
from fidelity.workers import _nursery; _nursery({socket}, {preload!r})
"""


class WorkerDiedError(FidelityError):
    """A worker process was killed from outside, most often for want of memory."""


class WorkerBugError(Exception):
    """A worker met a bug of ours; the text is the worker's own traceback."""


def run(
    function: Function, tasks: Iterable[Any], workers: int, preload: Sequence[str] = ()
) -> Iterator[Any]:
    """function(task) for each task, in processes apart; results as they complete.

    Raises what Pool.results raises.
    """
    with Pool(workers, preload) as pool:
        for task in tasks:
            pool.submit(function, task)
        for _, result in pool.results():
            yield result


class Pool:
    """At most so many worker processes, which are made when there is something to do.

    Args:
        workers: at least 1.
        preload: modules that the nursery imports; their `warm()`, if there is one, is called. They
            must start no threads.
    """

    def __init__(self, workers: int, preload: Sequence[str] = ()) -> None:
        self._most = max(1, workers)
        self._preload = tuple(preload)
        self._nursery: subprocess.Popen[bytes] | None = None
        self._socket, self._theirs = socket.socketpair()
        self._waiting: deque[tuple[Function, Any]] = deque()
        self._busy: dict[Connection, tuple[Function, Any]] = {}
        self._idle: list[Connection] = []

    def start(self) -> None:
        """Start the nursery, which imports while the caller goes on; `submit` does, if need be."""
        if self._nursery is None:
            with self._theirs as theirs:
                start = _START.format(path=sys.path, socket=theirs.fileno(), preload=self._preload)
                self._nursery = subprocess.Popen(
                    [sys.executable, "-c", start],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # ours may be a report
                    env={"OPENBLAS_NUM_THREADS": "1"} | os.environ,  # it is not used
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def submit(self, function: Function, task: Any) -> None:
        """Have function(task) run; both are pickled, the function by its name."""
        self.start()
        self._waiting.append((function, task))
        self._hand_out()

    def withdraw(self, unwanted: Callable[[Any], bool]) -> int:
        """Forget those of the unwanted tasks that no worker has begun; how many these are."""
        before = len(self._waiting)
        self._waiting = deque(job for job in self._waiting if not unwanted(job[1]))
        return before - len(self._waiting)

    def results(self) -> Iterator[tuple[Any, Any]]:
        """Task and result as they complete, until nothing is left; meanwhile more may be submitted.

        Raises:
            FidelityError: the one that a task raised.
            WorkerDiedError: a worker was killed.
            WorkerBugError: a task raised anything else.
        """
        while self._busy or self._waiting:
            for ready in wait(list(self._busy)):
                assert isinstance(ready, Connection)
                yield self._result(ready)
                self._hand_out()

    def close(self) -> None:
        """End all workers now, whatever they are doing."""
        self._socket.close()
        self._theirs.close()
        if self._nursery is not None:
            self._nursery.terminate()  # it kills the workers first
        for connection in (*self._busy, *self._idle):
            connection.close()
        self._busy, self._idle, self._waiting = {}, [], deque()
        if self._nursery is not None:
            self._nursery.wait()

    def _hand_out(self) -> None:
        while self._waiting and (self._idle or len(self._busy) < self._most):
            worker = self._idle.pop() if self._idle else self._born()
            self._busy[worker] = job = self._waiting.popleft()
            with suppress(BrokenPipeError):  # a dead worker is told of when its result is due
                worker.send(job)

    def _born(self) -> Connection:
        ours, theirs = Pipe()
        with theirs, suppress(BrokenPipeError):
            socket.send_fds(self._socket, [_FORK], [theirs.fileno()])
        return ours

    def _result(self, worker: Connection) -> tuple[Any, Any]:
        _, task = self._busy.pop(worker)
        try:
            kind, result = worker.recv()
        except (EOFError, ConnectionError):
            worker.close()
            raise self._death() from None
        self._idle.append(worker)
        if kind == "error":
            raise result
        if kind == "bug":
            raise WorkerBugError(result)
        return task, result

    def _death(self) -> FidelityError:
        how = "ended"
        with suppress(OSError, ValueError):
            self._socket.settimeout(10)
            self._socket.sendall(_DEATHS)
            statuses = json.loads(self._socket.recv(1 << 16))
            how = ", ".join({_cause(status) for status in statuses}) or how
        return WorkerDiedError(
            f"a worker process {how} in the middle of its task.",
            action="Nothing that was not committed counts. If memory ran out, use fewer `workers`.",
        )


def _cause(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    )


def _nursery(descriptor: int, preload: Sequence[str]) -> None:
    """Fork a worker for each connection that comes in, until the caller is gone."""
    calls = socket.socket(fileno=descriptor)
    for name in preload:
        warm = getattr(importlib.import_module(name), "warm", None)
        if warm is not None:
            warm()
    gc.freeze()
    gc.enable()
    children: list[int] = []

    def end(*_: object) -> NoReturn:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        os._exit(0)  # at once: there is nothing to tidy up

    try:
        # The handler raises nothing: it may come while we end anyway. Until here we end at once.
        signal.signal(signal.SIGTERM, end)
        while True:
            asked, descriptors, _, _ = socket.recv_fds(calls, 1, 1)
            if asked == _FORK:
                _fork(calls, descriptors[0], children)
            elif asked == _DEATHS:
                calls.sendall(json.dumps(_reaped(children)).encode())
            else:
                return
    finally:
        end()


def _fork(calls: socket.socket, descriptor: int, children: list[int]) -> None:
    """Add a child, which serves the connection; nobody ends us before we know its number."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        calls.close()
        _work(descriptor)
    children.append(child)
    os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _reaped(children: list[int]) -> list[int]:
    """The statuses of children that have ended; one has just closed its connection, so it will."""
    ended, status = os.wait()
    statuses = []
    while ended:
        children.remove(ended)
        statuses.append(status)
        ended, status = os.waitpid(-1, os.WNOHANG) if children else (0, 0)
    return statuses


def _work(descriptor: int) -> NoReturn:
    """A worker's life: it ends when its caller does, and never runs what the nursery would."""
    try:
        tasks = Connection(descriptor)
        while True:
            function, task = tasks.recv()
            tasks.send(_outcome(function, task))
    except (EOFError, ConnectionError):
        os._exit(0)
    except BaseException:  # noqa: BLE001 - a forked process must not go on as the nursery
        traceback.print_exc()
        os._exit(1)


def _outcome(function: Function, task: Any) -> tuple[str, Any]:
    try:
        return "result", function(task)
    except FidelityError as error:
        return "error", error
    except Exception:  # noqa: BLE001 - it goes on in the caller, with this traceback
        return "bug", traceback.format_exc()
