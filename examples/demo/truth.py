"""The ground truth: what each fault did, written by the fault itself, apart from the audit."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Deed(NamedTuple):
    """One thing that a fault did to one record at one stage."""

    stage: str
    kind: str  # lost | duplicate
    stream: str
    origin: str
    id: str  # 8 hex digits


class Truth:
    """A file of deeds, one JSON line each, written before the record is touched."""

    def __init__(self, folder: Path, stage: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.stage = stage
        self._file = (folder / f"{stage}.jsonl").open("a", encoding="utf-8")

    def tell(self, kind: str, fault: str, lines: Iterable[bytes]) -> int:
        """Write down that `fault` made these records `kind`. Returns how many."""
        told = 0
        for line in lines:
            record = json.loads(line)
            deed = {"kind": kind, "fault": fault, "stream": record["type"]}
            deed |= {"origin": record["host"], "id": record["fid"]}
            self._file.write(json.dumps(deed) + "\n")
            told += 1
        self._file.flush()
        return told


def planted(folder: Path) -> tuple[Counter[Deed], Counter[tuple[str, str]]]:
    """All deeds of a folder, and how many each (stage, fault) did."""
    deeds: Counter[Deed] = Counter()
    faults: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            deed = json.loads(line)
            stage = path.stem
            deeds[Deed(stage, deed["kind"], deed["stream"], deed["origin"], deed["id"])] += 1
            faults[stage, deed["fault"]] += 1
    return deeds, faults
