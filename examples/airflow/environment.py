"""Airflow's own Python environment, with Fidelity installed beside it.

Made once from airflow_dags/requirements.lock, in .build, and made anew when the lock changes.
"""

import hashlib
import shutil
import sys
import time
from pathlib import Path

from examples.processes import BUILD, ROOT, ServerError, locked, made

LOCK = ROOT / "airflow_dags" / "requirements.lock"
FOLDER = BUILD / "airflow"
ENVIRONMENT = FOLDER / "venv"
PYTHON = ENVIRONMENT / "bin" / "python"


def is_there() -> bool:
    """Whether the environment was made, from this lock and for this folder."""
    stamp = FOLDER / "made-from"
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == _wanted()


def fetched() -> Path:
    """The environment's interpreter; the environment is made unless it is there already.

    Raises:
        ServerError: uv is missing, or the packages cannot be fetched.
    """
    if not is_there():
        with locked(FOLDER):
            if not is_there():
                _make()
    return PYTHON


def _make() -> None:
    print("Installing Airflow into .build/airflow ... ", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    uv, advice = _uv(), "Check the network, or the registry that uv is set up for."
    (FOLDER / "made-from").unlink(missing_ok=True)
    base = [uv, "venv", "--clear", "--no-project", "--python", sys.executable, str(ENVIRONMENT)]
    made(base, "make Airflow's environment", advice)
    here = ["--python", str(PYTHON)]
    sync = [uv, "pip", "sync", *here, "--require-hashes", str(LOCK)]
    made(sync, "install Airflow", advice)
    beside = [uv, "pip", "install", *here, "--no-deps", "--editable", str(ROOT)]
    made(beside, "install Fidelity beside Airflow", advice)
    (FOLDER / "made-from").write_text(_wanted())
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


def _wanted() -> str:
    made_from = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    return f"{made_from} {ROOT} {sys.version_info.major}.{sys.version_info.minor}"


def _uv() -> str:
    uv = shutil.which("uv") or str(BUILD / "uv" / "bin" / "uv")
    if not Path(uv).exists():
        raise ServerError("uv is missing: remove .venv and run make setup.")
    return uv
