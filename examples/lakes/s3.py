"""A real S3 server (versitygw) over a folder: signatures, ranges, conditional puts.

with S3() as s3:
    s3.make_bucket("lake")
    print(s3.endpoint, s3.options)
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.processes import BUILD, MissingError, Process, free_ports, locked, made

VERSION = "v1.8.0"
PROGRAM = BUILD / "versitygw" / VERSION / "versitygw"
_MODULE = f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"
_OLDEST_GO = (1, 21)
"""From this one on, Go fetches by itself the newer one that a module asks for."""


def is_there() -> bool:
    """Whether the server was built before."""
    return PROGRAM.exists()


def fetched() -> Path:
    """The server's program, built with Go unless it is there already.

    Raises:
        MissingError: there is no Go, or too old a one.
        ServerError: it cannot be fetched.
    """
    if not is_there():
        go = _go()
        with locked(PROGRAM.parent):
            if not is_there():
                draft = PROGRAM.parent / "draft"
                advice = "Check the network, or GOPROXY in `go env`."
                made([go, "install", _MODULE], "build the S3 server with Go", advice,
                     {"GOBIN": str(draft), "GOFLAGS": ""})  # fmt: skip
                os.replace(draft / PROGRAM.name, PROGRAM)
                draft.rmdir()
    return PROGRAM


def _go() -> str:
    advice = "install it with `sudo apt install golang-go` (Debian 13) or from go.dev/dl"
    go = shutil.which("go")
    if go is None:
        raise MissingError(f"Go is missing: {advice}.")
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", told)
    if found and (int(found[1]), int(found[2])) < _OLDEST_GO:
        raise MissingError(f"Go {found[1]}.{found[2]} is too old, 1.21 would do: {advice}.")
    return go


class S3:
    """One S3 server; its buckets are the folders of a folder, removed by `stop`."""

    region = "us-east-1"

    def __init__(self, access_key: str = "tests", secret_key: str = "tests-have-a-secret") -> None:
        self.access_key, self.secret_key = access_key, secret_key
        self.folder = Path(tempfile.mkdtemp(prefix="fidelity-s3-"))
        self.data = self.folder / "data"
        for folder in (self.data, self.folder / "sidecar"):
            folder.mkdir()
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.endpoint = f"http://{self.address}"
        self._process = Process("versitygw", self.folder)

    @property
    def options(self) -> dict[str, str]:
        """A stage's or a store's `options:`."""
        return {
            "aws_endpoint_url": self.endpoint,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_region": self.region,
        }

    @property
    def pid(self) -> int | None:
        """The server's process, None when it is not running."""
        return self._process.pid

    def make_bucket(self, name: str) -> str:
        """A new bucket's name."""
        (self.data / name).mkdir()
        return name

    def launch(self) -> Self:
        """Start it and return at once."""
        program = fetched()
        self._process.launch(
            [program, "--port", self.address, "--region", self.region, "--quiet", "posix",
             "--sidecar", self.folder / "sidecar", self.data],
            {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key},
        )  # fmt: skip
        return self

    def wait(self) -> Self:
        """Return when it answers."""
        self._process.wait(self._answers)
        return self

    def freeze(self) -> None:
        """Let it take connections and answer nothing more."""
        self._process.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        self._process.thaw()

    def kill(self) -> None:
        """End it at once. The folder stays; `launch` starts it again."""
        self._process.end(signal.SIGKILL)

    def stop(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return (self if self.pid else self.launch()).wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        host, port = self.address.rsplit(":", 1)
        try:
            with socket.create_connection((host, int(port)), timeout=2) as wire:
                wire.sendall(f"GET / HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode())
                return wire.recv(4) == b"HTTP"
        except OSError:
            return False
