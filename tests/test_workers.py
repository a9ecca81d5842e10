"""Worker processes: every task once, errors as they are, and nobody outlives who is above them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fidelity.errors import FidelityError, SourceError
from fidelity.workers import Pool, WorkerBugError, WorkerDiedError, run

CALLER = """
import os, sys, signal
sys.path.insert(0, {tests!r})
from fidelity.workers import Pool
import test_workers
with Pool(2) as pool:
    for n in range(2):
        pool.submit(test_workers.note_and_wait, ({folder!r}, n))
    print("begun", flush=True)
    list(pool.results())
"""


def double(number: int) -> int:
    return 2 * number


def fail(kind: str) -> None:
    if kind == "source":
        raise SourceError("no broker", where="stage a", action="Start it.")
    if kind == "bug":
        raise ZeroDivisionError("ours")
    os.kill(os.getpid(), signal.SIGKILL)


def process(_: object) -> tuple[int, int]:
    return os.getpid(), os.getppid()


def note_and_wait(task: tuple[str, int]) -> None:
    folder, number = task
    Path(folder, f"{number}.pid").write_text(str(os.getpid()))
    signal.pause()


def threads(_: object) -> int:
    return len(os.listdir("/proc/self/task"))


def until(condition: object, seconds: float = 30) -> bool:
    """Wait for what another process does: it cannot be waited for otherwise."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > end:
            return False
        time.sleep(0.005)  # polls what another process does
    return True


def gone(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_has_one_result(workers: int) -> None:
    assert sorted(run(double, range(50), workers)) == [2 * n for n in range(50)]


def test_no_tasks_are_no_results() -> None:
    assert list(run(double, [], 2)) == []


def test_tasks_run_apart_in_at_most_so_many_processes() -> None:
    with Pool(2) as pool:
        for n in range(20):
            pool.submit(process, n)
        found = {pid for _, (pid, _) in pool.results()}
    assert os.getpid() not in found
    assert len(found) <= 2


def test_more_may_be_submitted_while_results_come() -> None:
    with Pool(2) as pool:
        pool.submit(double, 1)
        found = []
        for task, result in pool.results():
            found.append(result)
            if task < 8:
                pool.submit(double, result)
    assert found == [2, 4, 8, 16]


def test_tasks_that_were_not_begun_can_be_withdrawn() -> None:
    with Pool(1) as pool:
        for n in range(5):
            pool.submit(double, n)
        assert pool.withdraw(lambda task: task % 2 == 1) == 2
        assert sorted(result for _, result in pool.results()) == [0, 4, 8]


def test_a_users_error_comes_across_whole() -> None:
    with pytest.raises(SourceError) as caught:
        list(run(fail, ["source"], 1))
    assert str(caught.value) == "stage a: no broker. Start it."


def test_a_bug_comes_with_the_workers_traceback() -> None:
    with pytest.raises(WorkerBugError, match=r"ZeroDivisionError: ours") as caught:
        list(run(fail, ["bug"], 1))
    assert not isinstance(caught.value, FidelityError)
    assert "in fail" in str(caught.value)


def test_a_killed_worker_is_told_of() -> None:
    with pytest.raises(WorkerDiedError, match=r"killed by SIGKILL.*fewer `workers`"):
        list(run(fail, ["killed"], 2))


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """A process with two busy workers, and the workers' ids."""
    code = CALLER.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        files = [tmp_path / f"{n}.pid" for n in range(2)]
        assert until(lambda: all(file.exists() and file.read_text() for file in files))
        yield process, [int(file.read_text()) for file in files]
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_die_with_their_caller(
    caller: tuple["subprocess.Popen[bytes]", list[int]], how: signal.Signals
) -> None:
    process, workers = caller
    process.send_signal(how)
    process.wait(30)
    assert until(lambda: all(gone(pid) for pid in workers))


def test_an_interrupt_stops_at_once_and_quietly(
    caller: tuple["subprocess.Popen[bytes]", list[int]],
) -> None:
    process, workers = caller
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: everybody gets it
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert until(lambda: all(gone(pid) for pid in workers))
    assert said.count(b"Traceback") == 1  # the caller's own


def test_a_pool_that_is_closed_while_workers_are_born_leaves_none(tmp_path: Path) -> None:
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Pool(8) as pool:
            for task in range(8):
                pool.submit(note_and_wait, (str(folder), task))
            assert until(lambda folder=folder: any(folder.iterdir()))
        begun = [int(text) for file in folder.iterdir() if (text := file.read_text())]
        assert until(lambda begun=begun: all(gone(pid) for pid in begun))


def test_what_is_preloaded_starts_no_threads_that_a_fork_would_lose() -> None:
    plain = next(run(threads, [0], 1))
    preload = ("fidelity.decode", "fidelity.sources.text", "fidelity.tasks")
    assert next(run(threads, [0], 1, preload)) == plain == 1


def test_the_callers_program_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from fidelity.workers import run\nprint('once')\nprint(list(run(len, ['ab'], 2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once\n[2]\n", "")
