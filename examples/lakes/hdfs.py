"""A real HDFS: a NameNode and a DataNode, each in a process of its own.

with Hdfs() as hdfs:
    print(hdfs.uri)
"""

import json
import shutil
import signal
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape

from examples.processes import BUILD, Process, free_ports, jars, made, require

POM = Path(__file__).with_name("pom.xml")
FOLDER = BUILD / "hadoop"
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx192m")
_LOGGING = """log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n
"""
_SMALL = {
    # One copy of everything, quick to notice what happens, little memory.
    "dfs.replication": "1",
    "dfs.namenode.safemode.extension": "0",
    "dfs.namenode.fs-limits.min-block-size": "1024",
    "dfs.namenode.handler.count": "4",
    "dfs.heartbeat.interval": "1",
    "dfs.namenode.heartbeat.recheck-interval": "1000",
    "dfs.datanode.handler.count": "4",
    "dfs.block.scanner.volume.bytes.per.second": "0",
}


def is_there() -> bool:
    """Whether the jars were fetched before."""
    return (FOLDER / "lib.sha256").exists()


def fetched() -> Path:
    """The folder with Hadoop's jars, fetched if need be. Raises ServerError."""
    return jars(POM, FOLDER, "Hadoop's jars")


class Hdfs:
    """One NameNode and one DataNode; all their files are removed by `stop`."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fidelity-hdfs-"))
        name, name_http, data, data_http, data_ipc = free_ports(5)
        self.address = f"127.0.0.1:{name}"
        self.uri = f"hdfs://{self.address}"
        self._http, self._data_http = f"127.0.0.1:{name_http}", f"127.0.0.1:{data_http}"
        self.configuration = self.folder / "conf"
        for web in ("hdfs", "datanode"):  # the servers look for them
            (self.configuration / "webapps" / web).mkdir(parents=True)
        self._write(
            {
                **_SMALL,
                "dfs.namenode.rpc-address": self.address,
                "dfs.namenode.http-address": self._http,
                "dfs.namenode.name.dir": str(self.folder / "name"),
                "dfs.datanode.data.dir": str(self.folder / "data"),
                "dfs.datanode.address": f"127.0.0.1:{data}",
                "dfs.datanode.http.address": self._data_http,
                "dfs.datanode.ipc.address": f"127.0.0.1:{data_ipc}",
                **(settings or {}),
            }
        )
        self._name = Process("namenode", self.folder)
        self._data = Process("datanode", self.folder)

    def _write(self, settings: Mapping[str, str]) -> None:
        for file, values in (
            ("core-site.xml", {"fs.defaultFS": self.uri, "hadoop.tmp.dir": str(self.folder)}),
            ("hdfs-site.xml", settings),
        ):
            rows = "".join(
                f"<property><name>{escape(key)}</name><value>{escape(value)}</value></property>\n"
                for key, value in values.items()
            )
            text = f"<configuration>\n{rows}</configuration>\n"
            (self.configuration / file).write_text(text)
        (self.configuration / "log4j.properties").write_text(_LOGGING)

    def _java(self, main: str, *arguments: str) -> list[str]:
        java = require("java", "openjdk-17-jre-headless")
        classes = f"{self.configuration}:{fetched()}/*"
        # WebHDFS asks for the opened package.
        opened = ("--add-opens", "java.base/java.lang=ALL-UNNAMED")
        return [java, *_JVM, *opened, "-cp", classes, f"org.apache.hadoop.{main}", *arguments]

    def launch(self) -> Self:
        """Start both and return at once."""
        self.launch_name_node()
        self.launch_data_node()
        return self

    def launch_name_node(self) -> None:
        """Start it; its files are made if there are none."""
        server = "hdfs.server.namenode.NameNode"
        if not (self.folder / "name").exists():
            made(self._java(server, "-format", "-nonInteractive"), "format a NameNode", "")
        self._name.launch(self._java(server))

    def launch_data_node(self) -> None:
        """Start it; it waits for the NameNode."""
        self._data.launch(self._java("hdfs.server.datanode.DataNode"))

    def wait(self) -> Self:
        """Return when files can be written."""
        self._data.wait(self._is_ready)
        return self

    @property
    def data_node_pid(self) -> int | None:
        """Its process, None when it is not running."""
        return self._data.pid

    def kill_data_node(self) -> None:
        """End it at once, as a machine that loses its power."""
        self._data.end(signal.SIGKILL)

    def kill_name_node(self) -> None:
        """End it at once."""
        self._name.end(signal.SIGKILL)

    def freeze_name_node(self) -> None:
        """Let it take connections and answer nothing more."""
        self._name.freeze()

    def thaw_name_node(self) -> None:
        """Let it go on."""
        self._name.thaw()

    def freeze_data_node(self) -> None:
        """Let it take connections and answer nothing more."""
        self._data.freeze()

    def thaw_data_node(self) -> None:
        """Let it go on."""
        self._data.thaw()

    def safe_mode(self, on: bool) -> None:
        """Enter or leave safe mode: reading goes on, writing is refused."""
        order = ("-safemode", "enter" if on else "leave")
        made(self._java("hdfs.tools.DFSAdmin", *order), "change safe mode", "")

    def blocks(self) -> list[Path]:
        """The DataNode's finished blocks, as files."""
        found = (self.folder / "data").glob("current/*/current/finalized/**/blk_*")
        return sorted(path for path in found if path.suffix != ".meta")

    def stop(self) -> None:
        """End both for good."""
        self.kill_data_node()
        self.kill_name_node()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.launch().wait()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        # The NameNode counts a DataNode as living for a while after its death.
        (name,) = _beans(self._http, "NameNode", "FSNamesystemState") or [{}]
        (data,) = _beans(self._data_http, "DataNode", "DataNodeInfo") or [{}]
        actors = json.loads(data.get("BPServiceActorInfo", "[]"))
        registered = [each for each in actors if each["ActorState"] == "RUNNING"]
        return (
            name.get("FSState") == "Operational"
            and name.get("NumLiveDataNodes") == 1
            and bool(registered)
        )


def _beans(address: str, service: str, name: str) -> list[dict[str, Any]]:
    """What a server tells of itself; nothing if it does not answer."""
    question = f"jmx?qry=Hadoop:service={service},name={name}"
    try:
        with urllib.request.urlopen(f"http://{address}/{question}", timeout=2) as answer:
            found: list[dict[str, Any]] = json.load(answer)["beans"]
            return found
    except (OSError, ValueError):
        return []
