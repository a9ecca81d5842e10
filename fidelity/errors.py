"""The few errors a user can meet. Each says what, where and what to do; caught once, in the CLI."""


class FidelityError(Exception):
    """A failure that is not a bug. Shown without a traceback.

    Args:
        what: one sentence, what went wrong.
        where: the file, stage, topic, unit or address it went wrong at ("" if nowhere).
        action: what the user can do next ("" if nothing sensible is known).
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", action: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.action = what, where, action

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        if not self.action:
            return f"{place}{self.what}"
        stop = "" if self.what.endswith((".", ":", "!", "?")) else "."
        return f"{place}{self.what}{stop} {self.action}"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword-only arguments need help to be unpickled.
        return (_rebuild, (type(self), self.what, self.where, self.action))


def _rebuild(kind: type[FidelityError], what: str, where: str, action: str) -> FidelityError:
    return kind(what, where=where, action=action)


class UsageError(FidelityError):
    """The command line asks for something that does not exist or does not fit together."""


class ConfigError(FidelityError):
    """The pipeline file is wrong. `what` lists every problem, one a line."""


class SourceError(FidelityError):
    """A whole stage cannot be looked at: broker down, no topic, folder unreadable, bad keys."""


class UnreadableError(FidelityError):
    """One unit cannot be read (truncated gzip, corrupt Parquet, gone): it becomes `unknown`."""


class StoreError(FidelityError):
    """The store cannot be read or written: disk full, read-only, not a store, another's store."""


class StampError(FidelityError):
    """A producer's state or manifest cannot be used: held by another process, damaged."""


class EngineError(FidelityError):
    """Spark is not there, cannot be reached, or gave a job up."""


class PublishError(FidelityError):
    """A run cannot be written to where it is published: refused, out of reach, read-only."""


class DedupError(FidelityError):
    """Duplicates cannot be dropped: a consumer's state cannot be used, or a copy not be made."""
