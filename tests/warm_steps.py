"""Steps of a DAG, forked from a Python that has imported what they need.

A day's 24 runs start about a hundred Pythons, each of which imports for seconds: more than many
other tests take. So those of some DAGs are forked from one process; what they do is fidelity.steps'
own, with the task's own streams. All other DAGs' steps are started as ever.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

IMPORTED = (
    "fidelity.steps", "fidelity.audit", "fidelity.reconcile", "fidelity.trace", "fidelity.workers",
    "fidelity.publish", "fidelity.star", "fidelity.star.write", "fidelity.destinations",
    "fidelity.cli.scanned", "fidelity.cli.checked", "fidelity.cli.output", "fidelity.check.alarm",
    "fidelity.report.terminal", "fidelity.sources.files", "fidelity.sources.text",
)  # fmt: skip

PROGRAM = """#!{python} -S
import os, sys
if not any(f"/fidelity-{{dag}}-" in sys.argv[-1] for dag in {dags!r}):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import json, socket
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({place!r})
    socket.send_fds(asked, [json.dumps(sys.argv[3:]).encode()], [0, 1, 2])
    sys.exit((asked.recv(1) or b"\\x01")[0])
"""


def program(folder: Path, python: Path, *dags: str) -> Path:
    """What is to be started instead of a Python: it has the steps of some DAGs forked."""
    file, place = folder / "python", folder / "warm.socket"
    file.write_text(PROGRAM.format(python=str(python), dags=dags, place=str(place)))
    file.chmod(0o755)
    return file


@contextlib.contextmanager
def running(folder: Path, python: Path) -> Iterator[None]:
    """The process that forks, which answers by then."""
    place = folder / "warm.socket"
    with Popen([python, __file__, str(place), str(os.getpid())]) as process:
        try:
            while not place.exists():
                assert process.poll() is None
                time.sleep(0.05)
            yield
        finally:
            process.kill()


def serve(place: str, parent: int) -> None:
    from fidelity.check import great

    great.library()
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{place}.new")
        door.listen(16)
        os.rename(f"{place}.new", place)
        while os.getppid() == parent:
            door.settimeout(1)
            try:
                asked, _ = door.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                door.close()
                answer(asked)
            asked.close()


def answer(asked: socket.socket) -> None:
    """In a process of its own: do the step, tell its status, end."""
    from fidelity import steps

    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        asked.settimeout(None)
        words, streams, _, _ = socket.recv_fds(asked, 65_536, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        status = steps.main(*json.loads(words))
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 -- told as Python would tell it
        traceback.print_exc()
    finally:
        asked.send(bytes([status]))
        os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
