"""The Spark session that tasks are sent to: one that is there already, else a new one.

Invariant: what was there before is used as it is and left as it is; what we start is quiet, and is
stopped by us.
"""

import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from fidelity.config import Engine
from fidelity.config.masking import is_secret
from fidelity.errors import EngineError
from fidelity.lean import stay_lean_no_more
from fidelity.spark.failures import no_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOCAL = "local[*,4]"
"""The master where none is given: all cores of this machine, and up to four tries of a task."""

_QUIET = {
    "spark.app.name": "fidelity",
    "spark.log.level": "ERROR",
    "spark.ui.showConsoleProgress": "false",
    "spark.python.daemon.module": "fidelity.spark.daemon",
}
_HERE = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.ui.enabled": "false",
}
_PATIENCE = 5.0  # seconds until a master must have taken a connection
_starting = threading.Lock()
_log: IO[bytes] | None = None  # of the one Java process that this process has


@dataclass(frozen=True, slots=True)
class Session:
    """A Spark session, and whether it is ours to stop."""

    spark: "SparkSession"
    ours: bool

    @property
    def master(self) -> str:
        """Spark's address."""
        return str(self.spark.sparkContext.master)

    def cores(self) -> int:
        """How many tasks it can do at once: those of executors that are there, or are to come."""
        context = self.spark.sparkContext
        conf = context.getConf()

        def number(name: str) -> int:
            text = conf.get(name, "") or ""
            return int(text) if text.isdecimal() else 0

        instances = number("spark.executor.instances")
        if (conf.get("spark.dynamicAllocation.enabled", "false") or "").lower() == "true":
            instances = number("spark.dynamicAllocation.maxExecutors")
        asked = instances * max(1, number("spark.executor.cores"))
        return max(int(context.defaultParallelism), number("spark.cores.max"), asked)

    def busy(self) -> bool:
        """Whether any task of any job is at work; so it is while that cannot be told."""
        with suppress(Exception):  # the job's own thread tells what is wrong
            tracker = self.spark.sparkContext.statusTracker()
            stages = (tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds())
            return any(stage is not None and stage.numActiveTasks for stage in stages)
        return True

    def close(self) -> None:
        """Stop it, with all that it is doing, if it is ours."""
        if self.ours:
            with suppress(Exception):  # it may be gone already
                self.spark.stop()


def session(engine: Engine) -> Session:
    """The session of this process, else a new one as the engine says.

    Raises:
        EngineError: pyspark or Java is missing, the master cannot be reached, or refuses.
    """
    sql, context = _pyspark()
    with _starting:
        there = context._active_spark_context
        if there is not None and _runs(there):
            return Session(sql.SparkSession(there), ours=False)
        if there is not None:
            there.stop()  # Spark ended it, and holds on to it
        return Session(_started(engine), ours=True)


def _runs(context: Any) -> bool:
    """Whether a Spark context was not stopped."""
    from py4j.protocol import Py4JError

    try:
        return context._jsc is not None and not context._jsc.sc().isStopped()
    except (Py4JError, OSError):
        raise EngineError(
            "Spark's Java process, which this program started, is gone.",
            action="Start the program again.",
        ) from None


def _pyspark() -> tuple[Any, Any]:
    stay_lean_no_more()
    try:
        from pyspark import SparkContext, sql
        from pyspark.sql.utils import is_remote
    except ImportError as error:
        raise EngineError(
            f"the engine `spark` needs pyspark, which cannot be imported ({error.msg}).",
            action="Install it: pip install '.[spark]' in Fidelity's folder.",
        ) from None
    if is_remote():
        raise _no_connect()
    return sql, SparkContext


def _no_connect() -> EngineError:
    return EngineError(
        "Spark Connect cannot be used: tasks are followed through a classic Spark context.",
        action="Unset SPARK_REMOTE and SPARK_API_MODE, or submit jobs/scan.py to the cluster.",
    )


def _started(engine: Engine) -> "SparkSession":
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    master = engine.master or LOCAL
    # Java itself would obey these, and lack what a context needs; is_remote() knows open sessions.
    if "SPARK_REMOTE" in os.environ or os.environ.get("SPARK_API_MODE", "").lower() == "connect":
        raise _no_connect()
    try:
        _ready_environment(engine, master)
        submitted = "PYSPARK_GATEWAY_PORT" in os.environ
        if not submitted:
            _refuse_silence(master)
        SparkContext._ensure_initialized(gateway=None if submitted else _gateway(engine.conf))
        settings = SparkConf()
        if submitted:  # its command line goes before the pipeline file
            master = settings.get("spark.master", master) or master
        for name, value in _defaults(master).items():
            if not settings.contains(name):
                settings.set(name, value)
        settings.setMaster(master)
        for name, value in engine.conf.items():
            settings.set(name, value)
        with _interrupts_kept():
            return SparkSession(SparkContext(conf=settings))
    except (Py4JError, PySparkException, OSError, ValueError, TypeError) as error:
        raise no_session(error, master, _said()) from None


@contextmanager
def _interrupts_kept() -> Iterator[None]:
    """A context takes SIGINT for itself, and fails at it once it was stopped."""
    ours = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _defaults(master: str) -> dict[str, str]:
    return {**_QUIET, **(_HERE if _on_this_machine(master) else {})}


def _ready_environment(engine: Engine, master: str) -> None:
    """The executors' Python is ours, unless told otherwise; nobody else talks to a local driver."""
    python = engine.conf.get("spark.pyspark.python")  # which only spark-submit looks at
    if python is not None:
        os.environ["PYSPARK_PYTHON"] = python
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if _on_this_machine(master):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")


def _on_this_machine(master: str) -> bool:
    hosts = {host for host, _ in _hosts(master)}
    return master.startswith("local") or (bool(hosts) and hosts <= {"127.0.0.1", "localhost"})


def _hosts(master: str) -> list[tuple[str, int]]:
    """Host and port of each master of `spark://host:port,host:port`."""
    if not master.startswith("spark://"):
        return []
    places = [place.rpartition(":") for place in master.removeprefix("spark://").split(",")]
    return [(host, int(port)) for host, _, port in places if port.isdecimal()]


def _refuse_silence(master: str) -> None:
    """Spark asks a master that is not there for minutes, and then tells nothing of use."""
    if master == "yarn":
        _find_yarn(master)
    hosts = _hosts(master)
    why = ""
    for place in hosts:
        try:
            socket.create_connection(place, _PATIENCE).close()
        except OSError as error:
            why = error.strerror or str(error)
        else:
            return
    if hosts:
        raise EngineError(
            f"the master cannot be reached: {why}.",
            where=f"Spark on {master}",
            action="Check `--master`, and that it runs.",
        )


def _find_yarn(master: str) -> None:
    """Without a configuration Spark looks for YARN on this machine, and does so for ever."""
    names = ("HADOOP_CONF_DIR", "YARN_CONF_DIR")
    if not any(os.environ.get(name) for name in names):
        raise EngineError(
            f"nothing says where YARN is: neither {' nor '.join(names)} is set.",
            where=f"Spark on {master}",
            action="Set one of them to the folder of Hadoop's configuration (yarn-site.xml).",
        )


def _gateway(conf: Mapping[str, str]) -> Any:
    """The Java process, whose stderr is kept from ours; the one that is there, if there is one."""
    global _log
    from pyspark import SparkContext, java_gateway

    if SparkContext._gateway is not None:
        return SparkContext._gateway
    _log = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - as long as the process
    # Its arguments can be seen by everybody on the machine: of the settings only what Java itself
    # must be told before it starts, and no secrets.
    early = [(name, value) for name, value in conf.items() if not is_secret(name)]
    launch: Any = java_gateway.launch_gateway  # it has no types
    return launch(_Arguments(early), {"stderr": None if "spark.log.level" in conf else _log})


class _Arguments:
    """What launch_gateway asks of a SparkConf, which itself cannot be made before Java runs."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def getAll(self) -> list[tuple[str, str]]:  # noqa: N802 - pyspark's name
        return self._pairs


def _said() -> str:
    if _log is None:
        return ""
    with suppress(OSError, ValueError):
        size = _log.seek(0, os.SEEK_END)
        _log.seek(max(0, size - 10_000))
        return _log.read().decode("utf-8", "replace")
    return ""
