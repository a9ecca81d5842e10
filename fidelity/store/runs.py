"""Runs: each audit's report, kept in the store under runs/, so that every answer stays as given."""

import gzip
import json
import secrets
import zlib
from datetime import UTC, datetime
from typing import Any

from fidelity.config import mask
from fidelity.errors import StoreError, UsageError
from fidelity.report import Report, from_iso
from fidelity.report.json import parse, render
from fidelity.sources.filesystem import filesystem
from fidelity.store import Store
from fidelity.store.storage import told

_ENDING = ".json.gz"


def new_run() -> str:
    """The name of a run that begins now. Names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(3)}"


def keep(store: Store, report: Report) -> None:
    """Write a report under its run's name. Raises StoreError."""
    content = gzip.compress(render(report).encode(), compresslevel=3)
    with told(store.uri, "written"):
        filesystem(store.uri, store.options).write(_path(store, report.run), content)


def names(store: Store) -> list[str]:
    """The runs that are kept, newest first. Raises StoreError."""
    with told(store.uri, "read"):
        try:
            found = filesystem(store.uri, store.options).children(f"{store.uri}/runs")
        except FileNotFoundError:
            return []
    files = [entry.path.rstrip("/").rpartition("/")[2] for entry in found]
    return sorted((n.removesuffix(_ENDING) for n in files if n.endswith(_ENDING)), reverse=True)


def heads(store: Store) -> list[dict[str, Any]]:
    """run, as_of, verdict and watermark of each run, newest first. Raises StoreError."""
    return [_head(store, run) for run in names(store)]


def kept(store: Store, run: str | None = None, as_of: int | None = None) -> Report:
    """The report of a run; of the last one; of the last one up to a time (microseconds).

    Raises:
        UsageError: there is no such run.
        StoreError: the store, or the run in it, cannot be read.
    """
    found = names(store)
    if run is not None:
        wanted = [name for name in found if name == run]
    elif as_of is None:
        wanted = found[:1]
    else:
        upto = (name for name in found if from_iso(_head(store, name)["as_of"]) <= as_of)
        wanted = [name for name in [next(upto, None)] if name is not None]
    if not wanted:
        what = "there is no such run." if found else "no run has been kept yet."
        action = "`fidelity store runs` lists them." if found else "`fidelity audit` makes one."
        raise UsageError(what, where=mask(store.uri), action=action)
    return _parsed(store, wanted[0])


def _path(store: Store, run: str) -> str:
    return f"{store.uri}/runs/{run}{_ENDING}"


def _text(store: Store, run: str, most: int = -1) -> str:
    path = _path(store, run)
    with told(path, "read"):
        try:
            source = filesystem(store.uri, store.options).open(path)
            with source, gzip.GzipFile(fileobj=source) as file:
                return file.read(most).decode("utf-8", "strict" if most < 0 else "ignore")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(store, run) from error


def _head(store: Store, run: str) -> dict[str, Any]:
    # The head of the report stands before its tables, which may be long.
    text = _text(store, run, 4096).partition('"collision_budget"')[0]
    try:
        head = json.loads(text.rstrip().rstrip(",") + "}")
        return {name: head[name] for name in ("run", "as_of", "verdict", "watermark")}
    except (ValueError, KeyError) as error:
        raise _damaged(store, run) from error


def _parsed(store: Store, run: str) -> Report:
    try:
        return parse(_text(store, run))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(store, run) from error


def _damaged(store: Store, run: str) -> StoreError:
    action = "Remove it, or look at another one: `fidelity store runs` lists them."
    return StoreError("this is not a run's report.", where=mask(_path(store, run)), action=action)
