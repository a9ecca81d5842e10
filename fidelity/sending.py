"""Sending: bytes to a file, an HTTP server or a TCP port, and what the receiver says of them.

Nothing is sent twice: what failed is told, and may be published again. No error shows a secret.
"""

import base64
import contextlib
import http.client
import os
import select
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from fidelity.config.masking import mask, remember
from fidelity.errors import PublishError

TIMEOUT = 20.0
"""Seconds that a receiver may keep us waiting: to connect, and for each answer."""

_QUIET = 2.0  # seconds to wait for complaints of a receiver that does not hang up
_MOST_SAID = 65_536  # bytes of an answer that are read


def to_file(path: str, content: bytes) -> None:
    """Replace a file as a whole, readable by all: a reader never sees half of it.

    A pipe or a device stays one, and is written to. Raises PublishError.
    """
    whole = Path(os.path.realpath(path))  # a link stays one
    try:
        if whole.exists() and not whole.is_file():
            whole.write_bytes(content)
        else:
            _replace(whole, content)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}."
        raise PublishError(what, where=str(path), action=_file_action(error)) from None


def _replace(whole: Path, content: bytes) -> None:
    beside = whole.with_name(f".{whole.name[:200]}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        beside.replace(whole)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _file_action(error: OSError) -> str:
    return "Make its folder first." if isinstance(error, FileNotFoundError) else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP server said."""

    status: int
    body: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The first words of its body, on one line."""
        return said(self.body)


class Http:
    """A connection to one HTTP server, for one request after another.

    Args:
        url: its user and password, if it has any, are sent as basic authentication.
        options: `username` and `password`, or `token`.

    Its methods raise PublishError if the server cannot be reached or does not answer in time.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.url = urlsplit(url)
        self.where = mask(url)
        self._headers = _authorization(self.url, options)
        secure = self.url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(self.url.hostname or "", self.url.port, timeout=TIMEOUT)

    def __enter__(self) -> "Http":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, method: str, target: str, body: bytes, content_type: str) -> Answer:
        """One request."""
        headers = {**self._headers, "Content-Type": content_type, "User-Agent": "fidelity"}
        with self._told():
            self._connection.request(method, target, body, headers)
            answer = self._connection.getresponse()
            found = Answer(answer.status, answer.read(_MOST_SAID))
            if answer.read(1):  # more than anybody wants to know
                self._connection.close()
        return found

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise PublishError(f"no answer in {TIMEOUT:g} s.", where=self.where) from None
        except http.client.HTTPException as error:
            words = said(str(error).encode()) or type(error).__name__
            what = f"the answer is not HTTP: {words}."
            raise PublishError(what, where=self.where) from None
        except OSError as error:
            what = f"cannot be reached: {_reason(error)}."
            raise PublishError(what, where=self.where) from None


def refused(answer: Answer, where: str) -> PublishError:
    """The error for an answer that is not a success."""
    told = f": {answer.text}" if answer.text else ""
    action = ""
    if answer.status in (401, 403):
        action = "Give a `username` and `password`, or a `token`, under `options`."
    elif 300 <= answer.status < 400:
        action = "Name the address that it points to."
    elif answer.status == 404:
        action = "Look at the path of the address."
    stop = "" if told.endswith((".", "!", "?")) else "."
    what = f"answered with status {answer.status}{told}{stop}"
    return PublishError(what, where=where, action=action)


def to_port(host: str, port: int, content: bytes) -> str:
    """Send to a TCP port and hang up. Returns what the receiver said, "" if nothing.

    A receiver that says nothing, hangs up or not, had nothing to complain of.

    Raises PublishError if it cannot be reached, or hangs up before all was sent.
    """
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
            return said(_exchanged(connection, content), 1_000)
    except TimeoutError:
        raise PublishError(f"takes nothing for {TIMEOUT:g} s.", where=where) from None
    except OSError as error:
        raise PublishError(f"cannot be sent to: {_reason(error)}.", where=where) from None


def _exchanged(connection: socket.socket, content: bytes) -> bytes:
    """Send all and listen meanwhile: a receiver that complains of each line must not get stuck."""
    connection.setblocking(False)
    rest, heard, open_ = memoryview(content), b"", True
    while rest:
        readable, writable, _ = select.select([connection] * open_, [connection], [], TIMEOUT)
        if not readable and not writable:
            raise TimeoutError
        if readable:
            more = connection.recv(_MOST_SAID)
            open_ = bool(more)
            heard = (heard + more)[:_MOST_SAID]
        if writable:
            rest = rest[connection.send(rest) :]
    connection.shutdown(socket.SHUT_WR)
    until = time.monotonic() + (_QUIET if not heard else 0.1)
    while open_ and (left := until - time.monotonic()) > 0:
        if select.select([connection], [], [], left)[0]:
            more = connection.recv(_MOST_SAID)
            open_ = bool(more)
            heard = (heard + more)[:_MOST_SAID]
    return heard


def said(text: bytes, most: int = 300) -> str:
    """What a receiver said, fit to be shown: one line, no control characters, no secrets."""
    # What is far beyond the end is cut first: it may be long, and masking takes its time.
    words = mask(" ".join(text[: 8 * most].decode("utf-8", "replace").split()))
    shown = "".join(c if c.isprintable() else "?" for c in words)
    return shown if len(shown) <= most else f"{shown[:most]} ... (and more)"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    reason = getattr(error, "verify_message", "") or error.strerror or str(error)
    return said(str(reason).encode()).rstrip(".") or type(error).__name__


def _authorization(url: SplitResult, options: Mapping[str, str]) -> dict[str, str]:
    if "token" in options:
        return {"Authorization": f"Bearer {options['token']}"}
    user = options.get("username", unquote(url.username or ""))
    password = options.get("password", unquote(url.password or ""))
    if not user and not password:
        return {}
    code = base64.b64encode(f"{user}:{password}".encode()).decode()
    remember(code)
    remember(password)
    return {"Authorization": f"Basic {code}"}
