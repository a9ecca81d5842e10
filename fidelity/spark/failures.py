"""What Spark says when it gives up, in one paragraph: no Java stack trace, no Python traceback."""

import re

from fidelity.config import mask
from fidelity.errors import EngineError

_TIMES = re.compile(r"failed (\d+) times?, most recent failure: (.*)", re.S)
_LOST = re.compile(r"^Lost task \S+ in stage \S+ \(TID \d+\) \([^)]*\): ")
_JAVA = re.compile(r"^(?:[a-z][\w$]*\.)+[A-Z]\w*(?:Exception|Error|Failure)?: ")
_CAUSED = "Caused by: "
_LONGEST = 300

_MISSING = "the executors cannot import Fidelity."
_INSTALL = "Install it for the Python that they run, or ship it with them: docs/spark.md tells how."
_KILLED = (
    "Most often memory ran out: give executors more (spark.executor.memoryOverhead), or fewer "
    "cores each."
)
_KNOWN = (
    (("no module named 'fidelity", "no module named fidelity"), _MISSING, _INSTALL),
    (
        ("cannot run program",),
        "the executors cannot start Python.",
        "Set PYSPARK_PYTHON to a Python that is there on every executor.",
    ),
    (
        ("python worker exited unexpectedly", "python worker failed to connect back"),
        "a Python worker died in the middle of its task",
        _KILLED,
    ),
    (("executorlostfailure",), "an executor was lost", _KILLED),
    (
        ("all masters are unresponsive", "master removed our application"),
        "Spark's master gave the application up.",
        "Look at the master's page or log for the reason, and try again.",
    ),
    (
        ("spark_job_cancelled",),
        "the job was cancelled, and not by this scan.",
        "Find out who did so, and try again.",
    ),
    (
        ("sparkcontext was shut down", "stopped sparkcontext", "sparkcontext is stopped"),
        "the Spark session was stopped while the scan ran.",
        "Let nothing else stop it, and try again.",
    ),
)
_DEAD = (
    "Spark's Java process died.",
    "Most often memory ran out: give it more (spark.driver.memory), and try again.",
)


def failure(error: BaseException, where: str, undone: str) -> EngineError:
    """What a failed Spark job means.

    Args:
        error: as pyspark or its gateway raised it.
        where: whose tasks they were, and Spark's master.
        undone: what has become of the work: a sentence.
    """
    # It says so itself, or is not there to be asked; what a task's sockets met comes through it.
    dead = isinstance(error, OSError) or type(error).__name__ == "Py4JNetworkError"
    told, action = _DEAD if dead else _told(message(error))
    return EngineError(told, where=mask(where), action=f"{action} {undone}")


def _told(text: str) -> tuple[str, str]:
    """What went wrong, and what to do about it."""
    times, rest = 1, text
    found = _TIMES.search(text)
    if found is not None:
        times, rest = int(found[1]), found[2]
    often = f", {times} times" if times > 1 else ""
    for signs, what, action in _KNOWN:
        if any(sign in text.lower() for sign in signs):
            return what if what.endswith(".") else f"{what}{often}.", action
    told = f"Spark gave the job up: a task failed{often}, at last with `{cause(rest)}`."
    return told, "The executors' stderr may tell more."


def no_session(error: BaseException, master: str, log: str) -> EngineError:
    """Why no Spark session could be started.

    Args:
        error: as pyspark or its gateway raised it.
        master: Spark's, to say where.
        log: what the Java process has written to its stderr.
    """
    text = message(error)
    if "JAVA_GATEWAY_EXITED" in text:
        said = [line for line in log.splitlines() if line.strip() and "WARNING" not in line]
        return _error(
            f"Spark's Java process did not start: `{_short(said[0] if said else 'no word')}`.",
            master,
            "Spark takes Java 17 or newer: check JAVA_HOME, and the `--conf` that it was given.",
        )
    for signs, what, action in _KNOWN:
        if any(sign in text.lower() for sign in signs):
            return _error(what, master, action)
    return _error(
        f"Spark cannot be started: `{cause(text)}`.", master, "Check the master and `--conf`."
    )


def message(error: BaseException) -> str:
    """What the Java side said, if it did, and its causes as in a stack trace; else Python's own."""
    said, java = [], getattr(error, "java_exception", None)
    while java is not None:
        said.append(str(java.toString()))
        java = java.getCause()
    return f"\n{_CAUSED}".join(said) or str(error)


def cause(text: str) -> str:
    """What a stack trace tells of what happened: the last line of Python's, if there is one.

    Else its first line, and the deepest cause, in the fullest words that any cause has for it.
    """
    if "Traceback (most recent call last)" in text:
        told = text.rpartition("Traceback (most recent call last)")[2]
        lines = [line for line in told.splitlines()[1:] if line.strip()]
        # Frames are indented, and what follows the error is Java's own stack.
        said = [line for line in lines if not line[0].isspace()]
        if said:
            return _short(said[0])
    first, *others = [line.strip() for line in text.splitlines() if line.strip()] or ["no word"]
    causes = [line.removeprefix(_CAUSED) for line in others if line.startswith(_CAUSED)]
    said = [_bare(line) for line in (first, *causes)]
    deepest = next(words for words in said if said[-1] in words)
    return _short(said[0] if deepest == said[0] else f"{said[0].rstrip('.')}: {deepest}")


def _bare(line: str) -> str:
    """Without the task that was lost, and the names of exceptions."""
    line = _LOST.sub("", line)
    while _JAVA.match(line):
        line = _JAVA.sub("", line, count=1)
    return line


def _short(line: str) -> str:
    line = " ".join(line.replace("`", "'").split())
    return mask(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")


def _error(what: str, master: str, action: str) -> EngineError:
    return EngineError(what, where=f"Spark on {mask(master)}", action=action)
