"""Real Kafka brokers (KRaft, one process is broker and controller) on loopback ports.

    with Broker("local") as local:
        print(local.address)

A broker lives in a folder of its own and dies with the thread that started it: a demo that is
killed leaves no server behind. `python -m examples.brokers.broker` only fetches the jars.
"""

import base64
import contextlib
import shutil
import signal
import socket
import struct
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from examples import processes
from examples.processes import BUILD, Process, ServerError, free_ports, require

POM = Path(__file__).with_name("pom.xml")
_JVM = "-XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
_SHORT = "-XX:TieredStopAtLevel=1"
"""For a short life: to compile for speed would take as long as all else that a broker does."""

_SMALL = {
    # One broker, little memory, nothing replicated, quick to answer.
    "process.roles": "broker,controller",
    "node.id": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",  # how long a killed broker must wait to come back
    "broker.heartbeat.interval.ms": "500",
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.cleaner.backoff.ms": "200",
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
    "log.retention.hours": "-1",  # audits look at old event times; nothing may go by itself
    "log.message.timestamp.before.max.ms": str(2**63 - 1),
    "log.message.timestamp.after.max.ms": str(2**63 - 1),
}


BrokerError = ServerError
"""Kafka cannot be fetched or started on this machine; the message says what to do."""


def jars(folder: Path = BUILD / "kafka") -> Path:
    """The folder with Kafka's jars, fetched with Maven unless this pom's are there already."""
    return processes.jars(POM, folder, "Kafka's jars")


class Broker:
    """One Kafka broker. `launch` and `wait` are the two steps of `start`, to start several at once.

    Args:
        name: used for the folder and the messages.
        settings: broker settings that go before the built-in ones.
        folder: where its data and log live; a temporary one, removed by `stop`, if not given.
        users: name -> password; adds a SASL_PLAINTEXT listener, `sasl_address`, for PLAIN and
            SCRAM-SHA-256.
        keystore: (PKCS12 file, its password); adds an SSL listener, `ssl_address`.
        joins: a broker whose cluster this one becomes the second member of.
        memory: the heap.
        lasting: it is to serve for minutes: worth it to compile its code for speed.
    """

    def __init__(
        self,
        name: str = "kafka",
        settings: Mapping[str, str] | None = None,
        *,
        folder: Path | None = None,
        users: Mapping[str, str] | None = None,
        keystore: tuple[Path, str] | None = None,
        joins: Self | None = None,
        memory: str = "384m",
        lasting: bool = False,
    ) -> None:
        self.name, self.memory = name, memory
        self._jvm = _JVM if lasting else f"{_JVM} {_SHORT}"
        self._temporary = folder is None
        self.folder = Path(folder or tempfile.mkdtemp(prefix=f"fidelity-{name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._settings, self._users, self._keystore = dict(settings or {}), users or {}, keystore
        plain, controller, sasl, ssl = free_ports(4)
        self.address = f"127.0.0.1:{plain}"
        self.sasl_address = f"127.0.0.1:{sasl}"
        self.ssl_address = f"127.0.0.1:{ssl}"
        self._joins = joins is not None
        self._controller: str = joins._controller if joins else f"127.0.0.1:{controller}"
        fresh = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._cluster: str = joins._cluster if joins else fresh
        self._process = Process(name, self.folder)

    @property
    def pid(self) -> int | None:
        """The server's process, None when it is not running."""
        return self._process.pid

    def start(self) -> Self:
        """Start, and return when it answers. Raises BrokerError with the end of its log."""
        return self.launch().wait()

    def launch(self) -> Self:
        """Start the process and return at once."""
        classes = f"{jars()}/*"
        config = self.folder / "server.properties"
        config.write_text("".join(f"{k}={v}\n" for k, v in self._properties().items()))
        java = f'{require("java", "openjdk-17-jre-headless")} -cp "{classes}" {self._jvm}'
        script = f'exec {java} -Xms128m -Xmx{self.memory} kafka.Kafka "{config}"'
        if not (self.folder / "data" / "meta.properties").exists():
            script = f"{java} {_SHORT} {self._format(config)} && {script}"
        self._process.launch(["/bin/sh", "-c", script])
        return self

    def wait(self) -> Self:
        """Return when the broker answers a request."""
        self._process.wait(lambda: _answers(self.address))
        return self

    def kill(self) -> None:
        """SIGKILL, as a machine that loses its power. The folder stays; `start` starts it again."""
        self._process.end(signal.SIGKILL)

    def halt(self) -> None:
        """Shut down in order, and keep the folder."""
        self._process.end(signal.SIGTERM)

    def restart(self) -> Self:
        """Shut down in order, and start on the same port and data."""
        self.halt()
        return self.start()

    def stop(self) -> None:
        """End it for good. A temporary folder is removed."""
        self.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start() if self.pid is None else self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _format(self, config: Path) -> str:
        scram = " ".join(
            f"--add-scram 'SCRAM-SHA-256=[name={user},password={password}]'"
            for user, password in self._users.items()
        )
        # The = keeps an id that begins with a dash from being taken for an option.
        return f'kafka.tools.StorageTool format --cluster-id={self._cluster} {scram} -c "{config}"'

    def _properties(self) -> dict[str, str]:
        listeners = {"PLAINTEXT": self.address}
        if not self._joins:
            listeners["CONTROLLER"] = self._controller
        if self._users:
            listeners["SASL_PLAINTEXT"] = self.sasl_address
        if self._keystore:
            listeners["SSL"] = self.ssl_address
        return {
            **_SMALL,
            "listeners": ",".join(f"{kind}://{where}" for kind, where in listeners.items()),
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": f"1@{self._controller}",
            **({"process.roles": "broker", "node.id": "2"} if self._joins else {}),
            "log.dirs": str(self.folder / "data"),
            **self._security(),
            **self._settings,
        }

    def _security(self) -> dict[str, str]:
        settings = {}
        if self._users:
            known = " ".join(f'user_{user}="{word}"' for user, word in self._users.items())
            sasl, login = "listener.name.sasl_plaintext", "org.apache.kafka.common.security"
            plain, scram = f"{login}.plain.PlainLoginModule", f"{login}.scram.ScramLoginModule"
            settings = {
                "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
                f"{sasl}.plain.sasl.jaas.config": f"{plain} required {known};",
                f"{sasl}.scram-sha-256.sasl.jaas.config": f"{scram} required;",
            }
        if self._keystore:
            path, password = self._keystore
            settings |= {
                "ssl.keystore.location": str(path),
                "ssl.keystore.type": "PKCS12",
                "ssl.keystore.password": password,
            }
        return settings


@contextlib.contextmanager
def brokers(*names: str) -> Iterator[tuple[Broker, ...]]:
    """Several brokers, each a cluster of its own, started at once and stopped at the end."""
    started: list[Broker] = []
    try:
        for name in names:
            started.append(Broker(name).launch())
        yield tuple(broker.wait() for broker in started)
    finally:
        for broker in started:
            broker.stop()


def _answers(address: str) -> bool:
    """Whether a Kafka server answers there: an open port is not enough, it opens too early."""
    host, port = address.rsplit(":", 1)
    client = b"probe"
    request = struct.pack(">hhih", 18, 0, 1, len(client)) + client  # ApiVersions, version 0
    try:
        with socket.create_connection((host, int(port)), timeout=2) as wire:
            wire.sendall(struct.pack(">i", len(request)) + request)
            return len(wire.recv(8)) == 8
    except OSError:
        return False


if __name__ == "__main__":
    print(jars())
