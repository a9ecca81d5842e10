"""Set up Superset in an environment of its own, fill a star, import the dashboard, start it.

    python -m examples.superset [--star FOLDER] [--port PORT] [--setup-only]

Everything goes to .build/superset; a second run starts at once. Without --star a week of a made-up
pipeline is published. The login is made at random, and shown.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from examples import hours
from examples.processes import free_ports
from fidelity.publish import publish
from fidelity.star import Place, catalogue

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / ".build"
FOLDER = BUILD / "superset"
BIN = FOLDER / "venv" / "bin"
USER = "fidelity"
DAYS = 7


def main() -> int:
    """Do all of it; the server runs until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.superset")
    parser.add_argument("--star", type=Path, help="a star on this machine; default: a made-up one")
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--setup-only", action="store_true", help="do not start the server")
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    _install()
    star = asked.star.absolute() if asked.star else _made_up()
    catalogue.keep(Place(str(star)))
    password = _prepare()
    _import(star)
    if asked.setup_only:
        return 0
    return _serve(asked.port or free_ports(1)[0], password)


def _serve(port: int, password: str) -> int:
    """Run the server until it is interrupted; tell where it is once it answers."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("Starting the server ...", flush=True)
    with (FOLDER / "superset.log").open("ab") as out:
        command = [
            str(BIN / "superset"),
            "run",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "--with-threads",
        ]
        server = subprocess.Popen(command, env=_environment(), stdout=out, stderr=out)
        try:
            while server.poll() is None and not _answers(port):
                time.sleep(0.5)
            print(f"http://127.0.0.1:{port}/superset/dashboard/fidelity/")
            print(f"user {USER}, password {password}. Ctrl-C ends it.", flush=True)
            return server.wait()
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _install() -> None:
    wanted = (HERE / "requirements.txt").read_text()
    stamp = FOLDER / "venv" / "made-from"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("Installing Superset into .build/superset (700 MB, once) ...", flush=True)
    uv = shutil.which("uv") or str(BUILD / "uv" / "bin" / "uv")
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [uv, "venv", "--clear", "--no-project", "--python", sys.executable, FOLDER / "venv"],
        **quiet,  # type: ignore[call-overload]
    )
    subprocess.run(
        [uv, "pip", "sync", "--quiet", "--python", BIN / "python", "--require-hashes",
         HERE / "requirements.txt"],
        check=True,
    )  # fmt: skip
    stamp.write_text(wanted)


def _made_up() -> Path:
    folder = FOLDER / "made-up"
    pipeline = hours.pipeline(str(folder))
    if not (folder / "complete").exists():
        print(f"Publishing {DAYS} days of hourly runs of a made-up pipeline ...", flush=True)
        for hour in range(24 * DAYS):
            publish(pipeline, hours.report(hour, streams=12))
        (folder / "complete").touch()
    return Path(pipeline.publish.star)


def _prepare() -> str:
    """Superset's own database and its one user; their password."""
    secret, password = FOLDER / "secret", FOLDER / "password"
    for file in (secret, password):
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
    if not (FOLDER / "prepared").exists():
        print("Preparing Superset's database ...", flush=True)
        _superset("db", "upgrade")
        _superset(
            "fab", "create-admin", "--username", USER, "--firstname", "Fidelity", "--lastname",
            "Reader", "--email", "reader@localhost", "--password", password.read_text(),
        )  # fmt: skip
        _superset("init")
        (FOLDER / "prepared").touch()
    return password.read_text()


def bundle(star: Path, file: Path) -> None:
    """The dashboard as Superset imports it: a zip file whose database is this star."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for path in sorted((HERE / "dashboard").rglob("*.yaml")):
            text = path.read_text("utf-8").replace("/path/to/star", str(star).lstrip("/"))
            if path.parent.name == "databases":
                text = re.sub(r"duckdb:/+", "duckdb:////", text)
            out.writestr(f"fidelity/{path.relative_to(HERE / 'dashboard')}", text)


def _import(star: Path) -> None:
    file = FOLDER / "dashboard.zip"
    bundle(star, file)
    print("Importing the dashboard ...", flush=True)
    _superset("import-dashboards", "-p", str(file), "-u", USER)
    # An import leaves databases that are there as they are: their star may have been another one.
    _superset("set-database-uri", "-d", "Fidelity", "-u", f"duckdb:///{star}/{catalogue.NAME}")


def _environment() -> dict[str, str]:
    return os.environ | {
        "FIDELITY_SUPERSET": str(FOLDER),
        "SUPERSET_CONFIG_PATH": str(HERE / "superset_config.py"),
        "FLASK_APP": "superset.app:create_app()",
        "TZ": "UTC",  # DuckDB shows times in the zone of its process
    }


def _superset(*arguments: str) -> None:
    """One of its commands; what it says is in its log. Exits if it fails."""
    log = FOLDER / "superset.log"
    with log.open("ab") as out:
        command = [str(BIN / "superset"), *arguments]
        done = subprocess.run(command, env=_environment(), stdout=out, stderr=out, check=False)
    if done.returncode:
        sys.stderr.write(log.read_text("utf-8", "replace")[-3000:])
        raise SystemExit(f"superset {arguments[0]} failed; its log: {log}")


if __name__ == "__main__":
    sys.exit(main())
