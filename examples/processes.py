"""What the real servers have in common: fetched once, on loopback ports, dead with their parent.

A server that is killed with its parent leaves nothing behind; each is stopped by its own process.
"""

import contextlib
import ctypes
import fcntl
import hashlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
START_SECONDS = 60.0


class ServerError(RuntimeError):
    """A server cannot be fetched or started on this machine; the message says what to do."""


class MissingError(ServerError):
    """A program is missing that fetching or starting a server takes."""


def require(program: str, package: str) -> str:
    """The program's path. Raises MissingError naming the Debian package when it is missing."""
    found = shutil.which(program)
    if found is None:
        raise MissingError(f"{program} is missing: install it with `sudo apt install {package}`.")
    return found


def jars(pom: Path, folder: Path, what: str) -> Path:
    """The folder with a pom's jars, fetched with Maven unless they are there already.

    Args:
        pom: names the jars.
        folder: where they go, into `lib`.
        what: whose jars they are, for the message.

    Raises:
        ServerError: Java or Maven is missing, or Maven cannot fetch them.
    """
    require("java", "openjdk-17-jre-headless")
    wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
    library, stamp = folder / "lib", folder / "lib.sha256"
    if _says(stamp, wanted):
        return library
    maven = require("mvn", "maven")
    with locked(folder):
        if not _says(stamp, wanted):
            shutil.rmtree(library, ignore_errors=True)
            goal = ["dependency:copy-dependencies", f"-DoutputDirectory={library}"]
            advice = "Check the network, or the mirror in ~/.m2/settings.xml."
            made([maven, "-q", "-B", "-f", str(pom), *goal], f"fetch {what} with Maven", advice)
            stamp.write_text(wanted)
    return library


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A folder that nobody else fills meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made(
    command: Sequence[str], what: str, advice: str, environment: Mapping[str, str] | None = None
) -> str:
    """What a command printed. Raises ServerError with the end of it, if it failed."""
    env = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        told = (done.stdout + done.stderr).strip()[-2000:]
        raise ServerError(f"Could not {what}. {advice} It said:\n{told}")
    return done.stdout


def _says(stamp: Path, wanted: str) -> bool:
    return stamp.exists() and stamp.read_text() == wanted


class Process:
    """One process of a server, which dies with the thread that started it.

    Args:
        name: for the messages.
        folder: where it runs.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.log = name, folder, folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None when it is not running."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive and self._process else None

    def launch(
        self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it and return at once. What it prints is added to its log."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **(environment or {})},
                preexec_fn=die_with_parent(),
            )

    def wait(self, answers: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        """Return when it answers. Raises ServerError with the end of its log, and ends it."""
        deadline = time.monotonic() + seconds
        while not answers():
            if self.pid is None or time.monotonic() > deadline:
                self.end(SIGKILL)
                raise ServerError(f"{self.name} did not start; {self.log} ends:\n{self.tail()}")
            time.sleep(0.05)

    def freeze(self) -> None:
        """Let it take connections and answer nothing more. Returns when it has stopped."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(SIGCONT)

    def _signal(self, number: Signals) -> None:
        if self.pid is not None and self._process is not None:
            self._process.send_signal(number)

    def end(self, how: Signals) -> None:
        """Send it a signal and wait until it is gone."""
        self._signal(how)
        if self._process is None:
            return
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "(no log)"


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on, kept for this process until it ends.

    Raises:
        ServerError: there are not so many.
    """
    ports = list(_lasting_ports())
    random.shuffle(ports)
    found = list(itertools.islice(filter(_kept, ports), count))
    if len(found) < count:
        raise ServerError(f"This machine has no {count} free ports on 127.0.0.1.")
    return found


_KEPT: list[socket.socket] = []


def _kept(port: int) -> bool:
    """Keep a port, unless somebody listens there or keeps it.

    It is kept by a UDP socket of the same number, which no server of ours needs: other processes
    that look for ports see it, and it is gone with this process however that ends.
    """
    keeper = socket.socket(type=socket.SOCK_DGRAM)
    try:
        keeper.bind(("127.0.0.1", port))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        keeper.close()
        return False
    _KEPT.append(keeper)
    return True


def _lasting_ports() -> Sequence[int]:
    """Ports that the system gives to nobody's outgoing connections.

    A server that takes 20 s to start finds any other port taken by some client now and then.
    """
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first, last = map(int, given.read_text().split()) if given.exists() else (49_152, 65_535)
    below, above = range(10_000, first), range(last + 1, 65_536)
    return max(below, above, key=len) or range(10_000, 65_536)


def die_with_parent() -> Callable[[], None] | None:
    """For Popen's preexec_fn: the process is killed when the thread that started it ends."""
    if sys.platform != "linux":
        return None
    library, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def ask() -> None:
        library.prctl(1, SIGKILL)  # PR_SET_PDEATHSIG; it outlives exec
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask
