"""Runs a command and measures all of it: wall time, and the memory of its whole process tree.

Memory is sampled from /proc, the same way for whoever is measured, every 20 ms, or less often where
a look takes long: the kernel holds up who is looked at, at most a twentieth of the time. `pss` is
the sum over all processes of the tree, where a page shared by n counts 1/n each, so that none
counts twice; `rss` counts it n times. Files in the page cache that are not mapped belong to nobody.
Who looks is a process of its own that has no library loaded: else it would bear a share of those
that it has in common with whom it looks at. Linux only.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_EVERY = 0.02  # seconds
_REST = 20  # times as long as the look before it


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a command. status None: its time was over."""

    status: int | None
    seconds: float
    pss: int  # bytes, the peak of the tree's sum
    rss: int
    out: str
    err: str


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    """As users have it: who keeps no bytecode compiles all that is imported, time after time."""
    return {k: v for k, v in environment.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run(command: Sequence[str], limit: float, environment: dict[str, str] | None = None) -> Ran:
    """Run a command to its end, or kill all of it after `limit` seconds."""
    watched = subprocess.run(
        [sys.executable, "-I", "-S", __file__, str(limit), *command],
        env=_plain(os.environ) | (environment or {}),
        capture_output=True,
        text=True,
        check=True,
    )
    return Ran(**json.loads(watched.stdout))


def _watch(command: Sequence[str], limit: float) -> Ran:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        most_pss, most_rss, over = 0, 0, False
        while process.poll() is None:
            looked = time.perf_counter()
            pss, rss = _tree_memory(process.pid)
            looked = time.perf_counter() - looked
            most_pss, most_rss = max(most_pss, pss), max(most_rss, rss)
            if time.perf_counter() - begun > limit:
                over = True
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(_EVERY, _REST * looked))
        seconds = time.perf_counter() - begun
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Ran(None if over else process.returncode, seconds, most_pss, most_rss, *texts)


def _tree_memory(root: int) -> tuple[int, int]:
    total_pss = total_rss = 0
    for pid in _tree(root):
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total_pss += int(line.split()[1]) << 10
                elif line.startswith("Rss:"):
                    total_rss += int(line.split()[1]) << 10
    return total_pss, total_rss


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:  # which grows
        with suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


if __name__ == "__main__":
    print(json.dumps(asdict(_watch(sys.argv[2:], float(sys.argv[1])))))
