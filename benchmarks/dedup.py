"""What dropping duplicates costs a consumer: nanoseconds a record and memory, beside a set of ids.

    python -m benchmarks.dedup [records]

20 million records of 18 producers with 1 % duplicates, shuffled locally as a consumer of several
partitions sees them; a third of the copies are near, the rest are replays from anywhere. Each way
runs in a process of its own, which makes the records batch by batch. Memory is what the process
grew by at its peak. Limits: exact, and below 50 MB.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.generate import HOSTS, STREAMS
from fidelity.dedup import Deduplicator
from fidelity.dedup.runs import warm
from fidelity.identity import ids_of, producer_seed

LIMIT_MB = 50.0
PRODUCERS = [(stream, f"host-{n:02}") for stream in STREAMS for n in range(HOSTS)]
SEEDS = np.array([producer_seed(*names) for names in PRODUCERS], np.uint32)
STEP, BATCH, SHUFFLED = 1_000_000, 1_000, 2_000
SINGLY = 1_000_000

Batch = tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.bool_]]
"""(producer, id, whether it is the first copy) of each record."""


def batches(records: int) -> Iterator[Batch]:
    """All records, in the order of their arrival."""
    chance = np.random.default_rng(1)
    for start in range(0, records, STEP):
        count = min(STEP, records - start)
        copies = count // 100
        fresh = start + np.arange(count - copies)
        near = chance.choice(fresh, copies // 3)
        # Numbers of earlier steps, as far as they were sent.
        far = chance.integers(0, max(start, 1), copies - len(near))
        far = far - far % STEP + np.minimum(far % STEP, STEP - STEP // 100 - 1)
        far = chance.choice(fresh, len(far)) if start == 0 else far
        numbers = np.concatenate([fresh, near, far])
        due = np.concatenate(
            [fresh, near + chance.integers(0, 20_000, len(near)), start + far % count]
        )
        numbers = numbers[np.argsort(due + chance.integers(0, SHUFFLED, count), kind="stable")]
        first = np.zeros(count, np.bool_)
        first[np.unique(numbers, return_index=True)[1]] = True
        first &= numbers >= start
        producer = (numbers % len(PRODUCERS)).astype(np.int32)
        ids = ids_of(numbers // len(PRODUCERS), SEEDS[producer])
        for at in range(0, count, BATCH):
            part = slice(at, at + BATCH)
            yield producer[part], ids[part], first[part]


def with_deduplicator(records: int, state: str) -> dict[str, float]:
    warm()
    spent = wrong = 0
    before = peak()
    with Deduplicator(state) as kept:
        for stream, origin in PRODUCERS:
            kept.producer(stream, origin)
        for producers, ids, first in batches(records):
            begun = time.thread_time_ns()
            told = kept.firsts_of(producers, ids)
            spent += time.thread_time_ns() - begun
            wrong += int(np.count_nonzero(np.array(told) != first))
        begun = time.perf_counter_ns()
        kept.save({("logs", 0): records})
        saving = time.perf_counter_ns() - begun
        runs = kept.runs
    return {
        "ns": spent / records, "wrong": wrong, "mb": peak() - before, "runs": runs,
        "save_us": saving / 1000,
    }  # fmt: skip


def singly(records: int, _state: str) -> dict[str, float]:
    spent = wrong = 0
    kept = Deduplicator()
    before = peak()
    for producers, ids, first in batches(min(records, SINGLY)):
        names = [PRODUCERS[code] for code in producers.tolist()]
        pairs = list(zip(names, ids.tolist(), strict=True))
        begun = time.thread_time_ns()
        told = [kept.first(stream, origin, id) for (stream, origin), id in pairs]
        spent += time.thread_time_ns() - begun
        wrong += int(np.count_nonzero(np.array(told) != first))
    return {"ns": spent / min(records, SINGLY), "wrong": wrong, "mb": peak() - before}


def with_sets(records: int, _state: str) -> dict[str, float]:
    seen: list[set[int]] = [set() for _ in PRODUCERS]
    spent = wrong = 0
    before = peak()
    for producers, ids, first in batches(records):
        pairs = list(zip(producers.tolist(), ids.tolist(), strict=True))
        told = []
        begun = time.thread_time_ns()
        for producer, id in pairs:
            mine = seen[producer]
            new = id not in mine
            if new:
                mine.add(id)
            told.append(new)
        spent += time.thread_time_ns() - begun
        wrong += int(np.count_nonzero(np.array(told) != first))
    return {"ns": spent / records, "wrong": wrong, "mb": peak() - before}


WAYS = {
    "Deduplicator, 1,000 at a time": with_deduplicator,
    "Deduplicator, one at a time": singly,
    "a Python set of ids for each producer": with_sets,
}


def peak() -> float:
    """The most memory that this process has had, MB, with one step of records made."""
    if not _made:
        _made.append(sum(len(ids) for _, ids, _ in batches(2 * STEP)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


_made: list[int] = []


def measured(way: str, records: int) -> dict[str, float]:
    """Run one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.dedup", str(records), way]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout).items()}


def main() -> int:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000
    if len(sys.argv) > 2:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(WAYS[sys.argv[2]](records, folder)))
        return 0
    figures = {way: measured(way, records) for way in WAYS}
    for way, found in figures.items():
        print(
            f"{way:38} {found['ns']:7.0f} ns/record, {found['mb']:8.1f} MB at its peak,"
            f" {found['wrong']:.0f} wrong"
        )
    bulk = figures["Deduplicator, 1,000 at a time"]
    print(
        f"at the end {bulk['runs']:.0f} runs are open; to save them takes {bulk['save_us']:.0f} us"
    )
    kept = bulk["mb"] < LIMIT_MB and not any(found["wrong"] for found in figures.values())
    print(f"limits: exact, {LIMIT_MB:.0f} MB: {'kept' if kept else 'BROKEN'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
