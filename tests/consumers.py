"""Two consumers of a small topic that are killed before some file operation, for test_dedup.

    python tests/consumers.py LOOP FOLDER LIFE...

runs one of the loops once for each LIFE, in the folder FOLDER/LIFE: it is killed before its LIFE-th
operation on a file and begun again, and then killed 20 operations later, until it comes to its end.
"""

import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fidelity import durable
from fidelity.dedup import Deduplicator

BATCH = 11


def _topic() -> list[tuple[str, int]]:
    """(origin, id) by offset: three producers, a third of the records doubled."""
    chance = random.Random(5)
    records = [(f"h{number % 3}", chance.getrandbits(32)) for number in range(40)]
    records += chance.sample(records, 15)
    chance.shuffle(records)
    return records


TOPIC = _topic()
FIRSTS = [offset for offset, record in enumerate(TOPIC) if record not in TOPIC[:offset]]


def exactly_once(folder: Path, life: int) -> None:
    """The sink takes records and position in one transaction; the state is saved before it."""
    _die_at(life, folder)
    sink = folder / "sink"
    there = json.loads(sink.read_bytes()) if sink.exists() else {"offset": -1, "delivered": []}
    with Deduplicator(folder / "state", at={("logs", 0): there["offset"]}) as kept:
        for start in range(max(there["offset"], 0), len(TOPIC), BATCH):
            offsets, stop = _fresh(kept, start)
            kept.save({("logs", 0): stop})
            there = {"offset": stop, "delivered": [*there["delivered"], *offsets]}
            durable.replace(sink, json.dumps(there).encode())


def at_least_once(folder: Path, life: int) -> None:
    """The sink takes what it is given, at once; the state is saved after it."""
    _die_at(life, folder)
    with Deduplicator(folder / "state") as kept, (folder / "log").open("a") as sink:
        for start in range(kept.positions.get(("logs", 0), 0), len(TOPIC), BATCH):
            offsets, stop = _fresh(kept, start)
            sink.writelines(f"{offset}\n" for offset in offsets)
            sink.flush()
            os.fsync(sink.fileno())
            kept.save({("logs", 0): stop})


def _fresh(kept: Deduplicator, start: int) -> tuple[list[int], int]:
    batch = TOPIC[start : start + BATCH]
    mask = kept.firsts("app", [origin for origin, _ in batch], [id for _, id in batch])
    return [start + at for at, first in enumerate(mask) if first], start + len(batch)


def _die_at(life: int, folder: Path) -> None:
    """End at once, as if killed, before the operation of that number on a file of the folder."""
    left = life

    def count(event: str, arguments: Any) -> None:
        nonlocal left
        ours = event == "fsync" or str(folder) in str(arguments[0] if arguments else "")
        if ours and event in ("open", "os.rename", "os.mkdir", "fsync"):
            left -= 1
            if left == 0:
                os._exit(9)

    sync: Callable[[int], None] = os.fsync

    def counted(handle: int) -> None:
        count("fsync", ())
        sync(handle)

    sys.addaudithook(count)
    os.fsync = counted  # type: ignore[assignment]  # the one that audit hooks are not told of


def main() -> None:
    """Fork a process for each life of the consumer: all is imported before."""
    loop, folder, lives = globals()[sys.argv[1]], Path(sys.argv[2]), map(int, sys.argv[3:])
    Deduplicator().firsts("app", ["h1"], [1])  # loads what each life would load anew
    for first in lives:
        place, life = folder / str(first), first
        place.mkdir()
        while status := _status(loop, place, life):
            if status != 9:
                sys.exit(f"ended with {status}")
            (place / "kills").open("a").write("9")
            life = first + 20


def _status(loop: Callable[[Path, int], None], folder: Path, life: int) -> int:
    child = os.fork()
    if child == 0:
        loop(folder, life)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
